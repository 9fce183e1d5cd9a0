// SPDX-License-Identifier: GPL-2.0-or-later

// IPv6 between emulated nodes: addresses and their detection, neighbours, routers, pings, paths and pieces.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

func v6(_ text: String) -> IPv6Address { IPv6Address(text) ?? .any }

extension Kernel {
  /// What came back of a ping.
  struct Echo6: Equatable {
    var source: IPv6Address?
    var hopLimit: UInt8 = 0
    var error: Int32 = 0
    var length = 0
  }

  mutating func address6(_ text: String, _ name: String, _ namespace: NamespaceIndex) throws {
    var message = AddressMessage(prefix(text), index: ifindex(name, namespace))
    message.flags = .noDAD
    try perform(message.request(.create), in: namespace)
  }

  mutating func route6(_ text: String, via gateway: String, _ namespace: NamespaceIndex, dev: String? = nil)
    throws
  {
    var route = RouteMessage(family: .ipv6)
    route.destination = text == "default" ? nil : prefix(text)
    route.gateway = .v6(v6(gateway))
    route.table = RouteMessage.mainTable
    route.protocolNumber = .static
    route.type = .unicast
    if let dev { route.outputIndex = ifindex(dev, namespace) }
    try perform(route.request(.create), in: namespace)
  }

  /// Pings once and waits a second and a half; nil: nothing came back.
  mutating func ping6(
    _ destination: String, from namespace: NamespaceIndex, length: Int = 56, hopLimit: UInt8? = nil,
    dev: String? = nil, wait: Interval = .milliseconds(1500)
  ) throws -> Echo6? {
    try setSysctl("net/ipv4/ping_group_range", to: "0 0", in: namespace)
    let socket = try makeSocket(.ping(.ipv6), in: namespace)
    defer { close(socket) }
    try setOption(.receiveErrors(true), on: socket)
    var control = SendControl()
    control.ttl = hopLimit
    let data = [128, 0, 0, 0, 0, 0, 0, 7] + (0..<length).map { UInt8($0 & 255) }
    let scope = dev.map { ifindex($0, namespace) } ?? 0
    try send(data, on: socket, to: SocketAddress(.v6(v6(destination)), scope: scope), control: control)
    run(for: wait)
    if let report = try? receiveError(socket) {
      var source: IPv6Address?
      if case .v6(let address)? = report.offender { source = address }
      return Echo6(source: source, error: report.errno)
    }
    var buffer: [UInt8] = []
    guard let message = try? receive(socket, into: &buffer) else { return nil }
    var echo = Echo6(hopLimit: message.ttl, length: message.length - 8)
    if case .v6(let address)? = message.source?.address { echo.source = address }
    #expect(Array(buffer.dropFirst(8)) == Array(data.dropFirst(8)))
    return echo
  }
}

@Suite("IPv6")
struct IPv6Tests {
  /// Two nodes with a router between them: 2001:db8:1::/64 and 2001:db8:2::/64.
  private struct Line: ~Copyable {
    var kernel: Kernel
    var a: NamespaceIndex
    var r: NamespaceIndex
    var b: NamespaceIndex

    init(burst: Int = 64, seed: UInt64 = 1) throws {
      var kernel = Kernel(seed: seed, burst: burst)
      let a = try kernel.node(ipv6: true)
      let r = try kernel.node(ipv6: true)
      let b = try kernel.node(ipv6: true)
      try kernel.setSysctl("net/ipv6/conf/all/forwarding", to: "1", in: r)
      try kernel.veth("a0", a, "r0", r)
      try kernel.veth("r1", r, "b0", b)
      try kernel.address6("2001:db8:1::a/64", "a0", a)
      try kernel.address6("2001:db8:1::1/64", "r0", r)
      try kernel.address6("2001:db8:2::1/64", "r1", r)
      try kernel.address6("2001:db8:2::b/64", "b0", b)
      try kernel.route6("default", via: "2001:db8:1::1", a)
      try kernel.route6("default", via: "2001:db8:2::1", b)
      self.kernel = kernel
      self.a = a
      self.r = r
      self.b = b
    }
  }

