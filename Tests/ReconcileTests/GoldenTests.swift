// SPDX-License-Identifier: GPL-2.0-or-later

// One folder a case: the topology that is up (current.json, absent for none), the one that shall be (desired.json), and
// the plan that leads there (plan.txt). NETFORGE_GOLDEN=write writes the plans anew; look at what changed.

import Foundation
import LabCore
import Reconcile
import Testing
import TopologyModel

@Suite("Golden plans")
struct GoldenTests {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")

  static var cases: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: root.path())) ?? []).sorted()
  }

  static func topology(_ name: String, _ file: String) throws -> Topology? {
    let url = root.appending(path: "\(name)/\(file).json")
    guard let data = try? Data(contentsOf: url) else { return nil }
    return try Topology(try Declarations(json: Array(data)))
  }

  @Test("The plan is the one written down, and it leads there", arguments: cases)
  func golden(name: String) throws {
    var kernel = ModelKernel()
    var allocations = Allocations()
    if let current = try Self.topology(name, "current") {
      let resolution = try Resolver().resolve(current)
      allocations = resolution.allocations
      let (plan, refusal, rest) = PlannerPropertyTests.reach(resolution.state, &kernel)
      #expect(refusal == nil && rest.isEmpty, "\(plan.text(verbose: true))")
    }
    let desired = try #require(try Self.topology(name, "desired"))
    let resolution = try Resolver(previous: allocations).resolve(desired)
    let (plan, refusal, rest) = PlannerPropertyTests.reach(resolution.state, &kernel)
    #expect(refusal == nil)
    #expect(rest.isEmpty, "\(rest.text())")
    let url = Self.root.appending(path: "\(name)/plan.txt")
    let text = plan.text() + "\n"
    if ProcessInfo.processInfo.environment["NETFORGE_GOLDEN"] == "write" {
      try Data(text.utf8).write(to: url)
    }
    #expect(text == (try? String(contentsOf: url, encoding: .utf8)))
  }

  @Test("There are cases")
  func present() {
    #expect(Self.cases.count >= 15)
  }
}
