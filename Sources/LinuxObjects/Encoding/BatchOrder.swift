// SPDX-License-Identifier: GPL-2.0-or-later

// The order in which a batch's creations can succeed. Plans are sorted by path; a port is named before its bridge when
// the alphabet says so. Only creations of the same kind change places with one another.

import LabCore
import NetTypes

enum BatchOrder {
  /// The batch's changes, each at a place where what it relies on is there.
  static func sorted(_ changes: [Change]) -> [Change] {
    let links = creations(of: .link, in: changes)
    let routes = creations(of: .route, in: changes)
    // Routes without a gateway first: a gateway may be reached by one of them.
    let order =
      self.order(of: links, changes) + routes.filter { !hasGateway(changes[$0]) }
      + routes.filter { hasGateway(changes[$0]) }
    let places = links + routes
    // Most plans are in order, and a large one is not copied.
    guard order != places else { return changes }
    var result = changes
    for (place, position) in zip(places, order) { result[place] = changes[position] }
    return result
  }

  private static func creations(of kind: StatePath.Kind, in changes: [Change]) -> [Int] {
    changes.indices.filter { changes[$0].path.kind == kind && changes[$0].operation == .create }
  }

  private static func hasGateway(_ change: Change) -> Bool {
    guard case .route(let route) = change.after else { return false }
    return route.nextHops.contains { $0.gateway != nil }
  }

  /// Created devices, each after its bridge and after what it stands on.
  private static func order(of positions: [Int], _ changes: [Change]) -> [Int] {
    var byReference: [LinkReference: Int] = [:]
    for position in positions {
      guard case .link(let link) = changes[position].after else { continue }
      byReference[LinkReference(changes[position].path.namespace, link.name)] = position
    }
    var result: [Int] = []
    var done = [Bool](repeating: false, count: changes.count)
    // `done` is set before what the device needs is placed, so that a circle ends.
    func place(_ position: Int) {
      guard !done[position] else { return }
      done[position] = true
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
      result.append(position)
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
