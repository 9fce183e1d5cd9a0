// SPDX-License-Identifier: GPL-2.0-or-later

// What `ip -s link` shows.

/// A device's counters.
public struct InterfaceStatistics: Hashable, Sendable {
  /// Frames taken from the ring.
  public var rxPackets: UInt64 = 0
  /// Bytes of them, Ethernet headers included.
  public var rxBytes: UInt64 = 0
  /// Frames that were malformed.
  public var rxErrors: UInt64 = 0
  /// Frames that the device or the bridge above it would not take.
  public var rxDropped: UInt64 = 0
  /// Frames for which a NIC's ring had no block.
  public var rxMissed: UInt64 = 0
  /// Frames to a group address.
  public var multicast: UInt64 = 0
  /// Frames sent.
  public var txPackets: UInt64 = 0
  /// Bytes of them, Ethernet headers included.
  public var txBytes: UInt64 = 0
  /// Always zero: an emulated wire has no errors of its own.
  public var txErrors: UInt64 = 0
  /// Frames that the other end's full ring, or a missing other end, would not take.
  public var txDropped: UInt64 = 0

  /// All zero.
  public init() {}
}
