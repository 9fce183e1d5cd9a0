// SPDX-License-Identifier: GPL-2.0-or-later

// How much a netlink socket can hold, and how much may therefore be sent at once: the kernel drops acknowledgements
// that do not fit into the receive buffer.

import Glibc
import Rtnetlink

/// The kernel's buffers of a socket.
enum SocketBuffer {
  /// Asks for buffers beyond the system's limit, which takes CAP_NET_ADMIN over the host; without it, for as much as
  /// the limit allows.
  static func enlarge(_ descriptor: Int32, send: Int32?, receive: Int32?) {
    if let send { set(descriptor, send, SO_SNDBUFFORCE, SO_SNDBUF) }
    if let receive { set(descriptor, receive, SO_RCVBUFFORCE, SO_RCVBUF) }
  }

  private static func set(_ descriptor: Int32, _ size: Int32, _ force: Int32, _ plain: Int32) {
    var size = size
    let length = socklen_t(MemoryLayout<Int32>.size)
    if setsockopt(descriptor, SOL_SOCKET, force, &size, length) != 0 {
      setsockopt(descriptor, SOL_SOCKET, plain, &size, length)
    }
  }

  /// What the kernel gave: bytes, its own bookkeeping included.
  static func size(_ descriptor: Int32, _ option: Int32) -> Int {
    var size: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, option, &size, &length) == 0 else { return 0 }
    return Int(size)
  }
}

/// How much one batch may be.
struct BatchLimits: Sendable {
  /// Bytes of one system call.
  let bytes: Int
  /// Bytes of the receive buffer that a batch's answers may take.
  let answers: Int

  /// What an acknowledgement with the kernel's words takes of the receive buffer: the data, struct sk_buff and
  /// struct skb_shared_info come to 768 to 1280 bytes.
  static let acknowledgementCost = 1536
  /// The same for an object that a GET answers with.
  static let objectCost = 8192

  /// Bytes that every socket takes.
  static let smallest = 4096

  init(_ descriptor: Int32) {
    // netlink_sendmsg refuses what is larger than the buffer less 32 bytes.
    bytes = max(SocketBuffer.size(descriptor, SO_SNDBUF) - 32, Self.smallest)
    answers = max(SocketBuffer.size(descriptor, SO_RCVBUF), Self.objectCost)
  }

  init(bytes: Int, answers: Int) {
    self.bytes = bytes
    self.answers = answers
  }

  /// How many of the messages that `indices` name fit into one batch; at least one.
  func prefix(of indices: ArraySlice<Int>, in messages: [NetlinkMessage]) -> Int {
    var count = 0
    var size = 0
    var cost = 0
    for index in indices {
      size += messages[index].encodedLength
      // The low two bits of an rtnetlink type: new, delete, get, set.
      cost += messages[index].type.rawValue & 3 == 2 ? Self.objectCost : Self.acknowledgementCost
      if count > 0, size > bytes || cost > answers { break }
      count += 1
    }
    return count
  }
}
