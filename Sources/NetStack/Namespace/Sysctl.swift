// SPDX-License-Identifier: GPL-2.0-or-later

// The settings of a namespace, with the kernel's names and defaults. Those of devices stand at the devices
// (`DeviceSettings`); of the others a namespace keeps what differs from the one table of defaults. What packets read is
// worked out from both when a setting changes; TCP's stand in a table of their own (`TCPSettings`).

import NetTypes

/// A setting that is not as the kernel has it by default.
struct SysctlOverride: Hashable {
  /// With slashes: `net/ipv4/ip_forward`.
  var name: String
  var value: String
}

/// The kernel's table of defaults for settings without a device.
private enum SysctlDefaults {
  static let plain = own.merging(TCPSettings.defaults) { own, _ in own }

  private static let own: [String: String] = [
    "net/ipv4/fib_multipath_hash_policy": "0", "net/ipv4/fib_multipath_hash_seed": "0",
    "net/ipv4/icmp_errors_use_inbound_ifaddr": "0",
    "net/ipv4/igmp_link_local_mcast_reports": "1", "net/ipv4/igmp_max_memberships": "20",
    "net/ipv4/igmp_qrv": "2",
    "net/ipv4/ip_forward_update_priority": "1",
    "net/ipv4/ip_forward_use_pmtu": "0", "net/ipv4/ip_no_pmtu_disc": "0",
    "net/ipv4/ipfrag_high_thresh": "4194304",
    "net/ipv4/ipfrag_low_thresh": "3145728", "net/ipv4/ipfrag_max_dist": "64", "net/ipv4/ipfrag_time": "30",
    "net/ipv4/route/min_pmtu": "552", "net/ipv4/route/mtu_expires": "600",
    "net/ipv4/icmp_echo_ignore_all": "0", "net/ipv4/icmp_echo_ignore_broadcasts": "1",
    "net/ipv4/icmp_msgs_burst": "50", "net/ipv4/icmp_msgs_per_sec": "1000", "net/ipv4/icmp_ratelimit": "1000",
    "net/ipv4/icmp_ratemask": "6168", "net/ipv4/ip_default_ttl": "64", "net/ipv4/ip_nonlocal_bind": "0",
    "net/ipv4/ip_local_port_range": "32768 60999", "net/ipv4/ip_unprivileged_port_start": "1024",
    "net/ipv4/ping_group_range": "1 0",
    "net/ipv4/neigh/default/gc_thresh1": "128", "net/ipv4/neigh/default/gc_thresh2": "512",
    "net/ipv4/neigh/default/gc_thresh3": "1024", "net/ipv6/neigh/default/gc_thresh1": "128",
    "net/ipv6/neigh/default/gc_thresh2": "512", "net/ipv6/neigh/default/gc_thresh3": "1024",
    "net/ipv6/auto_flowlabels": "1", "net/ipv6/icmp/echo_ignore_all": "0",
    "net/ipv6/icmp/echo_ignore_anycast": "0", "net/ipv6/icmp/echo_ignore_multicast": "0",
    "net/ipv6/icmp/ratelimit": "100", "net/ipv6/icmp/ratemask": "0-1,3-127",
    "net/ipv6/ip6frag_high_thresh": "4194304", "net/ipv6/ip6frag_time": "60",
    "net/ipv6/max_dst_opts_length": "2147483647", "net/ipv6/max_dst_opts_number": "8",
    "net/ipv6/max_hbh_length": "2147483647", "net/ipv6/max_hbh_opts_number": "8",
    "net/ipv6/route/mtu_expires": "600",
  ].merging(ConntrackSetting.defaults) { first, _ in first }
}

/// A path of a setting of devices, taken apart.
struct SettingPath {
  var setting: DeviceSettingName
  /// `all`, `default`, or a device's name.
  var scope: String

  /// Nil when it names none.
  init?(_ path: String) {
    // Another name for the switch of all devices.
    if path == "net/ipv4/ip_forward" {
      setting = .ipv4(.forwarding)
      scope = "all"
      return
    }
    // net / family / group / scope / setting
    guard path.utf8.count(where: { $0 == UInt8(ascii: "/") }) == 4 else { return nil }
    let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map {
      Substring($0)
    }
    guard parts[0] == "net", let setting = DeviceSettingName(parts[1], parts[2], parts[4])
    else { return nil }
    self.setting = setting
    scope = String(parts[3])
  }

