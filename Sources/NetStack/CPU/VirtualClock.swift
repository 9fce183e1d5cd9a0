// SPDX-License-Identifier: GPL-2.0-or-later

// Virtual time: a kernel runs until it has nothing to do at this moment, then the clock jumps to the next deadline.

public import NetTypes

extension Kernel {
  /// Runs everything that happens up to and including `end`, and leaves the clock there.
  public mutating func run(until end: Instant) {
    while true {
      let result = poll(now: now)
      if result.hasMore { continue }
      guard let next = result.nextDeadline, next <= end else { break }
      cpu.now = max(cpu.now, next.nanoseconds)
    }
    cpu.now = max(cpu.now, end.nanoseconds)
  }

  /// Runs everything that happens within `interval` from now.
  public mutating func run(for interval: Interval) {
    run(until: now + interval)
  }
}
