// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("TCP")
struct TCPTests {
  /// Listens, connects and accepts.
  static func connection(_ link: UnreliableLink, port: UInt16 = 80) throws -> (
    listener: SocketIndex, client: SocketIndex, server: SocketIndex
  ) {
    let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    try link.kernel.bind(listener, to: name("0.0.0.0", port))
    try link.kernel.listen(listener, backlog: 16)
    let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
    #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", port)) } == 115)
    for _ in 0..<400 where link.kernel.readiness(of: listener).isEmpty { link.run(for: .milliseconds(250)) }
    let server = try link.kernel.accept(listener)
    return (listener, client, server)
  }

  static func state(_ link: UnreliableLink, _ socket: SocketIndex) -> TCPState? {
    link.nodes.flatMap { link.kernel.sockets(in: $0) }.first { $0.socket == socket }?.state
  }

  /// Sends all of `bytes` from each end to the other, and tells what arrived.
  static func exchange(
    _ link: UnreliableLink, _ sockets: [SocketIndex], _ bytes: [[UInt8]], limit: Int = 200_000
  ) throws -> [[UInt8]] {
    var sent = [0, 0]
    var received: [[UInt8]] = [[], []]
    var isShut = [false, false]
    var isOver = [false, false]
    var buffer: [UInt8] = []
    for _ in 0..<limit where !(isOver[0] && isOver[1]) {
      for end in 0..<2 {
        while sent[end] < bytes[end].count {
          let rest = Array(bytes[end][sent[end]..<min(sent[end] + 20_000, bytes[end].count)])
          guard let count = try? link.kernel.send(rest, on: sockets[end]) else { break }
          sent[end] += count
        }
        if sent[end] == bytes[end].count, !isShut[end] {
          try link.kernel.shutdown(sockets[end], .send)
          isShut[end] = true
        }
        while !isOver[end], let message = try? link.kernel.receive(sockets[end], into: &buffer, limit: 8192) {
          if message.length == 0 { isOver[end] = true }
          received[end] += buffer
        }
      }
      link.run(for: .milliseconds(5))
    }
    #expect(isOver == [true, true])
    return received
  }

