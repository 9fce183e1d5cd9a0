// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import Glibc
import Spawn
import SystemPackage
import Testing

private let isRoot = geteuid() == 0
private let path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

private func shell(_ script: String) -> SpawnRequest {
  SpawnRequest(.path("/bin/sh"), arguments: ["sh", "-c", script], environment: ["PATH=\(path)"])
}

private func run(_ request: SpawnRequest) throws -> ProgramOutput {
  try request.run(
    capturing: [OutputCapture(1, limit: 1 << 20), OutputCapture(2, limit: 1 << 20)], timeout: .seconds(10))
}

@Suite("Starting processes") struct SpawnTests {
  @Test("Arguments, environment and folder arrive as they were given")
  func arguments() throws {
    var request = SpawnRequest(
      .name("sh", search: "/nowhere:\(path)"),
      arguments: ["me", "-c", "echo $0 $1 $A; pwd; env | wc -l", "x", "y z"],
      environment: ["A=b c"])
    request.directory = "/usr"
    let output = try run(request)
    #expect(output.status == .exited(0))
    #expect(output.text(1).hasPrefix("x y z b c\n/usr\n"))
  }

  @Test("A program that is not there is an error that says so")
  func missing() {
    let error = #expect(throws: SpawnError.self) {
      try run(SpawnRequest(.name("no-such-program", search: path)))
    }
    #expect(error?.stage == .exec)
    #expect(error?.isProgramMissing == true)
    let denied = #expect(throws: SpawnError.self) { try run(SpawnRequest(.path("/etc/passwd"))) }
    #expect(denied?.errno == .permissionDenied)
  }

  @Test("No descriptor is inherited but those that are named")
  func descriptors() throws {
    let first = open("/etc/hostname", O_RDONLY)  // without close-on-exec
    let second = open("/etc/passwd", O_RDONLY)
    defer {
      close(first)
      close(second)
    }
    var request = shell("ls -l /proc/self/fd | grep -v 'fd -> /proc' | awk 'NF > 9 {print $9, $11}'")
    // The two change places, which no order of dup2 alone could do.
    request.descriptors = [
      .init(FileDescriptor(rawValue: first), as: second), .init(FileDescriptor(rawValue: second), as: first),
    ]
    let lines = try run(request).text(1).split(separator: "\n").filter {
      !$0.contains("pipe:") && !$0.contains("/proc/")
    }
    #expect(lines.contains("0 /dev/null"))
    #expect(lines.contains("\(second) /etc/hostname"))
    #expect(lines.contains("\(first) /etc/passwd"))
    #expect(lines.count == 3)
  }

  @Test("Signal handlers and the mask are as in a fresh process")
  func signals() throws {
    signal(SIGPIPE, SIG_IGN)
    defer { signal(SIGPIPE, SIG_DFL) }
    let output = try run(
      SpawnRequest(.path("/bin/grep"), arguments: ["grep", "^Sig[BI]", "/proc/self/status"]))
    for line in output.text(1).split(separator: "\n") {
      #expect(line.hasSuffix("0000000000000000"), "\(line)")
    }
  }

  @Test("The end of a process is told with its code or its signal")
  func status() throws {
    #expect(try run(shell("exit 7")).status == .exited(7))
    #expect(try run(shell("kill -9 $$")).status == .signaled(SIGKILL))
  }

  @Test("What runs too long is killed with all its children", .timeLimit(.minutes(10)))
  func timeout() throws {
    let mark = "\(3000 + Int.random(in: 0..<1000)).25"
    let output = try shell("sleep \(mark) & sleep \(mark)").run(capturing: [], timeout: .milliseconds(200))
    #expect(output.ending == .timedOut)
    #expect(output.status == .signaled(SIGKILL))
    // Killed is not gone at once on a busy machine.
    var left = ["unknown"]
    for _ in 0..<100 where !left.isEmpty {
      Thread.sleep(forTimeInterval: 0.02)
      left = try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { name in
        FileManager.default.contents(atPath: "/proc/\(name)/cmdline") == Data("sleep\0\(mark)\0".utf8)
      }
    }
    #expect(left.isEmpty)
  }

  @Test("Output over its limit is dropped and counted, or ends the program")
  func overflow() throws {
    let script = "head -c 3000000 /dev/zero"
    let discarding = try shell(script).run(capturing: [OutputCapture(1, limit: 1000)], timeout: .seconds(10))
    #expect(discarding.bytes[1]?.count == 1000)
    #expect(discarding.discarded[1] == 2_999_000)
    let stopping = try shell("yes").run(
      capturing: [OutputCapture(1, limit: 1000, overflow: .stop)], timeout: .seconds(10))
    #expect(stopping.ending == .overflowed(1))
    let whole = try shell(script).run(capturing: [OutputCapture(1, limit: 3_000_000)], timeout: .seconds(10))
    #expect(whole.bytes[1]?.count == 3_000_000)
  }

  @Test("Questions of the program are answered")
  func conversation() throws {
    var questions: [String] = []
    let conversation = Conversation(3) { pending in
      guard let end = pending.firstIndex(of: 0x0A) else { return [] }
      questions.append(String(decoding: pending[..<end], as: UTF8.self))
      pending.removeSubrange(...end)
      return Array("answer \(questions.count)\n".utf8)
    }
    let output = try shell("echo one >&3; read a <&3; echo two >&3; read b <&3; echo $a, $b").run(
      capturing: [OutputCapture(1, limit: 100)], conversation: conversation, timeout: .seconds(10))
    #expect(questions == ["one", "two"])
    #expect(output.text(1) == "answer 1, answer 2\n")
  }

  @Test("Limits hold")
  func limits() throws {
    var request = shell("ulimit -n; ulimit -v")
    request.limits = [.openFiles(99), .addressSpace(1 << 30)]
    #expect(try run(request).text(1) == "99\n1048576\n")
  }

  @Test("Waiting may end before the process does, and many threads may start processes at once")
  func concurrently() async throws {
    let child = try shell("sleep 20").spawn()
    #expect(try child.wait(timeout: .milliseconds(20)) == nil)
    child.kill(SIGTERM)
    #expect(try child.wait() == .signaled(SIGTERM))
    #expect(try child.wait() == .signaled(SIGTERM))
    try await withThrowingTaskGroup(of: String.self) { group in
      for index in 0..<20 {
        group.addTask { try run(shell("echo \(index)")).text(1) }
      }
      var all = Set<String>()
      for try await text in group { all.insert(text) }
      #expect(all.count == 20)
    }
  }

  @Test("A name with a NUL byte in it is refused")
  func nul() {
    #expect(throws: SpawnError.self) { try run(shell("echo a\0b")) }
  }
}

