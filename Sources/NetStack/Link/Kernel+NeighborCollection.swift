// SPDX-License-Identifier: GPL-2.0-or-later

// How neighbours that nobody uses are forgotten (net/core/neighbour.c: neigh_forced_gc, neigh_periodic_work), and how
// managed ones are kept fresh (neigh_managed_work). The kernel's limits are the whole machine's; here each namespace
// has them, since no other stands behind it.

import NetTypes

extension NetNamespace {
  /// What there is for all neighbours of a family.
  subscript(neighbors family: IPFamily) -> NeighborFamily {
    @inline(__always) get { family == .ipv4 ? arp : discovery }
    @inline(__always) _modify {
      if family == .ipv4 { yield &arp } else { yield &discovery }
    }
  }
}

extension Device {
  /// How a family's neighbours on the device are asked for.
  subscript(neighborParameters family: IPFamily) -> NeighborParameters {
    @inline(__always) get { family == .ipv4 ? neighborParameters : neighborParameters6 }
  }
}

extension Kernel {
  private static let second: Int64 = 1_000_000_000

  /// Whether there may be one more; over the second threshold old ones are looked for first.
  mutating func haveRoom(for key: NeighborKey, in namespace: NamespaceIndex) -> Bool {
    let family = namespaces[namespace][neighbors: key.family]
    let (_, second, third) = family.thresholds
    let entries = family.collectable
    let isLong = family.lastFlush == .min || cpu.now > family.lastFlush + 5 * Self.second
    guard entries >= third || entries >= second && isLong else { return true }
    let removed = forceCollection(key.family, in: namespace)
    guard removed > 0 || entries < third else {
      namespaces[namespace][neighbors: key.family].overflows &+= 1
      return false
    }
    return true
  }

  /// neigh_forced_gc: from the oldest on, those that failed, and those that have not changed for five seconds, as far
  /// as nothing is going on with them.
  private mutating func forceCollection(_ family: IPFamily, in namespace: NamespaceIndex) -> Int {
    namespaces[namespace][neighbors: family].forcedRuns &+= 1
    let most =
      namespaces[namespace][neighbors: family].collectable
      - namespaces[namespace][neighbors: family].thresholds.1
    let limit = cpu.now - 5 * Self.second
    var removed = 0
    for index in neighborsByAge(family, in: namespace) where !neighbors[index].isExempt {
      guard neighbors[index].timer == .none, neighbors[index].queueHead == .none else { continue }
      let state = neighbors[index].state
      guard state == .failed || state == .noARP || neighbors[index].updated < limit else { continue }
      removeNeighbor(index)
      removed += 1
      if removed >= most { break }
    }
    namespaces[namespace][neighbors: family].lastFlush = cpu.now
    return removed
  }

  private func neighborsByAge(_ family: IPFamily, in namespace: NamespaceIndex) -> [NeighborIndex] {
    namespaces[namespace].neighbors.sorted.filter { neighbors[$0].key.family == family }
      .sorted { neighbors[$0].birth < neighbors[$1].birth }
  }

  /// Below the first threshold nothing is ever collected, so that no timer runs.
  mutating func armNeighborCollection(_ family: IPFamily, in namespace: NamespaceIndex) {
    let state = namespaces[namespace][neighbors: family]
    guard state.collectionTimer == .none, state.count >= state.thresholds.0 else { return }
    namespaces[namespace][neighbors: family].collectionTimer = cpu.wheel.arm(
      TimerEvent(kind: .neighborCollection, index: Self.index(family, namespace)),
      at: cpu.now + NeighborParameters().baseReachableTime / 2)
  }

  /// A namespace and a family as one number.
  private static func index(_ family: IPFamily, _ namespace: NamespaceIndex) -> UInt32 {
    namespace.rawValue << 1 | (family == .ipv6 ? 1 : 0)
  }

  private func decode(_ index: UInt32) -> (NamespaceIndex, IPFamily)? {
    let namespace = NamespaceIndex(index >> 1)
    return namespaces.contains(namespace) ? (namespace, index & 1 == 1 ? .ipv6 : .ipv4) : nil
  }

  /// neigh_periodic_work: those that failed, or have not been used for `gc_stale_time`.
  mutating func neighborCollectionTimer(_ index: UInt32) {
    guard let (namespace, family) = decode(index) else { return }
    namespaces[namespace][neighbors: family].collectionTimer = .none
    namespaces[namespace][neighbors: family].periodicRuns &+= 1
    for index in neighborsByAge(family, in: namespace) where !neighbors[index].isExempt {
      guard neighbors[index].timer == .none, neighbors[index].queueHead == .none else { continue }
      let used = max(neighbors[index].used, neighbors[index].confirmed)
      if neighbors[index].state == .failed || cpu.now >= used + parameters(of: index).staleTime {
        removeNeighbor(index)
      }
    }
    armNeighborCollection(family, in: namespace)
  }

  // MARK: Managed neighbours

  mutating func armManagedNeighbors(_ family: IPFamily, in namespace: NamespaceIndex, after delay: Int64) {
    guard namespaces[namespace][neighbors: family].managedTimer == .none else { return }
    namespaces[namespace][neighbors: family].managedTimer = cpu.wheel.arm(
      TimerEvent(kind: .managedNeighbors, index: Self.index(family, namespace)), at: cpu.now + delay)
  }

  /// neigh_managed_work: asks for each of them, used or not.
  mutating func managedNeighborsTimer(_ index: UInt32) {
    guard let (namespace, family) = decode(index) else { return }
    namespaces[namespace][neighbors: family].managedTimer = .none
    var interval = Int64.max
    for index in neighborsByAge(family, in: namespace) where neighbors[index].flags.contains(.managed) {
      useNeighbor(index)
      interval = min(interval, parameters(of: index).managedInterval)
    }
    if interval != .max { armManagedNeighbors(family, in: namespace, after: interval) }
  }
}
