// SPDX-License-Identifier: GPL-2.0-or-later

// The host that the acceptance tests happen on. As root that is a network and mount namespace of their own, with a /run
// of its own: to netforge a host like any other, but one on which nothing else changes meanwhile. NETFORGE_TEST_ON_HOST=1
// takes the real one.

import Foundation
import Testing

enum Stage {
  static let isPrivate =
    Host.isRoot && ProcessInfo.processInfo.environment["NETFORGE_TEST_ON_HOST"] != "1"

  /// Put before a command, this runs it on the stage.
  static var prefix: [String] {
    guard let holder else { return [] }
    return ["nsenter", "-t", "\(holder.processIdentifier)", "-n", "-m", "--"]
  }

  /// The ordinary user's home. It stays from run to run, for the compiled language in its cache.
  static let home =
    Host.isRoot
    ? "/tmp/netforge-test-nobody" : FileManager.default.temporaryDirectory.path() + "/netforge-test"

  /// The ordinary user's runtime folder, of this run alone.
  static let runtime = home + "/run-\(getpid())"

  /// Holds the namespaces until the tests end: then its standard input does.
  private static let holder: Process? = {
    guard isPrivate else { return nil }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [
      "unshare", "-n", "-m", "sh", "-c",
      "mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && echo ready && cat; rm -rf \"$0\"",
      runtime,
    ]
    let (input, output) = (Pipe(), Pipe())
    process.standardInput = input
    process.standardOutput = output
    guard (try? process.run()) != nil, output.fileHandleForReading.availableData == Data("ready\n".utf8)
    else {
      return nil
    }
    lifeline = input
    return process
  }()

  nonisolated(unsafe) private static var lifeline: Pipe?
}

/// What of the host a lab might touch, as the host's own tools tell it.
struct HostSnapshot: Equatable {
  var links: String
  var namespaces: String
  var ruleset: String
  /// Below `net`, but for what counts and what the kernel itself adapts.
  var settings: [String]
  /// Files of labs of either caller.
  var labs: String

  static func take() throws -> HostSnapshot {
    let labs = try Host.run(["find"] + Caller.available.map(\.labs) + ["-mindepth", "1"]).output
    // Nothing else of the host can an ordinary user change; others may, meanwhile.
    guard Host.isRoot else {
      return HostSnapshot(links: "", namespaces: "", ruleset: "", settings: [], labs: labs)
    }
    let volatile = ["_count ", ".hostname", "_entries ", "random", "rt_cache", "tcp_mem"]
    return HostSnapshot(
      links: try Host.run("ip", "-j", "link").output,
      namespaces: try Host.run("ip", "netns").output,
      ruleset: try Host.run("nft", "list", "ruleset").output,
      settings: try Host.run("sysctl", "-a", "--pattern", "^net\\.").lines.filter { line in
        !volatile.contains { line.contains($0) }
      },
      labs: labs)
  }
}
