// SPDX-License-Identifier: GPL-2.0-or-later

// Protocol timers: a hierarchy of wheels of 64 slots with ticks of a millisecond, as the kernel's jiffies. A timer
// stands on the level of the highest digit (of six bits) in which its tick differs from the current one and comes
// down as time comes nearer, so that arming and cancelling cost the same however many there are. Unlike the
// kernel's wheel none is late by more than a tick, and those of one tick come in the order in which they were armed.
//
//    level 0: 64 ticks of 1 ms │ level 1: 64 of 64 ms │ level 2: 64 of 4 s │ … level 6: 64 of 2 years

/// Timers in milliseconds.
@safe struct TimerWheel: ~Copyable {
  private struct Entry: BitwiseCopyable {
    var tick: UInt64
    var sequence: UInt64
    var event: TimerEvent
    var next: UInt32
    var previous: UInt32
    /// level * 64 + slot, or `free`.
    var place: UInt16
  }

  private static let levels = 7
  private static let free: UInt16 = .max
  private static let none: UInt32 = .max
  static let nanosecondsPerTick: Int64 = 1_000_000

  private let passing = PassedByAddress()
  private var entries: UnsafeMutablePointer<Entry>
  private var capacity = 16
  private var used = 0
  private var freeHead = TimerWheel.none
  private var heads = InlineArray<448, UInt32>(repeating: TimerWheel.none)
  private var occupied = InlineArray<7, UInt64>(repeating: 0)
  private var current: UInt64
  private var sequence: UInt64 = 0
  /// Timers that are running.
  private(set) var count = 0

  init(now: Int64) {
    current = Self.tick(of: now, roundingUp: false)
    unsafe entries = .allocate(capacity: capacity)
  }

  deinit { unsafe entries.deallocate() }

  private static func tick(of nanoseconds: Int64, roundingUp: Bool) -> UInt64 {
    let whole = UInt64(max(nanoseconds, 0))
    let tick = UInt64(nanosecondsPerTick)
    return whole / tick + (roundingUp && whole % tick != 0 ? 1 : 0)
  }

  /// Starts a timer that is due at the first tick that is not before `deadline`.
  mutating func arm(_ event: TimerEvent, at deadline: Int64) -> TimerID {
    let index = takeEntry()
    sequence += 1
    let furthest = current | (1 << 42 - 1)
    let tick = min(max(Self.tick(of: deadline, roundingUp: true), current), furthest)
    unsafe (entries + Int(index)).initialize(
      to: Entry(tick: tick, sequence: sequence, event: event, next: Self.none, previous: Self.none, place: 0))
    link(index)
    count += 1
    return TimerID(index: index)
  }

  /// Stops a timer; nothing happens when there is none.
  mutating func cancel(_ timer: inout TimerID) {
    guard timer != .none else { return }
    assert(unsafe timer.index < used && entries[Int(timer.index)].place != Self.free)
    unlink(timer.index)
    release(timer.index)
    timer = .none
  }

  /// Starts a timer anew, whether it is running or not (mod_timer).
  mutating func rearm(_ timer: inout TimerID, _ event: TimerEvent, at deadline: Int64) {
    cancel(&timer)
    timer = arm(event, at: deadline)
  }

  /// When a timer is due, in nanoseconds; nil when there is none.
  func deadline(of timer: TimerID) -> Int64? {
    guard timer != .none else { return nil }
    return Int64(unsafe entries[Int(timer.index)].tick) * Self.nanosecondsPerTick
  }

  /// The next event that is due at `now`, in order of tick and then of arming; nil when there is none.
  mutating func popDue(now: Int64) -> TimerEvent? {
    let target = Self.tick(of: now, roundingUp: false)
    while true {
      if let slot = firstOccupied(level: 0) {
        let tick = current & ~63 | UInt64(slot)
        guard tick <= target else { break }
        current = max(current, tick)
        let index = earliest(in: slot)
        let event = unsafe entries[Int(index)].event
        unlink(index)
        release(index)
        return event
      }
      guard let (level, slot) = firstOccupiedAbove() else { break }
      let start = Self.start(of: slot, level, from: current)
      guard start <= target else { break }
      current = start
      cascade(level, slot)
    }
    current = max(current, target)
    return nil
  }

