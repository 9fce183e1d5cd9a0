// SPDX-License-Identifier: GPL-2.0-or-later

// What in the topology has led a packet to where it ended: the route with its line, the server that is not there, the
// device that takes no more. It stands in the one line that the end is told in.

import Capture
import LabCore
import NetTypes
import TopologyModel

extension TraceStory {
  /// Where a node has sent the packet, by a route of the topology.
  struct Turn: Hashable, Sendable {
    var node: NodeName
    /// `router1's route 192.168.12.0/24 via 192.168.2.2 (three-router-ring.swift:27)`.
    var words: String
  }

  /// The latest route that led the packet away from a node.
  func turn(at node: NodeName) -> String? { turns.last { $0.node == node }?.words }

  /// What led the packet to the node where it ended; nil when it never left the first one.
  var misled: String? {
    guard case .dropped = verdict, let node = dropNode, let last = turns.last(where: { $0.node != node })
    else { return nil }
    return "\(last.words) led it there"
  }

  /// The nodes that the packet came by, the one that sent it and the one where it ended included.
  var passed: [NodeName] { [request.node] + nodes.filter { $0 != request.node } }

  // MARK: What an expectation adds

  /// Says what is not as an expectation has it, where the packet itself got through.
  mutating func remark(on claim: Topology.Expectation.Claim) {
    switch claim {
    case .path(_, let hops):
      for (index, hop) in hops.enumerated() {
        guard case .node(let wanted) = hop, let actual = passed.dropFirst(index + 1).first, actual != wanted
        else { continue }
        let cause = turn(at: passed[index]) ?? "\(passed[index])"
        remark = "\(cause) leads to \(actual), not to \(wanted)"
        return
      }
    case .reaches(_, _, _?), .mesh(_, _, _?):
      guard answer != nil else { return }
      let way = passed.dropFirst().dropLast().map { node in turn(at: node) ?? "\(node)" }
      if !way.isEmpty { remark = "on its way: " + way.joined(separator: ", ") }
    case .spread, .stays:
      if let translation { remark = "sent there by \(translation)" }
    default: break
    }
  }

  // MARK: Servers

  /// That nobody takes what was delivered, as the answer to it says.
  var absence: String? {
    guard let target, let answer else { return nil }
    let transport: String
    switch (request.probe.transport, answer.kind) {
    case (.tcp, "RST"): transport = "tcp"
    case (.udp, Self.portUnreachable): transport = "udp"
    default: return nil
    }
    let port = target.flow.destinationPort.map { " \($0)" } ?? ""
    return "where nobody listens on \(transport)\(port) (\(target.flow.destination))"
  }

  private static let portUnreachable = "\(ICMPError(type: 3, code: 3, family: .ipv4))"

  // MARK: Devices

  /// Why a bridge has no way on for a packet: the device that it is for takes none so long.
  func narrowness(of flow: PacketFlow, length: Int) -> String? {
    guard let mac = flow.nextHop else { return nil }
    for space in resolution.state.namespaces {
      guard let link = space.links.first(where: { $0.mac == mac }) else { continue }
      let most = Int(link.mtu ?? 1500)
      guard length > most else { return nil }
      let reference = LinkReference(space.id, link.name)
      return "it is longer than the \(most) bytes that \(points.name(of: reference)) takes"
        + resolution.line(of: reference.path)
    }
    return nil
  }
}

extension Resolution {
  /// ` (topology.swift:31)`; nothing for what no line says.
  func line(of path: StatePath) -> String { sources.location(of: path).map { " (\($0))" } ?? "" }

  /// The topology's route that leads to an address by a device, with its line; nil where none of it does.
  func route(to address: IPAddress, by link: InterfaceName, in namespace: NamespaceID) -> (
    route: RouteState, words: String
  )? {
    let routes = state[namespace]?.routes.filter { route in
      route.destination.contains(address) && route.nextHops.contains { $0.link == link }
    }
    guard
      let route = routes?.max(by: {
        ($0.destination.length, $1.metric) < ($1.destination.length, $0.metric)
      })
    else { return nil }
    let gateway = route.nextHops.first { $0.link == link }?.gateway.map { " via \($0)" } ?? ""
    let path = StateObject.route(route).path(in: namespace)
    return (route, "route \(route.key)\(gateway)\(line(of: path))")
  }
}