  private func addresses(_ kernel: inout Kernel, _ namespace: NamespaceIndex) throws -> [String] {
    try kernel.dump(AddressMessage.dump(.ipv6), in: namespace).map { try AddressMessage($0) }.map {
      "\($0.address.map { "\($0)" } ?? "-")/\($0.prefixLength) \($0.scope.rawValue) \($0.flags.rawValue)"
    }
  }

  @Test("A link's address is asked for, then spoken from; the neighbour answers by it")
  func linkLocal() throws {
    var kernel = Kernel()
    let a = try kernel.node(ipv6: true)
    let b = try kernel.node(ipv6: true)
    try kernel.veth("a0", a, "b0", b)
    try kernel.change("b0", b) { $0.macAddress = MACAddress("02:00:00:00:00:0b") }
    #expect(try addresses(&kernel, a).last?.hasSuffix("/64 253 192") == true)
    kernel.run(for: .seconds(3))
    #expect(try addresses(&kernel, a).last?.hasSuffix("/64 253 128") == true)
    let target = try #require(kernel.device("b0", in: b).flatMap { kernel.linkLocalAddress(of: $0) })
    let echo = try kernel.ping6("\(IPv6Address(target))", from: a, dev: "a0")
    #expect(echo == Kernel.Echo6(source: IPv6Address(target), hopLimit: 64, length: 56))
    #expect(throws: KernelError.invalidArgument) { try kernel.ping6("\(IPv6Address(target))", from: a) }
    // All nodes of the link, this one among them.
    let all = try kernel.ping6("ff02::1", from: a, dev: "a0")
    #expect(all != nil)
    #expect(kernel.accounting.isClosed)
  }

  @Test("A router passes pings on and takes one from the hop limit; without it, it says so")
  func router() throws {
    var line = try Line()
    line.kernel.run(for: .seconds(3))
    let echo = try line.kernel.ping6("2001:db8:2::b", from: line.a)
    #expect(echo == Kernel.Echo6(source: v6("2001:db8:2::b"), hopLimit: 63, length: 56))
    let expired = try line.kernel.ping6("2001:db8:2::b", from: line.a, hopLimit: 1)
    #expect(expired == Kernel.Echo6(source: v6("2001:db8:1::1"), error: 113))
    let nowhere = try line.kernel.ping6("2001:db8:3::b", from: line.a)
    #expect(nowhere == Kernel.Echo6(source: v6("2001:db8:1::1"), error: 101))
    // Three questions, a second each, then the host is unreachable.
    let nobody = try line.kernel.ping6("2001:db8:2::77", from: line.a, wait: .seconds(5))
    #expect(nobody == Kernel.Echo6(source: v6("2001:db8:1::1"), error: 113))
    // The subnet's routers, by any of them.
    let anycast = try line.kernel.ping6("2001:db8:2::", from: line.a)
    #expect(anycast?.source == v6("2001:db8:1::1"))
    #expect(line.kernel.counted(line.r)[.ip6OutForwDatagrams] >= 2)
    #expect(line.kernel.accounting.isClosed)
  }

  @Test("Large pings go in pieces; a smaller link on the way is learned and believed for ten minutes")
  func pathMTU() throws {
    var line = try Line()
    line.kernel.run(for: .seconds(3))
    let pieces = try line.kernel.ping6("2001:db8:2::b", from: line.a, length: 5000)
    #expect(pieces == Kernel.Echo6(source: v6("2001:db8:2::b"), hopLimit: 63, length: 5000))
    #expect(line.kernel.counted(line.b)[.ip6ReasmOKs] == 1)
    for (name, node) in [("r1", line.r), ("b0", line.b)] {
      try line.kernel.change(name, node) { $0.mtu = 1300 }
    }
    let tooBig = try line.kernel.ping6("2001:db8:2::b", from: line.a, length: 1400)
    #expect(tooBig == Kernel.Echo6(source: v6("2001:db8:1::1"), error: 90))
    let learned = try line.kernel.ping6("2001:db8:2::b", from: line.a, length: 1400)
    #expect(learned == Kernel.Echo6(source: v6("2001:db8:2::b"), hopLimit: 63, length: 1400))
    line.kernel.run(for: .seconds(601))
    let again = try line.kernel.ping6("2001:db8:2::b", from: line.a, length: 1400)
    #expect(again?.error == 90)
    #expect(line.kernel.accounting.isClosed)
  }

