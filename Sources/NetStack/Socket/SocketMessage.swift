// SPDX-License-Identifier: GPL-2.0-or-later

// What goes with the bytes of a datagram: control data in both directions, and errors as the error queue has them
// (struct msghdr, in_pktinfo, sock_extended_err).

public import NetTypes

/// How to receive.
public struct ReceiveFlags: OptionSet, Hashable, Sendable {
  /// The kernel's bits (`MSG_*`).
  public var rawValue: Int32

  /// From the kernel's bits.
  public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Leave what is received where it is.
  public static let peek = ReceiveFlags(rawValue: 0x02)
  /// A stream's urgent byte.
  public static let outOfBand = ReceiveFlags(rawValue: 0x01)
}

/// What is known of a message that was received.
public struct ReceivedMessage: Hashable, Sendable {
  /// Bytes that the message has, of which the buffer may have taken fewer.
  public var length: Int
  /// Whether the buffer has taken fewer (MSG_TRUNC).
  public var isTruncated: Bool
  /// Who sent it; nil on packet sockets and on streams.
  public var source: SocketAddress?
  /// Where it was seen, on packet sockets.
  public var link: PacketAddress?
  /// The address it was sent to (ipi_addr).
  public var destination: IPAddress?
  /// The device that it came in by (ipi_ifindex); 0 when that has gone.
  public var ifindex: Int32
  /// TTL or hop limit.
  public var ttl: UInt8
  /// Type of service or traffic class.
  public var typeOfService: UInt8
  /// When it came into the stack.
  public var time: Instant
}

/// What a sender may say about one message.
public struct SendControl: Hashable, Sendable {
  /// The address to speak from (ipi_spec_dst).
  public var source: IPAddress?
  /// The device to leave by (ipi_ifindex).
  public var ifindex: Int32
  /// TTL or hop limit.
  public var ttl: UInt8?
  /// Type of service or traffic class.
  public var typeOfService: UInt8?
  /// More follows (MSG_MORE): UDP sends nothing before a datagram's last piece, TCP no segment that is not full.
  public var isContinued: Bool
  /// A stream's last byte is urgent (MSG_OOB).
  public var isUrgent = false
  /// A stream's last byte ends a record, which shares no segment with what follows (MSG_EOR).
  public var endsRecord = false

  /// Nothing but what is given.
  public init(
    source: IPAddress? = nil, ifindex: Int32 = 0, ttl: UInt8? = nil, typeOfService: UInt8? = nil,
    isContinued: Bool = false
  ) {
    self.isContinued = isContinued
    self.source = source
    self.ifindex = ifindex
    self.ttl = ttl
    self.typeOfService = typeOfService
  }
}

/// An error as the error queue has it.
public struct SocketErrorReport: Hashable, Sendable {
  /// Who found it (SO_EE_ORIGIN_*).
  public enum Origin: UInt8, Sendable {
    case local = 1, icmp, icmp6, timestamping

    /// A router or the other end told it.
    var isICMP: Bool { self == .icmp || self == .icmp6 }
  }

  /// The error number.
  public var errno: Int32
  /// Who found it.
  public var origin: Origin
  /// The ICMP message's.
  public var type: UInt8
  /// The ICMP message's.
  public var code: UInt8
  /// The MTU, where the error is about it; what a time is of (SCM_TSTAMP_*).
  public var information: UInt32
  /// Which byte a time is of.
  public var data: UInt32 = 0
  /// Who told; nil for local errors.
  public var offender: IPAddress?
  /// Where the datagram was sent to.
  public var destination: SocketAddress
  /// What of the datagram came back.
  public var payload: [UInt8]
  /// When it was told.
  public var time: Instant
}