  /// Those without a device, which every namespace is asked for.
  static let common: [String: SettingPath] = {
    var paths: [String: SettingPath] = [:]
    for scope in ["all", "default"] {
      let names =
        IPv4Setting.allCases.map { "net/ipv4/conf/\(scope)/\($0.name)" }
        + NeighborSetting.allCases.map { "net/ipv4/neigh/\(scope)/\($0.name)" }
        + IPv6Setting.allCases.map { "net/ipv6/conf/\(scope)/\($0.name)" } + ["net/ipv4/ip_forward"]
      for name in names { paths[name] = SettingPath(name) }
    }
    return paths
  }()
}

/// Whose settings a path names.
private enum SettingScope {
  case all, standard
  case device(DeviceIndex)
}

extension Kernel {
  /// A setting's value; nil when there is none of that name, as there is none of a device that is not there.
  public func sysctl(_ name: String, in namespace: NamespaceIndex) -> String? {
    guard namespaces.contains(namespace) else { return nil }
    if let (setting, scope) = deviceSetting(name, namespace) {
      return String(number(setting, scope, namespace))
    }
    return plainSetting(name, namespace)
  }

  private func number(
    _ setting: DeviceSettingName, _ scope: SettingScope, _ namespace: NamespaceIndex
  ) -> Int32 {
    switch scope {
    case .all: return namespaces[namespace].everyDevice[setting]
    case .standard: return namespaces[namespace].newDevices[setting]
    case .device(let index):
      if case .ipv6(.mtu) = setting { return Int32(clamping: devices[index].ipv6.mtu) }
      return devices[index].settings[setting]
    }
  }

  /// Changes a setting. ENOENT: there is none of that name; EINVAL: it cannot have the value.
  public mutating func setSysctl(
    _ name: String, to text: String, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard namespaces.contains(namespace) else { throw .noSuchEntry }
    // isspace: what separates fields.
    let isSpace = { (byte: UInt8) in byte == 0x20 || (0x09...0x0d).contains(byte) }
    let value =
      text.utf8.contains(where: isSpace)
      ? text.utf8.split(whereSeparator: isSpace).map { String(Substring($0)) }.joined(separator: " ") : text
    if let (setting, scope) = deviceSetting(name, namespace) {
      guard let number = Int32(value) else { throw .invalidArgument }
      if case .ipv6(let setting) = setting {
        guard setting.range.contains(number) else { throw .invalidArgument }
        if let refusal = setting.refusal(of: number) { throw .notSupported(refusal) }
      } else {
        guard number >= 0 else { throw .invalidArgument }
        // What stays as it is has no consequence (devinet_sysctl_forward); IPv6's switches have.
        if number == self.number(setting, scope, namespace) { return }
      }
      namespaces[namespace].routes.invalidate()
      set(setting, scope, number, namespace)
      return
    }
    guard let old = plainSetting(name, namespace) else { throw .noSuchEntry }
    if old == value { return }
    namespaces[namespace].routes.invalidate()
    if TCPSettings.defaults[name] != nil {
      let checked = try TCPSettings.checked(value, over: old, for: name)
      write(name, checked, namespace)
      namespaces[namespace].tcp.apply(name, checked)
      return
    }
    guard isPossible(value, for: name, namespace) else { throw .invalidArgument }
    write(name, value, namespace)
    // Every namespace of a lab is given this one.
    if name == Self.pingGroups { return applyPingGroups(namespace) }
    applySettings(of: namespace)
  }

  // MARK: Devices

