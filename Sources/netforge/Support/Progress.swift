// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Reconcile
import Synchronization

/// A line a stage with its time, on standard error and only where somebody looks.
final class Progress: Sendable {
  private let clock = MonotonicClock()
  private let last: Mutex<Instant>
  private let begin: Instant
  private let isShown = Terminal.isInteractive

  init() {
    begin = clock.now()
    last = Mutex(begin)
  }

  /// Time since the beginning, in milliseconds.
  var elapsed: String { Self.milliseconds(clock.now() - begin) }

  /// Says what has been done since the stage before.
  func stage(_ text: String) {
    let now = clock.now()
    let since = last.withLock { last in
      defer { last = now }
      return now - last
    }
    if isShown { Terminal.say("  \(text) (\(Self.milliseconds(since)))") }
  }

  /// Says what the reconciler begins.
  func follow(_ stage: Reconciler.Stage) {
    switch stage {
    case .limitations: break
    case .observe: self.stage("asked the datapath what it can do")
    case .plan: self.stage("observed")
    case .journal: self.stage("planned")
    case .apply(let title, let count): self.stage("begin: \(title), \(count) changes")
    case .verify: self.stage("applied")
    case .record: self.stage("verified")
    case .rollBack: Terminal.say("  a change failed; going back")
    }
  }

  private static func milliseconds(_ interval: Interval) -> String {
    "\((interval.nanoseconds + 500_000) / 1_000_000) ms"
  }
}