  @Test("Of two nodes with one address the second gives it up")
  func duplicate() throws {
    var kernel = Kernel()
    let a = try kernel.node(ipv6: true)
    let b = try kernel.node(ipv6: true)
    try kernel.veth("a0", a, "b0", b)
    try kernel.address6("2001:db8::1/64", "a0", a)
    kernel.run(for: .seconds(3))
    try kernel.perform(
      AddressMessage(prefix("2001:db8::1/64"), index: kernel.ifindex("b0", b)).request(.create), in: b)
    kernel.run(for: .seconds(3))
    // Tentative, failed, permanent.
    #expect(try addresses(&kernel, b).contains("2001:db8::1/64 0 200"))
    #expect(try addresses(&kernel, a).contains("2001:db8::1/64 0 130"))
  }

  @Test("A host takes a prefix, a default route and parameters from a router, and loses them in time")
  func autoconfiguration() throws {
    var kernel = Kernel()
    let node = try kernel.node(ipv6: true)
    let name = try #require(InterfaceName("t0"))
    let face = try kernel.makeOutside(name, in: node, mac: MACAddress("02:00:00:00:01:01"))
    try kernel.set("t0", up: true, in: node)
    kernel.run(for: .seconds(3))
    let frames = drain(&kernel, face)
    // Somebody asks for routers.
    #expect(frames.contains { $0.count > 54 && $0[20] == 58 && $0[54] == 133 })
    let advertisement = ICMPv6Frame(
      source: "fe80::1", destination: "ff02::1", link: [0x33, 0x33, 0, 0, 0, 1],
      message: [134, 0, 0, 0, 33, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0]
        + [1, 1, 2, 0, 0, 0, 9, 9] + [5, 1, 0, 0, 0, 0, 5, 120]
        + [3, 4, 64, 0xc0, 0, 0, 0, 100, 0, 0, 0, 50, 0, 0, 0, 0] + v6("2001:db8:5::").bytes)
    kernel.inject(advertisement.frame, into: face)
    kernel.run(for: .seconds(3))
    #expect(try addresses(&kernel, node).contains("2001:db8:5::ff:fe00:101/64 0 0"))
    func routes(_ kernel: inout Kernel) throws -> [String] {
      try kernel.dump(RouteMessage.dump(.ipv6), in: node).map { try RouteMessage($0) }
        .filter { $0.table == RouteMessage.mainTable }
        .map { "\($0.destination.map { "\($0)" } ?? "default") \($0.protocolNumber.rawValue)" }
    }
    let expected = ["2001:db8:5::/64 2", "fe80::/64 2", "default 9"]
    #expect(try Set(routes(&kernel)) == Set(expected))
    #expect(kernel.sysctl("net/ipv6/conf/t0/hop_limit", in: node) == "33")
    #expect(kernel.sysctl("net/ipv6/conf/t0/mtu", in: node) == "1400")
    kernel.run(for: .seconds(30))
    #expect(try !routes(&kernel).contains("default 9"))
    kernel.run(for: .seconds(30))
    // Deprecated after fifty seconds, gone after a hundred.
    #expect(try addresses(&kernel, node).contains("2001:db8:5::ff:fe00:101/64 0 32"))
    kernel.run(for: .seconds(50))
    #expect(try addresses(&kernel, node).count == 2)
  }

