// SPDX-License-Identifier: GPL-2.0-or-later

// Settings that every device has, and that `all` and `default` have beside them (struct ipv4_devconf, neigh_parms,
// ipv6_devconf). A new device begins with what `default` says then; devices that have never been told otherwise share
// the values in memory.

/// The names of one group of settings.
protocol DeviceSetting: CaseIterable, RawRepresentable<Int>, Sendable {
  /// As the last part of the path has it.
  var name: String { get }
  /// The kernel's default.
  var standard: Int32 { get }
  static var byName: [String: Self] { get }
}

/// The values of one group of settings.
struct SettingValues<Setting: DeviceSetting>: Sendable {
  private var values = Setting.allCases.map(\.standard)

  subscript(setting: Setting) -> Int32 {
    get { values[setting.rawValue] }
    set { if values[setting.rawValue] != newValue { values[setting.rawValue] = newValue } }
  }
}

/// net/ipv4/conf/{all,default,DEVICE}/…
enum IPv4Setting: Int, DeviceSetting {
  case acceptLocal, acceptRedirects, acceptSourceRoute, logMartians, secureRedirects, sharesMedia, igmpVersion
  case unsolicitedReportInterval,
    unsolicitedReportIntervalV3, forwardsBroadcasts,
    ignoreRoutesWithLinkDown, sendRedirects, validMark, arpAccept,
    arpAnnounce, arpFilter, arpIgnore, arpNotify, dropGratuitousARP, forwarding
  case promoteSecondaries, proxyARP, proxyARPPrivateVLAN, routeLocalnet, reversePathFilter

  var name: String {
    switch self {
    case .acceptLocal: "accept_local"
    case .acceptRedirects: "accept_redirects"
    case .acceptSourceRoute: "accept_source_route"
    case .logMartians: "log_martians"
    case .secureRedirects: "secure_redirects"
    case .sharesMedia: "shared_media"
    case .igmpVersion: "force_igmp_version"
    case .unsolicitedReportInterval: "igmpv2_unsolicited_report_interval"
    case .unsolicitedReportIntervalV3: "igmpv3_unsolicited_report_interval"
    case .forwardsBroadcasts: "bc_forwarding"
    case .ignoreRoutesWithLinkDown: "ignore_routes_with_linkdown"
    case .sendRedirects: "send_redirects"
    case .validMark: "src_valid_mark"
    case .arpAccept: "arp_accept"
    case .arpAnnounce: "arp_announce"
    case .arpFilter: "arp_filter"
    case .arpIgnore: "arp_ignore"
    case .arpNotify: "arp_notify"
    case .dropGratuitousARP: "drop_gratuitous_arp"
    case .forwarding: "forwarding"
    case .promoteSecondaries: "promote_secondaries"
    case .proxyARP: "proxy_arp"
    case .proxyARPPrivateVLAN: "proxy_arp_pvlan"
    case .routeLocalnet: "route_localnet"
    case .reversePathFilter: "rp_filter"
    }
  }

  var standard: Int32 {
    switch self {
    case .acceptRedirects, .secureRedirects, .sendRedirects, .sharesMedia: 1
    case .unsolicitedReportInterval: 10000
    case .unsolicitedReportIntervalV3: 1000
    default: 0
    }
  }

  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}

/// net/ipv{4,6}/neigh/{default,DEVICE}/…
enum NeighborSetting: Int, DeviceSetting {
  case applicationSolicit, baseReachableTime, delayFirstProbeTime, staleTime, managedInterval, lockTime
  case multicastResolicit, multicastSolicit, proxyDelay, proxyQueueLength, retransmitTime, unicastSolicit
  case queueBytes

  var name: String {
    switch self {
    case .applicationSolicit: "app_solicit"
    case .baseReachableTime: "base_reachable_time_ms"
    case .delayFirstProbeTime: "delay_first_probe_time"
    case .staleTime: "gc_stale_time"
    case .managedInterval: "interval_probe_time_ms"
    case .lockTime: "locktime"
    case .multicastResolicit: "mcast_resolicit"
    case .multicastSolicit: "mcast_solicit"
    case .proxyDelay: "proxy_delay"
    case .proxyQueueLength: "proxy_qlen"
    case .retransmitTime: "retrans_time_ms"
    case .unicastSolicit: "ucast_solicit"
    case .queueBytes: "unres_qlen_bytes"
    }
  }

