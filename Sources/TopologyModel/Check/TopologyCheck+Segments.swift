// SPDX-License-Identifier: GPL-2.0-or-later

// Links, what they carry, and which interfaces share a layer-2 segment: peers, ports, subnets and addresses.

import LabCore
import NetTypes

extension TopologyCheck {
  /// The device at an end of a link; nil, with a complaint, when it is none that a cable fits.
  private mutating func end(_ reader: Reader?, _ who: String, at location: SourceLocation) -> (
    node: Int, device: Int
  )? {
    guard let reader, let node = node(reader.required("node"), who, at: location) else { return nil }
    let name = reader.required("interface")
    guard let device = device(name, of: node, who, at: location), let index = devices[node][name] else {
      return nil
    }
    guard case .interface = device.kind else {
      fail(
        "\(who): '\(name)' of node '\(nodes[node].name)' is no Interface; only those have a cable",
        at: location)
      return nil
    }
    return (node, index)
  }

  mutating func link(_ reader: Reader) {
    let names = ["a", "b"].map { key in
      reader.object(key).map { "\($0.required("node"))[\"\($0.required("interface"))\"]" } ?? ""
    }
    let who = "link \(names.joined(separator: " - "))"
    let ends = [
      end(reader.object("a"), who, at: reader.location), end(reader.object("b"), who, at: reader.location),
    ]
    let references = ends.compactMap { $0 }.map {
      Topology.DeviceReference(nodes[$0.node].name, nodes[$0.node].devices[$0.device].name)
    }
    // A link that is refused is not missed.
    refusedEnds.formUnion(references)
    guard let a = ends[0], let b = ends[1] else { return }
    guard a != b else {
      fail("\(who): an interface cannot be joined to itself", at: reader.location)
      return
    }
    var isFree = true
    for (end, reference) in zip([a, b], references) {
      switch nodes[end.node].devices[end.device].kind {
      case .interface(.bridge(let bridge)):
        fail(
          "\(who): \(reference) is on bridge '\(bridge)'; an interface has one other end", at: reader.location
        )
        isFree = false
      case .interface(.internet):
        fail(
          "\(who): \(reference) is on the lab's internet; an interface has one other end", at: reader.location
        )
        isFree = false
      case .interface(.peer(let peer)) where peer != reference:
        let first = links.first { $0.a == reference || $0.b == reference }
        fail(
          "\(who): \(reference) is joined to \(peer) already\(first.map { " (\($0.location))" } ?? ""); an interface has one other end",
          at: reader.location)
        isFree = false
      default: break
      }
    }
    guard isFree else { return }
    let mtu = mtu(reader, who)
    nodes[a.node].devices[a.device].kind = .interface(.peer(references[1]))
    nodes[b.node].devices[b.device].kind = .interface(.peer(references[0]))
    for end in [a, b] where nodes[end.node].devices[end.device].mtu == nil {
      nodes[end.node].devices[end.device].mtu = mtu
    }
    links.append(Topology.Link(a: references[0], b: references[1], mtu: mtu, location: reader.location))
  }

  mutating func impairment(_ reader: Reader) {
    guard let target = reader.object("interface"), let content = reader.object("impairment") else { return }
    let who = "impairment of \(target.required("node"))[\"\(target.required("interface"))\"]"
    guard let end = end(target, who, at: reader.location) else { return }
    if let first = nodes[end.node].devices[end.device].impairment {
      fail(
        "\(who): what the interface sends is impaired already (\(first.location)); say it once",
        at: reader.location)
      return
    }
    nodes[end.node].devices[end.device].impairment = impairment(of: content, who)
  }

