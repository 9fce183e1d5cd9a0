// SPDX-License-Identifier: GPL-2.0-or-later

// Whether a namespace is plainly as desired: most are, most of the time, and then nothing needs an index, an order or a
// plan. What this says no to may still be as desired; the planner looks closer.

import LabCore

extension NamespaceState {
  /// Whether `seen` has what this has, one beside the other in the order of their keys, and nothing else. Firewalls and the
  /// host's own namespace are never plain.
  func isPlainly(in seen: NamespaceState) -> Bool {
    id == seen.id && id != .host && tables.isEmpty && seen.tables.isEmpty && fdb == seen.fdb
      && Self.agree(links, seen.links) { $0.name == $1.name && $0.difference(from: $1).isNone }
      && Self.agree(addresses, seen.addresses) {
        $0.link == $1.link && $0.prefix == $1.prefix && $0.peer == $1.peer
          && ($0.scope == nil || $0.scope == $1.scope)
      }
      && Self.agree(routes, seen.routes) { $0.identity == $1.identity && $0.difference(from: $1).isEmpty }
      && Self.agree(policyRules, seen.policyRules) { $0.key == $1.key && $0.action == $1.action }
      && Self.agree(neighbors, seen.neighbors) {
        $0.identity == $1.identity && $0.mac == $1.mac && $0.isProxy == $1.isProxy
      }
      && Self.agree(sysctls, seen.sysctls, by: ==)
      && Self.agree(qdiscs.filter(\.isConfigured), seen.qdiscs.filter(\.isConfigured)) {
        $0.link == $1.link && $0.kind.name == $1.kind.name && $0.difference(from: $1).isEmpty
      }
  }

  private static func agree<Item>(
    _ wanted: [Item], _ seen: [Item], by isSame: (Item, Item) -> Bool
  ) -> Bool {
    wanted.count == seen.count && zip(wanted, seen).allSatisfy(isSame)
  }
}

extension LinkDifference {
  fileprivate var isNone: Bool { if case .inPlace(let names) = self { names.isEmpty } else { false } }
}
