// SPDX-License-Identifier: GPL-2.0-or-later

// Every typed message, both ways: as iproute2 and the kernel write it, as we do, cut at every length, and as noise.

import NetTypes
import Rtnetlink
import Seeds
import Testing

struct CodecTests {
  @Test("what iproute2 sends is read, and read again from what we write of it", arguments: Fixtures.requests)
  func request(fixture: Fixture) throws { try check(fixture) }

  @Test(
    "what the kernel answers is read, and read again from what we write of it", arguments: Fixtures.answers)
  func answer(fixture: Fixture) throws { try check(fixture) }

  func check(_ fixture: Fixture) throws {
    let message = try #require(try NetlinkMessage.parse(fixture.bytes).first)
    let event = try #require(try parse(message))
    var again = message
    again.payload = event.payload
    #expect(try parse(again) == event)
    for count in 0..<message.payload.count {
      var cut = message
      cut.payload = Array(message.payload.prefix(count))
      _ = try? parse(cut)
    }
  }

  /// Link property messages are links as well, but no event ever has their type.
  func parse(_ message: NetlinkMessage) throws -> RtnetlinkEvent? {
    switch message.type {
    case .newLinkProperty, .deleteLinkProperty: .link(try LinkMessage(parsing: message.payload[...]))
    default: try RtnetlinkEvent(message)
    }
  }

