// SPDX-License-Identifier: GPL-2.0-or-later

// Devices that stand on others, and devices that move: VLAN, macvlan, dummy.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

extension Kernel {
  /// `ip link add NAME link LOWER type …`, up.
  mutating func add(
    _ name: String, on lower: String? = nil, _ kind: LinkKind, _ namespace: NamespaceIndex, up: Bool = true,
    _ body: (inout LinkMessage) -> Void = { _ in }
  ) throws {
    var link = LinkMessage(name: name)
    link.kind = kind
    if let lower { link.lowerIndex = ifindex(lower, namespace) }
    if up { link.set(.up, true) }
    body(&link)
    try perform(link.request(.create), in: namespace)
  }

  func link(_ name: String, _ namespace: NamespaceIndex) throws -> LinkMessage {
    var kernel = LinkMessage(index: ifindex(name, namespace))
    kernel.extended = .skipStatistics
    let answers = try links(kernel, all: false, in: namespace)
    return try LinkMessage(parsing: (answers.first?.payload ?? [])[...])
  }
}

func vlan(_ identifier: UInt16, _ type: UInt16 = 0x8100) -> LinkKind {
  var options = VLANOptions()
  options.identifier = identifier
  options.etherType = type
  return .vlan(options)
}

func macvlan(_ mode: MacvlanMode) -> LinkKind {
  var options = MacvlanOptions()
  options.mode = mode
  return .macvlan(options)
}

@Suite("Devices that stand on others")
struct StackedDeviceTests {
  /// What a request is refused with; 0 when it is carried out.
  private static func refusal(_ body: () throws -> Void) -> Int32 {
    do { try body() } catch { return (error as? KernelError)?.errno ?? -1 }
    return 0
  }

  @Test("VLAN devices talk by tagged frames of their own, and not across VLANs")
  func vlans() throws {
    var kernel = Kernel()
    let (a, b) = (try kernel.node(), try kernel.node())
    try kernel.veth("eth0", a, "eth0", b)
    for (node, last) in [(a, 1), (b, 2)] {
      try kernel.add("v10", on: "eth0", vlan(10), node)
      try kernel.add("v20", on: "eth0", vlan(20, 0x88a8), node)
      try kernel.add("inner", on: "v20", vlan(7), node)
      try kernel.address("10.0.10.\(last)/24", "v10", node)
      try kernel.address("10.0.7.\(last)/24", "inner", node)
    }
    kernel.setCapture(true, on: try kernel.find("eth0", b))
    #expect(try kernel.ping("10.0.10.2", from: a).count == 1)
    var frames = kernel.takeCapture().map(\.frame)
    #expect(!frames.isEmpty)
    #expect(frames.allSatisfy { Array($0[12..<16]) == [0x81, 0, 0, 10] })
    #expect(try kernel.ping("10.0.7.2", from: a).count == 1)
    frames = kernel.takeCapture().map(\.frame)
    #expect(frames.allSatisfy { Array($0[12..<20]) == [0x88, 0xa8, 0, 20, 0x81, 0, 0, 7] })
    #expect(kernel.statistics("v10", b).rxPackets > 0)
    #expect(kernel.statistics("eth0", b).rxPackets > kernel.statistics("v10", b).rxPackets)
    // A VLAN that no device has is nobody's.
    let before = kernel.statistics("v10", b).rxPackets
    try kernel.perform(LinkMessage(name: "v10").request(.delete), in: b)
    #expect(try kernel.ping("10.0.10.2", from: a).isEmpty)
    #expect(before > 0)
    #expect(kernel.accounting.isClosed)
  }