  /// The setting of devices that a path names, if it names one, and whose it is.
  private func deviceSetting(
    _ name: String, _ namespace: NamespaceIndex
  ) -> (DeviceSettingName, SettingScope)? {
    let path: SettingPath
    if let known = SettingPath.common[name] {
      path = known
    } else {
      guard let parsed = SettingPath(name) else { return nil }
      path = parsed
    }
    switch path.scope {
    case "all": return path.setting.hasAll ? (path.setting, .all) : nil
    case "default": return (path.setting, .standard)
    default:
      // Other names of a device have no folder of their own.
      guard let index = device(path.scope, in: namespace), devices[index].name.text == path.scope else {
        return nil
      }
      return (path.setting, .device(index))
    }
  }

  private mutating func set(
    _ setting: DeviceSettingName, _ scope: SettingScope, _ value: Int32, _ namespace: NamespaceIndex
  ) {
    switch (scope, setting) {
    case (.all, .ipv4(.forwarding)): forwardEverywhere(value, namespace)
    case (_, .ipv6(let setting)): set(setting, scope, value, namespace)
    case (.all, _):
      namespaces[namespace].everyDevice[setting] = value
      for index in namespaces[namespace].devices { applySettings(to: index) }
    case (.standard, _): namespaces[namespace].newDevices[setting] = value
    case (.device(let index), _):
      devices[index].settings[setting] = value
      applySettings(to: index)
    }
  }

  /// A setting of one device, as if it was written (see `setSysctl`).
  mutating func setDeviceSetting(_ setting: IPv6Setting, _ value: Int32, on index: DeviceIndex) {
    set(setting, .device(index), value, devices[index].namespace)
  }

  /// Some of IPv6's switches are for every device when they are written to `all` (addrconf_disable_ipv6,
  /// addrconf_fixup_forwarding); what follows from them happens at once.
  private mutating func set(
    _ setting: IPv6Setting, _ scope: SettingScope, _ value: Int32, _ namespace: NamespaceIndex
  ) {
    var touched: [DeviceIndex] = []
    switch scope {
    case .standard: namespaces[namespace].newDevices.ipv6[setting] = value
    case .device(let index):
      if setting == .mtu { devices[index].inet6.mtu = min(Int(value), devices[index].mtu) }
      devices[index].settings.ipv6[setting] = value
      touched = [index]
    case .all:
      namespaces[namespace].everyDevice.ipv6[setting] = value
      switch setting {
      case .disable, .forwarding, .addressGeneration, .ignoreRoutesWithLinkDown: break
      default:
        applyEveryDevice6(namespace)
        return
      }
      namespaces[namespace].newDevices.ipv6[setting] = value
      touched = namespaces[namespace].devices
      for index in touched { devices[index].settings.ipv6[setting] = value }
    }
    applyEveryDevice6(namespace)
    for index in touched {
      let old = devices[index].ipv6
      applySettings(to: index)
      switchIPv6(index, wasEnabled: old.isEnabled)
      if old.forwarding != devices[index].ipv6.forwarding { switchForwarding6(index) }
      if setting == .addressGeneration, devices[index].inet6.isReady, !devices[index].isLoopback {
        generateLinkLocal(on: index)
      }
    }
  }

  /// As in Linux, one switch sets `all`, `default`, and every device, and a router believes no redirects
  /// (inet_forward_change).
  private mutating func forwardEverywhere(_ value: Int32, _ namespace: NamespaceIndex) {
    namespaces[namespace].everyDevice.ipv4[.forwarding] = value
    namespaces[namespace].everyDevice.ipv4[.acceptRedirects] = value == 0 ? 1 : 0
    namespaces[namespace].newDevices.ipv4[.forwarding] = value
    for index in namespaces[namespace].devices {
      devices[index].settings.ipv4[.forwarding] = value
      applySettings(to: index)
    }
  }

  /// A new device begins with what `default` says (devinet_copy_dflt_conf).
  mutating func inheritSettings(_ index: DeviceIndex) {
    devices[index].settings = namespaces[devices[index].namespace].newDevices
    applySettings(to: index)
  }

