// SPDX-License-Identifier: GPL-2.0-or-later

// What the emulated kernel cannot do for a lab. The kernel itself says it: the whole lab is made on another one, which is
// thrown away, so what it learns to do is no limitation from that day on.

public import LabCore
import LinuxObjects
import NetStack
import NetTypes
import Synchronization

extension EmulatedDatapath {
  public func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    var joined: Set<InterfaceName> = []
    for thread in threads { joined.formUnion(await thread.perform { $0.edges.openTaps }) }
    return Self.limitations(of: runtime) + hostLimitations(of: desired, joined: joined)
      + rehearse(desired.inLab)
  }

  private func rehearse(_ desired: LabState) -> [Limitation] {
    if let known = rehearsed.withLock({ $0 }), known.state == desired { return known.limitations }
    let kernel = EmulatedKernel(lab: lab, .throwaway, now: Instant(nanoseconds: 0))
    var rehearsal = Rehearsal(of: desired.lab, on: EmulatedMachine([kernel]))
    let limitations = rehearsal.run(desired).map { refusal in
      Limitation(path: refusal.path, cause: refusal.error.cause, remedy: Self.remedy)
    }
    rehearsed.withLock { $0 = (desired, limitations) }
    return limitations
  }

  private static let remedy = "use --datapath kernel or rootless, or leave it out"

  private static func limitations(of runtime: LabRuntime) -> [Limitation] {
    var causes: Set<String> = []
    var result: [Limitation] = []
    for node in runtime.nodes {
      let needs = (node.commands + node.programs).map {
        ("the emulated datapath runs no programs (Run, Exec) yet", $0.location)
      }
      for (cause, location) in needs where causes.insert(cause).inserted {
        result.append(
          Limitation(path: StatePath(.node(node.node)), location: location, cause: cause, remedy: remedy))
      }
    }
    return result
  }
}
