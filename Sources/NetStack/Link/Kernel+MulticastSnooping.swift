// SPDX-License-Identifier: GPL-2.0-or-later

// Multicast snooping (net/bridge/br_multicast.c): a bridge reads along what hosts and routers tell each other of groups
// (IGMP versions 1 to 3, RFC 3376; MLD versions 1 and 2, RFC 3810) and then sends a group's frames only to where
// somebody wants them. As in Linux's default, sources are not looked at: a report of version 3 counts as one for
// the whole group. As long as nobody asks for members, all is flooded, since nobody would have told.

/// What is known of a frame to a group before it is sent on.
struct SnoopedFrame {
  /// Whom it is for, if one looks that up: not for what IGMP and MLD say.
  var key: GroupKey?
  /// With no member known it goes to routers only.
  var toRoutersOnly = false
  var family = GroupKey.Family.link
}

extension Kernel {
  /// Reads a frame to a group along. Nil: it is malformed and goes nowhere.
  mutating func snoop(_ slot: Slot, from port: DeviceIndex, _ bridge: BridgeIndex, _ vlan: UInt16)
    -> SnoopedFrame?
  {
    guard bridges[bridge].groups.isOn else { return SnoopedFrame() }
    var start = EthernetHeader.length
    var type = pool.bytes(slot).u16(EthernetHeader.type)
    if type == VLANTag.customer || type == VLANTag.service, pool.mayPull(slot, start + VLANTag.length) {
      start += VLANTag.length
      type = pool.bytes(slot).u16(start - 2)
    }
    switch type {
    case 0x0800: return snoopIPv4(slot, start, from: port, bridge, vlan)
    case 0x86dd: return snoopIPv6(slot, start, from: port, bridge, vlan)
    default:
      let address = pool.bytes(slot).u48(EthernetHeader.destination)
      return SnoopedFrame(key: GroupKey(vlan: vlan, family: .link, address: UInt128(address)))
    }
  }

  // MARK: IGMP

  private mutating func snoopIPv4(
    _ slot: Slot, _ start: Int, from port: DeviceIndex, _ bridge: BridgeIndex, _ vlan: UInt16
  ) -> SnoopedFrame? {
    guard let (header, total) = ipv4Lengths(slot, start) else { return nil }
    let packet = pool.bytes(slot).dropFirst(start)
    let destination = packet.u32(IPv4Header.destination)
    guard packet.u8(IPv4Header.proto) == 2 else {
      return SnoopedFrame(
        key: GroupKey(vlan: vlan, family: .ipv4, address: UInt128(destination)),
        toRoutersOnly: destination >> 8 != 0xe00000, family: .ipv4)
    }
    guard pool.mayPull(slot, start + total), total - header >= 8 else { return nil }
    let source = pool.bytes(slot).u32(start + IPv4Header.source)
    let message = pool.bytes(slot).dropFirst(start + header).prefix(total - header)
    guard message.checksum() == 0 else { return nil }
    let group = message.u32(4)
    let key = GroupKey(vlan: vlan, family: .ipv4, address: UInt128(group))
    var frame = SnoopedFrame(family: .ipv4)
    switch message.u8(0) {
    case 0x11:
      guard message.count == 8 || message.count >= 12, group != 0 || destination == 0xe000_0001 else {
        return nil
      }
      igmpQuery(message, key, UInt128(source), from: port, bridge)
    case 0x12, 0x16:
      frame.toRoutersOnly = true
      join(key, port, bridge)
    case 0x17: leave(key, port, bridge)
    case 0x22:
      guard snoopReport(message, vlan, .ipv4, port, bridge) else { return nil }
    default:
      // Not IGMP as hosts speak it: a frame like another.
      frame.key = GroupKey(vlan: vlan, family: .ipv4, address: UInt128(destination))
      frame.toRoutersOnly = destination >> 8 != 0xe00000
    }
    return frame
  }

