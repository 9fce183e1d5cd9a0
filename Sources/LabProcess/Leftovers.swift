// SPDX-License-Identifier: GPL-2.0-or-later

// What the programs of nodes leave behind: daemons that went into sessions of their own, and everything when the lab
// process was killed. They are known by a variable that each program of a node begins with and hands down.

import CLinux
import Glibc
import LabCore
import SystemPackage

/// The processes that began as programs or commands of a lab's nodes.
struct Leftovers {
  /// Why a process was started; each has a variable of its own.
  enum Origin: String, CaseIterable {
    /// `Run`: ends with the lab process.
    case program = "NETFORGE_PROGRAM_OF"
    /// `Exec`: a daemon that one starts outlives even `up`, and ends with the node.
    case command = "NETFORGE_COMMAND_OF"
  }

  /// Bytes of an environment that are looked at.
  private static let environmentLimit = 1 << 20

  /// The lab's own.
  var folder: String

  /// The variable that marks what `node` starts.
  func mark(_ origin: Origin, _ node: NodeName) -> [String: String] { [origin.rawValue: "\(folder):\(node)"] }

  /// Kills what is left of these origins, of one node or of all, and returns when it has gone or after a second. Blocks.
  func end(_ origins: [Origin], node: NodeName? = nil) {
    let marks = origins.map { Array("\($0.rawValue)=\(folder):\(node.map { "\($0)\0" } ?? "")".utf8) }
    // Again until nothing is found: what was found may have started others meanwhile.
    for _ in 0..<50 {
      guard killAll(marks) > 0 else { return }
      usleep(20_000)
    }
  }

  private func killAll(_ marks: [[UInt8]]) -> Int {
    guard let processes = opendir("/proc") else { return 0 }
    defer { closedir(processes) }
    var count = 0
    while let entry = readdir(processes) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let pid = Int32(name), pid > 1, pid != getpid() else { continue }
      if kill(pid, marks) { count += 1 }
    }
    return count
  }

  private func kill(_ pid: Int32, _ marks: [[UInt8]]) -> Bool {
    let number = nf_pidfd_open(pid)
    guard number >= 0 else { return false }
    let process = OwnedDescriptor(FileDescriptor(rawValue: number))
    // Another user's environment cannot be read, and is not of this lab. A process that has ended has none.
    guard let environment = try? LabFile.read("/proc/\(pid)/environ"),
      environment.count < Self.environmentLimit,
      marks.contains(where: { Self.holds(environment, $0) })
    else { return false }
    return nf_pidfd_signal(process.descriptor.rawValue, SIGKILL) == 0
  }

  /// Whether one of the environment's entries begins with `mark`.
  private static func holds(_ environment: [UInt8], _ mark: [UInt8]) -> Bool {
    var rest = environment[...]
    while rest.count >= mark.count {
      if rest.starts(with: mark) { return true }
      guard let end = rest.firstIndex(of: 0) else { return false }
      rest = rest[(end + 1)...]
    }
    return false
  }
}
