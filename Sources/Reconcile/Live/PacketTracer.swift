// SPDX-License-Identifier: GPL-2.0-or-later

// Sends a packet to see its way, and asks the lab what the kernel does not tell of its end: whether there is a route, whether
// the next hop answers. That is asked behind the packet, so it is the same on every datapath.

import Capture
public import LabCore
public import NetTypes
import TopologyModel

/// A packet whose way is to be told.
public struct TracedPacket: Hashable, Sendable {
  public enum Kind: Hashable, Sendable {
    case echo
    /// A SYN.
    case connection(Port)
    case datagram(Port)
  }

  /// The node that sends it.
  public var node: NodeName
  public var address: IPAddress
  public var kind: Kind
  /// Nil: the address that the route says.
  public var source: IPAddress?
  /// Nil: one of the dynamic ports.
  public var sourcePort: Port?
  public var hopLimit: UInt8 = 64
  /// Of echo requests and datagrams.
  public var payloadLength = 56
  /// What tells it from all others.
  public var mark: UInt64
  /// How long it and its answer may take.
  public var wait = Interval.seconds(1)

  public init(from node: NodeName, to address: IPAddress, _ kind: Kind = .echo, mark: UInt64) {
    self.node = node
    self.address = address
    self.kind = kind
    self.mark = mark
  }

  fileprivate func probe(from source: IPAddress) -> ProbePacket {
    // As a socket would take one.
    let own = sourcePort ?? UInt16(32_768 + mark % 28_000)
    let transport: ProbePacket.Transport =
      switch kind {
      case .echo: .icmp
      case .connection(let port): .tcp(source: own, destination: port)
      case .datagram(let port): .udp(source: own, destination: port)
      }
    return ProbePacket(
      from: source, to: address, transport, hopLimit: hopLimit, payloadLength: payloadLength, mark: mark)
  }
}

/// Tells packets' ways in one lab.
public struct PacketTracer: Sendable {
  private let datapath: any Datapath
  private let lab: LabName
  let resolution: Resolution
  let points: LabPoints

  public init(_ datapath: any Datapath, lab: LabName, _ resolution: Resolution, _ points: LabPoints) {
    self.datapath = datapath
    self.lab = lab
    self.resolution = resolution
    self.points = points
  }

  /// Sends the packet. One that its own node has no way for, or refuses to send, has ended there.
  public func story(of packet: TracedPacket) async throws(DatapathError) -> TraceStory {
    do throws(DatapathError) {
      return try await story(of: try await request(packet))
    } catch {
      let why: TraceStory.Missing
      switch Prober.outcome(of: error) {
      case .noRoute: why = Self.noRoute(to: packet.address)
      case .couldNotProbe where Prober.isTooLong(error):
        why = TraceStory.Missing(words: "it is too long for the node's own link", reasons: ["pkt_too_big"])
      default: throw error
      }
      return TraceStory(
        request(packet, from: .any(packet.address.family)), TraceReport(), resolution, points, found: why)
    }
  }

  /// What a kernel is to be asked for the packet, from the address that the node would send it from.
  public func request(_ packet: TracedPacket) async throws(DatapathError) -> TraceRequest {
    let route: RouteReport
    do throws(DatapathError) {
      route = try await self.route(to: packet.address, from: .node(packet.node))
    } catch {
      throw Prober.saysNoRoute(error) ? Self.noRoute(packet, error.cause) : error
    }
    guard route.link != nil, let source = packet.source ?? route.source else {
      throw Self.noRoute(packet, "the route is \(route.type)")
    }
    return request(packet, from: source)
  }

  private static func noRoute(_ packet: TracedPacket, _ cause: String) -> DatapathError {
    DatapathError(
      .refused, operation: "send to \(packet.address)", path: StatePath(.node(packet.node)),
      errno: Prober.noRouteNumber, cause: cause)
  }

  private func request(_ packet: TracedPacket, from source: IPAddress) -> TraceRequest {
    TraceRequest(
      node: packet.node, probe: packet.probe(from: source),
      points: points.all.map { CapturePoint($0.link, name: $0.name, linkType: $0.linkType) },
      wait: packet.wait)
  }

