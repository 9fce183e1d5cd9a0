// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import LabProcess
import NetTypes
import Synchronization

/// A line a stage with the time that it took, on standard error and only where somebody looks.
final class Progress: Sendable {
  private let clock = MonotonicClock()
  private let begin: Instant
  private let current: Mutex<(title: String, since: Instant)>
  private let isShown = Terminal.isInteractive

  /// Begins with the first stage.
  init(_ title: String) {
    begin = clock.now()
    current = Mutex((title, begin))
  }

  /// Time since the beginning, in milliseconds.
  var elapsed: String { Self.milliseconds(clock.now() - begin) }

  /// Ends the stage before and begins the next; nil ends the last.
  func stage(_ title: String?) {
    let now = clock.now()
    let ended = current.withLock { current in
      defer { current = (title ?? "", now) }
      return current
    }
    guard isShown, !ended.title.isEmpty else { return }
    Terminal.say("  \(ended.title) (\(Self.milliseconds(now - ended.since)))")
  }

  /// Says what happens while a lab comes up.
  func follow(_ event: UpEvent) {
    switch event {
    case .stage(let title): stage(title)
    case .notice(let text): Terminal.say(text)
    }
  }

  private static func milliseconds(_ interval: Interval) -> String {
    "\((interval.nanoseconds + 500_000) / 1_000_000) ms"
  }
}
