// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Foundation
import LabCore
import NetTypes
import Seeds
import Spawn
import SystemPackage
import Testing

@testable import LabProcess

@Suite("The way into a lab", .timeLimit(.minutes(10 * Rounds.of(1))))
struct EntryTests {
  /// Runs this very program as `__enter` with a request, which its constructor carries out.
  static func enter(
    _ fields: [(String, String)], identity: SpawnRequest.Identity? = nil, timeout: Duration = .seconds(20)
  ) async throws -> (status: Spawn.ExitStatus, output: String, error: String) {
    var file = EntryFile()
    for (tag, value) in fields { file.add(tag, value) }
    let sealed = try file.sealed(for: "test")
    let program = try EntryFile.ownProgram(for: "test")
    var request = SpawnRequest(
      .file(program.descriptor, name: "netforge"), arguments: ["netforge", "__enter", "3"],
      environment: NodeEntry.ownEnvironment().filter { !$0.hasPrefix("PATH=") } + ["PATH=\(TestHost.path)"],
      descriptors: [.init(sealed.descriptor, as: 3)])
    request.identity = identity
    let output = try await TestHost.complete(
      request, capturing: [OutputCapture(1, limit: 1 << 20), OutputCapture(2, limit: 1 << 20)],
      timeout: timeout)
    return (output.status, output.text(1), output.text(2))
  }

  static func shell(_ script: String) -> [(String, String)] {
    [("arg", "/bin/sh"), ("arg", "-ec"), ("arg", script)]
  }

  static let pings = """
    ip netns add a; ip netns add b
    ip link add va netns a type veth peer name vb netns b
    ip -n a address add 10.9.0.1/24 dev va; ip -n b address add 10.9.0.2/24 dev vb
    ip -n a link set va up; ip -n b link set vb up
    ip netns exec a ping -c 1 -W 2 10.9.0.2
    ip netns; id -u; cat /proc/self/uid_map
    """

  @Test(
    "A user namespace holds two namespaces that reach each other, and the host sees none of it",
    .enabled(if: TestHost.hasUserNamespaces, "this host allows no user namespaces"),
    .enabled(if: TestHost.has("ip", "ping"), "needs ip and ping"))
  func rootless() async throws {
    let before = try await TestHost.run("ip", "netns").output
    let (status, output, error) = try await Self.enter([("rootless", "1")] + Self.shell(Self.pings))
    #expect(status == .exited(0), "\(error)")
    #expect(output.contains("1 received"))
    #expect(output.contains("\n0\n"), "the invoking user is 0 in there")
    let after = try await TestHost.run("ip", "netns").output
    #expect(!after.split(separator: "\n").contains { $0 == "a" || $0 == "b" }, "\(before)")
  }

  @Test(
    "An ordinary user has the same", .enabled(if: TestHost.isRoot, "needs root to become nobody"),
    .enabled(if: TestHost.hasUserNamespaces, "this host allows no user namespaces"),
    .enabled(if: TestHost.has("ip", "ping"), "needs ip and ping"))
  func nobody() async throws {
    let (status, output, error) = try await Self.enter(
      [("rootless", "1")] + Self.shell(Self.pings), identity: TestHost.nobody)
    #expect(status == .exited(0), "\(error)")
    #expect(output.contains("1 received"))
    #expect(output.contains("65534"), "the id that is mapped")
  }

  @Test(
    "Without a /run/netns there is one in memory, beside what else is in /run",
    .enabled(if: TestHost.isRoot, "needs root to hide /run/netns"),
    .enabled(if: TestHost.hasUserNamespaces, "this host allows no user namespaces"))
  func runFolder() async throws {
    let script = "test -f /run/x/file; test -L /run/link; ip netns add q; ip netns; ls /run"
    var file = EntryFile()
    file.add("rootless", "1")
    for (tag, value) in Self.shell(script) { file.add(tag, value) }
    let sealed = try file.sealed(for: "test")
    let program = try EntryFile.ownProgram(for: "test")
    let inner = "mount -t tmpfs x /run && mkdir /run/x && touch /run/x/file && ln -s x /run/link"
    var request = SpawnRequest(
      .path("/bin/sh"), arguments: ["sh", "-c", inner + " && exec /proc/self/fd/4 __enter 3"],
      environment: NodeEntry.ownEnvironment().filter { !$0.hasPrefix("PATH=") } + ["PATH=\(TestHost.path)"],
      descriptors: [.init(sealed.descriptor, as: 3), .init(program.descriptor, as: 4)])
    request.newNamespaces = .mount
    request.mounts = [.init("tmpfs", on: "/mnt", type: "tmpfs")]
    let output = try await TestHost.complete(
      request, capturing: [OutputCapture(1, limit: 1 << 20), OutputCapture(2, limit: 1 << 20)],
      timeout: .seconds(20))
    #expect(output.status == .exited(0), "\(output.text(2))")
    #expect(output.text(1).hasPrefix("q\n"))
  }

