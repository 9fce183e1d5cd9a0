// SPDX-License-Identifier: GPL-2.0-or-later

// Joins the dumps of all namespaces of a lab into one observation: an end of a pair is known by its number in a
// namespace that has a number of its own in the first.

public import LabCore
import NetTypes
public import Rtnetlink

/// A namespace as it was read.
public struct ReadNamespace: Sendable {
  public var id: NamespaceID
  public var dump: NamespaceDump
  /// The numbers by which this namespace knows others of the lab.
  public var identifiers: [Int32: NamespaceID]

  public init(id: NamespaceID, dump: NamespaceDump, identifiers: [Int32: NamespaceID] = [:]) {
    self.id = id
    self.dump = dump
    self.identifiers = identifiers
  }

  /// The numbers of other namespaces that its devices speak of.
  public static func foreignIdentifiers(in links: [LinkMessage]) -> Set<Int32> {
    Set(links.compactMap(\.linkNamespaceID).filter { $0 >= 0 })
  }
}

extension StateDecoder {
  /// The states of all that was read.
  /// - Parameter host: the devices of the host, which others may stand on though the lab has nothing there.
  public func observe(
    _ namespaces: [ReadNamespace], host: [LinkMessage]
  ) -> (owned: LabState, unmarked: LabState, tables: [NamespaceID: LinkTable]) {
    var names: [NamespaceID: [Int32: InterfaceName]] = [:]
    var tables: [NamespaceID: LinkTable] = [:]
    for link in host { names[.host, default: [:]][link.index] = link.name.flatMap { InterfaceName($0) } }
    for namespace in namespaces {
      tables[namespace.id] = LinkTable(namespace.dump.links)
      for link in namespace.dump.links {
        names[namespace.id, default: [:]][link.index] = link.name.flatMap { InterfaceName($0) }
      }
    }
    var owned: [NamespaceState] = []
    var unmarked: [NamespaceState] = []
    for namespace in namespaces {
      let resolver = LinkResolver(namespaces: namespace.identifiers, names: names)
      let state = decode(namespace.dump, of: namespace.id, resolver)
      owned.append(state.owned)
      unmarked.append(state.unmarked)
    }
    return (
      LabState(lab: ownership.lab, namespaces: owned), LabState(lab: ownership.lab, namespaces: unmarked),
      tables
    )
  }
}