@Suite("Processes in namespaces", .enabled(if: isRoot, "needs root")) struct SpawnNamespaceTests {
  @Test("A mount made for the program is seen by it alone")
  func mounts() throws {
    var request = shell("cat /etc/hostname; echo x > /etc/hostname")
    request.newNamespaces = [.mount]
    request.mounts = [.bind("/etc/passwd", on: "/etc/hostname", readOnly: true)]
    let output = try run(request)
    #expect(output.text(1).contains("root:"))
    #expect(output.text(2).contains("Read-only"))
    #expect(try String(contentsOfFile: "/etc/hostname", encoding: .utf8).contains("root:") == false)
  }

  @Test("A failing mount is named by its place in the list")
  func failingMount() {
    var request = shell("true")
    request.newNamespaces = [.mount]
    request.mounts = [.bind("/etc/passwd", on: "/etc/hostname"), .bind("/nowhere", on: "/etc/hostname")]
    let error = #expect(throws: SpawnError.self) { try run(request) }
    #expect(error?.stage == .mount && error?.detail == 1 && error?.errno == .noSuchFileOrDirectory)
  }

  @Test("In a pid namespace the program is the first process, and its status comes back")
  func pids() throws {
    var request = shell("echo $$; exit 5")
    request.newNamespaces = [.pid, .mount, .network]
    request.mounts = [Mount("proc", on: "/proc", type: "proc")]
    let output = try run(request)
    #expect(output.text(1) == "1\n")
    #expect(output.status == .exited(5))
    request.program = .path("/nowhere")
    for _ in 0..<20 {
      let error = #expect(throws: SpawnError.self) { try run(request) }
      #expect(error?.stage == .exec)
    }
  }

  @Test("A network namespace is joined by its descriptor")
  func joins() throws {
    let here = try FileDescriptor.open("/proc/self/ns/uts", .readOnly)
    defer { try? here.close() }
    var request = shell("ls /proc/self/ns | wc -l")
    request.namespaces = [.init(here, .uts)]
    #expect(try run(request).status == .exited(0))
    request.namespaces = [.init(here, .network)]
    let error = #expect(throws: SpawnError.self) { try run(request) }
    #expect(error?.stage == .join)
  }

  @Test("Another identity has its user, its group and no others")
  func identity() throws {
    var request = shell("id -u; id -g; id -G; cat /etc/shadow 2>&1 >/dev/null | grep -c denied")
    request.identity = .init(user: 65534, group: 65534)
    #expect(try run(request).text(1) == "65534\n65534\n65534\n1\n")
  }

  @Test("A read-only root refuses writing even to root")
  func readOnly() throws {
    var request = shell("touch /tmp/netforge-must-not-appear")
    request.readOnlyRoot = true
    #expect(try run(request).text(2).contains("Read-only"))
  }

  private typealias Mount = SpawnRequest.Mount
}

