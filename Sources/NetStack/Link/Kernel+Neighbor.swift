// SPDX-License-Identifier: GPL-2.0-or-later

// The neighbours' state machine (net/core/neighbour.c; RFC 4861 section 7.3 as Linux applies it to ARP too).

extension Kernel {
  /// The neighbour, made when there is none; `none` when the table is full of neighbours that must stay.
  mutating func neighbor(_ address: UInt32, on device: DeviceIndex) -> NeighborIndex {
    let namespace = devices[device].namespace
    let found = namespaces[namespace].neighbors.find(device, address)
    if !found.isNone { return found }
    if namespaces[namespace].neighbors.count >= NeighborTable.limit, !collectNeighbor(namespace) {
      namespaces[namespace].neighborOverflows &+= 1
      return .none
    }
    guard let index = neighbors.insert(Neighbor(device: device, address: address, now: cpu.now)) else {
      return .none
    }
    namespaces[namespace].neighbors.insert(device, address, index)
    if address == .max || lookup(address, in: namespace).type == .broadcast {
      // Nobody needs to be asked (arp_constructor).
      neighbors[index].state = .noARP
      neighbors[index].mac = EthernetHeader.broadcast
    }
    return index
  }

  /// Removes the neighbour that was changed longest ago and may go.
  private mutating func collectNeighbor(_ namespace: NamespaceIndex) -> Bool {
    var oldest = NeighborIndex.none
    for index in namespaces[namespace].neighbors.sorted {
      guard neighbors[index].state.isDisjoint(with: [.permanent, .noARP]), neighbors[index].queueCount == 0
      else {
        continue
      }
      if oldest.isNone || neighbors[index].updated < neighbors[oldest].updated { oldest = index }
    }
    guard !oldest.isNone else { return false }
    removeNeighbor(oldest)
    return true
  }

  /// Forgets a neighbour; packets that wait for it are dropped.
  mutating func removeNeighbor(_ index: NeighborIndex) {
    let device = neighbors[index].device
    let namespace = devices[device].namespace
    cpu.wheel.cancel(&neighbors[index].timer)
    var slot = takeQueue(index)
    while slot != .none {
      let next = pool[slot].next
      drop(slot, .neighborDead, in: namespace)
      slot = next
    }
    namespaces[namespace].neighbors.remove(device, neighbors[index].address)
    neighbors.remove(index)
  }

  private mutating func takeQueue(_ index: NeighborIndex) -> Slot {
    defer {
      neighbors[index].queueHead = .none
      neighbors[index].queueTail = .none
      neighbors[index].queueCount = 0
      neighbors[index].queueBytes = 0
    }
    return neighbors[index].queueHead
  }

  private mutating func setTimer(_ index: NeighborIndex, at deadline: Int64) {
    cpu.wheel.cancel(&neighbors[index].timer)
    neighbors[index].timer = cpu.wheel.arm(TimerEvent(kind: .neighbor, index: index.rawValue), at: deadline)
  }

  /// Between half and one and a half of the base, anew each time.
  private mutating func reachableTime(_ device: DeviceIndex) -> Int64 {
    let base = devices[device].neighborParameters.baseReachableTime
    return base / 2 + Int64(cpu.random.below(UInt64(max(base, 1))))
  }

  // MARK: Sending

