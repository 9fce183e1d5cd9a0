// SPDX-License-Identifier: GPL-2.0-or-later

// Where declarations go: descriptor 3, a line of JSON each, written as soon as it is made. So the reader of a program
// that crashed knows how far it came. The first line is a header, the last one, written when the program ends by
// itself, says how many there were.

import Glibc

/// The stream of declarations.
enum Output {
  /// The version of what is written: a new minor adds keys and kinds, a new major changes them.
  static let version = (major: 1, minor: 0)
  private static let descriptor: Int32 = 3

  /// How many declarations were written. Topology files run on one thread.
  nonisolated(unsafe) private static var count = 0
  nonisolated(unsafe) private static var isOpen: Bool?

  static func write(_ record: Record) {
    guard begin() else { return }
    count += 1
    put(record.json)
  }

  /// Writes the header once. False when nobody listens.
  private static func begin() -> Bool {
    if let isOpen { return isOpen }
    guard fcntl(descriptor, F_GETFD) != -1 else {
      isOpen = false
      let advice = "netforge: this program only describes a network; run it with `netforge up <file>`\n"
      _ = advice.withCString { Glibc.write(2, $0, strlen($0)) }
      return false
    }
    isOpen = true
    put("{\"schemaVersion\":{\"major\":\(version.major),\"minor\":\(version.minor)}}")
    atexit { Output.finish() }
    return true
  }

  private static func finish() {
    put("{\"end\":\(count)}")
  }

  private static func put(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while !rest.isEmpty {
        let written = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if written < 0 && errno == EINTR { continue }
        guard written > 0 else { return }
        rest = UnsafeRawBufferPointer(rebasing: rest[written...])
      }
    }
  }
}
