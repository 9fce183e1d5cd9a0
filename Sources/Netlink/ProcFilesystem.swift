// SPDX-License-Identifier: GPL-2.0-or-later

// Where the settings of namespaces are found. `/proc/sys/net/ipv4` is another folder in each namespace, yet all hang
// below one name, and the kernel looks through all that it has seen to find the right one (proc_sys_compare): with a
// thousand namespaces this takes longer than making them. What one file system has seen, another has not.

import CLinux
import Glibc
import Synchronization

/// A proc file system (proc(5)).
final class ProcFilesystem: Sendable {
  /// A descriptor of its root; AT_FDCWD, which absolute paths pass over, for `/proc` itself.
  let root: Int32
  /// How paths in it begin.
  let prefix: String

  /// The one that everybody sees.
  static let common = ProcFilesystem(root: AT_FDCWD, prefix: "/proc/")

  private init(root: Int32, prefix: String) {
    self.root = root
    self.prefix = prefix
  }

  deinit { if root != AT_FDCWD { _ = Glibc.close(root) } }

  /// Namespaces that the common one serves, and then each further one. What was looked at in the common one is still
  /// known there to the next process, which most labs gain more by than they lose.
  private static let first = 256
  private static let share = 64

  private struct Allotment {
    var filesystem = ProcFilesystem.common
    var left = ProcFilesystem.first
  }

  private static let allotment = Mutex(Allotment())

  /// The file system for one namespace more. Whoever may not make another stays with the one there is.
  static func forOneMore() -> ProcFilesystem {
    allotment.withLock { allotment in
      if allotment.left == 0 {
        let root = nf_proc_new()
        if root >= 0 { allotment.filesystem = ProcFilesystem(root: root, prefix: "") }
        allotment.left = share
      }
      allotment.left -= 1
      return allotment.filesystem
    }
  }
}
