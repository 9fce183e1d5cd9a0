// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import Netlink

/// The settings that a namespace has when it is made. All that are made in one piece of work begin alike, so the first
/// one tells for the others, and what is as it shall be need not be written: each write is a walk through /proc/sys and
/// some of them take the kernel's big network lock.
final class InitialSettings {
  private var values: [String: String] = [:]
  /// What has been written in each namespace, by the last part of its name: `all` sets others of the same name.
  private var written: [KernelNamespace.Identity: Set<Substring>] = [:]

  /// Whether a namespace made just now has the setting by itself; if not, it counts as written from here on.
  func has<Failure: Error>(
    _ setting: SysctlState, in namespace: KernelNamespace, reading: () throws(Failure) -> String?
  ) throws(Failure) -> Bool {
    var leaf = setting.name.split(separator: "/").last ?? ""
    // The same as the `forwarding` of all devices.
    if leaf == "ip_forward" { leaf = "forwarding" }
    if written[namespace.identity]?.contains(leaf) != true {
      if values[setting.name] == nil { values[setting.name] = SysctlState.normalized(try reading() ?? "") }
      if values[setting.name] == setting.value { return true }
    }
    written[namespace.identity, default: []].insert(leaf)
    return false
  }
}
