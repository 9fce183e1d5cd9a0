// SPDX-License-Identifier: GPL-2.0-or-later

// From gateways that are nodes to addresses. The model uses this with the addresses that were written, the resolver
// with all of them.

public import LabCore
public import NetTypes

/// The addresses of every device of a lab, each with its prefix length.
public struct AddressBook: Hashable, Sendable {
  private var entries: [Topology.DeviceReference: [IPPrefix]] = [:]

  public init() {}

  /// In order; empty for a device without any.
  public subscript(device: Topology.DeviceReference) -> [IPPrefix] {
    get { entries[device] ?? [] }
    set { entries[device] = newValue }
  }
}

extension Topology {
  /// A route whose gateways are addresses.
  public struct ResolvedRoute: Hashable, Sendable {
    /// Host bits clear.
    public var destination: IPPrefix
    public var kind: Route.Kind = .unicast
    public var nextHops: [ResolvedNextHop] = []
    public var metric: UInt32?
    public var table: UInt32?
    public var source: IPAddress?
    /// Bytes.
    public var mtu: Int?
    public var location: SourceLocation

    public init(
      destination: IPPrefix, kind: Route.Kind = .unicast, nextHops: [ResolvedNextHop] = [],
      metric: UInt32? = nil, table: UInt32? = nil, source: IPAddress? = nil, mtu: Int? = nil,
      location: SourceLocation
    ) {
      self.destination = destination
      self.kind = kind
      self.nextHops = nextHops
      self.metric = metric
      self.table = table
      self.source = source
      self.mtu = mtu
      self.location = location
    }
  }

  /// One way out.
  public struct ResolvedNextHop: Hashable, Sendable {
    public var gateway: IPAddress?
    /// As written, or the device on whose subnet the gateway is.
    public var device: String?
    /// 1...256.
    public var weight: Int = 1
    public var onLink: Bool = false

    public init(gateway: IPAddress? = nil, device: String? = nil, weight: Int = 1, onLink: Bool = false) {
      self.gateway = gateway
      self.device = device
      self.weight = weight
      self.onLink = onLink
    }
  }

  /// The addresses that the file says; those to be allocated are not among them.
  public var writtenAddresses: AddressBook {
    var book = AddressBook()
    for node in nodes {
      for device in node.devices where !device.addresses.isEmpty {
        book[DeviceReference(node.name, device.name)] = device.addresses.map(\.prefix)
      }
    }
    return book
  }

  /// The routes of every node with every gateway resolved, in the order of `nodes`, and what could not be.
  public func routes(addresses: AddressBook) -> (routes: [[ResolvedRoute]], errors: [TopologyError]) {
    let devices = Dictionary(nodes.map { ($0.name, $0.devices) }, uniquingKeysWith: { first, _ in first })
    var routes: [[ResolvedRoute]] = []
    var errors: [TopologyError] = []
    for node in nodes {
      let resolution = RouteResolution(
        node: node, addresses: addresses, devices: { devices[$0] ?? [] }, internet: internet?.gateway)
      let (found, problems) = resolution.routes()
      routes.append(found)
      errors += problems
    }
    return (routes, errors)
  }
}

/// Resolves the routes of one node.
struct RouteResolution {
  let node: Topology.Node
  let addresses: AddressBook
  /// The devices of a node, by its name.
  let devices: (NodeName) -> [Topology.Device]
  let internet: IPAddress?
  /// Devices whose address is a stand-in for one that is still to be allocated: it is not shown.
  var pending: Set<Topology.DeviceReference> = []

  private struct Failure: Error { var message: String }

  func routes() -> (routes: [Topology.ResolvedRoute], errors: [TopologyError]) {
    let subnets = node.devices.flatMap { device in
      addresses[Topology.DeviceReference(node.name, device.name)].map {
        (device: device.name, subnet: $0.network)
      }
    }
    var routes: [Topology.ResolvedRoute] = []
    var errors: [TopologyError] = []
    for route in node.routes {
      do throws(Failure) {
        routes += try resolve(route, subnets: subnets)
      } catch {
        errors.append(TopologyError(error.message, at: route.location))
      }
    }
    return (routes, errors)
  }

