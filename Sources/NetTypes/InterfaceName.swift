// SPDX-License-Identifier: GPL-2.0-or-later

/// A network device's name as the kernel takes it: 1 to 15 bytes, no `/`, `:` or white space, not `.` or `..`
/// (dev_valid_name).
public struct InterfaceName: Hashable, Comparable, Sendable {
  public let text: String

  /// IFNAMSIZ less the terminating zero.
  public static let maximumLength = 15

  /// Nil when the kernel would refuse the name.
  public init?(_ text: some StringProtocol) {
    let bytes = text.utf8
    guard (1...Self.maximumLength).contains(bytes.count), text != ".", text != ".." else { return nil }
    guard bytes.allSatisfy({ $0 > 0x20 && $0 != 0x2f && $0 != 0x3a && $0 != 0x7f }) else { return nil }
    self.text = String(text)
  }

  private init(known text: String) { self.text = text }

  public static let loopback = InterfaceName(known: "lo")

  public static func < (a: Self, b: Self) -> Bool { a.text < b.text }
}

extension InterfaceName: CustomStringConvertible {
  public var description: String { text }
}
