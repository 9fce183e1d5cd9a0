// SPDX-License-Identifier: GPL-2.0-or-later

import Testing

@testable import NetStack

@Suite("Timers")
struct TimerTests {
  @Test("A wheel gives what a sorted list gives: each at its tick, those of one tick as they were armed")
  func wheel() {
    var random = RandomState(seed: 3)
    var wheel = TimerWheel(now: 0)
    var model: [(tick: Int64, order: Int, event: TimerEvent, timer: TimerID)] = []
    var now: Int64 = 0
    var order = 0
    for _ in 0..<400 {
      for _ in 0..<random.below(8) {
        let spans: [UInt64] = [3, 100, 5_000, 300_000, 20_000_000]
        let delay = Int64(random.below(spans[Int(random.below(5))] * 1_000_000))
        let event = TimerEvent(kind: .neighbor, index: UInt32(order))
        let tick = (now + delay + 999_999) / 1_000_000
        model.append((tick, order, event, wheel.arm(event, at: now + delay)))
        order += 1
      }
      if random.below(4) == 0, !model.isEmpty {
        let victim = Int(random.below(UInt64(model.count)))
        wheel.cancel(&model[victim].timer)
        model.remove(at: victim)
      }
      now += Int64(random.below(2) == 0 ? random.below(2_000_000) : random.below(40_000_000_000))
      var got: [UInt32] = []
      while let event = wheel.popDue(now: now) { got.append(event.index) }
      let due = model.filter { $0.tick * 1_000_000 <= now }.sorted {
        ($0.tick, $0.order) < ($1.tick, $1.order)
      }
      model.removeAll { $0.tick * 1_000_000 <= now }
      #expect(got == due.map(\.event.index))
      let count = wheel.count
      #expect(count == model.count)
      let earliest = model.map(\.tick).min()
      if let deadline = wheel.nextDeadline {
        #expect(deadline > now - 1_000_000)
        #expect(deadline <= (earliest ?? 0) * 1_000_000)
      } else {
        #expect(model.isEmpty)
      }
    }
  }

  @Test("A heap orders to the nanosecond, and equals by the order of scheduling")
  func heap() {
    var random = RandomState(seed: 4)
    var heap = PreciseHeap()
    var model: [(Int64, Int)] = []
    for order in 0..<500 {
      let deadline = Int64(random.below(100))
      heap.schedule(TimerEvent(kind: .receiveInterrupt, index: UInt32(order)), at: deadline)
      model.append((deadline, order))
    }
    var got: [UInt32] = []
    while let event = heap.popDue(now: 50) { got.append(event.index) }
    #expect(got == model.filter { $0.0 <= 50 }.sorted { $0 < $1 }.map { UInt32($0.1) })
  }

  @Test("One seed gives one sequence")
  func random() {
    var a = RandomState(seed: 9)
    var b = RandomState(seed: 9)
    var c = RandomState(seed: 10)
    let first = (0..<8).map { _ in a.next() }
    #expect(first == (0..<8).map { _ in b.next() })
    #expect(first != (0..<8).map { _ in c.next() })
    #expect((0..<1000).allSatisfy { _ in a.below(7) < 7 })
  }
}
