// SPDX-License-Identifier: GPL-2.0-or-later

// Drives the built binary and the host's own tools, as a user at a terminal would.

import Foundation
import Testing

/// All acceptance tests: one after the other, because they share a host and wait for processes on their thread.
@Suite("Acceptance", .serialized)
enum Acceptance {}

/// What a command did.
struct Outcome: CustomStringConvertible {
  var command: String
  var status: Int32
  var output: String
  var error: String

  var description: String { "\(command)\nexit \(status)\n--- output\n\(output)\n--- error\n\(error)" }

  /// The output as a JSON object.
  func json() throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any], "\(self)")
  }

  /// The output as a list of JSON objects, as `ip -j` prints it. Without output an empty one.
  func list() throws -> [[String: Any]] {
    guard !output.allSatisfy(\.isWhitespace) else { return [] }
    return try #require(
      try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [[String: Any]], "\(self)")
  }

  var lines: [String] { output.split(separator: "\n").map(String.init) }
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

  static func has(_ tools: String...) -> Bool { tools.allSatisfy { path(of: $0) != nil } }

  /// Where the host's own tool is, which every user may run.
  static func path(of tool: String) -> String? {
    ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/usr/local/bin/"].map { $0 + tool }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  /// Whether an ordinary user may make a user namespace with a network in it here.
  static let hasUserNamespaces: Bool = {
    let ordinary =
      isRoot ? ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"] : ["env"]
    return (try? start(ordinary + ["unshare", "-Urn", "true"]).outcome().status) == 0
  }()

  /// Whether the kernel can make this: arguments of `ip link add`, tried in a namespace of its own.
  static func kernelHas(_ link: String...) -> Bool {
    (try? run(["unshare", isRoot ? "-n" : "-Urn", "ip", "link", "add"] + link).status) == 0
  }

  /// Runs a tool on the host that the labs are on, `input` as its standard input.
  @discardableResult
  static func run(
    _ command: [String], input: String? = nil, environment: [String: String] = [:], folder: String? = nil
  ) throws -> Outcome {
    // Whoever enters a mount namespace stands in its root.
    try start(
      Stage.prefix + ["env", "-C", folder ?? FileManager.default.currentDirectoryPath] + command,
      input: input,
      environment: environment
    ).outcome()
  }

  /// Runs a tool that an ordinary user's path need not name.
  @discardableResult
  static func run(_ tool: String, _ arguments: String..., input: String? = nil) throws -> Outcome {
    try run([path(of: tool) ?? tool] + arguments, input: input)
  }

  /// Starts a command where the tests themselves run.
  static func start(
    _ command: [String], input: String? = nil, environment: [String: String] = [:]
  ) throws -> RunningCommand {
    try RunningCommand(command, input: input, environment: environment)
  }
}

/// A command under way. It ends with its last reference.
final class RunningCommand {
  private let command: [String]
  private let process = Process()
  private let scratch = try? Scratch()

  init(_ command: [String], input: String?, environment: [String: String]) throws {
    self.command = command
    process.executableURL = URL(filePath: "/usr/bin/env")
    // The threads of Swift's pool block signals, and a child inherits that.
    process.arguments = ["--default-signal"] + command
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    // Files, not pipes: a lab process that outlives the command must not keep the reader waiting.
    let scratch = try #require(scratch)
    process.standardInput = try FileHandle(forReadingFrom: URL(filePath: scratch.file("in", input ?? "")))
    process.standardOutput = try FileHandle(forWritingTo: URL(filePath: scratch.file("out", "")))
    process.standardError = try FileHandle(forWritingTo: URL(filePath: scratch.file("err", "")))
    try process.run()
  }

  deinit { stop() }

  func stop() {
    guard process.isRunning else { return }
    process.terminate()
    process.waitUntilExit()
  }

  /// As Ctrl-C does.
  func interrupt() { process.interrupt() }

