// SPDX-License-Identifier: GPL-2.0-or-later

// Whether a lab that has been tried leaves the host as it was: looked at before the lab comes up and when it is gone.

import KernelDatapath
public import LabCore
import LabProcess
import NetTypes
public import Reconcile
import TopologyModel

/// The host as it was before a test's labs.
public struct HostWatch: Sendable {
  private let before: HostImage
  /// The host's settings that labs had changed already.
  private let claimed: Set<String>
  /// The kernel takes namespaces away behind the back of who asked for it.
  private static let patience = Interval.seconds(5)

  /// Looks at the host. Nil when no expectation is about it.
  public init?(for checks: [Check]) async throws(DatapathError) {
    guard checks.contains(where: { $0.expectation.claim == .cleanDown }) else { return nil }
    claimed = Self.settings(besides: nil)
    before = try await Self.look()
  }

  private static func look() async throws(DatapathError) -> HostImage {
    let result: Result<HostImage, DatapathError> = await blocking {
      do throws(DatapathError) { return .success(try HostImage()) } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// The host's settings that labs have changed.
  private static func settings(besides lab: LabName?) -> Set<String> {
    let others = LabFolders.ofCaller.list().filter { $0.lab != lab }
    return Set(others.flatMap { ((try? $0.hostSettings()) ?? [:]).keys })
  }

  /// Gives the verdict of those expectations of a run that are about what is left of its lab, which is gone.
  public func judge(_ report: inout TestReport) async {
    for index in report.results.indices where report.results[index].check.expectation.claim == .cleanDown {
      await judge(&report.results[index], report.lab)
      // It took the host's time, of which a run on virtual time knows nothing.
      if report.isVirtual { report.results[index].duration = .zero }
    }
  }

  private func judge(_ result: inout CheckResult, _ lab: LabName) async {
    let clock = MonotonicClock()
    let begin = clock.now()
    do throws(DatapathError) {
      while true {
        let image = try await Self.look()
        let differences = image.differences(
          from: before, of: lab, claimed: claimed.union(Self.settings(besides: lab)))
        let isOver = clock.now() >= begin + Self.patience || Task.isCancelled
        if differences.isEmpty || isOver {
          result.verdict =
            differences.isEmpty ? .pass : result.check.expectation.isWarning ? .warning : .fail
          result.seen =
            differences.first ?? (["the host is as it was"] + image.unread).joined(separator: "; but not ")
          result.details = Array(differences.dropFirst())
          break
        }
        await clock.sleep(until: clock.now() + .milliseconds(20))
      }
    } catch {
      result.verdict = .inconclusive
      result.seen = error.description
    }
    result.attempts += 1
    result.duration = clock.now() - begin
  }
}
