// SPDX-License-Identifier: GPL-2.0-or-later

// pipe and splice, as far as a socket is at one end: the emulated kernel has no pipes, so they are queues of bytes here.

import Glibc
import NetStack

/// A pipe: its ends, and what was written and not read.
final class Pipe {
  /// The kernel's 16 pages.
  static let limit = 65536
  var bytes: [UInt8] = []
}

extension VirtualHost {
  func makePipe(_ ends: UnsafeMutablePointer<Int32>?) throws(CallFailure) -> Int32 {
    guard let ends else { throw .badAddress }
    let pipe = Pipe()
    // Beyond all numbers of the emulated process.
    let first = (pipes.keys.max() ?? Self.firstDescriptor << 1) + 1
    for (place, end) in [first, first + 1].enumerated() {
      pipes[end] = pipe
      ends[place] = end
    }
    return 0
  }

  /// False: it is none.
  func closePipe(_ descriptor: Int32) -> Bool { pipes.removeValue(forKey: descriptor) != nil }

  func readPipe(_ descriptor: Int32, _ buffers: Buffers) throws(CallFailure) -> Int? {
    guard let pipe = pipes[descriptor] else { return nil }
    guard !pipe.bytes.isEmpty else { throw .wouldBlock }
    let bytes = Array(pipe.bytes.prefix(buffers.count))
    try buffers.scatter(bytes)
    pipe.bytes.removeFirst(bytes.count)
    return bytes.count
  }

  func writePipe(_ descriptor: Int32, _ buffers: Buffers) throws(CallFailure) -> Int? {
    guard let pipe = pipes[descriptor] else { return nil }
    let bytes = try buffers.gathered().prefix(Pipe.limit - pipe.bytes.count)
    guard !bytes.isEmpty || buffers.count == 0 else { throw .wouldBlock }
    pipe.bytes += bytes
    return bytes.count
  }

  /// Bytes go from a socket into a pipe or the other way.
  func splice(_ from: Int32, _ into: Int32, _ count: Int) throws(CallFailure) -> Int {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(max(count, 0), Pipe.limit), alignment: 1)
    defer { buffer.deallocate() }
    if let pipe = pipes[into] {
      let room = min(buffer.count, Pipe.limit - pipe.bytes.count)
      // Bytes that may not be read yet are not waited for (tcp_splice_read): an urgent one stands before them.
      let socket = try socket(from)
      let queues = try checked { (kernel) throws(KernelError) in try kernel.queues(of: socket) }
      if queues.received == 0, queues.hint > 0 { return 0 }
      let received = try receive(from, Buffers(buffer.baseAddress, room), 0)
      pipe.bytes += buffer[..<received]
      return received
    }
    guard let pipe = pipes[from] else { throw .invalid }
    let length = min(buffer.count, pipe.bytes.count)
    buffer.copyBytes(from: pipe.bytes[..<length])
    let sent = try send(into, Buffers(buffer.baseAddress, length))
    pipe.bytes.removeFirst(sent)
    return sent
  }
}
