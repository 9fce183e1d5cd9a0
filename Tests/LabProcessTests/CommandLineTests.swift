// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Foundation
import LabCore
import Spawn
import SystemPackage
import Testing

@testable import LabProcess

/// One topology with programs, commands, files and services, as a user at a shell has it.
@Suite(
  "Programs in nodes from the command line", .timeLimit(.minutes(10)),
  .enabled(if: TestHost.executable != nil, "needs the built netforge"),
  .enabled(if: TestHost.has("ip", "curl", "ping", "script"), "needs ip, curl, ping and script"))
struct CommandLineTests {
  enum Account: CaseIterable, CustomTestStringConvertible {
    case root, nobody

    var isPossible: Bool { TestHost.isRoot && (self == .root || TestHost.hasUserNamespaces) }
    var testDescription: String { self == .root ? "as root" : "as an ordinary user, rootless" }
  }

  /// Runs the executable as one of the accounts in `folder`.
  static func netforge(
    _ account: Account, _ folder: TestFolder, _ arguments: String...
  ) async throws -> (status: Spawn.ExitStatus, output: String, error: String) {
    try await run(account, folder, [try #require(TestHost.executable)] + arguments)
  }

  static func run(
    _ account: Account, _ folder: TestFolder, _ arguments: [String]
  ) async throws -> (status: Spawn.ExitStatus, output: String, error: String) {
    var environment = ["PATH=\(TestHost.path)", "HOME=\(folder.path)", "XDG_RUNTIME_DIR="]
    environment += NodeEntry.ownEnvironment().filter { $0.hasPrefix("LD_LIBRARY_PATH=") }
    var request = SpawnRequest(
      .path(try #require(arguments.first)), arguments: arguments, environment: environment,
      directory: folder.path)
    if account == .nobody { request.identity = TestHost.nobody }
    let output = try await TestHost.complete(
      request, capturing: [OutputCapture(1, limit: 1 << 20), OutputCapture(2, limit: 1 << 20)],
      timeout: .seconds(90))
    return (output.status, output.text(1), output.text(2))
  }

  static func topology(_ name: String, _ folder: TestFolder) -> String {
    """
    import Netforge

    let lab = Topology("\(name)")
    let lan = lab.bridge("lan", subnet: "10.44.1.0/24")
    let web = lab.node("web") {
      Interface("eth0", on: lan, address: "10.44.1.10/24")
      Service(.http(port: 80))
      Service(.echo(port: 7))
      Run("sleep 1074", restart: .always)
      File("/etc/netforge-\(name).conf", text: "hello\\n")
      Env("COLOR", "green")
      Exec("ip -br address > \(folder.path)/exec.out")
    }
    let client = lab.node("client") {
      Interface("eth0", on: lan, address: "10.44.1.20/24")
    }
    """
  }

  @Test(
    "The same verbs do the same", .enabled(if: TestHost.isRoot, "needs root to be both accounts"),
    arguments: Account.allCases.filter(\.isPossible))
  func verbs(account: Account) async throws {
    let folder = TestFolder()
    let name = TestHost.labName().text
    let file = "\(folder.path)/\(name).swift"
    try Self.topology(name, folder).write(toFile: file, atomically: true, encoding: .utf8)
    // Compiled by who may read the toolchain; the lab is brought up from what came of it.
    let rendered = try await Self.netforge(.root, folder, "render", file)
    try #require(rendered.status == .exited(0), "\(rendered.error)")
    try rendered.output.write(toFile: "\(folder.path)/lab.json", atomically: true, encoding: .utf8)
    chown(folder.path, account == .root ? 0 : 65534, 65534)

    let up = try await Self.netforge(account, folder, "up", "lab.json")
    #expect(up.status == .exited(0), "\(up.error)")
    #expect(folder.text("exec.out").contains("10.44.1.10/24"))
    #expect((access("/run/netns/\(name)-web", F_OK) == 0) == (account == .root))

    func exec(_ node: String, _ command: String...) async throws -> (
      status: Spawn.ExitStatus, output: String, error: String
    ) {
      let arguments = [try #require(TestHost.executable), "exec", "--name", name, node, "--"] + command
      return try await Self.run(account, folder, arguments)
    }
    #expect(try await exec("client", "curl", "-s", "http://web/").output == "web in lab \(name)\n")
    #expect(try await exec("client", "ping", "-c", "1", "-W", "2", "web").status == .exited(0))
    let view = try await exec(
      "web", "sh", "-c", "cat /etc/netforge-\(name).conf; echo $COLOR; pwd; id -u; exit 5")
    #expect(view.status == .exited(5))
    #expect(view.output == "hello\ngreen\n\(folder.path)\n0\n")
    #expect(try await exec("web", "sh", "-c", "kill -USR1 $$").status == .signaled(SIGUSR1))
    #expect(try await exec("web", "netforge-no-such-program").status == .exited(127))
    #expect(try await exec("web", "/etc/passwd").status == .exited(126))
    let mask = try await exec("web", "grep", "SigBlk", "/proc/self/status")
    #expect(mask.output.contains("0000000000000000"), "signals reach the program: \(mask.output)")
    let shell = "\(try #require(TestHost.executable)) exec --name \(name) web -- sh -c 'tty; stty size'"
    let terminal = try await Self.run(
      account, folder, ["/usr/bin/script", "-qec", shell, "/dev/null"])
    #expect(terminal.output.contains("/dev/pts/"), "\(terminal)")

    let status = try await Self.netforge(account, folder, "status", "--name", name)
    #expect(status.output.contains("sleep 1074 (running)"))
    let restart = try await Self.netforge(account, folder, "restart", "--name", name, "web")
    #expect(restart.status == .exited(0), "\(restart.error)")
    #expect(try await exec("client", "curl", "-s", "http://web/").output == "web in lab \(name)\n")
    let again = try await Self.netforge(account, folder, "up", "lab.json")
    #expect((again.output + again.error).contains("no changes"))
    let down = try await Self.netforge(account, folder, "down", "--name", name, "--yes")
    #expect(down.status == .exited(0), "\(down.error)")
    let left = try await TestHost.run("pgrep", "-f", "netforge/\(name)|/\(name)( |$)")
    #expect(left.output.isEmpty, "\(left.output)")
    #expect(access("/run/netns/\(name)-web", F_OK) != 0)
  }

  @Test(
    "Ids that /etc/subuid grants are mapped",
    .enabled(if: TestHost.isRoot, "needs root to write another /etc/subuid"),
    .enabled(if: TestHost.hasUserNamespaces, "this host allows no user namespaces"),
    .enabled(if: TestHost.has("newuidmap", "newgidmap"), "needs newuidmap and newgidmap"))
  func subordinateIDs() async throws {
    let folder = TestFolder()
    try LabFile.write(Array("nobody:100000:65536\n".utf8), to: "\(folder.path)/sub")
    var file = EntryFile()
    for (tag, value) in [
      ("rootless", "1"), ("arg", "cat"), ("arg", "/proc/self/uid_map"), ("arg", "/proc/self/gid_map"),
    ] {
      file.add(tag, value)
    }
    let sealed = try file.sealed(for: "test")
    let program = try EntryFile.ownProgram(for: "test")
    var request = SpawnRequest(
      .file(program.descriptor, name: "netforge"), arguments: ["netforge", "__enter", "3"],
      environment: NodeEntry.ownEnvironment(), descriptors: [.init(sealed.descriptor, as: 3)])
    request.newNamespaces = .mount
    request.mounts = [
      .bind("\(folder.path)/sub", on: "/etc/subuid"), .bind("\(folder.path)/sub", on: "/etc/subgid"),
    ]
    request.identity = TestHost.nobody
    let output = try await TestHost.complete(
      request, capturing: [OutputCapture(1, limit: 1 << 16)], timeout: .seconds(20))
    let words = output.text(1).split(whereSeparator: \.isWhitespace)
    #expect(words == ["0", "65534", "1", "1", "100000", "65536", "0", "65534", "1", "1", "100000", "65536"])
  }
}
