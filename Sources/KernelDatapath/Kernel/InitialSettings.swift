// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import Netlink
import Synchronization

/// The settings that a namespace has when it is made. All that are made in one piece of work begin alike, so the first
/// one tells for the others, and what is as it shall be need not be written: each write is a walk through /proc/sys and
/// some of them take the kernel's big network lock.
final class InitialSettings: Sendable {
  private struct State {
    var values: [String: String] = [:]
    /// What has been written in each namespace, by the last part of its name: `all` sets others of the same name.
    var written: [KernelNamespace.Identity: Set<Substring>] = [:]
  }

  private let state = Mutex(State())

  /// Whether a namespace made just now has the setting by itself; if not, it counts as written from here on.
  func has<Failure: Error>(
    _ setting: SysctlState, in namespace: KernelNamespace, reading: () throws(Failure) -> String?
  ) throws(Failure) -> Bool {
    var leaf = setting.name.split(separator: "/").last ?? ""
    // The same as the `forwarding` of all devices.
    if leaf == "ip_forward" { leaf = "forwarding" }
    let (isWritten, known) = state.withLock { state in
      (state.written[namespace.identity]?.contains(leaf) == true, state.values[setting.name])
    }
    if !isWritten {
      let value: String
      if let known {
        value = known
      } else {
        value = SysctlState.normalized(try reading() ?? "")
        // Another thread may have read it too, in a namespace that began alike.
        state.withLock { $0.values[setting.name] = value }
      }
      if value == setting.value { return true }
    }
    state.withLock { _ = $0.written[namespace.identity, default: []].insert(leaf) }
    return false
  }
}
