// SPDX-License-Identifier: GPL-2.0-or-later

// The hooks of bridges (net/bridge/br_input.c, br_forward.c; NFPROTO_BRIDGE): what comes in by a port, what is for the
// host behind the bridge, what goes from port to port or from the host, and at last what leaves by a port.

extension Kernel {
  /// Whether frames on their way out of a bridge meet rules.
  @inline(__always) func meetsBridgeRules(in namespace: NamespaceIndex) -> Bool {
    hasHook(.bridge, .forward, in: namespace) || hasHook(.bridge, .output, in: namespace)
      || hasHook(.bridge, .postrouting, in: namespace)
  }

  /// Whether frames that come in by a port meet rules, there or later.
  @inline(__always) func hasBridgeRules(in namespace: NamespaceIndex) -> Bool {
    hasHook(.bridge, .prerouting, in: namespace) || hasHook(.bridge, .input, in: namespace)
      || meetsBridgeRules(in: namespace)
  }

  /// Takes the frames that came in by a port through prerouting; those of the groups that stay on their link do not
  /// meet it, nor what a port that is not learning drops anyway.
  @inline(never) mutating func filterBridge(_ burst: inout Burst, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    var kept = Burst()
    let state = devices[index].port.state
    for position in 0..<burst.count {
      let slot = burst[position]
      let bytes = pool.bytes(slot)
      guard bytes.count >= EthernetHeader.length else {
        kept.append(slot)
        continue
      }
      pool[slot].packetType = recipient(bytes.u48(EthernetHeader.destination), of: index)
      let isExempt =
        bytes.u48(EthernetHeader.destination) >> 4 == EthernetHeader.linkLocalGroups
        || EthernetHeader.isMulticast(bytes.u48(EthernetHeader.source))
        || state != .forwarding && state != .learning
      if isExempt || meetBridgeRules(slot, .prerouting, in: index, out: .none, namespace) {
        kept.append(slot)
      }
    }
    burst = kept
  }

  /// Whom a frame means that came in by a port: the host, by the port's address or by the bridge's (eth_type_trans,
  /// br_handle_frame).
  private func recipient(_ destination: UInt64, of port: DeviceIndex) -> PacketType {
    if destination == EthernetHeader.broadcast { return .broadcast }
    if EthernetHeader.isMulticast(destination) { return .multicast }
    let bridge = bridges[devices[port].master].device
    return destination == devices[port].mac || destination == devices[bridge].mac ? .host : .otherHost
  }

  /// Whether it was asked at a port whom the frames mean that a device gets: a bridge's rules may have given them
  /// another destination since then (br_netif_receive_skb).
  @inline(__always) func isNamedByPort(on index: DeviceIndex) -> Bool {
    guard hasBridgeRules(in: devices[index].namespace), case .bridge = devices[index].kind else {
      return false
    }
    return true
  }

  /// Takes a frame, which begins with its link header, through a hook.
  @inline(__always)
  mutating func meetBridgeRules(
    _ slot: Slot, _ hook: NetfilterHook, in input: DeviceIndex, out output: DeviceIndex,
    _ namespace: NamespaceIndex
  ) -> Bool {
    guard hasHook(.bridge, hook, in: namespace) else { return true }
    placeHeaders(slot)
    return netfilter(slot, .bridge, hook, in: input, out: output, namespace)
  }

  /// Finds the network header of a frame, behind its tag where it has one in its bytes.
  func placeHeaders(_ slot: Slot) {
    let bytes = pool.bytes(slot)
    pool[slot].linkHeader = pool[slot].dataOffset
    var length = EthernetHeader.length
    var type = bytes.u16(EthernetHeader.type)
    if type == 0x8100 || type == 0x88a8, bytes.count >= length + 4 {
      type = bytes.u16(length + 2)
      length += 4
    }
    pool[slot].networkHeader = pool[slot].dataOffset &+ UInt16(length)
    pool[slot].etherType = type
  }
}
