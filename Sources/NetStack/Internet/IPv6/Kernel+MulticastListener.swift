// SPDX-License-Identifier: GPL-2.0-or-later

// Multicast listening (MLDv2, RFC 3810; MLDv1, RFC 2710; net/ipv6/mcast.c): groups are joined and left, changes are
// told twice, and queries are answered after a time by chance.
//
//    MLDv1    0 type │ 1 code │ 2 checksum │ 4 maximum delay │ 6 zero │ 8 group
//    query    … as MLDv1 … │ 24 flags, robustness │ 25 interval │ 26 count of sources │ 28 sources
//    report   0 type │ 1 zero │ 2 checksum │ 4 zero │ 6 count │ 8 records: type │ 0 │ sources │ group

import NetTypes

private enum MLDRecord {
  static let isExclude: UInt8 = 2
  static let toInclude: UInt8 = 3
  static let toExclude: UInt8 = 4
  static let length = 20
}

extension Kernel {
  private static let second: Int64 = 1_000_000_000

  // MARK: Membership

  /// Whether a device listens to a group (ipv6_chk_mcast_addr).
  @inline(__always) func listens(to group: UInt128, on device: DeviceIndex) -> Bool {
    devices[device].inet6.listener.groups.contains { $0.group == group }
  }

  /// __ipv6_dev_mc_inc.
  mutating func joinGroup(_ group: UInt128, on device: DeviceIndex) {
    if let place = devices[device].inet6.listener.groups.firstIndex(where: { $0.group == group }) {
      devices[device].inet6.listener.groups[place].users += 1
      return
    }
    devices[device].inet6.listener.groups.insert(GroupMembership6(group: group), at: 0)
    devices[device].inet6.listener.departed.removeAll { $0.group == group }
    if devices[device].isUp { announceGroup(at: 0, on: device) }
  }

  /// igmp6_group_added.
  private mutating func announceGroup(at place: Int, on device: DeviceIndex) {
    guard devices[device].inet6.listener.groups[place].isReported else { return }
    if usesVersion1(device) {
      let group = devices[device].inet6.listener.groups[place].group
      sendVersion1(ICMPv6Type.listenerReport, group, by: device)
      devices[device].inet6.listener.groups[place].isLastReporter = true
      let interval = Int64(devices[device].settings.ipv6[.mldv1Interval]) * 1_000_000
      devices[device].inet6.listener.groups[place].answerDue =
        cpu.now + Int64(cpu.random.below(UInt64(max(interval, 1))))
      armGroupTimer(device)
    } else {
      devices[device].inet6.listener.groups[place].reports = devices[device].inet6.listener.robustness
      beginChangeReports(device)
    }
  }

  /// __ipv6_dev_mc_dec.
  mutating func leaveGroup(_ group: UInt128, on device: DeviceIndex) {
    guard let place = devices[device].inet6.listener.groups.firstIndex(where: { $0.group == group }) else {
      return
    }
    devices[device].inet6.listener.groups[place].users -= 1
    guard devices[device].inet6.listener.groups[place].users == 0 else { return }
    let gone = devices[device].inet6.listener.groups.remove(at: place)
    guard devices[device].isUp, gone.isReported else { return }
    if usesVersion1(device) {
      if gone.isLastReporter { sendVersion1(ICMPv6Type.listenerDone, group, by: device) }
    } else {
      let robustness = devices[device].inet6.listener.robustness
      devices[device].inet6.listener.departed.append(DepartedGroup6(group: group, reports: robustness))
      beginChangeReports(device)
    }
  }

  /// A device has come up: what it listens to is told (ipv6_mc_up).
  mutating func startGroups(of device: DeviceIndex) {
    for place in devices[device].inet6.listener.groups.indices { announceGroup(at: place, on: device) }
  }

