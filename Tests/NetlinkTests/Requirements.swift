// SPDX-License-Identifier: GPL-2.0-or-later

// What live tests need of the host, and the judge that we did not write: iproute2.

import Foundation
import Glibc
import Netlink

enum Requirements {
  static let isRoot = geteuid() == 0
  static let needsRoot = "needs root: makes network namespaces"
}

/// Names for the namespaces of one test, removed at its end whatever happens.
final class ScratchNamespaces {
  let prefix: String
  let directory = NamespaceDirectory.system

  init(_ test: String) throws {
    prefix = "netlink-\(test)-\(getpid())-"
    try directory.prepare()
  }

  deinit {
    for name in (try? directory.names()) ?? [] where name.hasPrefix(prefix) { try? directory.remove(name) }
  }

  func name(_ suffix: String) -> String { prefix + suffix }
}

/// Runs a program and returns what it prints.
func output(_ arguments: [String]) throws -> Data {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = arguments
  let pipe = Pipe()
  process.standardOutput = pipe
  try process.run()
  let data = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return data
}

/// What `ip -j` says, as JSON objects.
func ip(_ namespace: String, _ arguments: String...) throws -> [[String: Any]] {
  let data = try output(["ip", "-n", namespace, "-j", "-d"] + arguments)
  if data.isEmpty { return [] }
  return try JSONSerialization.jsonObject(with: data) as? [[String: Any]] ?? []
}
