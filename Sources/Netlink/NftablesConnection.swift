// SPDX-License-Identifier: GPL-2.0-or-later

// The netlink socket under `NftablesSocket`: sends a transaction and collects what the kernel says of it, or
// reads a table. The kernel works while the send runs and has queued every answer when it returns.

import CLinux
import CMnl
import CNftnl
import Glibc
import Nftables
import Rtnetlink
import SystemPackage

/// What the kernel said of one message.
struct NftablesAnswer {
  var sequence: UInt32
  /// 0 for done.
  var errno: Int32
  var text: String?
  var attributeOffset: Int?
}

/// Owns the socket and the buffer that answers come into.
struct NftablesConnection: ~Copyable, @unchecked Sendable {
  private let socket: OpaquePointer
  private let buffer: UnsafeMutableRawBufferPointer
  private let label: String
  private var sequence: UInt32 = 0x4e46_0000

  static let attempts = 16
  private static let bufferSize = 1 << 17
  private static let timeoutSeconds = 30

  init(label: String) throws(NftablesError) {
    self.label = label
    guard let socket = mnl_socket_open2(NETLINK_NETFILTER, Int32(SOCK_CLOEXEC.rawValue)) else {
      throw .system("opening an nftables socket in namespace '\(label)'")
    }
    guard mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 else {
      let error = NftablesError.system("binding an nftables socket in namespace '\(label)'")
      mnl_socket_close(socket)
      throw error
    }
    var on: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    _ = mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, size)
    _ = mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, size)
    var timeout = timeval(tv_sec: Self.timeoutSeconds, tv_usec: 0)
    setsockopt(
      mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    self.socket = socket
    buffer = .allocate(byteCount: Self.bufferSize, alignment: 16)
  }

  deinit {
    mnl_socket_close(socket)
    buffer.deallocate()
  }

  // MARK: Transactions

  /// Sends a transaction and gives every answer to it.
  func send(_ batch: NftablesTransaction, _ operation: String) throws(NftablesError) -> [NftablesAnswer] {
    enlarge(send: batch.bytes.count + 4096, receive: batch.messages.count * 1024 + 65_536)
    try send(batch.bytes, operation)
    var answers: [NftablesAnswer] = []
    while let messages = try receive(operation, waits: false) {
      for message in messages where message.type == .error {
        let acknowledgement: NetlinkAcknowledgement
        do throws(NetlinkDecodingError) {
          acknowledgement = try NetlinkAcknowledgement(message)
        } catch {
          throw NftablesError(.malformedAnswer, operation, text: error.description)
        }
        answers.append(
          NftablesAnswer(
            sequence: message.sequence, errno: acknowledgement.errorNumber, text: acknowledgement.text,
            attributeOffset: acknowledgement.attributeOffset.map { Int($0) }))
      }
    }
    return answers
  }

  /// Asks for room; where the right to force it is missing, for what the system's limit gives.
  private func enlarge(send: Int, receive: Int) {
    let descriptor = mnl_socket_get_fd(socket)
    let size = socklen_t(MemoryLayout<Int32>.size)
    for (bytes, forced, plain) in [(send, SO_SNDBUFFORCE, SO_SNDBUF), (receive, SO_RCVBUFFORCE, SO_RCVBUF)] {
      var value = Int32(clamping: bytes)
      if setsockopt(descriptor, SOL_SOCKET, forced, &value, size) != 0 {
        setsockopt(descriptor, SOL_SOCKET, plain, &value, size)
      }
    }
  }

  private func send(_ bytes: [UInt8], _ operation: String) throws(NftablesError) {
    let result = bytes.withUnsafeBytes { bytes -> Int in
      while true {
        let sent = mnl_socket_sendto(socket, bytes.baseAddress, bytes.count)
        if sent >= 0 { return sent }
        if errno != EINTR { return -1 }
      }
    }
    guard result >= 0 else {
      guard errno == EMSGSIZE else { throw .system(operation) }
      throw NftablesError(
        .system, operation, errno: .init(rawValue: EMSGSIZE),
        text: "the transaction of \(bytes.count) bytes is larger than net.core.wmem_max allows")
    }
  }

  /// The messages of one datagram; nil when nothing is there and the caller does not wait.
  private func receive(_ operation: String, waits: Bool) throws(NftablesError) -> [NetlinkMessage]? {
    while true {
      let count = recv(
        mnl_socket_get_fd(socket), buffer.baseAddress, buffer.count,
        Int32(truncatingIfNeeded: MSG_TRUNC) | (waits ? 0 : Int32(truncatingIfNeeded: MSG_DONTWAIT)))
      guard count < 0 else {
        guard count <= buffer.count else {
          throw NftablesError(.malformedAnswer, operation, text: "an answer of \(count) bytes")
        }
        do throws(NetlinkDecodingError) {
          return try NetlinkMessage.parse(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        } catch {
          throw NftablesError(.malformedAnswer, operation, text: error.description)
        }
      }
      switch errno {
      case EINTR: continue
      case EAGAIN where !waits: return nil
      case EAGAIN: throw NftablesError(.system, operation, text: "the kernel did not answer in time")
      default: throw .system(operation)
      }
    }
  }

  // MARK: Reading

  /// The ruleset's generation.
  mutating func generation() throws(NftablesError) -> UInt32 {
    let operation = "reading the nftables generation in namespace '\(label)'"
    let answers = try request(NFT_MSG_GETGEN.rawValue, family: 0, isDump: false, [], operation).messages
    for answer in answers where answer.type.rawValue == NftablesMessage.type(NFT_MSG_NEWGEN.rawValue) {
      do throws(NetlinkDecodingError) {
        var reader = AttributeReader(answer.payload)
        _ = try reader.fixed(NftablesMessage.Header.self)
        while let attribute = try reader.next() {
          if attribute.type == Int(NFTA_GEN_ID.rawValue) { return try attribute.be32() }
        }
      } catch {
        throw NftablesError(.malformedAnswer, operation, text: error.description)
      }
    }
    throw NftablesError(.malformedAnswer, operation, text: "no generation in the answer")
  }

  /// What a request answers. `isWhole` is false when the kernel says that a dump was interrupted.
  /// `attributes` are text attributes of the request. ENOENT gives nothing.
  mutating func request(
    _ type: UInt32, family: UInt8, isDump: Bool, _ attributes: [(type: UInt32, text: String)],
    _ operation: String
  ) throws(NftablesError) -> (messages: [NetlinkMessage], isWhole: Bool) {
    sequence &+= 1
    let message = NetlinkMessage(
      type: MessageType(rawValue: NftablesMessage.type(type)),
      flags: isDump ? [.request, .dump] : [.request, .acknowledge]
    ) { writer in
      writer.fixed(NftablesMessage.Header(family: family, version: 0, resource: 0))
      for attribute in attributes { writer.string(Int(attribute.type), attribute.text) }
    }
    var request = message
    request.sequence = sequence
    try send(request.encoded(), operation)
    var result: [NetlinkMessage] = []
    var isWhole = true
    while let messages = try receive(operation, waits: true) {
      for answer in messages where answer.sequence == sequence {
        if answer.flags.contains(.dumpInterrupted) { isWhole = false }
        guard answer.type == .done || answer.type == .error else {
          result.append(answer)
          continue
        }
        let number: Int32
        do throws(NetlinkDecodingError) {
          number = try NetlinkAcknowledgement(answer).errorNumber
        } catch {
          throw NftablesError(.malformedAnswer, operation, text: error.description)
        }
        switch number {
        case 0: return (result, isWhole)
        case ENOENT: return ([], isWhole)
        case EINTR: return (result, false)
        default: throw NftablesError(.system, operation, errno: .init(rawValue: number))
        }
      }
    }
    return (result, isWhole)
  }
}

extension NftablesError {
  static func system(_ operation: String) -> NftablesError {
    NftablesError(.system, operation, errno: .init(rawValue: Glibc.errno))
  }
}

/// The header of nfnetlink and the numbers of its messages.
enum NftablesMessage {
  /// `struct nfgenmsg`.
  struct Header: BitwiseCopyable {
    var family: UInt8
    var version: UInt8
    /// In answers the low half of the generation, in network order.
    var resource: UInt16
  }

  /// NFNL_SUBSYS_NFTABLES in the high byte.
  static func type(_ message: UInt32) -> UInt16 { 10 << 8 | UInt16(truncatingIfNeeded: message) }
}
