// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Several CPUs")
struct MachineTests {
  /// a - bridge - b, each placed on a CPU of its own as far as there are so many.
  struct Lab: ~Copyable {
    var machine: Machine
    let a: Machine.Namespace
    let lan: Machine.Namespace
    let b: Machine.Namespace

    init(cpus: Int, burst: Int = 64, mtu: UInt32 = 1500) throws {
      var machine = Machine(
        cpus: cpus, .init(seed: 3, burst: burst, pool: .init(packets: 4096, largeBlocks: 64)),
        now: Instant(nanoseconds: 0))
      let a = try machine.makeNamespace(on: 0)
      let lan = try machine.makeNamespace(on: 1 % cpus)
      let b = try machine.makeNamespace(on: 2 % cpus)
      for node in [a, lan, b] {
        try machine.up("lo", node)
        try machine.with(node.cpu) { (kernel) throws in
          try kernel.setSysctl("net/ipv4/ping_group_range", to: "0 2147483647", in: node.index)
        }
      }
      var bridge = LinkMessage(name: "br0")
      bridge.kind = .bridge(BridgeOptions())
      bridge.mtu = mtu
      bridge.set(.up, true)
      try machine.perform(bridge.request(.create), in: lan)
      for (node, name, host) in [(a, "port1", 1), (b, "port2", 2)] {
        var peer = LinkMessage(name: name)
        peer.namespaceDescriptor = lan.descriptor
        peer.mtu = mtu
        var link = LinkMessage(name: "eth0")
        link.address = [2, 0, 0, 0, 0, UInt8(host)]
        link.mtu = mtu
        link.kind = .veth(peer: peer)
        try machine.perform(link.request(.create), in: node)
        try machine.up("eth0", node)
        try machine.up(name, lan)
        try machine.with(lan.cpu) { (kernel) throws in try kernel.join(name, "br0", lan.index) }
        try machine.with(node.cpu) { (kernel) throws in
          try kernel.address("10.0.0.\(host)/24", "eth0", node.index)
          kernel.captureAll()
        }
      }
      self.machine = machine
      self.a = a
      self.lan = lan
      self.b = b
    }

    /// Pings from a to b, all at once; the replies' sequence numbers.
    mutating func ping(_ count: Int, length: Int = 56) throws -> [UInt16] {
      let namespace = a.index
      let cpu = a.cpu
      let socket = try machine.with(cpu) { (kernel) throws in
        try kernel.startPings(count, length: length, from: namespace)
      }
      machine.run(for: .seconds(1))
      return machine.with(cpu) { kernel in kernel.replies(socket) }
    }

    mutating func statistics(_ name: String, _ node: Machine.Namespace) -> InterfaceStatistics {
      machine.with(node.cpu) { $0.statistics(name, node.index) }
    }

    mutating func carrier(_ name: String, _ node: Machine.Namespace) -> Bool? {
      machine.with(node.cpu) { kernel in kernel.device(name, in: node.index).map { kernel.hasCarrier($0) } }
    }
  }

