// SPDX-License-Identifier: GPL-2.0-or-later

// Pieces of one datagram that wait for the others, in IPv4 and IPv6 (RFC 791, 8200; net/ipv4/inet_fragment.c). A piece
// that lies wholly within what is there is a duplicate and goes alone; one that overlaps it otherwise ends the whole
// datagram (RFC 5722), in both families.

typealias FragmentIndex = TableIndex<FragmentQueue>

/// Whose pieces belong together.
struct FragmentKey: Hashable, BitwiseCopyable {
  var namespace: NamespaceIndex
  var isIPv6: Bool
  var source: UInt128
  var destination: UInt128
  var identification: UInt32
  /// The protocol in IPv4, where it counts.
  var proto: UInt8 = 0
  /// In IPv6 the link, where addresses mean nothing without it.
  var device = DeviceIndex.none
}

/// What became of a piece.
enum FragmentOutcome {
  /// It is the queue's now, and others are missing.
  case waits
  /// It is the queue's now, and nothing is missing.
  case completes
  /// What it has is there already; the caller ends it.
  case duplicate
  /// It cannot be of the same datagram as the others; the caller ends it and the queue.
  case overlaps
  case contradicts
}

/// The pieces of one datagram.
struct FragmentQueue: ~Copyable {
  private struct Piece {
    var offset: Int
    var end: Int
    var slot: Slot
  }

  let key: FragmentKey
  var timer = TimerID.none
  /// By offset, none touching another's bytes.
  private var pieces: [Piece] = []
  /// Bytes of payload, as far as known.
  private(set) var length = 0
  private var received = 0
  private(set) var hasFirst = false
  private var hasLast = false
  /// Bytes of the pool that the pieces hold.
  private(set) var memory = 0
  /// A bit for each value of the ECN field that a piece had.
  private(set) var congestion: UInt8 = 0
  /// The largest piece with its header, and the largest that no router was to cut.
  private(set) var largest = 0
  private(set) var largestUncut = 0
  /// The device that the last piece came in by.
  private(set) var device = DeviceIndex.none
  /// How many pieces its sender had sent when the last one came (ipfrag_max_dist).
  var serial: UInt32 = 0

  init(_ key: FragmentKey) { self.key = key }

  var isEmpty: Bool { pieces.isEmpty }

  /// Says whether a piece fits, without taking it.
  private func place(_ offset: Int, _ end: Int) -> Result<Int, PlaceError> {
    var low = 0
    var high = pieces.count
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].end <= offset { low = middle + 1 } else { high = middle }
    }
    guard low < pieces.count, pieces[low].offset < end else { return .success(low) }
    // Pieces that touch are one run; within a run everything is known.
    guard pieces[low].offset <= offset else { return .failure(.overlaps) }
    var last = low
    while pieces[last].end < end, last + 1 < pieces.count, pieces[last + 1].offset == pieces[last].end {
      last += 1
    }
    return .failure(end <= pieces[last].end ? .duplicate : .overlaps)
  }

  private enum PlaceError: Error {
    case duplicate, overlaps
  }

  /// Takes a piece that has `offset..<end` of the payload.
  mutating func add(
    _ slot: Slot, _ offset: Int, _ end: Int, isLast: Bool, size: Int, memory cost: Int,
    isUncut: Bool, congestion bits: UInt8, device index: DeviceIndex
  ) -> FragmentOutcome {
    guard end > offset else { return .contradicts }
    if isLast {
      guard end >= length, !hasLast || end == length else { return .contradicts }
    } else {
      guard end <= length || !hasLast else { return .contradicts }
    }
    let position: Int
    switch place(offset, end) {
    case .success(let free): position = free
    case .failure(.duplicate): return .duplicate
    case .failure(.overlaps): return .overlaps
    }
    hasLast = hasLast || isLast
    length = max(length, end)
    pieces.insert(Piece(offset: offset, end: end, slot: slot), at: position)
    received += end - offset
    hasFirst = hasFirst || offset == 0
    memory += cost
    congestion |= 1 << bits
    largest = max(largest, size)
    if isUncut { largestUncut = max(largestUncut, size) }
    device = index
    return hasFirst && hasLast && received == length ? .completes : .waits
  }

  /// Gives up the pieces, by offset.
  mutating func take() -> [Slot] {
    defer {
      pieces = []
      memory = 0
      received = 0
      length = 0
      hasFirst = false
      hasLast = false
      congestion = 0
      largest = 0
      largestUncut = 0
    }
    return pieces.map(\.slot)
  }

  func forEach(_ body: (Slot) -> Void) {
    for piece in pieces { body(piece.slot) }
  }
}

/// How much of reassembly a namespace allows itself.
struct FragmentLimits: BitwiseCopyable {
  /// Bytes of the pool beyond which no datagram is begun (ipfrag_high_thresh).
  var high = 4_194_304
  /// Nanoseconds until the rest must have come.
  var time: Int64 = 30_000_000_000
  /// Pieces that a sender may send between two of one datagram (ipfrag_max_dist); 0: any number.
  var distance = 64
}

