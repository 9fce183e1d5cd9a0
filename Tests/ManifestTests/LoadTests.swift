// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import Manifest
import Nftables
import Spawn
import Testing
import TopologyModel

@Suite("Loading topologies", .serialized, .enabled(if: hasToolchain, "needs a Swift toolchain"))
struct LoadTests {
  @Test("A topology comes out as its declarations, the second time from the cache")
  func loads() async throws {
    let fixture = try Fixture(["topology.swift": topology("lab.node(\"a\")\nprint(\"hello\")")])
    let first = try await fixture.load()
    #expect(first.origin == .compiled)
    #expect(first.format == .program)
    #expect(first.text.contains("\"kind\":\"node\",\"name\":\"a\""))
    #expect(first.text.contains("\"file\":\"topology.swift\",\"line\":3"))
    #expect(first.printed == "hello\n")
    #expect(first.paths["topology.swift"] == "\(fixture.path)/topology.swift")
    let clock = ContinuousClock()
    let begin = clock.now
    let second = try await fixture.load()
    print("warm load: \(clock.now - begin)")
    #expect(second.origin == .cache)
    #expect(second.bytes == first.bytes)
    #expect(second.printed == "hello\n")
    try fixture.write("topology.swift", topology("lab.node(\"b\")"))
    #expect(try await fixture.load().text.contains("\"name\":\"b\""))
  }

