// SPDX-License-Identifier: GPL-2.0-or-later

// Topology files as a user's machine has them: compiled by the toolchain that is there, against the language's source,
// run, and checked.

import Foundation
import LabCore
import Testing

@testable import TopologyModel

/// The language's module and the programs compiled against it, in a folder of their own.
final class CompiledTopologies: Sendable {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let compiler: String? =
    ["/usr/bin/swiftc", "/usr/local/bin/swiftc"].first {
      FileManager.default.isExecutableFile(atPath: $0)
    } ?? which("swiftc")

  /// Built once for all tests; nil when there is no toolchain.
  static let shared = CompiledTopologies()

  let folder: URL

  private init?() {
    guard Self.compiler != nil else { return nil }
    folder = FileManager.default.temporaryDirectory.appending(path: "netforge-compiled-\(UUID().uuidString)")
    try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let source = Self.root.appending(path: "Sources/Netforge")
    let files =
      (FileManager.default.enumerator(at: source, includingPropertiesForKeys: nil)?.compactMap { $0 as? URL }
      ?? [])
      .filter { $0.pathExtension == "swift" }.map(\.path)
    let (status, text) = Self.run(
      [
        "-parse-as-library", "-module-name", "Netforge", "-emit-module", "-emit-module-path",
        folder.appending(path: "Netforge.swiftmodule").path, "-emit-library", "-static", "-wmo", "-o",
        folder.appending(path: "libNetforge.a").path,
      ] + files)
    guard status == 0 else {
      Issue.record("the language does not compile: \(text)")
      return nil
    }
    CompiledFolders.removeAtExit(folder)
  }

  private static func which(_ name: String) -> String? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(name)" }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  private static func run(_ arguments: [String]) -> (Int32, String) {
    guard let compiler else { return (127, "") }
    let process = Process()
    process.executableURL = URL(filePath: compiler)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardError = pipe
    process.standardOutput = pipe
    guard (try? process.run()) != nil else { return (127, "") }
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }

  /// What the compiler says of a file, and what the program writes.
  func output(of source: String, named name: String, helper: String? = nil) throws -> (
    messages: String, bytes: [UInt8]
  ) {
    let work = folder.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: work, withIntermediateDirectories: true)
    let main = work.appending(path: "main.swift")
    try ("#sourceLocation(file: \"\(name).swift\", line: 1)\n" + source).write(
      to: main, atomically: true, encoding: .utf8)
    var files = [main.path]
    if let helper {
      files.append(work.appending(path: "helper.swift").path)
      try helper.write(toFile: files[1], atomically: true, encoding: .utf8)
    }
    let program = work.appending(path: "program")
    let (status, text) = Self.run(
      ["-I", folder.path, "-module-name", "topology", "-default-isolation", "MainActor", "-o", program.path]
        + files + [folder.appending(path: "libNetforge.a").path])
    guard status == 0 else { return (text, []) }
    let result = work.appending(path: "result")
    let shell = Process()
    shell.executableURL = URL(filePath: "/bin/sh")
    shell.arguments = ["-c", "exec \"$0\" 3>\"$1\" 2>/dev/null", program.path, result.path]
    shell.environment = ["NETFORGE_VAR_size": "7"]
    try shell.run()
    shell.waitUntilExit()
    return (text, try [UInt8](Data(contentsOf: result)))
  }
}

/// Leaves nothing behind when the tests end.
private enum CompiledFolders {
  nonisolated(unsafe) private static var folder: URL?

  static func removeAtExit(_ url: URL) {
    folder = url
    atexit { if let folder = CompiledFolders.folder { try? FileManager.default.removeItem(at: folder) } }
  }
}

@Suite(
  "A compiled topology file", .serialized,
  .enabled(if: CompiledTopologies.compiler != nil, "there is no swiftc on this machine"))
struct CompiledTests {
  private func declarations(_ source: String, _ name: String, helper: String? = nil) throws
    -> DeclarationStream
  {
    let compiled = try #require(CompiledTopologies.shared)
    let (messages, bytes) = try compiled.output(of: source, named: name, helper: helper)
    #expect(messages.isEmpty, "\(messages)")
    return try DeclarationStream(bytes)
  }

  private func messages(_ source: String) throws -> String {
    try #require(CompiledTopologies.shared).output(of: source, named: "topology").messages
  }

  static let examples: [String] =
    ((try? FileManager.default.contentsOfDirectory(
      atPath: CompiledTopologies.root.appending(path: "topologies").path)) ?? [])
    .filter { $0.hasSuffix(".swift") }.map { String($0.dropLast(6)) }.sorted()

  @Test("of the examples is a topology without a mistake", arguments: examples)
  func example(name: String) throws {
    let path = CompiledTopologies.root.appending(path: "topologies/\(name).swift")
    let stream = try declarations(String(contentsOf: path, encoding: .utf8), name)
    #expect(stream.isComplete)
    let topology = try Topology(stream.declarations)
    #expect(topology.name.text == name)
  }