/// A namespace's datagrams that are not whole, of one family.
struct FragmentQueues: ~Copyable {
  var limits = FragmentLimits()
  /// Looked up only: no order comes of it.
  var queues: [FragmentKey: FragmentIndex] = [:]
  /// Bytes of the pool that all pieces hold.
  var memory = 0
  /// Senders of datagrams that are not whole: how many those are, and pieces that came from them.
  var senders: [UInt128: (queues: Int, pieces: UInt32)] = [:]

  init(time: Int64 = 30_000_000_000) { limits.time = time }
}

extension Kernel {
  private mutating func withQueues<Result>(
    of key: FragmentKey, _ body: (inout FragmentQueues) -> Result
  ) -> Result {
    key.isIPv6
      ? body(&namespaces[key.namespace].fragments6) : body(&namespaces[key.namespace].fragments)
  }

  /// The queue of a datagram, made when there is none; nil when there is too much already.
  mutating func fragmentQueue(for key: FragmentKey) -> FragmentIndex? {
    let (known, isFull, time) = withQueues(of: key) {
      ($0.queues[key], $0.limits.high == 0 || $0.memory > $0.limits.high, $0.limits.time)
    }
    if let known { return known }
    guard !isFull, let index = fragmentQueues.insert(FragmentQueue(key)) else { return nil }
    withQueues(of: key) {
      $0.queues[key] = index
      $0.senders[key.source, default: (0, 0)].queues += 1
    }
    fragmentQueues[index].timer = cpu.wheel.arm(
      TimerEvent(kind: .fragments, index: index.rawValue), at: cpu.now + time)
    return index
  }

  /// Puts a piece into its queue.
  mutating func addFragment(
    _ slot: Slot, to index: FragmentIndex, _ offset: Int, _ end: Int, isLast: Bool, size: Int, isUncut: Bool,
    congestion: UInt8
  ) -> FragmentOutcome {
    let cost = pool.trueSize(slot)
    let outcome = fragmentQueues[index].add(
      slot, offset, end, isLast: isLast, size: size, memory: cost, isUncut: isUncut, congestion: congestion,
      device: DeviceIndex(pool[slot].device))
    switch outcome {
    case .waits, .completes: withQueues(of: fragmentQueues[index].key) { $0.memory += cost }
    case .duplicate, .overlaps, .contradicts: break
    }
    return outcome
  }

  /// Whether a sender has sent too many pieces of others since the last one of this datagram (ip_frag_too_far).
  mutating func isTooFar(_ index: FragmentIndex) -> Bool {
    let key = fragmentQueues[index].key
    let (serial, distance) = withQueues(of: key) { queues in
      queues.senders[key.source, default: (1, 0)].pieces &+= 1
      return (queues.senders[key.source]?.pieces ?? 0, queues.limits.distance)
    }
    defer { fragmentQueues[index].serial = serial }
    return distance > 0 && !fragmentQueues[index].isEmpty
      && serial &- fragmentQueues[index].serial > UInt32(distance)
  }

  /// Takes the pieces out of a queue, which stays.
  mutating func takeFragments(_ index: FragmentIndex) -> [Slot] {
    let memory = fragmentQueues[index].memory
    withQueues(of: fragmentQueues[index].key) { $0.memory -= memory }
    return fragmentQueues[index].take()
  }

  /// Ends a queue and what is in it.
  mutating func endFragments(_ index: FragmentIndex, _ reason: DropReason) {
    let key = fragmentQueues[index].key
    for slot in takeFragments(index) { drop(slot, reason, in: key.namespace) }
    cpu.wheel.cancel(&fragmentQueues[index].timer)
    withQueues(of: key) { queues in
      queues.queues[key] = nil
      guard var sender = queues.senders[key.source] else { return }
      sender.queues -= 1
      queues.senders[key.source] = sender.queues > 0 ? sender : nil
    }
    fragmentQueues.remove(index)
  }

  /// Ends a queue whose datagram is whole: its first piece, with the payload of the others behind. `none` when that
  /// would be too long; everything has ended then.
  mutating func joinFragments(_ index: FragmentIndex) -> Slot {
    let slots = takeFragments(index)
    let namespace = fragmentQueues[index].key.namespace
    endFragments(index, .consumed)
    for (slot, next) in zip(slots.dropFirst(), slots.dropFirst(2) + [.none]) { pool[slot].next = next }
    guard let first = slots.first else { return .none }
    pool[first].next = .none
    pool[first].checksumState = .none
    guard slots.count > 1, !pool.append(list: slots[1], to: first) else { return first }
    for slot in slots { drop(slot, .noMemory, in: namespace) }
    return .none
  }

  /// What came in by a device that goes is not waited for.
  mutating func endFragments(of device: DeviceIndex) {
    for index in fragmentQueues.indices {
      var isFromDevice = false
      fragmentQueues[index].forEach { isFromDevice = isFromDevice || pool[$0].device == device.rawValue }
      if isFromDevice { endFragments(index, .deviceRemoved) }
    }
  }

  /// The rest has not come in time.
  mutating func fragmentTimer(_ index: FragmentIndex) {
    guard fragmentQueues.contains(index) else { return }
    fragmentQueues[index].timer = .none
    if fragmentQueues[index].key.isIPv6 { ipv6FragmentsExpired(index) } else { ipv4FragmentsExpired(index) }
  }
}
