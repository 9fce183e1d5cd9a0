// SPDX-License-Identifier: GPL-2.0-or-later

// VXLAN between emulated hosts, and its requests and database beside the host's kernel.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

extension Kernel {
  fileprivate mutating func remotes(_ node: NamespaceIndex) throws -> [NeighborMessage] {
    try dump(NeighborMessage.dumpForwarding(index: ifindex("vx0", node)), in: node).map {
      try NeighborMessage(parsing: $0.payload[...])
    }
  }
}

@Suite("VXLAN")
struct VXLANTests {
  private static func options(_ body: (inout VXLANOptions) -> Void) -> LinkKind {
    var options = VXLANOptions()
    options.identifier = 42
    options.port = 4789
    body(&options)
    return .vxlan(options)
  }

  private static func entry(_ mac: String, _ remote: String?, _ index: Int32) -> NeighborMessage {
    var entry = NeighborMessage(family: .bridge, index: index)
    entry.macAddress = MACAddress(mac)
    entry.destination = remote.flatMap { IPAddress($0) }
    entry.state = [.permanent, .noARP]
    entry.flags = .own
    return entry
  }

  /// Hosts 10.0.0.N on one bridge, each with a VXLAN device of address 192.168.0.N.
  private func hosts(
    _ count: Int, in kernel: inout Kernel, _ body: (inout VXLANOptions, Int) -> Void = { _, _ in }
  ) throws -> [NamespaceIndex] {
    let hub = try kernel.node()
    try kernel.bridge("br0", hub)
    var nodes: [NamespaceIndex] = []
    for number in 1...count {
      let node = try kernel.node()
      try kernel.veth("eth0", node, "p\(number)", hub)
      try kernel.join("p\(number)", "br0", hub)
      try kernel.address("10.0.0.\(number)/24", "eth0", node)
      try kernel.add("vx0", Self.options { body(&$0, number) }, node)
      try kernel.address("192.168.0.\(number)/24", "vx0", node)
      nodes.append(node)
    }
    return nodes
  }

  @Test("Two hosts talk through a tunnel to each other's address; frames are RFC 7348's")
  func remote() throws {
    var kernel = Kernel()
    let nodes = try hosts(2, in: &kernel) { options, number in
      options.remote = IPAddress("10.0.0.\(3 - number)")
    }
    kernel.setCapture(true, on: try kernel.find("eth0", nodes[1]))
    #expect(try kernel.ping("192.168.0.2", from: nodes[0]).count == 1)
    let frames = kernel.takeCapture().map(\.frame).filter { $0.count > 60 && $0[12] == 8 && $0[13] == 0 }
    #expect(frames.count >= 4)
    for frame in frames {
      #expect(Array(frame[36..<38]) == [0x12, 0xb5])
      #expect(Array(frame[42..<50]) == [8, 0, 0, 0, 0, 0, 42, 0])
      #expect((32768...60999).contains(Int(frame[34]) << 8 | Int(frame[35])))
      #expect(frame[40] != 0 || frame[41] != 0)
    }
    #expect(kernel.statistics("vx0", nodes[1]).rxPackets >= 2)
    // What does not fit into one packet of the underlay goes in two.
    #expect(try kernel.ping("192.168.0.2", from: nodes[0], length: 1472).count == 1)
    #expect(kernel.accounting.isClosed)
  }

