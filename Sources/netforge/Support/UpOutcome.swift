// SPDX-License-Identifier: GPL-2.0-or-later

// `netforge up` in the lab's own process: what it answers to an order, in the words that the verb prints.

import LabCore
import LabHost
import LabProcess
import Reconcile

extension UpOutcome {
  /// Carries out what the lab's own process is ordered.
  static func of(_ work: UpWork) async -> (outcome: UpOutcome, document: [UInt8]) {
    do {
      let plan = try await WantedLab.bringUp(by: work)
      let document = work.order.wantsDocument ? Array(try JSONText.of(plan.document).utf8) : []
      return (.done(changes: plan.changes.count), document)
    } catch {
      let failure = UpFailure(Failure(error) ?? Failure(.failed, "\(error)"))
      if case .declined(let plan)? = error as? ReconcileError {
        return (.disruptive(plan: plan.text(), failure), [])
      }
      return (.failed(failure), [])
    }
  }
}

extension UpFailure {
  fileprivate init(_ failure: Failure) {
    self.init(exitCode: failure.code, lines: failure.lines, isDiagnostics: failure.isDiagnostics)
  }
}

extension Failure {
  /// What a lab's own process could not do.
  init(_ failure: UpFailure) {
    self.init(.failed, lines: failure.lines)
    code = failure.exitCode
    isDiagnostics = failure.isDiagnostics
  }
}