  @Test("renders as its golden file says", arguments: ["shop", "everything", "fields"])
  func golden(name: String) throws {
    let folder = CompiledTopologies.root.appending(path: "Tests/TopologyModelGolden")
    let source =
      name == "shop"
      ? CompiledTopologies.root.appending(path: "topologies/shop.swift")
      : folder.appending(path: "\(name).swift.txt")
    let stream = try declarations(String(contentsOf: source, encoding: .utf8), name)
    let golden = folder.appending(path: "\(name).json")
    if ProcessInfo.processInfo.environment["NETFORGE_UPDATE_GOLDEN"] != nil {
      try stream.declarations.json.write(to: golden, atomically: true, encoding: .utf8)
    }
    #expect(stream.declarations.json == (try String(contentsOf: golden, encoding: .utf8)))
    do throws(TopologyErrors) { _ = try Topology(stream.declarations) } catch { Issue.record(error) }
  }

  @Test("with mistakes has each of them shown with its line")
  func mistakes() throws {
    let stream = try declarations(
      """
      import Netforge
      let lab = Topology("lab")
      let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
      let web = lab.node("web") {
        Interface("eth0", on: lan, address: "10.0.1.1/24")
        Interface("eth1")
        Service(.http(port: 0))
      }
      lab.link(web["eth2"], web["eth1"])
      lab.expect(web, reaches: web)
      """, "topology")
    let errors = #expect(throws: TopologyErrors.self) { _ = try Topology(stream.declarations) }
    #expect(errors?.errors.compactMap(\.location?.line) == [5, 7, 9, 10])
  }

  @Test(
    "with what does not belong is told so by the compiler in our words",
    arguments: [
      ("lab.node(\"a\") { 5 }", "a node's body holds items such as Interface"),
      ("lab.router(\"a\") { Firewall(policy: .drop) { 5 } }", "a firewall's body holds rules"),
      ("lab.node(\"a\") { Bridge(\"b\") { \"eth0\" } }", "a bridge's body holds ports"),
      ("lab.router(\"a\") { Table(\"t\") { 5 } }", "a table's body holds Chain"),
      (
        "lab.router(\"a\") { Table(\"t\") { Chain(\"c\", hook: .forward) { 5 } } }",
        "a chain's body holds rules"
      ),
      (
        "lab.router(\"a\") { Table(\"t\") { Chain(\"c\", hook: .postrouting) { Rule { MasqueradeTo() } } } }",
        "NAT stands in a NATRule"
      ),
      (
        "let s = NamedSet(\"s\", of: IP.source); _ = Rule { Update(s, with: IP.source) { Verdict.drop } }",
        "an element keeps Limit(…), Quota(…), Counter() and ConnectionLimit(…)"
      ),
      (
        "let s = NamedSet(\"s\", of: IP.source); _ = Rule { Add(s, with: TCP.destinationPort) }",
        "cannot convert value of type 'Selector<PortValue>'"
      ),
      (
        "lab.router(\"a\") { Table(\"t\") { Chain(\"c\", hook: .forward) { Rule { TCP.destinationPort.is(\"ssh\") } } } }",
        "cannot convert value of type 'String' to expected argument type 'PortValue'"
      ),
    ])
  func refused(line: String, expected: String) throws {
    let text = try messages("import Netforge\nlet lab = Topology(\"lab\")\n\(line)\n")
    #expect(text.contains("topology.swift:3"), "\(text)")
    #expect(text.contains(expected), "\(text)")
  }

  @Test("that crashes leaves the last declaration that it reached")
  func crash() throws {
    let stream = try declarations(
      """
      import Netforge
      let lab = Topology("lab")
      lab.node("a")
      let none: [Int] = []
      lab.node("b\\(none[1])")
      """, "topology")
    #expect(!stream.isComplete)
    #expect(stream.last?.what == "node 'a'")
    #expect(stream.last?.location.line == 3)
  }

  @Test("takes variables, and says which it asked for")
  func variables() throws {
    let stream = try declarations(
      """
      import Netforge
      let lab = Topology("lab")
      lab.node("n" + lab.variable("size"))
      lab.node("m" + lab.variable("other", default: "1"))
      _ = lab.variable("none")
      """, "topology")
    #expect(stream.variables == ["size", "other", "none"])
    #expect(
      stream.failures.map(\.description) == [
        "topology.swift:5: error: the variable 'none' has no value; give it with `--var none=…`"
      ])
    #expect(try Topology(stream.declarations).nodes.map(\.name.text) == ["n7", "m1"])
  }

  @Test("may declare in functions of helper files, not at their top level")
  func helper() throws {
    let source = """
      import Netforge
      let lab = Topology("lab")
      pair(lab)
      _ = stray
      """
    let helper = """
      import Netforge
      func pair(_ lab: Topology) { lab.node("a"); lab.node("b") }
      let stray = lab.node("c")
      """
    let stream = try declarations(source, "topology", helper: helper)
    #expect(stream.declarations.items.count == 3)
    let failure = try #require(stream.failures.first?.description)
    #expect(
      failure.hasPrefix(
        "helper.swift:3: error: a declaration at the top level of the helper file 'helper.swift'"))
  }
}
