// SPDX-License-Identifier: GPL-2.0-or-later

// A lab that a test has brought up, asked by the tools that its users have.

import Foundation
import Testing

/// A change of a plan, as `-f json` prints it.
struct PlannedChange: Equatable, CustomStringConvertible {
  var path: String
  var operation: String

  var description: String { "\(operation) \(path)" }
}

/// What `ping` told of one echo request.
struct Echo {
  var isAnswered: Bool
  var ttl: Int?
  /// Who sent an error instead, and which.
  var refusedBy: String?
  var refusal: String?
  var text: String
}

struct TestLab {
  let caller: Caller
  let name: String

  init(_ caller: Caller, _ topic: String) {
    self.caller = caller
    name = "\(topic)-\(String(UInt16.random(in: .min ... .max), radix: 16))"
  }

  // MARK: Verbs

  @discardableResult
  func netforge(_ verb: String, _ arguments: String..., input: String? = nil) throws -> Outcome {
    try caller.netforge([verb, "--name", name] + arguments, input: input)
  }

  @discardableResult
  func up(_ file: String, _ arguments: String..., input: String? = nil) throws -> Outcome {
    try caller.netforge(["up", file, "--name", name, "--yes"] + arguments, input: input)
  }

  func down() throws -> Outcome { try netforge("down") }

  /// The changes that a verb with `-f json` lists.
  func changes(_ outcome: Outcome) throws -> [PlannedChange] {
    try (#require(outcome.json()["changes"] as? [[String: Any]], "\(outcome)")).map {
      PlannedChange(path: $0["path"] as? String ?? "", operation: $0["op"] as? String ?? "")
    }
  }

  func plan(_ file: String, _ arguments: String...) throws -> [PlannedChange] {
    try changes(caller.netforge(["plan", file, "--name", name, "-f", "json"] + arguments))
  }

  /// Brings a file up and runs `body`; a second `up` must find nothing to do, and after `down` the host must be as it
  /// was. What the kernel cannot do skips the test.
  func live(_ file: String, _ body: () throws -> Void) throws {
    let before = try HostSnapshot.take()
    try during(file) {
      let plan = try netforge("plan", file, "--detailed-exitcode")
      #expect(plan.status == 0, "\(plan)")
      let again = try up(file, "-f", "json")
      #expect(try changes(again).isEmpty, "\(again)")
      try body()
    }
    #expect(try HostSnapshot.take() == before, "the host is as before")
  }

  /// Brings a file up, runs `body`, and takes the lab down whatever happened.
  func during(_ file: String, _ body: () throws -> Void) throws {
    let up = try up(file)
    // A toolchain that fails has the same code; a limitation has a line of the file.
    if up.status == 69, up.error.contains("\(URL(filePath: file).lastPathComponent):") {
      try Test.cancel("a limitation of this host: \(up.error)")
    }
    defer {
      let down = Result { try self.down() }
      let outcome = try? down.get()
      #expect(outcome?.status == 0, "\(down)")
    }
    try #require(up.status == 0, "\(up)")
    try body()
  }

  // MARK: In a node

  /// Through `netforge exec`.
  @discardableResult
  func exec(_ node: String, _ command: String..., input: String? = nil) throws -> Outcome {
    try exec(node, command, input: input)
  }

  @discardableResult
  func exec(_ node: String, _ command: [String], input: String? = nil) throws -> Outcome {
    try caller.netforge(["exec", "--name", name, node, "--"] + command, input: input)
  }

  /// Through iproute2 where the lab's namespaces are registered, else through `netforge exec`.
  @discardableResult
  func inside(_ node: String, _ command: String...) throws -> Outcome {
    guard caller == .kernel else { return try exec(node, command) }
    return try Host.run(["ip", "netns", "exec", "\(name)-\(node)"] + command)
  }

