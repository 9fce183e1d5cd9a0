// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge's forwarding (net/bridge/br_input.c, br_forward.c, br_device.c): from the port that a frame came in by to
// those that it leaves by, and to the host behind the bridge device.

extension Kernel {
  /// Takes frames that came in by a port (br_handle_frame, br_handle_frame_finish). Frames that leave by one port
  /// one after the other go together; what is not just looked up and sent on lets them go first.
  mutating func bridgeReceive(_ burst: inout Burst, on index: DeviceIndex) {
    let bridge = devices[index].master
    let namespace = devices[index].namespace
    if hasBridgeRules(in: namespace) { filterBridge(&burst, on: index) }
    var port = devices[index].port
    let bridgeDevice = bridges[bridge].device
    let isPromiscuous = devices[bridgeDevice].flags.contains(.promiscuous)
    let filtersVLANs = bridges[bridge].filtersVLANs
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
      guard source != 0, !EthernetHeader.isMulticast(source) else {
        drop(slot, .bridgeInvalidSource, in: namespace)
        continue
      }
      if destination >> 4 == EthernetHeader.linkLocalGroups {
        flush(&run, from: index, by: egress)
        if linkLocal(slot, source, destination, on: index, bridge) {
          // The spanning tree may have given the port another state.
          port = devices[index].port
          continue
        }
      }
      guard port.state == .forwarding || port.state == .learning else {
        drop(slot, .bridgeIngressState, in: namespace)
        continue
      }
      var vlan: UInt16 = 0
      if filtersVLANs {
        guard let found = admit(slot, by: index, bridge) else {
          drop(slot, .bridgeVLANFilter, in: namespace)
          continue
        }
        vlan = found
      }
      if port.learning { learn(ForwardingEntry.key(source, vlan), on: index, of: bridge) }
      let isGroup = EthernetHeader.isMulticast(destination)
      guard port.state == .forwarding else {
        if isGroup { _ = snoop(slot, from: index, bridge, vlan) }
        drop(slot, .bridgeIngressState, in: namespace)
        continue
      }
      guard !isGroup, let place = find(destination, vlan, in: bridge) else {
        flush(&run, from: index, by: egress)
        bridgeGroup(slot, destination, vlan, isPromiscuous, on: index, bridge)
        continue
      }
      let entry = bridges[bridge].database[place]
      bridges[bridge].database[place].used = cpu.now
      if entry.flags.contains(.local) {
        flush(&run, from: index, by: egress)
        bridgePassUp(slot, vlan, from: index, bridge)
        continue
      }
      if isPromiscuous {
        flush(&run, from: index, by: egress)
        passUpClone(slot, vlan, from: index, bridge)
      }
      guard mayLeave(by: entry.port, vlan, from: index, port) else {
        drop(slot, .bridgeNoEgress, in: namespace)
        continue
      }
      if entry.port != egress {
        flush(&run, from: index, by: egress)
        egress = entry.port
      }
      run.append(slot)
    }
    flush(&run, from: index, by: egress)
    burst.removeAll()
  }

  /// Where an address is in a VLAN. The bridge's and its ports' own are kept once (fdb_local_vlan_0), and hold in the VLANs
  /// that the device is in, as the kernel's entries for each of them do.
  @inline(__always)
  private func find(_ address: UInt64, _ vlan: UInt16, in bridge: BridgeIndex) -> Int? {
    if let place = bridges[bridge].database.find(ForwardingEntry.key(address, vlan)) { return place }
    guard vlan != 0, let place = bridges[bridge].database.find(address),
      bridges[bridge].database[place].flags.isSuperset(of: .local),
      !bridges[bridge].database[place].flags.contains(.added), isOwn(address, vlan, in: bridge)
    else { return nil }
    return place
  }

  /// Whether a device with that address, the bridge or one of its ports, is in a VLAN.
  @inline(never)
  private func isOwn(_ address: UInt64, _ vlan: UInt16, in bridge: BridgeIndex) -> Bool {
    let own = bridges[bridge].device
    if devices[own].mac == address, devices[own].vlans.contains(vlan) { return true }
    for port in bridges[bridge].ports where devices[port].mac == address {
      if devices[port].vlans.contains(vlan) { return true }
    }
    return false
  }

  @inline(__always)
  private mutating func flush(_ run: inout Burst, from index: DeviceIndex, by egress: DeviceIndex) {
    if !run.isEmpty { bridgeForward(&run, from: index, by: egress) }
  }

  /// Frames that are too large for the port are dropped without a word, as a switch does.
  private mutating func bridgeForward(
    _ run: inout Burst, from index: DeviceIndex, by egress: DeviceIndex
  ) {
    let most = devices[egress].mtu &+ 18
    var largest = 0
    for position in 0..<run.count { largest = max(largest, uncutLength(run[position])) }
    if largest <= most, !bridges[devices[egress].master].filtersVLANs,
      !meetsBridgeRules(in: devices[egress].namespace)
    {
      transmit(&run, by: egress)
    } else {
      forwardOneByOne(&run, most, from: index, by: egress)
    }
  }

  /// With what each frame may have to be told apart for: its tag (br_handle_vlan), then rules (__br_forward,
  /// br_forward_finish), then its length (br_dev_queue_push_xmit).
  private mutating func forwardOneByOne(
    _ run: inout Burst, _ most: Int, from index: DeviceIndex, by egress: DeviceIndex
  ) {
    let filtersVLANs = bridges[devices[egress].master].filtersVLANs
    let namespace = devices[egress].namespace
    let isOwn = index == bridges[devices[egress].master].device
    for position in 0..<run.count {
      let slot = run[position]
      if filtersVLANs, !dress(slot, for: egress) {
        drop(slot, .noMemory, in: namespace)
      } else if meetBridgeRules(
        slot, isOwn ? .output : .forward, in: isOwn ? .none : index, out: egress, namespace),
        meetBridgeRules(slot, .postrouting, in: .none, out: egress, namespace)
      {
        if uncutLength(slot) > most {
          drop(slot, .packetTooBig, in: namespace)
        } else {
          transmit(slot, by: egress)
        }
      }
    }
    run.removeAll()
  }

  /// Whether a frame may leave by a port; without filtering its VLAN is 0 (should_deliver).
  @inline(__always)
  private func mayLeave(
    by egress: DeviceIndex, _ vlan: UInt16, from index: DeviceIndex, _ port: BridgePort
  ) -> Bool {
    (egress != index || port.hairpin) && (vlan == 0 || devices[egress].vlans.contains(vlan))
      && devices[egress].port.state == .forwarding
      && !(port.isolated && devices[egress].port.isolated)
  }

  /// Remembers behind which port an address is (br_fdb_update).
  @inline(__always)
  private mutating func learn(_ key: UInt64, on index: DeviceIndex, of bridge: BridgeIndex) {
    if let place = bridges[bridge].database.find(key) {
      guard !bridges[bridge].database[place].flags.contains(.local) else { return }
      bridges[bridge].database[place].updated = cpu.now
      if bridges[bridge].database[place].port != index,
        !bridges[bridge].database[place].flags.contains(.sticky)
      {
        bridges[bridge].database[place].port = index
        notifyForwarding(key, on: index)
      }
    } else {
      learnNew(key, on: index, of: bridge)
    }
  }

  @inline(never)
  private mutating func learnNew(_ key: UInt64, on index: DeviceIndex, of bridge: BridgeIndex) {
    guard bridges[bridge].holdTime > 0 else { return }
    let entry = ForwardingEntry(
      key: key, port: index, flags: .learned, updated: cpu.now, used: cpu.now)
    guard bridges[bridge].mayLearn, bridges[bridge].database.insert(entry) else {
      bridges[bridge].notLearned &+= 1
      return
    }
    notifyForwarding(key, on: index)
    armForwardingAge(bridge, at: cpu.now + bridges[bridge].holdTime)
  }

  /// Forgets at once what is too old by the new time.
  mutating func setAgeing(_ bridge: BridgeIndex, _ ageing: Int64) {
    bridges[bridge].ageing = ageing
    cpu.wheel.cancel(&bridges[bridge].ageTimer)
    armForwardingAge(bridge, at: cpu.now)
  }

  mutating func armForwardingAge(_ bridge: BridgeIndex, at deadline: Int64) {
    guard bridges[bridge].ageTimer == .none else { return }
    bridges[bridge].ageTimer = cpu.wheel.arm(
      TimerEvent(kind: .forwardingAge, index: bridge.rawValue), at: deadline)
  }

  /// Forgets what has not been seen for the ageing time, and comes again when the next is due (br_fdb_cleanup).
  mutating func forwardingAgeTimer(_ bridge: BridgeIndex) {
    bridges[bridge].ageTimer = .none
    let oldest = cpu.now - bridges[bridge].holdTime
    bridges[bridge].database.removeAll { entry in
      entry.flags.isDisjoint(with: [.local, .static]) && entry.updated <= oldest
    }
    guard let next = bridges[bridge].database.oldestUpdate else { return }
    // Not more often than every 10 ms, as the kernel.
    armForwardingAge(bridge, at: max(next + bridges[bridge].holdTime, cpu.now + 10_000_000))
  }

  /// Decides about a frame to one of the groups that stay on their link, but for those that configuration forwards,
  /// and the spanning tree's while no spanning tree runs here. False: it is to be forwarded.
  private mutating func linkLocal(
    _ slot: Slot, _ source: UInt64, _ destination: UInt64, on index: DeviceIndex, _ bridge: BridgeIndex
  ) -> Bool {
    let last = destination & 15
    let mask = devices[index].port.groupForwardMask | (last == 0 ? 0 : bridges[bridge].groupForwardMask)
    if last == 1 {
      drop(slot, .bridgeLinkLocal, in: devices[index].namespace)
      return true
    }
    if mask >> last & 1 != 0 || last == 0 && !bridges[bridge].tree.isOn { return false }
    let state = devices[index].port.state
    if devices[index].port.learning, state == .learning || state == .forwarding {
      if let vlan = learnableVLAN(slot, on: index, bridge) {
        learn(ForwardingEntry.key(source, vlan), on: index, of: bridge)
      }
    }
    bridgeLocal(slot, on: index, bridge)
    return true
  }

  /// A frame to a group, or to an address that is not known: to all, or to those that want the group.
  private mutating func bridgeGroup(
    _ slot: Slot, _ destination: UInt64, _ vlan: UInt16, _ isPromiscuous: Bool, on index: DeviceIndex,
    _ bridge: BridgeIndex
  ) {
    var isLocal = isPromiscuous
    var audience: GroupAudience?
    if destination == EthernetHeader.broadcast {
      isLocal = true
    } else if EthernetHeader.isMulticast(destination) {
      guard let snooped = snoop(slot, from: index, bridge, vlan) else {
        drop(slot, .bridgeGroupInvalid, in: devices[index].namespace)
        return
      }
      audience = self.audience(snooped, bridge)
      isLocal = isLocal || audience?.includesHost ?? true
    }
    flood(slot, destination, vlan, to: audience, from: index, bridge, keeping: isLocal)
    if isLocal { bridgePassUp(slot, vlan, from: index, bridge) }
  }

  /// Sends copies by all ports that may have them, the newest first (br_add_if puts it before the others); the frame
  /// itself too, unless it is kept for the host.
  private mutating func flood(
    _ slot: Slot, _ destination: UInt64, _ vlan: UInt16, to audience: GroupAudience?,
    from index: DeviceIndex, _ bridge: BridgeIndex, keeping: Bool
  ) {
    let source = devices[index].port
    // What the host itself says to a group goes everywhere.
    let isOwn = index == bridges[bridge].device
    var last = DeviceIndex.none
    for position in (0..<bridges[bridge].ports.count).reversed() {
      let egress = bridges[bridge].ports[position]
      guard mayLeave(by: egress, vlan, from: index, source) else { continue }
      if let audience {
        guard isIn(audience, egress, bridge) else { continue }
      } else {
        guard floods(destination, by: egress, isOwn) else { continue }
      }
      if !last.isNone { sendClone(slot, from: index, by: last) }
      last = egress
    }
    guard !last.isNone else {
      if !keeping { drop(slot, .bridgeNoEgress, in: devices[index].namespace) }
      return
    }
    if keeping {
      sendClone(slot, from: index, by: last)
    } else {
      var run = Burst(slot)
      bridgeForward(&run, from: index, by: last)
    }
  }

  private func floods(_ destination: UInt64, by egress: DeviceIndex, _ isOwn: Bool) -> Bool {
    if destination == EthernetHeader.broadcast { return isOwn || devices[egress].port.broadcastFlood }
    if EthernetHeader.isMulticast(destination) { return isOwn || devices[egress].port.multicastFlood }
    return devices[egress].port.unicastFlood
  }

  private mutating func sendClone(_ slot: Slot, from index: DeviceIndex, by egress: DeviceIndex) {
    let copy = pool.clone(slot)
    guard copy != .none else {
      devices[egress].statistics.txDropped &+= 1
      return
    }
    var run = Burst(copy)
    bridgeForward(&run, from: index, by: egress)
  }

  /// Gives a frame to the host as one that the bridge device received, if it is of one of the bridge's own VLANs
  /// (br_pass_frame_up).
  private mutating func bridgePassUp(
    _ slot: Slot, _ vlan: UInt16, from index: DeviceIndex, _ bridge: BridgeIndex
  ) {
    let device = bridges[bridge].device
    if vlan != 0 {
      let isOwn = devices[device].vlans.contains(vlan)
      guard isOwn || devices[device].flags.contains(.promiscuous), dress(slot, for: device) else {
        drop(slot, .bridgeVLANFilter, in: devices[device].namespace)
        return
      }
    }
    guard meetBridgeRules(slot, .input, in: index, out: .none, devices[device].namespace) else { return }
    var burst = Burst(slot)
    receive(&burst, on: device)
  }

  private mutating func passUpClone(
    _ slot: Slot, _ vlan: UInt16, from index: DeviceIndex, _ bridge: BridgeIndex
  ) {
    let copy = pool.clone(slot)
    guard copy != .none else {
      devices[bridges[bridge].device].statistics.rxDropped &+= 1
      return
    }
    bridgePassUp(copy, vlan, from: index, bridge)
  }

  /// The host sends by the bridge device (br_dev_xmit).
  mutating func bridgeTransmit(_ burst: inout Burst, by index: DeviceIndex, _ bridge: BridgeIndex) {
    devices[index].statistics.txPackets &+= UInt64(burst.count)
    devices[index].statistics.txBytes &+= totalBytes(burst)
    for position in 0..<burst.count { bridgeTransmit(burst[position], by: index, bridge) }
    burst.removeAll()
  }

  private mutating func bridgeTransmit(_ slot: Slot, by index: DeviceIndex, _ bridge: BridgeIndex) {
    let namespace = devices[index].namespace
    var vlan: UInt16 = 0
    if bridges[bridge].filtersVLANs {
      guard let found = admit(slot, by: index, bridge) else {
        drop(slot, .bridgeVLANFilter, in: namespace)
        return
      }
      vlan = found
    }
    let destination = pool.bytes(slot).u48(EthernetHeader.destination)
    var audience: GroupAudience?
    if destination != EthernetHeader.broadcast, EthernetHeader.isMulticast(destination) {
      guard let snooped = snoop(slot, from: index, bridge, vlan) else {
        drop(slot, .bridgeGroupInvalid, in: namespace)
        return
      }
      audience = self.audience(snooped, bridge)
    } else if let place = find(destination, vlan, in: bridge) {
      let entry = bridges[bridge].database[place]
      bridges[bridge].database[place].used = cpu.now
      guard !entry.flags.contains(.local), mayLeave(by: entry.port, vlan, from: index, BridgePort()) else {
        drop(slot, .bridgeNoEgress, in: namespace)
        return
      }
      var run = Burst(slot)
      bridgeForward(&run, from: index, by: entry.port)
      return
    }
    flood(slot, destination, vlan, to: audience, from: index, bridge, keeping: false)
  }
}