  @Test("Every topology of the folder of examples compiles and runs")
  func examples() async throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "../../topologies"
    ).path
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) where name.hasSuffix(".swift") {
      var options = ManifestOptions()
      options.cache = Fixture.sharedCache
      let loaded = try await Manifest.load("\(folder)/\(name)", options: options)
      #expect(loaded.text.contains("\"name\":\"\(name.dropLast(6))\""))
    }
  }

  @Test("What does not compile is told with the user's file and line")
  func doesNotCompile() async throws {
    let fixture = try Fixture([
      "topology.swift": topology("let a = lab.node(\"a\")\nlab.link(gw[\"x\"], a[\"y\"])")
    ])
    let error = await #expect(throws: ManifestError.self) { try await fixture.load() }
    #expect(error?.code == .compile)
    #expect(error?.exitCode == 65)
    #expect(
      error?.log.contains("\(fixture.path)/topology.swift:4:10: error: cannot find 'gw' in scope") == true)
    #expect(error?.log.contains("main.swift") == false)
  }

  @Test("What loops for ever is stopped")
  func loops() async throws {
    let fixture = try Fixture(["topology.swift": topology("lab.node(\"last\")\nwhile true {}")])
    let error = await #expect(throws: ManifestError.self) {
      try await fixture.load { $0.limits.time = .milliseconds(500) }
    }
    #expect(error?.code == .program)
    #expect(error?.message.contains("did not end within 500 ms") == true)
    #expect(
      error?.message.contains("node 'last' (\(fixture.path)/topology.swift:3)") == true, "\(error as Any)")
  }

  @Test("Much output is cut; a gigabyte of it is refused, and a gigabyte of declarations")
  func gigabyte() async throws {
    func printing(_ lines: Int) -> String {
      topology("let line = String(repeating: \"x\", count: 1 << 18)\nfor _ in 0..<\(lines) { print(line) }")
    }
    let fixture = try Fixture(["topology.swift": printing(1)])
    let loaded = try await fixture.load()
    #expect(loaded.printed.utf8.count < 70_000)
    #expect(loaded.printed.contains("… and 196609 bytes more"))
    try fixture.write("topology.swift", printing(4096))
    let talkative = await #expect(throws: ManifestError.self) { try await fixture.load() }
    #expect(talkative?.message.contains("printed more than 1 MiB") == true)
    try fixture.write(
      "topology.swift",
      topology("let name = String(repeating: \"x\", count: 1 << 20)\nfor _ in 0..<1024 { lab.node(name) }"))
    let error = await #expect(throws: ManifestError.self) {
      try await fixture.load { $0.limits.declarations = 4 << 20 }
    }
    #expect(error?.message.contains("wrote more than 4 MiB") == true)
  }

  @Test("A crash is told with its words and the last declaration reached")
  func crashes() async throws {
    let fixture = try Fixture([
      "topology.swift": topology("lab.node(\"a\")\nlet n = [1, 2]\nlab.node(\"b\\(n[n.count])\")")
    ])
    let error = await #expect(throws: ManifestError.self) { try await fixture.load() }
    #expect(error?.message.contains("crashed with signal") == true)
    #expect(error?.message.contains("the last declaration reached was node 'a'") == true)
    #expect(error?.log.contains("Index out of range") == true, "\(error?.log ?? "")")
  }

  @Test(
    "Other ways to end badly have their own words",
    arguments: [
      ("import Glibc\nexit(3)", "exit code 3"), ("import Glibc\n_exit(0)", "did not run to its end"),
      ("import Glibc\nwrite(3, \"xyz\\n\", 4)", "descriptor 3"), ("import Glibc\nabort()", "signal 6"),
      (
        "var a: [[Int]] = []\nwhile true { a.append([Int](repeating: 1, count: 1 << 20)) }",
        "crashed with signal"
      ),
    ])
  func ends(body: String, words: String) async throws {
    let fixture = try Fixture(["topology.swift": topology(body)])
    let error = await #expect(throws: ManifestError.self) { try await fixture.load() }
    #expect(error?.message.contains(words) == true, "\(error as Any)")
  }

  @Test("A file that declares nothing is told what it lacks")
  func nothing() async throws {
    let fixture = try Fixture(["topology.swift": "print(1)\n", "empty.swift": " \n"])
    let error = await #expect(throws: ManifestError.self) { try await fixture.load() }
    #expect(error?.message.contains("declares nothing") == true)
    let empty = await #expect(throws: ManifestError.self) { try await fixture.load("empty.swift") }
    #expect(empty?.message.contains("is empty") == true)
    let missing = await #expect(throws: ManifestError.self) { try await fixture.load("none.swift") }
    #expect(missing?.message == "cannot read '\(fixture.path)/none.swift': No such file or directory")
  }

  @Test("Variables reach the topology and are part of the key")
  func variables() async throws {
    let fixture = try Fixture([
      "topology.swift": topology("lab.node(lab.variable(\"who\", default: \"nobody\"))")
    ])
    #expect(try await fixture.load().text.contains("\"name\":\"nobody\""))
    #expect(try await fixture.load { $0.variables = ["who": "me"] }.text.contains("\"name\":\"me\""))
    #expect(try await fixture.load().text.contains("\"name\":\"nobody\""))
  }

  @Test("lab.read gives files of the folder only, and a changed one changes the result")
  func reads() async throws {
    let fixture = try Fixture([
      "topology.swift": topology("lab.node(\"n-\" + lab.read(\"name.txt\"))"), "name.txt": "one",
      "outside.swift": topology("lab.node(lab.read(\"../../etc/passwd\"))"),
      "link.swift": topology("lab.node(lab.read(\"link.txt\"))"),
    ])
    // A private folder is no hindrance: the file is read for the program, not by it.
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: fixture.path)
    try FileManager.default.createSymbolicLink(
      atPath: "\(fixture.path)/link.txt", withDestinationPath: "/etc/passwd")
    #expect(try await fixture.load().text.contains("\"name\":\"n-one\""))
    #expect(try await fixture.load().origin == .cache)
    try fixture.write("name.txt", "two")
    let changed = try await fixture.load()
    #expect(changed.origin == .compiled)
    #expect(changed.text.contains("\"name\":\"n-two\""))
    for name in ["outside.swift", "link.swift"] {
      let text = try await fixture.load(name).text
      #expect(text.contains("\"kind\":\"failure\"") && text.contains("Invalid cross-device link"))
      #expect(!text.contains("root:"))
    }
  }

  @Test(
    "A ruleset in nft's language comes as nft's JSON, with what nft says against it, and reads no other file",
    .enabled(
      if: geteuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/sbin/nft"),
      "needs root and nft"))
  func rulesets() async throws {
    func node(_ file: String) -> String { topology("lab.node(\"gw\") { Ruleset(file: \"\(file)\") }") }
    let fixture = try Fixture([
      "topology.swift": node("good.nft"), "bad.swift": node("bad.nft"), "include.swift": node("include.nft"),
      "absent.swift": node("absent.nft"),
      "good.nft":
        "define port = 22\ntable inet t {\n chain c {\n  type filter hook input priority 0\n"
        + "  tcp dport $port counter drop\n }\n}\n",
      "bad.nft": "table inet t {\n chain c {\n  tcp dport nonsense drop\n }\n}\n",
      "include.nft": "include \"/etc/shadow\"\n",
    ])
    let good = try await fixture.load()
    let declared = try good.declarations()
    let made = try Topology(declared)
    let rules = made.nodes.first?.rulesets.first?.tables.first?.chains.first?.rules
    #expect(rules?.count == 1 && rules?.first?.statements.count == 3, "\(good.text)")
    #expect(rules?.first?.position?.line == 3)
    for (name, message) in [
      ("bad.swift", "bad.nft:3:"),
      ("include.swift", Confinement.landlockABI > 0 ? "include.nft:1:" : "this kernel has no Landlock"),
      ("absent.swift", "No such file"),
    ] {
      let loaded = try await fixture.load(name)
      #expect(!loaded.text.contains("root:"))
      let declarations = try loaded.declarations()
      let error = #expect(throws: TopologyErrors.self) { try Topology(declarations) }
      #expect("\(error.map { "\($0)" } ?? "")".contains(message), "\(error.map { "\($0)" } ?? "")")
    }
  }

  @Test("Helpers are the files of the folder that import Netforge and make no topology")
  func helpers() async throws {
    let fixture = try Fixture([
      "topology.swift": topology("addHosts(to: lab, count)"),
      "hosts.swift":
        "import Netforge\n// Topology(\"in a comment\")\nlet count = 3\nfunc addHosts(to lab: Topology, _ n: Int) {\n"
        + "  for i in 0..<n { lab.node(\"h\\(i)\") }\n}\n",
      "other.swift": "import Netforge\nlet lab = Topology(\"other\")\n", "broken.swift": "this is not Swift",
    ])
    let loaded = try await fixture.load()
    #expect(
      loaded.text.contains("\"name\":\"h2\",\"file\":\"hosts.swift\",\"line\":5")
        || loaded.text.contains("\"file\":\"hosts.swift\",\"line\":5"))
    #expect(loaded.paths["hosts.swift"] == "\(fixture.path)/hosts.swift")
    try fixture.write(
      "hosts.swift", "import Netforge\nlet count = \"a\"\nfunc addHosts(to lab: Topology, _ n: Int) {}\n")
    let error = await #expect(throws: ManifestError.self) { try await fixture.load() }
    #expect(error?.log.contains("error: cannot convert value of type 'String'") == true)
  }

  @Test("Rendered JSON passes through")
  func rendered() async throws {
    let fixture = try Fixture(["topology.json": " {\"schemaVersion\": {}}"])
    let loaded = try await fixture.load("topology.json")
    #expect(loaded.format == .rendered && loaded.origin == .rendered)
    #expect(loaded.text == " {\"schemaVersion\": {}}")
  }

  @Test("Standard input is named as such in messages")
  func standardInput() async throws {
    var options = ManifestOptions()
    options.cache = Fixture.sharedCache
    let loaded = try await Manifest.load(text: Array(topology("lab.node(\"a\")").utf8), options: options)
    #expect(loaded.paths["<stdin>"] == "<stdin>")
    #expect(loaded.text.contains("\"file\":\"<stdin>\""))
  }

  @Test("Without a toolchain the message says where to render")
  func noToolchain() async throws {
    let fixture = try Fixture(["topology.swift": topology("")])
    let error = await #expect(throws: ManifestError.self) {
      try await fixture.load { $0.environment = ["NETFORGE_TOOLCHAIN": "/nowhere"] }
    }
    #expect(error?.exitCode == 69)
    #expect(error?.message.contains("netforge render") == true)
  }

  @Test("Many loads at once, the first of a cache among them, all succeed")
  func concurrent() async throws {
    let fixture = try Fixture()
    let cache = "\(fixture.path)/cache"
    for index in 0..<4 { try fixture.write("t\(index).swift", topology("lab.node(\"n\(index)\")")) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<8 {
        group.addTask {
          let loaded = try await fixture.load("t\(index % 4).swift") { $0.cache = cache }
          #expect(loaded.text.contains("\"name\":\"n\(index % 4)\""))
        }
      }
      try await group.waitForAll()
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: "\(cache)/tmp").isEmpty)
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: "\(cache)/language")
        .filter { !$0.hasSuffix(".lock") }.count == 1)
  }

  @Test("A cache that others may write to is not used")
  func foreignCache() async throws {
    let fixture = try Fixture(["topology.swift": topology("")])
    try FileManager.default.createDirectory(
      atPath: "\(fixture.path)/cache", withIntermediateDirectories: true)
    try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: "\(fixture.path)/cache")
    let error = await #expect(throws: ManifestError.self) {
      try await fixture.load { $0.cache = "\(fixture.path)/cache" }
    }
    #expect(error?.message.contains("only you can write") == true)
  }
}

