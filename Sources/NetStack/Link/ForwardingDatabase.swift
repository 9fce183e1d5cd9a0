// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge's forwarding database (net/bridge/br_fdb.c): which address is behind which port. Open addressing with
// linear probing and a seeded hash; deletion closes the gap, so that lookups never meet tombstones.

/// One entry, in place.
struct ForwardingEntry: BitwiseCopyable {
  /// 16 bits of VLAN, 0 where none are filtered, and 48 of address; `empty` marks a place without an entry.
  var key: UInt64
  var port: DeviceIndex
  var flags: Flags
  /// Nanoseconds; when a frame from the address was last seen.
  var updated: Int64
  /// Nanoseconds; when a frame to the address was last sent on.
  var used: Int64

  struct Flags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// An address of the bridge itself, or of a port: frames to it go up.
    static let local = Flags(rawValue: 1)
    /// Does not age.
    static let `static` = Flags(rawValue: 2)
    /// Made by configuration.
    static let added = Flags(rawValue: 4)
    /// Does not move to another port.
    static let sticky = Flags(rawValue: 8)
    /// Learned from a frame, and not touched by configuration since: what `fdb_max_learned` counts.
    static let learned = Flags(rawValue: 16)
  }

  static let empty = UInt64.max

  @inline(__always) static func key(_ address: UInt64, _ vlan: UInt16) -> UInt64 {
    UInt64(vlan) &<< 48 | address
  }
  static func vlan(_ key: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: key >> 48) }
  static func address(_ key: UInt64) -> UInt64 { key & EthernetHeader.broadcast }
}

/// Addresses and where they are.
@safe struct ForwardingDatabase: ~Copyable {
  /// Entries at most; learning stops there.
  static let limit = 1 << 17

  private var entries: UnsafeMutablePointer<ForwardingEntry>?
  private var mask = 0
  private(set) var count = 0
  /// Those of them that are `learned`.
  private(set) var learnedCount = 0
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed | 1 }

  deinit { unsafe entries?.deallocate() }

  @inline(__always) private func place(_ key: UInt64) -> Int {
    let product = (key ^ seed) &* 0x9e37_79b9_7f4a_7c15
    return Int(truncatingIfNeeded: product &>> 32) & mask
  }

  /// The entry of an address; its place is good until the next insertion or removal.
  @inline(__always) func find(_ key: UInt64) -> Int? {
    guard count > 0 else { return nil }
    let base = unsafe entries.unsafelyUnwrapped
    var index = place(key)
    while true {
      let found = unsafe base[index].key
      if found == key { return index }
      if found == ForwardingEntry.empty { return nil }
      index = (index &+ 1) & mask
    }
  }

  /// The entry at a place that `find` has told.
  @inline(__always) subscript(place: Int) -> ForwardingEntry {
    unsafeAddress { unsafe UnsafePointer(entries.unsafelyUnwrapped + place) }
    unsafeMutableAddress { unsafe entries.unsafelyUnwrapped + place }
  }

  /// False when the table is full.
  mutating func insert(_ entry: ForwardingEntry) -> Bool {
    guard count < Self.limit else { return false }
    if unsafe entries == nil || (count + 1) * 2 > mask + 1 { grow() }
    unsafe put(entry, into: entries.unsafelyUnwrapped)
    count += 1
    if entry.flags.contains(.learned) { learnedCount += 1 }
    return true
  }

  /// Puts another entry of the same address in the place of one.
  mutating func replace(at place: Int, with entry: ForwardingEntry) {
    remove(at: place)
    _ = insert(entry)
  }

  private func put(_ entry: ForwardingEntry, into base: UnsafeMutablePointer<ForwardingEntry>) {
    var index = place(entry.key)
    while unsafe base[index].key != ForwardingEntry.empty { index = (index &+ 1) & mask }
    unsafe base[index] = entry
  }

  mutating func remove(at place: Int) {
    let base = unsafe entries.unsafelyUnwrapped
    if unsafe base[place].flags.contains(.learned) { learnedCount -= 1 }
    var hole = place
    var index = (place &+ 1) & mask
    while unsafe base[index].key != ForwardingEntry.empty {
      let home = self.place(unsafe base[index].key)
      if (index &- home) & mask >= (index &- hole) & mask {
        unsafe base[hole] = base[index]
        hole = index
      }
      index = (index &+ 1) & mask
    }
    unsafe base[hole].key = ForwardingEntry.empty
    count -= 1
  }

  /// Removes all that `isGone` says.
  mutating func removeAll(where isGone: (ForwardingEntry) -> Bool) {
    // A removal moves others: who goes is known before the first goes.
    for key in select({ isGone($0) ? $0.key : nil }) {
      if let place = find(key) { remove(at: place) }
    }
  }

  /// When the longest silent of those that age was last seen, in nanoseconds.
  var oldestUpdate: Int64? {
    select { $0.flags.isDisjoint(with: [.local, .static]) ? $0.updated : nil }.min()
  }

  /// All entries in order of VLAN and address, so that no seed shows in a dump.
  var sorted: [ForwardingEntry] { select { $0 }.sorted { $0.key < $1.key } }

  /// What is made of each entry, in an order that the seed decides.
  private func select<Value>(_ make: (ForwardingEntry) -> Value?) -> [Value] {
    guard let base = unsafe entries else { return [] }
    return (0...mask).compactMap { place in
      unsafe base[place].key == ForwardingEntry.empty ? nil : make(unsafe base[place])
    }
  }

  private mutating func grow() {
    let old = unsafe entries
    let oldCount = unsafe old == nil ? 0 : mask + 1
    let size = max(oldCount * 2, 16)
    let fresh = UnsafeMutablePointer<ForwardingEntry>.allocate(capacity: size)
    unsafe fresh.initialize(
      repeating: ForwardingEntry(key: ForwardingEntry.empty, port: .none, flags: [], updated: 0, used: 0),
      count: size)
    mask = size - 1
    if let old = unsafe old {
      for index in 0..<oldCount where unsafe old[index].key != ForwardingEntry.empty {
        unsafe put(old[index], into: fresh)
      }
      unsafe old.deallocate()
    }
    unsafe entries = fresh
  }
}