  @Test("Priorities go into the tag and out of it, and a tag of VLAN 0 is the device's own")
  func priorities() throws {
    var kernel = Kernel()
    let (a, b) = (try kernel.node(), try kernel.node())
    try kernel.veth("eth0", a, "eth0", b)
    var options = VLANOptions()
    options.identifier = 5
    options.egressPriorities = [VLANPriority(from: 6, to: 3)]
    try kernel.add("v5", on: "eth0", .vlan(options), a)
    options.egressPriorities = []
    options.ingressPriorities = [VLANPriority(from: 3, to: 9)]
    try kernel.add("v5", on: "eth0", .vlan(options), b)
    guard case .vlan(let told)? = try kernel.link("v5", b).kind else {
      Issue.record("no VLAN")
      return
    }
    #expect(told.ingressPriorities == options.ingressPriorities)
    #expect(told.identifier == 5)
    #expect(told.etherType == 0x8100)
    kernel.setCapture(true, on: try kernel.find("eth0", b))
    let slot = kernel.pool.allocate(length: 60)
    kernel.pool.bytes(slot).fill(0xff)
    kernel.pool[slot].priority = 6
    kernel.transmit(slot, by: try kernel.find("v5", a))
    kernel.run(for: .milliseconds(1))
    #expect(kernel.takeCapture().first.map { Array($0.frame[12..<16]) } == [0x81, 0, 0x60, 5])
    // A tag of VLAN 0 before an ARP request.
    try kernel.address("10.0.0.2/24", "eth0", b)
    let request: [UInt8] = [
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x81, 0, 0xe0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2,
      0,
      0, 0, 0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ]
    let tagged = kernel.pool.allocate(length: request.count)
    request.withUnsafeBytes { kernel.pool.store(RawSpan(_unsafeBytes: $0), in: tagged) }
    kernel.transmit(tagged, by: try kernel.find("eth0", a))
    kernel.run(for: .milliseconds(1))
    #expect(kernel.neighborState("10.0.0.9", "eth0", b) != nil)
    #expect(kernel.accounting.isClosed)
  }

  @Test("A VLAN goes up, down and away with the device below, and takes its address and MTU")
  func vlanFollows() throws {
    var kernel = Kernel()
    let (a, b) = (try kernel.node(), try kernel.node())
    try kernel.veth("eth0", a, "eth0", b)
    try kernel.add("v1", on: "eth0", vlan(1), a)
    #expect(try kernel.link("v1", a).macAddress == (try kernel.link("eth0", a)).macAddress)
    try kernel.change("eth0", a) { $0.mtu = 1400 }
    #expect(try kernel.link("v1", a).mtu == 1400)
    #expect(Self.refusal { try kernel.change("v1", a) { $0.mtu = 1401 } } == 34)
    try kernel.change("eth0", a) { $0.macAddress = MACAddress("02:00:00:00:00:77") }
    #expect(try kernel.link("v1", a).macAddress == MACAddress("02:00:00:00:00:77"))
    try kernel.set("eth0", up: false, in: a)
    #expect(try !kernel.link("v1", a).isUp)
    #expect(Self.refusal { try kernel.set("v1", up: true, in: a) } == 100)
    try kernel.set("eth0", up: true, in: a)
    #expect(try kernel.link("v1", a).operationalState == .up)
    try kernel.set("eth0", up: false, in: b)
    #expect(try kernel.link("v1", a).operationalState == .lowerLayerDown)
    #expect(Self.refusal { try kernel.add("v1b", on: "eth0", vlan(1), a) } == 17)
    #expect(Self.refusal { try kernel.add("v2", on: "eth0", vlan(4095), a) } == 34)
    #expect(Self.refusal { try kernel.add("v2", on: "lo", vlan(2), a) } == 95)
    #expect(Self.refusal { try kernel.add("v2", on: nil, vlan(2), a) } == 22)
    try kernel.perform(LinkMessage(name: "eth0").request(.delete), in: a)
    #expect(kernel.device("v1", in: a) == nil)
    #expect(kernel.vlans.count == 0)
  }

  @Test("Devices stand on each other eight deep and no deeper, and never in a circle")
  func depth() throws {
    var kernel = Kernel()
    let a = try kernel.node()
    try kernel.veth("e", a, "f", a)
    var lower = "e"
    for level in 1...8 {
      try kernel.add("s\(level)", on: lower, vlan(UInt16(level)), a)
      lower = "s\(level)"
    }
    #expect(Self.refusal { try kernel.add("s9", on: lower, vlan(9), a) } == 31)
    try kernel.bridge("br0", a)
    try kernel.add("onbr", on: "br0", vlan(3), a)
    #expect(Self.refusal { try kernel.join("onbr", "br0", a) } == 16)
  }

