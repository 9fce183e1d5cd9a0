// SPDX-License-Identifier: GPL-2.0-or-later

// A process that was started, held by its pidfd, so that neither a wait nor a signal can hit another process that came to
// have its number.

import CLinux
import Glibc
import Synchronization
public import SystemPackage

/// How a process ended.
public enum ExitStatus: Sendable, Equatable, CustomStringConvertible {
  case exited(Int32)
  case signaled(Int32)

  public var description: String {
    switch self {
    case .exited(let code): "exit code \(code)"
    case .signaled(let signal): "signal \(signal) (\(String(cString: strsignal(signal))))"
    }
  }
}

/// A child of this process.
public final class ChildProcess: Sendable {
  public let pid: Int32
  /// Readable when the process has ended. Closed with this object.
  public let pidfd: FileDescriptor
  /// Whether the process leads a process group of its own.
  public let ownsGroup: Bool
  private let ended = Mutex<ExitStatus?>(nil)

  init(pid: Int32, pidfd: Int32, ownsGroup: Bool) {
    self.pid = pid
    self.pidfd = FileDescriptor(rawValue: pidfd)
    self.ownsGroup = ownsGroup
  }

  deinit {
    if pidfd.rawValue >= 0 { close(pidfd.rawValue) }
  }

  /// The status, if the process has ended; it is reaped by the first call that finds it so. Never blocks.
  public func poll() throws(SpawnError) -> ExitStatus? { try reap(blocking: false) }

  /// Waits for the end on the calling thread. nil when `timeout` has passed before it.
  public func wait(timeout: Duration? = nil) throws(SpawnError) -> ExitStatus? {
    guard let timeout else { return try reap(blocking: true) }
    let deadline = ContinuousClock.now + timeout
    while true {
      if let status = try reap(blocking: false) { return status }
      let left = deadline - ContinuousClock.now
      guard left > .zero else { return nil }
      var entry = pollfd(fd: pidfd.rawValue, events: Int16(POLLIN), revents: 0)
      _ = Glibc.poll(&entry, 1, milliseconds(left))
    }
  }

  /// Sends a signal to the process, or with `group` to all of its own process group. One that has ended is no error.
  public func kill(_ signal: Int32, group: Bool = false) {
    ended.withLock { status in
      guard status == nil else { return }
      if group && ownsGroup {
        _ = Glibc.kill(-pid, signal)
      } else {
        _ = nf_pidfd_signal(pidfd.rawValue, signal)
      }
    }
  }

  private func reap(blocking: Bool) throws(SpawnError) -> ExitStatus? {
    if let status = ended.withLock({ $0 }) { return status }
    if blocking {
      // Not under the lock: kill must be able to end what this waits for.
      var entry = pollfd(fd: pidfd.rawValue, events: Int16(POLLIN), revents: 0)
      while Glibc.poll(&entry, 1, -1) < 0 && errno == EINTR {}
    }
    let result: Result<ExitStatus?, SpawnError> = ended.withLock { status in
      if let status { return .success(status) }
      var code: Int32 = 0
      var value: Int32 = 0
      let error = nf_pidfd_wait(pidfd.rawValue, 0, &code, &value)
      if error == EAGAIN { return .success(nil) }
      guard error == 0 else {
        return .failure(SpawnError(stage: .watch, program: "process \(pid)", errno: Errno(rawValue: error)))
      }
      status = code == Int32(CLD_EXITED) ? .exited(value) : .signaled(value)
      return .success(status)
    }
    return try result.get()
  }
}

/// Milliseconds for poll(2), rounded up.
func milliseconds(_ duration: Duration) -> Int32 {
  let (seconds, attoseconds) = duration.components
  let value = min(max(seconds, 0), 1_000_000) * 1000 + attoseconds / 1_000_000_000_000_000 + 1
  return Int32(clamping: value)
}
