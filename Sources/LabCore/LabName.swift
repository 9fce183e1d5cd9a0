// SPDX-License-Identifier: GPL-2.0-or-later

// The names that labs, nodes and bridges carry, and what of the kernel is called after them.

public import NetTypes

/// The rule for every name that a topology gives: `[a-z0-9][a-z0-9-]{0,30}` without `--`.
public enum LabelRule {
  public static let maximumLength = 31

  /// What is wrong with `text` as a name, or nil when it is one.
  public static func complaint(about text: some StringProtocol) -> String? {
    let bytes = Array(text.utf8)
    guard let first = bytes.first else { return "is empty" }
    guard bytes.count <= maximumLength else { return "is longer than \(maximumLength) characters" }
    let isAlphanumeric = { (byte: UInt8) in (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) }
    guard isAlphanumeric(first) else { return "must begin with a lower-case letter or a digit" }
    guard bytes.allSatisfy({ isAlphanumeric($0) || $0 == 0x2d }) else {
      return "may hold lower-case letters, digits and '-' only"
    }
    // `<lab>--sw` is the lab's switch namespace.
    guard !text.contains("--") else { return "must not contain '--'" }
    return nil
  }
}

/// A lab's name.
public struct LabName: Hashable, Comparable, TextCodable, Sendable {
  public let text: String

  /// Nil when `LabelRule` has a complaint.
  public init?(_ text: String) {
    guard LabelRule.complaint(about: text) == nil else { return nil }
    self.text = text
  }

  public var description: String { text }
  public static func < (a: Self, b: Self) -> Bool { a.text < b.text }
}

/// A node's name, unique among the nodes and bridges of its lab.
public struct NodeName: Hashable, Comparable, TextCodable, Sendable {
  public let text: String

  /// Nil when `LabelRule` has a complaint.
  public init?(_ text: String) {
    guard LabelRule.complaint(about: text) == nil else { return nil }
    self.text = text
  }

  public var description: String { text }
  public static func < (a: Self, b: Self) -> Bool { a.text < b.text }
}