@Suite(
  "Processes that are not trusted", .enabled(if: Confinement.hasSeccomp, "the kernel has no seccomp filters"))
struct SpawnConfinementTests {
  private func python(_ code: String) throws -> ProgramOutput {
    var request = SpawnRequest(
      .file(try FileDescriptor.open("/usr/bin/python3", .readOnly), name: "python3"),
      arguments: ["python3", "-S", "-E", "-c", code])
    request.computesOnly = true
    return try run(request)
  }

  @Test(
    "What is not computing is refused", .enabled(if: access("/usr/bin/python3", X_OK) == 0, "needs python3"),
    arguments: [
      "import socket; socket.socket()", "import os; os.fork()", "open('/tmp/netforge-x', 'w')",
      "import os; os.kill(os.getppid(), 0)", "import os; os.mkdir('/tmp/netforge-x')",
      "import os; os.unlink('/etc/passwd')", "import os; os.chmod('/etc/passwd', 0o644)",
      "import os; os.execv('/bin/true', ['true'])", "import os; os.setsid()",
    ])
  func refused(code: String) throws {
    let output = try python(code)
    #expect(output.status == .exited(1))
    #expect(output.text(2).contains("PermissionError"), "\(output.text(2))")
  }

  @Test(
    "Computing, reading and threads go on",
    .enabled(if: access("/usr/bin/python3", X_OK) == 0, "needs python3"))
  func allowed() throws {
    let output = try python(
      "import threading; t = threading.Thread(target=lambda: print(open('/etc/passwd').read()[:4])); t.start(); t.join()"
    )
    #expect(output.text(1) == "root\n", "\(output.text(2))")
  }

  @Test(
    "Landlock opens only the paths that are named",
    .enabled(if: Confinement.landlockABI > 0, "needs Landlock"))
  func landlock() throws {
    var request = SpawnRequest(.path("/bin/cat"), arguments: ["cat", "/etc/hostname", "/etc/passwd"])
    request.reachablePaths = [
      .init("/bin/cat", [.read, .execute]), .init("/lib", [.read, .execute]),
      .init("/lib64", [.read, .execute]),
      .init("/usr/lib", [.read, .execute]), .init("/etc/passwd", .read), .init("/not/there", .read),
    ]
    let output = try run(request)
    #expect(output.text(1).contains("root:"))
    #expect(output.text(2).contains("/etc/hostname: Permission denied"))
  }

  @Test(
    "A rule's file may have a number that the program gets for another",
    .enabled(if: Confinement.landlockABI > 0, "needs Landlock"))
  func overlap() throws {
    let cat = try FileDescriptor.open("/bin/cat", .readOnly)
    defer { try? cat.close() }
    let passwd = try FileDescriptor.open("/etc/passwd", .readOnly)
    defer { try? passwd.close() }
    var request = SpawnRequest(.file(cat, name: "cat"), arguments: ["cat", "/etc/passwd"])
    request.descriptors = [.init(passwd, as: cat.rawValue)]
    request.reachablePaths = [
      .init(cat, [.read, .execute]), .init("/lib", [.read, .execute]), .init("/lib64", [.read, .execute]),
      .init("/usr/lib", [.read, .execute]), .init(passwd, .read),
    ]
    let output = try run(request)
    #expect(output.text(1).contains("root:"), "\(output.text(2))")
  }
}
