// SPDX-License-Identifier: GPL-2.0-or-later

// Understands the dump of a namespace among those of all namespaces of a lab: an end of a pair is known by its number in
// a namespace that has a number of its own in the first.

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

/// The names of all devices that were read, by which what one namespace says of another is understood.
public struct ReadNames: Sendable {
  fileprivate var names: [NamespaceID: [Int32: InterfaceName]] = [:]

  public init() {}

  /// - Parameter host: the devices of the host, which others may stand on though the lab has nothing there.
  public init(_ namespaces: [ReadNamespace], host: [LinkMessage]) {
    add(host, of: .host)
    for namespace in namespaces { add(namespace.dump.links, of: namespace.id) }
  }

  /// Adds the devices of a namespace.
  public mutating func add(_ links: [LinkMessage], of namespace: NamespaceID) {
    var names: [Int32: InterfaceName] = [:]
    for link in links { names[link.index] = link.name.flatMap { InterfaceName($0) } }
    self.names[namespace] = names
  }
}

extension StateDecoder {
  /// The state of one namespace of those that were read.
  public func decode(
    _ namespace: ReadNamespace, among names: ReadNames
  ) -> (owned: NamespaceState, unmarked: NamespaceState) {
    decode(
      namespace.dump, of: namespace.id, names: names.names[namespace.id] ?? [:],
      LinkResolver(namespaces: namespace.identifiers, names: names.names))
  }
}