  /// Lengths of header and packet, if they are as RFC 791 has them (ip_mc_check_iphdr).
  private mutating func ipv4Lengths(_ slot: Slot, _ start: Int) -> (header: Int, total: Int)? {
    guard pool.mayPull(slot, start + IPv4Header.length) else { return nil }
    let packet = pool.bytes(slot).dropFirst(start)
    let header = Int(packet.u8(0) & 15) * 4
    let total = Int(packet.u16(IPv4Header.totalLength))
    guard packet.u8(0) >> 4 == 4, header >= IPv4Header.length, total >= header,
      Int(pool[slot].length) - start >= total
    else { return nil }
    return (header, total)
  }

  private mutating func igmpQuery(
    _ message: PacketBytes, _ key: GroupKey, _ source: UInt128, from port: DeviceIndex, _ bridge: BridgeIndex
  ) {
    // Tenths of a second; version 3 writes large ones as mantissa and exponent, version 1 none.
    let code = Int64(message.u8(1))
    var key = key
    var delay: Int64
    if message.count == 8 {
      delay = code * 100_000_000
      if delay == 0 {
        delay = 10_000_000_000
        key.address = 0
      }
    } else {
      guard message.u16(10) == 0 else { return }
      delay = max(Self.decoded(code, mantissa: 4) * 100_000_000, 1_000_000)
    }
    query(key, delay, source, from: port, bridge)
  }

  /// A number whose top bit says that it is mantissa and exponent (RFC 3376 4.1.1, RFC 3810 5.1.3).
  private static func decoded(_ code: Int64, mantissa bits: Int64) -> Int64 {
    guard code >> (bits + 3) & 1 != 0 else { return code }
    return (code & (1 << bits - 1) | 1 << bits) << (code >> bits & 7 + 3)
  }

  // MARK: MLD

  private mutating func snoopIPv6(
    _ slot: Slot, _ start: Int, from port: DeviceIndex, _ bridge: BridgeIndex, _ vlan: UInt16
  ) -> SnoopedFrame? {
    let header = 40
    guard pool.mayPull(slot, start + header) else { return nil }
    let packet = pool.bytes(slot).dropFirst(start)
    let length = Int(packet.u16(4))
    guard packet.u8(0) >> 4 == 6, Int(pool[slot].length) - start >= header + length else { return nil }
    let source = UInt128(packet.u64(8)) << 64 | UInt128(packet.u64(16))
    let destination = UInt128(packet.u64(24)) << 64 | UInt128(packet.u64(32))
    let allNodes: UInt128 = 0xff02 << 112 | 1
    let other = SnoopedFrame(
      key: GroupKey(vlan: vlan, family: .ipv6, address: destination), toRoutersOnly: destination != allNodes,
      family: .ipv6)
    // Only what stands behind a hop-by-hop header with its router alert is MLD.
    guard packet.u8(6) == 0, length >= 16, pool.mayPull(slot, start + header + length) else { return other }
    let extended = pool.bytes(slot).dropFirst(start + header).prefix(length)
    let options = 8 + Int(extended.u8(1)) * 8
    guard extended.u8(0) == 58 else { return other }
    guard length >= options + 8 else { return nil }
    let message = extended.dropFirst(options)
    let pseudo =
      pool.bytes(slot).dropFirst(start + 8).prefix(32).sum() &+ UInt64(UInt16(58).bigEndian)
      &+ UInt64(UInt16(truncatingIfNeeded: message.count).bigEndian)
    guard foldChecksum(message.sum(pseudo)) == 0xffff else { return nil }
    let type = message.u8(0)
    guard message.count >= 24, (130...132).contains(type) || type == 143 else { return other }
    var frame = SnoopedFrame(family: .ipv6)
    guard type != 143 else {
      return snoopReport(message, vlan, .ipv6, port, bridge) ? frame : nil
    }
    let group = UInt128(message.u64(8)) << 64 | UInt128(message.u64(16))
    let key = GroupKey(vlan: vlan, family: .ipv6, address: group)
    switch type {
    case 131:
      frame.toRoutersOnly = true
      join(key, port, bridge)
    case 132: leave(key, port, bridge)
    default:
      guard source >> 118 == 0xfe80 >> 6, message.count == 24 || message.count >= 28,
        group != 0 || destination == allNodes
      else { return nil }
      var delay = Int64(message.u16(4))
      if message.count > 24 {
        guard message.u16(26) == 0 else { return frame }
        delay = Self.decoded(delay, mantissa: 12)
      }
      query(key, max(delay, 1) * 1_000_000, source, from: port, bridge)
    }
    return frame
  }

