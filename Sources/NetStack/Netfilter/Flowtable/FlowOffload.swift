// SPDX-License-Identifier: GPL-2.0-or-later

// A connection that goes past the rules (struct flow_offload, net/netfilter/nf_flow_table_core.c), and the hash by which
// packets find it. Entries stand in a table of the kernel; a hash is its namespace's, for all of its flowtables.

/// The place of a flow in the kernel's table.
typealias FlowOffloadIndex = TableIndex<FlowOffload>

/// A connection that goes past the rules.
struct FlowOffload: BitwiseCopyable {
  /// One of its directions (struct flow_offload_tuple).
  struct Way: BitwiseCopyable {
    /// What its packets look like when they come in. Zones do not count.
    var tuple: ConntrackTuple
    /// What they become.
    var target: ConntrackTuple
    var input: DeviceIndex
    var output: DeviceIndex
    var nextHop: UInt128
    var mtu: Int
  }

  var original: Way
  var reply: Way
  let connection: ConntrackIndex
  /// Of the connection, whose place may be another's by now.
  let connectionID: UInt32
  /// The flowtable's number among the states of the ruleset.
  let flowtable: UInt32
  /// The routes' when its ways were looked up (dst_check).
  let generation: UInt32
  /// When it ends unless a packet comes.
  var deadline: Int64
  /// It is over, and waits to be collected (NF_FLOW_TEARDOWN).
  var isTornDown = false

  @inline(__always) func way(_ direction: ConntrackDirection) -> Way {
    direction == .original ? original : reply
  }
}

/// The flows of a namespace by what their packets look like.
@safe struct FlowOffloadTable: ~Copyable {
  /// Flows at most.
  static let limit = 1 << 20

  /// In order of age.
  private(set) var members: [FlowOffloadIndex] = []
  /// Open addressing, twice as many places as directions at least.
  private var places: UnsafeMutablePointer<UInt32>?
  private var mask = 0
  private let seed: UInt64
  /// When those that are over are collected.
  var timer = TimerID.none

  init(seed: UInt64) { self.seed = seed }

  deinit { unsafe places?.deallocate() }

  @inline(__always) private func home(_ tuple: ConntrackTuple) -> Int {
    Int(truncatingIfNeeded: tuple.hash(seed)) & mask
  }

  /// The flow of a packet that came in by a device, and its direction.
  @inline(__always)
  func find(
    _ tuple: ConntrackTuple, _ input: DeviceIndex, _ flowtable: UInt32, in flows: borrowing Table<FlowOffload>
  ) -> ConntrackDirection.Of<FlowOffload>? {
    guard let places = unsafe places else { return nil }
    var place = home(tuple)
    while true {
      let raw = unsafe places[place]
      guard raw != .max else { return nil }
      let found = ConntrackDirection.Of<FlowOffload>(raw)
      if !flows[found.index].isTornDown, flows[found.index].flowtable == flowtable {
        let isOurs =
          found.direction == .original
          ? flows[found.index].original.tuple == tuple && flows[found.index].original.input == input
          : flows[found.index].reply.tuple == tuple && flows[found.index].reply.input == input
        if isOurs { return found }
      }
      place = (place &+ 1) & mask
    }
  }

  mutating func insert(_ index: FlowOffloadIndex, in flows: borrowing Table<FlowOffload>) {
    members.append(index)
    if members.count * 4 > mask { rebuild(in: flows) } else { link(index, in: flows) }
  }

  /// Forgets those that are not to stay.
  mutating func removeAll(
    in flows: borrowing Table<FlowOffload>, where isGone: (FlowOffloadIndex) -> Bool
  ) {
    let count = members.count
    members.removeAll(where: isGone)
    if members.count != count { rebuild(in: flows) }
  }

  private mutating func rebuild(in flows: borrowing Table<FlowOffload>) {
    var size = 64
    while size < members.count * 8 { size *= 2 }
    unsafe places?.deallocate()
    let fresh = UnsafeMutablePointer<UInt32>.allocate(capacity: size)
    unsafe fresh.initialize(repeating: .max, count: size)
    unsafe places = fresh
    mask = size - 1
    for index in members { link(index, in: flows) }
  }

  private func link(_ index: FlowOffloadIndex, in flows: borrowing Table<FlowOffload>) {
    link(.init(index, .original), flows[index].original.tuple)
    link(.init(index, .reply), flows[index].reply.tuple)
  }

  private func link(_ entry: ConntrackDirection.Of<FlowOffload>, _ tuple: ConntrackTuple) {
    guard let places = unsafe places else { return }
    var place = home(tuple)
    while unsafe places[place] != .max { place = (place + 1) & mask }
    unsafe places[place] = entry.rawValue
  }
}
