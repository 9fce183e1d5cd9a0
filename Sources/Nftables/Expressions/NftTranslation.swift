// SPDX-License-Identifier: GPL-2.0-or-later

// Address translation. Registers hold addresses and ports in network order; a missing upper bound means the
// lower.

public import NetTypes

/// NF_NAT_RANGE_*.
public struct NftNATFlags: OptionSet, Hashable, Codable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The kernel sets it by itself when there is an address.
  public static let mapAddresses = NftNATFlags(rawValue: 0x1)
  /// The kernel sets it by itself when there is a port.
  public static let portSpecified = NftNATFlags(rawValue: 0x2)
  public static let random = NftNATFlags(rawValue: 0x4)
  public static let persistent = NftNATFlags(rawValue: 0x8)
  public static let fullyRandom = NftNATFlags(rawValue: 0x10)
  public static let netmap = NftNATFlags(rawValue: 0x40)

  /// Without what the kernel adds.
  public var chosen: NftNATFlags { subtracting([.mapAddresses, .portSpecified]) }
}

/// Translates the source (snat) or destination (dnat) of a flow.
public struct NftNAT: Hashable, Codable, Sendable {
  public var kind: Kind
  /// Of the addresses.
  public var family: IPFamily
  public var addressMin: NftRegister?
  public var addressMax: NftRegister?
  public var portMin: NftRegister?
  public var portMax: NftRegister?
  public var flags: NftNATFlags

  public init(
    kind: Kind, family: IPFamily, addressMin: NftRegister? = nil, addressMax: NftRegister? = nil,
    portMin: NftRegister? = nil, portMax: NftRegister? = nil, flags: NftNATFlags = []
  ) {
    self.kind = kind
    self.family = family
    self.addressMin = addressMin
    self.addressMax = addressMax
    self.portMin = portMin
    self.portMax = portMax
    self.flags = flags
  }

  public enum Kind: UInt32, Hashable, Codable, Sendable {
    case source = 0
    case destination = 1
  }
}

/// Translates the source to the address of the interface that the packet leaves by.
public struct NftMasquerade: Hashable, Codable, Sendable {
  public var portMin: NftRegister?
  public var portMax: NftRegister?
  public var flags: NftNATFlags

  public init(portMin: NftRegister? = nil, portMax: NftRegister? = nil, flags: NftNATFlags = []) {
    self.portMin = portMin
    self.portMax = portMax
    self.flags = flags
  }
}

/// Translates the destination to this host.
public struct NftRedirect: Hashable, Codable, Sendable {
  public var portMin: NftRegister?
  public var portMax: NftRegister?
  public var flags: NftNATFlags

  public init(portMin: NftRegister? = nil, portMax: NftRegister? = nil, flags: NftNATFlags = []) {
    self.portMin = portMin
    self.portMax = portMax
    self.flags = flags
  }
}

/// Gives the packet to a transparent socket.
public struct NftTproxy: Hashable, Codable, Sendable {
  /// ip, ip6, or inet for both.
  public var family: NftFamily
  public var address: NftRegister?
  public var port: NftRegister?

  public init(family: NftFamily, address: NftRegister? = nil, port: NftRegister? = nil) {
    self.family = family
    self.address = address
    self.port = port
  }
}

/// Sends a copy of the packet.
public struct NftDup: Hashable, Codable, Sendable {
  /// The gateway of the copy.
  public var address: NftRegister?
  /// The index of the device that sends it.
  public var device: NftRegister?

  public init(address: NftRegister? = nil, device: NftRegister? = nil) {
    self.address = address
    self.device = device
  }
}

/// Hands the packet to another device (netdev family).
public struct NftFwd: Hashable, Codable, Sendable {
  public var device: NftRegister
  public var address: NftRegister?
  /// NFPROTO_* of the address.
  public var family: UInt32?

  public init(device: NftRegister, address: NftRegister? = nil, family: UInt32? = nil) {
    self.device = device
    self.address = address
    self.family = family
  }
}