@Suite("The sandbox of topologies", .serialized, .enabled(if: hasToolchain, "needs a Swift toolchain"))
struct SandboxTests {
  @Test("What is not computing fails")
  func denied() async throws {
    let calls = [
      "socket(AF_INET, 1, 0)", "socket(AF_UNIX, 1, 0)", "socket(AF_NETLINK, 3, 0)",
      "open(\"/tmp/netforge-sandbox\", O_WRONLY | O_CREAT, 0o600)", "open(\"/etc/shadow\", O_RDONLY)",
      "open(\"/etc/passwd\", O_RDONLY)", "open(\"/dev/null\", O_RDWR)",
      "mkdir(\"/tmp/netforge-sandbox\", 0o700)",
      "kill(getppid(), 0)", "kill(-1, 0)", "chdir(\"/tmp\")", "unlink(\"/etc/hostname\")",
      "execv(\"/bin/true\", [strdup(\"true\"), nil])", "setuid(0)", "spawn()",
    ]
    var text = "import Glibc\nimport Netforge\nlet lab = Topology(\"x\")\n"
    text += "func spawn() -> Int32 {\n  var pid = pid_t()\n"
    text +=
      "  return posix_spawn(&pid, \"/bin/true\", nil, nil, [strdup(\"true\"), nil], environ) == 0 ? 0 : -1\n}\n"
    for (index, call) in calls.enumerated() { text += "let r\(index): Int32 = \(call)\nprint(r\(index))\n" }
    let fixture = try Fixture(["topology.swift": text])
    let results = try await fixture.load().printed.split(separator: "\n")
    #expect(results.count == calls.count)
    for (call, result) in zip(calls, results) {
      // What anybody may read only Landlock keeps from it.
      if Confinement.landlockABI == 0, call.contains("/etc/passwd") { continue }
      #expect(result == "-1", "\(call)")
    }
    #expect(!FileManager.default.fileExists(atPath: "/tmp/netforge-sandbox"))
  }

