// SPDX-License-Identifier: GPL-2.0-or-later

// Random states that a kernel could hold, from a seed.

import LabCore
import NetTypes
import Nftables
import Seeds

struct RandomLab {
  var random: SplitMix
  let lab: LabName

  init(seed: UInt64) {
    random = SplitMix(seed)
    lab = known(LabName("random"))
  }

  private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
  private mutating func pick<Item>(_ items: [Item]) -> Item { known(items.randomElement(using: &random)) }

  /// A lab of up to five nodes around up to two bridges. Names come from small pools, so that two draws share many.
  mutating func draw() -> LabState {
    var spaces: [NamespaceState] = []
    var middle = NamespaceState(id: .switch, links: [lo])
    let bridges = ["lan", "dmz"].filter { _ in chance(80) }
    for bridge in bridges {
      let options = BridgeState(
        stp: chance(20), ageingTime: pick([30000, 1000]), vlanFiltering: chance(30))
      middle.links.append(
        LinkState(name: known(InterfaceName(bridge)), kind: .bridge(options), mac: mac("switch", bridge)))
    }
    for index in 1...5 where chance(75) {
      spaces.append(node(index, bridges: bridges, middle: &middle))
    }
    addPairs(&spaces)
    if !bridges.isEmpty { spaces.append(middle) }
    if chance(30) { spaces.append(host(&spaces)) }
    for index in spaces.indices { spaces[index].sort() }
    return LabState(lab: lab, namespaces: spaces)
  }

  private var lo: LinkState { LinkState(name: .loopback, kind: .loopback) }

  private func mac(_ space: String, _ name: String) -> MACAddress {
    let hash = Ownership.hash("\(space)/\(name)", seed: 7)
    return MACAddress(rawValue: 0x02_00_00_00_00_00 | UInt64(hash))
  }

  private mutating func node(_ number: Int, bridges: [String], middle: inout NamespaceState) -> NamespaceState
  {
    let name = known(NodeName("n\(number)"))
    let id = NamespaceID.node(name)
    var space = NamespaceState(id: id, links: [lo])
    let ipv6 = chance(50)
    let promote = chance(70) ? "1" : "0"
    space.sysctls = [
      SysctlState(name: "net/ipv4/ip_forward", value: chance(50) ? "1" : "0"),
      SysctlState(name: "net/ipv4/conf/all/promote_secondaries", value: promote),
      SysctlState(name: "net/ipv6/conf/all/disable_ipv6", value: ipv6 ? "0" : "1"),
      SysctlState(name: "net/ipv6/conf/default/disable_ipv6", value: ipv6 ? "0" : "1"),
    ]
    for (slot, bridge) in bridges.enumerated() where chance(80) {
      let device = known(InterfaceName("eth\(slot)"))
      let port = known(InterfaceName("\(name).eth\(slot)"))
      let isUp = chance(90)
      let mtu: UInt32 = chance(75) || ipv6 ? pick([1500, 1400]) : 1200
      space.links.append(
        LinkState(
          name: device, kind: .veth(peer: LinkReference(.switch, port)), mac: mac(name.text, device.text),
          mtu: mtu,
          isUp: isUp))
      var options: BridgePortState? = BridgePortState(isolated: chance(30), hairpin: chance(20) ? true : nil)
      if chance(30) { options?.vlans = [PortVLAN(id: pick([10, 20]), isPVID: true, isUntagged: true)] }
      if chance(40) { options = nil }
      middle.links.append(
        LinkState(
          name: port, kind: .veth(peer: LinkReference(id, device)), mac: mac("switch", port.text), mtu: mtu,
          master: known(InterfaceName(chance(85) ? bridge : bridges[0])), port: options))
      if chance(15) { middle.fdb.append(FDBState(link: port, mac: mac("fdb", port.text))) }
      addAddresses(device, subnet: slot + 1, host: number, ipv6: ipv6 && mtu >= 1280, isUp: isUp, &space)
      if isUp, chance(20) {
        space.neighbors.append(
          NeighborState(
            link: device, address: known(IPAddress("10.0.\(slot + 1).77")),
            mac: mac("neighbour", pick(["a", "b"])))
        )
      }
      if chance(25) { space.qdiscs.append(QdiscState(link: device, kind: qdisc())) }
      if chance(30) {
        space.sysctls.append(SysctlState(name: "net/ipv4/conf/\(device)/rp_filter", value: pick(["1", "2"])))
      }
      if chance(25) {
        space.links.append(
          LinkState(
            name: known(InterfaceName("v\(slot)")),
            kind: .vlan(VLANState(parent: device, id: pick([10, 20]))),
            mtu: min(mtu, 1400), isUp: isUp))
      }
    }
    if chance(30) {
      space.links.append(
        LinkState(name: known(InterfaceName("x0")), kind: chance(50) ? .dummy : .bridge(BridgeState())))
    }
    if chance(30), let device = space.links.first(where: { $0.name.text == "eth0" }) {
      space.links.append(
        LinkState(
          name: known(InterfaceName("vx0")),
          kind: .vxlan(
            VXLANState(
              id: pick([7, 8]), remote: IPAddress(pick(["10.9.9.9", "10.9.9.8"])), underlay: device.name))))
    }
    if chance(20), space.links.contains(where: { $0.name.text == "eth0" }) {
      space.links.append(
        LinkState(
          name: known(InterfaceName("mv0")),
          kind: .macvlan(
            MacvlanState(
              parent: LinkReference(id, known(InterfaceName("eth0"))), mode: pick([.bridge, .private]))))
      )
    }
    if chance(30) {
      space.policyRules.append(
        PolicyRuleState(
          family: .ipv4, priority: 100, source: IPPrefix("10.0.1.0/24"),
          action: pick([.lookup(table: 100), .lookup(table: 200), .blackhole])))
    }
    if chance(40) { space.tables = [table()] }
    return space
  }