  @Test(
    "Macvlans reach the world; siblings each other in bridge mode only",
    arguments: [(MacvlanMode.bridge, true), (.isolated, false), (.vepa, false)])
  func macvlans(mode: MacvlanMode, siblings: Bool) throws {
    var kernel = Kernel()
    let (a, b, c, d) = (try kernel.node(), try kernel.node(), try kernel.node(), try kernel.node())
    try kernel.veth("eth0", a, "eth0", b)
    try kernel.address("10.0.0.9/24", "eth0", b)
    for (node, last) in [(c, 1), (d, 2)] {
      // Made on a's device, born in another namespace.
      try kernel.add("m\(last)", on: "eth0", macvlan(mode), a, up: false) {
        $0.namespaceDescriptor = Kernel.descriptor(of: node)
      }
      try kernel.set("m\(last)", up: true, in: node)
      try kernel.address("10.0.0.\(last)/24", "m\(last)", node)
    }
    #expect(try kernel.ping("10.0.0.9", from: c).count == 1)
    #expect(try kernel.ping("10.0.0.9", from: d).count == 1)
    #expect(try kernel.ping("10.0.0.2", from: c, count: 2).isEmpty != siblings)
    let link = try kernel.link("m1", c)
    #expect(link.lowerIndex == kernel.ifindex("eth0", a))
    #expect(link.linkNamespaceID != nil)
    guard case .macvlan(let options)? = link.kind else {
      Issue.record("no macvlan")
      return
    }
    #expect(options.mode == mode)
    kernel.run(for: .seconds(10))
    #expect(kernel.accounting.isClosed)
    try kernel.perform(LinkMessage(name: "eth0").request(.delete), in: b)
    #expect(kernel.device("m1", in: c) == nil)
    #expect(kernel.macvlans.count == 0)
  }

  @Test("A passthrough has the device below to itself, and its address")
  func passthrough() throws {
    var kernel = Kernel()
    let (a, b) = (try kernel.node(), try kernel.node())
    try kernel.veth("eth0", a, "eth0", b)
    try kernel.address("10.0.0.9/24", "eth0", b)
    try kernel.add("m0", on: "eth0", macvlan(.passthrough), a)
    try kernel.address("10.0.0.1/24", "m0", a)
    #expect(try kernel.link("m0", a).macAddress == (try kernel.link("eth0", a)).macAddress)
    #expect(try kernel.ping("10.0.0.9", from: a).count == 1)
    #expect(Self.refusal { try kernel.add("m1", on: "eth0", macvlan(.bridge), a) } == 22)
    #expect(Self.refusal { try kernel.add("m1", on: "lo", macvlan(.bridge), a) } == 22)
    #expect(Self.refusal { try kernel.add("m1", on: "eth0", macvlan(.source), b) } == 95)
    #expect(Self.refusal { try kernel.change("m0", a) { $0.kind = macvlan(.bridge) } } == 22)
    #expect(kernel.accounting.isClosed)
  }

  @Test("A dummy takes what it is given, and its addresses are the host's")
  func dummy() throws {
    var kernel = Kernel()
    let a = try kernel.node()
    try kernel.add("dummy0", .dummy, a)
    try kernel.address("10.9.0.1/24", "dummy0", a)
    #expect(try kernel.ping("10.9.0.1", from: a).count == 1)
    #expect(try kernel.ping("10.9.0.2", from: a).isEmpty)
    #expect(kernel.statistics("dummy0", a).txPackets == 1)
    let link = try kernel.link("dummy0", a)
    #expect(link.operationalState == .unknown)
    #expect(link.flags.contains(.noARP))
    #expect(link.qdisc == "noqueue")
    #expect(kernel.accounting.isClosed)
  }