  static func pattern(_ length: Int, _ seed: UInt64) -> [UInt8] {
    var random = RandomState(seed: seed)
    return (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  @Test(
    "A connection is made, carries bytes both ways, is half closed, closed, and forgotten after TIME-WAIT")
  func life() throws {
    let link = try UnreliableLink(seed: 1)
    let (listener, client, server) = try Self.connection(link)
    #expect(Self.state(link, client) == .established)
    #expect(Self.state(link, server) == .established)
    #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 0)
    #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 106)
    #expect(try link.kernel.peerName(of: server) == link.kernel.localName(of: client))
    try link.kernel.send(Array("question".utf8), on: client)
    try link.kernel.shutdown(client, .send)
    link.run(for: .milliseconds(100))
    #expect(Self.state(link, client) == .finWait2)
    #expect(Self.state(link, server) == .closeWait)
    var bytes: [UInt8] = []
    _ = try link.kernel.receive(server, into: &bytes)
    #expect(bytes == Array("question".utf8))
    let end = try link.kernel.receive(server, into: &bytes)
    #expect(end.length == 0)
    try link.kernel.send(Array("answer".utf8), on: server)
    link.kernel.close(server)
    link.run(for: .milliseconds(100))
    _ = try link.kernel.receive(client, into: &bytes)
    #expect(bytes == Array("answer".utf8))
    #expect(Self.state(link, client) == .timeWait)
    #expect(Self.state(link, server) == nil)
    link.kernel.close(client)
    link.run(for: .seconds(59))
    #expect(Self.state(link, client) == .timeWait)
    link.run(for: .seconds(2))
    link.kernel.close(listener)
    #expect(link.kernel.sockets.count == 0)
    #expect(link.kernel.tcps.count == 0)
    #expect(link.kernel.accounting.isClosed)
    #expect(link.kernel.accounting.held == 0)
    let counters = link.kernel.counted(link.nodes[0])
    #expect(counters[.tcpRetransSegs] == 0)
    #expect(counters[.tcpOutRsts] == 0)
  }

  @Test(
    "Every byte arrives once and in order, whatever the wire does",
    arguments: [
      UnreliableLink.Faults(), UnreliableLink.Faults(loss: 10), UnreliableLink.Faults(loss: 100),
      UnreliableLink.Faults(loss: 250), UnreliableLink.Faults(duplication: 200, reordering: 300),
      UnreliableLink.Faults(loss: 50, duplication: 50, reordering: 50, delay: 40_000_000),
      UnreliableLink.Faults(outage: 50_000_000..<4_000_000_000),
    ])
  func faults(_ faults: UnreliableLink.Faults) throws {
    for seed in UInt64(1)...2 {
      let link = try UnreliableLink(seed: seed, faults: faults)
      let (listener, client, server) = try Self.connection(link)
      let bytes = [Self.pattern(60_000, seed), Self.pattern(20_000, seed + 9)]
      let received = try Self.exchange(link, [client, server], bytes)
      #expect(received[1] == bytes[0])
      #expect(received[0] == bytes[1])
      for socket in [client, server, listener] { link.kernel.close(socket) }
      link.run(for: .seconds(400))
      #expect(link.kernel.sockets.count == 0)
      #expect(link.kernel.accounting.isClosed)
      #expect(link.kernel.accounting.held == 0)
    }
  }

  @Test("A reader that stops closes the window, and one that goes on opens it again")
  func closedWindow() throws {
    let link = try UnreliableLink(seed: 4)
    let (_, client, server) = try Self.connection(link)
    let bytes = Self.pattern(1_500_000, 4)
    var sent = 0
    for _ in 0..<200 {
      while sent < bytes.count,
        let count = try? link.kernel.send(Array(bytes[sent..<min(sent + 9000, bytes.count)]), on: client)
      {
        sent += count
      }
      link.run(for: .milliseconds(100))
    }
    #expect(sent < bytes.count)
    let isAsking = link.kernel.tcps[link.kernel.sockets[client].tcp].pending == .probe
    #expect(isAsking)
    #expect(!link.kernel.readiness(of: client).contains(.out))
    var received: [UInt8] = []
    var buffer: [UInt8] = []
    for _ in 0..<4000 where received.count < bytes.count {
      while (try? link.kernel.receive(server, into: &buffer)) != nil { received += buffer }
      while sent < bytes.count,
        let count = try? link.kernel.send(Array(bytes[sent..<min(sent + 9000, bytes.count)]), on: client)
      {
        sent += count
      }
      link.run(for: .milliseconds(20))
    }
    #expect(received == bytes)
  }

  @Test("A closed port refuses, silence times out, and a reset is told once")
  func failures() throws {
    let link = try UnreliableLink(seed: 5)
    let refused = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
    #expect(failure { try link.kernel.connect(refused, to: name("10.0.0.2", 81)) } == 115)
    #expect(failure { try link.kernel.connect(refused, to: name("10.0.0.2", 81)) } == 114)
    link.run(for: .milliseconds(100))
    #expect(link.kernel.readiness(of: refused).isSuperset(of: [.error, .hangUp]))
    #expect(failure { try link.kernel.connect(refused, to: name("10.0.0.2", 81)) } == 111)
    let (_, client, server) = try Self.connection(link)
    try link.kernel.send([1, 2, 3], on: client)
    link.run(for: .milliseconds(100))
    // What was not read is answered with a reset.
    link.kernel.close(server)
    link.run(for: .milliseconds(100))
    var bytes: [UInt8] = []
    #expect(failure { _ = try link.kernel.receive(client, into: &bytes) } == 104)
    #expect(failure { _ = try link.kernel.receive(client, into: &bytes) } == 0)
    #expect(failure { try link.kernel.send([1], on: client) } == 32)
    link.faults.loss = 1000
    let silent = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
    #expect(failure { try link.kernel.connect(silent, to: name("10.0.0.2", 80)) } == 115)
    link.run(for: .seconds(100))
    #expect(link.kernel.takeError(of: silent) == 0)
    link.run(for: .seconds(60))
    #expect(link.kernel.takeError(of: silent) == 110)
  }

  @Test("Both ends may ask at once, and both may end at once")
  func simultaneous() throws {
    let link = try UnreliableLink(seed: 6)
    var sockets: [SocketIndex] = []
    for end in 0..<2 {
      let socket = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[end])
      try link.kernel.bind(socket, to: name("10.0.0.\(end + 1)", UInt16(1000 + end)))
      sockets.append(socket)
    }
    // They know each other already, so that the SYNs cross.
    _ = try link.kernel.ping("127.0.0.1", from: link.nodes[0])
    let probe = try link.kernel.openEcho(in: link.nodes[0])
    try link.kernel.sendEcho(to: v4("10.0.0.2"), sequence: 1, by: probe)
    link.run(for: .milliseconds(50))
    for end in 0..<2 {
      let peer = name("10.0.0.\(2 - end)", UInt16(1001 - end))
      #expect(failure { try link.kernel.connect(sockets[end], to: peer) } == 115)
    }
    link.run(for: .milliseconds(100))
    #expect(sockets.map { Self.state(link, $0) } == [.established, .established])
    let bytes = [Self.pattern(5000, 1), Self.pattern(6000, 2)]
    let received = try Self.exchange(link, sockets, bytes)
    #expect(received == [bytes[1], bytes[0]])
    link.run(for: .milliseconds(100))
    #expect(sockets.map { Self.state(link, $0) } == [.timeWait, .timeWait])
  }

  @Test("A connection follows what is configured while it stands")
  func reconfigured() throws {
    let link = try UnreliableLink(seed: 1)
    let (_, client, server) = try Self.connection(link)
    var bytes: [UInt8] = []
    func arrives(within interval: Interval = .milliseconds(50)) throws -> Bool {
      try link.kernel.send([7], on: client)
      link.run(for: interval)
      return (try? link.kernel.receive(server, into: &bytes)) != nil
    }
    #expect(try arrives())
    let refusal = OracleSetup.message("10.0.0.2/32", .ipv4) { $0.type = .blackhole }
    try link.kernel.perform(refusal.request(.create), in: link.nodes[0])
    #expect(try !arrives())
    try link.kernel.perform(refusal.request(.delete), in: link.nodes[0])
    #expect(try arrives(within: .seconds(3)))
    let address = AddressMessage(prefix("10.0.0.2/24"), index: link.kernel.ifindex("eth0", link.nodes[1]))
    try link.kernel.perform(address.request(.delete), in: link.nodes[1])
    #expect(try !arrives())
    try link.kernel.perform(address.request(.create), in: link.nodes[1])
    #expect(try arrives(within: .seconds(3)))
  }

  @Test("Over the loopback, whose MTU is more than IPv4's length field can say, full segments arrive")
  func loopback() throws {
    var kernel = Kernel(seed: 12)
    let node = try kernel.node()
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: node)
    try kernel.bind(listener, to: name("127.0.0.1", 80))
    try kernel.listen(listener, backlog: 4)
    let client = try kernel.makeSocket(.tcp(.ipv4), in: node)
    #expect(failure { try kernel.connect(client, to: name("127.0.0.1", 80)) } == 115)
    kernel.run(for: .milliseconds(1))
    let server = try kernel.accept(listener)
    let bytes = Self.pattern(3_000_000, 12)
    var sent = 0
    var received: [UInt8] = []
    var buffer: [UInt8] = []
    for _ in 0..<10_000 where received.count < bytes.count {
      while sent < bytes.count,
        let count = try? kernel.send(Array(bytes[sent...].prefix(200_000)), on: client)
      {
        sent += count
      }
      kernel.run(for: .milliseconds(1))
      while (try? kernel.receive(server, into: &buffer)) != nil { received += buffer }
    }
    #expect(received == bytes)
    let counters = kernel.counters(of: node)
    #expect(counters?[.ipInHdrErrors] == 0 && counters?[.tcpRetransSegs] == 0)
  }