  /// Says whether a packet may go to the neighbour now (neigh_event_send); if not, it waits or is dropped.
  mutating func neighborMaySend(_ index: NeighborIndex, _ slot: Slot) -> Bool {
    let state = neighbors[index].state
    neighbors[index].used = cpu.now
    guard state.isDisjoint(with: NeighborStates.connected.union([.delay, .probe])) else { return true }
    let parameters = devices[neighbors[index].device].neighborParameters
    if state.contains(.stale) {
      neighbors[index].state = .delay
      neighbors[index].updated = cpu.now
      setTimer(index, at: cpu.now + parameters.delayFirstProbe)
      return true
    }
    let begins = !state.contains(.incomplete)
    if begins {
      guard parameters.multicastProbes > 0 else {
        neighbors[index].state = .failed
        drop(slot, .neighborFailed, in: devices[neighbors[index].device].namespace)
        return false
      }
      neighbors[index].state = .incomplete
      neighbors[index].updated = cpu.now
      neighbors[index].probes = parameters.unicastProbes
      setTimer(index, at: cpu.now + max(parameters.retransmitTime, 10_000_000))
    }
    enqueue(slot, for: index, limit: parameters.queueBytes)
    if begins { probeNeighbor(index) }
    return false
  }

  private mutating func enqueue(_ slot: Slot, for index: NeighborIndex, limit: Int) {
    let namespace = devices[neighbors[index].device].namespace
    let size = pool.trueSize(slot)
    while neighbors[index].queueHead != .none, neighbors[index].queueBytes + size > limit {
      let oldest = neighbors[index].queueHead
      neighbors[index].queueHead = pool[oldest].next
      if neighbors[index].queueHead == .none { neighbors[index].queueTail = .none }
      neighbors[index].queueCount -= 1
      neighbors[index].queueBytes -= pool.trueSize(oldest)
      namespaces[namespace].neighborDiscards &+= 1
      drop(oldest, .neighborQueueFull, in: namespace)
    }
    pool[slot].next = .none
    if neighbors[index].queueTail == .none {
      neighbors[index].queueHead = slot
    } else {
      pool[neighbors[index].queueTail].next = slot
    }
    neighbors[index].queueTail = slot
    neighbors[index].queueCount += 1
    neighbors[index].queueBytes += size
  }

  private mutating func probeNeighbor(_ index: NeighborIndex) {
    let waiting = neighbors[index].queueTail
    let source = waiting == .none ? 0 : pool.bytes(waiting, from: pool[waiting].networkHeader).u32(12)
    arpSolicit(index, source: source)
    neighbors[index].probes += 1
  }

  // MARK: Time

  mutating func neighborTimer(_ index: NeighborIndex) {
    guard neighbors.contains(index) else { return }
    neighbors[index].timer = .none
    let device = neighbors[index].device
    let parameters = devices[device].neighborParameters
    var next = cpu.now + parameters.retransmitTime
    switch neighbors[index].state {
    case .reachable:
      let reachable = neighbors[index].confirmed + reachableTime(device)
      if cpu.now <= reachable {
        next = reachable
      } else if cpu.now <= neighbors[index].used + parameters.delayFirstProbe {
        neighbors[index].state = .delay
        neighbors[index].updated = cpu.now
        next = cpu.now + parameters.delayFirstProbe
      } else {
        neighbors[index].state = .stale
        neighbors[index].updated = cpu.now
        return
      }
    case .delay:
      if cpu.now <= neighbors[index].confirmed + parameters.delayFirstProbe {
        neighbors[index].state = .reachable
        next = neighbors[index].confirmed + reachableTime(device)
      } else {
        neighbors[index].state = .probe
        neighbors[index].probes = 0
      }
      neighbors[index].updated = cpu.now
    case .incomplete, .probe:
      break
    default:
      return
    }
    if !neighbors[index].state.isDisjoint(with: [.incomplete, .probe]) {
      let most =
        parameters.unicastProbes + (neighbors[index].state == .probe ? 0 : parameters.multicastProbes)
      if neighbors[index].probes >= most {
        failNeighbor(index)
        return
      }
    }
    setTimer(index, at: max(next, cpu.now + 10_000_000))
    if !neighbors[index].state.isDisjoint(with: [.incomplete, .probe]) { probeNeighbor(index) }
  }