  @Test("A device that moves keeps address, MTU and kind, and loses addresses, routes and its bridge")
  func movement() throws {
    var kernel = Kernel()
    let (a, b) = (try kernel.node(), try kernel.node())
    try kernel.veth("eth0", a, "peer", b)
    try kernel.address("10.0.0.1/24", "eth0", a)
    try kernel.change("eth0", a) {
      $0.mtu = 1400
      $0.transmitQueueLength = 77
    }
    let old = try kernel.link("eth0", a)
    let target = Kernel.descriptor(of: b)
    #expect(Self.refusal { try kernel.change("lo", a) { $0.namespaceDescriptor = target } } == 22)
    try kernel.add("eth0", .dummy, b)
    #expect(Self.refusal { try kernel.change("eth0", a) { $0.namespaceDescriptor = target } } == 17)
    try kernel.change("eth0", a) {
      $0.namespaceDescriptor = target
      $0.name = "moved"
    }
    #expect(kernel.device("eth0", in: a) == nil)
    let new = try kernel.link("moved", b)
    #expect(new.macAddress == old.macAddress)
    #expect(new.mtu == 1400)
    #expect(new.transmitQueueLength == 77)
    #expect(!new.isUp)
    #expect(try kernel.dump(AddressMessage.dump(.ipv4), in: b).count == 1)
    try kernel.set("moved", up: true, in: b)
    try kernel.address("10.0.0.1/24", "moved", b)
    #expect(try kernel.link("peer", b).operationalState == .up)
    // A number that is taken is given anew.
    try kernel.add("d1", .dummy, a) { $0.index = 40 }
    try kernel.add("d2", .dummy, b) { $0.index = 40 }
    try kernel.change("d1", a) { $0.namespaceDescriptor = target }
    #expect(kernel.ifindex("d1", b) != 40)
    #expect(kernel.accounting.isClosed)
  }

  @Test(
    "Frames for a device and those on it, mixed, come out the same for bursts of any size",
    arguments: [2, 64])
  func bursts(size: Int) throws {
    func run(_ burst: Int) throws -> [CaptureRecord] {
      var kernel = Kernel(seed: 5, burst: burst)
      let (a, b) = (try kernel.node(), try kernel.node())
      try kernel.veth("eth0", a, "eth0", b)
      for node in [a, b] {
        try kernel.add("v1", on: "eth0", vlan(1), node)
        try kernel.add("v2", on: "eth0", vlan(2), node)
        try kernel.add("m", on: "eth0", macvlan(.bridge), node)
      }
      for (name, net) in [("eth0", 0), ("v1", 1), ("v2", 2), ("m", 3)] {
        try kernel.address("10.0.\(net).1/24", name, a)
        try kernel.address("10.0.\(net).2/24", name, b)
      }
      for net in 0..<4 { #expect(try kernel.ping("10.0.\(net).2", from: a).count == 1) }
      kernel.captureAll()
      let endpoint = try kernel.openEcho(in: a, identifier: 9)
      for round in 0..<30 {
        for net in [0, 1, 1, 3, 2, 0, 3] {
          try kernel.sendEcho(to: v4("10.0.\(net).2"), sequence: UInt16(round), by: endpoint)
        }
        kernel.run(for: .milliseconds(1))
      }
      #expect(kernel.accounting.isClosed)
      return kernel.takeCapture()
    }
    let one = try run(1)
    let many = try run(size)
    for device in Set(one.map(\.device)) {
      for direction in [CaptureRecord.Direction.received, .transmitted] {
        func taken(_ records: [CaptureRecord]) -> [CaptureRecord] {
          records.filter { $0.device == device && $0.direction == direction }
        }
        #expect(taken(one) == taken(many))
      }
    }
    #expect(one.count > 30 * 7 * 4)
  }

  @Test("Fuzz: tagged frames of any bytes end in a reason each, and the accounting closes")
  func hostile() throws {
    var random = RandomState(seed: 17)
    var kernel = Kernel()
    let a = try kernel.node()
    let face = try kernel.makeOutside(try #require(InterfaceName("eth0")), in: a)
    try kernel.set("eth0", up: true, in: a)
    try kernel.add("v1", on: "eth0", vlan(1), a)
    try kernel.add("v2", on: "v1", vlan(2), a)
    try kernel.add("m1", on: "eth0", macvlan(.bridge), a)
    try kernel.add("m2", on: "eth0", macvlan(.vepa), a)
    for _ in 0..<HostileTests.rounds {
      var frame: [UInt8] = random.below(2) == 0 ? [255, 255, 255, 255, 255, 255] : [2, 0, 0, 0, 0, 1]
      frame += [2, 0, 0, 0, 0, UInt8(random.below(4))]
      for _ in 0..<random.below(4) { frame += [0x81, 0, 0, UInt8(random.below(3))] }
      frame += (0..<random.below(40)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      kernel.inject(frame, into: face)
      kernel.run(for: .microseconds(50))
      while kernel.takeFrame(from: face) != nil {}
    }
    kernel.run(for: .seconds(60))
    #expect(kernel.accounting.isClosed)
  }
}