  /// Works out what packets read of a device's settings.
  mutating func applySettings(to index: DeviceIndex) {
    let own = devices[index].settings
    let all = namespaces[devices[index].namespace].everyDevice.ipv4
    func either(_ setting: IPv4Setting) -> Bool { all[setting] != 0 || own.ipv4[setting] != 0 }
    func larger(_ setting: IPv4Setting) -> Int { Int(max(all[setting], own.ipv4[setting])) }
    devices[index].ipv4 = DeviceIPv4(
      forwarding: own.ipv4[.forwarding] != 0, acceptLocal: either(.acceptLocal),
      routeLocalnet: either(.routeLocalnet),
      reversePathFilter: larger(.reversePathFilter),
      arpIgnore: larger(.arpIgnore), arpAnnounce: larger(.arpAnnounce), arpAccept: larger(.arpAccept),
      arpFilter: either(.arpFilter), arpNotify: either(.arpNotify),
      dropGratuitousARP: either(.dropGratuitousARP), proxyARP: either(.proxyARP),
      proxyARPPrivateVLAN: own.ipv4[.proxyARPPrivateVLAN] != 0,
      promoteSecondaries: either(.promoteSecondaries), sendRedirects: either(.sendRedirects),
      acceptRedirects: own.ipv4[.forwarding] != 0
        ? all[.acceptRedirects] != 0 && own.ipv4[.acceptRedirects] != 0 : either(.acceptRedirects),
      secureRedirects: either(.secureRedirects), sharesMedia: either(.sharesMedia),
      igmpVersion: Int(all[.igmpVersion] != 0 ? all[.igmpVersion] : own.ipv4[.igmpVersion]),
      unsolicitedReportInterval: Int64(own.ipv4[.unsolicitedReportInterval]) * 1_000_000,
      unsolicitedReportIntervalV3: Int64(own.ipv4[.unsolicitedReportIntervalV3]) * 1_000_000,
      forwardsBroadcasts: all[.forwardsBroadcasts] != 0 && own.ipv4[.forwardsBroadcasts] != 0,
      validMark: either(.validMark), ignoreRoutesWithLinkDown: own.ipv4[.ignoreRoutesWithLinkDown] != 0,
      acceptsSourceRoutes: all[.acceptSourceRoute] != 0 && own.ipv4[.acceptSourceRoute] != 0,
      logsMartians: either(.logMartians))
    syncRoutes(of: index)
    devices[index].neighborParameters = NeighborParameters(own.neighbor)
    devices[index].neighborParameters6 = NeighborParameters(own.neighbor6)
    let mtu = devices[index].mtu
    devices[index].ipv6 = DeviceIPv6(
      isEnabled: hasIPv6(index) && own.ipv6[.disable] == 0, forwarding: own.ipv6[.forwarding] != 0,
      hopLimit: UInt8(clamping: own.ipv6[.hopLimit]), dropUnicastInLink: own.ipv6[.dropUnicastInLink] != 0,
      mtu: devices[index].inet6.mtu != 0 ? min(devices[index].inet6.mtu, mtu) : mtu)
  }

  // MARK: Others

  /// The value of a setting without a device; nil when there is none of that name.
  private func plainSetting(_ name: String, _ namespace: NamespaceIndex) -> String? {
    guard let standard = SysctlDefaults.plain[name] else { return nil }
    return namespaces[namespace].sysctls.first { $0.name == name }?.value ?? standard
  }

  private mutating func write(_ name: String, _ value: String, _ namespace: NamespaceIndex) {
    if let place = namespaces[namespace].sysctls.firstIndex(where: { $0.name == name }) {
      namespaces[namespace].sysctls[place].value = value
    } else {
      namespaces[namespace].sysctls.append(SysctlOverride(name: name, value: value))
    }
  }

