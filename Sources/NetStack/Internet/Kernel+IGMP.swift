// SPDX-License-Identifier: GPL-2.0-or-later

// Group membership, the host's part (RFC 1112, 2236, 3376; net/ipv4/igmp.c). The version is the routers': the third,
// unless one of an older version has asked lately or a setting says so.
//
//    0      1      2          4             8
//    │ type │ code │ checksum │ group       │                          questions and reports of versions 1 and 2
//    │ 0x22 │ 0    │ checksum │ 0   │ count │ records …                reports of version 3
//                                            │ type │ 0 │ 0 │ group │  a record without sources

import NetTypes
import Rtnetlink

private enum IGMPType {
  static let query: UInt8 = 0x11
  static let reportV1: UInt8 = 0x12
  static let reportV2: UInt8 = 0x16
  static let leave: UInt8 = 0x17
  static let reportV3: UInt8 = 0x22
}

private enum IGMPRecord {
  static let isExclude: UInt8 = 2
  static let toInclude: UInt8 = 3
  static let toExclude: UInt8 = 4
}

extension Kernel {
  private static let allHosts: UInt32 = 0xe000_0001
  private static let allRouters: UInt32 = 0xe000_0002
  private static let allReporters: UInt32 = 0xe000_0016
  /// The longest that an answer to a router of the first version may wait; what others wait when they say nothing.
  private static let responseInterval: Int64 = 10_000_000_000

  /// Whether a device takes what is sent to a group (ip_check_mc_rcu).
  func hasJoined(_ group: UInt32, on index: DeviceIndex) -> Bool {
    group == Self.allHosts || devices[index].groups.contains(group)
  }

  // MARK: Joining and leaving

  /// One more wants what is sent to a group (ip_mc_inc_group).
  mutating func joinGroup(_ group: UInt32, on index: DeviceIndex) {
    if let place = devices[index].groups.groups.firstIndex(where: { $0.address == group }) {
      devices[index].groups.groups[place].users += 1
      return
    }
    devices[index].groups.groups.append(GroupMemberships.Group(address: group))
    if devices[index].isUp { announceJoin(group, on: index) }
  }

  /// One less does (ip_mc_dec_group). False: nobody had joined it.
  @discardableResult
  mutating func leaveGroup(_ group: UInt32, on index: DeviceIndex) -> Bool {
    guard let place = devices[index].groups.groups.firstIndex(where: { $0.address == group }) else {
      return false
    }
    devices[index].groups.groups[place].users -= 1
    guard devices[index].groups.groups[place].users == 0 else { return true }
    let wasReporter = devices[index].groups.groups.remove(at: place).isReporter
    guard devices[index].isUp, isReported(group, on: index) else { return true }
    switch igmpVersion(of: index) {
    case 3: announceChange(group, isJoin: false, on: index)
    case 2 where wasReporter: sendIGMP(IGMPType.leave, group, to: Self.allRouters, by: index)
    default: break
    }
    armIGMP(index)
    return true
  }

  /// A device that comes up tells its groups; one that goes down forgets whom it has told (ip_mc_up, ip_mc_down).
  mutating func groupsFollowDevice(_ index: DeviceIndex) {
    guard devices[index].isUp else {
      cpu.wheel.cancel(&devices[index].groups.timer)
      let users = devices[index].groups.groups
      devices[index].groups = GroupMemberships()
      devices[index].groups.groups = users.map {
        GroupMemberships.Group(address: $0.address, users: $0.users)
      }
      return
    }
    for group in devices[index].groups.groups { announceJoin(group.address, on: index) }
  }

  /// Groups of the link alone are told too, unless a setting says that they are not (igmp_link_local_mcast_reports).
  private func isReported(_ group: UInt32, on index: DeviceIndex) -> Bool {
    guard group != Self.allHosts, !devices[index].isLoopback else { return false }
    return group >> 8 != 0xe0_0000 || namespaces[devices[index].namespace].ipv4.reportsLinkLocalGroups
  }

  /// igmp_group_added.
  private mutating func announceJoin(_ group: UInt32, on index: DeviceIndex) {
    guard isReported(group, on: index),
      let place = devices[index].groups.groups.firstIndex(where: { $0.address == group })
    else { return }
    if igmpVersion(of: index) == 3 {
      announceChange(group, isJoin: true, on: index)
    } else {
      devices[index].groups.groups[place].unsolicited = namespaces[devices[index].namespace].ipv4.robustness
      devices[index].groups.groups[place].deadline = cpu.now + 2_000_000
    }
    armIGMP(index)
  }

  private mutating func announceChange(_ group: UInt32, isJoin: Bool, on index: DeviceIndex) {
    devices[index].groups.changes.removeAll { $0.address == group }
    devices[index].groups.changes.append(
      GroupMemberships.Change(address: group, isJoin: isJoin, count: devices[index].groups.robustness))
    devices[index].groups.changeDeadline = cpu.now + 2_000_000
  }

