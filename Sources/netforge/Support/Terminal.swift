// SPDX-License-Identifier: GPL-2.0-or-later

// Standard output is data, standard error is talk; colour and progress only where somebody looks.

import Glibc
import SystemPackage

enum Terminal {
  static let isInteractive = isatty(0) == 1 && isatty(2) == 1
  static let outputIsTerminal = isatty(1) == 1

  static func usesColor(on descriptor: Int32) -> Bool {
    guard isatty(descriptor) == 1, getenv("NO_COLOR") == nil else { return false }
    return getenv("TERM").map { String(cString: $0) != "dumb" } ?? false
  }

  /// Writes a line of data.
  static func print(_ text: String) { write(text + "\n", to: .standardOutput) }

  /// Writes a line of talk.
  static func say(_ text: String) { write(text + "\n", to: .standardError) }

  /// Writes an error's lines; the first is marked.
  static func complain(_ lines: [String]) {
    let mark = usesColor(on: 2) ? "\u{1b}[31merror:\u{1b}[0m" : "error:"
    for (index, line) in lines.enumerated() { say(index == 0 ? "\(mark) \(line)" : "  \(line)") }
  }

  static func write(_ text: String, to descriptor: FileDescriptor) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      do {
        let count = try bytes.withUnsafeBytes { try descriptor.write($0) }
        bytes = bytes.dropFirst(count)
      } catch {
        // The reader is gone (`netforge ls | head`): nobody is left to tell.
        return
      }
    }
  }

  /// Asks a yes-or-no question on the terminal; anything but yes is no.
  static func confirm(_ question: String) -> Bool {
    write("\(question) [y/N] ", to: .standardError)
    return ["y", "yes"].contains(readLine()?.lowercased() ?? "")
  }
}
