// SPDX-License-Identifier: GPL-2.0-or-later

// A program of the host that tells what happens in a router's namespace, for as long as it runs.

import Foundation
import Glibc
import Testing

final class HostMonitor {
  private let process = Process()
  private let file: String

  init(_ command: String..., in router: KernelOracleTests.Router) throws {
    file = "/tmp/\(router.name)-\(command[0])"
    _ = FileManager.default.createFile(atPath: file, contents: nil)
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["ip", "netns", "exec", router.name] + command
    let lines: FileHandle = try #require(FileHandle(forWritingAtPath: file))
    process.standardOutput = lines
    process.standardError = FileHandle.nullDevice
    try process.run()
    // It says nothing when it is ready.
    usleep(400_000)
  }

  deinit { try? FileManager.default.removeItem(atPath: file) }

  /// What it has told, and its end.
  func lines() throws -> [String] {
    usleep(300_000)
    // A child of a test's thread has that one's signals blocked.
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    return try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map(String.init)
  }
}
