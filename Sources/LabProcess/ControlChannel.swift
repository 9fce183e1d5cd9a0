// SPDX-License-Identifier: GPL-2.0-or-later

// Messages over the lab's control socket (AF_UNIX, SOCK_SEQPACKET). A message is bytes, a payload of more bytes that are
// handed on as they are, and descriptors:
//
//     packet  0 | bytes                                                      up to 160 KiB
//     packet  2 | how many bytes there are, 4, little-endian | bytes | payload      the same
//     packets 1 and 3        + a sealed memory file of what follows 0 and 2 as the first descriptor, up to 256 MiB
//
// Whatever the other side sends, the worst that happens is that the connection ends.

import CLinux
import Glibc
import LabCore
import Synchronization
import SystemPackage

/// One message as it came.
struct ControlPacket: Sendable {
  var bytes: [UInt8]
  var payload: [UInt8] = []
  var descriptors: [OwnedDescriptor]
}

/// One end of a control connection. Sending never blocks; packets come in order.
final class ControlChannel: Sendable {
  /// What a test of throughput sends at a time, and its message.
  static let inlineLimit = 160 << 10
  static let messageLimit = 256 << 20
  /// Messages that may wait for a peer that does not read.
  static let queueLimit = 4096

  private struct Outgoing {
    var bytes: [UInt8]
    var descriptors: [OwnedDescriptor]

    /// The same in a memory file; nil when there is none to be had, or it is in one.
    var sealed: Outgoing? {
      guard bytes[0] & 1 == 0 else { return nil }
      let file = bytes.withUnsafeBytes { nf_sealed_file($0.baseAddress.map { $0 + 1 }, $0.count - 1) }
      guard file >= 0 else { return nil }
      return Outgoing(
        bytes: [bytes[0] | 1],
        descriptors: [OwnedDescriptor(FileDescriptor(rawValue: file))] + descriptors)
    }
  }

  private struct State {
    var isOpen = true
    var queue: [Outgoing] = []
    var isWaiting = false
    /// Why the connection ended; nil when the other side closed it.
    var failure: String?
  }

  private let socket: Int32
  private let reactor: Reactor
  private let state = Mutex(State())
  /// Ends when the connection does.
  let packets: AsyncStream<ControlPacket>
  private let arrivals: AsyncStream<ControlPacket>.Continuation

  /// Takes the socket over, which must be non-blocking.
  init(_ socket: FileDescriptor, on reactor: Reactor) {
    self.socket = socket.rawValue
    self.reactor = reactor
    (packets, arrivals) = AsyncStream.makeStream()
    reactor.add(socket.rawValue, Reactor.readable) { events in self.ready(events) }
  }

  /// Why the connection ended, when it was not closed in order.
  var failure: String? { state.withLock { $0.failure } }

  /// Sends a message; the descriptors are kept open until they are on their way. False when the connection has ended.
  @discardableResult
  func send(_ bytes: [UInt8], payload: [UInt8] = [], _ descriptors: [OwnedDescriptor] = []) -> Bool {
    guard let message = Self.packed(bytes, payload, descriptors) else {
      close("a message of \(bytes.count + payload.count) bytes cannot be sent")
      return false
    }
    let isOpen = state.withLock { state in
      guard state.isOpen, state.queue.count < Self.queueLimit else { return false }
      state.queue.append(message)
      return true
    }
    if !isOpen {
      close("the other side does not read")
      return false
    }
    flush()
    return true
  }

  /// Ends the connection. The first reason counts.
  func close(_ reason: String? = nil) {
    let wasOpen = state.withLock { state in
      guard state.isOpen else { return false }
      state.isOpen = false
      state.failure = reason
      state.queue = []
      return true
    }
    guard wasOpen else { return }
    reactor.remove(socket)
    Glibc.close(socket)
    arrivals.finish()
  }

