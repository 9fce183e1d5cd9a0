// SPDX-License-Identifier: GPL-2.0-or-later

// A neighbour: the link address of a host on a link, how sure we are of it, and the packets that wait for it
// (net/core/neighbour.c).

/// A neighbour's state (`NUD_*`).
struct NeighborStates: OptionSet, Hashable, Sendable, BitwiseCopyable {
  /// The kernel's bits.
  var rawValue: UInt16

  /// It is being asked for.
  static let incomplete = NeighborStates(rawValue: 0x01)
  /// It has answered lately.
  static let reachable = NeighborStates(rawValue: 0x02)
  /// It is known, but perhaps no longer true.
  static let stale = NeighborStates(rawValue: 0x04)
  /// It is used; unless something confirms it soon, it is asked.
  static let delay = NeighborStates(rawValue: 0x08)
  /// It is being asked whether it still is there.
  static let probe = NeighborStates(rawValue: 0x10)
  /// It did not answer.
  static let failed = NeighborStates(rawValue: 0x20)
  /// It needs no resolution.
  static let noARP = NeighborStates(rawValue: 0x40)
  /// Configuration says so.
  static let permanent = NeighborStates(rawValue: 0x80)

  static let connected: NeighborStates = [.permanent, .noARP, .reachable]
  static let valid: NeighborStates = [.permanent, .noARP, .reachable, .probe, .stale, .delay]
  static let timed: NeighborStates = [.incomplete, .reachable, .delay, .probe]
}

typealias NeighborIndex = TableIndex<Neighbor>

/// A neighbour.
struct Neighbor: ~Copyable {
  let device: DeviceIndex
  /// In host byte order.
  let address: UInt32
  var state: NeighborStates = []
  /// 48 bits.
  var mac: UInt64 = 0
  var probes = 0
  var isRouter = false
  /// RTPROT_* of who made it.
  var origin: UInt8 = 0
  /// Nanoseconds each: last proof that it is there, last use, last change.
  var confirmed: Int64
  var used: Int64
  var updated: Int64
  var timer = TimerID.none
  /// Packets that wait, oldest first, threaded through their sk_buffs.
  var queueHead = Slot.none
  var queueTail = Slot.none
  var queueCount = 0
  /// What they hold of the pool.
  var queueBytes = 0

  init(device: DeviceIndex, address: UInt32, now: Int64) {
    self.device = device
    self.address = address
    confirmed = now
    used = now
    updated = now
  }
}

/// The settings of `net.ipv4.neigh.<device>`, with the kernel's defaults.
struct NeighborParameters: Hashable {
  /// Nanoseconds each.
  var baseReachableTime: Int64 = 30_000_000_000
  var retransmitTime: Int64 = 1_000_000_000
  var delayFirstProbe: Int64 = 5_000_000_000
  var lockTime: Int64 = 1_000_000_000
  var unicastProbes = 3
  var multicastProbes = 3
  /// Bytes of the pool that waiting packets may hold.
  var queueBytes = 212_992
}

/// The neighbours of one namespace by device and address. Open addressing; indices into the kernel's table.
@safe struct NeighborTable: ~Copyable {
  /// gc_thresh3: neighbours at most.
  static let limit = 1024

  private struct Place: BitwiseCopyable {
    var key: UInt64
    var neighbor: UInt32
  }

  private static let empty = UInt64.max
  private var places: UnsafeMutablePointer<Place>?
  private var mask = 0
  private(set) var count = 0
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed | 1 }

  deinit { unsafe places?.deallocate() }

  private static func key(_ device: DeviceIndex, _ address: UInt32) -> UInt64 {
    UInt64(device.rawValue) << 32 | UInt64(address)
  }

  @inline(__always) private func home(_ key: UInt64) -> Int {
    Int(truncatingIfNeeded: ((key ^ seed) &* 0x9e37_79b9_7f4a_7c15) &>> 32) & mask
  }

  @inline(__always) func find(_ device: DeviceIndex, _ address: UInt32) -> NeighborIndex {
    guard let base = unsafe places else { return .none }
    let key = Self.key(device, address)
    var index = home(key)
    while true {
      let place = unsafe base[index]
      if place.key == key { return NeighborIndex(place.neighbor) }
      if place.key == Self.empty { return .none }
      index = (index &+ 1) & mask
    }
  }

  mutating func insert(_ device: DeviceIndex, _ address: UInt32, _ neighbor: NeighborIndex) {
    if unsafe places == nil || (count + 1) * 2 > mask + 1 { resize(to: max((mask + 1) * 2, 8)) }
    put(Place(key: Self.key(device, address), neighbor: neighbor.rawValue))
    count += 1
  }

  mutating func remove(_ device: DeviceIndex, _ address: UInt32) {
    let key = Self.key(device, address)
    guard let base = unsafe places, !find(device, address).isNone else { return }
    var hole = home(key)
    while unsafe base[hole].key != key { hole = (hole &+ 1) & mask }
    var index = (hole &+ 1) & mask
    while unsafe base[index].key != Self.empty {
      let wanted = home(unsafe base[index].key)
      if (index &- wanted) & mask >= (index &- hole) & mask {
        unsafe base[hole] = base[index]
        hole = index
      }
      index = (index &+ 1) & mask
    }
    unsafe base[hole].key = Self.empty
    count -= 1
  }

  /// All neighbours by device and address.
  var sorted: [NeighborIndex] {
    guard let base = unsafe places else { return [] }
    return (0...mask).map { unsafe base[$0] }.filter { $0.key != Self.empty }.sorted { $0.key < $1.key }
      .map { NeighborIndex($0.neighbor) }
  }

  private func put(_ place: Place) {
    let base = unsafe places.unsafelyUnwrapped
    var index = home(place.key)
    while unsafe base[index].key != Self.empty { index = (index &+ 1) & mask }
    unsafe base[index] = place
  }

  private mutating func resize(to size: Int) {
    let old = unsafe places
    let oldCount = unsafe old == nil ? 0 : mask + 1
    let fresh = UnsafeMutablePointer<Place>.allocate(capacity: size)
    unsafe fresh.initialize(repeating: Place(key: Self.empty, neighbor: .max), count: size)
    unsafe places = fresh
    mask = size - 1
    guard let old = unsafe old else { return }
    for index in 0..<oldCount where unsafe old[index].key != Self.empty { put(unsafe old[index]) }
    unsafe old.deallocate()
  }
}
