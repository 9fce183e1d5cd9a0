// SPDX-License-Identifier: GPL-2.0-or-later

// Numbers with units on the command line, within the bounds that a topology file has.

import ArgumentParser
import NetTypes

/// `20ms`, `1.5s`, `250us`, `3ns`.
struct TimeArgument: ExpressibleByArgument {
  var interval: Interval
  static let most: Double = 3600e9

  init(_ interval: Interval) { self.interval = interval }

  init?(argument: String) {
    guard
      let nanoseconds = Quantity.read(
        argument, [("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)], bare: nil),
      nanoseconds <= Self.most
    else { return nil }
    interval = Interval(nanoseconds: Int64(nanoseconds.rounded()))
  }
}

/// `0.5%`, or `0.5`.
struct PercentArgument: ExpressibleByArgument {
  var value: Double

  init?(argument: String) {
    guard let value = Quantity.read(argument, [("%", 1)], bare: 1), value <= 100 else { return nil }
    self.value = value
  }
}

/// `100mbit`, `1.5gbit`; 0 for no limit.
struct RateArgument: ExpressibleByArgument {
  var bitsPerSecond: Int64

  init?(argument: String) {
    guard argument != "0" else {
      bitsPerSecond = 0
      return
    }
    let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("tbit", 1e12), ("bit", 1)]
    guard let bits = Quantity.read(argument, units, bare: nil), (8...1e15).contains(bits) else { return nil }
    bitsPerSecond = Int64(bits)
  }
}

/// `500`, `64KiB`, `10MiB`, `1GiB`; also with decimal units.
struct SizeArgument: ExpressibleByArgument {
  var bytes: Int

  init?(argument: String) {
    let units = [
      ("kib", 1024.0), ("mib", 1_048_576), ("gib", 1_073_741_824), ("kb", 1e3), ("mb", 1e6), ("gb", 1e9),
    ]
    guard let value = Quantity.read(argument, units, bare: 1), (1...1e15).contains(value) else { return nil }
    bytes = Int(value)
  }
}

private enum Quantity {
  /// The number before one of the units; `bare` is what a number without one means.
  static func read(_ text: String, _ units: [(String, Double)], bare: Double?) -> Double? {
    let lower = text.lowercased()
    var (digits, factor) = (lower, bare)
    // The longest unit first: `ms` ends in `s`.
    if let unit = units.filter({ lower.hasSuffix($0.0) }).max(by: { $0.0.count < $1.0.count }) {
      (digits, factor) = (String(lower.dropLast(unit.0.count)), unit.1)
    }
    guard let factor, !digits.isEmpty, digits.allSatisfy({ $0.isNumber || $0 == "." }),
      let value = Double(digits)
    else { return nil }
    return value * factor
  }
}