  mutating func checkSegments() {
    checkSubnets()
    var segments = Segments()
    var portCount = [Int](repeating: 0, count: bridges.count)
    for node in nodes.indices {
      for index in nodes[node].devices.indices {
        let device = nodes[node].devices[index]
        let reference = Topology.DeviceReference(nodes[node].name, device.name)
        if case .interface(.peer(let peer)) = device.kind, peer == reference, !refusedEnds.contains(reference)
        {
          fail(
            "interface '\(device.name)' of node '\(nodes[node].name)' has no peer; put it on a bridge (on:), or join it to another: lab.link(\(reference), …)",
            at: device.location)
        }
        if case .interface(.bridge(let bridge)) = device.kind,
          case .bridge(let place)? = names[bridge.text]?.what
        {
          portCount[place] += 1
          if portCount[place] == Topology.maximumPorts + 1 {
            fail(
              "interface '\(device.name)' of node '\(nodes[node].name)': bridge '\(bridge)' has \(Topology.maximumPorts) ports already, the most that the kernel gives one; use a second bridge",
              at: device.location)
          }
          if device.mtu == nil { nodes[node].devices[index].mtu = bridges[place].mtu }
        }
        segments.join(
          device, reference,
          filtering: { name in
            if case .bridge(let place)? = self.names[name.text]?.what {
              self.bridges[place].options.vlanFiltering == true
            } else {
              false
            }
          })
      }
    }
    checkAddresses(&segments)
    checkRoom()
  }

  /// No two subnets may share addresses.
  private mutating func checkSubnets() {
    var all = bridges.flatMap { bridge in
      bridge.subnets.map { (subnet: $0, who: "bridge '\(bridge.name)'", location: bridge.location) }
    }
    if let internet { all.append((internet.subnet, "internet '\(internet.name)'", internet.location)) }
    all.sort { ($0.subnet, $0.location) < ($1.subnet, $1.location) }
    var around: (subnet: IPPrefix, who: String, location: SourceLocation)?
    for entry in all {
      if let outer = around, outer.subnet.contains(entry.subnet) {
        let (first, second) = outer.location <= entry.location ? (outer, entry) : (entry, outer)
        fail(
          "\(second.who): subnet \(second.subnet) overlaps \(first.subnet) of \(first.who) (\(first.location)); choose another, or leave subnet out where the addresses are private to a site",
          at: second.location)
      } else {
        around = entry
      }
    }
  }

  private mutating func checkAddresses(_ segments: inout Segments) {
    // The first owner of an address in each segment.
    var owners: [Segments.Key: (reference: Topology.DeviceReference, location: SourceLocation)] = [:]
    for node in nodes {
      var own: [IPAddress: (device: String, location: SourceLocation)] = [:]
      var networks: [IPPrefix: (device: String, location: SourceLocation)] = [:]
      for device in node.devices {
        let who = "interface '\(device.name)' of node '\(node.name)'"
        let reference = Topology.DeviceReference(node.name, device.name)
        let segment = segments.root(of: reference)
        if device.addresses.contains(where: { $0.prefix.family == .ipv6 }), let mtu = device.mtu, mtu < 1280 {
          fail("\(who): IPv6 needs an MTU of 1280 or more; it has \(mtu)", at: device.location)
        }
        for address in device.addresses {
          let prefix = address.prefix
          // Link-local addresses are each link's own.
          guard !prefix.address.isLinkLocal else { continue }
          if let first = own[prefix.address] {
            fail(
              "\(who): \(prefix.address) is an address of '\(first.device)' already (\(first.location))",
              at: address.location)
            continue
          }
          own[prefix.address] = (device.name, address.location)
          if let first = owners[Segments.Key(segment: segment, address: prefix.address)] {
            fail(
              "\(who): \(prefix.address) is the address of \(first.reference) on the same segment (\(first.location))",
              at: address.location)
          } else {
            owners[Segments.Key(segment: segment, address: prefix.address)] = (reference, address.location)
          }
          guard !prefix.isHost, device.kind != .loopback, address.peer == nil else { continue }
          if let first = networks[prefix.network], first.device != device.name,
            segments.root(of: Topology.DeviceReference(node.name, first.device)) != segment
          {
            fail(
              "\(who): its network \(prefix.network) is that of '\(first.device)' too (\(first.location)), which is on another segment; packets would leave by one of them only",
              at: address.location)
          } else {
            networks[prefix.network] = (device.name, address.location)
          }
        }
      }
    }
  }