  private mutating func addAddresses(
    _ device: InterfaceName, subnet: Int, host: Int, ipv6: Bool, isUp: Bool, _ space: inout NamespaceState
  ) {
    var hosts = [host * 10, host * 10 + 1, host * 10 + 2].filter { _ in chance(60) }
    hosts.shuffle(using: &random)
    for number in hosts {
      space.addresses.append(
        AddressState(link: device, prefix: known(IPPrefix("10.0.\(subnet).\(number)/24"))))
    }
    if ipv6, chance(70) {
      space.addresses.append(
        AddressState(link: device, prefix: known(IPPrefix("fd00:\(subnet)::\(host)/\(pick([64, 80]))"))))
    }
    guard isUp, !hosts.isEmpty else { return }
    if chance(60), subnet == 1 {
      space.routes.append(
        RouteState(
          destination: .everything(.ipv4), type: .unicast,
          nextHops: [.init(gateway: IPAddress("10.0.\(subnet).\(pick([1, 2]))"), link: device)],
          preferredSource: chance(40) ? IPAddress("10.0.\(subnet).\(hosts[0])") : nil))
    } else if chance(30), subnet == 1 {
      space.routes.append(
        RouteState(destination: .everything(.ipv4), type: pick([.blackhole, .unreachable])))
    }
    if chance(30) {
      space.routes.append(
        RouteState(
          destination: known(IPPrefix("192.168.\(subnet).0/24")), nextHops: [.init(link: device)],
          mtu: pick([nil, 1300])))
    }
    if ipv6, chance(40) {
      space.routes.append(
        RouteState(destination: known(IPPrefix("fd99:\(subnet)::/64")), nextHops: [.init(link: device)]))
    }
  }

  /// Direct pairs between nodes.
  private mutating func addPairs(_ spaces: inout [NamespaceState]) {
    for slot in 0..<3 where chance(60) && spaces.count >= 2 {
      let a = Int.random(in: 0..<spaces.count, using: &random)
      let b = Int.random(in: 0..<spaces.count, using: &random)
      let name = known(InterfaceName("p\(slot)"))
      guard a != b else { continue }
      for (own, other) in [(a, b), (b, a)] {
        spaces[own].links.append(
          LinkState(
            name: name, kind: .veth(peer: LinkReference(spaces[other].id, name)),
            mac: mac(spaces[own].id.description, name.text), mtu: 1500))
      }
      spaces[a].addresses.append(AddressState(link: name, prefix: known(IPPrefix("172.16.\(slot).1/30"))))
      spaces[b].addresses.append(AddressState(link: name, prefix: known(IPPrefix("172.16.\(slot).2/30"))))
    }
  }

