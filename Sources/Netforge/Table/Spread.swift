// SPDX-License-Identifier: GPL-2.0-or-later

// Numbers that rules choose by: one after the other, by chance, or by a hash, so that what belongs together is chosen
// alike.

/// A choice among numbers from 0 on.
public enum Spread {
  /// Each packet the next number.
  /// - Parameters:
  ///   - count: how many there are.
  ///   - offset: the first.
  public static func inTurn(_ count: Int, from offset: Int = 0) -> Selector<NumberValue> {
    Selector("numgen inc mod \(count)\(suffix(offset))")
  }

  /// Each packet any number.
  /// - Parameters:
  ///   - count: how many there are.
  ///   - offset: the first.
  public static func byChance(_ count: Int, from offset: Int = 0) -> Selector<NumberValue> {
    Selector("numgen random mod \(count)\(suffix(offset))")
  }

  /// Packets whose field is the same have the same number.
  /// - Parameters:
  ///   - selector: the field, or several joined by `and`.
  ///   - count: how many numbers there are.
  ///   - seed: others make other choices; left out, the kernel's own.
  ///   - offset: the first.
  public static func hash<Value: SelectorValue>(
    of selector: Selector<Value>, _ count: Int, seed: Int? = nil, from offset: Int = 0
  ) -> Selector<NumberValue> {
    let seed = seed.map { " seed \($0)" } ?? ""
    return Selector("jhash \(selector.names.joined(separator: " . ")) mod \(count)\(seed)\(suffix(offset))")
  }

  /// All packets of a connection, there and back, have the same number.
  /// - Parameters:
  ///   - count: how many there are.
  ///   - offset: the first.
  public static func connection(_ count: Int, from offset: Int = 0) -> Selector<NumberValue> {
    Selector("symhash mod \(count)\(suffix(offset))")
  }

  private static func suffix(_ offset: Int) -> String { offset == 0 ? "" : " offset \(offset)" }
}
