// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// An address on a device. Keyed by device and prefix.
public struct AddressState: Hashable, Codable, Sendable {
  public var link: InterfaceName
  /// The address with its prefix length, host bits kept.
  public var prefix: IPPrefix
  /// The other end of a point-to-point address.
  public var peer: IPAddress?
  public var scope: AddressScope?

  public init(link: InterfaceName, prefix: IPPrefix, peer: IPAddress? = nil, scope: AddressScope? = nil) {
    self.link = link
    self.prefix = prefix
    self.peer = peer
    self.scope = scope
  }
}

/// Where an address or a route is valid (rtnetlink(7)).
public enum AddressScope: UInt8, Hashable, CaseIterable, Codable, Sendable {
  case universe = 0
  case site = 200
  case link = 253
  case host = 254
  case nowhere = 255

  /// The name that iproute2 prints.
  public var name: String {
    switch self {
    case .universe: "global"
    case .site: "site"
    case .link: "link"
    case .host: "host"
    case .nowhere: "nowhere"
    }
  }
}

extension AttributeName {
  public static let scope = AttributeName("scope")
}

extension AddressState {
  public var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.peer, text: peer)
    list.add(.scope, scope.map { .text($0.name) })
    return list.attributes
  }
}
