// SPDX-License-Identifier: GPL-2.0-or-later

// Quantities carry their unit: `.percent(0.5)`, `.mbps(100)`; times are the standard library's `Duration`.

/// A share of a hundred.
public struct Percent: Sendable {
  let value: Double

  /// 0...100.
  public static func percent(_ value: Double) -> Percent { Percent(value: value) }
}

/// Bits a second.
public struct Rate: Sendable {
  let bitsPerSecond: Double

  /// Bits a second.
  public static func bps(_ value: Double) -> Rate { Rate(bitsPerSecond: value) }
  /// 1,000 bits a second.
  public static func kbps(_ value: Double) -> Rate { Rate(bitsPerSecond: value * 1e3) }
  /// 1,000,000 bits a second.
  public static func mbps(_ value: Double) -> Rate { Rate(bitsPerSecond: value * 1e6) }
  /// 1,000,000,000 bits a second.
  public static func gbps(_ value: Double) -> Rate { Rate(bitsPerSecond: value * 1e9) }
}

/// What befalls packets on their way.
public struct Impairment: Sendable {
  let record: Record

  /// Every part that is left out stays as it is without impairment.
  /// - Parameters:
  ///   - rate: bits a second, `.mbps(100)`.
  ///   - delay: how long a packet takes.
  ///   - jitter: by how much the delay varies.
  ///   - loss: the share of packets that are lost, `.percent(0.5)`.
  ///   - duplicate: the share that arrives twice.
  ///   - reorder: the share that overtakes others; needs a delay.
  ///   - corrupt: the share that arrives with a wrong bit.
  ///   - limit: packets that may wait.
  ///   - seed: of the random choices.
  public init(
    rate: Rate? = nil, delay: Duration? = nil, jitter: Duration? = nil, loss: Percent? = nil,
    duplicate: Percent? = nil, reorder: Percent? = nil, corrupt: Percent? = nil, limit: Int? = nil,
    seed: UInt64? = nil
  ) {
    var record = Record()
    record.add("rateBitsPerSecond", rate?.bitsPerSecond)
    record.add("delayNanoseconds", delay)
    record.add("jitterNanoseconds", jitter)
    record.add("lossPercent", loss?.value)
    record.add("duplicatePercent", duplicate?.value)
    record.add("reorderPercent", reorder?.value)
    record.add("corruptPercent", corrupt?.value)
    record.add("limit", limit)
    record.add("seed", json: seed.map { String($0) })
    self.record = record
  }
}