  var standard: Int32 {
    switch self {
    case .applicationSolicit, .multicastResolicit: 0
    case .baseReachableTime: 30000
    case .delayFirstProbeTime: 5
    case .staleTime: 60
    case .managedInterval: 5000
    case .lockTime: 100
    case .multicastSolicit, .unicastSolicit: 3
    case .proxyDelay: 80
    case .proxyQueueLength: 64
    case .retransmitTime: 1000
    case .queueBytes: 212_992
    }
  }

  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}

extension NeighborParameters {
  /// Some settings count milliseconds, some seconds, some hundredths of a second (USER_HZ).
  init(_ values: SettingValues<NeighborSetting>) {
    func time(_ setting: NeighborSetting, _ unit: Int64) -> Int64 { Int64(values[setting]) * unit }
    baseReachableTime = time(.baseReachableTime, 1_000_000)
    retransmitTime = time(.retransmitTime, 1_000_000)
    delayFirstProbe = time(.delayFirstProbeTime, 1_000_000_000)
    staleTime = time(.staleTime, 1_000_000_000)
    lockTime = time(.lockTime, 10_000_000)
    proxyDelay = time(.proxyDelay, 10_000_000)
    managedInterval = time(.managedInterval, 1_000_000)
    unicastProbes = Int(values[.unicastSolicit])
    applicationProbes = Int(values[.applicationSolicit])
    multicastProbes = Int(values[.multicastSolicit])
    multicastReprobes = Int(values[.multicastResolicit])
    proxyQueueLength = Int(values[.proxyQueueLength])
    queueBytes = Int(values[.queueBytes])
  }
}

/// All settings of one device, or of `all` or `default`.
struct DeviceSettings: Sendable {
  var ipv4 = SettingValues<IPv4Setting>()
  var neighbor = SettingValues<NeighborSetting>()
  var neighbor6 = SettingValues<NeighborSetting>()
  var ipv6 = SettingValues<IPv6Setting>()

  /// What `default` has: some of it only counts where `all` says so too.
  static let forNewDevices: DeviceSettings = {
    var settings = standard
    settings.ipv4[.acceptSourceRoute] = 1
    return settings
  }()

  /// As the kernel has it by default.
  static let standard: DeviceSettings = {
    var settings = DeviceSettings()
    // Neighbour discovery's messages say themselves how far they are to be believed.
    settings.neighbor6[.lockTime] = 0
    return settings
  }()
}

/// A setting of a device by its path.
enum DeviceSettingName {
  case ipv4(IPv4Setting)
  case neighbor(NeighborSetting)
  case neighbor6(NeighborSetting)
  case ipv6(IPv6Setting)

  /// Nil when there is none of that name under that folder.
  init?(_ family: Substring, _ group: Substring, _ leaf: Substring) {
    switch (family, group) {
    case ("ipv4", "conf"):
      guard let setting = IPv4Setting.byName[String(leaf)] else { return nil }
      self = .ipv4(setting)
    case ("ipv4", "neigh"):
      guard let setting = NeighborSetting.byName[String(leaf)] else { return nil }
      self = .neighbor(setting)
    case ("ipv6", "neigh"):
      guard let setting = NeighborSetting.byName[String(leaf)] else { return nil }
      self = .neighbor6(setting)
    case ("ipv6", "conf"):
      guard let setting = IPv6Setting.byName[String(leaf)] else { return nil }
      self = .ipv6(setting)
    default: return nil
    }
  }

  /// Whether there is a value for all devices at once.
  var hasAll: Bool {
    switch self {
    case .neighbor, .neighbor6: false
    case .ipv4, .ipv6: true
    }
  }
}

extension DeviceSettings {
  subscript(name: DeviceSettingName) -> Int32 {
    get {
      switch name {
      case .ipv4(let setting): ipv4[setting]
      case .neighbor(let setting): neighbor[setting]
      case .neighbor6(let setting): neighbor6[setting]
      case .ipv6(let setting): ipv6[setting]
      }
    }
    set {
      switch name {
      case .ipv4(let setting): ipv4[setting] = newValue
      case .neighbor(let setting): neighbor[setting] = newValue
      case .neighbor6(let setting): neighbor6[setting] = newValue
      case .ipv6(let setting): ipv6[setting] = newValue
      }
    }
  }
}
