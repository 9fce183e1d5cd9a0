// SPDX-License-Identifier: GPL-2.0-or-later

// NLMSG_ERROR and NLMSG_DONE: how the kernel ends an answer (`struct nlmsgerr`, NLMSGERR_ATTR_*;
// Documentation/userspace-api/netlink/intro.rst). An error of zero is an acknowledgement.

import CLinux

/// The end of an answer: success, or what was wrong.
public struct NetlinkAcknowledgement: Hashable, Sendable {
  /// 0, or the error's number, positive (`EEXIST`).
  public var errorNumber: Int32
  /// The request's type and sequence number; nil at the end of a dump, whose own header has the number.
  public var requestType: MessageType?
  public var requestSequence: UInt32?
  /// The kernel's own words: of an error, or a warning beside success.
  public var text: String?
  /// The offset of the attribute that the kernel did not like, from the start of the request's header.
  public var attributeOffset: UInt32?
  /// The type of an attribute that is missing, and the offset of the nest that it should stand in (kernel 6.1).
  public var missingAttribute: UInt32?
  public var missingInNest: UInt32?
  public var cookie: [UInt8] = []

  public init(errorNumber: Int32 = 0, text: String? = nil, attributeOffset: UInt32? = nil) {
    self.errorNumber = errorNumber
    self.text = text
    self.attributeOffset = attributeOffset
  }

  public var isError: Bool { errorNumber != 0 }

  /// Reads an NLMSG_ERROR or NLMSG_DONE.
  public init(_ message: NetlinkMessage) throws(NetlinkDecodingError) {
    self.init()
    var reader = AttributeReader(message.payload)
    switch message.type {
    case .error:
      let number = try reader.fixed(Int32.self)
      let request = try reader.fixed(nlmsghdr.self)
      try setError(number)
      requestType = MessageType(rawValue: request.nlmsg_type)
      requestSequence = request.nlmsg_seq
      guard message.flags.contains(.extendedAcknowledgement) else { return }
      var attributes = reader.remaining
      if !message.flags.contains(.capped), errorNumber != 0 {
        // The whole request is quoted before the attributes.
        let quoted = (Int(request.nlmsg_len) - NetlinkMessage.headerLength + 3) & ~3
        guard quoted >= 0, quoted <= attributes.count else {
          throw .truncated("quoted request", needed: quoted, available: attributes.count)
        }
        attributes = attributes.dropFirst(quoted)
      }
      try readExtended(AttributeReader(attributes))
    case .done:
      // Some parts of the kernel end a dump without a number.
      guard !message.payload.isEmpty else { return }
      try setError(try reader.fixed(Int32.self))
      if message.flags.contains(.extendedAcknowledgement) { try readExtended(reader) }
    default:
      throw .unexpectedType(message.type)
    }
  }

  /// The kernel sends errors negative. A dump may end with a positive number, which says nothing.
  private mutating func setError(_ number: Int32) throws(NetlinkDecodingError) {
    guard number > Int32.min else { throw .invalid("error number", value: UInt64(number.magnitude)) }
    errorNumber = number < 0 ? -number : 0
  }

  private mutating func readExtended(_ attributes: AttributeReader) throws(NetlinkDecodingError) {
    var reader = attributes
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NLMSGERR_ATTR_MSG.rawValue: text = attribute.string()
      case NLMSGERR_ATTR_OFFS.rawValue: attributeOffset = try attribute.u32()
      case NLMSGERR_ATTR_COOKIE.rawValue: cookie = attribute.bytes()
      case UInt32(NF_NLMSGERR_ATTR_MISS_TYPE): missingAttribute = try attribute.u32()
      case UInt32(NF_NLMSGERR_ATTR_MISS_NEST): missingInNest = try attribute.u32()
      default: break
      }
    }
  }

  /// The NLMSG_ERROR that says this of a request: what the kernel would send with capped, extended answers.
  public func answer(to request: NetlinkMessage) -> NetlinkMessage {
    let attributes = text != nil || attributeOffset != nil || missingAttribute != nil || !cookie.isEmpty
    var flags: MessageFlags = [.capped]
    if attributes { flags.insert(.extendedAcknowledgement) }
    var message = NetlinkMessage(type: .error, flags: flags) { writer in
      writer.fixed(-errorNumber)
      writer.fixed(
        nlmsghdr(
          nlmsg_len: UInt32(clamping: NetlinkMessage.headerLength + request.payload.count),
          nlmsg_type: request.type.rawValue, nlmsg_flags: request.flags.rawValue, nlmsg_seq: request.sequence,
          nlmsg_pid: request.port))
      writer.string(Int(NLMSGERR_ATTR_MSG.rawValue), text)
      writer.u32(Int(NLMSGERR_ATTR_OFFS.rawValue), attributeOffset)
      writer.u32(NF_NLMSGERR_ATTR_MISS_TYPE, missingAttribute)
      writer.u32(NF_NLMSGERR_ATTR_MISS_NEST, missingInNest)
      if !cookie.isEmpty { writer.bytes(Int(NLMSGERR_ATTR_COOKIE.rawValue), cookie) }
    }
    message.sequence = request.sequence
    message.port = request.port
    return message
  }
}