  /// What the routers of a device's link understand.
  private func igmpVersion(of index: DeviceIndex) -> Int {
    let forced = devices[index].ipv4.igmpVersion
    if forced != 0 { return forced }
    if devices[index].groups.firstVersionUntil > cpu.now { return 1 }
    if devices[index].groups.secondVersionUntil > cpu.now { return 2 }
    return 3
  }

  // MARK: Time

  private mutating func armIGMP(_ index: DeviceIndex) {
    cpu.wheel.cancel(&devices[index].groups.timer)
    guard let deadline = devices[index].groups.deadline else { return }
    devices[index].groups.timer = cpu.wheel.arm(
      TimerEvent(kind: .groups, index: index.rawValue), at: deadline)
  }

  private mutating func chance(_ bound: Int64) -> Int64 {
    Int64(cpu.random.below(UInt64(max(bound, 1)))) + 2_000_000
  }

  mutating func groupTimer(_ index: DeviceIndex) {
    guard devices.contains(index) else { return }
    devices[index].groups.timer = .none
    let now = cpu.now
    if let deadline = devices[index].groups.changeDeadline, deadline <= now { tellChanges(of: index) }
    if let deadline = devices[index].groups.answerDeadline, deadline <= now {
      devices[index].groups.answerDeadline = nil
      let groups = devices[index].groups.groups.map(\.address).filter { isReported($0, on: index) }
      sendRecords(groups.map { (IGMPRecord.isExclude, $0) }, by: index)
    }
    for place in devices[index].groups.groups.indices {
      guard let deadline = devices[index].groups.groups[place].deadline, deadline <= now else { continue }
      let group = devices[index].groups.groups[place].address
      let left = devices[index].groups.groups[place].unsolicited - 1
      devices[index].groups.groups[place].unsolicited = max(left, 0)
      devices[index].groups.groups[place].deadline =
        left > 0 ? now + chance(devices[index].ipv4.unsolicitedReportInterval) : nil
      devices[index].groups.groups[place].isReporter = true
      switch igmpVersion(of: index) {
      case 1: sendIGMP(IGMPType.reportV1, group, to: group, by: index)
      case 2: sendIGMP(IGMPType.reportV2, group, to: group, by: index)
      default: sendRecords([(IGMPRecord.isExclude, group)], by: index)
      }
    }
    armIGMP(index)
  }

  /// igmpv3_send_cr.
  private mutating func tellChanges(of index: DeviceIndex) {
    let records = devices[index].groups.changes.map {
      ($0.isJoin ? IGMPRecord.toExclude : IGMPRecord.toInclude, $0.address)
    }
    for place in devices[index].groups.changes.indices { devices[index].groups.changes[place].count -= 1 }
    devices[index].groups.changes.removeAll { $0.count <= 0 }
    devices[index].groups.changeDeadline =
      devices[index].groups.changes.isEmpty
      ? nil : cpu.now + chance(devices[index].ipv4.unsolicitedReportIntervalV3)
    sendRecords(records, by: index)
  }

  // MARK: Hearing

