// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// An echo request as a ping socket takes it: type, code, checksum, identifier, number, of which the kernel fills in the
/// checksum and the identifier (RFC 792, RFC 4443 4.1).
public enum EchoMessage {
  public static let headerLength = 8

  /// The header of request `number`; the data follows it.
  public static func header(_ family: IPFamily, number: UInt16) -> [UInt8] {
    [family == .ipv4 ? 8 : 128, 0, 0, 0, 0, 0, UInt8(number >> 8), UInt8(truncatingIfNeeded: number)]
  }
}
