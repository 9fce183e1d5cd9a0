// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
public import Nftables

/// One object of a namespace: what a change creates, updates or deletes. Held by reference: a plan has one or two for each
/// object of a lab, most of them settings, and a link is many times as large.
public indirect enum StateObject: Hashable, Codable, Sendable {
  case namespace(NamespaceID)
  case sysctl(SysctlState)
  case link(LinkState)
  case address(AddressState)
  case route(RouteState)
  case policyRule(PolicyRuleState)
  case neighbor(NeighborState)
  case fdb(FDBState)
  case qdisc(QdiscState)
  /// The table alone: its chains, sets and objects are objects of their own.
  case nftTable(NftTable)
  /// The chain without its rules.
  case nftChain(NftTableKey, NftChain)
  /// The set with its elements when it is created or deleted, without when it is updated.
  case nftSet(NftTableKey, NftSet)
  case nftObject(NftTableKey, NftObject)
  case nftFlowtable(NftTableKey, NftFlowtable)
  /// An element, and the declaration of its set.
  case nftElement(NftTableKey, NftSet, NftSetElement)
  case nftRule(NftRuleState)

  /// The object's path when it stands in `namespace`.
  public func path(in namespace: NamespaceID) -> StatePath {
    switch self {
    case .namespace: StatePath(namespace)
    case .sysctl(let state): StatePath(namespace, .sysctl, key: [state.name])
    case .link(let state): StatePath(namespace, .link, key: [state.name.text])
    case .address(let state):
      StatePath(namespace, .address, key: [state.link.text, state.prefix.description])
    case .route(let state): StatePath(namespace, .route, key: [state.key])
    case .policyRule(let state): StatePath(namespace, .policyRule, key: [state.key])
    case .neighbor(let state):
      StatePath(namespace, .neighbor, key: [state.link.text, state.address.description])
    case .fdb(let state): StatePath(namespace, .fdb, key: [state.link.text, state.key])
    case .qdisc(let state): StatePath(namespace, .qdisc, key: [state.link.text, "root"])
    case .nftTable(let table): StatePath(namespace, .nftTable, key: [table.key.description])
    case .nftChain(let table, let chain):
      StatePath(namespace, .nftChain, key: [table.description, chain.name])
    case .nftSet(let table, let set): StatePath(namespace, .nftSet, key: [table.description, set.name])
    case .nftObject(let table, let object):
      StatePath(namespace, .nftObject, key: [table.description, "\(object.type) \(object.name)"])
    case .nftFlowtable(let table, let flowtable):
      StatePath(namespace, .nftFlowtable, key: [table.description, flowtable.name])
    case .nftElement(let table, let set, let element):
      StatePath(namespace, .nftElement, key: [table.description, set.name, element.pathKey])
    case .nftRule(let state):
      StatePath(namespace, .nftRule, key: [state.table.description, state.chain, state.rule.key])
    }
  }

  /// What of it is compared and shown.
  public var attributes: [StateAttribute] {
    switch self {
    case .namespace, .fdb, .nftObject, .nftElement, .nftRule: []
    case .sysctl(let state): state.attributes
    case .link(let state): state.attributes
    case .address(let state): state.attributes
    case .route(let state): state.attributes
    case .policyRule(let state): state.attributes
    case .neighbor(let state): state.attributes
    case .qdisc(let state): state.attributes
    case .nftTable(let table): table.attributes
    case .nftChain(_, let chain): chain.attributes
    case .nftSet(_, let set): set.attributes
    case .nftFlowtable(_, let flowtable): flowtable.attributes
    }
  }
}