  @Test("A fork bomb starts nothing, and threads end with the program")
  func bomb() async throws {
    let fixture = try Fixture([
      "topology.swift": "import Glibc\nimport Netforge\nlet lab = Topology(\"x\")\nlet call = 57 as Int\n"
        + "let fork = dlsym(UnsafeMutableRawPointer(bitPattern: 0), \"fork\")\n"
        + "typealias Fork = @convention(c) () -> Int32\nvar made = 0\n"
        + "for _ in 0..<1000 where unsafeBitCast(fork, to: Fork.self)() >= 0 { made += 1 }\nprint(made)\n"
    ])
    #expect(try await fixture.load().printed == "0\n")
  }

  @Test("The environment holds the variables and nothing of the caller's")
  func environment() async throws {
    let fixture = try Fixture([
      "topology.swift": "import Glibc\nimport Netforge\nlet lab = Topology(\"x\")\nvar e = environ\n"
        + "while let t = e.pointee { print(String(cString: t)); e += 1 }\nprint(getuid() != 0)\n"
    ])
    let printed = try await fixture.load { $0.variables = ["a": "b c"] }.printed
    #expect(printed == "NETFORGE_VAR_a=b c\nSWIFT_DETERMINISTIC_HASHING=1\nSWIFT_BACKTRACE=enable=no\ntrue\n")
  }
}
