// SPDX-License-Identifier: GPL-2.0-or-later

// The neighbours' state machine (net/core/neighbour.c; RFC 4861 section 7.3, which Linux applies to ARP too), written
// once for both families: only the question itself, and what is told to those who waited in vain, are ARP's or
// neighbour discovery's.

import NetTypes

extension Kernel {
  /// The neighbour, made when there is none; `none` when the table is full of neighbours that must stay.
  @inline(__always) mutating func neighbor(_ key: NeighborKey) -> NeighborIndex {
    let found = namespaces[devices[key.device].namespace].neighbors.find(key)
    return found.isNone ? makeNeighbor(key) : found
  }

  @inline(__always) mutating func neighbor(_ address: UInt32, on device: DeviceIndex) -> NeighborIndex {
    neighbor(NeighborKey(device, address))
  }

  /// neigh_alloc. A permanent one, or one that somebody else keeps, counts for no limit but the kernel's own table's.
  @inline(never)
  mutating func makeNeighbor(_ key: NeighborKey, isExempt: Bool = false) -> NeighborIndex {
    let namespace = devices[key.device].namespace
    guard isExempt || haveRoom(for: key, in: namespace) else { return .none }
    let birth = namespaces[namespace][neighbors: key.family].made
    guard let index = neighbors.insert(Neighbor(key, birth: birth, now: cpu.now)) else { return .none }
    namespaces[namespace].neighbors.insert(key, index)
    if devices[key.device].flags.contains(.noARP) {
      neighbors[index].state = .noARP
      neighbors[index].mac = devices[key.device].mac
    } else if !key.isIPv6, key.ipv4 == .max || lookup(key.ipv4, in: namespace).type == .broadcast {
      // Nobody needs to be asked (arp_constructor).
      neighbors[index].state = .noARP
      neighbors[index].mac = EthernetHeader.broadcast
    }
    namespaces[namespace][neighbors: key.family].made &+= 1
    namespaces[namespace][neighbors: key.family].count += 1
    namespaces[namespace][neighbors: key.family].collectable += 1
    armNeighborCollection(key.family, in: namespace)
    return index
  }

  /// Changes a neighbour's flags or state by configuration, minding whether it counts for the limits
  /// (neigh_update_gc_list).
  mutating func changeNeighbor(_ index: NeighborIndex, _ body: (inout Neighbor) -> Void) {
    let was = neighbors[index].isExempt
    body(&neighbors[index])
    let isExempt = neighbors[index].isExempt
    guard was != isExempt else { return }
    let namespace = devices[neighbors[index].device].namespace
    namespaces[namespace][neighbors: neighbors[index].key.family].collectable += isExempt ? -1 : 1
  }

  /// Forgets a neighbour; packets that wait for it are dropped.
  mutating func removeNeighbor(_ index: NeighborIndex) {
    let key = neighbors[index].key
    let namespace = devices[key.device].namespace
    notifyNeighbor(index, isGone: true)
    cpu.wheel.cancel(&neighbors[index].timer)
    dropQueue(of: index, .neighborDead)
    namespaces[namespace].neighbors.remove(key)
    namespaces[namespace][neighbors: key.family].count -= 1
    if !neighbors[index].isExempt { namespaces[namespace][neighbors: key.family].collectable -= 1 }
    neighbors.remove(index)
  }

  /// Forgets the neighbours on a device: all, or but the permanent ones.
  mutating func removeNeighbors(
    of device: DeviceIndex, family: IPFamily? = nil, keepingPermanent: Bool = false
  ) {
    for index in namespaces[devices[device].namespace].neighbors.sorted
    where neighbors[index].device == device && (family == nil || neighbors[index].key.family == family)
      && !(keepingPermanent && neighbors[index].state.contains(.permanent))
    {
      removeNeighbor(index)
    }
    removeProxies(of: device, family: family)
  }