  /// Sends what was asked for, and looks behind it.
  public func story(of request: TraceRequest) async throws(DatapathError) -> TraceStory {
    let report = try await datapath.trace(request, of: lab)
    let story = TraceStory(request, report, resolution, points)
    guard let end = story.openEnd, let found = await look(end, sender: request.node) else { return story }
    return TraceStory(request, report, resolution, points, found: found)
  }

  // MARK: What is missing

  /// Why nothing goes on to an address; nil when the lab knows a way, or cannot be asked.
  private func look(_ end: TraceStory.OpenEnd, sender: NodeName) async -> TraceStory.Missing? {
    var address = end.address
    if !end.isAnswer, end.namespace != .node(sender), !owns(address, end.namespace), isHost(end) {
      return TraceStory.Missing(words: "it is no router and forwards nothing", isMisled: true)
    }
    if owns(address, end.namespace) {
      guard let translated = await translation(of: address, in: end.namespace) else { return nil }
      address = translated
    }
    let route: RouteReport
    do throws(DatapathError) { route = try await self.route(to: address, from: end.namespace) } catch {
      return Prober.saysNoRoute(error) ? Self.noRoute(to: address) : nil
    }
    guard let link = route.link else {
      return TraceStory.Missing(words: "the route to \(address) is \(route.type)")
    }
    let hop = route.gateway ?? address
    guard
      case .neighbors(let neighbors)? = try? await datapath.inspect(.neighbors, in: end.namespace, of: lab)
    else { return nil }
    let isSilent = neighbors.contains { neighbor in
      neighbor.address == hop && neighbor.link == link
        && neighbor.state.split(separator: ",").contains { $0 == "FAILED" || $0 == "INCOMPLETE" }
    }
    if isSilent {
      return TraceStory.Missing(
        words: "its next hop \(hop) on \(link) does not answer"
          + (causeOfSilence(address, hop, link, end) ?? ""),
        reasons: ["neigh_failed"], isMisled: hop == address)
    }
    guard end.isTooLong else { return nil }
    let device = resolution.state[end.namespace]?.links.first { $0.name.text == link }
    let most = device?.mtu ?? route.mtu ?? 1500
    return TraceStory.Missing(
      words: "it is longer than the \(most) bytes that \(link) takes", reasons: ["pkt_too_big"])
  }

  /// What of the topology may be wrong where a next hop does not answer: the tunnel on the way, the route that names it.
  private func causeOfSilence(
    _ address: IPAddress, _ hop: IPAddress, _ link: String, _ end: TraceStory.OpenEnd
  ) -> String? {
    guard let link = InterfaceName(link) else { return nil }
    if let broken = brokenTunnel(behind: LinkReference(end.namespace, link)) { return ": \(broken)" }
    guard hop != address, let route = resolution.route(to: address, by: link, in: end.namespace) else {
      return nil
    }
    return ", says \(route.words)"
  }

  private static func noRoute(to address: IPAddress) -> TraceStory.Missing {
    TraceStory.Missing(
      words: "no route to \(address)", reasons: ["ip_innoroutes", "ip_outnoroutes"], isMisled: true)
  }

  private func isHost(_ end: TraceStory.OpenEnd) -> Bool {
    let name = end.address.family == .ipv4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding"
    return resolution.state[end.namespace]?.sysctls.contains { $0.name == name && $0.value == "0" } ?? false
  }

  private func owns(_ address: IPAddress, _ namespace: NamespaceID) -> Bool {
    resolution.state[namespace]?.addresses.contains { $0.prefix.address == address } ?? false
  }

  /// Where a translated connection to an own address leads to.
  private func translation(of address: IPAddress, in namespace: NamespaceID) async -> IPAddress? {
    var filter = ConnectionFilter()
    filter.destination = IPPrefix(host: address)
    guard
      case .connections(let all)? = try? await datapath.inspect(.connections(filter), in: namespace, of: lab)
    else { return nil }
    return all.first { !$0.isReplied && $0.reply.source != address }?.reply.source
  }

  private func route(
    to address: IPAddress, from namespace: NamespaceID
  ) async throws(DatapathError) -> RouteReport {
    guard case .route(let route) = try await datapath.inspect(.route(to: address), in: namespace, of: lab)
    else { throw Prober.unexpected }
    return route
  }
}