  /// Takes a message about groups (igmp_rcv).
  mutating func igmpReceive(_ slot: Slot, in namespace: NamespaceIndex) {
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    guard pool.mayPull(slot, offset + 8) else {
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    guard pool.checksum(slot, from: offset) == 0 else {
      drop(slot, .icmpChecksum, in: namespace)
      return
    }
    let length = Int(pool[slot].length) - offset
    let isWhole = length < 12 || pool.mayPull(slot, offset + 12)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let index = DeviceIndex(pool[slot].device)
    switch bytes.u8(0) {
    case IGMPType.query where isWhole: heardQuery(bytes, length: length, on: index)
    case IGMPType.reportV1, IGMPType.reportV2:
      // Another has told of it: it need not be told twice.
      let group = bytes.u32(4)
      if pool[slot].packetType != .host,
        let place = devices[index].groups.groups.firstIndex(where: { $0.address == group })
      {
        devices[index].groups.groups[place].deadline = nil
        devices[index].groups.groups[place].unsolicited = 0
        devices[index].groups.groups[place].isReporter = false
        armIGMP(index)
      }
    default: break
    }
    pool.free(slot, .consumed)
  }

  /// igmp_heard_query.
  private mutating func heardQuery(_ bytes: PacketBytes, length: Int, on index: DeviceIndex) {
    let tenth: Int64 = 100_000_000
    let code = bytes.u8(1)
    var group = bytes.u32(4)
    var delay = Int64(code) * tenth
    let memory =
      Int64(devices[index].groups.robustness) * devices[index].groups.queryInterval + Self.responseInterval
    if length == 8 {
      if code == 0 {
        delay = Self.responseInterval
        devices[index].groups.firstVersionUntil = cpu.now + memory
        group = 0
      } else {
        devices[index].groups.secondVersionUntil = cpu.now + memory
      }
      devices[index].groups.changes = []
      devices[index].groups.changeDeadline = nil
    } else if length < 12 {
      return
    } else if igmpVersion(of: index) == 1 {
      delay = Self.responseInterval
      group = 0
    } else if igmpVersion(of: index) == 2 {
      delay = Self.floating(code) * tenth
    } else {
      delay = max(Self.floating(code) * tenth, 1_000_000)
      let robustness = Int(bytes.u8(8) & 7)
      let interval = Self.floating(bytes.u8(9)) * 1_000_000_000
      devices[index].groups.robustness =
        robustness == 0 ? namespaces[devices[index].namespace].ipv4.robustness : robustness
      devices[index].groups.queryInterval = interval == 0 ? 125_000_000_000 : interval
      if group == 0 {
        guard bytes.u16(10) == 0 else { return }
        let deadline = cpu.now + chance(delay)
        if deadline < devices[index].groups.answerDeadline ?? .max {
          devices[index].groups.answerDeadline = deadline
        }
        armIGMP(index)
        return
      }
    }
    for place in devices[index].groups.groups.indices {
      let address = devices[index].groups.groups[place].address
      guard group == 0 || group == address, isReported(address, on: index) else { continue }
      devices[index].groups.groups[place].unsolicited = 0
      let standing = devices[index].groups.groups[place].deadline ?? .max
      if standing - cpu.now >= delay {
        devices[index].groups.groups[place].deadline = cpu.now + chance(delay)
      }
    }
    armIGMP(index)
  }

  /// A number of RFC 3376 4.1.1: from 128 on with an exponent.
  private static func floating(_ code: UInt8) -> Int64 {
    code < 128 ? Int64(code) : Int64(code & 15 | 16) << Int64(code >> 4 & 7 + 3)
  }

  // MARK: Telling

  private mutating func sendIGMP(
    _ type: UInt8, _ group: UInt32, to destination: UInt32, by index: DeviceIndex
  ) {
    sendIGMP(to: destination, by: index, length: 8) { bytes in
      bytes.set(0, u8: type)
      bytes.set(4, u32: group)
    }
  }

  private mutating func sendRecords(_ records: [(type: UInt8, group: UInt32)], by index: DeviceIndex) {
    let most = max((devices[index].mtu - 24 - 8) / 8, 1)
    var rest = records[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(most))
      rest = rest.dropFirst(most)
      sendIGMP(to: Self.allReporters, by: index, length: 8 + 8 * part.count) { bytes in
        bytes.set(0, u8: IGMPType.reportV3)
        bytes.set(6, u16: UInt16(truncatingIfNeeded: part.count))
        for (place, record) in part.enumerated() {
          bytes.set(8 + 8 * place, u8: record.type)
          bytes.set(12 + 8 * place, u32: record.group)
        }
      }
    }
  }

  /// A message to a group, which routers look at although it is not theirs (RFC 2113).
  private mutating func sendIGMP(
    to destination: UInt32, by index: DeviceIndex, length: Int, _ fill: (PacketBytes) -> Void
  ) {
    let namespace = devices[index].namespace
    let header = IPv4Header.length + 4
    let slot = pool.allocate(header + length)
    guard slot != .none, pool.put(slot, header + length) else {
      if slot != .none { drop(slot, .noMemory, in: namespace) }
      return
    }
    let bytes = pool.bytes(slot)
    bytes.fill(0)
    let message = bytes.dropFirst(header)
    fill(message)
    message.set(2, u16: message.checksum())
    bytes.set(0, u8: 0x46)
    bytes.set(IPv4Header.typeOfService, u8: 0xc0)
    bytes.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: header + length))
    bytes.set(IPv4Header.identification, u16: namespaces[namespace].nextIdentification)
    namespaces[namespace].nextIdentification &+= 1
    bytes.set(IPv4Header.fragment, u16: IPv4Header.dontFragment)
    bytes.set(IPv4Header.ttl, u8: 1)
    bytes.set(IPv4Header.proto, u8: 2)
    bytes.set(IPv4Header.source, u32: selectSource(0, on: index, scope: RouteScope.link.rawValue))
    bytes.set(IPv4Header.destination, u32: destination)
    bytes.set(IPv4Header.length, u32: 0x9404_0000)
    bytes.set(IPv4Header.checksum, u16: bytes.prefix(header).checksum())
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(header)
    pool[slot].device = loopback(of: namespace).rawValue
    namespaces[namespace].snmp[.ipOutRequests] &+= 1
    neighborOutput(slot, destination, by: index)
  }
}
