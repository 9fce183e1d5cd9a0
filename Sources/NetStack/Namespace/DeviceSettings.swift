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
  case acceptLocal, arpIgnore, forwarding, promoteSecondaries, proxyARP, routeLocalnet, reversePathFilter

  var name: String {
    switch self {
    case .acceptLocal: "accept_local"
    case .arpIgnore: "arp_ignore"
    case .forwarding: "forwarding"
    case .promoteSecondaries: "promote_secondaries"
    case .proxyARP: "proxy_arp"
    case .routeLocalnet: "route_localnet"
    case .reversePathFilter: "rp_filter"
    }
  }

  var standard: Int32 { 0 }

  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}

/// net/ipv4/neigh/{default,DEVICE}/…
enum NeighborSetting: Int, DeviceSetting {
  case baseReachableTime, delayFirstProbeTime, multicastSolicit, retransmitTime, unicastSolicit, queueBytes

  var name: String {
    switch self {
    case .baseReachableTime: "base_reachable_time_ms"
    case .delayFirstProbeTime: "delay_first_probe_time"
    case .multicastSolicit: "mcast_solicit"
    case .retransmitTime: "retrans_time_ms"
    case .unicastSolicit: "ucast_solicit"
    case .queueBytes: "unres_qlen_bytes"
    }
  }

  var standard: Int32 {
    switch self {
    case .baseReachableTime: 30000
    case .delayFirstProbeTime: 5
    case .multicastSolicit, .unicastSolicit: 3
    case .retransmitTime: 1000
    case .queueBytes: 212_992
    }
  }

  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}

/// net/ipv6/conf/{all,default,DEVICE}/…
enum IPv6Setting: Int, DeviceSetting {
  /// IPv6 is off here, and can be told so.
  case disable

  var name: String { "disable_ipv6" }

  var standard: Int32 { 1 }

  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}

/// All settings of one device, or of `all` or `default`.
struct DeviceSettings: Sendable {
  var ipv4 = SettingValues<IPv4Setting>()
  var neighbor = SettingValues<NeighborSetting>()
  var ipv6 = SettingValues<IPv6Setting>()

  /// As the kernel has it by default.
  static let standard = DeviceSettings()
}

/// A setting of a device by its path.
enum DeviceSettingName {
  case ipv4(IPv4Setting)
  case neighbor(NeighborSetting)
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
    case ("ipv6", "conf"):
      guard let setting = IPv6Setting.byName[String(leaf)] else { return nil }
      self = .ipv6(setting)
    default: return nil
    }
  }

  /// Whether there is a value for all devices at once.
  var hasAll: Bool { if case .neighbor = self { false } else { true } }
}

extension DeviceSettings {
  subscript(name: DeviceSettingName) -> Int32 {
    get {
      switch name {
      case .ipv4(let setting): ipv4[setting]
      case .neighbor(let setting): neighbor[setting]
      case .ipv6(let setting): ipv6[setting]
      }
    }
    set {
      switch name {
      case .ipv4(let setting): ipv4[setting] = newValue
      case .neighbor(let setting): neighbor[setting] = newValue
      case .ipv6(let setting): ipv6[setting] = newValue
      }
    }
  }
}
