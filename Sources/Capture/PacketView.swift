// SPDX-License-Identifier: GPL-2.0-or-later

// Bytes of a packet in network order, read within their bounds: what is not there is nil.

import NetTypes

/// A part of a packet.
struct PacketView {
  private let bytes: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

  var count: Int { bytes.count }

  func u8(_ offset: Int) -> UInt8? {
    offset >= 0 && offset < bytes.count ? bytes[bytes.startIndex + offset] : nil
  }

  func u16(_ offset: Int) -> UInt16? {
    guard let high = u8(offset), let low = u8(offset + 1) else { return nil }
    return UInt16(high) << 8 | UInt16(low)
  }

  func u32(_ offset: Int) -> UInt32? {
    guard let high = u16(offset), let low = u16(offset + 2) else { return nil }
    return UInt32(high) << 16 | UInt32(low)
  }

  private func u64(_ offset: Int) -> UInt64? {
    guard let high = u32(offset), let low = u32(offset + 4) else { return nil }
    return UInt64(high) << 32 | UInt64(low)
  }

  func ipv4(_ offset: Int) -> IPv4Address? { u32(offset).map { IPv4Address(rawValue: $0) } }

  func ipv6(_ offset: Int) -> IPv6Address? {
    guard let high = u64(offset), let low = u64(offset + 8) else { return nil }
    return IPv6Address(high: high, low: low)
  }

  /// What follows from an offset on; empty beyond the end.
  func from(_ offset: Int) -> PacketView { PacketView(bytes.dropFirst(max(offset, 0))) }

  func prefix(_ count: Int) -> PacketView { PacketView(bytes.prefix(max(count, 0))) }
}