  /// The node's links, addresses or routes, as `ip -j` prints them.
  func ip(_ node: String, _ arguments: String...) throws -> [[String: Any]] {
    let outcome =
      caller == .kernel
      ? try Host.run(["ip", "-j", "-d", "-n", "\(name)-\(node)"] + arguments)
      : try exec(node, ["ip", "-j", "-d"] + arguments)
    try #require(outcome.status == 0, "\(outcome)")
    return try outcome.list()
  }

  /// `10.0.0.1/24`, of one device; link-local ones left out.
  func addresses(_ node: String, _ device: String) throws -> [String] {
    try ip(node, "addr", "show", "dev", device).flatMap { $0["addr_info"] as? [[String: Any]] ?? [] }
      .filter { $0["scope"] as? String == "global" }
      .compactMap { info in
        (info["local"] as? String).map { "\($0)/\(info["prefixlen"] as? Int ?? -1)" }
      }
  }

  /// Interface indexes by node and device, of these nodes.
  func indexes(_ nodes: String...) throws -> [String: Int] {
    var indexes: [String: Int] = [:]
    for node in nodes {
      for link in try ip(node, "link") {
        indexes["\(node)/\(link["ifname"] as? String ?? "")"] = link["ifindex"] as? Int
      }
    }
    return indexes
  }

  /// One echo request by the system's `ping`.
  func ping(_ node: String, _ address: String, _ options: String...) throws -> Echo {
    let outcome = try exec(node, ["ping", "-n", "-c", "1", "-W", "1"] + options + [address])
    let error = outcome.output.firstMatch(of: /From ([0-9a-f.:]+?):? icmp_seq=1 (.+)/)
    return Echo(
      isAnswered: outcome.status == 0,
      ttl: outcome.output.firstMatch(of: /ttl=(\d+)/).flatMap { Int($0.1) },
      refusedBy: error.map { String($0.1) }, refusal: error.map { String($0.2) }, text: "\(outcome)")
  }

  /// The body of an HTTP answer; nil when there is none within a second and a half.
  func get(_ node: String, _ url: String) throws -> String? {
    let outcome = try exec(node, "curl", "-sS", "-g", "-m", "1.5", url)
    return outcome.status == 0 ? outcome.output : nil
  }

  /// Sends a line over TCP and gives the line that comes back.
  func say(_ line: String, _ node: String, _ address: String, _ port: Int) throws -> String {
    let script =
      "exec 3<>/dev/tcp/\(address)/\(port) && echo '\(line)' >&3 && read -t 2 -u 3 answer && echo \"$answer\""
    return try exec(node, "timeout", "3", "bash", "-c", script).output.trimmingCharacters(in: .newlines)
  }

  /// A command under way in a node.
  func starting(_ node: String, _ command: [String]) throws -> RunningCommand {
    try Host.start(
      Stage.prefix + caller.command(["exec", "--name", name, node, "--"] + command, seconds: 60),
      environment: caller.environment)
  }

  /// A command that stays while the result is held, in a node, once it listens on a TCP port.
  func serving(_ node: String, port: Int, _ command: String...) throws -> RunningCommand {
    let running = try starting(node, command)
    for _ in 0..<100 {
      if try !exec(node, "ss", "-Hltn", "sport = :\(port)").output.isEmpty { return running }
      Thread.sleep(forTimeInterval: 0.05)
    }
    Issue.record("nothing listens on \(node):\(port): \(running.output)")
    return running
  }

  /// What a TCP server in one node sees as the address and port of a client in another.
  func appearance(of client: String, to server: String, at address: String, _ options: String...) throws
    -> String
  {
    let port = 9000
    let running = try serving(
      server, port: port, "ncat", "-k", "-l", "\(port)", "--sh-exec",
      "echo $NCAT_REMOTE_ADDR $NCAT_REMOTE_PORT")
    defer { running.stop() }
    return try exec(client, ["ncat", "--recv-only", "-w", "2"] + options + [address, "\(port)"]).output
      .trimmingCharacters(in: .newlines)
  }
}
