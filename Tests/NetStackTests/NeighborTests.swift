// SPDX-License-Identifier: GPL-2.0-or-later

// Neighbours beyond a ping: limits and collection, proxies, and the settings of ARP.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Neighbours")
struct NeighborTests {
  /// A node with an outside face, up, at 10.0.0.1/16.
  private func host(_ kernel: inout Kernel) throws -> (NamespaceIndex, DeviceIndex) {
    let node = try kernel.node()
    let name = try #require(InterfaceName("t0"))
    let face = try kernel.makeOutside(name, in: node, mac: MACAddress("02:00:00:00:01:01"))
    try kernel.set("t0", up: true, in: node)
    try kernel.address("10.0.0.1/16", "t0", node)
    return (node, face)
  }

  private func frames(_ kernel: inout Kernel, _ face: DeviceIndex) -> [[UInt8]] {
    var frames: [[UInt8]] = []
    while let frame = kernel.takeFrame(from: face) { frames.append(frame) }
    return frames
  }

  private func neighbor(_ text: String, _ index: Int32, _ body: (inout NeighborMessage) -> Void = { _ in })
    -> NeighborMessage
  {
    var message = NeighborMessage(family: .ipv4, index: index)
    message.destination = .v4(v4(text))
    message.linkAddress = [2, 0, 0, 0, 0, 9]
    message.state = .stale
    body(&message)
    return message
  }

  private func fill(_ kernel: inout Kernel, _ node: NamespaceIndex, _ count: Int, from first: Int = 256)
    throws(KernelError)
  {
    let index = kernel.ifindex("t0", node)
    for number in first..<first + count {
      try kernel.perform(
        neighbor("10.0.\(number / 256).\(number % 256)", index).request(.create), in: node)
    }
  }

  @Test("Young neighbours fill the table to its limit, and old ones make room")
  func forcedCollection() throws {
    var kernel = Kernel()
    let (node, _) = try host(&kernel)
    try fill(&kernel, node, 1024)
    #expect(throws: KernelError(105)) { try fill(&kernel, node, 1, from: 2000) }
    #expect(kernel.namespaces[node].arp.overflows == 1)
    // Permanent ones do not count.
    try kernel.perform(
      neighbor("10.0.9.9", kernel.ifindex("t0", node)) { $0.state = .permanent }.request(.create), in: node)
    kernel.run(for: .seconds(6))
    try fill(&kernel, node, 1, from: 2001)
    // Down to the second threshold, from the oldest on.
    #expect(kernel.namespaces[node].arp.collectable == 513)
    #expect(kernel.neighborState("10.0.1.0", "t0", node) == nil)
    #expect(kernel.neighborState("10.0.4.255", "t0", node) == .stale)
    #expect(kernel.neighborState("10.0.9.9", "t0", node) == .permanent)
  }

  @Test("Neighbours that nobody uses go after a minute, if there are many")
  func periodicCollection() throws {
    var kernel = Kernel()
    let (node, _) = try host(&kernel)
    try fill(&kernel, node, 127)
    kernel.run(for: .seconds(200))
    #expect(kernel.namespaces[node].arp.count == 127)
    try fill(&kernel, node, 1, from: 1000)
    kernel.run(for: .seconds(20))
    #expect(kernel.namespaces[node].arp.count == 1)
    try kernel.setSysctl("net/ipv4/neigh/default/gc_thresh1", to: "1", in: node)
    try kernel.setSysctl("net/ipv4/neigh/t0/gc_stale_time", to: "1", in: node)
    try fill(&kernel, node, 1, from: 1001)
    kernel.run(for: .seconds(20))
    #expect(kernel.namespaces[node].arp.count == 0)
  }

