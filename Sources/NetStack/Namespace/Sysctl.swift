// SPDX-License-Identifier: GPL-2.0-or-later

// The settings of a namespace, with the kernel's names and defaults. A namespace keeps what differs from the one
// table of defaults; what packets read is worked out from both when a setting changes. Settings of protocols that are
// not here yet (TCP, IPv6's being off) are kept, so that what was written is read back.

import NetTypes

/// A setting that is not as the kernel has it by default.
struct SysctlOverride: Hashable {
  /// With slashes: `net/ipv4/ip_forward`.
  var name: String
  var value: String
}

/// The kernel's table of defaults.
private enum SysctlDefaults {
  /// Names without a device, sorted.
  static let plain: [String: String] = [
    "net/ipv4/icmp_echo_ignore_all": "0", "net/ipv4/icmp_echo_ignore_broadcasts": "1",
    "net/ipv4/icmp_msgs_burst": "50", "net/ipv4/icmp_msgs_per_sec": "1000", "net/ipv4/icmp_ratelimit": "1000",
    "net/ipv4/icmp_ratemask": "6168", "net/ipv4/ip_default_ttl": "64", "net/ipv4/ip_forward": "0",
    "net/ipv4/ip_local_port_range": "32768 60999", "net/ipv4/ip_unprivileged_port_start": "1024",
    "net/ipv4/ping_group_range": "1 0", "net/ipv4/tcp_congestion_control": "cubic",
    "net/ipv4/tcp_rmem": "4096 131072 6291456", "net/ipv4/tcp_wmem": "4096 16384 4194304",
  ]
  /// Under net/ipv4/conf/{all,default,<device>}.
  static let device: [String: String] = [
    "accept_local": "0", "arp_ignore": "0", "forwarding": "0", "promote_secondaries": "0", "proxy_arp": "0",
    "route_localnet": "0", "rp_filter": "0",
  ]
  /// Under net/ipv4/neigh/{default,<device>}.
  static let neighbor: [String: String] = [
    "base_reachable_time_ms": "30000", "delay_first_probe_time": "5", "mcast_solicit": "3",
    "retrans_time_ms": "1000", "ucast_solicit": "3", "unres_qlen_bytes": "212992",
  ]
  /// IPv6 is off here, and can be told so.
  static let ipv6 = "disable_ipv6"
}

extension Kernel {
  /// A setting's value; nil when there is none of that name, as there is none of a device that is not there.
  public func sysctl(_ name: String, in namespace: NamespaceIndex) -> String? {
    guard namespaces.contains(namespace), let standard = standard(name, namespace) else { return nil }
    return namespaces[namespace].sysctls.first { $0.name == name }?.value ?? standard
  }

  /// Changes a setting. ENOENT: there is none of that name; EINVAL: it cannot have the value.
  public mutating func setSysctl(
    _ name: String, to text: String, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard namespaces.contains(namespace), standard(name, namespace) != nil else { throw .noSuchEntry }
    let value = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    guard isPossible(value, for: name) else { throw .invalidArgument }
    if name.hasSuffix("/" + SysctlDefaults.ipv6), value != "1" {
      throw .notSupported("this kernel has no IPv6; \(name) stays 1")
    }
    write(name, value, namespace)
    switch Self.parts(name) {
    case ("conf", "all", "forwarding"): forwardEverywhere(value, namespace)
    case (_, _, "ip_forward"): forwardEverywhere(value, namespace)
    default: break
    }
    applySettings(of: namespace)
  }

  /// As in Linux, one switch sets `all`, `default`, and every device (inet_forward_change).
  private mutating func forwardEverywhere(_ value: String, _ namespace: NamespaceIndex) {
    write("net/ipv4/ip_forward", value, namespace)
    for scope in ["all", "default"] { write("net/ipv4/conf/\(scope)/forwarding", value, namespace) }
    for device in namespaces[namespace].devices {
      write("net/ipv4/conf/\(devices[device].name)/forwarding", value, namespace)
    }
  }

  private mutating func write(_ name: String, _ value: String, _ namespace: NamespaceIndex) {
    if let place = namespaces[namespace].sysctls.firstIndex(where: { $0.name == name }) {
      namespaces[namespace].sysctls[place].value = value
    } else {
      namespaces[namespace].sysctls.append(SysctlOverride(name: name, value: value))
    }
  }

  /// (family of settings, scope, name), as far as a name has them.
  private static func parts(_ name: String) -> (String, String, String) {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 5 else { return ("", "", parts.last ?? "") }
    return (parts[2], parts[3], parts[4])
  }

  private func standard(_ name: String, _ namespace: NamespaceIndex) -> String? {
    if let value = SysctlDefaults.plain[name] { return value }
    let (group, scope, last) = Self.parts(name)
    let isDevice = namespaces[namespace].devices.contains { devices[$0].name.text == scope }
    if name.hasPrefix("net/ipv4/conf/"), scope == "all" || scope == "default" || isDevice {
      return SysctlDefaults.device[last]
    }
    if name.hasPrefix("net/ipv4/neigh/"), group == "neigh", scope == "default" || isDevice {
      return SysctlDefaults.neighbor[last]
    }
    if name.hasPrefix("net/ipv6/conf/"), last == SysctlDefaults.ipv6,
      scope == "all" || scope == "default" || isDevice
    {
      return "1"
    }
    return nil
  }

