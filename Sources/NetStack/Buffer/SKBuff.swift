// SPDX-License-Identifier: GPL-2.0-or-later

// What is known about a packet beside its bytes: `struct sk_buff`. All that the way through the stack touches is in
// the first cache line; the second of the 128 bytes' stride belongs to page fragments and offload state.
//
//    block ─┬─ headroom ─┬─ link header ─┬─ network header ─┬─ transport … ─┬─ tailroom ─┐
//           0        dataOffset ──────────── length ───────────────────────▶            class size
//                        ▲ moves right by pull, left by push

/// A packet's metadata. Offsets count from the start of its data block.
struct SKBuff: BitwiseCopyable {
  /// The data block; clones share one.
  var block: UInt32 = .max
  /// Where the packet begins now.
  var dataOffset: UInt16 = 0
  /// Bytes from there.
  var length: UInt16 = 0
  var linkHeader: UInt16 = 0
  var networkHeader: UInt16 = 0
  var transportHeader: UInt16 = 0
  /// In host byte order, once the link header has been read.
  var etherType: UInt16 = 0
  /// The device that it came in by, or is to leave by: an index into the kernel's table.
  var device: UInt32 = .max
  /// The next of a list that is threaded through the packets themselves.
  var next: Slot = .none
  /// `skb->mark`: set by rules, forgotten at the border of a namespace.
  var mark: UInt32 = 0
  var packetType: PacketType = .host
  /// What happened on the way down so far.
  var flags: Flags = []
  /// Nanoseconds; when it entered the stack.
  var timestamp: Int64 = 0

  struct Flags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// It is being forwarded, not sent by this host.
    static let forwarded = Flags(rawValue: 1)
    /// Its neighbour's failure must not be answered with another error.
    static let quiet = Flags(rawValue: 2)
  }
}

/// Whom a frame's destination address means (`PACKET_*`).
enum PacketType: UInt8, BitwiseCopyable {
  case host, broadcast, multicast, otherHost
}
