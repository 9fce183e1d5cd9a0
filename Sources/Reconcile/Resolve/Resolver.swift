// SPDX-License-Identifier: GPL-2.0-or-later

// From the checked topology to the state that shall be: every name, address, index and default written out.

public import LabCore
import NetTypes
import Nftables
public import TopologyModel

/// A topology made concrete.
public struct Resolution: Sendable {
  public var state: LabState
  /// Where each object was declared.
  public var sources: SourceMap
  /// What runs in the nodes.
  public var runtime: LabRuntime
  /// To be kept in the lab's folder for the next time.
  public var allocations: Allocations
}

/// Makes topologies concrete.
public struct Resolver: Sendable {
  /// What the lab was given before.
  public var previous: Allocations
  /// The lab's name when it is not the topology's own.
  public var lab: LabName?
  /// What chooses the seeds of impairments that have none; left out, the lab's name does.
  public var seed: UInt64?

  public init(previous: Allocations = Allocations(), lab: LabName? = nil, seed: UInt64? = nil) {
    self.previous = previous
    self.lab = lab
    self.seed = seed
  }

  /// Throws what only shows once everything has an address: gateways that are nobody's, full subnets, rules that the
  /// kernel would refuse.
  public func resolve(_ topology: Topology) throws(TopologyErrors) -> Resolution {
    var work = ResolveWork(topology, lab: lab ?? topology.name, previous: previous)
    if let seed { work.seedOfImpairments = "\(seed)" }
    work.run()
    guard work.errors.isEmpty else { throw TopologyErrors(work.errors) }
    return Resolution(
      state: LabState(lab: work.lab, namespaces: work.namespaces), sources: work.sources,
      runtime: work.runtime,
      allocations: work.allocations)
  }
}

/// One run of the resolver.
struct ResolveWork {
  let topology: Topology
  let lab: LabName
  let previous: Allocations
  /// What the seeds of impairments are made of, beside their devices' names.
  var seedOfImpairments: String
  let book: AddressBook
  var errors: [TopologyError]
  var sources = SourceMap()
  var allocations = Allocations()
  var runtime: LabRuntime

  /// What devices are numbered, for rules that send by them; of nodes with tables only.
  var deviceIndexes: [NamespaceID: [String: UInt32]] = [:]
  /// Names of the devices, by namespace.
  var names: [NamespaceID: DeviceNames] = [:]
  /// Where the nodes stand in the topology.
  let positions: [NodeName: Int]
  let bridges: [NodeName: Topology.Bridge]
  let links: [Topology.DeviceReference: Topology.Link]

  private var nodeSpaces: [NamespaceState] = []
  var switchSpace = NamespaceState(id: .switch)
  var hostSpace = NamespaceState(id: .host)

  /// Each with its objects in order.
  var namespaces: [NamespaceState] {
    var all: [NamespaceState] = []
    if hostSpace.hasObjects { all.append(hostSpace) }
    if switchSpace.hasObjects { all.append(switchSpace) }
    all += nodeSpaces
    for index in all.indices { all[index].sort() }
    return all
  }

