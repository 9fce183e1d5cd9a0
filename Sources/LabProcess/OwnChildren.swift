// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc
import Synchronization

/// The programs that this process started in nodes, so that who waits for orphans leaves them to who started them.
enum OwnChildren {
  private static let pids = Mutex<Set<Int32>>([])

  static func add(_ pid: Int32) { pids.withLock { _ = $0.insert(pid) } }

  static func contains(_ pid: Int32) -> Bool { pids.withLock { $0.contains(pid) } }

  /// Forgets those that are waited for.
  static func forgetEnded() {
    pids.withLock { pids in pids = pids.filter { kill($0, 0) == 0 || errno != ESRCH } }
  }
}
