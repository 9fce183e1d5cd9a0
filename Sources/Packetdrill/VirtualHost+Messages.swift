// SPDX-License-Identifier: GPL-2.0-or-later

// Bytes go in and out: read, write, and what recvmsg and sendmsg add to them. Calls wait as the kernel's do.

import Glibc
import NetStack
import NetTypes

/// What is kept of a stream beside the kernel.
struct StreamOptions {
  /// TCP_INQ: recvmsg tells how much is left.
  var tellsQueue = false
}

/// A caller's buffers.
struct Buffers {
  private(set) var pieces: [UnsafeMutableRawBufferPointer] = []
  private(set) var count = 0
  private var hasBadAddress = false

  init(_ start: UnsafeRawPointer?, _ count: Int) { add(start, count) }

  init(_ vector: UnsafeRawPointer?, pieces number: Int) {
    let vector = vector?.assumingMemoryBound(to: iovec.self)
    for place in 0..<max(number, 0) {
      guard let piece = vector?[place] else { break }
      add(piece.iov_base, piece.iov_len)
    }
  }

  private mutating func add(_ start: UnsafeRawPointer?, _ length: Int) {
    count += length
    guard let start else {
      if length > 0 { hasBadAddress = true }
      return
    }
    pieces.append(
      UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(mutating: start), count: length))
  }

  /// EFAULT: what there is to be copied would go to, or come from, no memory.
  func check() throws(CallFailure) {
    if hasBadAddress { throw .badAddress }
  }

  /// What stands in them.
  func gathered() throws(CallFailure) -> [UInt8] {
    try check()
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    for piece in pieces where piece.count > 0 { bytes += piece }
    return bytes
  }

  /// Fills them.
  func scatter(_ bytes: [UInt8]) throws(CallFailure) {
    try check()
    var place = 0
    for piece in pieces {
      let length = min(piece.count, bytes.count - place)
      if length > 0 { piece.copyBytes(from: bytes[place..<place + length]) }
      place += length
    }
  }
}

extension VirtualHost {
  private static let peek: Int32 = 0x02
  private static let dontWait: Int32 = 0x40
  private static let waitAll: Int32 = 0x100
  private static let outOfBand: Int32 = 0x01
  private static let truncate: Int32 = 0x20
  private static let endOfRecord: Int32 = 0x80
  private static let errorQueue: Int32 = 0x2000
  private static let more: Int32 = 0x8000
  private static let fastOpen: Int32 = 0x2000_0000

  private func isStream(_ descriptor: Int32, _ socket: SocketIndex) -> Bool {
    kernel.information(of: socket) != nil
  }

  // MARK: Receiving

  /// What `receive` gives: how many bytes, and whether a message had more.
  private func receive(
    _ descriptor: Int32, _ socket: SocketIndex, _ buffers: Buffers, _ flags: Int32
  ) throws(CallFailure) -> (count: Int, message: ReceivedMessage?) {
    let isStream = isStream(descriptor, socket)
    let mayWait = try !isNonBlocking(descriptor) && flags & Self.dontWait == 0
    let wanted = ReceiveFlags(rawValue: flags & (Self.peek | Self.outOfBand))
    var bytes: [UInt8] = []
    while true {
      var piece: [UInt8] = []
      let end = mayWait ? Instant(nanoseconds: .max) : now
      // Where there is something to copy, there has to be where to.
      if !isStream || flags & Self.truncate == 0, !kernel.readiness(of: socket).isDisjoint(with: .in) {
        try buffers.check()
      }
      let message: ReceivedMessage?
      do throws(CallFailure) {
        message = try waiting(until: end) { () throws(CallFailure) in
          try attempt { (kernel) throws(KernelError) in
            try kernel.receive(socket, into: &piece, limit: buffers.count - bytes.count, flags: wanted)
          }
        }
      } catch {
        guard bytes.isEmpty else { return (bytes.count, nil) }
        throw error
      }
      guard let message else {
        guard bytes.isEmpty else { return (bytes.count, nil) }
        throw .wouldBlock
      }
      bytes += piece
      let hasAll = bytes.count == buffers.count || piece.isEmpty
      if isStream, flags & Self.waitAll != 0, flags & Self.peek == 0, mayWait, !hasAll { continue }
      // A stream's bytes that are not wanted are only taken.
      if !isStream || flags & Self.truncate == 0 { try buffers.scatter(bytes) }
      return (bytes.count, message)
    }
  }

