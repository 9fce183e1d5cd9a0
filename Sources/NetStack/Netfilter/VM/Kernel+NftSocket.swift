// SPDX-License-Identifier: GPL-2.0-or-later

// What rules ask about the socket that a packet is for, or from (nft_socket.c, nf_socket_ipv4.c, nft_meta.c's skuid).

import NetTypes
import Nftables

extension Kernel {
  /// `socket`: of the socket that would receive the packet.
  mutating func loadSocket(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    guard let flow = flow(of: packet), let socket = receiver(flow, packet) else { return false }
    let word = Int(instruction.destination)
    switch NftSocketKey(rawValue: UInt32(instruction.flags)) {
    case .transparent: registers[word] = sockets[socket].options.transparent ? 1 : 0
    case .mark: registers[word] = sockets[socket].options.mark
    case .wildcard: registers[word] = sockets[socket].local.address.isUnspecified ? 1 : 0
    case .cgroup, nil: return false
    }
    return true
  }

  /// `meta skuid` and `skgid`: of who sends the packet.
  func loadOwner(_ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters) -> Bool
  {
    guard let number = pool.sender(of: packet.slot) else { return false }
    let socket = SocketIndex(number)
    guard sockets.contains(socket) else { return false }
    let owner = sockets[socket].credentials
    let isUser = instruction.flags == UInt8(NftMetaKey.socketUser.rawValue)
    registers[Int(instruction.destination)] = isUser ? owner.user : owner.group
    return true
  }

  /// nf_sk_lookup_slow_v4, _v6.
  private mutating func receiver(_ flow: NftTracedFlow, _ packet: NftPacket) -> SocketIndex? {
    guard let sourcePort = flow.sourcePort, let destinationPort = flow.destinationPort else { return nil }
    let ifindex = devices.contains(packet.input) ? devices[packet.input].ifindex : 0
    switch packet.proto {
    case 6:
      let local = SocketAddress(flow.destination, destinationPort)
      let remote = SocketAddress(flow.source, sourcePort)
      let key = FlowKey(local: local, remote: remote)
      switch namespaces[packet.namespace].sockets.flows.find(key) {
      case .socket(let socket): return socket
      case .request(let request): return tcps[requests[request].listener].socket
      case nil:
        let listener = tcpListener(local, remote, packet.slot, in: packet.namespace)
        return listener.isNone ? nil : tcps[listener].socket
      }
    case 17, 136:
      let found = udpSocket(
        for: SocketFlow(
          source: flow.source, sourcePort: sourcePort, destination: flow.destination,
          destinationPort: destinationPort, ifindex: ifindex), in: packet.namespace)
      return found.isNone ? nil : found
    default: return nil
    }
  }
}
