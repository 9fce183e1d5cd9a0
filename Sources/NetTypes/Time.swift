// SPDX-License-Identifier: GPL-2.0-or-later

/// A length of time in nanoseconds; may be negative.
public struct Interval: Hashable, Comparable, Codable, Sendable {
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  public static func microseconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000) }
  public static func milliseconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000_000) }
  public static func seconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000_000_000) }
  public static let zero = Interval(nanoseconds: 0)

  public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }
  public static func + (a: Self, b: Self) -> Self { Interval(nanoseconds: a.nanoseconds + b.nanoseconds) }
  public static func - (a: Self, b: Self) -> Self { Interval(nanoseconds: a.nanoseconds - b.nanoseconds) }
}

/// A point on a lab's clock: nanoseconds since an origin that the clock chooses.
public struct Instant: Hashable, Comparable, Codable, Sendable {
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }
  public static func + (a: Self, b: Interval) -> Self { Instant(nanoseconds: a.nanoseconds + b.nanoseconds) }
  public static func - (a: Self, b: Self) -> Interval { Interval(nanoseconds: a.nanoseconds - b.nanoseconds) }
}

extension Interval: CustomStringConvertible {
  /// The shortest exact form: `20ms`, `1.5s`, `250us`, `3ns`.
  public var description: String {
    let units: [(Int64, String)] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")]
    let magnitude = nanoseconds.magnitude
    guard let (unit, name) = units.first(where: { magnitude >= UInt64($0.0) }) else { return "0s" }
    let whole = nanoseconds / unit
    var fraction = (magnitude % UInt64(unit))
    guard fraction != 0 else { return "\(whole)\(name)" }
    var digits = String(UInt64(unit) + fraction).dropFirst()
    while fraction % 10 == 0 {
      digits = digits.dropLast()
      fraction /= 10
    }
    return "\(whole).\(digits)\(name)"
  }
}
