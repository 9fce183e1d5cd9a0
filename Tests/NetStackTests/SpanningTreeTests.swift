// SPDX-License-Identifier: GPL-2.0-or-later

// The spanning tree between emulated bridges, and between one of them and the host kernel's.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

extension Kernel {
  func bridgeOptions(_ name: String, _ namespace: NamespaceIndex) -> BridgeOptions {
    guard let device = device(name, in: namespace), case .bridge(let bridge) = devices[device].kind else {
      return BridgeOptions()
    }
    return options(bridge)
  }

  func portOptions(_ name: String, _ namespace: NamespaceIndex) -> BridgePortOptions {
    device(name, in: namespace).map { options(port: $0) } ?? BridgePortOptions()
  }

  mutating func setBridge(
    _ name: String, _ namespace: NamespaceIndex, _ body: (inout BridgeOptions) -> Void
  ) throws {
    var options = BridgeOptions()
    body(&options)
    try change(name, namespace) { $0.kind = .bridge(options) }
  }

  mutating func setPort(
    _ name: String, _ namespace: NamespaceIndex, _ body: (inout BridgePortOptions) -> Void
  ) throws {
    var options = BridgePortOptions()
    body(&options)
    try change(name, namespace) { $0.port = .bridge(options) }
  }
}

@Suite("Spanning tree")
struct SpanningTreeTests {
  /// Three switches, each joined to the two others, and a host at each.
  struct Ring: ~Copyable {
    var kernel: Kernel
    var switches: [NamespaceIndex] = []
    var hosts: [NamespaceIndex] = []

    init() throws {
      kernel = Kernel()
      for number in 0..<3 {
        let place = try kernel.node()
        try kernel.bridge("br0", place)
        try kernel.setBridge("br0", place) {
          $0.stpState = 1
          $0.priority = UInt16(100 + number)
        }
        let host = try kernel.node()
        try kernel.veth("eth0", host, "host", place)
        try kernel.join("host", "br0", place)
        try kernel.address("10.0.0.\(number + 1)/24", "eth0", host)
        switches.append(place)
        hosts.append(host)
      }
      for (one, other) in [(0, 1), (1, 2), (2, 0)] {
        try kernel.veth("to\(other)", switches[one], "to\(one)", switches[other])
        try kernel.join("to\(other)", "br0", switches[one])
        try kernel.join("to\(one)", "br0", switches[other])
      }
    }

