// SPDX-License-Identifier: GPL-2.0-or-later

// The order in which a batch's creations can succeed. Plans are sorted by path; a port is named before its bridge when
// the alphabet says so. Only creations of the same kind change places with one another.

import LabCore
import NetTypes

enum BatchOrder {
  /// The batch's changes, each at a place where what it relies on is there.
  static func sorted(_ changes: [Change]) -> [Change] {
    var result = changes
    rearrange(&result, linkPositions(changes), links(in: changes))
    let routes = changes.indices.filter {
      changes[$0].operation == .create && changes[$0].path.kind == .route
    }
    // Routes without a gateway first: a gateway may be reached by one of them.
    let direct = routes.filter { !hasGateway(changes[$0]) }
    rearrange(&result, routes, (direct + routes.filter { hasGateway(changes[$0]) }).map { changes[$0] })
    return result
  }

  private static func rearrange(_ changes: inout [Change], _ places: [Int], _ order: [Change]) {
    for (place, change) in zip(places, order) { changes[place] = change }
  }

  private static func hasGateway(_ change: Change) -> Bool {
    guard case .route(let route) = change.after else { return false }
    return route.nextHops.contains { $0.gateway != nil }
  }

  private static func linkPositions(_ changes: [Change]) -> [Int] {
    changes.indices.filter { changes[$0].operation == .create && changes[$0].path.kind == .link }
  }

  /// Created devices, each after its bridge and after what it stands on.
  private static func links(in changes: [Change]) -> [Change] {
    let positions = linkPositions(changes)
    var byReference: [LinkReference: Int] = [:]
    for position in positions {
      guard case .link(let link) = changes[position].after else { continue }
      byReference[LinkReference(changes[position].path.namespace, link.name)] = position
    }
    var result: [Change] = []
    var done: Set<Int> = []
    // `done` is set before what the device needs is placed, so that a circle ends.
    func place(_ position: Int) {
      guard done.insert(position).inserted else { return }
      if case .link(let link) = changes[position].after {
        for needed in needs(of: link, in: changes[position].path.namespace) {
          if let other = byReference[needed] { place(other) }
        }
        // Either end of a pair makes both, and the other's bridge is named in the same message.
        if case .veth(let peer?) = link.kind, let far = byReference[peer],
          case .link(let end) = changes[far].after,
          let master = end.master, let bridge = byReference[LinkReference(peer.namespace, master)]
        {
          place(bridge)
        }
      }
      result.append(changes[position])
    }
    for position in positions { place(position) }
    return result
  }

  private static func needs(of link: LinkState, in namespace: NamespaceID) -> [LinkReference] {
    var needs: [LinkReference] = []
    if let master = link.master { needs.append(LinkReference(namespace, master)) }
    switch link.kind {
    case .vlan(let vlan): needs.append(LinkReference(namespace, vlan.parent))
    case .vxlan(let tunnel):
      if let underlay = tunnel.underlay { needs.append(LinkReference(namespace, underlay)) }
    case .macvlan(let macvlan):
      if let parent = macvlan.parent { needs.append(parent) }
    case .veth, .loopback, .bridge, .dummy, .tuntap, .external, .other: break
    }
    return needs
  }
}
