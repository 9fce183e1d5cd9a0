// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Foundation
import LabCore
import NetTypes
import Spawn
import SystemPackage
import Testing

@testable import LabProcess

/// The lab process itself, as the built executable plays it.
@Suite(
  "The lab process", .timeLimit(.minutes(10)),
  .enabled(if: TestHost.executable != nil, "needs the built netforge"))
struct ServedLabTests {
  /// Starts a lab process as `LabProcess.start` does, but with the executable, and as somebody else.
  static func start(
    _ lab: LabName, _ folder: String, _ kind: DatapathKind, as identity: SpawnRequest.Identity? = nil
  ) async throws -> Int32 {
    let startup = LabProcess.Startup(lab: lab, folder: folder, datapath: kind)
    let (held, reader, writer) = try LabProcess.startRequest(startup)
    var request = held
    let program = OwnedDescriptor(try FileDescriptor.open(try #require(TestHost.executable), .readOnly))
    request.value.program = .file(program.descriptor, name: "netforge")
    request.value.identity = identity
    let spawned = request
    return try await TestHost.aside {
      Result {
        let child = try spawned.value.spawn()
        writer.close()
        return try LabProcess.waitUntilReady(
          child, reader: reader, log: "\(folder)/\(LabProcess.logName)", operation: "start")
      }
    }.get()
  }

  @Test("It serves until it is asked to end", .enabled(if: TestHost.isRoot, "needs root"))
  func kernel() async throws {
    let lab = try await TestLab("web")
    let folder = lab.folder.path
    #expect(!LabProcess.isRunning(folder: folder))
    let pid = try await Self.start(lab.name, folder, .kernel)
    #expect(LabProcess.isRunning(folder: folder))
    let connection = try await LabConnection.open(folder: folder, timeout: TestHost.patience)
    #expect(connection.processID == pid)
    #expect(getsid(pid) == pid)
    let location = SourceLocation(file: "topology.swift", line: 1)
    let service = NodeService(kind: .echo, port: 7, location: location)
    let program = NodeProgram(arguments: ["sleep 71"], restart: .always, location: location)
    try await connection.configure(lab.runtime(programs: [program], services: [service]))
    let status = try await connection.status()
    #expect(status.pid == pid && status.datapath == .kernel && status.nodes.first?.services.first?.port == 7)
    let programID = try #require(status.nodes.first?.programs.first?.pid)
    try await LabProcess.end(folder: folder)
    #expect(!LabProcess.isRunning(folder: folder))
    #expect(kill(programID, 0) != 0)
    _ = waitpid(pid, nil, 0)
  }

  @Test("A second one for the same lab is refused", .enabled(if: TestHost.isRoot, "needs root"))
  func second() async throws {
    let lab = try await TestLab()
    let pid = try await Self.start(lab.name, lab.folder.path, .kernel)
    let error = await #expect(throws: DatapathError.self) {
      _ = try await Self.start(lab.name, lab.folder.path, .kernel)
    }
    #expect(error?.cause.contains("another one") == true)
    try await LabProcess.end(folder: lab.folder.path)
    _ = waitpid(pid, nil, 0)
  }

  @Test(
    "When it is killed, its clients are told, and its programs go at the next start",
    .enabled(if: TestHost.isRoot, "needs root"))
  func killed() async throws {
    let lab = try await TestLab("web")
    let folder = lab.folder.path
    let pid = try await Self.start(lab.name, folder, .kernel)
    let connection = try await LabConnection.open(folder: folder, timeout: TestHost.patience)
    // The daemon leaves its parent's session and process group behind.
    let line = "setsid sleep 72 & echo $! > \(folder)/daemon; sleep 73"
    let program = NodeProgram(arguments: [line], location: SourceLocation(file: "t", line: 1))
    try await connection.configure(lab.runtime(programs: [program]))
    #expect(await eventually { !lab.folder.text("daemon").isEmpty })
    let daemon = try #require(
      Int32(lab.folder.text("daemon").trimmingCharacters(in: .whitespacesAndNewlines)))
    kill(pid, SIGKILL)
    _ = waitpid(pid, nil, 0)
    let error = await #expect(throws: DatapathError.self) { _ = try await connection.status() }
    #expect(error.map { "\($0)" }?.contains(LabProcess.logName) == true)
    #expect(!LabProcess.isRunning(folder: folder))
    await #expect(throws: DatapathError.self) { _ = try await LabConnection.open(folder: folder) }
    #expect(kill(daemon, 0) == 0)
    await TestHost.aside { Leftovers(folder: folder).end([.program]) }
    #expect(await eventually { kill(daemon, 0) != 0 })
  }

  @Test(
    "One that does not answer is killed", .enabled(if: TestHost.isRoot, "needs root"),
    .timeLimit(.minutes(10))
  )
  func stopped() async throws {
    let lab = try await TestLab()
    let pid = try await Self.start(lab.name, lab.folder.path, .kernel)
    kill(pid, SIGSTOP)
    let reaper = Task { await TestHost.aside { waitpid(pid, nil, 0) } }
    try await LabProcess.end(folder: lab.folder.path, within: .milliseconds(500))
    _ = await reaper.value
    #expect(!LabProcess.isRunning(folder: lab.folder.path))
  }

  @Test(
    "Another user is turned away with the reason",
    .enabled(if: TestHost.isRoot, "needs root to become nobody"),
    .enabled(if: TestHost.hasUserNamespaces, "this host allows no user namespaces"))
  func otherUser() async throws {
    let name = TestHost.labName()
    let folder = TestFolder()
    chown(folder.path, 65534, 65534)
    close(open("\(folder.path)/process.log", O_CREAT | O_WRONLY, 0o666))
    chown("\(folder.path)/process.log", 65534, 65534)
    let pid = try await Self.start(name, folder.path, .rootless, as: TestHost.nobody)
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/ns/net")
        != FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/net"))
    let error = await #expect(throws: DatapathError.self) {
      _ = try await LabConnection.open(folder: folder.path)
    }
    #expect(error?.code == .permission)
    kill(pid, SIGTERM)
    _ = await TestHost.aside { waitpid(pid, nil, 0) }
    #expect(!LabProcess.isRunning(folder: folder.path))
  }

  @Test("It ends when its folder is removed", .enabled(if: TestHost.isRoot, "needs root"))
  func orphaned() async throws {
    let lab = try await TestLab()
    let folder = "\(lab.folder.path)/own"
    try LabFile.makeFolder(folder)
    let pid = try await Self.start(lab.name, folder, .kernel)
    try FileManager.default.removeItem(atPath: folder)
    #expect(await eventually { waitpid(pid, nil, WNOHANG) == pid })
  }

  @Test("One that cannot serve says why to who started it", .enabled(if: TestHost.isRoot, "needs root"))
  func cannotServe() async throws {
    let lab = try await TestLab()
    try FileManager.default.createDirectory(
      atPath: "\(lab.folder.path)/control", withIntermediateDirectories: false)
    let error = await #expect(throws: DatapathError.self) {
      _ = try await Self.start(lab.name, lab.folder.path, .kernel)
    }
    #expect(error?.operation.contains("control socket") == true)
    #expect(lab.folder.text("process.log").contains("control socket"))
  }
}
