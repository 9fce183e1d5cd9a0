// SPDX-License-Identifier: GPL-2.0-or-later

// Every packet ends for a reason. The names are the kernel's SKB_DROP_REASON_* (include/net/dropreason-core.h), so
// that a drop here and one in the tracepoint skb:kfree_skb read the same.

/// Why a packet ended.
public enum DropReason: UInt8, CaseIterable, Sendable {
  /// Not a drop: it was delivered, or left by an outside face.
  case consumed
  case noSocket
  case packetTooSmall
  case otherHost
  case ipChecksum
  case ipInvalidHeader
  case ipInNoRoutes
  case ipOutNoRoutes
  case ipReversePathFilter
  case ipLocalSource
  case ipLocalNet
  case ipInvalidSource
  case ipInvalidDestination
  case unicastInLayer2Multicast
  case icmpChecksum
  case invalidProtocol
  case neighborCreateFailed
  case neighborFailed
  case neighborQueueFull
  case neighborDead
  case fullRing
  case noMemory
  case deviceReady
  case deviceHeader
  case unhandledProtocol
  case headerTruncated
  case packetTooBig
  case bridgeIngressState
  case bridgeInvalidSource
  case bridgeNoEgress
  case bridgeLinkLocal
  case bridgeVLANFilter
  case bridgeGroupInvalid
  case qdiscDrop
  case netfilterDrop
  // What the kernel tells otherwise, or not at all.
  case arpInvalid
  case arpNotForUs
  case ttlExpired
  case sizeExceeded
  case echoIgnored
  case duplicateFragment
  case fragmentTooFar
  case deviceRemoved
  case ipv6Disabled
  case fragmentTimeout
  case fragmentOverlap
  case discoveryInvalid
  case udpChecksum
  case tcpChecksum
  case tcpOutOfWindow
  case tcpInvalidACK
  case tcpFlags
  case tcpReset
  case tcpOldData
  case tcpTimeWait
  case tcpAbortOnData
  case tcpListenOverflow
  case socketReceiveBuffer
  case socketClosed
  case netemLoss
  case tunnelLoop
  case vxlanNoRemote
  case vxlanInvalidHeader
  case vxlanUnknownIdentifier
  case vxlanEntryExists
  case localMAC
  case gsoSegment

  /// The kernel's name in lower case; reasons that the kernel has no name for begin with `nf_`.
  public var name: String {
    switch self {
    case .consumed: "consumed"
    case .noSocket: "no_socket"
    case .packetTooSmall: "pkt_too_small"
    case .otherHost: "otherhost"
    case .ipChecksum: "ip_csum"
    case .ipInvalidHeader: "ip_inhdr"
    case .ipInNoRoutes: "ip_innoroutes"
    case .ipOutNoRoutes: "ip_outnoroutes"
    case .ipReversePathFilter: "ip_rpfilter"
    case .ipLocalSource: "ip_local_source"
    case .ipLocalNet: "ip_localnet"
    case .ipInvalidSource: "ip_invalid_source"
    case .ipInvalidDestination: "ip_invalid_dest"
    case .unicastInLayer2Multicast: "unicast_in_l2_multicast"
    case .icmpChecksum: "icmp_csum"
    case .invalidProtocol: "ip_noproto"
    case .neighborCreateFailed: "neigh_createfail"
    case .neighborFailed: "neigh_failed"
    case .neighborQueueFull: "neigh_queuefull"
    case .neighborDead: "neigh_dead"
    case .fullRing: "full_ring"
    case .noMemory: "nomem"
    case .deviceReady: "dev_ready"
    case .deviceHeader: "dev_hdr"
    case .unhandledProtocol: "unhandled_proto"
    case .headerTruncated: "hdr_trunc"
    case .packetTooBig: "pkt_too_big"
    case .bridgeIngressState: "bridge_ingress_stp_state"
    case .bridgeInvalidSource: "mac_invalid_source"
    case .bridgeNoEgress: "bridge_no_egress_port"
    case .netfilterDrop: "netfilter_drop"
    case .bridgeLinkLocal: "mac_ieee_mac_control"
    case .bridgeVLANFilter: "nf_bridge_vlan_filter"
    case .bridgeGroupInvalid: "nf_bridge_group_invalid"
    case .qdiscDrop: "qdisc_drop"
    case .arpInvalid: "nf_arp_invalid"
    case .arpNotForUs: "nf_arp_not_for_us"
    case .ttlExpired: "nf_ttl_expired"
    case .sizeExceeded: "nf_larger_than_mtu"
    case .echoIgnored: "nf_echo_ignored"
    case .duplicateFragment: "dup_frag"
    case .fragmentTooFar: "frag_too_far"
    case .deviceRemoved: "nf_device_removed"
    case .fragmentTimeout: "frag_reasm_timeout"
    case .fragmentOverlap: "nf_fragment_overlap"
    case .ipv6Disabled: "ipv6disabled"
    case .discoveryInvalid: "ipv6_ndisc_bad_options"
    case .udpChecksum: "udp_csum"
    case .tcpChecksum: "tcp_csum"
    case .tcpOutOfWindow: "tcp_invalid_sequence"
    case .tcpInvalidACK: "tcp_invalid_ack_sequence"
    case .tcpFlags: "tcp_flags"
    case .tcpReset: "tcp_reset"
    case .tcpOldData: "tcp_old_data"
    case .tcpTimeWait: "tcp_timewait"
    case .tcpAbortOnData: "tcp_abort_on_data"
    case .tcpListenOverflow: "tcp_listen_overflow"
    case .socketReceiveBuffer: "socket_rcvbuff"
    case .socketClosed: "socket_close"
    case .netemLoss: "nf_netem_loss"
    case .tunnelLoop: "nf_tunnel_loop"
    case .vxlanNoRemote: "vxlan_no_remote"
    case .vxlanInvalidHeader: "vxlan_invalid_hdr"
    case .vxlanUnknownIdentifier: "vxlan_vni_not_found"
    case .vxlanEntryExists: "vxlan_entry_exists"
    case .localMAC: "local_mac"
    case .gsoSegment: "skb_gso_seg"
    }
  }
}

/// How many packets ended for each reason.
public struct DropCounters: Sendable {
  private var counts = InlineArray<128, UInt64>(repeating: 0)

  /// None yet.
  public init() {}

  /// The count of one reason.
  public internal(set) subscript(reason: DropReason) -> UInt64 {
    @inline(__always) get { counts[Int(reason.rawValue)] }
    @inline(__always) set { counts[Int(reason.rawValue)] = newValue }
  }

  /// All that are not zero, in the order of declaration.
  public var nonZero: [(reason: DropReason, count: UInt64)] {
    DropReason.allCases.filter { self[$0] > 0 }.map { ($0, self[$0]) }
  }

  /// All ends that are drops.
  public var dropped: UInt64 {
    DropReason.allCases.dropFirst().reduce(0) { $0 + self[$1] }
  }
}