  /// Not later than the earliest timer, and never in the past of what was asked last; nil when there is none.
  var nextDeadline: Int64? {
    let tick: UInt64
    if let slot = firstOccupied(level: 0) {
      tick = current & ~63 | UInt64(slot)
    } else if let (level, slot) = firstOccupiedAbove() {
      tick = Self.start(of: slot, level, from: current)
    } else {
      return nil
    }
    return Int64(tick) * Self.nanosecondsPerTick
  }

  // MARK: Places

  private func firstOccupied(level: Int) -> Int? {
    let from = (current >> UInt64(6 * level)) & 63
    let bits = occupied[level] & (UInt64.max << from)
    return bits == 0 ? nil : bits.trailingZeroBitCount
  }

  private func firstOccupiedAbove() -> (Int, Int)? {
    for level in 1..<Self.levels {
      if let slot = firstOccupied(level: level) { return (level, slot) }
    }
    return nil
  }

  private static func start(of slot: Int, _ level: Int, from current: UInt64) -> UInt64 {
    let shift = UInt64(6 * level)
    return (current >> (shift + 6)) << (shift + 6) | UInt64(slot) << shift
  }

  private mutating func link(_ index: UInt32) {
    let entry = unsafe entries + Int(index)
    let tick = unsafe entry.pointee.tick
    let differing = tick ^ current
    let level = differing == 0 ? 0 : (63 - differing.leadingZeroBitCount) / 6
    let slot = Int(tick >> UInt64(6 * level) & 63)
    let place = level * 64 + slot
    unsafe entry.pointee.place = UInt16(place)
    unsafe entry.pointee.previous = Self.none
    unsafe entry.pointee.next = heads[place]
    if heads[place] != Self.none { unsafe entries[Int(heads[place])].previous = index }
    heads[place] = index
    occupied[level] |= 1 << UInt64(slot)
  }

  private mutating func unlink(_ index: UInt32) {
    let entry = unsafe entries[Int(index)]
    let place = Int(entry.place)
    if entry.previous == Self.none {
      heads[place] = entry.next
    } else {
      unsafe entries[Int(entry.previous)].next = entry.next
    }
    if entry.next != Self.none { unsafe entries[Int(entry.next)].previous = entry.previous }
    if heads[place] == Self.none { occupied[place / 64] &= ~(1 << UInt64(place % 64)) }
  }

  private mutating func cascade(_ level: Int, _ slot: Int) {
    let place = level * 64 + slot
    var index = heads[place]
    heads[place] = Self.none
    occupied[level] &= ~(1 << UInt64(slot))
    while index != Self.none {
      let next = unsafe entries[Int(index)].next
      link(index)
      index = next
    }
  }

  private func earliest(in slot: Int) -> UInt32 {
    var best = heads[slot]
    var index = best
    while index != Self.none {
      if unsafe entries[Int(index)].sequence < entries[Int(best)].sequence { best = index }
      index = unsafe entries[Int(index)].next
    }
    return best
  }

  // MARK: Entries

  private mutating func takeEntry() -> UInt32 {
    if freeHead != Self.none {
      let index = freeHead
      freeHead = unsafe entries[Int(index)].next
      return index
    }
    if used == capacity {
      let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
      unsafe larger.moveInitialize(from: entries, count: used)
      unsafe entries.deallocate()
      unsafe entries = larger
      capacity *= 2
    }
    used += 1
    return UInt32(used - 1)
  }

  private mutating func release(_ index: UInt32) {
    unsafe entries[Int(index)].place = Self.free
    unsafe entries[Int(index)].next = freeHead
    freeHead = index
    count -= 1
  }
}
