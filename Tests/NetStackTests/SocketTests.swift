// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

func name(_ address: String, _ port: UInt16 = 0) -> SocketAddress {
  SocketAddress(IPAddress(address) ?? .v4(.any), port)
}

/// The error number that something fails with; 0 when it does not.
func failure(_ body: () throws -> Void) -> Int32 {
  do {
    try body()
    return 0
  } catch {
    return (error as? KernelError)?.errno ?? -1
  }
}

@Suite("Sockets")
struct SocketTests {
  /// Two hosts on a link.
  final class Pair {
    var kernel: Kernel
    let a: NamespaceIndex
    let b: NamespaceIndex

    init(seed: UInt64 = 1, burst: Int = 64) throws {
      var kernel = Kernel(seed: seed, burst: burst)
      let a = try kernel.node()
      let b = try kernel.node()
      try kernel.veth("eth0", a, "eth0", b)
      for (node, host) in [(a, 1), (b, 2)] {
        var address = AddressMessage(prefix("10.0.0.\(host)/24"), index: kernel.ifindex("eth0", node))
        address.broadcast = v4("10.0.0.255")
        try kernel.perform(address.request(.create), in: node)
      }
      self.kernel = kernel
      self.a = a
      self.b = b
    }

    func udp(_ node: NamespaceIndex, _ address: String = "0.0.0.0", _ port: UInt16 = 0) throws
      -> SocketIndex
    {
      let socket = try kernel.makeSocket(.udp(.ipv4), in: node)
      if port != 0 || address != "0.0.0.0" { try kernel.bind(socket, to: name(address, port)) }
      return socket
    }

    func receive(_ socket: SocketIndex) -> (String, SocketAddress?)? {
      var bytes: [UInt8] = []
      guard let message = try? kernel.receive(socket, into: &bytes) else { return nil }
      return (String(decoding: bytes, as: UTF8.self), message.source)
    }

    func run() { kernel.run(for: .milliseconds(10)) }
  }

  @Test("Datagrams arrive with their sender's name, and an answer finds its way back")
  func exchange() throws {
    let pair = try Pair()
    let server = try pair.udp(pair.b, "0.0.0.0", 7000)
    let client = try pair.udp(pair.a)
    try pair.kernel.send(Array("hello".utf8), on: client, to: name("10.0.0.2", 7000))
    pair.run()
    let (text, source) = try #require(pair.receive(server))
    let own = try pair.kernel.localName(of: client)
    #expect(text == "hello")
    #expect(source?.address == .v4(v4("10.0.0.1")))
    #expect(source?.port == own.port)
    #expect((32768...60999).contains(own.port))
    try pair.kernel.send(Array("and back".utf8), on: server, to: source)
    pair.run()
    #expect(pair.receive(client)?.0 == "and back")
    #expect(pair.receive(client) == nil)
    let (sent, received) = (pair.kernel.counted(pair.a), pair.kernel.counted(pair.b))
    #expect(sent[.udpOutDatagrams] == 1)
    #expect(received[.udpInDatagrams] == 1)
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }

  @Test("A closed port is told to a connected socket once, and to no other")
  func refused() throws {
    let pair = try Pair()
    let connected = try pair.udp(pair.a)
    try pair.kernel.connect(connected, to: name("10.0.0.2", 9))
    let loose = try pair.udp(pair.a)
    try pair.kernel.send([1], on: connected)
    try pair.kernel.send([1], on: loose, to: name("10.0.0.2", 9))
    pair.run()
    #expect(pair.kernel.readiness(of: connected).contains(.error))
    #expect(!pair.kernel.readiness(of: loose).contains(.error))
    var bytes: [UInt8] = []
    let refused = failure { _ = try pair.kernel.receive(connected, into: &bytes) }
    let after = failure { _ = try pair.kernel.receive(connected, into: &bytes) }
    #expect([refused, after] == [111, 11])
    #expect(pair.kernel.counted(pair.b)[.udpNoPorts] == 2)
  }

  @Test("With IP_RECVERR an unconnected socket has the error, who told it, and what was sent")
  func errorQueue() throws {
    let pair = try Pair()
    let socket = try pair.udp(pair.a)
    try pair.kernel.setOption(.receiveErrors(true), on: socket)
    try pair.kernel.send(Array("lost".utf8), on: socket, to: name("10.0.0.2", 9))
    pair.run()
    let report = try pair.kernel.receiveError(socket)
    #expect(report.errno == 111)
    #expect(report.origin == .icmp)
    #expect((report.type, report.code) == (3, 3))
    #expect(report.offender == .v4(v4("10.0.0.2")))
    #expect(report.destination == name("10.0.0.2", 9))
    #expect(report.payload == Array("lost".utf8))
    #expect(pair.kernel.takeError(of: socket) == 0)
    #expect(failure { _ = try pair.kernel.receiveError(socket) } == 11)
  }

