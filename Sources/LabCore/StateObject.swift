// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes

/// One object of a namespace: what a change creates, updates or deletes.
public enum StateObject: Hashable, Sendable {
  case namespace(NamespaceID)
  case sysctl(SysctlState)
  case link(LinkState)
  case address(AddressState)
  case route(RouteState)
  case policyRule(PolicyRuleState)
  case neighbor(NeighborState)
  case fdb(FDBState)
  case qdisc(QdiscState)

  /// The object's path when it stands in `namespace`.
  public func path(in namespace: NamespaceID) -> StatePath {
    switch self {
    case .namespace: StatePath(namespace)
    case .sysctl(let state): StatePath(namespace, .sysctl, key: [state.name])
    case .link(let state): StatePath(namespace, .link, key: [state.name.text])
    case .address(let state): StatePath(namespace, .address, key: [state.link.text, state.prefix.description])
    case .route(let state): StatePath(namespace, .route, key: [state.key])
    case .policyRule(let state): StatePath(namespace, .policyRule, key: [state.key])
    case .neighbor(let state): StatePath(namespace, .neighbor, key: [state.link.text, state.address.description])
    case .fdb(let state): StatePath(namespace, .fdb, key: [state.link.text, state.key])
    case .qdisc(let state): StatePath(namespace, .qdisc, key: [state.link.text, "root"])
    }
  }

  /// What of it is compared and shown.
  public var attributes: [StateAttribute] {
    switch self {
    case .namespace, .fdb: []
    case .sysctl(let state): state.attributes
    case .link(let state): state.attributes
    case .address(let state): state.attributes
    case .route(let state): state.attributes
    case .policyRule(let state): state.attributes
    case .neighbor(let state): state.attributes
    case .qdisc(let state): state.attributes
    }
  }
}