  /// A device goes down (ipv6_mc_down), or loses IPv6 for good (ipv6_mc_destroy_dev).
  mutating func stopGroups(of device: DeviceIndex, forGood: Bool) {
    cpu.wheel.cancel(&devices[device].inet6.listener.changeTimer)
    cpu.wheel.cancel(&devices[device].inet6.listener.stateTimer)
    cpu.wheel.cancel(&devices[device].inet6.listener.generalTimer)
    cpu.wheel.cancel(&devices[device].inet6.listener.groupTimer)
    let groups = forGood ? [] : devices[device].inet6.listener.groups
    devices[device].inet6.listener = MulticastListener()
    devices[device].inet6.listener.groups = groups.map { GroupMembership6(group: $0.group, users: $0.users) }
  }

  private func usesVersion1(_ device: DeviceIndex) -> Bool {
    let all = namespaces[devices[device].namespace].everyDevice.ipv6[.forceMLDVersion]
    switch all != 0 ? all : devices[device].settings.ipv6[.forceMLDVersion] {
    case 1: return true
    case 2: return false
    default: return cpu.now < devices[device].inet6.listener.version1Until
    }
  }

  // MARK: Unasked reports

  /// mld_ifc_event: as often as the robustness says, the first at once.
  private mutating func beginChangeReports(_ device: DeviceIndex) {
    devices[device].inet6.listener.changeReports = devices[device].inet6.listener.robustness
    cpu.wheel.cancel(&devices[device].inet6.listener.changeTimer)
    devices[device].inet6.listener.changeTimer = cpu.wheel.arm(
      TimerEvent(kind: .groupChanges, index: device.rawValue), at: cpu.now + 2_000_000)
  }

  private mutating func unsolicitedDelay(_ device: DeviceIndex) -> Int64 {
    let interval = Int64(devices[device].settings.ipv6[.mldv2Interval]) * 1_000_000
    return Int64(cpu.random.below(UInt64(max(interval, 1)))) + 2_000_000
  }