  @Test("An MTU below 1,280 takes IPv6 away, and a larger one brings it back")
  func smallMTU() throws {
    var line = try Line()
    line.kernel.run(for: .seconds(3))
    try line.kernel.change("a0", line.a) { $0.mtu = 1279 }
    #expect(try addresses(&line.kernel, line.a) == ["::1/128 254 128"])
    try line.kernel.change("a0", line.a) { $0.mtu = 1280 }
    line.kernel.run(for: .seconds(3))
    #expect(try addresses(&line.kernel, line.a).count == 2)
    try line.kernel.setSysctl("net/ipv6/conf/a0/disable_ipv6", to: "1", in: line.a)
    #expect(try addresses(&line.kernel, line.a).count == 1)
    #expect(throws: KernelError(13, "ipv6: IPv6 is disabled on this device")) {
      try line.kernel.address6("2001:db8:1::a/64", "a0", line.a)
    }
  }

  @Test("Groups are reported when they are joined and when a querier asks")
  func listening() throws {
    var kernel = Kernel()
    let node = try kernel.node(ipv6: true)
    let name = try #require(InterfaceName("t0"))
    let face = try kernel.makeOutside(name, in: node, mac: MACAddress("02:00:00:00:01:01"))
    try kernel.set("t0", up: true, in: node)
    kernel.run(for: .seconds(10))
    let unasked = drain(&kernel, face).filter { $0[20] == 0 && $0[62] == 143 }
    #expect(unasked.count >= 2)
    #expect(unasked.allSatisfy { $0[21] == 1 })
    let query = ICMPv6Frame(
      source: "fe80::1", destination: "ff02::1", link: [0x33, 0x33, 0, 0, 0, 1], hopLimit: 1,
      routerAlert: true,
      message: [130, 0, 0, 0, 3, 0xe8, 0, 0] + [UInt8](repeating: 0, count: 16) + [2, 125, 0, 0])
    kernel.inject(query.frame, into: face)
    kernel.run(for: .seconds(2))
    let answers = drain(&kernel, face).filter { $0[20] == 0 && $0[62] == 143 }
    #expect(answers.count == 1)
    // One record: the solicited node's group, EXCLUDE.
    #expect(answers.first.map { Array($0[68..<71]) } == [0, 1, 2])
  }

  @Test("Bursts of any size, and a second run, give the same frames")
  func determinism() throws {
    func run(_ burst: Int) throws -> [DeviceIndex: [CaptureRecord]] {
      var line = try Line(burst: burst, seed: 9)
      line.kernel.captureAll()
      for length in [0, 56, 1400, 5000] {
        _ = try line.kernel.ping6("2001:db8:2::b", from: line.a, length: length)
        _ = try line.kernel.ping6("2001:db8:2::b", from: line.a, hopLimit: 1)
      }
      #expect(line.kernel.accounting.isClosed)
      // What is done at one moment in two places may come in either order; on a wire it may not.
      return Dictionary(grouping: line.kernel.takeCapture(), by: \.device)
    }
    let reference = try run(64)
    #expect(reference.values.map(\.count).reduce(0, +) > 60)
    for burst in [1, 2, 7, 64] {
      #expect(try run(burst) == reference, "bursts of \(burst)")
    }
  }

  private func drain(_ kernel: inout Kernel, _ face: DeviceIndex) -> [[UInt8]] {
    var frames: [[UInt8]] = []
    while let frame = kernel.takeFrame(from: face) { frames.append(frame) }
    return frames
  }
}

/// An ICMPv6 message in its frame.
struct ICMPv6Frame {
  var source: String
  var destination: String
  var link: [UInt8]
  var hopLimit: UInt8 = 255
  var routerAlert = false
  var from: [UInt8] = [2, 0, 0, 0, 9, 9]
  var message: [UInt8]

  var frame: [UInt8] {
    var message = message
    let (from6, to6) = (v6(source).bytes, v6(destination).bytes)
    let pseudo = from6 + to6 + [0, 0, UInt8(message.count >> 8), UInt8(message.count & 255), 0, 0, 0, 58]
    let sum = KernelOracleTests.checksum(pseudo + message)
    message[2] = sum[0]
    message[3] = sum[1]
    let options: [UInt8] = routerAlert ? [58, 0, 5, 2, 0, 0, 1, 0] : []
    let length = options.count + message.count
    let header: [UInt8] = [
      0x60, 0, 0, 0, UInt8(length >> 8), UInt8(length & 255), routerAlert ? 0 : 58, hopLimit,
    ]
    return link + from + [0x86, 0xdd] + header + from6 + to6 + options + message
  }
}
