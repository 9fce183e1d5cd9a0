// SPDX-License-Identifier: GPL-2.0-or-later

// What the tests stand on: other people's programs, named namespaces that are removed again, folders of their own.

import CLinux
import Foundation
import LabCore
import Spawn
import Synchronization
import SystemPackage
import Testing

@testable import LabProcess

enum TestHost {
  /// How long an answer may take: tests that wait for the host's kernel keep this process's threads meanwhile.
  static let patience = Duration.seconds(240)
  static let isRoot = geteuid() == 0
  static let hasUserNamespaces = nf_user_namespace_probe() == 0
  static let path = "/usr/sbin:/usr/bin:/sbin:/bin"
  /// `netforge`, beside the tests.
  static let executable: String? = {
    guard let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else {
      return nil
    }
    let path = own.prefix(upTo: own.lastIndex(of: "/") ?? own.startIndex) + "/netforge"
    return access(String(path), X_OK) == 0 ? String(path) : nil
  }()

  /// One for all tests: a reactor lives as long as its process.
  static let reactor = Result { () throws(DatapathError) in try Reactor() }

  /// "nobody" of every Linux.
  static let nobody = SpawnRequest.Identity(user: 65534, group: 65534, groups: [])

  static func has(_ programs: String...) -> Bool {
    programs.allSatisfy { program in
      path.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
    }
  }

  /// What `body` gives, called on a thread of its own: it may block as long as it likes.
  static func aside<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in
      let hasBegun = startThread { continuation.resume(returning: body()) }
      if !hasBegun { continuation.resume(returning: body()) }
    }
  }

  /// Runs a request to its end without holding a thread of the concurrency pool.
  static func complete(
    _ request: SpawnRequest, capturing captures: [OutputCapture], timeout: Duration
  ) async throws -> ProgramOutput {
    try await aside { Result { try request.run(capturing: captures, timeout: timeout) } }.get()
  }

  /// Runs a program to its end.
  @discardableResult
  static func run(
    _ arguments: String..., input: String = "", timeout: Duration = .seconds(20)
  ) async throws -> (status: Spawn.ExitStatus, output: String, error: String) {
    try await run(arguments, input: input, timeout: timeout)
  }

  @discardableResult
  static func run(
    _ arguments: [String], input: String = "", timeout: Duration = .seconds(20)
  ) async throws -> (status: Spawn.ExitStatus, output: String, error: String) {
    var request = SpawnRequest(
      .name(try #require(arguments.first), search: path), arguments: arguments, environment: ["PATH=\(path)"])
    var ends: [Int32] = [-1, -1]
    try #require(nf_pipe(&ends) == 0)
    defer { close(ends[0]) }
    _ = write(ends[1], input, input.utf8.count)
    close(ends[1])
    request.descriptors = [.init(FileDescriptor(rawValue: ends[0]), as: 0)]
    let output = try await complete(
      request, capturing: [OutputCapture(1, limit: 1 << 20), OutputCapture(2, limit: 1 << 20)],
      timeout: timeout)
    return (output.status, output.text(1), output.text(2))
  }

  private static let counter = Atomic(0)

  /// A lab's name that no other test has.
  static func labName() -> LabName {
    let number = counter.wrappingAdd(1, ordering: .relaxed).newValue
    guard let name = LabName("process-\(getpid())-\(number)") else { fatalError("a bad test name") }
    return name
  }
}

/// A folder that is removed with the object.
final class TestFolder: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/netforge-process-XXXXXX".utf8CString)
    path = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func text(_ name: String) -> String {
    (try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)) ?? ""
  }
}

/// A lab's folder and named namespaces of its nodes, made by `ip netns` and removed with the object.
final class TestLab: Sendable {
  let name: LabName
  let folder = TestFolder()
  let nodes: [NodeName]

  init(_ nodes: String...) async throws {
    name = TestHost.labName()
    self.nodes = nodes.compactMap(NodeName.init)
    for node in self.nodes {
      try await TestHost.run("ip", "netns", "add", netns(node))
      try await TestHost.run("ip", "-n", netns(node), "link", "set", "lo", "up")
    }
  }

  deinit {
    for node in nodes {
      let request = SpawnRequest(
        .name("ip", search: TestHost.path), arguments: ["ip", "netns", "del", netns(node)], environment: [])
      _ = try? request.run(capturing: [], timeout: .seconds(20))
    }
  }

  func netns(_ node: NodeName) -> String { NamespaceID.node(node).netnsName(in: name) ?? "" }

  func entry(_ index: Int = 0) throws -> NodeEntry {
    try NodeEntry.local(nodes[index], of: name, folder: folder.path)
  }

  func runtime(
    _ index: Int = 0, environment: [String: String] = [:], files: [NodeFile] = [],
    commands: [NodeProgram] = [],
    programs: [NodeProgram] = [], services: [NodeService] = [], hosts: [HostsEntry] = []
  ) -> LabRuntime {
    let node = NodeRuntime(
      node: nodes[index], environment: environment, files: files, commands: commands, programs: programs,
      services: services)
    return LabRuntime(lab: name, nodes: [node], hosts: hosts)
  }

  /// Runs a program in a node through the entry; what it printed.
  func run(
    _ arguments: [String], in index: Int = 0, environment: [String: String] = [:]
  ) async throws -> (status: Spawn.ExitStatus, output: String) {
    var ends: [Int32] = [-1, -1]
    try #require(nf_pipe(&ends) == 0)
    let reader = FileDescriptor(rawValue: ends[0])
    let writer = ClosableDescriptor(FileDescriptor(rawValue: ends[1]))
    defer { try? reader.close() }
    let child: ChildProcess
    do {
      let nothing = try FileDescriptor.open("/dev/null", .readOnly)
      defer { try? nothing.close() }
      child = try entry(index).spawn(
        Command(arguments, environment: environment),
        io: ProcessIO(input: nothing, output: writer.descriptor, error: writer.descriptor))
    }
    writer.close()
    let (bytes, _) = await TestHost.aside { EntryFile.readAll(reader, timeout: .seconds(20)) }
    let status = try #require(try child.wait(timeout: .seconds(20)))
    return (status, String(decoding: bytes, as: UTF8.self))
  }
}

/// Looks until it holds, at most some hundred times: where other tests keep all threads of the pool, whoever is waited for
/// waits as long.
func eventually(_ holds: () async -> Bool) async -> Bool {
  for _ in 0..<500 {
    if await holds() { return true }
    try? await Task.sleep(for: .milliseconds(20))
  }
  return await holds()
}