    func states() -> [String] {
      [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)].map { place, other in
        "\(place)\(other) \(kernel.portOptions("to\(other)", switches[place]).state ?? .disabled)"
      }
    }
  }

  @Test("Three bridges in a ring find a tree, and another when a link breaks and when it comes back")
  func ring() throws {
    var ring = try Ring()
    // Listening, then learning, then forwarding: two forward delays of 15 s.
    ring.kernel.run(for: .seconds(20))
    #expect(ring.kernel.portOptions("to1", ring.switches[0]).state == .learning)
    ring.kernel.run(for: .seconds(20))
    let tree = [
      "01 forwarding", "10 forwarding", "12 forwarding", "21 blocking", "20 forwarding", "02 forwarding",
    ]
    #expect(ring.states() == tree)
    let root = ring.kernel.bridgeOptions("br0", ring.switches[0])
    #expect(root.rootPort == 0)
    #expect(root.rootID == root.bridgeID)
    let second = ring.kernel.bridgeOptions("br0", ring.switches[1])
    #expect(second.rootID == root.bridgeID)
    #expect(second.rootPathCost == 2)
    #expect(try ring.kernel.ping("10.0.0.3", from: ring.hosts[1]).map(\.kind) == [.reply])
    // The topology has settled: addresses are believed for their whole time again.
    ring.kernel.run(for: .seconds(40))
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).topologyChange == false)
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).ageingTime == 30000)

    try ring.kernel.set("to0", up: false, in: ring.switches[2])
    ring.kernel.run(for: .seconds(33))
    #expect(ring.kernel.portOptions("to1", ring.switches[2]).state == .forwarding)
    #expect(ring.kernel.portOptions("to0", ring.switches[2]).state == .disabled)
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).rootPathCost == 4)
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).topologyChange == true)
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).ageingTime == 3000)
    #expect(try ring.kernel.ping("10.0.0.1", from: ring.hosts[2]).map(\.kind) == [.reply])

    try ring.kernel.set("to0", up: true, in: ring.switches[2])
    ring.kernel.run(for: .seconds(40))
    #expect(ring.states() == tree)
    #expect(try ring.kernel.ping("10.0.0.1", from: ring.hosts[2]).map(\.kind) == [.reply])
    #expect(ring.kernel.accounting.isClosed)
  }

  @Test("A bridge that hears nothing of its root any more for its maximum age takes another way")
  func silence() throws {
    var ring = try Ring()
    ring.kernel.run(for: .seconds(40))
    // The root falls silent on one link while the link stays up: its bridge keeps no tree any more.
    try ring.kernel.setBridge("br0", ring.switches[0]) { $0.stpState = 0 }
    ring.kernel.run(for: .seconds(60))
    let second = ring.kernel.bridgeOptions("br0", ring.switches[1])
    #expect(second.rootPort == 0)
    // The silent bridge forwards the messages of the others, so that those still see the loop.
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).rootID == second.bridgeID)
    #expect(ring.states().filter { $0.hasSuffix("blocking") }.count == 1)
    #expect(ring.kernel.accounting.isClosed)
  }

  @Test("Costs, priorities, root block and the guard have the say that they have in Linux")
  func options() throws {
    var ring = try Ring()
    ring.kernel.run(for: .seconds(40))
    // The direct way becomes dearer than the one over the second bridge.
    try ring.kernel.setPort("to0", ring.switches[2]) { $0.cost = 5 }
    ring.kernel.run(for: .seconds(40))
    #expect(ring.kernel.portOptions("to0", ring.switches[2]).state == .blocking)
    #expect(ring.kernel.portOptions("to1", ring.switches[2]).state == .forwarding)
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).rootPathCost == 4)
    // The third becomes the root.
    try ring.kernel.setBridge("br0", ring.switches[2]) { $0.priority = 1 }
    ring.kernel.run(for: .seconds(40))
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[2]).rootPort == 0)
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[0]).rootID?.prefix(2) == [0, 1])
    // Who blocks the root by a port does not follow it there.
    try ring.kernel.setPort("to2", ring.switches[1]) { $0.rootBlock = true }
    ring.kernel.run(for: .seconds(40))
    let number = ring.kernel.portOptions("to0", ring.switches[1]).number
    #expect(ring.kernel.bridgeOptions("br0", ring.switches[1]).rootPort == number)
    try ring.kernel.setPort("to2", ring.switches[0]) { $0.bpduGuard = true }
    ring.kernel.run(for: .seconds(3))
    #expect(ring.kernel.portOptions("to2", ring.switches[0]).state == .disabled)
    #expect(ring.kernel.accounting.isClosed)
    for (value, body) in [
      (34, { $0.cost = 0 }), (34, { $0.cost = 70000 }), (34, { $0.priority = 64 }),
      (16, { $0.state = .forwarding }),
    ] as [(CInt, (inout BridgePortOptions) -> Void)] {
      let kernel = refusal { try ring.kernel.setPort("to0", ring.switches[2], body) }
      #expect(kernel == value)
    }
    for body in [
      { $0.forwardDelay = 100 }, { $0.helloTime = 50 }, { $0.maximumAge = 100 },
    ] as [(inout BridgeOptions) -> Void] {
      let kernel = refusal { try ring.kernel.setBridge("br0", ring.switches[2], body) }
      #expect(kernel == 34)
    }
  }

  private func refusal(_ body: () throws -> Void) -> CInt {
    do { try body() } catch let error as KernelError { return error.errno } catch { return -1 }
    return 0
  }

  @Test(
    "An emulated bridge and the kernel's agree on root, roles and times",
    .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"),
    arguments: [UInt16(4096), 40960])
  func besideTheKernel(priority: UInt16) throws {
    let thread = try NamespaceThread()
    let (namespace, socket, taps) = try thread.perform { (visitor) throws(NetlinkError) in
      let namespace = try visitor.create(label: "netstack-tree")
      try visitor.writeSysctl("net/ipv6/conf/default/disable_ipv6", "1")
      var taps: [FileDescriptor] = []
      for text in ["t0", "t1"] {
        if let name = InterfaceName(text) { taps.append(try visitor.openTun(TunDevice(name, .tap))) }
      }
      return (namespace, try visitor.socket(), taps)
    }
    defer {
      withExtendedLifetime(namespace) {}
      for tap in taps { try? tap.close() }
    }
    var options = BridgeOptions()
    options.stpState = 1
    options.forwardDelay = 200
    options.helloTime = 100
    options.maximumAge = 600
    var link = LinkMessage(name: "br0")
    link.kind = .bridge(options)
    link.set(.up, true)
    _ = try socket.request(link.request(.create))
    let links = try socket.dump(LinkMessage.dump()).map { try LinkMessage($0) }
    let master = try #require(links.first { $0.name == "br0" }?.index)
    for name in ["t0", "t1"] {
      var port = LinkMessage(index: try #require(links.first { $0.name == name }?.index))
      port.master = master
      port.set(.up, true)
      _ = try socket.request(port.request(.change))
    }

    var kernel = Kernel()
    let node = try kernel.node()
    options.priority = priority
    link.kind = .bridge(options)
    try kernel.perform(link.request(.create), in: node)
    var faces: [DeviceIndex] = []
    for name in ["t0", "t1"] {
      faces.append(try kernel.makeOutside(try #require(InterfaceName(name)), in: node))
      try kernel.set(name, up: true, in: node)
      try kernel.join(name, "br0", node)
    }
    func settled() -> Bool {
      ["t0", "t1"].allSatisfy { [.forwarding, .blocking].contains(kernel.portOptions($0, node).state) }
    }
    // Two forward delays of two seconds, and a hello.
    let clock = ContinuousClock()
    let start = clock.now
    while !settled() || kernel.now < Instant(nanoseconds: 5_500_000_000) {
      let passed = clock.now - start
      try #require(passed < .seconds(20))
      exchange(&kernel, faces, taps, until: Instant(nanoseconds: Int64(passed / .nanoseconds(1))))
      usleep(1000)
    }
    let theirs = try socket.dump(LinkMessage.dump()).map { try LinkMessage($0) }
    guard case .bridge(let other)? = theirs.first(where: { $0.name == "br0" })?.kind else {
      Issue.record("no bridge")
      return
    }
    let ours = kernel.bridgeOptions("br0", node)
    #expect(ours.rootID == other.rootID)
    #expect(ours.rootID == (priority < 32768 ? ours.bridgeID : other.bridgeID))
    #expect(other.rootPathCost == (priority < 32768 ? 2 : 0))
    #expect(ours.rootPathCost == (priority < 32768 ? 0 : 2))
    #expect(ours.forwardDelay == other.forwardDelay)
    // One of the two links is blocked, at the bridge that is not the root; each end knows who serves its link.
    for name in ["t0", "t1"] {
      let own = kernel.portOptions(name, node)
      guard case .bridge(let port)? = theirs.first(where: { $0.name == name })?.port else { continue }
      #expect(own.designatedRoot == port.designatedRoot)
      #expect(own.designatedBridge == port.designatedBridge)
      #expect(own.designatedPort == port.designatedPort)
      #expect(own.cost == port.cost)
      let follower = priority < 32768 ? port.state : own.state
      #expect(follower == (name == "t0" ? .forwarding : .blocking))
    }
  }

  /// Lets what is due happen and carries frames between the faces and the taps.
  private func exchange(
    _ kernel: inout Kernel, _ faces: [DeviceIndex], _ taps: [FileDescriptor], until now: Instant
  ) {
    var buffer = [UInt8](repeating: 0, count: 2048)
    for (face, tap) in zip(faces, taps) {
      while true {
        let count = unsafe buffer.withUnsafeMutableBytes {
          unsafe read(tap.rawValue, $0.baseAddress, $0.count)
        }
        guard count > 0 else { break }
        kernel.inject(Array(buffer.prefix(count)), into: face)
      }
    }
    kernel.run(until: now)
    for (face, tap) in zip(faces, taps) {
      while let frame = kernel.takeFrame(from: face) {
        _ = unsafe frame.withUnsafeBytes { unsafe write(tap.rawValue, $0.baseAddress, $0.count) }
      }
    }
  }
}