  @Test("Over IPv6 too, and a listener for any address of either family takes both")
  func families() throws {
    var kernel = Kernel(seed: 8)
    let a = try kernel.node(ipv6: true)
    let b = try kernel.node(ipv6: true)
    try kernel.veth("eth0", a, "eth0", b)
    for (node, host) in [(a, 1), (b, 2)] {
      try kernel.address("10.0.0.\(host)/24", "eth0", node)
      try kernel.address6("2001:db8::\(host)/64", "eth0", node)
    }
    kernel.run(for: .seconds(5))
    let listener = try kernel.makeSocket(.tcp(.ipv6), in: b)
    try kernel.bind(listener, to: SocketAddress(.any(.ipv6), 80))
    try kernel.listen(listener, backlog: 4)
    for text in ["2001:db8::2", "10.0.0.2"] {
      let address = try #require(IPAddress(text))
      let client = try kernel.makeSocket(.tcp(address.family), in: a)
      #expect(failure { try kernel.connect(client, to: SocketAddress(address, 80)) } == 115)
      kernel.run(for: .milliseconds(50))
      let server = try kernel.accept(listener)
      let bytes = Self.pattern(40_000, 8)
      try kernel.send(bytes, on: client)
      var received: [UInt8] = []
      var buffer: [UInt8] = []
      for _ in 0..<100 {
        kernel.run(for: .milliseconds(10))
        while (try? kernel.receive(server, into: &buffer)) != nil { received += buffer }
      }
      #expect(received == bytes.prefix(received.count) + [])
      #expect(received.count > 10_000)
      kernel.close(client)
      kernel.close(server)
    }
    let isClosed = kernel.accounting.isClosed
    #expect(isClosed)
  }

  @Test("A full accept queue makes others wait, and a listener that closes resets who waits")
  func backlog() throws {
    let link = try UnreliableLink(seed: 7)
    let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    try link.kernel.bind(listener, to: name("10.0.0.2", 80))
    try link.kernel.listen(listener, backlog: 2)
    let other = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    #expect(failure { try link.kernel.bind(other, to: name("0.0.0.0", 80)) } == 98)
    var clients: [SocketIndex] = []
    for _ in 0..<5 {
      let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
      #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
      link.run(for: .milliseconds(50))
      clients.append(client)
    }
    // As Linux counts, a queue of 2 holds 3.
    #expect(link.kernel.sockets(in: link.nodes[1]).first { $0.socket == listener }?.receiveQueue == 3)
    #expect(link.kernel.counted(link.nodes[1])[.tcpExtListenOverflows] > 0)
    _ = try link.kernel.accept(listener)
    link.run(for: .seconds(10))
    #expect(link.kernel.sockets(in: link.nodes[1]).first { $0.socket == listener }?.receiveQueue == 3)
    link.kernel.close(listener)
    link.run(for: .milliseconds(100))
    #expect(clients.map { link.kernel.takeError(of: $0) }.filter { $0 == 104 }.count == 3)
    #expect(link.kernel.accounting.isClosed)
  }
}
