// SPDX-License-Identifier: GPL-2.0-or-later

// The neighbours of one namespace by device and address: open addressing with linear probing and a seeded hash;
// deletion closes the gap, so that lookups never meet tombstones. What is found are indices into the kernel's table.

/// Neighbours by whom they are.
@safe struct NeighborTable: ~Copyable {
  private struct Place: BitwiseCopyable {
    var key: NeighborKey
    /// `empty` marks a place without one.
    var neighbor: UInt32
  }

  private static let empty = UInt32.max
  private var places: UnsafeMutablePointer<Place>?
  private var mask = 0
  private(set) var count = 0
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed | 1 }

  deinit { unsafe places?.deallocate() }

  @inline(__always) private func home(_ key: NeighborKey) -> Int {
    var mixed = (key.high ^ seed) &* 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ key.low ^ UInt64(key.scope) &<< 32) &* 0x9e37_79b9_7f4a_7c15
    return Int(truncatingIfNeeded: mixed &>> 32) & mask
  }

  @inline(__always) func find(_ key: NeighborKey) -> NeighborIndex {
    guard let base = unsafe places else { return .none }
    var index = home(key)
    while true {
      let place = unsafe base[index]
      if place.neighbor == Self.empty { return .none }
      if place.key.low == key.low, place.key.scope == key.scope, place.key.high == key.high {
        return NeighborIndex(place.neighbor)
      }
      index = (index &+ 1) & mask
    }
  }

  @inline(__always) func find(_ device: DeviceIndex, _ address: UInt32) -> NeighborIndex {
    find(NeighborKey(device, address))
  }

  @inline(__always) func find(_ device: DeviceIndex, _ address: UInt128) -> NeighborIndex {
    find(NeighborKey(device, address))
  }

  mutating func insert(_ key: NeighborKey, _ neighbor: NeighborIndex) {
    if unsafe places == nil || (count + 1) * 2 > mask + 1 { resize(to: max((mask + 1) * 2, 8)) }
    put(Place(key: key, neighbor: neighbor.rawValue))
    count += 1
  }

  mutating func remove(_ key: NeighborKey) {
    guard let base = unsafe places, !find(key).isNone else { return }
    var hole = home(key)
    while unsafe base[hole].key != key { hole = (hole &+ 1) & mask }
    var index = (hole &+ 1) & mask
    while unsafe base[index].neighbor != Self.empty {
      let wanted = home(unsafe base[index].key)
      if (index &- wanted) & mask >= (index &- hole) & mask {
        unsafe base[hole] = base[index]
        hole = index
      }
      index = (index &+ 1) & mask
    }
    unsafe base[hole].neighbor = Self.empty
    count -= 1
  }

  /// All neighbours by family, device and address.
  var sorted: [NeighborIndex] {
    guard let base = unsafe places else { return [] }
    return (0...mask).map { unsafe base[$0] }.filter { $0.neighbor != Self.empty }
      .sorted { NeighborKey.isBefore($0.key, $1.key) }.map { NeighborIndex($0.neighbor) }
  }

  private func put(_ place: Place) {
    let base = unsafe places.unsafelyUnwrapped
    var index = home(place.key)
    while unsafe base[index].neighbor != Self.empty { index = (index &+ 1) & mask }
    unsafe base[index] = place
  }

  private mutating func resize(to size: Int) {
    let old = unsafe places
    let oldCount = unsafe old == nil ? 0 : mask + 1
    let fresh = UnsafeMutablePointer<Place>.allocate(capacity: size)
    unsafe fresh.initialize(
      repeating: Place(key: NeighborKey(.none, 0 as UInt32), neighbor: Self.empty), count: size)
    unsafe places = fresh
    mask = size - 1
    guard let old = unsafe old else { return }
    for index in 0..<oldCount where unsafe old[index].neighbor != Self.empty { put(unsafe old[index]) }
    unsafe old.deallocate()
  }
}
