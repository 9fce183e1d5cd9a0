// SPDX-License-Identifier: GPL-2.0-or-later

// How a topology gets a file's text: it asks over descriptor 4. A question is a path and a newline, with a zero byte before
// the path when what nft makes of the file is wanted as JSON; the answer a decimal number and a newline, which is the
// count of bytes that follow, or an errno with a minus before it.

import Glibc

/// Questions to who runs this topology.
enum FileRequest {
  static let descriptor: Int32 = 4

  /// The bytes of a file beneath the topology's folder; nil with errno set when there are none.
  static func contents(of path: String) -> [UInt8]? { ask([], path) }

  /// What nft makes of a file; nil with errno set when there is none, or nobody to ask.
  static func ruleset(of path: String) -> [UInt8]? {
    guard fcntl(descriptor, F_GETFD) != -1 else {
      errno = ENOTSUP
      return nil
    }
    return ask([0], path)
  }

  private static func ask(_ kind: [UInt8], _ path: String) -> [UInt8]? {
    guard !path.utf8.contains(0x0A), !path.utf8.contains(0), send(kind + Array(path.utf8) + [0x0A]) else {
      errno = EINVAL
      return nil
    }
    var head = ""
    while true {
      guard let byte = receive(1)?.first else { return nil }
      if byte == 0x0A { break }
      head.unicodeScalars.append(Unicode.Scalar(byte))
    }
    guard let count = Int(head) else {
      errno = EPROTO
      return nil
    }
    guard count >= 0 else {
      errno = Int32(clamping: count.magnitude)
      return nil
    }
    return receive(count)
  }

  private static func send(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  private static func receive(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let got = bytes.withUnsafeMutableBytes {
        read(descriptor, $0.baseAddress.map { $0 + filled }, count - filled)
      }
      if got < 0 && errno == EINTR { continue }
      guard got > 0 else {
        if got == 0 { errno = EIO }
        return nil
      }
      filled += got
    }
    return bytes
  }
}