  @Test("Groups and unknown addresses go to every remote; what is learned goes to one, and is forgotten")
  func learning() throws {
    var kernel = Kernel()
    let nodes = try hosts(3, in: &kernel) { options, _ in options.ageing = 30 }
    for (number, node) in nodes.enumerated() {
      for other in 1...3 where other != number + 1 {
        try kernel.perform(
          Self.entry("00:00:00:00:00:00", "10.0.0.\(other)", kernel.ifindex("vx0", node)).request(.append),
          in: node)
      }
    }
    var entries = try kernel.remotes(nodes[0])
    #expect(entries.count == 2)
    #expect(try kernel.ping("192.168.0.3", from: nodes[0]).count == 1)
    #expect(try kernel.ping("192.168.0.2", from: nodes[0]).count == 1)
    let learned = try kernel.remotes(nodes[0]).filter { $0.state == .reachable }
    #expect(
      learned.map(\.destination).compactMap { $0.map { "\($0)" } }.sorted() == ["10.0.0.2", "10.0.0.3"])
    let before = kernel.statistics("vx0", nodes[1]).rxPackets
    #expect(try kernel.ping("192.168.0.3", from: nodes[0]).count == 1)
    #expect(kernel.statistics("vx0", nodes[1]).rxPackets == before)
    kernel.run(for: .seconds(60))
    entries = try kernel.remotes(nodes[0])
    #expect(!entries.contains { $0.state == .reachable })
    #expect(entries.count == 2)
    #expect(kernel.accounting.isClosed)
  }

  @Test("Another identifier is another network, and a port without a device a program's")
  func identifiers() throws {
    var kernel = Kernel()
    let nodes = try hosts(2, in: &kernel) { options, number in
      options.remote = IPAddress("10.0.0.\(3 - number)")
      options.identifier = UInt32(number)
    }
    #expect(try kernel.ping("192.168.0.2", from: nodes[0]).isEmpty)
    #expect(kernel.drops(of: nodes[1])?[.vxlanUnknownIdentifier] ?? 0 > 0)
    try kernel.perform(LinkMessage(name: "vx0").request(.delete), in: nodes[1])
    let before = kernel.counted(nodes[1])[.udpNoPorts]
    #expect(try kernel.ping("192.168.0.2", from: nodes[0]).isEmpty)
    #expect(kernel.counted(nodes[1])[.udpNoPorts] > before)
    try kernel.perform(LinkMessage(name: "vx0").request(.delete), in: nodes[0])
    #expect(kernel.vxlans.count == 0)
    #expect(kernel.accounting.isClosed)
  }

  @Test("A tunnel whose way leads into itself ends its packets")
  func loop() throws {
    var kernel = Kernel()
    let nodes = try hosts(2, in: &kernel) { options, number in options.remote = IPAddress("172.16.0.9") }
    try kernel.address("172.16.0.1/24", "vx0", nodes[0])
    #expect(try kernel.ping("172.16.0.9", from: nodes[0]).isEmpty)
    #expect(kernel.statistics("vx0", nodes[0]).txErrors > 0)
    #expect(kernel.accounting.isClosed)
  }

  @Test("Fuzz: datagrams of any bytes to the tunnel's port end in a reason each")
  func hostile() throws {
    var random = RandomState(seed: 4)
    var kernel = Kernel()
    let node = try kernel.node()
    let face = try kernel.makeOutside(
      try #require(InterfaceName("eth0")), in: node, mac: MACAddress("02:00:00:00:00:01"))
    try kernel.set("eth0", up: true, in: node)
    try kernel.address("10.0.0.1/24", "eth0", node)
    try kernel.add("vx0", Self.options { $0.limit = 100 }, node)
    for _ in 0..<HostileTests.rounds {
      var inner: [UInt8] =
        random.below(8) == 0 ? [] : [8, 0, 0, 0, 0, 0, UInt8(random.below(2) == 0 ? 42 : 1), 0]
      inner += (0..<random.below(60)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let udp: [UInt8] = [9, 9, 0x12, 0xb5, 0, UInt8(8 + inner.count), 0, 0] + inner
      var frame: [UInt8] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, UInt8(20 + udp.count), 0, 1, 0, 0,
      ]
      frame += [9, 17, 0, 0, 10, 0, 0, UInt8(2 + random.below(3)), 10, 0, 0, 1] + udp
      HostileTests.mend(&frame)
      kernel.inject(frame, into: face)
      kernel.run(for: .microseconds(50))
      while kernel.takeFrame(from: face) != nil {}
    }
    kernel.run(for: .seconds(60))
    #expect(kernel.drops(of: node)?[.vxlanUnknownIdentifier] ?? 0 > 0)
    for index in kernel.vxlans.indices { #expect(kernel.vxlans[index].entries.count <= 100) }
    #expect(kernel.accounting.isClosed)
  }

  /// eth0 is 3, vx0 5.
  static let requests: [(String, NetlinkMessage)] = {
    func link(_ name: String, _ index: Int32 = 0, _ body: (inout VXLANOptions) -> Void) -> NetlinkMessage {
      var link = LinkMessage(index: index, name: name)
      link.kind = options(body)
      return link.request(.create)
    }
    func change(_ body: (inout VXLANOptions) -> Void) -> NetlinkMessage {
      var link = LinkMessage(index: 5)
      link.kind = options {
        $0.port = nil
        body(&$0)
      }
      return link.request(.change)
    }
    let zero = "00:00:00:00:00:00"
    let one = "02:00:00:00:00:01"
    return [
      (
        "a device",
        link("vx0", 5) {
          $0.lowerIndex = 3; $0.remote = IPAddress("10.0.0.1")
        }
      ),
      ("the same again", link("vx1") { _ in }),
      ("another port", link("vx1", 6) { $0.port = 4790 }),
      ("an identifier that is too large", link("vx2") { $0.identifier = 1 << 24 }),
      (
        "a device below that is not there",
        link("vx2") {
          $0.identifier = 9; $0.lowerIndex = 77
        }
      ),
      ("another remote", change { $0.remote = IPAddress("10.0.0.2") }),
      ("another identifier", change { $0.identifier = 43 }),
      ("another port for it", change { $0.port = 99 }),
      ("a default entry more", entry(zero, "10.0.0.3", 5).request(.append)),
      ("the same default entry", entry(zero, "10.0.0.3", 5).request(.append)),
      ("a default entry replaced", entry(zero, "10.0.0.4", 5).request(.createOrReplace)),
      ("an entry", entry(one, "10.0.0.3", 5).request(.create)),
      ("the entry again", entry(one, "10.0.0.3", 5).request(.create)),
      ("the entry moved", entry(one, "10.0.0.4", 5).request(.createOrReplace)),
      ("an entry without a remote", entry("02:00:00:00:00:02", nil, 5).request(.create)),
      ("an entry of the other family", entry("02:00:00:00:00:02", "fd00::1", 5).request(.create)),
      ("removal of what is not there", entry("02:00:00:00:00:05", "10.0.0.3", 5).request(.delete)),
      ("removal of another remote", entry(zero, "10.0.0.99", 5).request(.delete)),
      ("removal of one remote", entry(zero, "10.0.0.3", 5).request(.delete)),
      ("removal of an entry", entry(one, nil, 5).request(.delete)),
      (
        "an MTU that is too large",
        {
          var link = LinkMessage(index: 5); link.mtu = 1451; return link.request(.change)
        }()
      ),
      ("removal of the device", LinkMessage(index: 5).request(.delete)),
    ]
  }()

  @Test(
    "Each request has the kernel's error, and the same databases stand after it",
    .enabled(if: geteuid() == 0, "needs root: makes a network namespace"))
  func besideTheKernel() throws {
    let thread = try NamespaceThread()
    let (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      (try visitor.create(label: "devs-vxlan"), try visitor.socket())
    }
    defer { withExtendedLifetime(namespace) {} }
    var kernel = Kernel()
    let node = try kernel.makeNamespace()
    var pair = LinkMessage(index: 3, name: "eth0")
    pair.kind = .veth(peer: LinkMessage(index: 2, name: "peer0"))
    _ = try socket.request(pair.request(.create))
    try kernel.perform(pair.request(.create), in: node)
    func entries(_ messages: [NetlinkMessage]) throws -> [String] {
      try messages.map { try NeighborMessage($0) }.filter { $0.index == 5 && $0.flags.contains(.own) }.map {
        "\($0.macAddress.map { "\($0)" } ?? "-") \($0.destination.map { "\($0)" } ?? "-") \($0.state.rawValue) "
          + "\($0.port ?? 0) \($0.vni ?? 0) \($0.outputIndex ?? 0)"
      }.sorted()
    }
    for (name, request) in Self.requests {
      var expected = ""
      do {
        _ = try socket.request(request)
      } catch {
        expected = "\(error.errno?.rawValue ?? -1) \(error.text ?? "")"
      }
      var got = ""
      do { try kernel.perform(request, in: node) } catch { got = "\(error.errno) \(error.message ?? "")" }
      #expect(got == expected, "\(name)")
      let ours = try entries(kernel.dump(NeighborMessage.dumpForwarding(), in: node))
      let theirs = try entries(socket.dump(NeighborMessage.dumpForwarding()))
      #expect(ours == theirs, "entries after \(name)")
    }
  }
}