  // MARK: Members

  /// The records of a report of IGMP version 3 or MLD version 2; false when it is malformed
  /// (br_ip4_multicast_igmp3_report, br_ip6_multicast_mld2_report).
  private mutating func snoopReport(
    _ message: PacketBytes, _ vlan: UInt16, _ family: GroupKey.Family, _ port: DeviceIndex,
    _ bridge: BridgeIndex
  ) -> Bool {
    let width = family == .ipv4 ? 4 : 16
    var offset = 8
    for _ in 0..<Int(message.u16(6)) {
      guard message.count - offset >= 4 + width else { return false }
      let sources = Int(message.u16(offset + 2))
      let size = 4 + width + sources * width
      guard message.count - offset >= size else { return false }
      let address =
        family == .ipv4
        ? UInt128(message.u32(offset + 4))
        : UInt128(message.u64(offset + 4)) << 64 | UInt128(message.u64(offset + 12))
      let key = GroupKey(vlan: vlan, family: family, address: address)
      switch message.u8(offset) {
      // MODE_IS_INCLUDE and CHANGE_TO_INCLUDE of nothing: nobody is left.
      case 1, 3: if sources == 0 { leave(key, port, bridge) } else { join(key, port, bridge) }
      case 2, 4, 5, 6: join(key, port, bridge)
      default: break
      }
      offset += size
    }
    return true
  }

  /// Groups that no router has a part in are not kept: 224.0.0.x and ff02::1.
  func isTracked(_ key: GroupKey) -> Bool {
    switch key.family {
    case .ipv4: key.address >> 8 != 0xe00000
    case .ipv6: key.address != 0xff02 << 112 | 1
    case .link: true
    }
  }

  private func mayJoin(_ port: DeviceIndex, _ bridge: BridgeIndex) -> Bool {
    port == bridges[bridge].device
      || devices[port].port.state != .disabled && devices[port].port.state != .blocking
  }

  private mutating func join(_ key: GroupKey, _ port: DeviceIndex, _ bridge: BridgeIndex) {
    guard isTracked(key), mayJoin(port, bridge) else { return }
    let member = GroupMember(
      key: key, port: port, isPermanent: false, expires: cpu.now + MulticastGroups.membershipInterval)
    try? setMember(member, of: bridge)
  }

  /// One group too many turns snooping off, so that all is flooded rather than lost (br_multicast_new_group).
  mutating func setMember(_ member: GroupMember, of bridge: BridgeIndex) throws(KernelError) {
    guard bridges[bridge].groups.insert(member) else {
      bridges[bridge].groups.isOn = false
      throw .tooBig
    }
    if !member.isPermanent { armGroups(bridge, at: member.expires) }
  }

  private mutating func leave(_ key: GroupKey, _ port: DeviceIndex, _ bridge: BridgeIndex) {
    guard isTracked(key), mayJoin(port, bridge), let place = bridges[bridge].groups.place(key, port) else {
      return
    }
    if port != bridges[bridge].device, devices[port].port.fastLeave {
      bridges[bridge].groups.removeAll { $0.key == key && $0.port == port && !$0.isPermanent }
      return
    }
    // Whoever asks for members will ask now; without one the last member has a while.
    guard bridges[bridge].groups[key.family].until <= cpu.now else { return }
    let time = cpu.now + MulticastGroups.lastMemberTime
    bridges[bridge].groups.shorten(at: place, to: time)
    armGroups(bridge, at: time)
  }

  // MARK: Routers and queriers

