// SPDX-License-Identifier: GPL-2.0-or-later

// The selectors of the general firewall form, by the words that nft uses for them.

extension Topology {
  /// A field of a packet or of what the kernel knows about it.
  public enum Selector: String, Hashable, CaseIterable, Sendable {
    case ipSource = "ip saddr"
    case ipDestination = "ip daddr"
    case ipProtocol = "ip protocol"
    case ipTTL = "ip ttl"
    case ipLength = "ip length"
    case ipDSCP = "ip dscp"
    case ip6Source = "ip6 saddr"
    case ip6Destination = "ip6 daddr"
    case ip6NextHeader = "ip6 nexthdr"
    case ip6HopLimit = "ip6 hoplimit"
    case tcpSourcePort = "tcp sport"
    case tcpDestinationPort = "tcp dport"
    case tcpFlags = "tcp flags"
    case udpSourcePort = "udp sport"
    case udpDestinationPort = "udp dport"
    case transportSourcePort = "th sport"
    case transportDestinationPort = "th dport"
    case icmpType = "icmp type"
    case icmpv6Type = "icmpv6 type"
    case etherSource = "ether saddr"
    case etherDestination = "ether daddr"
    case etherType = "ether type"
    case vlanID = "vlan id"
    case arpOperation = "arp operation"
    case incomingName = "meta iifname"
    case outgoingName = "meta oifname"
    case mark = "meta mark"
    case transportProtocol = "meta l4proto"
    case networkProtocol = "meta nfproto"
    case length = "meta length"
    case packetType = "meta pkttype"
    case userID = "meta skuid"
    case connectionState = "ct state"
    case connectionStatus = "ct status"
    case connectionMark = "ct mark"
    case originalSource = "ct original ip saddr"
    case originalDestination = "ct original ip daddr"
    case originalDestinationPort = "ct original proto-dst"
    case destinationType = "fib daddr type"
    case sourceType = "fib saddr type"

    /// The type of its values.
    public var type: ValueType {
      switch self {
      case .ipSource, .ipDestination, .originalSource, .originalDestination: .ipv4Address
      case .ip6Source, .ip6Destination: .ipv6Address
      case .ipProtocol, .ip6NextHeader, .transportProtocol: .ipProtocol
      case .ipTTL, .ipLength, .ip6HopLimit, .vlanID, .arpOperation, .networkProtocol, .length, .userID:
        .number
      case .ipDSCP: .dscp
      case .tcpSourcePort, .tcpDestinationPort, .udpSourcePort, .udpDestinationPort, .transportSourcePort,
        .transportDestinationPort, .originalDestinationPort:
        .port
      case .tcpFlags: .tcpFlags
      case .icmpType: .icmpType
      case .icmpv6Type: .icmpv6Type
      case .etherSource, .etherDestination: .etherAddress
      case .etherType: .etherType
      case .incomingName, .outgoingName: .interfaceName
      case .mark, .connectionMark: .mark
      case .packetType: .packetType
      case .connectionState: .connectionState
      case .connectionStatus: .connectionStatus
      case .destinationType, .sourceType: .addressType
      }
    }
  }
}