  @Test("the requests of iproute2 mean what their commands say")
  func meaning() throws {
    func payload(_ command: String) throws -> ArraySlice<UInt8> {
      let fixture = try #require(Fixtures.requests.first { $0.command.hasPrefix(command) })
      return try NetlinkMessage.parse(fixture.bytes)[0].payload[...]
    }
    let veth = try LinkMessage(parsing: payload("ip link add va index 10"))
    #expect(veth.name == "va" && veth.index == 10 && veth.mtu == 1400 && veth.transmitQueues == 1)
    #expect(veth.macAddress == MACAddress("02:00:00:00:00:0a"))
    #expect(veth.kind == .veth(peer: LinkMessage(index: 11, name: "vb")))

    var bridge = BridgeOptions()
    bridge.stpState = 1
    bridge.ageingTime = 12300
    bridge.forwardDelay = 400
    bridge.priority = 100
    bridge.multicastSnooping = false
    #expect(try LinkMessage(parsing: payload("ip link add br0")).kind == .bridge(bridge))

    guard case .vxlan(let vxlan) = try LinkMessage(parsing: payload("ip link add vx0")).kind else {
      Issue.record("no vxlan")
      return
    }
    #expect(vxlan.identifier == 42 && vxlan.port == 4789 && vxlan.timeToLive == 64 && vxlan.learning == false)
    #expect(vxlan.remote == IPAddress("10.0.0.9") && vxlan.local == IPAddress("10.0.0.1"))
    #expect(vxlan.portRange == VXLANPortRange(low: 1000, high: 2000))

    var vlan = VLANOptions()
    vlan.identifier = 5
    vlan.etherType = 0x88a8
    #expect(try LinkMessage(parsing: payload("ip link add vl5")).kind == .vlan(vlan))
    #expect(try LinkMessage(parsing: payload("ip link add vrf1")).kind == .vrf(table: 77))
    #expect(try LinkMessage(parsing: payload("ip link add du0")).kind == .dummy)
    #expect(try LinkMessage(parsing: payload("ip link add ifb0")).kind == .ifb)
    #expect(
      try LinkMessage(parsing: payload("ip link set va addrgenmode")).addressGeneration
        == AddressGeneration.none)
    #expect(
      try LinkMessage(parsing: payload("ip link property")).alternativeNames
        == ["a-long-alternative-name", "another"])

    var address = AddressMessage(try #require(IPPrefix("10.1.2.3/24")), index: 11)
    address.broadcast = IPv4Address("10.1.2.255")
    address.label = "vb:1"
    address.routePriority = 77
    #expect(try AddressMessage(parsing: payload("ip addr add 10.1.2.3/24")) == address)

    let route = try RouteMessage(parsing: payload("ip route add 10.9"))
    #expect(route.destination == IPPrefix("10.9.0.0/16") && route.gateway == IPAddress("10.1.2.1"))
    #expect(
      route.priority == 50 && route.protocolNumber.rawValue == 201 && route.table == RouteMessage.mainTable)
    #expect(route.metrics.mtu == 1300 && route.metrics.advertisedMSS == 1200)
    #expect(route.metrics.initialCongestionWindow == 20 && route.metrics.congestionControl == "cubic")
    let multipath = try RouteMessage(parsing: payload("ip route add 10.10"))
    #expect(multipath.table == 1000 && multipath.nextHops.map(\.weight) == [3, 1])
    #expect(multipath.nextHops.map(\.flags) == [[], .onLink])
    #expect(multipath.nextHops.map(\.gateway) == [IPAddress("10.1.2.1"), IPAddress("10.1.2.2")])
    #expect(try RouteMessage(parsing: payload("ip route add blackhole")).type == .blackhole)
    #expect(try RouteMessage(parsing: payload("ip route add fd00:9::")).preference == .high)

    let rule = try RuleMessage(parsing: payload("ip rule add from 10.0"))
    #expect(rule.source == IPPrefix("10.0.0.0/8") && rule.destination == IPPrefix("10.1.0.0/16"))
    #expect(
      rule.mark == 1 && rule.markMask == 0xff && rule.inputInterface == "vb" && rule.outputInterface == "va")
    #expect(rule.table == 300 && rule.priority == 100 && rule.ipProtocol == 6 && rule.typeOfService == 8)
    #expect(rule.sourcePorts == 1000...2000 && rule.destinationPorts == 80...80 && rule.userIDs == 0...1000)
    #expect(rule.suppressPrefixLength == 8 && rule.protocolNumber?.rawValue == 201)
    #expect(try RuleMessage(parsing: payload("ip rule add not")).flags == .invert)
    #expect(try RuleMessage(parsing: payload("ip rule add pref 102 goto")).target == 200)

    let entry = try NeighborMessage(parsing: payload("bridge fdb append"))
    #expect(entry.destination == IPAddress("10.0.0.77") && entry.port == 1234 && entry.vni == 99)
    #expect(entry.flags == .own && entry.state == [.permanent, .noARP])
    #expect(
      try BridgeVLANMessage(parsing: payload("bridge vlan add dev va vid 30-40")).vlans == [
        BridgeVLAN(30...40)
      ])

    guard
      case .netem(let netem) = try QdiscMessage(parsing: payload("tc qdisc add dev br0 root netem delay"))
        .kind
    else {
      Issue.record("no netem")
      return
    }
    // tc sends microseconds as ticks of 64 ns alone.
    #expect(netem.latency == 20_000_000 / 64 * 64 && netem.limit == 500 && netem.gap == 5)
    #expect(netem.rate == NetemRate(bytesPerSecond: 1_250_000, packetOverhead: 4))
    #expect(netem.delayCorrelation == NetemOptions.probability(0.25))
    guard case .tbf(let tbf) = try QdiscMessage(parsing: payload("tc qdisc add dev va root tbf")).kind else {
      Issue.record("no tbf")
      return
    }
    #expect(
      tbf.rate == 12_500_000 && tbf.burst == 16000 && tbf.limit == 100_000 && tbf.peakRate == 25_000_000)
    guard
      case .netem(let gemodel) = try QdiscMessage(
        parsing: payload("tc qdisc add dev br0 root netem loss gem")
      ).kind,
      case .netem(let state) = try QdiscMessage(
        parsing: payload("tc qdisc add dev br0 root netem loss state")
      ).kind,
      case .gilbertElliott = gemodel.lossModel, case .state = state.lossModel
    else {
      Issue.record("no loss model")
      return
    }
    #expect(state.explicitCongestion == true && gemodel.explicitCongestion == nil)
    #expect(state.omitted == [.correlations, .reorder, .corrupt] && !netem.omitted.contains(.correlations))
  }

  @Test("what we send is byte for byte what iproute2 sends, where the order is the same")
  func bytes() throws {
    func bytes(_ command: String) throws -> [UInt8] {
      try #require(Fixtures.requests.first { $0.command.hasPrefix(command) }).bytes
    }
    var up = LinkMessage(index: 11)
    up.set(.up, true)
    #expect(up.message(.newLink, [.request, .acknowledge]).encoded() == (try bytes("ip link set vb up")))
    var rule = RuleMessage(family: .ipv4)
    rule.flags = .invert
    rule.source = IPPrefix("10.3.0.0/16")
    rule.action = .blackhole
    rule.priority = 101
    var request = rule.request(.create)
    request.flags.insert(.acknowledge)
    #expect(
      try RuleMessage(NetlinkMessage.parse(request.encoded())[0])
        == RuleMessage(NetlinkMessage.parse(bytes("ip rule add not"))[0]))
    var proxy = NeighborMessage(family: .ipv4, index: 11)
    proxy.destination = IPAddress("10.1.2.10")
    proxy.flags = .proxy
    proxy.state = .permanent
    request = proxy.request(.create)
    request.flags.insert(.acknowledge)
    #expect(request.encoded() == (try bytes("ip neigh add proxy")))
  }

  @Test("a veth whose peer is a veth with a peer is refused, however deep it goes")
  func nestedPeers() {
    var link = LinkMessage(name: "x")
    for _ in 0..<500 {
      var outer = LinkMessage(name: "x")
      outer.kind = .veth(peer: link)
      link = outer
    }
    #expect(throws: NetlinkDecodingError.self) { try LinkMessage(parsing: link.payload()[...]) }
  }

  @Test("noise and damaged messages are errors or values, never a trap", arguments: 0..<4)
  func noise(seed: Int) throws {
    var random = SplitMix(seed)
    let types: [MessageType] = [
      .newLink, .newAddress, .newRoute, .newRule, .newNeighbor, .newQdisc, .newClass, .newNamespaceID,
      .setLink,
      .error, .done,
    ]
    let fixtures = (Fixtures.requests + Fixtures.answers + Fixtures.errors).map(\.bytes)
    for round in 0..<Rounds.of(600) {
      var bytes: [UInt8]
      if round % 4 == 0 {
        bytes = (0..<Int.random(in: 0..<200, using: &random)).map { _ in
          UInt8.random(in: 0...255, using: &random)
        }
        let message = NetlinkMessage(
          type: types[round / 4 % types.count], flags: [.extendedAcknowledgement], payload: bytes)
        bytes = message.encoded()
      } else {
        bytes = fixtures[Int.random(in: 0..<fixtures.count, using: &random)]
        for _ in 0..<Int.random(in: 1...6, using: &random) {
          bytes[Int.random(in: 16..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
      }
      for message in (try? NetlinkMessage.parse(bytes)) ?? [] {
        if let event = try? RtnetlinkEvent(message) { _ = event.payload }
        _ = try? NetlinkAcknowledgement(message)
      }
    }
  }
}

extension RtnetlinkEvent {
  /// What we write of it.
  var payload: [UInt8] {
    switch self {
    case .link(let message): message.payload()
    case .address(let message): message.payload()
    case .route(let message): message.payload()
    case .rule(let message): message.payload()
    case .neighbor(let message): message.payload()
    case .qdisc(let message): message.payload()
    case .trafficClass(let message): message.payload()
    case .namespaceID(let message): message.payload()
    case .bridgePort(let link, let vlans):
      // The two share a header and differ in their attributes, which stand one after the other.
      link.payload() + vlans.payload().dropFirst(16)
    }
  }
}
