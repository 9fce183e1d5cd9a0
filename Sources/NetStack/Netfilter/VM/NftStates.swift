// SPDX-License-Identifier: GPL-2.0-or-later

// What packets change: counts, tokens, consumed bytes. It stands beside the program, by number, so that a program can
// be replaced while the counts go on. Two words of 64 bits are enough for every kind:
//
//    counter: packets, bytes │ limit: tokens (ns), last (ns) │ quota: consumed, - │ numgen: next, -

/// State by number.
@safe struct NftStates: ~Copyable {
  struct Value: BitwiseCopyable, Hashable {
    var first: UInt64 = 0
    var second: UInt64 = 0
  }

  private var values: UnsafeMutablePointer<Value>
  private var capacity = 8
  private var used = 0
  /// Blocks given back, by size less one.
  private var holes: [[UInt32]] = []
  /// Of connection limits, whose state is no number.
  private var connections: [UInt32: ConnectionCount] = [:]

  init() { unsafe values = .allocate(capacity: 8) }

  deinit { unsafe values.deallocate() }

  /// A block of `count` that stand side by side, all zero.
  mutating func allocate(_ count: Int = 1) -> UInt32 {
    if count <= holes.count, let hole = holes[count - 1].popLast() {
      for offset in 0..<count { unsafe values[Int(hole) + offset] = Value() }
      return hole
    }
    if used + count > capacity { grow(used + count) }
    unsafe (values + used).initialize(repeating: Value(), count: count)
    defer { used += count }
    return UInt32(used)
  }

  /// The connections that a state counts; the caller gives them back by `keepConnections`.
  mutating func takeConnections(_ index: UInt32) -> ConnectionCount {
    connections.removeValue(forKey: index) ?? ConnectionCount()
  }

  mutating func keepConnections(_ count: ConnectionCount, _ index: UInt32) { connections[index] = count }

  /// Gives a block back.
  mutating func release(_ index: UInt32, _ count: Int = 1) {
    if !connections.isEmpty { for offset in 0..<count { connections[index + UInt32(offset)] = nil } }
    while holes.count < count { holes.append([]) }
    holes[count - 1].append(index)
  }

  @inline(__always) subscript(index: UInt32) -> Value {
    get {
      assert(index < used)
      return unsafe values[Int(index)]
    }
    set {
      assert(index < used)
      unsafe values[Int(index)] = newValue
    }
  }

  private mutating func grow(_ needed: Int) {
    let larger = max(capacity * 2, needed)
    let fresh = UnsafeMutablePointer<Value>.allocate(capacity: larger)
    unsafe fresh.moveInitialize(from: values, count: used)
    unsafe values.deallocate()
    unsafe values = fresh
    capacity = larger
  }
}
