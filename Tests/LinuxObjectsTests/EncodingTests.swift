// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc
import LabCore
import NetTypes
import Nftables
import Rtnetlink
import Testing

@testable import LinuxObjects

@Suite("Encoding")
struct EncodingTests {
  let lab: LabName
  let node: NamespaceID
  let kernel = PaperKernel()

  init() throws {
    lab = try #require(LabName("paper"))
    node = .node(try #require(NodeName("a")))
  }

  func creations(_ states: [NamespaceState]) -> Plan.Batch {
    let changes = states.flatMap { state in
      state.objects.map {
        Change(path: $0.path(in: state.id), operation: .create, before: nil, after: $0, reason: "test")
      }
    }
    return Plan.Batch(title: "test", changes: changes)
  }

  func name(_ text: String) throws -> InterfaceName { try #require(InterfaceName(text)) }

  @Test("Dummy and VLAN devices and netem survive the way to messages and back")
  func roundTrip() throws {
    let netem = NetemState(
      delay: Interval(nanoseconds: 20_000_001), jitter: .microseconds(1500), delayCorrelation: 1,
      loss: 42_949_672,
      lossCorrelation: 2, duplicate: 3, duplicateCorrelation: 4, reorder: 5, reorderCorrelation: 6, gap: 7,
      corrupt: 8,
      corruptCorrelation: 9, rate: 12_500_000_000, limit: 5000, seed: 0xdead_beef_0000_0001)
    let state = NamespaceState(
      id: node,
      links: [
        LinkState(
          name: try name("d0"), kind: .dummy, index: 5, mac: MACAddress(rawValue: 0x0200_0000_0001), mtu: 9000
        ),
        LinkState(
          name: try name("d0.7"), kind: .vlan(VLANState(parent: try name("d0"), id: 7, tag: .serviceVLAN)),
          index: 6),
      ],
      qdiscs: [QdiscState(link: try name("d0"), kind: .netem(netem))])
    var applier = Applier(lab: lab, kernel: kernel)
    try applier.apply(creations([state]))
    let seen = try #require(kernel.channels[node]).mirror(StateDecoder(lab: lab))
    #expect(seen.qdiscs == state.qdiscs)
    for (wanted, found) in zip(state.links, seen.links) {
      #expect(wanted.kind == found.kind && wanted.index == found.index && wanted.isUp == found.isUp)
      #expect((wanted.mac ?? found.mac) == found.mac && (wanted.mtu ?? found.mtu) == found.mtu)
    }
  }

  @Test("A pair is one message of the end with the bridge; the other end's namespace follows in one go")
  func pairs() throws {
    let far = NamespaceID.node(try #require(NodeName("b")))
    let states = [
      NamespaceState(
        id: .switch,
        links: [
          LinkState(
            name: try name("a0"), kind: .veth(peer: LinkReference(node, try name("eth0"))), index: 3,
            master: try name("br")),
          LinkState(
            name: try name("b0"), kind: .veth(peer: LinkReference(far, try name("eth0"))), index: 4,
            master: try name("br")),
          LinkState(name: try name("br"), kind: .bridge(BridgeState()), index: 2),
        ]),
      NamespaceState(
        id: node,
        links: [
          LinkState(
            name: try name("eth0"), kind: .veth(peer: LinkReference(.switch, try name("a0"))), index: 2)
        ],
        addresses: [AddressState(link: try name("eth0"), prefix: try #require(IPPrefix("10.0.0.1/24")))]),
      NamespaceState(
        id: far,
        links: [
          LinkState(
            name: try name("eth0"), kind: .veth(peer: LinkReference(.switch, try name("b0"))), index: 2)
        ]),
    ]
    var applier = Applier(lab: lab, kernel: kernel)
    try applier.apply(creations(states))
    #expect(
      kernel.log == [
        "make switch", "make node/a", "make node/b", "switch: RTM_NEWLINK RTM_NEWLINK RTM_NEWLINK",
        "node/a: RTM_NEWLINK RTM_NEWADDR", "node/b: RTM_NEWLINK",
      ])
    let pair = try LinkMessage(try #require(kernel.channels[.switch]?.messages[1]))
    guard case .veth(let peer?) = pair.kind else {
      Issue.record("no peer in \(pair)")
      return
    }
    #expect(pair.master == 2 && pair.index == 3 && pair.isUp && pair.transmitQueues == 1)
    #expect(
      peer.name == "eth0" && peer.index == 2 && peer.namespaceDescriptor == kernel.channels[node]?.handle)
    #expect(peer.group == Ownership(lab: lab).linkGroup)
  }

  @Test("Creations change places until each finds what it relies on; other changes keep theirs")
  func order() throws {
    let hop = RouteState.NextHop(gateway: IPAddress("10.0.0.9"), link: try name("z"))
    let state = NamespaceState(
      id: node,
      links: [
        LinkState(name: try name("a"), kind: .vlan(VLANState(parent: try name("b"), id: 1))),
        LinkState(name: try name("b"), kind: .vlan(VLANState(parent: try name("c"), id: 2))),
        LinkState(name: try name("c"), kind: .dummy, master: try name("z")),
        LinkState(name: try name("z"), kind: .bridge(BridgeState())),
      ],
      routes: [
        RouteState(destination: try #require(IPPrefix("10.1.0.0/16")), nextHops: [hop]),
        RouteState(
          destination: try #require(IPPrefix("10.2.0.0/16")),
          nextHops: [RouteState.NextHop(link: try name("z"))]),
      ])
    let sorted = BatchOrder.sorted(creations([state]).changes).map(\.path.description)
    #expect(
      sorted == [
        "/nodes/a", "/nodes/a/links/z", "/nodes/a/links/c", "/nodes/a/links/b", "/nodes/a/links/a",
        "/nodes/a/routes/10.2.0.0~116", "/nodes/a/routes/10.1.0.0~116",
      ])
  }

  @Test("A circle of devices ends")
  func circle() throws {
    let state = NamespaceState(
      id: node,
      links: [
        LinkState(name: try name("a"), kind: .vlan(VLANState(parent: try name("b"), id: 1))),
        LinkState(name: try name("b"), kind: .vlan(VLANState(parent: try name("a"), id: 2))),
      ])
    #expect(BatchOrder.sorted(creations([state]).changes).count == 3)
  }

  @Test("Settings of a device wait for it; those of the namespace come first")
  func sysctls() throws {
    let state = NamespaceState(
      id: node, links: [LinkState(name: try name("d0"), kind: .dummy)],
      sysctls: [
        SysctlState(name: "net/ipv4/conf/d0/forwarding", value: "1"),
        SysctlState(name: "net/ipv4/ip_forward", value: "0"),
      ])
    var applier = Applier(lab: lab, kernel: kernel)
    try applier.apply(creations([state]))
    #expect(
      kernel.log == [
        "make node/a", "node/a: net/ipv4/ip_forward = 0", "node/a: RTM_NEWLINK",
        "node/a: net/ipv4/conf/d0/forwarding = 1",
      ])
  }

  @Test("Many devices go by their group, and a pair by one of its ends")
  func deletions() throws {
    let far = NamespaceID.node(try #require(NodeName("b")))
    var applier = Applier(lab: lab, kernel: kernel)
    var table = LinkTable()
    for (index, text) in ["d0", "d1", "eth0"].enumerated() { table.insert(try name(text), Int32(index + 2)) }
    var other = LinkTable()
    other.insert(try name("eth0"), 2)
    applier.learn([node: table, far: other])
    let links = [
      (node, LinkState(name: try name("d0"), kind: .dummy)),
      (node, LinkState(name: try name("d1"), kind: .dummy)),
      (node, LinkState(name: try name("eth0"), kind: .veth(peer: LinkReference(far, try name("eth0"))))),
      (far, LinkState(name: try name("eth0"), kind: .veth(peer: LinkReference(node, try name("eth0"))))),
    ]
    let changes = links.map { space, link in
      let object = StateObject.link(link)
      return Change(
        path: object.path(in: space), operation: .delete, before: object, after: nil, reason: "test")
    }
    try applier.apply(Plan.Batch(title: "test", changes: changes))
    #expect(kernel.log == ["node/a: RTM_NEWLINK RTM_NEWLINK RTM_NEWLINK RTM_DELLINK"])
    #expect(try LinkMessage(try #require(kernel.channels[node]?.messages.last)).index == 0)
  }

  @Test(
    "What is gone already is deleted; what is refused names the object, the kernel's words and the remedy")
  func refusals() throws {
    let route = StateObject.route(RouteState(destination: .everything(.ipv4)))
    let path = route.path(in: node)
    var applier = Applier(lab: lab, kernel: kernel)
    let channel = try kernel.channel(to: node)
    channel.refusals = [
      .deleteRoute: TransportError(errno: ESRCH),
      .newRoute: TransportError(errno: ENETUNREACH, text: "No way."),
    ]
    let deletion = Change(path: path, operation: .delete, before: route, after: nil, reason: "test")
    try applier.apply(Plan.Batch(title: "test", changes: [deletion]))
    let creation = Change(path: path, operation: .create, before: nil, after: route, reason: "test")
    let error = #expect(throws: DatapathError.self) {
      try applier.apply(Plan.Batch(title: "test", changes: [creation]))
    }
    #expect(
      error?.description
        == "cannot add route default in node 'a': No way. (ENETUNREACH); "
        + "the gateway must be on a subnet of an interface that is up")
    #expect(error?.path == path && error?.errno == ENETUNREACH)
  }

  @Test("An object on a device that is not there is an error by name")
  func missingDevice() throws {
    let address = StateObject.address(
      AddressState(link: try name("eth7"), prefix: try #require(IPPrefix("10.0.0.1/24"))))
    let change = Change(
      path: address.path(in: node), operation: .create, before: nil, after: address, reason: "")
    var applier = Applier(lab: lab, kernel: kernel)
    let error = #expect(throws: DatapathError.self) {
      try applier.apply(Plan.Batch(title: "test", changes: [change]))
    }
    #expect(error?.code == .notFound && error?.description.contains("device eth7 is not in node/a") == true)
  }
}
