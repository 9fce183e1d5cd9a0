// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Foundation
import LabCore
import NetTypes
import Spawn
import SystemPackage
import Testing

@testable import LabProcess

@Suite(
  "Programs, commands and files of nodes", .timeLimit(.minutes(10)),
  .enabled(if: TestHost.isRoot, "needs root"),
  .enabled(if: TestHost.has("ip"), "needs ip"))
struct SupervisorTests {
  static func program(
    _ line: String, _ restart: NodeProgram.Restart = .never, line number: Int = 7
  ) -> NodeProgram {
    NodeProgram(
      arguments: [line], restart: restart, location: SourceLocation(file: "topology.swift", line: number))
  }

  static func supervisor(_ lab: TestLab) throws -> LabSupervisor {
    LabSupervisor(lab: lab.name, folder: lab.folder.path, reactor: try TestHost.reactor.get())
  }

  @Test("A program runs in its node and ends with the lab")
  func program() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    try await supervisor.configure(
      lab.runtime(programs: [Self.program("ls /sys/class/net; sleep 60 & wait")]))
    let status = try #require(await supervisor.status.first?.programs.first)
    let pid = try #require(status.pid)
    #expect(status.state == .running)
    #expect(await eventually { lab.folder.text("logs/web-run-1.log") == "lo\n" })
    await supervisor.stop()
    #expect(kill(pid, 0) != 0)
    #expect(await eventually { kill(-pid, 0) != 0 }, "nor is there anything left of its process group")
  }

  @Test("A program is started again as its policy says")
  func restarts() async throws {
    let lab = try await TestLab("a", "b", "c")
    let supervisor = try Self.supervisor(lab)
    let runtimes = [
      lab.runtime(0, programs: [Self.program("exit 0", .onFailure)]),
      lab.runtime(1, programs: [Self.program("exit 3", .onFailure)]),
      lab.runtime(2, programs: [Self.program("exit 0", .always), Self.program("exit 3", .never)]),
    ]
    try await supervisor.configure(LabRuntime(lab: lab.name, nodes: runtimes.flatMap(\.nodes)))
    #expect(
      await eventually {
        let programs = await supervisor.status.flatMap(\.programs)
        return programs[1].restarts >= 2 && programs[2].restarts >= 2
      })
    let programs = await supervisor.status.flatMap(\.programs)
    #expect(programs[0].restarts == 0 && programs[0].state == .ended && programs[0].lastExit == .exited(0))
    #expect(programs[1].lastExit == .exited(3))
    #expect(programs[3].restarts == 0 && programs[3].lastExit == .exited(3))
    await supervisor.stop()
  }

  @Test("Only what changed is started again; a line that moved is no change")
  func differences() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let first = Self.program("sleep 61", .always)
    try await supervisor.configure(lab.runtime(programs: [first, Self.program("sleep 62")]))
    let before = try #require(await supervisor.status.first).programs.map(\.pid)
    let moved = Self.program("sleep 61", .always, line: 99)
    try await supervisor.configure(lab.runtime(programs: [moved, Self.program("sleep 63")]))
    let after = try #require(await supervisor.status.first).programs.map(\.pid)
    #expect(before[0] == after[0])
    #expect(before[1] != after[1])
    try await supervisor.configure(
      lab.runtime(environment: ["A": "b"], programs: [moved, Self.program("sleep 63")]))
    let last = try #require(await supervisor.status.first).programs.map(\.pid)
    #expect(last[0] != after[0] && last[1] != after[1])
    try await supervisor.configure(LabRuntime(lab: lab.name))
    #expect(await supervisor.status.isEmpty)
    #expect(kill(last[0] ?? 0, 0) != 0)
  }

  @Test("Commands run once, in order, with the node's variables")
  func commands() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let note = "\(lab.folder.path)/note"
    let commands = [Self.program("echo one $X >> \(note)"), Self.program("echo two >> \(note)")]
    try await supervisor.configure(lab.runtime(environment: ["X": "y"], commands: commands))
    #expect(lab.folder.text("note") == "one y\ntwo\n")
    let third = commands + [Self.program("echo three >> \(note)")]
    try await supervisor.configure(lab.runtime(environment: ["X": "y"], commands: third))
    #expect(lab.folder.text("note") == "one y\ntwo\nthree\n")
    // Another process for the same nodes knows what has been done.
    try await Self.supervisor(lab).configure(lab.runtime(environment: ["X": "y"], commands: third))
    #expect(lab.folder.text("note") == "one y\ntwo\nthree\n")
    try await supervisor.restart(lab.nodes[0])
    #expect(lab.folder.text("note") == "one y\ntwo\nthree\none y\ntwo\nthree\n")
  }

  @Test("A command that fails says its line, its exit code and its last words, and is tried again")
  func failure() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let flag = "\(lab.folder.path)/flag"
    let runtime = lab.runtime(commands: [Self.program("test -f \(flag) || { echo no flag here; exit 9; }")])
    let error = await #expect(throws: DatapathError.self) { try await supervisor.configure(runtime) }
    let text = error.map { "\($0)" } ?? ""
    #expect(text.contains("topology.swift:7") && text.contains("exit code 9: no flag here"), "\(text)")
    try LabFile.write([], to: flag)
    try await supervisor.configure(runtime)
  }

  @Test("A program that cannot be started is an error with its line")
  func missing() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let error = await #expect(throws: DatapathError.self) {
      try await supervisor.configure(lab.runtime(programs: [Self.program("netforge-no-such-program")]))
    }
    #expect(error?.code == .notStarted)
    #expect(error.map { "\($0)" }?.contains("topology.swift:7") == true)
  }

  @Test("A running program sees a changed hosts file and a changed file")
  func changedFiles() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let location = SourceLocation(file: "topology.swift", line: 3)
    func runtime(_ text: String, _ hosts: [HostsEntry]) -> LabRuntime {
      lab.runtime(
        files: [NodeFile(path: "/etc/motd", text: text, location: location)],
        programs: [Self.program("while sleep 0.05; do cat /etc/motd; grep db /etc/hosts; done")], hosts: hosts
      )
    }
    try await supervisor.configure(runtime("first\n", []))
    let pid = await supervisor.status.first?.programs.first?.pid
    #expect(await eventually { lab.folder.text("logs/web-run-1.log").contains("first") })
    try await supervisor.configure(runtime("second\n", [try #require(HostsEntry(line: "10.0.0.9 db"))]))
    #expect(await eventually { lab.folder.text("logs/web-run-1.log").contains("second\n10.0.0.9 db\n") })
    #expect(await supervisor.status.first?.programs.first?.pid == pid)
    await supervisor.stop()
  }

  @Test("A restart starts programs and services again", .enabled(if: TestHost.has("ss"), "needs ss"))
  func restart() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let service = NodeService(kind: .echo, port: 7, location: SourceLocation(file: "t", line: 1))
    try await supervisor.configure(lab.runtime(programs: [Self.program("sleep 61")], services: [service]))
    let before = await supervisor.status.first?.programs.first?.pid
    try await supervisor.restart(lab.nodes[0])
    let status = try #require(await supervisor.status.first)
    #expect(status.programs.first?.pid != before)
    #expect(status.services == [.init(kind: "echo", port: 7)])
    #expect(try await ServiceTests.inside(lab, ["ss", "-Hlnt"]).contains(":7 "))
    await supervisor.stop()
    #expect(try await ServiceTests.inside(lab, ["ss", "-Hlnt"]) == "")
  }

  @Test("A log that has grown too large is put aside, and its writer goes on")
  func logs() throws {
    let folder = TestFolder()
    let path = "\(folder.path)/log"
    let log = try NodePrograms.openLog(path)
    let line = Array((String(repeating: "x", count: 1023) + "\n").utf8)
    for _ in 0..<5000 { _ = try log.descriptor.writeAll(line) }
    NodePrograms.trimLog(path)
    _ = try log.descriptor.writeAll(Array("on\n".utf8))
    #expect(folder.text("log") == "on\n")
    #expect(folder.text("log.1").utf8.count == NodePrograms.logLimit / 4)
  }

  @Test("A node that has nothing cannot be restarted, and those that can are named")
  func restartNothing() async throws {
    let lab = try await TestLab("web")
    let supervisor = try Self.supervisor(lab)
    let error = await #expect(throws: DatapathError.self) { try await supervisor.restart(lab.nodes[0]) }
    #expect(error?.code == .notFound)
  }
}
