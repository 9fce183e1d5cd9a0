// SPDX-License-Identifier: GPL-2.0-or-later

// The devices of a lab by the names of its topology: what a word on the command line means, and what a device is called
// in what is shown. The rules stand in docs/live.md.

public import Capture
public import LabCore
import NetTypes
public import TopologyModel

/// Words that name devices, for one lab.
public struct LabPoints: Sendable {
  /// A device and what it is called.
  public struct Point: Hashable, Sendable {
    /// `web1:eth0`; `lan` for a lab's bridge, `lan:web1.eth0` for a port of it.
    public var name: String
    public var link: LinkReference
    /// The other end, of a pair.
    public var peer: LinkReference?
    /// What its packets begin with.
    public var linkType: LinkType
    var isLoopback: Bool
  }

  /// A word that names nothing.
  public struct Unknown: Error, CustomStringConvertible {
    public let description: String
  }

  private let lab: LabName
  /// Those of nodes in the order of the topology, then those of the lab's bridges.
  public let all: [Point]
  private let nodes: [String]
  private let bridges: [String]

  public init(_ topology: Topology, _ state: LabState) {
    lab = topology.name
    nodes = topology.nodes.map(\.name.text)
    bridges = topology.bridges.map(\.name.text)
    var all: [Point] = []
    let spaces = Dictionary(state.namespaces.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    for node in topology.nodes {
      let id = NamespaceID.node(node.name)
      for link in spaces[id]?.links ?? [] {
        all.append(
          Point(
            name: "\(node.name):\(Self.written(link, in: node))", link: LinkReference(id, link.name),
            peer: link.peer, linkType: link.linkType, isLoopback: link.kind == .loopback))
      }
    }
    let fabric = spaces[.switch]?.links ?? []
    for bridge in topology.bridges {
      guard let own = fabric.first(where: { $0.longName == bridge.name.text }) else { continue }
      all.append(
        Point(
          name: bridge.name.text, link: LinkReference(.switch, own.name), peer: nil, linkType: .ethernet,
          isLoopback: false))
      for port in fabric where port.master == own.name {
        all.append(
          Point(
            name: "\(bridge.name):\(port.longName)", link: LinkReference(.switch, port.name), peer: port.peer,
            linkType: .ethernet, isLoopback: false))
      }
    }
    self.all = all
  }

  /// A device as its node's body calls it; one that moved in from the host has that name only there.
  static func written(_ link: LinkState, in node: Topology.Node) -> String {
    guard link.kind == .external else { return link.longName }
    return node.devices.first { device in
      guard case .uplink(.move(let host)) = device.kind else { return false }
      return host == link.name.text
    }?.name ?? link.longName
  }

  /// What a device is called; its path when it is none of the topology's.
  public func name(of link: LinkReference) -> String {
    all.first { $0.link == link }?.name ?? "\(link.namespace):\(link.name)"
  }

  public func point(_ link: LinkReference) -> Point? { all.first { $0.link == link } }

  /// The devices that the words mean, each once, in the order of the words. `node:interface` is one device, a node all
  /// of its own, a bridge all of its ports, `a--b` both ends of what joins the two; no word at all is every device of
  /// every node. `lo` is only meant by its own name, unless `withLoopback` says otherwise.
  public func select(_ words: [String], withLoopback: Bool = false) throws(Unknown) -> [Point] {
    var chosen: [Point] = []
    if words.isEmpty {
      chosen = all.filter { $0.link.namespace != .switch && (withLoopback || !$0.isLoopback) }
    }
    for word in words {
      let found = try devices(word).filter { $0.name == word || withLoopback || !$0.isLoopback }
      guard !found.isEmpty else { throw Unknown(description: "'\(word)' has no interface in lab '\(lab)'") }
      for point in found where !chosen.contains(point) { chosen.append(point) }
    }
    return chosen
  }

  private func devices(_ word: String) throws(Unknown) -> [Point] {
    if let ends = Self.ends(word) {
      let (first, second) = (try devices(ends.0), try devices(ends.1))
      let joined = first.filter { point in second.contains { $0.link == point.peer } }
      guard !joined.isEmpty else {
        throw Unknown(description: "'\(ends.0)' and '\(ends.1)' are joined by no link in lab '\(lab)'")
      }
      return joined + second.filter { point in joined.contains { $0.peer == point.link } }
    }
    if let exact = all.first(where: { $0.name == word && !bridges.contains(word) }) { return [exact] }
    if bridges.contains(word) { return all.filter { $0.name.hasPrefix(word + ":") } }
    if nodes.contains(word) { return all.filter { $0.name.hasPrefix(word + ":") } }
    throw unknown(word)
  }

  private static func ends(_ word: String) -> (String, String)? {
    // Names of nodes and bridges have no `--`.
    guard let middle = word.firstRange(of: "--") else { return nil }
    return (String(word[..<middle.lowerBound]), String(word[middle.upperBound...]))
  }

  private func unknown(_ word: String) -> Unknown {
    let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
    let place = parts.first ?? word
    if parts.count == 2, nodes.contains(place) || bridges.contains(place) {
      let known = all.filter { $0.name.hasPrefix(place + ":") }.map {
        String($0.name.dropFirst(place.count + 1))
      }
      return Unknown(
        description: "'\(place)' has no interface '\(parts[1])'; it has \(Self.list(known))")
    }
    return Unknown(
      description: "lab '\(lab)' has no node or bridge '\(place)'; it has \(Self.list(nodes + bridges))")
  }

  private static func list(_ names: [String]) -> String {
    guard !names.isEmpty else { return "none" }
    return names.prefix(20).joined(separator: ", ") + (names.count > 20 ? ", …" : "")
  }
}

extension Resolution {
  /// The addresses of all devices, those included that were taken from a subnet.
  public func addresses(of topology: Topology) -> AddressBook {
    var book = AddressBook()
    for node in topology.nodes {
      guard let space = state[.node(node.name)] else { continue }
      for link in space.links {
        let name = LabPoints.written(link, in: node)
        book[Topology.DeviceReference(node.name, name)] = space.addresses.filter { $0.link == link.name }.map(
          \.prefix)
      }
    }
    return book
  }
}

extension LinkState {
  /// The name that it was asked for, where the kernel's had to be a shorter one.
  public var longName: String { alternativeNames.first ?? name.text }

  /// The other end of a pair.
  var peer: LinkReference? {
    if case .veth(let peer) = kind { peer } else { nil }
  }

  fileprivate var linkType: LinkType {
    if case .tuntap(let device) = kind, device.mode == .tun { .raw } else { .ethernet }
  }
}
