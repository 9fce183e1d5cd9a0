// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import Glibc
import LabCore
import Manifest
import Spawn
import Testing
import TopologyModel

@Suite("Beginning and editing", .serialized, .enabled(if: hasToolchain, "needs a Swift toolchain"))
struct EditingTests {
  @Test("The first topology loads, and is not written over another")
  func template() async throws {
    let fixture = try Fixture()
    try TopologyTemplate.write(to: "\(fixture.path)/topology.swift", lab: "mine")
    let stream = try DeclarationStream(try await fixture.load().bytes)
    #expect(stream.isComplete && stream.failures.isEmpty)
    let topology = try Topology(stream.declarations)
    #expect(topology.name.text == "mine")
    #expect(topology.nodes.count == 4)
    let error = #expect(throws: ManifestError.self) {
      try TopologyTemplate.write(to: "\(fixture.path)/topology.swift", lab: "mine")
    }
    #expect(error?.message.contains("there already") == true)
  }

  @Test("Topologies of a folder are told from helpers and from other Swift files")
  func topologies() throws {
    let fixture = try Fixture([
      "b.swift": topology(""), "a.swift": topology(""),
      "h.swift": "import Netforge\nfunc f(_ t: Topology) {}\n",
      "x.swift": "struct Topology {}\nlet t = Topology()\n",
    ])
    #expect(Manifest.topologies(in: fixture.path) == ["a.swift", "b.swift"])
  }

  @Test("What the editor is told lets the compiler check each file as it stands")
  func editing() async throws {
    let fixture = try Fixture([
      "main.swift": topology("addHosts(to: lab)"), "one.swift": topology("lab.node(\"a\")"),
      "hosts.swift": "import Netforge\nfunc addHosts(to lab: Topology) { lab.node(\"h\") }\n",
    ])
    var options = ManifestOptions()
    options.cache = Fixture.sharedCache
    for _ in 0..<2 {
      _ = try await Manifest.prepareEditing(of: "\(fixture.path)/main.swift", options: options)
    }
    let data = try Data(contentsOf: URL(fileURLWithPath: "\(fixture.path)/compile_commands.json"))
    let entries = try #require(try JSONSerialization.jsonObject(with: data) as? [[String: Any]])
    #expect(Set(entries.compactMap { $0["file"] as? String }) == ["main.swift", "one.swift", "hosts.swift"])
    for entry in entries {
      let arguments = try #require(entry["arguments"] as? [String])
      let request = SpawnRequest(
        .path(arguments[0]), arguments: arguments + ["-typecheck"], environment: ["PATH=/usr/bin:/bin"],
        directory: entry["directory"] as? String)
      let output = try request.run(
        capturing: [OutputCapture(1, limit: 10_000), OutputCapture(2, limit: 10_000)], timeout: .seconds(60))
      #expect(output.status == .exited(0), "\(output.text(2))\(output.text(1))")
    }
  }

  @Test("A compile_commands.json of somebody else is left alone")
  func foreign() async throws {
    let fixture = try Fixture([
      "topology.swift": topology(""), "compile_commands.json": "[{\"file\": \"x.c\"}]",
    ])
    var options = ManifestOptions()
    options.cache = Fixture.sharedCache
    let path = "\(fixture.path)/topology.swift"
    let error = await #expect(throws: ManifestError.self) {
      try await Manifest.prepareEditing(of: path, options: options)
    }
    #expect(error?.message.contains("not netforge's") == true)
  }
}
