// SPDX-License-Identifier: GPL-2.0-or-later

// What the name of a setting says: which device it belongs to, and what a write to it does to others.

import LabCore
import NetTypes

/// A setting's name taken apart: `net/ipv6/conf/eth0/forwarding`.
struct SysctlName {
  let text: String
  /// The device, `all` or `default`; nil for a setting of the whole namespace.
  let scope: Substring?

  init(_ text: String) {
    self.text = text
    // Most are of the whole namespace, which five parts could not be.
    guard text.utf8.count(where: { $0 == 0x2f }) >= 4 else {
      scope = nil
      return
    }
    let parts = text.utf8.split(separator: 0x2f, maxSplits: 4, omittingEmptySubsequences: false)
    let isOfDevices =
      parts.count >= 5 && (parts[2].elementsEqual("conf".utf8) || parts[2].elementsEqual("neigh".utf8))
    scope = isOfDevices ? Substring(parts[3]) : nil
  }

  /// The one device whose setting this is.
  var link: InterfaceName? {
    guard let scope, scope != "all", scope != "default" else { return nil }
    return InterfaceName(scope)
  }

  /// Whether the setting exists for IPv6 only.
  var isIPv6: Bool { text.hasPrefix("net/ipv6/") }

  /// The order of writing: what sets others comes before what it sets.
  var rank: Int {
    switch scope {
    case nil: 0
    case "all": 1
    case "default": 2
    default: 3
    }
  }

  static func ordered(_ states: [SysctlState]) -> [SysctlState] {
    // By rank, else as they stand: by name.
    var buckets: [[SysctlState]] = [[], [], [], []]
    for state in states { buckets[SysctlName(state.name).rank].append(state) }
    return buckets.flatMap { $0 }
  }

  /// The settings of single devices that a write of this one overwrites, as prefix and suffix of their names.
  var overwritten: [(prefix: String, suffix: String)] {
    switch text {
    case "net/ipv6/conf/all/disable_ipv6": [("net/ipv6/conf/", "/disable_ipv6")]
    case "net/ipv6/conf/all/forwarding": [("net/ipv6/conf/", "/forwarding")]
    case "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding": [("net/ipv4/conf/", "/forwarding")]
    default: []
    }
  }
}
