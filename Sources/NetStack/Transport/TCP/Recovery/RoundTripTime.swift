// SPDX-License-Identifier: GPL-2.0-or-later

// Round-trip time and the timeout that follows from it (RFC 6298 with Linux's floor of 200 ms; tcp_rtt_estimator,
// tcp_set_rto), and the least of the last minutes (lib/win_minmax.c). Microseconds; the smoothed time is kept eightfold
// and the deviations fourfold, as in the kernel.

/// What is known of a path's round-trip time.
struct RoundTripTime {
  /// srtt_us, eightfold; 0: nothing is known.
  var smoothed: Int64 = 0
  /// mdev_us, mdev_max_us, rttvar_us.
  private(set) var deviation: Int64 = 0
  private var largestDeviation: Int64 = 0
  private(set) var variance: Int64 = 0
  /// Where this round trip ends.
  private var sequence: UInt32 = 0
  /// icsk_rto in nanoseconds.
  var timeout: Int64 = TCPSock.initialTimeout
  var minimum = WindowedExtreme(start: Int64.max)

  /// Takes a sample (tcp_rtt_estimator).
  mutating func take(
    _ sample: Int64, unacknowledged: UInt32, next: UInt32, minimumTimeout: Int64, maximumTimeout: Int64
  ) {
    if smoothed == 0 {
      smoothed = sample << 3
      deviation = sample << 1
      variance = max(deviation, minimumTimeout)
      largestDeviation = variance
      sequence = next
    } else {
      var error = sample - smoothed >> 3
      smoothed += error
      if error < 0 {
        error = -error - deviation >> 2
        // A path that has become faster is no reason to wait longer (the kernel's Eifel-like rule).
        if error > 0 { error >>= 3 }
      } else {
        error -= deviation >> 2
      }
      deviation += error
      if deviation > largestDeviation {
        largestDeviation = deviation
        variance = max(variance, largestDeviation)
      }
      if isAfter(unacknowledged, sequence) {
        if largestDeviation < variance { variance -= (variance - largestDeviation) >> 2 }
        sequence = next
        largestDeviation = minimumTimeout
      }
    }
    smoothed = max(smoothed, 1)
    setTimeout(maximumTimeout)
  }

  /// tcp_set_rto: whole milliseconds.
  mutating func setTimeout(_ maximum: Int64) {
    let microseconds = smoothed >> 3 + variance
    timeout = min((microseconds + 999) / 1000 * 1_000_000, maximum)
  }
}

/// The extreme value of a window of time, from three samples (Kathleen Nichols' algorithm).
struct WindowedExtreme {
  private struct Sample {
    var time: Int64
    var value: Int64
  }
  private var samples: InlineArray<3, Sample>

  /// Without a sample it says `start`.
  init(start: Int64) { samples = InlineArray(repeating: Sample(time: 0, value: start)) }

  var value: Int64 { samples[0].value }

  mutating func reset(_ time: Int64, _ value: Int64) {
    samples = InlineArray(repeating: Sample(time: time, value: value))
  }

  mutating func takeMinimum(_ window: Int64, _ time: Int64, _ value: Int64) {
    take(window, time, value) { $0 <= $1 }
  }

  mutating func takeMaximum(_ window: Int64, _ time: Int64, _ value: Int64) {
    take(window, time, value) { $0 >= $1 }
  }

  @inline(__always) private mutating func take(
    _ window: Int64, _ time: Int64, _ value: Int64, _ isBetter: (Int64, Int64) -> Bool
  ) {
    let new = Sample(time: time, value: value)
    guard !isBetter(value, samples[0].value), time - samples[2].time <= window else {
      samples = InlineArray(repeating: new)
      return
    }
    if isBetter(value, samples[1].value) {
      samples[1] = new
      samples[2] = new
    } else if isBetter(value, samples[2].value) {
      samples[2] = new
    }
    // minmax_subwin_update: what has left the window makes room for the next best.
    let age = time - samples[0].time
    if age > window {
      samples[0] = samples[1]
      samples[1] = samples[2]
      samples[2] = new
      if time - samples[0].time > window {
        samples[0] = samples[1]
        samples[1] = samples[2]
        samples[2] = new
      }
    } else if samples[1].time == samples[0].time, age > window / 4 {
      samples[1] = new
      samples[2] = new
    } else if samples[2].time == samples[1].time, age > window / 2 {
      samples[2] = new
    }
  }
}
