// SPDX-License-Identifier: GPL-2.0-or-later

// Drives the built binary and the host's own tools, as a user at a terminal would.

import Foundation
import Testing

/// What a command did.
struct Outcome: CustomStringConvertible {
  var status: Int32
  var output: String
  var error: String

  var description: String { "exit \(status)\n--- output\n\(output)\n--- error\n\(error)" }

  /// The output as JSON.
  func json() throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any], "\(self)")
  }
}

enum Host {
  static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let isRoot = geteuid() == 0

  /// The binary beside the test bundle, or the one that NETFORGE_BINARY names.
  static let netforge: String = {
    if let named = ProcessInfo.processInfo.environment["NETFORGE_BINARY"] { return named }
    return URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
      .appending(path: "netforge").path()
  }()

  static func topology(_ name: String) -> String {
    repository.appending(path: "topologies/\(name).swift").path()
  }

  static func has(_ tool: String) -> Bool {
    ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/usr/local/bin/"].contains {
      FileManager.default.isExecutableFile(atPath: $0 + tool)
    }
  }

  /// Whether an ordinary user may make a user namespace with a network in it here.
  static let hasUserNamespaces: Bool = (try? run("unshare", "-Urn", "true").status) == 0

  /// Runs a tool with the arguments, `input` as its standard input.
  @discardableResult
  static func run(
    _ tool: String, _ arguments: String..., input: String? = nil, environment: [String: String] = [:]
  ) throws -> Outcome {
    try run(tool, arguments, input: input, environment: environment)
  }

  @discardableResult
  static func run(
    _ tool: String, _ arguments: [String], input: String? = nil, environment: [String: String] = [:]
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [tool] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    // Files, not pipes: a lab process that outlives the command must not keep the reader waiting.
    let folder = FileManager.default.temporaryDirectory.appending(path: "netforge-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let files = try ["in", "out", "err"].map { name in
      let url = folder.appending(path: name)
      try Data((name == "in" ? input ?? "" : "").utf8).write(to: url)
      return url
    }
    process.standardInput = try FileHandle(forReadingFrom: files[0])
    process.standardOutput = try FileHandle(forWritingTo: files[1])
    process.standardError = try FileHandle(forWritingTo: files[2])
    try process.run()
    process.waitUntilExit()
    let status =
      process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    let texts = try files.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
    return Outcome(status: status, output: texts[1], error: texts[2])
  }
}

/// A way to call netforge: as the user that runs the tests, or as an ordinary one.
enum Caller: String, CaseIterable, CustomStringConvertible, Sendable {
  case kernel, rootless

  var description: String { rawValue }

  /// Those that this host allows.
  static let available: [Caller] = allCases.filter {
    switch $0 {
    case .kernel: Host.isRoot
    case .rootless: Host.hasUserNamespaces
    }
  }

  @discardableResult
  func netforge(_ arguments: String..., input: String? = nil) throws -> Outcome {
    try netforge(arguments, input: input)
  }

  @discardableResult
  func netforge(_ arguments: [String], input: String? = nil) throws -> Outcome {
    let environment = ["NETFORGE_DATAPATH": rawValue, "NO_COLOR": "1"]
    guard self == .rootless, Host.isRoot else {
      return try Host.run(Host.netforge, arguments, input: input, environment: environment)
    }
    // As root, the rootless datapath is proved with a user who is not: nobody, with a home and a runtime folder.
    let home = "/tmp/netforge-test-nobody"
    try Host.run("install", "-d", "-o", "nobody", "-m", "700", home, home + "/run")
    return try Host.run(
      "setpriv",
      [
        "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--", "env", "HOME=\(home)",
        "XDG_RUNTIME_DIR=\(home)/run", Host.netforge,
      ] + arguments,
      input: input, environment: environment)
  }

  /// Brings a lab up, runs `body`, and takes it down whatever happened.
  func withLab(_ topology: String, named name: String, _ body: () throws -> Void) throws {
    let up = try netforge("up", Host.topology(topology), "--name", name, "--yes")
    defer { _ = try? netforge("down", "--name", name, "--yes") }
    try #require(up.status == 0, "\(up)")
    try body()
  }
}