  private func isPossible(_ value: String, for name: String) -> Bool {
    if name.hasPrefix("net/ipv4/tcp_") { return !value.isEmpty }
    if name.hasSuffix("ping_group_range") { return Self.pair(value) != nil }
    if name.hasSuffix("ip_local_port_range") {
      guard let (low, high) = Self.pair(value) else { return false }
      return low > 0 && low <= high && high <= UInt16.max
    }
    guard let number = Int64(value), number >= Int64(Int32.min), number <= Int64(UInt32.max) else {
      return false
    }
    if name.hasSuffix("ip_default_ttl") { return (1...255).contains(number) }
    if name.hasSuffix("ip_unprivileged_port_start") { return (0...65535).contains(number) }
    return number >= 0
  }

  private static func pair(_ value: String) -> (UInt32, UInt32)? {
    let words = value.split(separator: " ")
    guard words.count == 2, let low = UInt32(words[0]), let high = UInt32(words[1]) else { return nil }
    return (low, high)
  }

  private func pair(_ name: String, _ namespace: NamespaceIndex) -> (UInt32, UInt32)? {
    sysctl(name, in: namespace).flatMap { Self.pair($0) }
  }

  private func number(_ name: String, _ namespace: NamespaceIndex) -> Int64 {
    sysctl(name, in: namespace).flatMap { Int64($0) } ?? 0
  }

  /// A new device begins with what `default` says (devinet_copy_dflt_conf).
  mutating func inheritSettings(_ device: DeviceIndex) {
    let namespace = devices[device].namespace
    guard !namespaces[namespace].sysctls.isEmpty else { return }
    let name = devices[device].name
    for group in ["conf", "neigh"] {
      let prefix = "net/ipv4/\(group)/default/"
      for setting in namespaces[namespace].sysctls where setting.name.hasPrefix(prefix) {
        write("net/ipv4/\(group)/\(name)/" + setting.name.dropFirst(prefix.count), setting.value, namespace)
      }
    }
    applySettings(of: namespace)
  }

  /// A device's settings go with it.
  mutating func forgetSettings(of name: InterfaceName, in namespace: NamespaceIndex) {
    namespaces[namespace].sysctls.removeAll { setting in
      let (_, scope, _) = Self.parts(setting.name)
      return scope == name.text
    }
  }

  /// Works out what packets read.
  mutating func applySettings(of namespace: NamespaceIndex) {
    func flag(_ name: String) -> Bool { number(name, namespace) != 0 }
    func all(_ name: String) -> Int { Int(number("net/ipv4/conf/all/\(name)", namespace)) }
    var settings = IPv4Settings()
    settings.defaultTTL = UInt8(clamping: number("net/ipv4/ip_default_ttl", namespace))
    settings.echoIgnoreAll = flag("net/ipv4/icmp_echo_ignore_all")
    settings.echoIgnoreBroadcasts = flag("net/ipv4/icmp_echo_ignore_broadcasts")
    settings.icmpRateLimit = number("net/ipv4/icmp_ratelimit", namespace) * 1_000_000
    settings.icmpRateMask = UInt32(clamping: number("net/ipv4/icmp_ratemask", namespace))
    settings.icmpMessagesPerSecond = number("net/ipv4/icmp_msgs_per_sec", namespace)
    settings.icmpMessagesBurst = number("net/ipv4/icmp_msgs_burst", namespace)
    settings.arpIgnore = all("arp_ignore")
    settings.unprivilegedPortStart = Int(number("net/ipv4/ip_unprivileged_port_start", namespace))
    if let (low, high) = pair("net/ipv4/ip_local_port_range", namespace) {
      settings.localPorts = UInt16(clamping: low)...UInt16(clamping: high)
    }
    // A range whose end is before its start is nobody.
    if let (low, high) = pair("net/ipv4/ping_group_range", namespace), low <= high {
      settings.pingGroups = low..<max(high, high &+ 1)
    }
    let promoteSecondaries = all("promote_secondaries") != 0
    let acceptLocal = all("accept_local") != 0
    let routeLocalnet = all("route_localnet") != 0
    let proxyARP = all("proxy_arp") != 0
    let filter = all("rp_filter")
    for device in namespaces[namespace].devices {
      let name = devices[device].name
      func own(_ setting: String) -> Int { Int(number("net/ipv4/conf/\(name)/\(setting)", namespace)) }
      func neighbor(_ setting: String) -> Int64 { number("net/ipv4/neigh/\(name)/\(setting)", namespace) }
      devices[device].ipv4 = DeviceIPv4(
        forwarding: own("forwarding") != 0, acceptLocal: acceptLocal || own("accept_local") != 0,
        routeLocalnet: routeLocalnet || own("route_localnet") != 0,
        reversePathFilter: max(filter, own("rp_filter")), arpIgnore: own("arp_ignore"),
        proxyARP: proxyARP || own("proxy_arp") != 0,
        promoteSecondaries: promoteSecondaries || own("promote_secondaries") != 0)
      var parameters = NeighborParameters()
      parameters.baseReachableTime = neighbor("base_reachable_time_ms") * 1_000_000
      parameters.retransmitTime = neighbor("retrans_time_ms") * 1_000_000
      parameters.delayFirstProbe = neighbor("delay_first_probe_time") * 1_000_000_000
      parameters.multicastProbes = Int(neighbor("mcast_solicit"))
      parameters.unicastProbes = Int(neighbor("ucast_solicit"))
      parameters.queueBytes = Int(neighbor("unres_qlen_bytes"))
      devices[device].neighborParameters = parameters
    }
    namespaces[namespace].ipv4 = settings
  }
}