  private static func packed(
    _ bytes: [UInt8], _ payload: [UInt8], _ descriptors: [OwnedDescriptor]
  ) -> Outgoing? {
    guard bytes.count + payload.count <= messageLimit, descriptors.count < Int(NF_PACKET_DESCRIPTORS) else {
      return nil
    }
    let hasPayload = !payload.isEmpty
    var content: [UInt8] = [hasPayload ? 2 : 0]
    content.reserveCapacity(5 + bytes.count + payload.count)
    if hasPayload { withUnsafeBytes(of: UInt32(bytes.count).littleEndian) { content += $0 } }
    content += bytes
    content += payload
    let message = Outgoing(bytes: content, descriptors: descriptors)
    return content.count <= inlineLimit ? message : message.sealed
  }

  private func flush() {
    let failure = state.withLock { (state) -> String? in
      guard state.isOpen else { return nil }
      while let message = state.queue.first {
        let numbers = message.descriptors.map(\.descriptor.rawValue)
        let result = nf_packet_send(socket, message.bytes, message.bytes.count, numbers, numbers.count)
        if result == -EAGAIN {
          if !state.isWaiting { reactor.change(socket, Reactor.readable | Reactor.writable) }
          state.isWaiting = true
          return nil
        }
        if result == -EPIPE || result == -ECONNRESET {
          // The other side has gone. What it said before that is still to be read; then comes the end.
          state.queue = []
          break
        }
        // Sockets' buffers are smaller here than they usually are.
        if result == -EMSGSIZE, let sealed = message.sealed {
          state.queue[0] = sealed
          continue
        }
        guard result == 0 else { return "\(Errno(rawValue: -result))" }
        state.queue.removeFirst()
      }
      if state.isWaiting { reactor.change(socket, Reactor.readable) }
      state.isWaiting = false
      return nil
    }
    if let failure { close(failure) }
  }

  private func ready(_ events: UInt32) {
    if events & Reactor.writable != 0 { flush() }
    // A bounded number, so that one connection cannot keep the thread.
    for _ in 0..<16 {
      guard state.withLock({ $0.isOpen }), receive() else { return }
    }
  }

  /// Takes one packet; false when there is none.
  private func receive() -> Bool {
    var numbers = [Int32](repeating: -1, count: Int(NF_PACKET_DESCRIPTORS))
    var count = 0
    var size = 0
    let buffer = [UInt8](unsafeUninitializedCapacity: Self.inlineLimit) { buffer, initialized in
      size = nf_packet_receive(socket, buffer.baseAddress, buffer.count, &numbers, &count)
      initialized = max(0, size)
    }
    if size == -Int(EAGAIN) { return false }
    let descriptors = numbers.prefix(count).map { OwnedDescriptor(FileDescriptor(rawValue: $0)) }
    switch size {
    case 0: close()
    case ..<0:
      close(
        size == -Int(EMSGSIZE) ? "a packet that is too large" : "\(Errno(rawValue: Int32(clamping: -size)))")
    default:
      guard let packet = Self.unpacked(buffer, descriptors) else {
        close("a malformed packet")
        return false
      }
      arrivals.yield(packet)
      return true
    }
    return false
  }

  static func unpacked(_ buffer: [UInt8], _ descriptors: [OwnedDescriptor]) -> ControlPacket? {
    guard let kind = buffer.first, kind <= 3 else { return nil }
    var (content, others) = (buffer[1...], descriptors[...])
    if kind & 1 != 0 {
      guard content.isEmpty, let file = others.popFirst(),
        let bytes = contents(of: file.descriptor, limit: messageLimit)
      else { return nil }
      content = bytes[...]
    }
    guard kind & 2 != 0 else { return ControlPacket(bytes: Array(content), descriptors: Array(others)) }
    guard content.count >= 4 else { return nil }
    let length = content.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
    content = content.dropFirst(4)
    guard length <= content.count else { return nil }
    return ControlPacket(
      bytes: Array(content.prefix(length)), payload: Array(content.dropFirst(length)),
      descriptors: Array(others))
  }

  /// All bytes of a sealed memory file; nil when it is none or too large.
  static func contents(of file: FileDescriptor, limit: Int) -> [UInt8]? {
    let size = Int(nf_sealed_size(file.rawValue))
    guard size >= 0, size <= limit else { return nil }
    var done = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
      while done < size {
        let count = pread(file.rawValue, buffer.baseAddress.map { $0 + done }, size - done, done)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { break }
        done += count
      }
      initialized = done
    }
    return done == size ? bytes : nil
  }
}