  /// mld_ifc_work.
  mutating func groupChangesTimer(_ device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].inet6.listener.changeTimer = .none
    var records: [(UInt8, UInt128)] = []
    for place in devices[device].inet6.listener.departed.indices {
      records.append((MLDRecord.toInclude, devices[device].inet6.listener.departed[place].group))
      devices[device].inet6.listener.departed[place].reports -= 1
    }
    devices[device].inet6.listener.departed.removeAll { $0.reports <= 0 }
    for place in devices[device].inet6.listener.groups.indices
    where devices[device].inet6.listener.groups[place].reports > 0 {
      devices[device].inet6.listener.groups[place].reports -= 1
      records.append((MLDRecord.toExclude, devices[device].inet6.listener.groups[place].group))
    }
    sendReport(records, by: device)
    devices[device].inet6.listener.changeReports -= 1
    guard devices[device].inet6.listener.changeReports > 0 else { return }
    let delay = unsolicitedDelay(device)
    devices[device].inet6.listener.changeTimer = cpu.wheel.arm(
      TimerEvent(kind: .groupChanges, index: device.rawValue), at: cpu.now + delay)
  }

  /// The device can speak for itself now (ipv6_mc_dad_complete), or may be on another link.
  mutating func reportAllGroups(of device: DeviceIndex) {
    devices[device].inet6.listener.stateReports = devices[device].inet6.listener.robustness
    cpu.wheel.cancel(&devices[device].inet6.listener.stateTimer)
    groupStateTimer(device)
  }

  /// mld_dad_work.
  mutating func groupStateTimer(_ device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].inet6.listener.stateTimer = .none
    if !usesVersion1(device) {
      sendReport(
        devices[device].inet6.listener.groups.filter(\.isReported).map { (MLDRecord.toExclude, $0.group) },
        by: device)
    }
    devices[device].inet6.listener.stateReports -= 1
    guard devices[device].inet6.listener.stateReports > 0 else { return }
    let delay = unsolicitedDelay(device)
    devices[device].inet6.listener.stateTimer = cpu.wheel.arm(
      TimerEvent(kind: .groupState, index: device.rawValue), at: cpu.now + delay)
  }

  // MARK: Queries

  /// Takes a query (igmp6_event_query); the slot stays the caller's.
  mutating func listenerQuery(_ slot: Slot, on device: DeviceIndex) {
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    // RFC 3810 6.2: from the link, with a router alert.
    guard IPv6.isLinkLocal(header.ipv6Source), header.u8(IPv6Header.hopLimit) == 1,
      pool[slot].flags.contains(.routerAlert), bytes.count >= 24
    else { return }
    let group = bytes.u128(8)
    guard group == 0 || IPv6.isMulticast(group) else { return }
    var most: Int64
    if bytes.count == 24 {
      // MLDv1: such a querier is believed in for a while.
      most = Int64(bytes.u16(4)) * 1_000_000
      let listener = devices[device].inet6.listener
      devices[device].inet6.listener.version1Until =
        cpu.now + Int64(listener.robustness) * listener.queryInterval + most
      cpu.wheel.cancel(&devices[device].inet6.listener.changeTimer)
      cpu.wheel.cancel(&devices[device].inet6.listener.generalTimer)
      devices[device].inet6.listener.departed = []
    } else {
      guard bytes.count >= 28, !usesVersion1(device) else { return }
      most = max(Self.floatingPoint(bytes.u16(4)), 1) * 1_000_000
      let robustness = Int(bytes.u8(24) & 7)
      devices[device].inet6.listener.robustness = robustness == 0 ? 2 : robustness
      let interval = Self.floatingPoint(bytes.u8(25))
      devices[device].inet6.listener.queryInterval = (interval == 0 ? 125 : interval) * Self.second
      if group == 0 {
        guard bytes.u16(26) == 0 else { return }
        let delay = Int64(cpu.random.below(UInt64(most)))
        cpu.wheel.cancel(&devices[device].inet6.listener.generalTimer)
        devices[device].inet6.listener.generalTimer = cpu.wheel.arm(
          TimerEvent(kind: .groupAnswer, index: device.rawValue), at: cpu.now + delay)
        return
      }
    }
    most = max(most, 1)
    for place in devices[device].inet6.listener.groups.indices
    where devices[device].inet6.listener.groups[place].isReported
      && (group == 0 || devices[device].inet6.listener.groups[place].group == group)
    {
      let due = cpu.now + Int64(cpu.random.below(UInt64(most)))
      let waiting = devices[device].inet6.listener.groups[place].answerDue ?? .max
      devices[device].inet6.listener.groups[place].answerDue = min(due, waiting)
    }
    armGroupTimer(device)
  }

  /// RFC 3810 5.1.3: large values have an exponent.
  private static func floatingPoint(_ code: UInt16) -> Int64 {
    guard code >= 32768 else { return Int64(code) }
    return Int64(code & 0xfff | 0x1000) << (Int64(code >> 12 & 7) + 3)
  }

  private static func floatingPoint(_ code: UInt8) -> Int64 {
    guard code >= 128 else { return Int64(code) }
    return Int64(code & 0xf | 0x10) << (Int64(code >> 4 & 7) + 3)
  }

  /// Another has reported a group already (igmp6_event_report): with MLDv1 once is enough.
  mutating func listenerReport(_ slot: Slot, on device: DeviceIndex) {
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let source = header.ipv6Source
    guard bytes.count >= 24, source == 0 || IPv6.isLinkLocal(source) else { return }
    let group = bytes.u128(8)
    guard let place = devices[device].inet6.listener.groups.firstIndex(where: { $0.group == group }) else {
      return
    }
    devices[device].inet6.listener.groups[place].answerDue = nil
    devices[device].inet6.listener.groups[place].isLastReporter = false
    armGroupTimer(device)
  }

  private mutating func armGroupTimer(_ device: DeviceIndex) {
    cpu.wheel.cancel(&devices[device].inet6.listener.groupTimer)
    guard let next = devices[device].inet6.listener.groups.compactMap(\.answerDue).min() else { return }
    devices[device].inet6.listener.groupTimer = cpu.wheel.arm(
      TimerEvent(kind: .groupReport, index: device.rawValue), at: next)
  }

  /// Answers for all groups at once (mld_gq_work).
  mutating func groupAnswerTimer(_ device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].inet6.listener.generalTimer = .none
    sendReport(
      devices[device].inet6.listener.groups.filter(\.isReported).map { (MLDRecord.isExclude, $0.group) },
      by: device)
  }

  /// Answers for single groups (mld_mca_work).
  mutating func groupReportTimer(_ device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].inet6.listener.groupTimer = .none
    let isOld = usesVersion1(device)
    for place in devices[device].inet6.listener.groups.indices {
      guard let due = devices[device].inet6.listener.groups[place].answerDue, due <= cpu.now else { continue }
      devices[device].inet6.listener.groups[place].answerDue = nil
      let group = devices[device].inet6.listener.groups[place].group
      if isOld {
        sendVersion1(ICMPv6Type.listenerReport, group, by: device)
        devices[device].inet6.listener.groups[place].isLastReporter = true
      } else {
        sendReport([(MLDRecord.isExclude, group)], by: device)
      }
    }
    armGroupTimer(device)
  }

  // MARK: Sending

  /// Sends as many reports as the records need (mld_sendpack).
  private mutating func sendReport(_ records: [(UInt8, UInt128)], by device: DeviceIndex) {
    let most = (min(devices[device].mtu, 1500) - IPv6Header.length - 8 - 8) / MLDRecord.length
    var rest = records[...]
    while !rest.isEmpty {
      let some = rest.prefix(most)
      rest = rest.dropFirst(most)
      let slot = pool.allocate(length: 8 + some.count * MLDRecord.length)
      guard slot != .none else { return }
      let bytes = pool.bytes(slot)
      bytes.set(0, u64: UInt64(ICMPv6Type.listenerReport2.rawValue) << 56 | UInt64(some.count))
      for (place, (type, group)) in some.enumerated() {
        let record = bytes.dropFirst(8 + place * MLDRecord.length)
        record.set(0, u32: UInt32(type) << 24)
        record.set(4, u128: group)
      }
      sendListener(slot, to: IPv6.allMLDv2Routers, by: device)
    }
  }

  /// igmp6_send: a report goes to the group itself, the news of leaving to all routers.
  private mutating func sendVersion1(_ type: ICMPv6Type, _ group: UInt128, by device: DeviceIndex) {
    let slot = pool.allocate(length: 24)
    guard slot != .none else { return }
    let bytes = pool.bytes(slot)
    bytes.set(0, u64: UInt64(type.rawValue) << 56)
    bytes.set(8, u128: group)
    sendListener(slot, to: type == .listenerDone ? IPv6.allRouters : group, by: device)
  }

  /// All of them go by the link alone, with a router alert (RFC 2711) in a header for every hop.
  private mutating func sendListener(_ slot: Slot, to destination: UInt128, by device: DeviceIndex) {
    let source = linkLocalAddress(of: device) ?? 0
    sealICMPv6(slot, from: source, to: destination)
    let type = pool.bytes(slot).u8(0)
    guard pool.push(slot, 8) else {
      drop(slot, .noMemory, in: devices[device].namespace)
      return
    }
    pool.bytes(slot).set(0, u64: UInt64(IPv6NextHeader.icmp) << 56 | 0x0000_0502_0000_0100)
    countICMPv6Sent(type, in: devices[device].namespace)
    sendOnLink(
      slot, from: source, to: destination, nextHeader: IPv6NextHeader.hopByHop, hopLimit: 1, by: device)
  }
}
