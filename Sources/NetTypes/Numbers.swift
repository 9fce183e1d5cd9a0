// SPDX-License-Identifier: GPL-2.0-or-later

/// An Ethernet frame's type field, in host byte order (IEEE 802.3, IANA).
public struct EtherType: RawRepresentable, Hashable, Codable, Sendable {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let ipv4 = EtherType(rawValue: 0x0800)
  public static let arp = EtherType(rawValue: 0x0806)
  public static let vlan = EtherType(rawValue: 0x8100)
  public static let ipv6 = EtherType(rawValue: 0x86dd)
  public static let serviceVLAN = EtherType(rawValue: 0x88a8)
}

/// An IP protocol number (IANA).
public struct IPProtocol: RawRepresentable, Hashable, Codable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let icmp = IPProtocol(rawValue: 1)
  public static let igmp = IPProtocol(rawValue: 2)
  public static let tcp = IPProtocol(rawValue: 6)
  public static let udp = IPProtocol(rawValue: 17)
  public static let dccp = IPProtocol(rawValue: 33)
  public static let esp = IPProtocol(rawValue: 50)
  public static let ah = IPProtocol(rawValue: 51)
  public static let icmpv6 = IPProtocol(rawValue: 58)
  public static let comp = IPProtocol(rawValue: 108)
  public static let sctp = IPProtocol(rawValue: 132)
  public static let udplite = IPProtocol(rawValue: 136)
}

/// A transport port in host byte order.
public typealias Port = UInt16