  @Test("What nodes and bridges see is the same on one CPU, on two, and on three", arguments: [2, 3])
  func placement(_ cpus: Int) throws {
    func counters(_ cpus: Int, burst: Int) throws -> [InterfaceStatistics] {
      var lab = try Lab(cpus: cpus, burst: burst)
      for count in [1, 7, 60] { #expect(try lab.ping(count) == (0..<count).map { UInt16($0) }) }
      #expect(lab.machine.isClosed == true)
      return [
        lab.statistics("eth0", lab.a), lab.statistics("port1", lab.lan), lab.statistics("br0", lab.lan),
        lab.statistics("port2", lab.lan), lab.statistics("eth0", lab.b),
      ]
    }
    let one = try counters(1, burst: 64)
    for burst in [1, 2, 7, 64] { #expect(try counters(cpus, burst: burst) == one) }
  }

  @Test("One seed gives the same frames at the same times twice")
  func determinism() throws {
    func captures() throws -> [[CaptureRecord]] {
      var lab = try Lab(cpus: 3)
      for _ in 0..<3 { _ = try lab.ping(50) }
      return (0..<3).map { cpu in lab.machine.with(cpu) { $0.takeCapture() } }
    }
    let first = try captures()
    #expect(first[0].count > 100)
    #expect(try first == captures())
  }

  @Test("Frames of every size cross, with what belongs to them")
  func sizes() throws {
    var lab = try Lab(cpus: 3, mtu: 65535)
    for length in [0, 1, 1472, 4000, 9000, 65507] {
      #expect(try lab.ping(2, length: length) == [0, 1])
    }
    #expect(lab.machine.isClosed == true)
  }

  @Test("A full ring between two CPUs drops and counts as a veth's does")
  func fullRing() throws {
    var lab = try Lab(cpus: 3)
    _ = try lab.ping(1)
    _ = try lab.ping(300)
    let sender = lab.statistics("eth0", lab.a)
    #expect(sender.txDropped == 44)
    let receiver = lab.statistics("port1", lab.lan)
    #expect(receiver.rxPackets == sender.txPackets)
    #expect(lab.machine.isClosed == true)
  }

  @Test("An end's going down, coming up, and being removed reach the other CPU")
  func carrier() throws {
    var lab = try Lab(cpus: 3)
    _ = try lab.ping(3)
    #expect(lab.carrier("port1", lab.lan) == true)
    try lab.machine.down("eth0", lab.a)
    lab.machine.run(for: .milliseconds(1))
    #expect(lab.carrier("port1", lab.lan) == false)
    // What the bridge floods to it now goes nowhere.
    let before = lab.statistics("port1", lab.lan).txPackets
    _ = try? lab.ping(1)
    #expect(lab.statistics("port1", lab.lan).txPackets == before)
    try lab.machine.up("eth0", lab.a)
    #expect(try lab.ping(2) == [0, 1])
    #expect(lab.machine.isClosed == true)
    try lab.machine.perform(LinkMessage(name: "port2").request(.delete), in: lab.lan)
    lab.machine.run(for: .milliseconds(1))
    #expect(lab.carrier("eth0", lab.b) == nil)
    #expect(try lab.ping(1) == [])
    #expect(lab.machine.isClosed == true)
    // Frames under way to an end that is removed.
    let socket = try lab.machine.with(0) { [a = lab.a.index] (kernel) throws in
      try kernel.startPings(20, length: 56, from: a)
    }
    try lab.machine.perform(LinkMessage(name: "eth0").request(.delete), in: lab.a)
    lab.machine.run(for: .seconds(1))
    #expect(lab.carrier("port1", lab.lan) == nil)
    #expect(lab.machine.with(0) { $0.replies(socket) } == [])
    #expect(lab.machine.isClosed == true)
  }

  @Test("Requests that cannot be are refused, and leave neither end")
  func refusals() throws {
    var lab = try Lab(cpus: 3)
    var peer = LinkMessage(name: "port1")
    peer.namespaceDescriptor = lab.lan.descriptor
    var link = LinkMessage(name: "eth1")
    link.kind = .veth(peer: peer)
    #expect(throws: KernelError.exists) { try lab.machine.perform(link.request(.create), in: lab.a) }
    peer.name = "port9"
    link.name = "eth0"
    link.kind = .veth(peer: peer)
    #expect(throws: KernelError.exists) { try lab.machine.perform(link.request(.create), in: lab.a) }
    #expect(lab.carrier("port9", lab.lan) == nil)
    peer.namespaceDescriptor = 9 << 20
    link.name = "eth1"
    link.kind = .veth(peer: peer)
    #expect(throws: KernelError(9)) { try lab.machine.perform(link.request(.create), in: lab.a) }
    link.kind = .veth(peer: LinkMessage(name: "eth2"))
    try lab.machine.perform(link.request(.create), in: lab.a)
    #expect(lab.carrier("eth2", lab.a) == false)
  }
}

extension Kernel {
  fileprivate mutating func startPings(
    _ count: Int, length: Int, from namespace: NamespaceIndex
  ) throws -> SocketIndex {
    let socket = try openEcho(in: namespace)
    for sequence in 0..<count {
      try sendEcho(to: v4("10.0.0.2"), sequence: UInt16(sequence), length: length, by: socket)
    }
    return socket
  }

  /// The sequence numbers of all replies; the socket is closed.
  fileprivate mutating func replies(_ socket: SocketIndex) -> [UInt16] {
    var sequences: [UInt16] = []
    while let event = receiveEcho(socket) { if event.kind == .reply { sequences.append(event.sequence) } }
    close(socket)
    return sequences
  }
}

extension Machine {
  fileprivate mutating func up(_ name: String, _ node: Namespace) throws {
    try with(node.cpu) { (kernel) throws in try kernel.set(name, up: true, in: node.index) }
  }

  fileprivate mutating func down(_ name: String, _ node: Namespace) throws {
    try with(node.cpu) { (kernel) throws in try kernel.set(name, up: false, in: node.index) }
  }
}