  /// Every interface that takes an address of a subnet must find one.
  private mutating func checkRoom() {
    var free: [IPPrefix: Int] = [:]
    for subnet in bridges.flatMap(\.subnets) { free[subnet] = Self.hosts(in: subnet) }
    if let internet { free[internet.subnet] = Self.hosts(in: internet.subnet) - 1 }
    let subnets = free.keys.sorted()
    guard !subnets.isEmpty else { return }
    var taken: Set<IPAddress> = []
    for node in nodes {
      for device in node.devices {
        for address in device.addresses.map(\.prefix.address) where taken.insert(address).inserted {
          if let subnet = subnet(around: address, in: subnets) { free[subnet, default: 0] -= 1 }
        }
      }
    }
    for node in nodes {
      for device in node.devices {
        for subnet in device.allocatesFrom {
          free[subnet, default: 0] -= 1
          if free[subnet] == -1 {
            fail(
              "interface '\(device.name)' of node '\(node.name)': no free address is left in \(subnet); make the subnet larger",
              at: device.location)
          }
        }
      }
    }
  }

  /// The subnet that an address lies in; the subnets are sorted and do not overlap.
  private func subnet(around address: IPAddress, in subnets: [IPPrefix]) -> IPPrefix? {
    var low = 0
    var high = subnets.count
    while low < high {
      let middle = (low + high) / 2
      if subnets[middle].address <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, subnets[low - 1].contains(address) else { return nil }
    return subnets[low - 1]
  }

  /// How many hosts have room in a subnet.
  static func hosts(in subnet: IPPrefix) -> Int {
    let bits = subnet.family.width - subnet.length
    guard bits > 1 else { return bits == 1 ? 2 : 1 }
    return bits >= 40 ? Int.max / 2 : (1 << bits) - 2
  }
}

/// Which devices hear each other's frames: a union of sets.
struct Segments {
  /// An address in a segment.
  struct Key: Hashable {
    var segment: Int
    var address: IPAddress
  }

  private var parents: [Int] = []
  private var places: [String: Int] = [:]

  private mutating func place(_ name: String) -> Int {
    if let place = places[name] { return place }
    places[name] = parents.count
    parents.append(parents.count)
    return parents.count - 1
  }

  private mutating func root(_ place: Int) -> Int {
    var place = place
    while parents[place] != place {
      parents[place] = parents[parents[place]]
      place = parents[place]
    }
    return place
  }

  mutating func root(of device: Topology.DeviceReference) -> Int { root(place(device.description)) }

  private mutating func unite(_ a: String, _ b: String) {
    parents[root(place(a))] = root(place(b))
  }

  /// Joins a device to what it is plugged into.
  mutating func join(
    _ device: Topology.Device, _ reference: Topology.DeviceReference, filtering: (NodeName) -> Bool
  ) {
    let name = reference.description
    switch device.kind {
    case .interface(.bridge(let bridge)):
      if filtering(bridge) {
        let untagged = device.port?.vlans.first { $0.isPVID }?.id ?? 1
        unite(name, "\(bridge)#\(untagged)")
        for vlan in device.port?.vlans ?? [] where !vlan.isPVID {
          unite("\(name)#\(vlan.id)", "\(bridge)#\(vlan.id)")
        }
      } else {
        unite(name, bridge.text)
      }
    case .interface(.peer(let peer)): unite(name, peer.description)
    case .interface(.internet): unite(name, "#internet")
    case .vlan(let parent, let id):
      unite(name, "\(Topology.DeviceReference(reference.node, parent))#\(id)")
    case .macvlan(let parent, _): unite(name, Topology.DeviceReference(reference.node, parent).description)
    default: break
    }
    // A bridge of a node that filters keeps its VLANs apart; its ports are left to themselves.
    if let master = device.master, device.port?.vlans.isEmpty != false {
      unite(name, Topology.DeviceReference(reference.node, master).description)
    }
  }
}