  @Test("An answer for another waits for a moment unless it is asked of this host alone")
  func proxy() throws {
    var kernel = Kernel()
    let (node, face) = try host(&kernel)
    try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
    let other = try kernel.node()
    try kernel.veth("v0", node, "v1", other)
    try kernel.address("10.9.0.1/24", "v0", node)
    let index = kernel.ifindex("t0", node)
    try kernel.perform(neighbor("10.9.0.9", index) { $0.flags = .proxy }.request(.create), in: node)
    let dumped = try kernel.dump(NeighborMessage.dump(.ipv4, proxies: true), in: node)
      .map { try NeighborMessage($0) }
    #expect(dumped.map(\.destination) == [.v4(v4("10.9.0.9"))])
    let request = KernelOracleTests.arp(1, sender: [10, 0, 0, 9], target: [10, 9, 0, 9])
    kernel.inject(request, into: face)
    kernel.run(for: .milliseconds(0))
    #expect(frames(&kernel, face).isEmpty)
    #expect(kernel.accounting.held == 1)
    #expect(kernel.accounting.isClosed)
    kernel.run(for: .milliseconds(801))
    let answers = frames(&kernel, face)
    #expect(answers.count == 1)
    #expect(answers.first.map { Array($0[28..<32]) } == [10, 9, 0, 9])
    kernel.inject(
      KernelOracleTests.arp(1, sender: [10, 0, 0, 9], target: [10, 9, 0, 9], to: [2, 0, 0, 0, 1, 1]),
      into: face)
    kernel.run(for: .milliseconds(0))
    #expect(frames(&kernel, face).count == 1)
    kernel.inject(request, into: face)
    kernel.run(for: .milliseconds(0))
    try kernel.set("t0", up: false, in: node)
    #expect(kernel.accounting.isClosed)
    #expect(kernel.accounting.held == 0)
  }

  @Test("A managed neighbour is asked for although nobody needs it")
  func managed() throws {
    var kernel = Kernel()
    let (node, face) = try host(&kernel)
    let message = neighbor("10.0.0.9", kernel.ifindex("t0", node)) {
      $0.state = []
      $0.linkAddress = nil
      $0.extendedFlags = 1
    }
    try kernel.perform(message.request(.create), in: node)
    kernel.run(for: .milliseconds(1))
    #expect(kernel.neighborState("10.0.0.9", "t0", node) == .incomplete)
    kernel.run(for: .seconds(4))
    #expect(frames(&kernel, face).count == 3)
    #expect(kernel.neighborState("10.0.0.9", "t0", node) == .failed)
    kernel.run(for: .seconds(2))
    #expect(kernel.neighborState("10.0.0.9", "t0", node) == .incomplete)
  }

  @Test("Settings of ARP: who is announced, who is believed, who is answered")
  func settings() throws {
    var kernel = Kernel()
    let (node, face) = try host(&kernel)
    try kernel.address("192.0.2.1/24", "lo", node)
    let gratuitous = KernelOracleTests.arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 9])
    kernel.inject(gratuitous, into: face)
    kernel.run(for: .milliseconds(1))
    #expect(kernel.neighborState("10.0.0.9", "t0", node) == nil)
    try kernel.setSysctl("net/ipv4/conf/t0/arp_accept", to: "1", in: node)
    kernel.inject(gratuitous, into: face)
    kernel.run(for: .milliseconds(1))
    #expect(kernel.neighborState("10.0.0.9", "t0", node) == .stale)
    // An address of another device, then with arp_ignore.
    let request = KernelOracleTests.arp(1, sender: [10, 0, 0, 9], target: [192, 0, 2, 1])
    kernel.inject(request, into: face)
    kernel.run(for: .milliseconds(1))
    #expect(frames(&kernel, face).count == 1)
    try kernel.setSysctl("net/ipv4/conf/all/arp_ignore", to: "1", in: node)
    kernel.inject(request, into: face)
    kernel.run(for: .milliseconds(1))
    #expect(frames(&kernel, face).isEmpty)
    try kernel.setSysctl("net/ipv4/conf/all/arp_notify", to: "1", in: node)
    try kernel.change("t0", node) { $0.macAddress = MACAddress("02:00:00:00:01:02") }
    #expect(
      frames(&kernel, face).first.map { Array($0[28..<32] + $0[38..<42]) } == [10, 0, 0, 1, 10, 0, 0, 1])
  }
}
