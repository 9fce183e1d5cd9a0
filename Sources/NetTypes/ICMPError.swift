// SPDX-License-Identifier: GPL-2.0-or-later

/// An ICMP or ICMPv6 error by its numbers.
public struct ICMPError: Hashable, Codable, Sendable {
  public var type: UInt8
  public var code: UInt8
  public var family: IPFamily

  public init(type: UInt8, code: UInt8, family: IPFamily) {
    self.type = type
    self.code = code
    self.family = family
  }

  /// Whether the numbers are an error's, and not an answer's or a question's (RFC 792; RFC 4443 2.1).
  public var isError: Bool { family == .ipv4 ? [3, 11, 12].contains(type) : type < 128 }

  /// The hop limit ended on the way: what `traceroute` lives from.
  public var isTimeExceeded: Bool { type == (family == .ipv4 ? 11 : 3) }
}

extension ICMPError: CustomStringConvertible {
  /// As `ping` says it.
  public var description: String {
    switch (family, type, code) {
    case (.ipv4, 3, 0), (.ipv6, 1, 0): "network unreachable"
    case (.ipv4, 3, 1), (.ipv6, 1, 3): "host unreachable"
    case (.ipv4, 3, 2): "protocol unreachable"
    case (.ipv4, 3, 3), (.ipv6, 1, 4): "port unreachable"
    case (.ipv4, 3, 4), (.ipv6, 2, _): "packet too big"
    case (.ipv4, 3, 9), (.ipv4, 3, 10), (.ipv4, 3, 13), (.ipv6, 1, 1): "prohibited by a filter"
    case (.ipv4, 11, _), (.ipv6, 3, _): "time exceeded"
    case (.ipv4, 12, _), (.ipv6, 4, _): "parameter problem"
    case (.ipv4, 3, _), (.ipv6, 1, _): "unreachable (code \(code))"
    default: "ICMP type \(type) code \(code)"
    }
  }
}
