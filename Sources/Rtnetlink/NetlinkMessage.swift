// SPDX-License-Identifier: GPL-2.0-or-later

// The envelope of every netlink message (`struct nlmsghdr`) and the way into and out of a buffer of them. What the
// payload means is the business of the typed messages beside this file.
//
//    0               4        6        8               12              16
//    | length (all)  | type   | flags  | sequence      | port          | payload … | padding to 4 |

import CLinux

/// One netlink message: header and payload.
public struct NetlinkMessage: Hashable, Sendable {
  public var type: MessageType
  public var flags: MessageFlags
  /// Chosen by who asks, repeated in each answer.
  public var sequence: UInt32
  /// The netlink port (not a process id) of the sender; 0 is the kernel.
  public var port: UInt32
  public var payload: [UInt8]
  /// The type of an attribute that did not fit into 65535 bytes when this message was written. Such a message is
  /// incomplete and must not be sent; `NetlinkSocket` refuses it by name.
  public var oversizedAttribute: Int?

  /// `sizeof(struct nlmsghdr)`.
  public static let headerLength = 16

  public init(
    type: MessageType, flags: MessageFlags = [], sequence: UInt32 = 0, port: UInt32 = 0, payload: [UInt8] = []
  ) {
    self.type = type
    self.flags = flags
    self.sequence = sequence
    self.port = port
    self.payload = payload
  }

  /// A message whose payload is what `body` writes.
  public init(
    type: MessageType, flags: MessageFlags = [], capacity: Int = 128, _ body: (inout NetlinkWriter) -> Void
  ) {
    var writer = NetlinkWriter(capacity: capacity)
    body(&writer)
    self.init(type: type, flags: flags, payload: writer.bytes)
    oversizedAttribute = writer.oversizedAttribute
  }

  /// Bytes that the message takes in a buffer, padding included.
  public var encodedLength: Int { (Self.headerLength + payload.count + 3) & ~3 }

  /// Appends the message, padded to four bytes.
  public func encode(into buffer: inout [UInt8]) {
    encode(into: &buffer, flags: flags, sequence: sequence)
  }

  /// Appends the message with other flags and another sequence number than its own, without a copy of it.
  public func encode(into buffer: inout [UInt8], flags: MessageFlags, sequence: UInt32) {
    let header = nlmsghdr(
      nlmsg_len: UInt32(truncatingIfNeeded: Self.headerLength + payload.count), nlmsg_type: type.rawValue,
      nlmsg_flags: flags.rawValue, nlmsg_seq: sequence, nlmsg_pid: port)
    withUnsafeBytes(of: header) { buffer.append(contentsOf: $0) }
    buffer.append(contentsOf: payload)
    for _ in 0..<(-payload.count & 3) { buffer.append(0) }
  }

  /// The message's bytes.
  public func encoded() -> [UInt8] {
    var buffer: [UInt8] = []
    buffer.reserveCapacity(encodedLength)
    encode(into: &buffer)
    return buffer
  }

  /// The messages that stand in a buffer one after the other. The buffer may come from anyone.
  public static func parse(_ buffer: UnsafeRawBufferPointer) throws(NetlinkDecodingError) -> [NetlinkMessage]
  {
    var messages: [NetlinkMessage] = []
    var offset = 0
    while offset < buffer.count {
      guard buffer.count - offset >= headerLength else {
        throw .truncated("message header", needed: headerLength, available: buffer.count - offset)
      }
      let header = buffer.loadUnaligned(fromByteOffset: offset, as: nlmsghdr.self)
      let length = Int(header.nlmsg_len)
      guard length >= headerLength else { throw .invalid("message length", value: UInt64(length)) }
      guard length <= buffer.count - offset else {
        throw .truncated("message", needed: length, available: buffer.count - offset)
      }
      messages.append(
        NetlinkMessage(
          type: MessageType(rawValue: header.nlmsg_type), flags: MessageFlags(rawValue: header.nlmsg_flags),
          sequence: header.nlmsg_seq, port: header.nlmsg_pid,
          payload: [UInt8](UnsafeRawBufferPointer(rebasing: buffer[offset + headerLength..<offset + length])))
      )
      // The last message of a buffer may stand without its padding.
      offset += min((length + 3) & ~3, buffer.count - offset)
    }
    return messages
  }

  /// The messages that stand in a buffer one after the other.
  public static func parse(_ bytes: [UInt8]) throws(NetlinkDecodingError) -> [NetlinkMessage] {
    let result: Result<[NetlinkMessage], NetlinkDecodingError> = bytes.withUnsafeBytes { buffer in
      do throws(NetlinkDecodingError) {
        return .success(try parse(buffer))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}

/// The flags of a message header (`NLM_F_*`). Some bits mean one thing for GET, another for NEW and DELETE.
public struct MessageFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  init(_ flag: Int32) { rawValue = UInt16(truncatingIfNeeded: flag) }

  public static let request = MessageFlags(NLM_F_REQUEST)
  public static let multipart = MessageFlags(NLM_F_MULTI)
  public static let acknowledge = MessageFlags(NLM_F_ACK)
  public static let echo = MessageFlags(NLM_F_ECHO)
  /// The dump was not atomic: the kernel's table changed in between.
  public static let dumpInterrupted = MessageFlags(NLM_F_DUMP_INTR)
  public static let dumpFiltered = MessageFlags(NLM_F_DUMP_FILTERED)
  /// GET: all that match.
  public static let dump = MessageFlags(NLM_F_DUMP)
  /// NEW: replace what stands there.
  public static let replace = MessageFlags(NLM_F_REPLACE)
  /// NEW: fail when it is already there.
  public static let exclusive = MessageFlags(NLM_F_EXCL)
  /// NEW: make it when it is not there.
  public static let create = MessageFlags(NLM_F_CREATE)
  /// NEW: put it behind what stands there.
  public static let append = MessageFlags(NLM_F_APPEND)
  /// Error answers: the request is not quoted behind its header.
  public static let capped = MessageFlags(NLM_F_CAPPED)
  /// Error answers: extended acknowledgement attributes follow.
  public static let extendedAcknowledgement = MessageFlags(NLM_F_ACK_TLVS)
}
