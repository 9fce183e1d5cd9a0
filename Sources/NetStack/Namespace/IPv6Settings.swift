// SPDX-License-Identifier: GPL-2.0-or-later

// The settings of IPv6: those of devices (struct ipv6_devconf, net/ipv6/addrconf.c), and those of a namespace as
// packets need them.

/// net/ipv6/conf/{all,default,DEVICE}/…
enum IPv6Setting: Int, DeviceSetting {
  case acceptDAD, acceptRA, acceptRADefaultRouter, acceptRAFromLocal, acceptRAMinimumHopLimit
  case acceptRAMinimumLifetime, acceptRAMTU, acceptRAPrefix, acceptRedirects, acceptSourceRoute
  case acceptUntrackedNA, addressGeneration, autoconf, dadTransmits, disable, dropUnicastInLink
  case dropUnsolicitedNA, enhancedDAD, forceMLDVersion, forceTargetLink, forwarding, hopLimit
  case ignoreRoutesWithLinkDown, keepAddressOnDown, maximumAddresses, mldv1Interval, mldv2Interval, mtu
  case discoveryNotify, discoveryClass, optimisticDAD, proxyNDP, defaultRouteMetric
  case solicitationDelay, solicitationInterval, solicitationMaximum, solicitations, suppressFragmentedND
  case useOutputAddressesOnly, useTemporary

  var name: String {
    switch self {
    case .acceptDAD: "accept_dad"
    case .acceptRA: "accept_ra"
    case .acceptRADefaultRouter: "accept_ra_defrtr"
    case .acceptRAFromLocal: "accept_ra_from_local"
    case .acceptRAMinimumHopLimit: "accept_ra_min_hop_limit"
    case .acceptRAMinimumLifetime: "accept_ra_min_lft"
    case .acceptRAMTU: "accept_ra_mtu"
    case .acceptRAPrefix: "accept_ra_pinfo"
    case .acceptRedirects: "accept_redirects"
    case .acceptSourceRoute: "accept_source_route"
    case .acceptUntrackedNA: "accept_untracked_na"
    case .addressGeneration: "addr_gen_mode"
    case .autoconf: "autoconf"
    case .dadTransmits: "dad_transmits"
    case .disable: "disable_ipv6"
    case .dropUnicastInLink: "drop_unicast_in_l2_multicast"
    case .dropUnsolicitedNA: "drop_unsolicited_na"
    case .enhancedDAD: "enhanced_dad"
    case .forceMLDVersion: "force_mld_version"
    case .forceTargetLink: "force_tllao"
    case .forwarding: "forwarding"
    case .hopLimit: "hop_limit"
    case .ignoreRoutesWithLinkDown: "ignore_routes_with_linkdown"
    case .keepAddressOnDown: "keep_addr_on_down"
    case .maximumAddresses: "max_addresses"
    case .mldv1Interval: "mldv1_unsolicited_report_interval"
    case .mldv2Interval: "mldv2_unsolicited_report_interval"
    case .mtu: "mtu"
    case .discoveryNotify: "ndisc_notify"
    case .discoveryClass: "ndisc_tclass"
    case .optimisticDAD: "optimistic_dad"
    case .proxyNDP: "proxy_ndp"
    case .defaultRouteMetric: "ra_defrtr_metric"
    case .solicitationDelay: "router_solicitation_delay"
    case .solicitationInterval: "router_solicitation_interval"
    case .solicitationMaximum: "router_solicitation_max_interval"
    case .solicitations: "router_solicitations"
    case .suppressFragmentedND: "suppress_frag_ndisc"
    case .useOutputAddressesOnly: "use_oif_addrs_only"
    case .useTemporary: "use_tempaddr"
    }
  }

  var standard: Int32 {
    switch self {
    case .acceptDAD, .acceptRA, .acceptRADefaultRouter, .acceptRAMinimumHopLimit, .acceptRAMTU,
      .acceptRAPrefix, .acceptRedirects, .autoconf, .dadTransmits, .enhancedDAD, .solicitationDelay,
      .suppressFragmentedND:
      1
    case .acceptRAFromLocal, .acceptRAMinimumLifetime, .acceptSourceRoute, .acceptUntrackedNA,
      .addressGeneration, .disable, .dropUnicastInLink, .dropUnsolicitedNA, .forceMLDVersion,
      .forceTargetLink, .forwarding, .ignoreRoutesWithLinkDown, .keepAddressOnDown, .discoveryNotify,
      .discoveryClass, .optimisticDAD, .proxyNDP, .useOutputAddressesOnly, .useTemporary:
      0
    case .hopLimit: 64
    case .maximumAddresses: 16
    case .mldv1Interval: 10000
    case .mldv2Interval: 1000
    case .mtu: 1280
    case .defaultRouteMetric: 1024
    case .solicitationInterval: 4
    case .solicitationMaximum: 3600
    case .solicitations: -1
    }
  }

  /// What may be written.
  var range: ClosedRange<Int32> {
    switch self {
    case .hopLimit, .discoveryClass: 0...255
    case .mtu: 1280...Int32.max
    case .addressGeneration: 0...3
    case .solicitations: -1...Int32.max
    case .acceptDAD, .acceptSourceRoute, .keepAddressOnDown, .useTemporary: Int32.min...Int32.max
    case .defaultRouteMetric: 1...Int32.max
    default: 0...Int32.max
    }
  }

  /// What this kernel has not, and says so when it is asked for; every other value is only kept.
  func refusal(of value: Int32) -> String? {
    switch (self, value) {
    case (.optimisticDAD, 1...): "this kernel has no optimistic duplicate address detection"
    case (.useTemporary, 1...): "this kernel has no temporary addresses"
    case (.addressGeneration, 2): "this kernel has no stable_secret, and generates no address from it"
    case (.acceptSourceRoute, 1...): "this kernel takes no packets with a routing header"
    default: nil
    }
  }

  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}

/// A device's settings under `net.ipv6.conf.<device>`, as packets need them.
struct DeviceIPv6 {
  /// Its MTU is large enough, and nobody has switched IPv6 off.
  var isEnabled = false
  var forwarding = false
  var hopLimit: UInt8 = 64
  var dropUnicastInLink = false
  /// What fits into one packet.
  var mtu = 1500
}

/// The namespace's settings as packets need them: those of `net.ipv6` and of `net.ipv6.conf.all`.
struct IPv6Settings {
  var forwarding = false
  var proxyNDP = false
  var echoIgnoreAll = false
  var echoIgnoreMulticast = false
  var echoIgnoreAnycast = false
  /// Nanoseconds between errors to one host, six of which may come at once.
  var icmpRateLimit: Int64 = 100_000_000
  /// A bit for each type of error that the limit is for (0 to 127).
  var icmpRateMask: UInt128 = UInt128.max >> 0 & ~(1 << 2)
  var maximumHopOptions = 8
  var maximumDestinationOptions = 8
  var maximumHopLength = Int(Int32.max)
  var maximumDestinationLength = Int(Int32.max)
  /// Nanoseconds that a learned MTU is believed.
  var mtuExpires: Int64 = 600_000_000_000
  /// Whether packets have a flow label of their flow's (auto_flowlabels).
  var labelsFlows = true
}