  @Test(
    "A forbidden user namespace names the setting that forbids it",
    .enabled(if: TestHost.isRoot && TestHost.hasUserNamespaces, "needs root"))
  func forbidden() async throws {
    // Inside a user namespace its own limit can be lowered without touching the host.
    var file = EntryFile()
    file.add("rootless", "1")
    file.add("arg", "true")
    let sealed = try file.sealed(for: "test")
    let program = try EntryFile.ownProgram(for: "test")
    var request = SpawnRequest(
      .path("/bin/sh"),
      arguments: [
        "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces && exec /proc/self/fd/4 __enter 3",
      ],
      environment: NodeEntry.ownEnvironment(),
      descriptors: [.init(sealed.descriptor, as: 3), .init(program.descriptor, as: 4)])
    request.newNamespaces = .user
    request.userMap = "0 0 1"
    request.groupMap = "0 0 1"
    let output = try await TestHost.complete(
      request, capturing: [OutputCapture(2, limit: 1 << 16)], timeout: .seconds(20))
    #expect(output.status == .exited(126))
    #expect(output.text(2).contains("cannot make a user namespace"))
    #expect(output.text(2).contains("user.max_user_namespaces is 0"))
  }

  @Test(
    "Exit codes are a shell's",
    arguments: [
      (["/bin/sh", "-c", "exit 7"], Spawn.ExitStatus.exited(7)),
      (["/bin/sh", "-c", "kill -TERM $$"], .signaled(15)),
      (["netforge-no-such-program"], .exited(127)), (["/no/such/program"], .exited(127)),
      (["/etc/passwd"], .exited(126)),
      (["/etc"], .exited(126)),
    ])
  func exitCodes(arguments: [String], expected: Spawn.ExitStatus) async throws {
    let (status, _, error) = try await Self.enter(arguments.map { ("arg", $0) })
    #expect(status == expected)
    if status == .exited(127) || status == .exited(126) {
      #expect(error.hasPrefix("netforge: cannot start '"))
    }
  }

  @Test("What is no sealed request of ours is not obeyed")
  func forged() async throws {
    // A plain file with the right text: anybody can write one.
    let folder = TestFolder()
    let path = "\(folder.path)/request"
    try Data("\(NF_ENTRY_MAGIC)\0arg\0/bin/echo\0arg\0obeyed\0".utf8).write(to: URL(filePath: path))
    let file = try FileDescriptor.open(path, .readOnly)
    defer { try? file.close() }
    #expect(nf_sealed_size(file.rawValue) < 0)
    #expect(EntryFile.value(of: "arg", in: file) == nil)
  }

  @Test("Requests that are torn or senseless end in an error, never in a crash", arguments: 0..<40)
  func fuzz(seed: Int) async throws {
    // Each of them is a process: not all at once.
    for round in 0..<Rounds.of(1) { try await attempt(seed: seed + 40 * round) }
  }

  private func attempt(seed: Int) async throws {
    var generator = SplitMix(seed)
    var bytes = Array("\(NF_ENTRY_MAGIC)\0".utf8)
    let words = [
      "arg", "bind", "on", "env", "cwd", "user", "net", "view", "status", "netns", "-1", "99999999999", "",
      "x",
    ]
    for _ in 0..<Int.random(in: 0..<6, using: &generator) {
      bytes += Array((words.randomElement(using: &generator) ?? "").utf8)
      if Bool.random(using: &generator) || Bool.random(using: &generator) { bytes.append(0) }
    }
    bytes.append(0)
    let memory = nf_sealed_file(bytes, bytes.count)
    try #require(memory >= 0)
    let sealed = OwnedDescriptor(FileDescriptor(rawValue: memory))
    let program = try EntryFile.ownProgram(for: "test")
    let request = SpawnRequest(
      .file(program.descriptor, name: "netforge"), arguments: ["netforge", "__enter", "3"],
      environment: ["PATH=/nonexistent"] + NodeEntry.ownEnvironment().filter { $0.hasPrefix("LD_") },
      descriptors: [.init(sealed.descriptor, as: 3)])
    let output = try await TestHost.complete(
      request, capturing: [OutputCapture(2, limit: 1 << 16)], timeout: .seconds(20))
    #expect(output.status == .exited(126) || output.status == .exited(127), "\(output.status)")
  }
}

@Suite(
  "Programs in nodes", .timeLimit(.minutes(10)), .enabled(if: TestHost.isRoot, "needs root"),
  .enabled(if: TestHost.has("ip"), "needs ip"))