  private mutating func query(
    _ key: GroupKey, _ delay: Int64, _ source: UInt128, from port: DeviceIndex, _ bridge: BridgeIndex
  ) {
    guard mayJoin(port, bridge) else { return }
    guard key.address == 0 else {
      let time = cpu.now + delay * MulticastGroups.lastMemberCount
      var place = bridges[bridge].groups.first(key)
      while place < bridges[bridge].groups.members.count, bridges[bridge].groups.members[place].key == key {
        bridges[bridge].groups.shorten(at: place, to: time)
        place += 1
      }
      armGroups(bridge, at: time)
      return
    }
    var querier = bridges[bridge].groups[key.family]
    guard querier.until <= cpu.now || querier.address == 0 || source <= querier.address else { return }
    querier.address = source
    if querier.until <= cpu.now { querier.settles = cpu.now + delay }
    querier.until = cpu.now + MulticastGroups.querierInterval
    if port == bridges[bridge].device { querier.hostIsRouter = querier.until }
    bridges[bridge].groups[key.family] = querier
    markRouter(port, key.family, bridge)
  }

  private mutating func markRouter(_ port: DeviceIndex, _ family: GroupKey.Family, _ bridge: BridgeIndex) {
    let until = cpu.now + MulticastGroups.querierInterval
    guard port != bridges[bridge].device,
      devices[port].multicast.router == .learned || devices[port].multicast.router == .temporary
    else { return }
    if family == .ipv6 {
      devices[port].multicast.ipv6Router = until
    } else {
      devices[port].multicast.ipv4Router = until
    }
  }

  /// Whether the host itself wants what is for routers (br_multicast_is_router).
  private func hostIsRouter(_ family: GroupKey.Family, _ bridge: BridgeIndex) -> Bool {
    bridges[bridge].groups[family].hostIsRouter > cpu.now
  }

  // MARK: Sending on

  /// Who is to have a frame to a group; nil: all.
  func audience(_ frame: SnoopedFrame, _ bridge: BridgeIndex) -> GroupAudience? {
    let place = frame.key.map { bridges[bridge].groups.first($0) } ?? 0
    let isKnown =
      frame.key.map { key in
        place < bridges[bridge].groups.members.count && bridges[bridge].groups.members[place].key == key
      } ?? false
    guard isKnown || frame.toRoutersOnly else { return nil }
    guard frame.family == .link || bridges[bridge].groups[frame.family].exists(cpu.now) else { return nil }
    let key = isKnown ? frame.key : nil
    let isHost = key.map { bridges[bridge].groups.place($0, bridges[bridge].device) != nil } ?? false
    return GroupAudience(
      key: key, family: frame.family, includesHost: isHost || hostIsRouter(frame.family, bridge))
  }

  func isIn(_ audience: GroupAudience, _ port: DeviceIndex, _ bridge: BridgeIndex) -> Bool {
    devices[port].multicast.isRouter(audience.family, cpu.now)
      || audience.key.map { bridges[bridge].groups.place($0, port) != nil } ?? false
  }

  // MARK: Timers

  private mutating func armGroups(_ bridge: BridgeIndex, at time: Int64) {
    // A member may end before the one that the timer was set for.
    if bridges[bridge].groups.timer != .none, bridges[bridge].groups.due <= time { return }
    bridges[bridge].groups.due = time
    cpu.wheel.rearm(
      &bridges[bridge].groups.timer, TimerEvent(kind: .bridgeGroups, index: bridge.rawValue), at: time)
  }

  mutating func groupsTimer(_ bridge: BridgeIndex) {
    bridges[bridge].groups.timer = .none
    let now = cpu.now
    bridges[bridge].groups.removeAll { !$0.isPermanent && $0.expires <= now }
    let rest = bridges[bridge].groups.members.filter { !$0.isPermanent }.map(\.expires)
    if let next = rest.min() { armGroups(bridge, at: next) }
  }

  /// A port that is down wants nothing (br_multicast_disable_port).
  mutating func forgetGroups(of port: DeviceIndex, _ bridge: BridgeIndex) {
    bridges[bridge].groups.removeAll { $0.port == port && !$0.isPermanent }
    devices[port].multicast.ipv4Router = 0
    devices[port].multicast.ipv6Router = 0
  }
}

/// Who is to have a frame to a group, when not all are.
struct GroupAudience {
  var key: GroupKey?
  var family: GroupKey.Family
  var includesHost: Bool
}
