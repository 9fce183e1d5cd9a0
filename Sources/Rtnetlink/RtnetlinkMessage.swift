// SPDX-License-Identifier: GPL-2.0-or-later

// What all typed messages have in common: a payload that can be written and read, and the requests made of it.

import CLinux

/// What a request asks of an object.
public enum RequestKind: Hashable, Sendable {
  /// Make it; an error when it is there.
  case create
  /// Make it, or change what is there into it.
  case createOrReplace
  /// Make it behind what is there: another route to the same destination, another FDB destination.
  case append
  /// Change what is there; an error when it is not.
  case change
  case delete
  /// One object.
  case get
  /// All objects; what is set in the message is a filter, which the socket's strict check makes the kernel heed.
  case dump
}

/// A message of rtnetlink about one kind of object.
public protocol RtnetlinkMessage: Hashable, Sendable {
  static var newType: MessageType { get }
  static var deleteType: MessageType { get }
  static var getType: MessageType { get }
  /// The flags of `.change`; parts of the kernel want NLM_F_REPLACE there, parts refuse it.
  static var changeFlags: MessageFlags { get }

  /// Reads a message of one of this object's types.
  init(_ message: NetlinkMessage) throws(NetlinkDecodingError)

  /// Reads a payload: the fixed header and the attributes behind it. Attributes that are not known are left out.
  init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError)

  /// Writes the payload.
  func encode(into writer: inout NetlinkWriter)
}

extension RtnetlinkMessage {
  public static var changeFlags: MessageFlags { .replace }

  public init(_ message: NetlinkMessage) throws(NetlinkDecodingError) {
    guard [Self.newType, Self.deleteType, Self.getType].contains(message.type) else {
      throw .unexpectedType(message.type)
    }
    try self.init(parsing: message.payload[...])
  }

  /// A message of any type and flags about this object.
  public func message(_ type: MessageType, _ flags: MessageFlags = [.request]) -> NetlinkMessage {
    NetlinkMessage(type: type, flags: flags) { encode(into: &$0) }
  }

  /// The message that asks for `kind`. Acknowledgement is asked for by who sends it.
  public func request(_ kind: RequestKind) -> NetlinkMessage {
    switch kind {
    case .create: message(Self.newType, [.request, .create, .exclusive])
    case .createOrReplace: message(Self.newType, Self.changeFlags.union([.request, .create]))
    case .append: message(Self.newType, [.request, .create, .append])
    case .change: message(Self.newType, Self.changeFlags.union(.request))
    case .delete: message(Self.deleteType, [.request])
    case .get: message(Self.getType, [.request])
    case .dump: message(Self.getType, [.request, .dump])
    }
  }

  /// The payload alone.
  public func payload() -> [UInt8] {
    var writer = NetlinkWriter()
    encode(into: &writer)
    return writer.bytes
  }
}