  private func isPossible(_ value: String, for name: String, _ namespace: NamespaceIndex) -> Bool {
    if name.hasSuffix("ping_group_range") { return Self.pair(value) != nil }
    if name.hasSuffix("ip_local_port_range") {
      guard let (low, high) = Self.pair(value) else { return false }
      return low > 0 && low <= high && high <= UInt16.max
    }
    if name == "net/ipv6/icmp/ratemask" { return Self.bits(value) != nil }
    guard let number = Int64(value), number >= Int64(Int32.min), number <= Int64(UInt32.max) else {
      return false
    }
    if name.hasSuffix("opts_number") { return abs(number) <= Int64(Int32.max) }
    if name.hasSuffix("ip_default_ttl") { return (1...255).contains(number) }
    if name.hasSuffix("ip_forward_update_priority") { return (0...1).contains(number) }
    if name.hasSuffix("fib_multipath_hash_policy") { return (0...1).contains(number) }
    if name.hasSuffix("ip_no_pmtu_disc") { return (0...3).contains(number) }
    if name.hasSuffix("igmp_qrv") { return number >= 1 }
    if name.hasSuffix("min_pmtu") { return number >= 68 }
    // One limit is not beyond the other.
    if name.hasSuffix("ipfrag_high_thresh") {
      return number >= self.number("net/ipv4/ipfrag_low_thresh", namespace)
    }
    if name.hasSuffix("ipfrag_low_thresh") {
      return (0...self.number("net/ipv4/ipfrag_high_thresh", namespace)).contains(number)
    }
    if name.hasSuffix("ip_unprivileged_port_start") { return (0...65535).contains(number) }
    if name.hasPrefix("net/netfilter/") { return (0...Int64(Int32.max)).contains(number) }
    return number >= 0
  }