  private mutating func dropQueue(of index: NeighborIndex, _ reason: DropReason) {
    let namespace = devices[neighbors[index].device].namespace
    var slot = takeQueue(index)
    while slot != .none {
      let next = pool[slot].next
      drop(slot, reason, in: namespace)
      slot = next
    }
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

  mutating func setTimer(_ index: NeighborIndex, at deadline: Int64) {
    cpu.wheel.cancel(&neighbors[index].timer)
    neighbors[index].timer = cpu.wheel.arm(TimerEvent(kind: .neighbor, index: index.rawValue), at: deadline)
  }

  /// Between half and one and a half of the base, anew each time.
  private mutating func reachableTime(_ index: NeighborIndex) -> Int64 {
    let base = parameters(of: index).baseReachableTime
    return base / 2 + Int64(cpu.random.below(UInt64(max(base, 1))))
  }

  /// The settings of the neighbour's family on its device.
  @inline(__always) func parameters(of index: NeighborIndex) -> NeighborParameters {
    devices[neighbors[index].device][neighborParameters: neighbors[index].key.family]
  }

  // MARK: Sending

  /// Says whether a packet may go to the neighbour now (neigh_event_send); if not, it waits or is dropped.
  @inline(__always) mutating func neighborMaySend(_ index: NeighborIndex, _ slot: Slot) -> Bool {
    let state = neighbors[index].state
    neighbors[index].used = cpu.now
    guard state.isDisjoint(with: NeighborStates.connected.union([.delay, .probe])) else { return true }
    return neighborMayWait(index, slot)
  }

  /// __neigh_event_send.
  @inline(never) private mutating func neighborMayWait(_ index: NeighborIndex, _ slot: Slot) -> Bool {
    let state = neighbors[index].state
    let parameters = parameters(of: index)
    if state.contains(.stale) {
      neighbors[index].state = .delay
      neighbors[index].updated = cpu.now
      setTimer(index, at: cpu.now + parameters.delayFirstProbe)
      return true
    }
    let begins = !state.contains(.incomplete)
    if begins {
      guard parameters.multicastProbes + parameters.applicationProbes > 0 else {
        neighbors[index].state = .failed
        neighbors[index].updated = cpu.now
        drop(slot, .neighborFailed, in: devices[neighbors[index].device].namespace)
        return false
      }
      beginResolution(index, parameters)
    }
    if pool[slot].isWatched { note(.waitsForNeighbor, slot, in: devices[neighbors[index].device].namespace) }
    enqueue(slot, for: index, limit: parameters.queueBytes)
    if begins { probeNeighbor(index) }
    return false
  }

  private mutating func beginResolution(_ index: NeighborIndex, _ parameters: NeighborParameters) {
    neighbors[index].state = .incomplete
    neighbors[index].updated = cpu.now
    neighbors[index].probes = parameters.unicastProbes
    setTimer(index, at: cpu.now + max(parameters.retransmitTime, 10_000_000))
  }

  /// Asks for a neighbour although no packet is for it (neigh_event_send without one; NTF_USE, NTF_MANAGED).
  mutating func useNeighbor(_ index: NeighborIndex) {
    let state = neighbors[index].state
    neighbors[index].used = cpu.now
    let parameters = parameters(of: index)
    if state.contains(.stale) {
      neighbors[index].state = .delay
      neighbors[index].updated = cpu.now
      setTimer(index, at: cpu.now + parameters.delayFirstProbe)
    } else if state.isDisjoint(with: NeighborStates.connected.union([.delay, .probe, .incomplete])),
      parameters.multicastProbes + parameters.applicationProbes > 0
    {
      beginResolution(index, parameters)
      probeNeighbor(index)
    }
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
      namespaces[namespace][neighbors: neighbors[index].key.family].discards &+= 1
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

  /// neigh_probe: asks once more. Of what waits the last packet says for whom.
  private mutating func probeNeighbor(_ index: NeighborIndex) {
    let waiting = neighbors[index].queueTail
    if neighbors[index].key.isIPv6 {
      neighborSolicit(index, waiting: waiting)
    } else {
      arpSolicit(index, waiting: waiting)
    }
    neighbors[index].probes += 1
  }

  // MARK: Time

  mutating func neighborTimer(_ index: NeighborIndex) {
    guard neighbors.contains(index) else { return }
    neighbors[index].timer = .none
    let old = neighbors[index].state
    defer { if neighbors.contains(index), neighbors[index].state != old { notifyNeighbor(index) } }
    let parameters = parameters(of: index)
    var next = cpu.now + max(parameters.retransmitTime, 10_000_000)
    switch neighbors[index].state {
    case .reachable:
      let reachable = neighbors[index].confirmed + reachableTime(index)
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
        next = neighbors[index].confirmed + reachableTime(index)
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
      let isProbe = neighbors[index].state == .probe
      let most =
        parameters.unicastProbes + parameters.applicationProbes
        + (isProbe ? parameters.multicastReprobes : parameters.multicastProbes)
      if neighbors[index].probes >= most {
        failNeighbor(index)
        return
      }
    }
    setTimer(index, at: max(next, cpu.now + 10_000_000))
    if !neighbors[index].state.isDisjoint(with: [.incomplete, .probe]) { probeNeighbor(index) }
  }

  /// Nobody answered: who waits is told that the host is unreachable (neigh_invalidate, arp_error_report,
  /// ndisc_error_report).
  private mutating func failNeighbor(_ index: NeighborIndex) {
    let key = neighbors[index].key
    let namespace = devices[key.device].namespace
    neighbors[index].state = .failed
    neighbors[index].updated = cpu.now
    namespaces[namespace][neighbors: key.family].failures &+= 1
    var slot = takeQueue(index)
    while slot != .none {
      let next = pool[slot].next
      if key.isIPv6 {
        icmpv6Error(for: slot, .destinationUnreachable, code: 3, information: 0)
      } else {
        icmpError(for: slot, .destinationUnreachable, code: 1, information: 0)
      }
      drop(slot, .neighborFailed, in: namespace)
      slot = next
    }
  }

  // MARK: News

  /// How far news of a neighbour go (NEIGH_UPDATE_F_*).
  struct NeighborNews: OptionSet {
    var rawValue: UInt8
    /// Another link address is believed.
    static let override = NeighborNews(rawValue: 1)
    /// Another link address makes one that was sure unsure, and is not believed.
    static let weakOverride = NeighborNews(rawValue: 2)
    /// Whether it is a router is known: `router` says so.
    static let routerKnown = NeighborNews(rawValue: 4)
    static let router = NeighborNews(rawValue: 8)
    /// Configuration says so.
    static let administrative = NeighborNews(rawValue: 16)
  }

  /// What has been heard of a neighbour (neigh_update).
  mutating func updateNeighbor(
    _ index: NeighborIndex, mac: UInt64?, _ state: NeighborStates, _ news: NeighborNews
  ) {
    let old = neighbors[index].state
    let oldMAC = neighbors[index].mac
    defer {
      if neighbors[index].state != old || neighbors[index].mac != oldMAC { notifyNeighbor(index) }
    }
    guard news.contains(.administrative) || old.isDisjoint(with: [.permanent, .noARP]) else { return }
    guard !state.isDisjoint(with: .valid) else {
      cpu.wheel.cancel(&neighbors[index].timer)
      changeNeighbor(index) { $0.state = state }
      neighbors[index].updated = cpu.now
      dropQueue(of: index, .neighborFailed)
      return
    }
    var knowsRouter = news.contains(.routerKnown)
    defer {
      if knowsRouter {
        if news.contains(.router) {
          neighbors[index].flags.insert(.router)
        } else {
          neighbors[index].flags.remove(.router)
        }
      }
    }
    var new = state
    let wasValid = !old.isDisjoint(with: .valid)
    var address = mac ?? neighbors[index].mac
    if !new.isDisjoint(with: .connected) { neighbors[index].confirmed = cpu.now }
    if wasValid {
      if address != neighbors[index].mac, !news.contains(.override) {
        knowsRouter = false
        guard news.contains(.weakOverride), !old.isDisjoint(with: .connected) else { return }
        address = neighbors[index].mac
        new = .stale
      } else if address == neighbors[index].mac, new == .stale, !news.contains(.administrative) {
        new = old
      }
    }
    let differs = address != neighbors[index].mac
    if new != old || differs { neighbors[index].updated = cpu.now }
    if new != old {
      cpu.wheel.cancel(&neighbors[index].timer)
      changeNeighbor(index) { $0.state = new }
      if new == .probe { neighbors[index].probes = 0 }
      if !new.isDisjoint(with: .timed) {
        setTimer(index, at: cpu.now + (new == .reachable ? reachableTime(index) : 0))
      }
    }
    if differs {
      neighbors[index].mac = address
      if new.isDisjoint(with: .connected) {
        neighbors[index].confirmed = cpu.now - 2 * parameters(of: index).baseReachableTime
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
