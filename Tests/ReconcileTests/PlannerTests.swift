// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Nftables
import Reconcile
import Testing

@Suite("Planner")
struct PlannerTests {
  static let id = NamespaceID.node(known(NodeName("a")))
  static let lab = known(LabName("lab"))

  static func state(_ space: NamespaceState) -> LabState {
    LabState(lab: lab, namespaces: [space])
  }

  static func plan(_ desired: NamespaceState, owned: NamespaceState, unmarked: NamespaceState) -> Plan {
    Planner().plan(state(desired), from: Observation(owned: state(owned), unmarked: state(unmarked)))
  }

  static let lo = LinkState(name: .loopback, kind: .loopback)
  static let device = LinkState(name: known(InterfaceName("x0")), kind: .dummy, mtu: 1500)
  static let route = RouteState(
    destination: .everything(.ipv4), nextHops: [.init(gateway: IPAddress("10.0.0.1"), link: device.name)])
  static let address = AddressState(link: device.name, prefix: known(IPPrefix("10.0.0.2/24")))

  @Test("What a hand made as the lab wants it is adopted")
  func adoption() {
    let desired = NamespaceState(
      id: Self.id, links: [Self.lo, Self.device], addresses: [Self.address], routes: [Self.route])
    let owned = NamespaceState(id: Self.id, links: [Self.lo, Self.device])
    let unmarked = NamespaceState(id: Self.id, addresses: [Self.address], routes: [Self.route])
    #expect(Self.plan(desired, owned: owned, unmarked: unmarked).isEmpty)
  }

  @Test("What a hand made otherwise on the lab's key is changed, and what is beside is left alone")
  func drift() {
    let desired = NamespaceState(
      id: Self.id, links: [Self.lo, Self.device], addresses: [Self.address], routes: [Self.route])
    let owned = NamespaceState(id: Self.id, links: [Self.lo, Self.device], addresses: [Self.address])
    var other = Self.route
    other.nextHops[0].gateway = IPAddress("10.0.0.9")
    let beside = RouteState(
      destination: known(IPPrefix("9.9.9.9/32")), nextHops: [.init(link: Self.device.name)])
    let unmarked = NamespaceState(id: Self.id, routes: [other, beside])
    let plan = Self.plan(desired, owned: owned, unmarked: unmarked)
    #expect(plan.changes.map(\.operation) == [.update])
    #expect(plan.changes.first?.path.attribute == .nextHops)
  }

  @Test("An index that a stranger holds is given up")
  func strangersIndex() {
    var wanted = Self.device
    wanted.index = 2
    var stranger = LinkState(name: known(InterfaceName("hand")), kind: .dummy)
    stranger.index = 2
    let plan = Self.plan(
      NamespaceState(id: Self.id, links: [Self.lo, wanted]),
      owned: NamespaceState(id: Self.id, links: [Self.lo]),
      unmarked: NamespaceState(id: Self.id, links: [stranger]))
    guard case .link(let created)? = plan.changes.first?.after else {
      Issue.record("\(plan)")
      return
    }
    #expect(created.index == nil)
  }

  @Test("A namespace that is made anew takes all and gets all")
  func recreation() {
    let desired = NamespaceState(id: Self.id, links: [Self.lo, Self.device], addresses: [Self.address])
    let observation = Observation(owned: Self.state(desired), unmarked: LabState(lab: Self.lab))
    #expect(Planner().plan(Self.state(desired), from: observation).isEmpty)
    let plan = Planner(recreated: [Self.id]).plan(Self.state(desired), from: observation)
    #expect(plan.batches.map(\.title) == ["make way", "create namespaces", "create links", "configure"])
    #expect(plan.isDisruptive)
  }

  @Test("Documents have the promised keys, with a replacement as one step")
  func document() throws {
    let bridge = LinkState(name: Self.device.name, kind: .bridge(BridgeState()), mtu: 1500)
    let plan = Self.plan(
      NamespaceState(id: Self.id, links: [Self.lo, bridge]),
      owned: NamespaceState(id: Self.id, links: [Self.lo, Self.device]), unmarked: NamespaceState(id: Self.id)
    )
    let document = plan.document
    #expect(document.changes.map(\.op) == [.replace])
    #expect(document.changes.first?.path == "/nodes/a/links/x0")
    #expect(document.changes.first?.disruptive == true)
    #expect(document.schemaVersion == 1)
    #expect(plan.text().contains("-/+ /nodes/a/links/x0"))
    #expect(Plan(lab: Self.lab).text() == "no changes")
  }

  @Test("Planning 2,000 nodes is quick, from nothing and with nothing to do")
  func scale() throws {
    let names = (1...2000).map { "n\($0)" }
    let clock = ContinuousClock()
    let topology = ResolverTests.topology(names, subnet: "10.0.0.0/16")
    var resolution: Resolution?
    let resolving = try clock.measure { resolution = try Resolver().resolve(topology) }
    let desired = try #require(resolution).state
    let nothing = Observation(owned: LabState(lab: desired.lab), unmarked: LabState(lab: desired.lab))
    var plan = Plan(lab: desired.lab)
    let first = clock.measure { plan = Planner().plan(desired, from: nothing) }
    #expect(plan.changes.count > 2000 * 10)
    var kernel = ModelKernel()
    for change in plan.changes { try kernel.apply(change) }
    let observation = PlannerPropertyTests.observe(kernel, for: desired)
    let second = clock.measure { plan = Planner().plan(desired, from: observation) }
    #expect(plan.isEmpty)
    print("2,000 nodes: resolved in \(resolving), planned in \(first), found unchanged in \(second)")
    // A debug build is some twenty times slower than what users have; a quadratic loop would be far beyond this.
    #expect(first < .seconds(20))
    #expect(second < .seconds(20))
  }

  @Test("A flowtable comes before the rules that name it; another device makes its table anew")
  func flowtables() {
    func space(_ devices: [String]?) -> NamespaceState {
      let rules = devices == nil ? [] : [NftRule(expressions: [.flowOffload("f")])].keyed
      let chain = NftChain(name: "c", base: NftBaseChain(hook: .forward), rules: rules)
      let table = NftTable(
        family: .ip, name: "t", chains: [chain],
        flowtables: devices.map { [NftFlowtable(name: "f", devices: $0)] } ?? [])
      return NamespaceState(id: Self.id, links: [Self.lo], tables: [table])
    }
    func kinds(_ desired: NamespaceState, from owned: NamespaceState) -> [String] {
      Self.plan(desired, owned: owned, unmarked: NamespaceState(id: Self.id)).changes.map {
        "\($0.operation) \($0.path.kind.rawValue)"
      }
    }
    #expect(kinds(space(["x0"]), from: space(["x0"])).isEmpty)
    #expect(kinds(space(["x0"]), from: space(nil)) == ["create flowtables", "create nft-rules"])
    #expect(kinds(space(nil), from: space(["x0"])) == ["delete nft-rules", "delete flowtables"])
    #expect(
      kinds(space(["x1"]), from: space(["x0"])) == [
        "delete tables", "create tables", "create chains", "create flowtables", "create nft-rules",
      ])
  }
}
