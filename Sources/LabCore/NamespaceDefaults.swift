// SPDX-License-Identifier: GPL-2.0-or-later

// A new namespace copies its IPv4 settings from the initial one, and some defaults depend on the host's memory. What a
// lab relies on is therefore written down here, once, and part of the desired state on every datapath.

/// What kind of namespace the defaults are for.
public enum NamespaceRole: Hashable, Sendable {
  case node, router, `switch`
}

/// The settings that every namespace of a lab begins with.
public enum NamespaceDefaults {
  /// Sorted by name. `ipv6`: whether the namespace has an IPv6 address or stands on an IPv6 subnet.
  public static func sysctls(for role: NamespaceRole, ipv6: Bool) -> [SysctlState] {
    tables[Kind(role: role, ipv6: ipv6), default: []]
  }

  private struct Kind: Hashable {
    var role: NamespaceRole
    var ipv6: Bool
  }

  /// Made once: every node asks.
  private static let tables = Dictionary(
    uniqueKeysWithValues: [NamespaceRole.node, .router, .switch].flatMap { role in
      [false, true].map { (Kind(role: role, ipv6: $0), table(for: role, ipv6: $0)) }
    })

  private static func table(for role: NamespaceRole, ipv6: Bool) -> [SysctlState] {
    var table: [String: String] = [:]
    let v6 = ipv6 && role != .switch
    let off = v6 ? "0" : "1"
    // Order of writing is by name: `all` comes before `default`, and a write to `all` also sets `default`.
    table["net/ipv6/conf/all/disable_ipv6"] = off
    table["net/ipv6/conf/default/disable_ipv6"] = off
    guard role != .switch else { return sorted(table) }
    let forwarding = role == .router ? "1" : "0"
    table["net/ipv4/ip_forward"] = forwarding
    for scope in ["all", "default"] { table["net/ipv4/conf/\(scope)/rp_filter"] = "0" }
    table["net/ipv4/conf/all/promote_secondaries"] = "1"
    // The one group that exists on every datapath: with a user namespace only mapped ids can be written.
    table["net/ipv4/ping_group_range"] = "0 0"
    // Congestion control stays the host's: which ones a namespace may choose, tcp_allowed_congestion_control says, and
    // only reno is always among them.
    table["net/ipv4/tcp_rmem"] = "4096 131072 6291456"
    table["net/ipv4/tcp_wmem"] = "4096 16384 4194304"
    if v6 {
      for scope in ["all", "default"] {
        table["net/ipv6/conf/\(scope)/forwarding"] = forwarding
        // DAD runs when either asks for it: the addresses are written down, nobody else has them.
        table["net/ipv6/conf/\(scope)/accept_dad"] = "0"
      }
      table["net/ipv6/conf/default/accept_ra"] = "0"
    }
    return sorted(table)
  }

  private static func sorted(_ table: [String: String]) -> [SysctlState] {
    table.map { SysctlState(name: $0.key, value: $0.value) }.sorted { $0.name < $1.name }
  }
}
