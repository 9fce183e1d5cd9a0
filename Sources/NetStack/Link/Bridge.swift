// SPDX-License-Identifier: GPL-2.0-or-later

// A learning bridge (net/bridge). Spanning tree, VLAN filtering and multicast snooping are not here yet, and are
// refused by name when asked for; groups are flooded, as a bridge without a querier does.

/// The place of a bridge in the kernel's table.
typealias BridgeIndex = TableIndex<Bridge>

/// What a bridge has beside its device.
struct Bridge: ~Copyable {
  /// Ports at most (BR_MAX_PORTS).
  static let maximumPorts = 1023

  let device: DeviceIndex
  /// In order of joining.
  var ports: [DeviceIndex] = []
  var database: ForwardingDatabase
  /// Nanoseconds; 300 s as the kernel has it.
  var ageing: Int64 = 300_000_000_000
  /// Which of the groups 01:80:c2:00:00:0X are forwarded.
  var groupForwardMask: UInt16 = 0
  var ageTimer = TimerID.none
  /// What only a spanning tree, or a querier of groups, would read; kept to be read back. Hundredths of a second.
  var forwardDelay: UInt32 = 1500
  var helloTime: UInt32 = 200
  var maximumAge: UInt32 = 2000
  var priority: UInt16 = 32768
  /// Without a querier a snooping bridge floods groups too.
  var multicastSnooping = true
  /// Addresses that were not learned because the database was full.
  var notLearned: UInt64 = 0

  init(device: DeviceIndex, seed: UInt64) {
    self.device = device
    database = ForwardingDatabase(seed: seed)
  }
}

/// A device's part as a bridge's port (IFLA_BRPORT_*).
struct BridgePort: Hashable {
  /// From 1; 0 for a device that is no port.
  var number: UInt16 = 0
  var learning = true
  var unicastFlood = true
  var multicastFlood = true
  var broadcastFlood = true
  var hairpin = false
  var isolated = false
  /// False when configuration has put the port into another state than forwarding.
  var isForwarding = true
}

extension Kernel {
  /// Takes frames that came in by a port (br_handle_frame, br_handle_frame_finish). Frames that leave by one port
  /// one after the other go together.
  mutating func bridgeReceive(_ burst: inout Burst, on index: DeviceIndex) {
    let bridge = devices[index].master
    let namespace = devices[index].namespace
    let port = devices[index].port
    let bridgeDevice = bridges[bridge].device
    let isUp = devices[bridgeDevice].isUp
    var run = Burst()
    var egress = DeviceIndex.none
    for position in 0..<burst.count {
      let slot = burst[position]
      let bytes = pool.bytes(slot)
      guard bytes.count >= EthernetHeader.length else {
        drop(slot, .headerTruncated, in: namespace)
        continue
      }
      let destination = bytes.u48(EthernetHeader.destination)
      let source = bytes.u48(EthernetHeader.source)
      guard isUp, port.isForwarding else {
        drop(slot, .bridgeIngressState, in: namespace)
        continue
      }
      guard source != 0, !EthernetHeader.isMulticast(source) else {
        drop(slot, .bridgeInvalidSource, in: namespace)
        continue
      }
      if port.learning { learn(source, on: index, of: bridge) }
      if !EthernetHeader.isMulticast(destination), let place = bridges[bridge].database.find(destination) {
        let entry = bridges[bridge].database[place]
        if entry.flags.contains(.local) {
          flush(&run, by: egress)
          bridgePassUp(slot, bridgeDevice)
        } else if mayLeave(by: entry.port, from: index, port) {
          if entry.port != egress {
            flush(&run, by: egress)
            egress = entry.port
          }
          run.append(slot)
        } else {
          drop(slot, .bridgeNoEgress, in: namespace)
        }
        continue
      }
      flush(&run, by: egress)
      bridgeGroup(slot, destination, on: index, bridge)
    }
    flush(&run, by: egress)
    burst.removeAll()
  }

  @inline(__always) private mutating func flush(_ run: inout Burst, by egress: DeviceIndex) {
    if !run.isEmpty { bridgeForward(&run, by: egress) }
  }

  /// Frames that are too large for the port are dropped without a word, as a switch does.
  private mutating func bridgeForward(_ run: inout Burst, by egress: DeviceIndex) {
    let most = devices[egress].mtu &+ 18
    var largest = 0
    for position in 0..<run.count { largest = max(largest, Int(pool[run[position]].length)) }
    guard largest > most else {
      transmit(&run, by: egress)
      return
    }
    for position in 0..<run.count {
      if Int(pool[run[position]].length) <= most {
        transmit(run[position], by: egress)
      } else {
        drop(run[position], .packetTooBig, in: devices[egress].namespace)
      }
    }
    run.removeAll()
  }

  @inline(__always)
  private func mayLeave(by egress: DeviceIndex, from index: DeviceIndex, _ port: BridgePort) -> Bool {
    (egress != index || port.hairpin) && devices[egress].isUp && devices[egress].port.isForwarding
      && !(port.isolated && devices[egress].port.isolated)
  }

  /// Remembers behind which port an address is (br_fdb_update).
  @inline(__always)
  private mutating func learn(_ address: UInt64, on index: DeviceIndex, of bridge: BridgeIndex) {
    if let place = bridges[bridge].database.find(address) {
      guard !bridges[bridge].database[place].flags.contains(.local) else { return }
      bridges[bridge].database[place].updated = cpu.now
      if bridges[bridge].database[place].port != index,
        !bridges[bridge].database[place].flags.contains(.sticky)
      {
        bridges[bridge].database[place].port = index
        notifyForwarding(address, on: index)
      }
    } else {
      learnNew(address, on: index, of: bridge)
    }
  }