  @Test("A socket's mark and priority, or what its type of service means, go with its packets")
  func marks() throws {
    let pair = try Pair()
    let socket = try pair.udp(pair.a)
    try pair.kernel.setOption(.mark(7), on: socket)
    try pair.kernel.setOption(.typeOfService(0x10), on: socket)
    try pair.kernel.send([1], on: socket, to: name("10.0.0.2", 9))
    var seen: [[UInt32]] = []
    pair.kernel.forEachHeld { slot in
      if pair.kernel.pool[slot].etherType == 0x0800 {
        seen.append([pair.kernel.pool[slot].mark, pair.kernel.pool[slot].priority])
      }
    }
    #expect(seen == [[7, 6]])
  }

  @Test("A full receive buffer drops, counts, and takes more once it has been read")
  func receiveBuffer() throws {
    let pair = try Pair()
    let server = try pair.udp(pair.b, "10.0.0.2", 7000)
    try pair.kernel.setOption(.receiveBuffer(0), on: server)
    let client = try pair.udp(pair.a)
    for _ in 0..<5 {
      try pair.kernel.send([1, 2, 3], on: client, to: name("10.0.0.2", 7000))
      pair.run()
    }
    let summary = try #require(pair.kernel.sockets(in: pair.b).first)
    #expect(summary.drops == 4)
    #expect(summary.receiveMemory > 0)
    #expect(pair.kernel.counted(pair.b)[.udpRcvbufErrors] == 4)
    #expect(pair.kernel.counted(pair.b)[.udpInErrors] == 4)
    #expect(pair.receive(server) != nil)
    #expect(pair.receive(server) == nil)
    try pair.kernel.send([1], on: client, to: name("10.0.0.2", 7000))
    pair.run()
    #expect(pair.receive(server) != nil)
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test("A send buffer is taken while packets are on their way, and its owner hears when there is room")
  func sendBuffer() throws {
    let pair = try Pair()
    let socket = try pair.udp(pair.a)
    try pair.kernel.setOption(.sendBuffer(0), on: socket)
    pair.kernel.wait(for: .out, on: socket, token: 5)
    #expect(pair.kernel.takeWakeups().map(\.token) == [5])
    // Nobody has answered for 10.0.0.2 yet, so that the packets wait.
    var sent = 0
    while failure({ try pair.kernel.send([1, 2], on: socket, to: name("10.0.0.2", 9)) }) == 0 { sent += 1 }
    #expect(sent == 3)
    #expect(!pair.kernel.readiness(of: socket).contains(.out))
    #expect(pair.kernel.takeWakeups().isEmpty)
    pair.run()
    let wakeups = pair.kernel.takeWakeups()
    #expect(wakeups.map(\.token) == [5])
    #expect(wakeups.first?.readiness.contains(.out) == true)
    pair.kernel.close(socket)
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }

  @Test("A socket that is closed while its packets wait is forgotten when the last of them has gone")
  func closedWithPackets() throws {
    let pair = try Pair()
    let socket = try pair.udp(pair.a)
    try pair.kernel.send([1, 2], on: socket, to: name("10.0.0.2", 9))
    pair.kernel.close(socket)
    #expect(pair.kernel.sockets.count == 1)
    #expect(failure { try pair.kernel.send([1], on: socket, to: name("10.0.0.2", 9)) } == 9)
    pair.run()
    #expect(pair.kernel.sockets.count == 0)
    let next = try pair.udp(pair.a)
    #expect(next == socket)
    #expect(pair.kernel.readiness(of: next) == [.out, .writeNormal, .writeBand])
  }

  @Test("News is one record a socket, and none for a wait that was cancelled")
  func wakeups() throws {
    let pair = try Pair()
    let server = try pair.udp(pair.b, "10.0.0.2", 7000)
    let client = try pair.udp(pair.a)
    pair.kernel.wait(for: .in, on: server, token: 77)
    #expect(pair.kernel.takeWakeups().isEmpty)
    for _ in 0..<3 { try pair.kernel.send([1], on: client, to: name("10.0.0.2", 7000)) }
    pair.run()
    let news = pair.kernel.takeWakeups()
    #expect(news.map(\.token) == [77])
    #expect(news.first?.readiness.contains(.in) == true)
    #expect(news.first?.sequence == 3)
    #expect(pair.kernel.takeWakeups().isEmpty)
    pair.kernel.cancelWait(1, on: server)
    try pair.kernel.send([1], on: client, to: name("10.0.0.2", 7000))
    pair.run()
    pair.kernel.cancelWait(77, on: server)
    #expect(pair.kernel.takeWakeups().isEmpty)
    // What is there already is told at once.
    pair.kernel.wait(for: .in, on: server, token: 78)
    #expect(pair.kernel.takeWakeups().map(\.token) == [78])
  }

  @Test("Of several sockets on a port the one that matches most exactly has the datagram")
  func scoring() throws {
    let pair = try Pair()
    let any = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
    let exact = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
    let device = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
    let connected = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
    for socket in [any, exact, device, connected] {
      try pair.kernel.setOption(.reuseAddress(true), on: socket)
    }
    try pair.kernel.setOption(.bindToDevice("eth0"), on: device)
    try pair.kernel.bind(any, to: name("0.0.0.0", 7000))
    try pair.kernel.bind(device, to: name("0.0.0.0", 7000))
    let clients = [try pair.udp(pair.a, "10.0.0.1", 1111), try pair.udp(pair.a, "10.0.0.1", 2222)]
    func send(_ client: Int) throws {
      try pair.kernel.send([UInt8(client)], on: clients[client], to: name("10.0.0.2", 7000))
      pair.run()
    }
    try send(0)
    #expect(pair.receive(device) != nil)
    try pair.kernel.bind(exact, to: name("10.0.0.2", 7000))
    try send(0)
    #expect(pair.receive(exact) != nil)
    try pair.kernel.bind(connected, to: name("10.0.0.2", 7000))
    try pair.kernel.connect(connected, to: name("10.0.0.1", 1111))
    try send(0)
    try send(1)
    #expect(pair.receive(connected) != nil)
    #expect(pair.receive(exact) != nil)
    #expect(pair.receive(any) == nil)
  }

  @Test("SO_REUSEPORT spreads flows, and a flow stays with one socket")
  func reusePort() throws {
    let pair = try Pair()
    var group: [SocketIndex] = []
    for _ in 0..<4 {
      let socket = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
      try pair.kernel.setOption(.reusePort(true), on: socket)
      try pair.kernel.bind(socket, to: name("0.0.0.0", 7000))
      group.append(socket)
    }
    let other = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
    #expect(failure { try pair.kernel.bind(other, to: name("0.0.0.0", 7000)) } == 98)
    var owners: [UInt16: Set<UInt32>] = [:]
    for port in UInt16(2000)..<2064 {
      let client = try pair.udp(pair.a, "10.0.0.1", port)
      for _ in 0..<3 { try pair.kernel.send([1], on: client, to: name("10.0.0.2", 7000)) }
      pair.run()
      for socket in group {
        while pair.receive(socket) != nil { owners[port, default: []].insert(socket.rawValue) }
      }
      pair.kernel.close(client)
    }
    #expect(owners.count == 64)
    #expect(owners.values.allSatisfy { $0.count == 1 })
    #expect(Set(owners.values.flatMap { $0 }).count == 4)
  }

  @Test("A broadcast needs SO_BROADCAST, reaches every socket on the port there, and is heard here too")
  func broadcast() throws {
    let pair = try Pair()
    var servers: [SocketIndex] = []
    for node in [pair.a, pair.b, pair.b] {
      let socket = try pair.kernel.makeSocket(.udp(.ipv4), in: node)
      try pair.kernel.setOption(.reuseAddress(true), on: socket)
      try pair.kernel.bind(socket, to: name("0.0.0.0", 67))
      servers.append(socket)
    }
    let client = try pair.udp(pair.a)
    for address in ["10.0.0.255", "255.255.255.255"] {
      try pair.kernel.setOption(.broadcast(false), on: client)
      try pair.kernel.setOption(.bindToDevice("eth0"), on: client)
      #expect(failure { try pair.kernel.send([1], on: client, to: name(address, 67)) } == 13)
      try pair.kernel.setOption(.broadcast(true), on: client)
      try pair.kernel.send(Array(address.utf8), on: client, to: name(address, 67))
      pair.run()
      for server in servers { #expect(pair.receive(server)?.0 == address) }
    }
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }

  @Test("The largest datagram goes through the loopback in one piece, one byte more does not")
  func largest() throws {
    let pair = try Pair()
    let server = try pair.udp(pair.a, "127.0.0.1", 7000)
    let bytes = (0..<65507).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try pair.kernel.send(bytes, on: server, to: name("127.0.0.1", 7000))
    pair.run()
    var received: [UInt8] = []
    let message = try pair.kernel.receive(server, into: &received, limit: 1000, flags: .peek)
    #expect((message.length, message.isTruncated, received.count) == (65507, true, 1000))
    _ = try pair.kernel.receive(server, into: &received)
    #expect(received == bytes)
    #expect(failure { try pair.kernel.send(bytes + [0], on: server, to: name("127.0.0.1", 7000)) } == 90)
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test("Raw sockets have copies of what their protocol is, headers and all, and answer for it")
  func raw() throws {
    let pair = try Pair()
    let first = try pair.kernel.makeSocket(.raw(.ipv4, 200), in: pair.b)
    let second = try pair.kernel.makeSocket(.raw(.ipv4, 200), in: pair.b)
    let sender = try pair.kernel.makeSocket(.raw(.ipv4, 200), in: pair.a)
    try pair.kernel.send([9, 8, 7], on: sender, to: name("10.0.0.2", 0))
    pair.run()
    for socket in [first, second] {
      var bytes: [UInt8] = []
      let message = try pair.kernel.receive(socket, into: &bytes)
      #expect(bytes.count == 23)
      #expect(bytes.suffix(3) == [9, 8, 7])
      #expect(bytes[9] == 200)
      #expect(message.source == name("10.0.0.1", 0))
    }
    pair.kernel.close(first)
    pair.kernel.close(second)
    // With nobody left the sender hears that the protocol is not spoken.
    try pair.kernel.connect(sender, to: name("10.0.0.2", 0))
    try pair.kernel.send([UInt8](repeating: 9, count: 8), on: sender)
    pair.run()
    #expect(pair.kernel.takeError(of: sender) == 92)
    // A header of the sender's own.
    let whole = try pair.kernel.makeSocket(.raw(.ipv4, 255), in: pair.a)
    let watcher = try pair.kernel.makeSocket(.raw(.ipv4, 99), in: pair.b)
    var packet: [UInt8] = [0x45, 0, 0, 0, 0, 0, 0, 0, 3, 99, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2, 1, 2]
    try pair.kernel.send(packet, on: whole, to: name("10.0.0.2", 0))
    pair.run()
    var bytes: [UInt8] = []
    let message = try pair.kernel.receive(watcher, into: &bytes)
    #expect(message.ttl == 3)
    #expect(message.source == name("10.0.0.1", 0))
    packet[0] = 0x4f
    #expect(failure { try pair.kernel.send(packet, on: whole, to: name("10.0.0.2", 0)) } == 22)
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test("Packet sockets see frames in both directions, and send them")
  func packet() throws {
    let pair = try Pair()
    let tap = try pair.kernel.makeSocket(.packet(PacketAddress.everyProtocol, cooked: false), in: pair.b)
    let arp = try pair.kernel.makeSocket(.packet(0x0806, cooked: true), in: pair.b)
    _ = try pair.kernel.ping("10.0.0.2", from: pair.a)
    var seen: [[UInt8]] = []
    var bytes: [UInt8] = []
    while let message = try? pair.kernel.receive(tap, into: &bytes) {
      let link = try #require(message.link)
      seen.append([link.type, UInt8(link.proto >> 8), UInt8(link.proto & 255)])
      #expect(bytes.count > 40)
    }
    // The question to all, the answer, the echo, the reply.
    #expect(seen == [[1, 8, 6], [4, 8, 6], [0, 8, 0], [4, 8, 0]])
    let question = try pair.kernel.receive(arp, into: &bytes)
    #expect(question.link?.type == 1)
    #expect(bytes.count == 28)
    #expect(failure { _ = try pair.kernel.receive(arp, into: &bytes) } == 11)
    let sender = try pair.kernel.makeSocket(.packet(0, cooked: false), in: pair.a)
    var frame = [UInt8](repeating: 0xff, count: 6) + [2, 0, 0, 0, 0, 1, 0x88, 0xb5] + [1, 2, 3]
    let out = PacketAddress(ifindex: pair.kernel.ifindex("eth0", pair.a))
    try pair.kernel.send(frame.span.bytes, on: sender, to: out)
    pair.run()
    _ = try pair.kernel.receive(tap, into: &bytes)
    #expect(bytes == frame)
    frame += [UInt8](repeating: 0, count: 1500)
    #expect(failure { try pair.kernel.send(frame.span.bytes, on: sender, to: out) } == 90)
    #expect(
      failure { try pair.kernel.send(frame.span.bytes, on: sender, to: PacketAddress(ifindex: 99)) } == 6)
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test("A namespace takes its sockets with it, and the list shows those that are there")
  func namespaces() throws {
    let pair = try Pair()
    let first = try pair.udp(pair.a, "10.0.0.1", 53)
    let second = try pair.udp(pair.a)
    #expect(pair.kernel.sockets(in: pair.a).map(\.socket) == [first, second])
    #expect(pair.kernel.sockets(in: pair.a).first?.local == name("10.0.0.1", 53))
    try pair.kernel.send([1], on: second, to: name("10.0.0.1", 53))
    pair.run()
    pair.kernel.removeNamespace(pair.a)
    #expect(pair.kernel.sockets.count == 0)
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }
}
