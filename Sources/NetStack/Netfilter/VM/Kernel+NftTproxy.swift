// SPDX-License-Identifier: GPL-2.0-or-later

// `tproxy`: a packet that goes to somebody else is given to a transparent socket of this host (nft_tproxy.c,
// nf_tproxy_ipv4.c, nf_tproxy_ipv6.c). It keeps its addresses; that it is delivered here is the routes' business.

import NetTypes
import Nftables

extension Kernel {
  /// `break` when there is no such socket.
  mutating func proxy(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    guard instruction.flags == 0 || instruction.flags == packet.version,
      packet.proto == 6 || packet.proto == 17, let flow = flow(of: packet),
      let sourcePort = flow.sourcePort, let destinationPort = flow.destinationPort
    else { return .break }
    let ifindex = devices.contains(packet.input) ? devices[packet.input].ifindex : 0
    var wanted = SocketFlow(
      source: flow.source, sourcePort: sourcePort, destination: flow.destination,
      destinationPort: destinationPort, ifindex: ifindex)
    var found = proxied(wanted, packet)
    if found.isNone {
      if instruction.destination != 0xff {
        let port = UInt16(truncatingIfNeeded: registers[Int(instruction.destination)]).byteSwapped
        if port != 0 { wanted.destinationPort = port }
      }
      wanted.destination = proxyAddress(instruction, packet, registers) ?? flow.destination
      found = proxyListener(wanted, packet)
    }
    guard !found.isNone, sockets[found].options.transparent else { return .break }
    pool[packet.slot].flags.insert(.assigned)
    assigned = (packet.slot, found)
    return .continue
  }

  /// The address that the socket listens at: the rule's, or the device's first (nf_tproxy_laddr4, _laddr6).
  private func proxyAddress(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> IPAddress? {
    let word = Int(instruction.source)
    let isGiven = instruction.source != 0xff
    guard packet.version == 6 else {
      if isGiven, registers[word] != 0 { return .v4(IPv4Address(rawValue: registers[word].byteSwapped)) }
      guard devices.contains(packet.input) else { return nil }
      return devices[packet.input].addresses.first { !$0.isSecondary }.map { .v4($0.local) }
    }
    if isGiven {
      let given = (0..<4).reduce(UInt128(0)) { $0 << 32 | UInt128(registers[word + $1].byteSwapped) }
      if given != 0 { return given.address }
    }
    guard devices.contains(packet.input) else { return nil }
    return devices[packet.input].inet6.addresses.first { !addresses6[$0].isTentative }.map {
      addresses6[$0].address.address
    }
  }

  /// The connection that a packet belongs to (NF_TPROXY_LOOKUP_ESTABLISHED); none when a new one takes its place.
  private mutating func proxied(_ flow: SocketFlow, _ packet: NftPacket) -> SocketIndex {
    if packet.proto == 17 {
      let found = udpSocket(for: flow, in: packet.namespace)
      guard !found.isNone, sockets[found].peer != nil, !sockets[found].local.address.isUnspecified else {
        return .none
      }
      return found
    }
    let key = FlowKey(
      local: SocketAddress(flow.destination, flow.destinationPort),
      remote: SocketAddress(flow.source, flow.sourcePort))
    switch namespaces[packet.namespace].sockets.flows.find(key) {
    case .socket(let socket):
      return tcps[sockets[socket].tcp].state == .timeWait && beginsConnection(packet) ? .none : socket
    case .request(let request): return tcps[requests[request].listener].socket
    case nil: return .none
    }
  }

  /// A SYN and nothing else (nf_tproxy_handle_time_wait4).
  private func beginsConnection(_ packet: NftPacket) -> Bool {
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    return segment.count >= 20 && segment.u8(13) & 0x17 == 2
  }

  /// NF_TPROXY_LOOKUP_LISTENER.
  private mutating func proxyListener(_ flow: SocketFlow, _ packet: NftPacket) -> SocketIndex {
    guard packet.proto == 6 else {
      let found = udpSocket(for: flow, in: packet.namespace)
      return !found.isNone && sockets[found].peer == nil ? found : .none
    }
    let listener = tcpListener(
      SocketAddress(flow.destination, flow.destinationPort), SocketAddress(flow.source, flow.sourcePort),
      packet.slot, in: packet.namespace)
    return listener.isNone ? .none : tcps[listener].socket
  }

  /// The socket that a packet was given to by a rule, if it is still there (skb_steal_sock).
  func assignedSocket(_ slot: Slot) -> SocketIndex? {
    guard pool[slot].flags.contains(.assigned), assigned.slot == slot, sockets.contains(assigned.socket)
    else { return nil }
    return assigned.socket
  }
}
