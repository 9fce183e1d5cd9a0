// SPDX-License-Identifier: GPL-2.0-or-later

// A rate, prepared for the question how long so many bytes take (`struct psched_ratecfg`): a multiplication and a
// shift in place of a division, with the kernel's own rounding (net/sched/sch_generic.c,
// psched_ratecfg_precompute). Link layers other than Ethernet's are not here.

/// Bytes a second.
struct RateConfiguration: Hashable, BitwiseCopyable {
  let bytesPerSecond: UInt64
  private let multiplier: UInt32
  private let shift: UInt8

  init(bytesPerSecond rate: UInt64) {
    bytesPerSecond = rate
    guard rate > 0 else {
      multiplier = 1
      shift = 0
      return
    }
    var factor: UInt64 = 1_000_000_000
    var shift: UInt8 = 0
    while true {
      let candidate = UInt32(truncatingIfNeeded: factor / rate)
      if candidate >> 31 == 1 || factor >> 63 == 1 {
        multiplier = candidate
        self.shift = shift
        return
      }
      factor <<= 1
      shift += 1
    }
  }

  /// Nanoseconds that `length` bytes take (psched_l2t_ns).
  @inline(__always) func time(_ length: UInt32) -> Int64 {
    Int64(bitPattern: (UInt64(length) &* UInt64(multiplier)) &>> UInt64(shift))
  }

  /// Bytes that go in so many nanoseconds (psched_ns_t2l).
  func length(_ time: UInt64) -> UInt64 {
    multiplier == 0 ? .max : (time &<< UInt64(shift)) / UInt64(multiplier)
  }
}

/// The unit of time of the packet scheduler's messages: 64 ns (PSCHED_SHIFT).
enum SchedulerTicks {
  static func nanoseconds(_ ticks: UInt32) -> Int64 { Int64(ticks) << 6 }
  static func whole(_ nanoseconds: Int64) -> Int64 { (nanoseconds >> 6) << 6 }
}