  /// Ranges and numbers of bits below 128, as `0-1,3-127` (proc_do_large_bitmap).
  private static func bits(_ value: String) -> UInt128? {
    var mask: UInt128 = 0
    for part in value.split(separator: ",", omittingEmptySubsequences: true) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false)
      guard ends.count <= 2, let first = ends.first.flatMap({ UInt8($0) }),
        let last = ends.last.flatMap({ UInt8($0) }), first <= last, last < 128
      else { return nil }
      for bit in first...last { mask |= 1 << UInt128(bit) }
    }
    return mask
  }

  private static func pair(_ value: String) -> (UInt32, UInt32)? {
    let words = value.split(separator: " ")
    guard words.count == 2, let low = UInt32(words[0]), let high = UInt32(words[1]) else { return nil }
    return (low, high)
  }

  private func pair(_ name: String, _ namespace: NamespaceIndex) -> (UInt32, UInt32)? {
    plainSetting(name, namespace).flatMap { Self.pair($0) }
  }

  private func number(_ name: String, _ namespace: NamespaceIndex) -> Int64 {
    plainSetting(name, namespace).flatMap { Int64($0) } ?? 0
  }

  /// Works out what packets read of the namespace's own settings.
  private mutating func applySettings(of namespace: NamespaceIndex) {
    func flag(_ name: String) -> Bool { number(name, namespace) != 0 }
    var settings = IPv4Settings()
    settings.defaultTTL = UInt8(clamping: number("net/ipv4/ip_default_ttl", namespace))
    settings.echoIgnoreAll = flag("net/ipv4/icmp_echo_ignore_all")
    settings.echoIgnoreBroadcasts = flag("net/ipv4/icmp_echo_ignore_broadcasts")
    settings.icmpRateLimit = number("net/ipv4/icmp_ratelimit", namespace) * 1_000_000
    settings.icmpRateMask = UInt32(clamping: number("net/ipv4/icmp_ratemask", namespace))
    settings.icmpMessagesPerSecond = number("net/ipv4/icmp_msgs_per_sec", namespace)
    settings.icmpMessagesBurst = number("net/ipv4/icmp_msgs_burst", namespace)
    settings.unprivilegedPortStart = Int(number("net/ipv4/ip_unprivileged_port_start", namespace))
    if let (low, high) = pair("net/ipv4/ip_local_port_range", namespace) {
      settings.localPorts = UInt16(clamping: low)...UInt16(clamping: high)
    }
    settings.nonLocalBind = flag("net/ipv4/ip_nonlocal_bind")
    settings.errorsUseInbound = flag("net/ipv4/icmp_errors_use_inbound_ifaddr")
    settings.reportsLinkLocalGroups = flag("net/ipv4/igmp_link_local_mcast_reports")
    settings.robustness = Int(number("net/ipv4/igmp_qrv", namespace))
    settings.membershipLimit = Int(number("net/ipv4/igmp_max_memberships", namespace))
    settings.pathMTUDiscovery = Int(number("net/ipv4/ip_no_pmtu_disc", namespace))
    settings.forwardingSetsPriority = flag("net/ipv4/ip_forward_update_priority")
    settings.forwardsByPathMTU = flag("net/ipv4/ip_forward_use_pmtu")
    settings.minimumPathMTU = UInt32(clamping: number("net/ipv4/route/min_pmtu", namespace))
    settings.pathMTUExpiry = number("net/ipv4/route/mtu_expires", namespace) * 1_000_000_000
    namespaces[namespace].fragments.limits = FragmentLimits(
      high: Int(number("net/ipv4/ipfrag_high_thresh", namespace)),
      time: number("net/ipv4/ipfrag_time", namespace) * 1_000_000_000,
      distance: Int(number("net/ipv4/ipfrag_max_dist", namespace)))
    namespaces[namespace].ipv4 = settings
    applyPingGroups(namespace)
    for setting in ConntrackSetting.allCases {
      namespaces[namespace].conntrack.settings[setting] = Int32(clamping: number(setting.path, namespace))
    }
    var settings6 = IPv6Settings()
    settings6.echoIgnoreAll = flag("net/ipv6/icmp/echo_ignore_all")
    settings6.echoIgnoreMulticast = flag("net/ipv6/icmp/echo_ignore_multicast")
    settings6.echoIgnoreAnycast = flag("net/ipv6/icmp/echo_ignore_anycast")
    settings6.icmpRateLimit = number("net/ipv6/icmp/ratelimit", namespace) * 1_000_000
    if let mask = Self.bits(plainSetting("net/ipv6/icmp/ratemask", namespace) ?? "") {
      settings6.icmpRateMask = mask
    }
    settings6.maximumHopOptions = Int(number("net/ipv6/max_hbh_opts_number", namespace))
    settings6.maximumDestinationOptions = Int(number("net/ipv6/max_dst_opts_number", namespace))
    settings6.maximumHopLength = Int(number("net/ipv6/max_hbh_length", namespace))
    settings6.maximumDestinationLength = Int(number("net/ipv6/max_dst_opts_length", namespace))
    settings6.mtuExpires = number("net/ipv6/route/mtu_expires", namespace) * 1_000_000_000
    settings6.labelsFlows = flag("net/ipv6/auto_flowlabels")
    namespaces[namespace].ipv6 = settings6
    applyEveryDevice6(namespace)
    namespaces[namespace].fragments6.limits.high = Int(number("net/ipv6/ip6frag_high_thresh", namespace))
    namespaces[namespace].fragments6.limits.time = number("net/ipv6/ip6frag_time", namespace) * 1_000_000_000
    namespaces[namespace].routes.hashing.set(
      policy: UInt8(clamping: number("net/ipv4/fib_multipath_hash_policy", namespace)),
      seed: UInt32(clamping: number("net/ipv4/fib_multipath_hash_seed", namespace)))
    namespaces[namespace].arp.thresholds = neighborThresholds("ipv4", namespace)
    namespaces[namespace].discovery.thresholds = neighborThresholds("ipv6", namespace)
  }

  private static let pingGroups = "net/ipv4/ping_group_range"

  /// A range whose end is before its start is nobody.
  private mutating func applyPingGroups(_ namespace: NamespaceIndex) {
    var groups = IPv4Settings().pingGroups
    if let (low, high) = pair(Self.pingGroups, namespace), low <= high { groups = low..<max(high, high &+ 1) }
    namespaces[namespace].ipv4.pingGroups = groups
  }

  /// Works out what packets read of the switches of all devices.
  private mutating func applyEveryDevice6(_ namespace: NamespaceIndex) {
    let all = namespaces[namespace].everyDevice.ipv6
    namespaces[namespace].ipv6.forwarding = all[.forwarding] != 0
    namespaces[namespace].ipv6.proxyNDP = all[.proxyNDP] != 0
  }

  /// gc_thresh1 to 3 of a family.
  private func neighborThresholds(_ family: String, _ namespace: NamespaceIndex) -> (Int, Int, Int) {
    func threshold(_ which: Int) -> Int {
      Int(number("net/\(family)/neigh/default/gc_thresh\(which)", namespace))
    }
    return (threshold(1), threshold(2), threshold(3))
  }
}