  init(_ topology: Topology, lab: LabName, previous: Allocations) {
    self.topology = topology
    self.lab = lab
    self.previous = previous
    seedOfImpairments = lab.text
    let allocation = AddressAllocation(topology, previous: previous)
    book = allocation.book
    allocations.addresses = allocation.allocations
    errors = allocation.errors
    runtime = LabRuntime(lab: lab)
    positions = Dictionary(
      topology.nodes.indices.map { (topology.nodes[$0].name, $0) }, uniquingKeysWith: { first, _ in first })
    bridges = Dictionary(topology.bridges.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    var links: [Topology.DeviceReference: Topology.Link] = [:]
    for link in topology.links {
      links[link.a] = link
      links[link.b] = link
    }
    self.links = links
  }

  mutating func run() {
    nameDevices()
    resolveSwitch()
    let (routes, failures) = topology.routes(addresses: book)
    errors += failures
    for (node, routes) in zip(topology.nodes, routes) { nodeSpaces.append(resolve(node, routes)) }
    if let internet = topology.internet { resolve(internet) }
    if switchSpace.hasObjects {
      switchSpace.links.append(LinkState(name: .loopback, kind: .loopback))
      switchSpace.sysctls = NamespaceDefaults.sysctls(for: .switch, ipv6: false)
    }
    resolveRuntime()
    giveIndexes()
  }

  // MARK: Names and indexes

  /// Names are given in the order of declaration before anything refers to them.
  private mutating func nameDevices() {
    for bridge in topology.bridges { _ = name(of: bridge.name.text, in: .switch) }
    if let internet = topology.internet { _ = name(of: internet.name.text, in: .switch) }
    for node in topology.nodes {
      for device in node.devices { nameMoved(device, of: node) }
      for device in node.devices { _ = name(of: device.name, in: .node(node.name)) }
    }
  }

  /// A device that moves in from the host keeps its name, so that it goes back as it came.
  private mutating func nameMoved(_ device: Topology.Device, of node: Topology.Node) {
    guard case .uplink(.move(let host)) = device.kind else { return }
    let reference = Topology.DeviceReference(node.name, device.name)
    guard let name = InterfaceName(host) else {
      errors.append(
        TopologyError("\(reference): no device of the host can be called '\(host)'", at: device.location))
      return
    }
    if names[.node(node.name), default: DeviceNames()].adopt(device.name, as: name) { return }
    errors.append(
      TopologyError(
        "\(reference): the node moves '\(host)' in twice; move each device once", at: device.location))
  }

  mutating func name(of written: String, in namespace: NamespaceID) -> InterfaceName {
    names[namespace, default: DeviceNames()].name(for: written, key: "\(lab)/\(namespace)/\(written)")
  }

  /// The port of a lab's bridge that an interface is joined to. Node names have no dots, so no two are the same.
  static func portName(_ reference: Topology.DeviceReference) -> String {
    "\(reference.node).\(reference.device)"
  }

  func mac(_ namespace: NamespaceID, _ device: String) -> MACAddress {
    StableHash.mac("\(lab)/\(namespace)/\(device)")
  }

  /// Indexes stay with their devices; a new device takes the next that was never given.
  private mutating func giveIndexes() {
    for index in nodeSpaces.indices { nodeSpaces[index] = withIndexes(nodeSpaces[index]) }
    switchSpace = withIndexes(switchSpace)
  }

  mutating func withIndexes(_ state: NamespaceState) -> NamespaceState {
    var space = state
    let old = previous.indexes[space.id.description] ?? [:]
    var next = (old.values.max() ?? 1) + 1
    var given: [String: UInt32] = [:]
    for position in space.links.indices {
      let name = space.links[position].name
      if name == .loopback {
        space.links[position].index = 1
      } else if space.links[position].kind == .external {
        // The host's number goes with the device.
        continue
      } else if let index = old[name.text] {
        given[name.text] = index
        space.links[position].index = index
      } else {
        given[name.text] = next
        space.links[position].index = next
        next += 1
      }
    }
    if !given.isEmpty { allocations.indexes[space.id.description] = given }
    return space
  }

  // MARK: The switch namespace

  private mutating func resolveSwitch() {
    for bridge in topology.bridges {
      let name = name(of: bridge.name.text, in: .switch)
      addToSwitch(
        LinkState(
          name: name, kind: .bridge(BridgeState(bridge.options)), mac: mac(.switch, bridge.name.text),
          mtu: bridge.mtu.map { UInt32(clamping: $0) },
          alternativeNames: DeviceNames.alternatives(bridge.name.text, name)),
        at: bridge.location)
    }
  }

  mutating func addToSwitch(_ link: LinkState, at location: SourceLocation) {
    switchSpace.links.append(link)
    sources.record(StatePath(.switch, .link, key: [link.name.text]), at: location)
  }

  // MARK: What runs

  private mutating func resolveRuntime() {
    for node in topology.nodes {
      let addresses = node.devices.flatMap { book[Topology.DeviceReference(node.name, $0.name)] }.map(
        \.address)
      for address in addresses where !address.isLoopback && !address.isLinkLocal {
        runtime.hosts.append(HostsEntry(address: address, names: [node.name.text]))
      }
      runtime.nodes.append(
        NodeRuntime(
          node: node.name, environment: node.environment, files: node.files, commands: node.commands,
          programs: node.programs, services: node.services, hostPorts: node.hostPorts))
    }
  }
}

extension BridgeState {
  init(_ options: Topology.BridgeOptions) {
    self.init(
      stp: options.stp, ageingTime: options.ageing.map { UInt32(clamping: $0.nanoseconds / 10_000_000) },
      priority: options.priority.map { UInt16(clamping: $0) }, vlanFiltering: options.vlanFiltering,
      multicastSnooping: options.multicastSnooping)
  }
}

extension BridgePortState {
  init(_ options: Topology.PortOptions) {
    self.init(
      isolated: options.isolated, hairpin: options.hairpin, learning: options.learning,
      vlans: options.vlans.isEmpty ? nil : options.vlans.sorted())
  }
}
