// SPDX-License-Identifier: GPL-2.0-or-later

// Why a process could not be started, watched or spoken to.

import CLinux
public import SystemPackage

/// A step of starting a process that failed, and what the kernel said.
public struct SpawnError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What was being done, in the order in which it is done.
  public enum Stage: Int32, Sendable {
    case request = 1, fork, session, join, unshare, mapIDs, forkInPIDNamespace, mount, readOnlyRoot
    case descriptors, noNewPrivileges, landlock, terminal, limit, identity, directory, seccomp, exec
    /// Waiting for the process or reading from it, after it had begun.
    case watch

    var text: String {
      self == .watch ? "watching it" : String(cString: nf_spawn_stage_name(rawValue))
    }
  }

  public let stage: Stage
  public let program: String
  public let errno: Errno
  /// The index of the mount, namespace, limit, descriptor or path that failed, where the stage has several.
  public let detail: Int32

  public init(stage: Stage, program: String, errno: Errno, detail: Int32 = 0) {
    self.stage = stage
    self.program = program
    self.errno = errno
    self.detail = detail
  }

  /// Whether the program itself is not there or may not be run, as shells tell by 127 and 126.
  public var isProgramMissing: Bool {
    stage == .exec && (errno == .noSuchFileOrDirectory || errno == .notDirectory)
  }

  public var description: String { "cannot start '\(program)': \(stage.text): \(errno)" }
}
