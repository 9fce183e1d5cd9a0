// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@Suite(.enabled(if: Requirements.isRoot, "needs root: makes network namespaces"))
struct NetlinkSocketTests {
  /// A namespace without a name and a socket in it.
  func fresh(interposer: NetlinkInterposer? = nil) throws -> NetlinkSocket {
    try NamespaceThread().perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "fresh")
      return try visitor.socket(interposer: interposer)
    }
  }

  func bridge(_ name: String, index: Int32 = 0) -> LinkMessage {
    var link = LinkMessage(index: index, name: name)
    link.kind = .bridge(BridgeOptions())
    return link
  }

  @Test("links, addresses and routes of a node come up in one batch, as ip sees them")
  func node() throws {
    let scratch = try ScratchNamespaces("node")
    let (a, b) = (scratch.name("a"), scratch.name("b"))
    let thread = try NamespaceThread()
    let (socketA, socketB, namespaceB) = try thread.perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(a, in: .system)
      let socketA = try visitor.socket()
      let namespace = try visitor.create(b, in: .system)
      return (socketA, try visitor.socket(), namespace)
    }
    var peer = LinkMessage(index: 7, name: "eth0")
    peer.namespaceDescriptor = namespaceB.descriptor.rawValue
    peer.macAddress = MACAddress("02:00:00:00:00:07")
    var link = LinkMessage(index: 5, name: "veth5")
    link.kind = .veth(peer: peer)
    link.mtu = 1400
    link.group = 9
    link.set(.up, true)
    var alias = LinkMessage(index: 5)
    alias.alias = "an alias"
    let outcomes = try socketA.transact([
      link.request(.create), alias.request(.change),
      LinkMessage.addAlternativeNames(["a-longer-alternative-name"], index: 5),
    ])
    #expect(outcomes.map(\.error) == [nil, nil, nil])

    var up = LinkMessage(index: 7)
    up.set(.up, true)
    let prefix = try #require(IPPrefix("10.1.2.3/24"))
    var address = AddressMessage(prefix, index: 7)
    address.protocolNumber = 201
    var route = RouteMessage(family: .ipv4)
    route.destination = IPPrefix("10.9.0.0/16")
    route.gateway = IPAddress("10.1.2.1")
    route.table = RouteMessage.mainTable
    route.protocolNumber = RouteProtocol(rawValue: 201)
    route.type = .unicast
    route.priority = 50
    let configured = try socketB.transact([
      up.request(.change), address.request(.create), route.request(.create),
    ])
    #expect(configured.map(\.error) == [nil, nil, nil])

    let linkA = try #require(try ip(a, "link", "show", "dev", "veth5").first)
    #expect(linkA["mtu"] as? Int == 1400)
    #expect(linkA["ifalias"] as? String == "an alias")
    #expect(linkA["altnames"] as? [String] == ["a-longer-alternative-name"])
    #expect(linkA["group"] as? String == "9")
    let linkB = try #require(try ip(b, "addr", "show", "dev", "eth0").first)
    #expect(linkB["address"] as? String == "02:00:00:00:00:07")
    #expect(linkB["ifindex"] as? Int == 7)
    let routes = try ip(b, "route", "show", "10.9.0.0/16")
    #expect(routes.first?["gateway"] as? String == "10.1.2.1")
    #expect(routes.first?["metric"] as? Int == 50)

    let seen = try socketB.dump(AddressMessage.dump(.ipv4, index: 7), as: AddressMessage.self)
    #expect(seen.map(\.prefix) == [prefix])
    let dumped = try socketA.dump(LinkMessage.dump(), as: LinkMessage.self)
    let own = try #require(dumped.first { $0.index == 5 })
    #expect(
      own.alias == "an alias" && own.group == 9 && own.alternativeNames == ["a-longer-alternative-name"])
    #expect(own.kind?.name == "veth" && own.linkNamespaceID != nil)
  }

  @Test(
    "an error is told of the message that failed, with the kernel's words, and the rest is done",
    arguments: [NetlinkSocket.Acknowledgement.last, .each])
  func attribution(acknowledge: NetlinkSocket.Acknowledgement) throws {
    let socket = try fresh()
    var mtu = LinkMessage(index: 10)
    mtu.mtu = 1 << 20
    let outcomes = try socket.transact(
      [
        bridge("br0", index: 10).request(.create), bridge("br0", index: 11).request(.create),
        mtu.request(.change), bridge("br1", index: 12).request(.create),
      ], acknowledge: acknowledge)
    #expect(outcomes[0].error == nil && outcomes[3].error == nil)
    #expect(outcomes[1].error?.errno == .fileExists)
    #expect(outcomes[2].error?.errno == .invalidArgument)
    #expect(outcomes[2].error?.text == "mtu greater than device maximum")
    #expect(
      outcomes[2].error?.description
        == "RTM_NEWLINK in namespace 'fresh' failed: invalid argument (EINVAL); kernel: mtu greater than device maximum"
    )
    let names = try socket.dump(LinkMessage.dump(), as: LinkMessage.self).compactMap(\.name)
    #expect(names.sorted() == ["br0", "br1", "lo"])
  }

  @Test("more messages than the receive buffer holds answers for are all told of")
  func manyMessages() throws {
    let socket = try fresh()
    let addresses = try (0..<4000).map { number in
      let prefix = try #require(IPPrefix("127.1.\(number / 250).\(number % 250 + 1)/32"))
      return AddressMessage(prefix, index: 1).request(.create)
    }
    let outcomes = try socket.transact(addresses + addresses, acknowledge: .each)
    #expect(outcomes.prefix(4000).allSatisfy { $0.error == nil })
    #expect(outcomes.suffix(4000).allSatisfy { $0.error?.errno == .fileExists })
    #expect(try socket.dump(AddressMessage.dump(.ipv4), as: AddressMessage.self).count == 4000)
  }

  @Test("answers that the kernel had no room for are an error, and the socket is of use after it")
  func overrun() throws {
    let socket = try fresh()
    let up = LinkMessage(index: 1).request(.change)
    // The socket asks for room with its first change.
    #expect(try socket.transact([up]).map(\.error) == [nil])
    var size: Int32 = 1
    setsockopt(socket.descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    let error = #expect(throws: NetlinkError.self) {
      _ = try socket.transact([NetlinkMessage](repeating: up, count: 500), acknowledge: .each)
    }
    #expect(error?.code == .overrun)
    #expect(try socket.dump(LinkMessage.dump(), as: LinkMessage.self).map(\.name) == ["lo"])
    #expect(try socket.transact([up]).map(\.error) == [nil])
  }

  @Test("a namespace has one id, whoever asks for it first")
  func namespaceIDs() throws {
    let (socket, other) = try NamespaceThread().perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "asker")
      return (try visitor.socket(), try visitor.create(label: "other"))
    }
    let identifier = try socket.namespaceID(of: other)
    #expect(try socket.namespaceID(of: other) == identifier)
    // Its links can be read from here by that id.
    let links = try socket.dump(LinkMessage.dump(targetNamespaceID: identifier), as: LinkMessage.self)
    #expect(links.map(\.name) == ["lo"])
  }

  @Test("a GET is answered beside the acknowledgements of other messages")
  func getAnswers() throws {
    let socket = try fresh()
    let outcomes = try socket.transact([
      bridge("br0", index: 10).request(.create), LinkMessage(index: 10).request(.get),
      LinkMessage(name: "nothing").request(.get), LinkMessage(index: 1).request(.get),
    ])
    #expect(try outcomes[1].answers.map { try LinkMessage($0).name } == ["br0"])
    #expect(outcomes[2].error?.errno == Errno(rawValue: ENODEV))
    #expect(try outcomes[3].answers.map { try LinkMessage($0).name } == ["lo"])
  }

  @Test("a dump takes the kernel's filters, and its errors have the kernel's words")
  func dumpFilters() throws {
    let socket = try fresh()
    try socket.request(bridge("br0", index: 10).request(.create))
    var veth = LinkMessage(index: 11, name: "a")
    veth.kind = .veth(peer: LinkMessage(index: 12, name: "b"))
    veth.master = 10
    try socket.request(veth.request(.create))
    #expect(try socket.dump(LinkMessage.dump(master: 10), as: LinkMessage.self).map(\.index) == [11])
    #expect(try socket.dump(LinkMessage.dump(kind: "bridge"), as: LinkMessage.self).map(\.index) == [10])
    var up = LinkMessage(index: 1)
    up.set(.up, true)
    try socket.request(up.request(.change))
    let local = try socket.dump(
      RouteMessage.dump(.ipv4, table: RouteMessage.localTable), as: RouteMessage.self)
    #expect(!local.isEmpty && local.allSatisfy { $0.table == RouteMessage.localTable })
    let error = #expect(throws: NetlinkError.self) {
      _ = try socket.dump(RouteMessage.dump(.ipv4, table: 4711))
    }
    #expect(error?.errno == .noSuchFileOrDirectory)
    #expect(error?.text?.contains("table does not exist") == true)
    // The failed dump leaves nothing behind.
    #expect(try socket.dump(LinkMessage.dump(), as: LinkMessage.self).count == 4)
  }

  @Test("an interposed error stands for the message, which is never sent")
  func interposition() throws {
    let socket = try fresh { message, label in
      #expect(label == "fresh")
      return message.type == .newLink ? .noMemory : nil
    }
    let outcomes = try socket.transact([
      bridge("br0").request(.create),
      AddressMessage(try #require(IPPrefix("127.0.0.1/8")), index: 1).request(.create),
    ])
    #expect(outcomes[0].error?.errno == .noMemory)
    #expect(outcomes[1].error == nil)
    #expect(try socket.dump(LinkMessage.dump(), as: LinkMessage.self).map(\.name) == ["lo"])
  }

  @Test("what cannot be sent is refused by name, and what stands beside it is sent")
  func unsendable() throws {
    let socket = try fresh()
    var route = RouteMessage(family: .ipv4)
    route.nextHops = (0..<9000).map { _ in NextHop(outputIndex: 1, gateway: IPAddress("127.0.0.2")) }
    let outcomes = try socket.transact([
      route.request(.create), LinkMessage.dump(), bridge("br0").request(.create),
    ])
    #expect(outcomes[0].error?.code == .invalidRequest)
    #expect(outcomes[1].error?.code == .invalidRequest)
    #expect(outcomes[2].error == nil)
    #expect(throws: NetlinkError.self) { _ = try socket.dump(LinkMessage(index: 1).request(.get)) }
  }

  @Test("qdiscs are made and read back as they were asked for")
  func tokenBucket() throws {
    let scratch = try ScratchNamespaces("qdisc")
    let name = scratch.name("a")
    let socket = try NamespaceThread().perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(name, in: .system)
      return try visitor.socket()
    }
    try socket.request(bridge("br0", index: 10).request(.create))
    let options = TBFOptions(rate: 12_500_000, burst: 16000, limit: 100_000)
    try socket.request(QdiscMessage(index: 10, kind: .tbf(options)).request(.createOrReplace))
    let seen = try #require(try socket.dump(QdiscMessage.dump(index: 10), as: QdiscMessage.self).first)
    #expect(seen.kind == .tbf(options))
    #expect(seen.statistics != nil)
    let told =
      try JSONSerialization.jsonObject(
        with: try output(["tc", "-n", name, "-j", "qdisc", "show", "dev", "br0"])) as? [[String: Any]]
    let tbf = try #require(told?.first?["options"] as? [String: Any])
    #expect(tbf["rate"] as? Int == 12_500_000)
    #expect(tbf["burst"] as? Int == 16000)
    let root = QdiscHandle(major: 1)
    try socket.request(
      QdiscMessage(index: 10, handle: root, kind: .htb(HTBOptions(defaultClass: 10))).request(
        .createOrReplace))
    let shape = HTBClassOptions(rate: 1_250_000, ceiling: 2_500_000, burst: 1600, ceilingBurst: 1600)
    let branch = ClassMessage(
      index: 10, parent: root, handle: QdiscHandle(major: 1, minor: 10), kind: .htb(shape))
    try socket.request(branch.request(.create))
    let classes = try socket.dump(ClassMessage.dump(index: 10), as: ClassMessage.self)
    guard case .htb(let back) = try #require(classes.first?.kind) else {
      Issue.record("the class is no htb class")
      return
    }
    #expect(back.rate == shape.rate && back.ceiling == shape.ceiling && back.burst == shape.burst)
  }

  @Test("policy rules, bridges, ports and neighbours come back as they were asked for")
  func others() throws {
    let socket = try fresh()
    var rule = RuleMessage(family: .ipv4)
    rule.priority = 100
    rule.source = IPPrefix("10.0.0.0/8")
    rule.mark = 1
    rule.markMask = 0xff
    rule.table = 300
    rule.destinationPorts = 80...90
    rule.ipProtocol = 6
    rule.protocolNumber = RouteProtocol(rawValue: 201)
    var veth = LinkMessage(index: 11, name: "a")
    veth.kind = .veth(peer: LinkMessage(index: 12, name: "b"))
    var switchLink = bridge("br0", index: 10)
    var settings = BridgeOptions()
    settings.ageingTime = 12300
    settings.multicastSnooping = false
    switchLink.kind = .bridge(settings)
    veth.master = 10
    veth.set(.up, true)
    var port = LinkMessage(index: 11)
    var portSettings = BridgePortOptions()
    portSettings.isolated = true
    portSettings.hairpin = true
    portSettings.learning = false
    port.port = .bridge(portSettings)
    var neighbor = NeighborMessage(family: .ipv4, index: 12)
    neighbor.destination = IPAddress("10.0.0.9")
    neighbor.macAddress = MACAddress("02:00:00:00:00:09")
    neighbor.state = .permanent
    neighbor.protocolNumber = 201
    var entry = NeighborMessage(family: .bridge, index: 11)
    entry.macAddress = MACAddress("02:00:00:00:00:0a")
    // What `bridge fdb add … static` says; permanent would be an address of the bridge itself.
    entry.state = .noARP
    entry.flags = .master
    let messages = [
      rule.request(.create), switchLink.request(.create), veth.request(.create), port.request(.change),
      neighbor.request(.createOrReplace), entry.request(.createOrReplace),
    ]
    for outcome in try socket.transact(messages) { #expect(outcome.error == nil) }

    let rules = try socket.dump(RuleMessage.dump(.ipv4), as: RuleMessage.self)
    let seen = try #require(rules.first { $0.priority == 100 })
    #expect(seen.source == rule.source && seen.mark == 1 && seen.markMask == 0xff && seen.table == 300)
    #expect(seen.destinationPorts == 80...90 && seen.ipProtocol == 6 && seen.protocolNumber?.rawValue == 201)

    let links = try socket.dump(LinkMessage.dump(), as: LinkMessage.self)
    guard case .bridge(let told)? = links.first(where: { $0.index == 10 })?.kind,
      case .bridge(let toldPort)? = links.first(where: { $0.index == 11 })?.port
    else {
      Issue.record("no bridge or no port in the dump")
      return
    }
    #expect(told.ageingTime == 12300 && told.multicastSnooping == false)
    #expect(toldPort.isolated == true && toldPort.hairpin == true && toldPort.learning == false)

    let neighbors = try socket.dump(NeighborMessage.dump(.ipv4, index: 12), as: NeighborMessage.self)
    #expect(neighbors.first?.macAddress == neighbor.macAddress && neighbors.first?.state == .permanent)
    #expect(neighbors.first?.protocolNumber == 201)
    let entries = try socket.dump(NeighborMessage.dumpForwarding(master: 10), as: NeighborMessage.self)
    #expect(entries.contains { $0.macAddress == entry.macAddress && $0.state.contains(.noARP) })
  }

  @Test(
    "the VLANs of a bridge's ports come back as they were asked for",
    .enabled(if: BridgeVLANFiltering.isThere, "needs a kernel with CONFIG_BRIDGE_VLAN_FILTERING"))
  func bridgeVLANs() throws {
    let socket = try fresh()
    var switchLink = bridge("br0", index: 10)
    var settings = BridgeOptions()
    settings.vlanFiltering = true
    switchLink.kind = .bridge(settings)
    var veth = LinkMessage(index: 11, name: "a")
    veth.kind = .veth(peer: LinkMessage(index: 12, name: "b"))
    veth.master = 10
    let vlans = BridgeVLANMessage(
      index: 11, vlans: [BridgeVLAN(20, [.pvid, .untagged]), BridgeVLAN(30...40)])
    for outcome in try socket.transact([switchLink.request(.create), veth.request(.create), vlans.addRequest])
    {
      #expect(outcome.error == nil)
    }

    let ports = try socket.dump(BridgeVLANMessage.dump(), as: BridgeVLANMessage.self)
    let own = try #require(ports.first { $0.index == 11 })
    #expect(
      own.vlans == [BridgeVLAN(1, .untagged), BridgeVLAN(20, [.pvid, .untagged]), BridgeVLAN(30...40)])
    #expect(!own.isBridgeItself && ports.contains { $0.index == 10 && $0.isBridgeItself })
  }
}

/// Whether the kernel's bridges know VLANs; asked once.
enum BridgeVLANFiltering {
  static let isThere: Bool = {
    var link = LinkMessage(name: "br0")
    var settings = BridgeOptions()
    settings.vlanFiltering = true
    link.kind = .bridge(settings)
    let request = link.request(.create)
    let outcome = try? NamespaceThread().perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "probe")
      return try visitor.socket().transact([request])
    }
    return outcome?.allSatisfy { $0.error == nil } == true
  }()
}