  /// Nobody answered: who waits is told that the host is unreachable (neigh_invalidate, arp_error_report).
  private mutating func failNeighbor(_ index: NeighborIndex) {
    let namespace = devices[neighbors[index].device].namespace
    neighbors[index].state = .failed
    neighbors[index].updated = cpu.now
    namespaces[namespace].neighborFailures &+= 1
    var slot = takeQueue(index)
    while slot != .none {
      let next = pool[slot].next
      icmpError(for: slot, .destinationUnreachable, code: 1, information: 0)
      drop(slot, .neighborFailed, in: namespace)
      slot = next
    }
  }

  // MARK: News

  /// What has been heard of a neighbour (neigh_update). `administrative`: configuration says so.
  mutating func updateNeighbor(
    _ index: NeighborIndex, mac: UInt64?, _ state: NeighborStates, override: Bool,
    administrative: Bool = false
  ) {
    let old = neighbors[index].state
    guard administrative || old.isDisjoint(with: [.permanent, .noARP]) else { return }
    guard !state.isDisjoint(with: .valid) else {
      cpu.wheel.cancel(&neighbors[index].timer)
      neighbors[index].state = state
      neighbors[index].updated = cpu.now
      var slot = takeQueue(index)
      while slot != .none {
        let next = pool[slot].next
        drop(slot, .neighborFailed, in: devices[neighbors[index].device].namespace)
        slot = next
      }
      return
    }
    var new = state
    let wasValid = !old.isDisjoint(with: .valid)
    let address = mac ?? neighbors[index].mac
    let differs = address != neighbors[index].mac
    if !new.isDisjoint(with: .connected) { neighbors[index].confirmed = cpu.now }
    if wasValid {
      if differs, !override { return }
      if !differs, new == .stale, !administrative { new = old }
    }
    if new != old || differs { neighbors[index].updated = cpu.now }
    if new != old {
      cpu.wheel.cancel(&neighbors[index].timer)
      neighbors[index].state = new
      if !new.isDisjoint(with: .timed) {
        let wait = new == .reachable ? reachableTime(neighbors[index].device) : 0
        setTimer(index, at: cpu.now + wait)
      }
    }
    if differs {
      neighbors[index].mac = address
      if new.isDisjoint(with: .connected) {
        neighbors[index].confirmed =
          cpu.now - 2 * devices[neighbors[index].device].neighborParameters.baseReachableTime
      }
    }
    if !wasValid { sendWaiting(index) }
  }

  /// Sends what has waited, in order.
  private mutating func sendWaiting(_ index: NeighborIndex) {
    let device = neighbors[index].device
    let namespace = devices[device].namespace
    var slot = takeQueue(index)
    var run = Burst()
    while slot != .none {
      let next = pool[slot].next
      pool[slot].next = .none
      neighbors[index].used = cpu.now
      if pushEthernet(slot, to: neighbors[index].mac, from: devices[device].mac, type: pool[slot].etherType) {
        run.append(slot)
        if run.isFull { transmit(&run, by: device) }
      } else {
        drop(slot, .deviceHeader, in: namespace)
      }
      slot = next
    }
    if !run.isEmpty { transmit(&run, by: device) }
    // They were sent to a neighbour that may only be stale by now; the next packet makes sure of it.
  }

  /// Puts an Ethernet header in front of a packet.
  @inline(__always)
  mutating func pushEthernet(_ slot: Slot, to destination: UInt64, from source: UInt64, type: UInt16) -> Bool
  {
    guard pool.push(slot, EthernetHeader.length) else { return false }
    let bytes = pool.bytes(slot)
    bytes.set(0, u64: destination &<< 16 | source &>> 32)
    bytes.set(8, u64Low48: source, type)
    return true
  }
}

extension PacketBytes {
  /// The last four bytes of a source address and the type behind them.
  @inline(__always) fileprivate func set(_ offset: Int, u64Low48 source: UInt64, _ type: UInt16) {
    set(offset, u32: UInt32(truncatingIfNeeded: source))
    set(offset &+ 4, u16: type)
  }
}
