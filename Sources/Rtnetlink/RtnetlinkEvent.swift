// SPDX-License-Identifier: GPL-2.0-or-later

// Any message of rtnetlink, sorted by what it is about: for those who listen and do not know what comes.

/// What the kernel told of an object.
public enum RtnetlinkEvent: Hashable, Sendable {
  case link(LinkMessage)
  case address(AddressMessage)
  case route(RouteMessage)
  case rule(RuleMessage)
  case neighbor(NeighborMessage)
  case qdisc(QdiscMessage)
  case trafficClass(ClassMessage)
  case namespaceID(NamespaceIDMessage)
  /// The VLANs of a bridge port: a link message of the bridge family.
  case bridgePort(LinkMessage, BridgeVLANMessage)

  /// Reads any message of rtnetlink that has a type here; nil for others.
  public init?(_ message: NetlinkMessage) throws(NetlinkDecodingError) {
    let payload = message.payload[...]
    switch message.type {
    case .newLink, .deleteLink, .getLink, .setLink:
      let link = try LinkMessage(parsing: payload)
      if link.family == .bridge {
        self = .bridgePort(link, try BridgeVLANMessage(parsing: payload))
      } else {
        self = .link(link)
      }
    case .newAddress, .deleteAddress, .getAddress: self = .address(try AddressMessage(parsing: payload))
    case .newRoute, .deleteRoute, .getRoute: self = .route(try RouteMessage(parsing: payload))
    case .newRule, .deleteRule, .getRule: self = .rule(try RuleMessage(parsing: payload))
    case .newNeighbor, .deleteNeighbor, .getNeighbor: self = .neighbor(try NeighborMessage(parsing: payload))
    case .newQdisc, .deleteQdisc, .getQdisc: self = .qdisc(try QdiscMessage(parsing: payload))
    case .newClass, .deleteClass, .getClass: self = .trafficClass(try ClassMessage(parsing: payload))
    case .newNamespaceID, .deleteNamespaceID, .getNamespaceID:
      self = .namespaceID(try NamespaceIDMessage(parsing: payload))
    default: return nil
    }
  }
}
