// SPDX-License-Identifier: GPL-2.0-or-later

// Why bytes are no message. Decoding never traps, whoever wrote the bytes.

/// A netlink message that does not hold together.
public enum NetlinkDecodingError: Error, Hashable, Sendable {
  /// `what` needs more bytes than there are.
  case truncated(String, needed: Int, available: Int)
  /// A field holds a value that it cannot have.
  case invalid(String, value: UInt64)
  /// An attribute's payload has a length that its type cannot have.
  case attributeLength(type: Int, length: Int)
  /// The message is of another type than the one asked for.
  case unexpectedType(MessageType)
}

extension NetlinkDecodingError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .truncated(let what, let needed, let available):
      "malformed netlink message: \(what) needs \(needed) bytes, \(available) are left"
    case .invalid(let what, let value):
      "malformed netlink message: \(what) is \(value)"
    case .attributeLength(let type, let length):
      "malformed netlink message: attribute \(type) has \(length) bytes, which its type cannot have"
    case .unexpectedType(let type):
      "unexpected netlink message \(type)"
    }
  }
}