  private mutating func host(_ spaces: inout [NamespaceState]) -> NamespaceState {
    var host = NamespaceState(id: .host, sysctls: [SysctlState(name: "net/ipv4/ip_forward", value: "1")])
    guard let index = spaces.indices.first(where: { spaces[$0].id != .switch }) else { return host }
    let inner = known(InterfaceName("up0"))
    let outer = known(InterfaceName("nfrandom"))
    spaces[index].links.append(
      LinkState(name: inner, kind: .veth(peer: LinkReference(.host, outer)), mac: mac("up", "in"), mtu: 1500))
    host.links = [
      LinkState(
        name: outer, kind: .veth(peer: LinkReference(spaces[index].id, inner)), mac: mac("up", "out"),
        mtu: 1500)
    ]
    host.addresses = [AddressState(link: outer, prefix: known(IPPrefix("100.64.0.1/24")))]
    return host
  }

  private mutating func qdisc() -> QdiscKind {
    chance(50)
      ? .netem(NetemState(delay: .milliseconds(pick([10, 20])), loss: pick([0, 1000]), seed: 7))
      : .tokenBucket(TokenBucketState(rate: pick([1_000_000, 2_000_000]), burst: 65536, limit: 131072))
  }

  private mutating func table() -> NftTable {
    var rules: [NftRule] = []
    for mark in [1, 2, 3, 4, 5, 6].shuffled(using: &random).prefix(Int.random(in: 0...6, using: &random)) {
      rules.append(
        NftRule(expressions: [.immediate(.verdict(mark % 2 == 0 ? .accept : .drop))], comment: "rule \(mark)")
      )
    }
    let elements = [1, 2, 3, 4].filter { _ in chance(60) }.map {
      NftSetElement(key: NftData([10, 0, 0, UInt8($0)]))
    }
    return NftTable(
      family: .inet, name: "netforge-random", comment: "ours",
      chains: [
        NftChain(
          name: "forward",
          base: NftBaseChain(hook: chance(90) ? .forward : .input, policy: chance(50) ? .drop : .accept),
          rules: rules.keyed),
        NftChain(name: "extra", rules: chance(50) ? Array(rules.prefix(2)).keyed : []),
      ].filter { $0.name == "forward" || chance(60) },
      sets: chance(70) ? [NftSet(name: "admins", keyTypes: [.ipv4Address], elements: elements)] : [])
  }

  /// What a careless hand does to a lab.
  mutating func damage(_ kernel: inout ModelKernel) {
    for id in kernel.namespaces.keys.sorted() where id != .host {
      guard let space = kernel.namespaces[id] else { continue }
      if chance(30), let address = space.addresses.randomElement(using: &random) {
        drift(.delete, .address(address), nil, in: id, &kernel)
      }
      if chance(30), let route = space.routes.randomElement(using: &random) {
        drift(.delete, .route(route), nil, in: id, &kernel)
      }
      if chance(30),
        var link = space.links.values.sorted(by: { $0.name < $1.name }).randomElement(using: &random)
      {
        link.isUp = false
        drift(.update, nil, .link(link), attribute: .up, in: id, &kernel)
      }
      if chance(15), let link = space.links.keys.sorted().randomElement(using: &random), link != .loopback {
        kernel.removeLink(LinkReference(id, link))
      }
      if chance(5) { kernel.removeNamespace(id) }
    }
  }

  private func drift(
    _ operation: Change.Operation, _ before: StateObject?, _ after: StateObject?,
    attribute: AttributeName? = nil,
    in id: NamespaceID, _ kernel: inout ModelKernel
  ) {
    guard var path = (after ?? before)?.path(in: id) else { return }
    path.attribute = attribute
    try? kernel.apply(Change(path: path, operation: operation, before: before, after: after, reason: "drift"))
  }
}