  func receive(
    _ descriptor: Int32, _ buffers: Buffers, _ flags: Int32, _ name: UnsafeMutableRawPointer? = nil,
    _ length: UnsafeMutablePointer<UInt32>? = nil
  ) throws(CallFailure) -> Int {
    if let count = try readPipe(descriptor, buffers) { return count }
    let socket = try socket(descriptor)
    let (count, message) = try receive(descriptor, socket, buffers, flags)
    if let source = message?.source {
      source.write(to: name, length)
    } else {
      length?.pointee = 0
    }
    let tellsWhole = flags & Self.truncate != 0 && !isStream(descriptor, socket)
    return tellsWhole ? message?.length ?? count : count
  }

  func receiveMessage(
    _ descriptor: Int32, _ header: UnsafeMutableRawPointer?, _ flags: Int32
  ) throws(CallFailure) -> Int {
    guard let header = header?.assumingMemoryBound(to: msghdr.self) else { throw .badAddress }
    let socket = try socket(descriptor)
    let buffers = Buffers(header.pointee.msg_iov, pieces: Int(header.pointee.msg_iovlen))
    var control = ControlData(header)
    defer { control.end() }
    if flags & Self.errorQueue != 0 { return try receiveError(socket, header, buffers, &control) }
    var length = header.pointee.msg_namelen
    let (count, message) = try receive(descriptor, socket, buffers, flags)
    header.pointee.msg_flags = message?.isTruncated == true ? Self.truncate : 0
    if let source = message?.source {
      source.write(to: header.pointee.msg_name, &length)
      header.pointee.msg_namelen = length
    } else {
      header.pointee.msg_namelen = 0
    }
    if streams[descriptor]?.tellsQueue == true {
      let queues = try checked { (kernel) throws(KernelError) in try kernel.queues(of: socket) }
      control.add(level: 6, type: 36, withUnsafeBytes(of: Int32(clamping: queues.hint)) { [UInt8]($0) })
    }
    return count
  }

  /// MSG_ERRQUEUE: what came back of a datagram, with the error beside it.
  private func receiveError(
    _ socket: SocketIndex, _ header: UnsafeMutablePointer<msghdr>, _ buffers: Buffers,
    _ control: inout ControlData
  ) throws(CallFailure) -> Int {
    let report = try checked { (kernel) throws(KernelError) in try kernel.receiveError(socket) }
    let bytes = Array(report.payload.prefix(buffers.count))
    try buffers.scatter(bytes)
    header.pointee.msg_flags = Self.errorQueue | (bytes.count < report.payload.count ? Self.truncate : 0)
    var length = header.pointee.msg_namelen
    report.destination.write(to: header.pointee.msg_name, &length)
    header.pointee.msg_namelen = length
    if report.origin == .timestamping {
      // SCM_TIMESTAMPING: three times, of which software's is the first.
      let time = Self.epoch + report.time.nanoseconds
      var times = Layout()
      for number in [time / 1_000_000_000, time % 1_000_000_000, 0, 0, 0, 0] { times.add(number) }
      control.add(level: 1, type: 37, times.bytes)
    }
    // struct sock_extended_err and the name of who told.
    var layout = Layout()
    layout.add(report.errno)
    for byte in [report.origin.rawValue, report.type, report.code, 0] { layout.add(byte) }
    layout.add(report.information)
    layout.add(report.data)
    let isIPv6 = report.destination.address.family == .ipv6
    let offender =
      report.offender.map { SocketAddress($0).layout } ?? [UInt8](repeating: 0, count: isIPv6 ? 28 : 16)
    control.add(level: isIPv6 ? 41 : 0, type: isIPv6 ? 25 : 11, layout.bytes + offender)
    return bytes.count
  }