struct NodeEntryTests {
  @Test(
    "A program sees its node's network, hosts, files and variables; the host and other nodes see none of them"
  )
  func view() async throws {
    let lab = try await TestLab("web", "db")
    let location = SourceLocation(file: "t.swift", line: 3)
    let new = "/etc/netforge-test-\(getpid())/deep/x.conf"
    let runtime = NodeRuntime(
      node: lab.nodes[0], environment: ["COLOR": "green"],
      files: [
        NodeFile(path: "/etc/motd", text: "hello\n", location: location),
        NodeFile(path: new, text: "new\n", location: location),
      ])
    let address = try #require(HostsEntry(line: "10.0.0.2 db db.example"))
    _ = try NodeView.layOut(runtime, hosts: [address], folder: lab.folder.path)
    let script = "getent hosts db; cat /etc/motd \(new); echo $COLOR; ls /sys/class/net; ls /etc/passwd"
    let (status, output) = try await lab.run(["/bin/sh", "-c", script])
    #expect(status == .exited(0))
    #expect(output.contains("10.0.0.2"))
    #expect(output.contains("hello\nnew\ngreen\nlo\n/etc/passwd\n"))
    #expect(access("/etc/netforge-test-\(getpid())", F_OK) != 0)
    let (_, other) = try await lab.run(["/bin/sh", "-c", "cat \(new); getent hosts db; echo $COLOR"], in: 1)
    #expect(!other.contains("green") && !other.contains("new") && other.contains("10.0.0.2"))
    let ours = try await TestHost.run("sh", "-c", "cat \(new); getent hosts db.example")
    #expect(ours.output.isEmpty)
  }

  @Test("A name that nobody has is unknown, with nobody to ask for it")
  func resolver() async throws {
    let lab = try await TestLab("web")
    _ = try NodeView.layOut(NodeRuntime(node: lab.nodes[0]), hosts: [], folder: lab.folder.path)
    let (status, _) = try await lab.run(["getent", "hosts", "nobody-has-this-name.example"])
    #expect(status == .exited(2))
    let (_, resolver) = try await lab.run(["cat", "/etc/resolv.conf"])
    #expect(!resolver.contains("nameserver") && resolver.contains("attempts:1"), "\(resolver)")
  }

  @Test("A program that is not there is an error, not an exit code")
  func missing() async throws {
    let lab = try await TestLab("web")
    let error = await #expect(throws: DatapathError.self) { try await lab.run(["netforge-no-such-program"]) }
    #expect(error?.code == .notStarted)
    #expect(error?.errno == ENOENT)
    #expect(error.map { "\($0)" }?.contains("command not found") == true)
  }

  @Test("A node that is not there is said by name")
  func noNode() async throws {
    let lab = try await TestLab()
    let node = try #require(NodeName("web"))
    let error = #expect(throws: DatapathError.self) { try NodeEntry.local(node, of: lab.name, folder: nil) }
    #expect(error?.code == .notFound)
  }

  @Test("A text with a NUL is refused")
  func nul() async throws {
    let lab = try await TestLab("web")
    await #expect(throws: DatapathError.self) { try await lab.run(["/bin/echo", "a\0b"]) }
  }

  @Test("A terminal stays a terminal")
  func terminal() async throws {
    let lab = try await TestLab("web")
    var file = EntryFile()
    file.add("netns", NodeEntry.path(of: lab.nodes[0], in: lab.name))
    file.add("view", "1")
    for word in ["/bin/sh", "-c", "test -t 0 && test -t 1 && tty && stty size"] { file.add("arg", word) }
    let sealed = try file.sealed(for: "test")
    let program = try EntryFile.ownProgram(for: "test")
    var main: Int32 = -1
    var side: Int32 = -1
    var size = winsize(ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0)
    try #require(openpty(&main, &side, nil, nil, &size) == 0)
    defer { close(main) }
    let terminal = FileDescriptor(rawValue: side)
    var request = SpawnRequest(
      .file(program.descriptor, name: "netforge"), arguments: ["netforge", "__enter", "3"],
      environment: NodeEntry.ownEnvironment(),
      descriptors: [
        .init(terminal, as: 0), .init(terminal, as: 1), .init(terminal, as: 2),
        .init(sealed.descriptor, as: 3),
      ])
    request.session = .new
    request.terminal = 0
    let child = try request.spawn()
    close(side)
    let reader = FileDescriptor(rawValue: main)
    let (bytes, _) = await TestHost.aside { EntryFile.readAll(reader, timeout: .seconds(20)) }
    #expect(try child.wait(timeout: .seconds(20)) == .exited(0))
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.contains("/dev/pts/") && text.contains("33 101"), "\(text)")
  }
}

extension HostsEntry {
  init?(line: String) {
    let words = line.split(separator: " ").map(String.init)
    guard let first = words.first, let address = IPAddress(first) else { return nil }
    self.init(address: address, names: Array(words.dropFirst()))
  }
}
