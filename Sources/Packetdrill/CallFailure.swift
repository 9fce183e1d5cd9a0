// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc
import NetStack

/// Why a call fails, as errno tells it.
struct CallFailure: Error {
  let errno: Int32

  init(_ errno: Int32) { self.errno = errno }
  init(_ error: KernelError) { errno = error.errno }

  static let badAddress = CallFailure(EFAULT)
  static let invalid = CallFailure(EINVAL)
  static let wouldBlock = CallFailure(EAGAIN)
}

/// Says on standard error what no call can tell.
func complain(_ text: String) {
  let line = Array((text + "\n").utf8)
  _ = write(STDERR_FILENO, line, line.count)
}
