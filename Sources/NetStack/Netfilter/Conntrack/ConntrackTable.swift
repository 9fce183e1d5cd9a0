// SPDX-License-Identifier: GPL-2.0-or-later

// A namespace's connections by tuple: both directions of every confirmed entry stand in one hash, whose chains go
// through the entries themselves; sources of translated connections in another (nf_nat_bysource). A link of a chain is
// an entry's number and the direction by which it stands there.

/// The hash of a namespace's connections.
@safe struct ConntrackTable: ~Copyable {
  static let none: UInt32 = .max

  private var buckets: UnsafeMutablePointer<UInt32>?
  private var sources: UnsafeMutablePointer<UInt32>?
  private var size = 0
  private let seed: UInt64
  /// Entries that are confirmed.
  private(set) var count = 0

  init(seed: UInt64) { self.seed = seed }

  deinit {
    unsafe buckets?.deallocate()
    unsafe sources?.deallocate()
  }

  /// An entry and the direction whose tuple is meant.
  typealias Link = ConntrackDirection.Of<ConntrackEntry>

  @inline(__always) private func bucket(_ tuple: ConntrackTuple) -> Int {
    Int(truncatingIfNeeded: tuple.hash(seed)) & (size &- 1)
  }

  private func sourceBucket(_ tuple: ConntrackTuple) -> Int {
    var source = ConntrackTuple()
    source.source = tuple.source
    source.sourcePort = tuple.sourcePort
    source.proto = tuple.proto
    source.isIPv6 = tuple.isIPv6
    source.zone = tuple.zone
    return bucket(source)
  }

  /// The entry that a tuple belongs to.
  @inline(__always)
  func find(_ tuple: ConntrackTuple, in entries: borrowing Table<ConntrackEntry>) -> Link? {
    guard let buckets = unsafe buckets else { return nil }
    var raw = unsafe buckets[bucket(tuple)]
    while raw != Self.none {
      let link = Link(raw)
      if link.direction == .original {
        if entries[link.index].original == tuple { return link }
        raw = entries[link.index].nextOriginal
      } else {
        if entries[link.index].reply == tuple { return link }
        raw = entries[link.index].nextReply
      }
    }
    return nil
  }

  /// Entries whose original source is the tuple's, the newest first.
  func sameSource(_ tuple: ConntrackTuple, in entries: borrowing Table<ConntrackEntry>) -> [ConntrackIndex] {
    guard let sources = unsafe sources else { return [] }
    var result: [ConntrackIndex] = []
    var raw = unsafe sources[sourceBucket(tuple)]
    while raw != Self.none {
      let index = ConntrackIndex(raw)
      let other = entries[index].original
      if other.source == tuple.source, other.sourcePort == tuple.sourcePort, other.proto == tuple.proto,
        other.isIPv6 == tuple.isIPv6, other.zone == tuple.zone
      {
        result.append(index)
      }
      raw = entries[index].nextSource
    }
    return result
  }

  // MARK: Changing

  /// Puts both directions of an entry in.
  mutating func insert(_ index: ConntrackIndex, in entries: inout Table<ConntrackEntry>) {
    if count >= size { resize(in: &entries) }
    count += 1
    link(index, in: &entries)
  }

  /// Takes an entry out.
  mutating func remove(_ index: ConntrackIndex, in entries: inout Table<ConntrackEntry>) {
    unlink(Link(index, .original), in: &entries)
    unlink(Link(index, .reply), in: &entries)
    if !entries[index].status.isDisjoint(with: .natDone) { unlinkSource(index, in: &entries) }
    count -= 1
  }

  private mutating func link(_ index: ConntrackIndex, in entries: inout Table<ConntrackEntry>) {
    guard let buckets = unsafe buckets, let sources = unsafe sources else { return }
    let original = bucket(entries[index].original)
    entries[index].nextOriginal = unsafe buckets[original]
    unsafe buckets[original] = Link(index, .original).rawValue
    let reply = bucket(entries[index].reply)
    entries[index].nextReply = unsafe buckets[reply]
    unsafe buckets[reply] = Link(index, .reply).rawValue
    if !entries[index].status.isDisjoint(with: .natDone) {
      let source = sourceBucket(entries[index].original)
      entries[index].nextSource = unsafe sources[source]
      unsafe sources[source] = index.rawValue
    }
  }

  private func next(_ link: Link, in entries: borrowing Table<ConntrackEntry>) -> UInt32 {
    link.direction == .original ? entries[link.index].nextOriginal : entries[link.index].nextReply
  }

  private func unlink(_ link: Link, in entries: inout Table<ConntrackEntry>) {
    guard let buckets = unsafe buckets else { return }
    let place = bucket(entries[link.index].tuple(link.direction))
    let after = next(link, in: entries)
    guard unsafe buckets[place] != link.rawValue else {
      unsafe buckets[place] = after
      return
    }
    var raw = unsafe buckets[place]
    while raw != Self.none {
      let before = Link(raw)
      raw = next(before, in: entries)
      guard raw == link.rawValue else { continue }
      if before.direction == .original {
        entries[before.index].nextOriginal = after
      } else {
        entries[before.index].nextReply = after
      }
      return
    }
  }

  private func unlinkSource(_ index: ConntrackIndex, in entries: inout Table<ConntrackEntry>) {
    guard let sources = unsafe sources else { return }
    let place = sourceBucket(entries[index].original)
    let after = entries[index].nextSource
    guard unsafe sources[place] != index.rawValue else {
      unsafe sources[place] = after
      return
    }
    var raw = unsafe sources[place]
    while raw != Self.none {
      let before = ConntrackIndex(raw)
      raw = entries[before].nextSource
      if raw == index.rawValue {
        entries[before].nextSource = after
        return
      }
    }
  }

  private mutating func resize(in entries: inout Table<ConntrackEntry>) {
    var known: [ConntrackIndex] = []
    if let buckets = unsafe buckets {
      // Chains are newest first; linked anew from the oldest they come out the same.
      for place in 0..<size {
        var raw = unsafe buckets[place]
        while raw != Self.none {
          let link = Link(raw)
          if link.direction == .original { known.append(link.index) }
          raw = next(link, in: entries)
        }
      }
    }
    known.sort { entries[$0].id < entries[$1].id }
    unsafe buckets?.deallocate()
    unsafe sources?.deallocate()
    size = max(size * 2, 64)
    let fresh = UnsafeMutablePointer<UInt32>.allocate(capacity: size)
    unsafe fresh.initialize(repeating: Self.none, count: size)
    let freshSources = UnsafeMutablePointer<UInt32>.allocate(capacity: size)
    unsafe freshSources.initialize(repeating: Self.none, count: size)
    unsafe buckets = fresh
    unsafe sources = freshSources
    for index in known { link(index, in: &entries) }
  }

  /// All entries, those that came first at the front.
  func all(in entries: borrowing Table<ConntrackEntry>) -> [ConntrackIndex] {
    guard let buckets = unsafe buckets else { return [] }
    var result: [ConntrackIndex] = []
    for place in 0..<size {
      var raw = unsafe buckets[place]
      while raw != Self.none {
        let link = Link(raw)
        if link.direction == .original { result.append(link.index) }
        raw = next(link, in: entries)
      }
    }
    return result.sorted { entries[$0].id < entries[$1].id }
  }
}
