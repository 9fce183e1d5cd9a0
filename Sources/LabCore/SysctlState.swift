// SPDX-License-Identifier: GPL-2.0-or-later

/// A setting under /proc/sys, as seen from inside its namespace.
public struct SysctlState: Hashable, Codable, Sendable {
  /// With slashes, relative to /proc/sys: `net/ipv4/ip_forward` (interface names may hold dots).
  public var name: String
  /// As the kernel prints it, fields separated by one space.
  public var value: String

  public init(name: String, value: String) {
    self.name = name
    self.value = Self.normalized(value)
  }

  /// The kernel separates fields by tabs and ends with a newline; neither counts.
  public static func normalized(_ value: String) -> String {
    var previous: UInt8 = 0x20
    let isNormal = value.utf8.allSatisfy { byte in
      defer { previous = byte }
      return byte > 0x20 || byte == 0x20 && previous != 0x20
    }
    if isNormal, previous != 0x20 { return value }
    return value.utf8.split { $0 <= 0x20 }.map { String(Substring($0)) }.joined(separator: " ")
  }
}

extension AttributeName {
  public static let value = AttributeName("value")
}

extension SysctlState {
  public var attributes: [StateAttribute] { [StateAttribute(.value, .text(value))] }
}
