// SPDX-License-Identifier: GPL-2.0-or-later

// Whole topologies by the way that `netforge up` goes, with every message of it refused once.

import Glibc
import LabCore
import LinuxObjects
import Manifest
import Reconcile
import Synchronization
import Testing
import TopologyModel

@testable import KernelDatapath

@Suite(
  "Whole topologies, refused at each message", .serialized,
  .enabled(if: Requirements.isRoot, Requirements.reason))
struct FaultSweepTests {
  /// Refuses one action of those that a lab's own namespaces see.
  private final class Refusal: Sendable {
    private let state = Mutex((count: 0, failing: Int.max))

    /// What has been done since `arm`.
    var count: Int { state.withLock { $0.count } }

    func arm(_ number: Int) { state.withLock { $0 = (0, number) } }

    func callAsFunction(_ action: KernelAction) -> Int32? {
      // What the kernel can do is tried out beside the lab.
      if case .message(_, namespace: "to try things") = action { return nil }
      return state.withLock { state in
        state.count += 1
        return state.count == state.failing ? EIO : nil
      }
    }
  }

  private static func desired(_ topology: String, as lab: LabName) async throws -> Resolution {
    let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
      .joined(separator: "/")
    let manifest = try await Manifest.load("\(folder)/topologies/\(topology).swift")
    let stream = try DeclarationStream(manifest.bytes, paths: manifest.paths)
    return try Resolver().resolve(try Topology(stream.declarations.renamed(lab.text)))
  }

  @Test(
    "A first up that the kernel refuses at any message leaves the host as it was",
    arguments: ["container-host", "ipv6"])
  func firstUp(topology: String) async throws {
    let refusal = Refusal()
    try await TestLab.with("objsweep", faults: { refusal($0) }) { lab in
      let resolution = try await Self.desired(topology, as: lab.name)
      let limitations = try await lab.datapath.limitations(for: resolution.state, running: resolution.runtime)
      if let limitation = limitations.first { try Test.cancel("a limitation of this host: \(limitation)") }
      var template = Array("/tmp/nf-sweep.XXXXXX".utf8CString)
      let labs = LabFolders(root: try #require(mkdtemp(&template).map { String(cString: $0) }))
      defer { rmdir(labs.root) }
      func up() async throws {
        let folder = try labs.make(lab.name)
        let reconciler = Reconciler(datapath: lab.datapath, folder: folder, runtime: resolution.runtime)
        let description = Reconciler.Description(
          datapath: .kernel, sources: resolution.sources, allocations: resolution.allocations)
        do {
          _ = try await reconciler.up(resolution.state, as: description, holding: folder.lock())
        } catch {
          try folder.remove()
          throw error
        }
      }
      let before = try LabTests.hostState(lab)
      refusal.arm(.max)
      try await up()
      let total = refusal.count
      try await Reconciler(datapath: lab.datapath, folder: labs.make(lab.name))
        .down(holding: labs.make(lab.name).lock())
      #expect(try LabTests.hostState(lab) == before)
      #expect(total > 30)
      for number in 1...total {
        refusal.arm(number)
        do {
          try await up()
          Issue.record("refusal \(number) of \(total) was not noticed")
        } catch let error as ReconcileError {
          guard case .failed(let failure) = error, case .removed = failure.aftermath else {
            Issue.record("refusal \(number) of \(total): \(error)")
            continue
          }
          #expect(failure.cause.errno == EIO && failure.cause.path != nil, "\(number): \(failure)")
        }
      }
      refusal.arm(.max)
      #expect(try LabTests.hostState(lab) == before)
    }
  }
}