  // MARK: Sending

  func send(
    _ descriptor: Int32, _ buffers: Buffers, _ flags: Int32 = 0, _ name: UnsafeRawPointer? = nil,
    _ length: UInt32 = 0
  ) throws(CallFailure) -> Int {
    if let count = try writePipe(descriptor, buffers) { return count }
    let socket = try socket(descriptor)
    guard flags & Self.fastOpen == 0 else { throw CallFailure(EOPNOTSUPP) }
    let isStream = isStream(descriptor, socket)
    var peer: SocketAddress?
    if let name, !isStream { peer = try SocketAddress(name, length) }
    let bytes = try buffers.gathered()
    var control = SendControl(isContinued: flags & Self.more != 0)
    control.isUrgent = flags & Self.outOfBand != 0
    control.endsRecord = flags & Self.endOfRecord != 0
    let mayWait = try !isNonBlocking(descriptor) && flags & Self.dontWait == 0
    var sent = 0
    repeat {
      let isFirst = sent == 0
      let end = mayWait ? Instant(nanoseconds: .max) : now
      var isRefused = false
      let count: Int?
      do throws(CallFailure) {
        count = try waiting(until: end) { () throws(CallFailure) -> Int? in
          // Who was refused goes on when there is room worth it (sk_stream_wait_memory).
          if isRefused, isStream, kernel.readiness(of: socket).isDisjoint(with: [.out, .error, .hangUp]) {
            return nil
          }
          isRefused = true
          return try attempt { (kernel) throws(KernelError) in
            try kernel.send(Array(bytes[sent...]), on: socket, to: peer, control: control)
          }
        }
      } catch {
        guard isFirst else { return sent }
        throw error
      }
      guard let count else {
        guard isFirst else { return sent }
        throw .wouldBlock
      }
      sent += count
    } while mayWait && sent < bytes.count
    return sent
  }

  func sendMessage(
    _ descriptor: Int32, _ header: UnsafeRawPointer?, _ flags: Int32
  ) throws(CallFailure) -> Int {
    guard let header = header?.assumingMemoryBound(to: msghdr.self).pointee else { throw .badAddress }
    // Control data of senders is not read here.
    guard header.msg_controllen == 0 else { throw CallFailure(EOPNOTSUPP) }
    return try send(
      descriptor, Buffers(header.msg_iov, pieces: Int(header.msg_iovlen)), flags, header.msg_name,
      header.msg_namelen)
  }
}

/// The control data of a message that is being received: a list of cmsghdr with what each is about.
struct ControlData {
  private let header: UnsafeMutablePointer<msghdr>
  private let limit: Int
  private var length = 0
  private var isTruncated = false

  init(_ header: UnsafeMutablePointer<msghdr>) {
    self.header = header
    limit = header.pointee.msg_control == nil ? 0 : Int(header.pointee.msg_controllen)
  }

  mutating func add(level: Int32, type: Int32, _ data: [UInt8]) {
    let size = MemoryLayout<cmsghdr>.size + data.count
    guard length + size <= limit, let start = header.pointee.msg_control else {
      isTruncated = true
      return
    }
    var one = cmsghdr()
    one.cmsg_len = size
    one.cmsg_level = level
    one.cmsg_type = type
    let place = start + length
    withUnsafeBytes(of: one) {
      place.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(place), byteCount: $0.count)
    }
    (place + MemoryLayout<cmsghdr>.size).copyMemory(from: data, byteCount: data.count)
    length = min(limit, length + (size + 7) & ~7)
  }

  /// MSG_CTRUNC: not all had room.
  mutating func end() {
    header.pointee.msg_controllen = length
    if isTruncated { header.pointee.msg_flags |= 0x08 }
  }
}
