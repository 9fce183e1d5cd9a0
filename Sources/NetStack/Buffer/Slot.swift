// SPDX-License-Identifier: GPL-2.0-or-later

// A packet, wherever it is, is a number: the index of its sk_buff in the pool of the CPU that holds it.

/// A packet: the index of its sk_buff in a `BufferPool`. Owned by one holder at a time; `free` ends it.
public struct Slot: Hashable, Sendable, BitwiseCopyable {
  var index: UInt32

  /// No packet: the end of a list, or an allocation that failed.
  public static let none = Slot(index: .max)
}