  @inline(never)
  private mutating func learnNew(_ address: UInt64, on index: DeviceIndex, of bridge: BridgeIndex) {
    guard bridges[bridge].ageing > 0 else { return }
    let entry = ForwardingEntry(key: address, port: index, flags: [], updated: cpu.now)
    guard bridges[bridge].database.insert(entry) else {
      bridges[bridge].notLearned &+= 1
      return
    }
    notifyForwarding(address, on: index)
    armForwardingAge(bridge, at: cpu.now + bridges[bridge].ageing)
  }

  mutating func armForwardingAge(_ bridge: BridgeIndex, at deadline: Int64) {
    guard bridges[bridge].ageTimer == .none else { return }
    bridges[bridge].ageTimer = cpu.wheel.arm(
      TimerEvent(kind: .forwardingAge, index: bridge.rawValue), at: deadline)
  }

  /// Forgets what has not been seen for the ageing time, and comes again when the next is due (br_fdb_cleanup).
  mutating func forwardingAgeTimer(_ bridge: BridgeIndex) {
    guard bridges.contains(bridge) else { return }
    bridges[bridge].ageTimer = .none
    let oldest = cpu.now - bridges[bridge].ageing
    bridges[bridge].database.removeAll { entry in
      entry.flags.isDisjoint(with: [.local, .static]) && entry.updated <= oldest
    }
    let rest = bridges[bridge].database.sorted.filter { $0.flags.isDisjoint(with: [.local, .static]) }
    guard let next = rest.map(\.updated).min() else { return }
    // Not more often than every 10 ms, as the kernel.
    armForwardingAge(bridge, at: max(next + bridges[bridge].ageing, cpu.now + 10_000_000))
  }

  /// A frame to a group, or to an address that is not known.
  private mutating func bridgeGroup(
    _ slot: Slot, _ destination: UInt64, on index: DeviceIndex, _ bridge: BridgeIndex
  ) {
    let bridgeDevice = bridges[bridge].device
    let isGroup = EthernetHeader.isMulticast(destination)
    // The link-local groups stay on their link, but for the spanning tree's while no spanning tree runs here.
    if destination >> 4 == 0x0180_c200_000 {
      let last = destination & 15
      if last == 1 {
        drop(slot, .bridgeLinkLocal, in: devices[index].namespace)
        return
      }
      if last != 0, bridges[bridge].groupForwardMask >> last & 1 == 0 {
        var burst = Burst(slot)
        ethernetReceive(&burst, on: index)
        return
      }
    }
    flood(slot, destination, from: index, bridge, keeping: isGroup)
    if isGroup { bridgePassUp(slot, bridgeDevice) }
  }

  /// Sends copies by all ports that may have them, in order; the frame itself too, unless it is kept for the host.
  private mutating func flood(
    _ slot: Slot, _ destination: UInt64, from index: DeviceIndex, _ bridge: BridgeIndex, keeping: Bool
  ) {
    let isGroup = EthernetHeader.isMulticast(destination)
    let source = devices[index].port
    var last = DeviceIndex.none
    for position in 0..<bridges[bridge].ports.count {
      let egress = bridges[bridge].ports[position]
      let port = devices[egress].port
      guard mayLeave(by: egress, from: index, source) else { continue }
      let wanted =
        isGroup
        ? (destination == EthernetHeader.broadcast ? port.broadcastFlood : port.multicastFlood)
        : port.unicastFlood
      guard wanted else { continue }
      if !last.isNone { sendClone(slot, by: last) }
      last = egress
    }
    guard !last.isNone else {
      if !keeping { drop(slot, .bridgeNoEgress, in: devices[index].namespace) }
      return
    }
    if keeping {
      sendClone(slot, by: last)
    } else {
      var run = Burst(slot)
      bridgeForward(&run, by: last)
    }
  }

  private mutating func sendClone(_ slot: Slot, by egress: DeviceIndex) {
    let copy = pool.clone(slot)
    guard copy != .none else {
      devices[egress].statistics.txDropped &+= 1
      return
    }
    var run = Burst(copy)
    bridgeForward(&run, by: egress)
  }

  /// Gives a frame to the host as one that the bridge device received (br_pass_frame_up).
  private mutating func bridgePassUp(_ slot: Slot, _ device: DeviceIndex) {
    var burst = Burst(slot)
    receive(&burst, on: device)
  }

  /// The host sends by the bridge device (br_dev_xmit).
  mutating func bridgeTransmit(_ burst: inout Burst, by index: DeviceIndex, _ bridge: BridgeIndex) {
    devices[index].statistics.txPackets &+= UInt64(burst.count)
    devices[index].statistics.txBytes &+= totalBytes(burst)
    for position in 0..<burst.count {
      let slot = burst[position]
      let destination = pool.bytes(slot).u48(EthernetHeader.destination)
      if !EthernetHeader.isMulticast(destination), let place = bridges[bridge].database.find(destination) {
        let entry = bridges[bridge].database[place]
        if !entry.flags.contains(.local), mayLeave(by: entry.port, from: index, BridgePort()) {
          var run = Burst(slot)
          bridgeForward(&run, by: entry.port)
        } else {
          drop(slot, .bridgeNoEgress, in: devices[index].namespace)
        }
      } else {
        flood(slot, destination, from: index, bridge, keeping: false)
      }
    }
    burst.removeAll()
  }
}