  private func resolve(
    _ route: Topology.Route, subnets: [(device: String, subnet: IPPrefix)]
  ) throws(Failure) -> [Topology.ResolvedRoute] {
    var families: [IPFamily]
    switch route.destination {
    case .prefix(let prefix): families = [prefix.family]
    case .everything: families = try sharedFamilies(of: route, subnets: subnets)
    }
    var result: [Topology.ResolvedRoute] = []
    for family in families {
      var hops: [Topology.ResolvedNextHop] = []
      for hop in route.nextHops {
        let address: IPAddress? =
          if let gateway = hop.gateway {
            try self.address(of: gateway, family: family, route: route, subnets: subnets)
          } else { nil }
        let device =
          hop.device ?? address.flatMap { address in subnets.first { $0.subnet.contains(address) }?.device }
        hops.append(
          Topology.ResolvedNextHop(gateway: address, device: device, weight: hop.weight, onLink: hop.onLink))
      }
      let destination: IPPrefix =
        if case .prefix(let prefix) = route.destination { prefix } else { .everything(family) }
      result.append(
        Topology.ResolvedRoute(
          destination: destination, kind: route.kind, nextHops: hops, metric: route.metric,
          table: route.table,
          source: route.source, mtu: route.mtu, location: route.location))
    }
    return result
  }

  /// The families that a default route stands in: those in which every gateway has an address.
  private func sharedFamilies(
    of route: Topology.Route, subnets: [(device: String, subnet: IPPrefix)]
  ) throws(Failure) -> [IPFamily] {
    var families = IPFamily.allCases
    for hop in route.nextHops {
      guard let gateway = hop.gateway else { continue }
      switch gateway {
      case .address(let address): families.removeAll { $0 != address.family }
      case .internet: families.removeAll { $0 != internet?.family }
      case .node, .device:
        families.removeAll { candidates(for: gateway, family: $0, subnets: subnets).isEmpty }
      }
    }
    if families.isEmpty, let gateway = route.nextHops.compactMap(\.gateway).first {
      // Says what is missing.
      _ = try address(of: gateway, family: nil, route: route, subnets: subnets)
      throw Failure(message: "\(name(of: route)): its gateways share no address family")
    }
    return route.nextHops.allSatisfy({ $0.gateway == nil }) ? families.filter { $0 == .ipv4 } : families
  }

  /// The gateway's addresses on subnets of this node.
  private func candidates(
    for gateway: Topology.Gateway, family: IPFamily?, subnets: [(device: String, subnet: IPPrefix)]
  ) -> [(device: Topology.DeviceReference, address: IPAddress)] {
    let references: [Topology.DeviceReference]
    switch gateway {
    case .node(let name): references = devices(name).map { Topology.DeviceReference(name, $0.name) }
    case .device(let reference): references = [reference]
    case .address, .internet: return []
    }
    var found: [(device: Topology.DeviceReference, address: IPAddress)] = []
    for reference in references {
      // A host's prefix, such as a service's address, is on no subnet that could be shared.
      for prefix in addresses[reference] where !prefix.isHost && (family == nil || prefix.family == family) {
        if subnets.contains(where: { $0.subnet.contains(prefix.address) && !$0.subnet.isHost }) {
          found.append((reference, prefix.address))
        }
      }
    }
    return found
  }

  private func address(
    of gateway: Topology.Gateway, family: IPFamily?, route: Topology.Route,
    subnets: [(device: String, subnet: IPPrefix)]
  ) throws(Failure) -> IPAddress {
    switch gateway {
    case .address(let address): return address
    case .internet:
      guard let internet else {
        throw Failure(
          message: "\(name(of: route)): the lab has no internet; write `lab.internet(via: .host)`")
      }
      return internet
    case .node, .device:
      let found = candidates(for: gateway, family: family, subnets: subnets)
      if found.count == 1, let only = found.first { return only.address }
      let who =
        switch gateway {
        case .node(let name): "node '\(name)'"
        case .device(let device): "\(device)"
        case .address, .internet: ""
        }
      guard found.isEmpty else {
        let list = found.map { pending.contains($0.device) ? "\($0.device)" : "\($0.address) (\($0.device))" }
          .joined(separator: ", ")
        throw Failure(
          message:
            "\(name(of: route)): \(who) has several addresses on subnets of '\(node.name)': \(list); write the one you mean"
        )
      }
      let own = subnets.map { "\($0.subnet)" }.joined(separator: ", ")
      let of = family.map { $0 == .ipv4 ? "IPv4 " : "IPv6 " } ?? ""
      throw Failure(
        message: "\(name(of: route)): \(who) has no \(of)address on a subnet of '\(node.name)'"
          + (own.isEmpty ? ", which has no addresses" : " (\(own))")
          + "; write the gateway's address, or join the two by a bridge or a link")
    }
  }

  private func name(of route: Topology.Route) -> String {
    switch route.destination {
    case .everything: "node '\(node.name)': default route"
    case .prefix(let prefix): "node '\(node.name)': route to \(prefix)"
    }
  }
}
