// SPDX-License-Identifier: GPL-2.0-or-later

// The tools that tests compare with, run in a namespace of the host.

import Foundation

enum Shell {
  struct Failure: Error { var text: String }

  static func has(_ program: String) -> Bool {
    ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"].contains {
      FileManager.default.isExecutableFile(atPath: $0 + program)
    }
  }

  /// What a program prints.
  @discardableResult
  static func run(
    _ program: String, _ arguments: [String], in namespace: String? = nil, input: String = ""
  ) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    let inside = namespace.map { ["ip", "netns", "exec", $0] } ?? []
    process.arguments = inside + [program] + arguments
    let (output, error, feed) = (Pipe(), Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = error
    process.standardInput = feed
    try process.run()
    feed.fileHandleForWriting.write(Data(input.utf8))
    try feed.fileHandleForWriting.close()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let complaint = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(text: "\(program): \(complaint)") }
    return text
  }
}
