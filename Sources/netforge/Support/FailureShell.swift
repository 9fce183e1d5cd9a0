// SPDX-License-Identifier: GPL-2.0-or-later

// A shell in a node while a failure is fresh: `netforge shell`, with this terminal, as if it had been typed beside.

import Glibc
import LabCore
import LabProcess
import Reconcile
import Spawn
import Synchronization
import SystemPackage
import TopologyModel

/// Opens one shell for a run.
final class FailureShell: Sendable {
  private let lab: LabName
  private let hasOpened = Atomic(false)

  init(of lab: LabUnderTest) { self.lab = lab.name }

  /// For the first failure; returns when the shell has ended.
  func open(for result: CheckResult) async {
    guard let node = result.check.expectation.claim.node,
      !hasOpened.exchange(true, ordering: .acquiringAndReleasing)
    else { return }
    Terminal.say("\(result.check.title): \(result.seen)")
    if let way = result.way { Terminal.say("\(way.packet): \(way.end)") }
    Terminal.say("a shell in node '\(node)' of lab '\(lab)'; the test goes on when it ends")
    var request = SpawnRequest(
      .path("/proc/self/exe"), arguments: ["netforge", "shell", node.text, "--name", lab.text],
      environment: NodeEntry.ownEnvironment())
    request.descriptors = [0, 1, 2].map { .init(FileDescriptor(rawValue: $0), as: $0) }
    let shell = request
    let failure = await blocking { () -> SpawnError? in
      do throws(SpawnError) { _ = try shell.spawn().wait() } catch { return error }
      return nil
    }
    if let failure { Terminal.say("no shell could be opened: \(failure)") }
  }
}

extension Topology.Expectation.Claim {
  /// The node that sends, or is asked.
  fileprivate var node: NodeName? {
    switch self {
    case .reaches(let flow, _, _), .cannotReach(let flow, _), .appears(let flow, _), .path(let flow, _),
      .spread(let flow, _, _), .stays(let flow, _), .pathMTU(let flow, _), .throughput(let flow, _, _),
      .loss(let flow, _, _), .dropped(let flow, _, _):
      flow.source
    case .samePort(let flows, _): flows.first?.source
    case .route(let node, _, _, _), .neighbor(let node, _, _, _, _), .counts(let node, _, _),
      .runs(let node, _, _, _):
      node
    case .learned(_, let device, _): device.node
    case .isolated(let groups, _): groups.first?.first
    case .mesh(let nodes, _, _), .keeps(let nodes): nodes.first
    case .differences, .cleanDown: nil
    }
  }
}