  /// What it has said on standard error so far.
  var complaints: String { (try? text(of: "err")) ?? "" }

  /// What it has printed so far.
  var output: String { (try? text(of: "out")) ?? "" }

  func outcome() throws -> Outcome {
    process.waitUntilExit()
    let status =
      process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    return Outcome(
      command: command.joined(separator: " "), status: status, output: try text(of: "out"),
      error: try text(of: "err"))
  }

  private func text(of file: String) throws -> String {
    let path = try #require(scratch).folder + "/" + file
    return String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
  }
}

/// A folder for a test's files, which goes with its last reference.
final class Scratch {
  let folder: String

  init() throws {
    folder = FileManager.default.temporaryDirectory.appending(path: "netforge-test-\(UUID().uuidString)")
      .path()
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  /// Writes a file and gives its path.
  func file(_ name: String, _ text: String) throws -> String {
    let path = folder + "/" + name
    try Data(text.utf8).write(to: URL(filePath: path))
    return path
  }

  /// A topology of the repository with parts of its text replaced, each of which stands in it once.
  func topology(_ name: String, _ edits: [(String, String)]) throws -> String {
    try file(
      "\(name).swift", edited(String(contentsOfFile: Host.topology(name), encoding: .utf8), edits))
  }

  func edited(_ text: String, _ edits: [(String, String)]) throws -> String {
    try edits.reduce(text) { text, edit in
      try #require(text.ranges(of: edit.0).count == 1, "'\(edit.0)' does not stand once in the topology")
      return text.replacing(edit.0, with: edit.1)
    }
  }
}

/// A way to call netforge: as root, or as an ordinary user.
enum Caller: String, CaseIterable, CustomStringConvertible, Sendable {
  case kernel, rootless, emulated

  var description: String { rawValue }

  /// Those with the host's own kernel under them that this host allows: programs run in their nodes.
  static let available: [Caller] = allCases.filter {
    switch $0 {
    case .kernel: Host.isRoot
    case .rootless: Host.hasUserNamespaces
    case .emulated: false
    }
  }

  /// Where the labs of the caller have their folders.
  var labs: String {
    self == .kernel ? "/run/netforge" : Stage.runtime + "/netforge"
  }

  /// netforge with the arguments, ended by force when it takes far too long.
  func command(_ arguments: [String], seconds: Int = 120) throws -> [String] {
    let limited = ["timeout", "-k", "5", "\(seconds)", Host.netforge] + arguments
    guard self != .kernel else { return limited }
    guard Host.isRoot else {
      try FileManager.default.createDirectory(
        atPath: Stage.runtime, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      return limited
    }
    // As root, the datapaths that need none are proved with a user who is not: nobody, with a home and a runtime folder.
    try Host.run("install", "-d", "-o", "nobody", "-m", "700", Stage.home, Stage.runtime)
    let ordinary = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"]
    return ordinary + (self == .emulated ? Confinement.prefix : []) + limited
  }

  var environment: [String: String] {
    var environment = ["NETFORGE_DATAPATH": rawValue, "NO_COLOR": "1"]
    if self != .kernel {
      environment["XDG_RUNTIME_DIR"] = Stage.runtime
      if Host.isRoot { environment["HOME"] = Stage.home }
    }
    return environment
  }

  @discardableResult
  func netforge(_ arguments: String..., input: String? = nil) throws -> Outcome {
    try netforge(arguments, input: input)
  }

  @discardableResult
  func netforge(
    _ arguments: [String], input: String? = nil, environment more: [String: String] = [:],
    folder: String? = nil
  ) throws -> Outcome {
    try Host.run(
      command(arguments), input: input, environment: environment.merging(more) { $1 }, folder: folder)
  }

  /// The rendered JSON of a topology file.
  func rendered(_ path: String) throws -> String {
    let outcome = try netforge("render", path)
    try #require(outcome.status == 0, "\(outcome)")
    return outcome.output
  }
}
