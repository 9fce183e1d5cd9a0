// SPDX-License-Identifier: GPL-2.0-or-later

// What options and settings of TCP do, in virtual time.

import NetTypes
import Testing

@testable import NetStack

@Suite("TCP's options")
struct TCPOptionTests {
  @Test("Keepalive asks after the time, as often as it is told to, and gives up")
  func keepalive() throws {
    let link = try UnreliableLink(seed: 1)
    let (_, client, _) = try TCPTests.connection(link)
    for option in [
      SocketOption.keepAliveTime(10), .keepAliveInterval(3), .keepAliveProbes(4), .keepAlive(true),
    ] { try link.kernel.setOption(option, on: client) }
    link.run(for: .seconds(35))
    // The other end answers each of them.
    #expect(link.kernel.counted(link.nodes[0])[.tcpExtTCPKeepAlive] == 3)
    #expect(TCPTests.state(link, client) == .established)
    link.faults.loss = 1000
    link.run(for: .seconds(15))
    #expect(TCPTests.state(link, client) == .established)
    link.run(for: .seconds(15))
    #expect(TCPTests.state(link, client) == .close)
    #expect(link.kernel.takeError(of: client) == 110)
  }

  @Test("A user's timeout ends what is not acknowledged in time")
  func userTimeout() throws {
    let link = try UnreliableLink(seed: 2)
    let (_, client, _) = try TCPTests.connection(link)
    try link.kernel.setOption(.userTimeout(5000), on: client)
    link.faults.loss = 1000
    try link.kernel.send([1, 2, 3], on: client)
    link.run(for: .seconds(4))
    #expect(TCPTests.state(link, client) == .established)
    link.run(for: .seconds(2))
    #expect(link.kernel.takeError(of: client) == 110)
  }

  @Test("An urgent byte stands apart, unless it is to stay in the stream")
  func urgent() throws {
    for isInline in [false, true] {
      let link = try UnreliableLink(seed: 3)
      let (_, client, server) = try TCPTests.connection(link)
      try link.kernel.setOption(.urgentInline(isInline), on: server)
      try link.kernel.send(Array("abc".utf8), on: client)
      link.run(for: .milliseconds(10))
      var control = SendControl()
      control.isUrgent = true
      try link.kernel.send(Array("XYZ".utf8), on: client, control: control)
      try link.kernel.send(Array("def".utf8), on: client)
      link.run(for: .milliseconds(100))
      var buffer: [UInt8] = []
      func read(_ flags: ReceiveFlags = []) throws -> String {
        _ = try link.kernel.receive(server, into: &buffer, flags: flags)
        return String(decoding: buffer, as: UTF8.self)
      }
      #expect(link.kernel.readiness(of: server).contains(.priority))
      #expect(try !link.kernel.isAtMark(server))
      #expect(try read() == "abcXY")
      #expect(try link.kernel.isAtMark(server))
      if isInline {
        #expect(failure { _ = try read(.outOfBand) } == 22)
        #expect(try read() == "Zdef")
      } else {
        #expect(try read(.outOfBand) == "Z")
        #expect(failure { _ = try read(.outOfBand) } == 22)
        #expect(try read() == "def")
      }
      #expect(try !link.kernel.isAtMark(server))
      #expect(!link.kernel.readiness(of: server).contains(.priority))
    }
  }

  @Test("A listener that waits for data is told of a connection when there is some")
  func deferAccept() throws {
    let link = try UnreliableLink(seed: 4)
    let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    try link.kernel.setOption(.deferAccept(10), on: listener)
    try link.kernel.bind(listener, to: name("0.0.0.0", 80))
    try link.kernel.listen(listener, backlog: 4)
    let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
    #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
    link.run(for: .milliseconds(500))
    #expect(TCPTests.state(link, client) == .established)
    #expect(link.kernel.readiness(of: listener).isEmpty)
    try link.kernel.send([1], on: client)
    link.run(for: .milliseconds(500))
    #expect(link.kernel.readiness(of: listener).contains(.in))
    #expect(link.kernel.counted(link.nodes[1])[.tcpExtTCPDeferAcceptDrop] == 1)
  }

  @Test("Retries of a SYN are counted by the option, else by the settings")
  func synRetries() throws {
    let link = try UnreliableLink(seed: 5, faults: .init(loss: 1000))
    try link.kernel.setSysctl("net/ipv4/tcp_syn_linear_timeouts", to: "1", in: link.nodes[0])
    for (own, seconds) in [(2, 8), (nil, 16)] as [(Int?, Int64)] {
      try link.kernel.setSysctl("net/ipv4/tcp_syn_retries", to: "3", in: link.nodes[0])
      let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
      if let own { try link.kernel.setOption(.synRetries(own), on: client) }
      #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
      // The first timeout does not double: 1, 1, 2, 4, and so on.
      link.run(for: .milliseconds(seconds * 1000 - 500))
      #expect(link.kernel.takeError(of: client) == 0)
      link.run(for: .milliseconds(1000))
      #expect(link.kernel.takeError(of: client) == 110)
    }
  }

  @Test("Of connections that nobody uses there are only so many, and silent ones end before others")
  func orphans() throws {
    var options = Kernel.Options(seed: 1, pool: .init(packets: 4096, largeBlocks: 64))
    options.orphanLimit = 2
    var kernel = Kernel(options, now: Instant(nanoseconds: 1))
    let node = try kernel.node()
    try kernel.setSysctl("net/ipv4/tcp_orphan_retries", to: "20", in: node)
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: node)
    try kernel.setOption(.receiveBuffer(4096), on: listener)
    try kernel.bind(listener, to: name("127.0.0.1", 80))
    try kernel.listen(listener, backlog: 8)
    var servers: [SocketIndex] = []
    for _ in 0..<3 {
      let client = try kernel.makeSocket(.tcp(.ipv4), in: node)
      _ = failure { try kernel.connect(client, to: name("127.0.0.1", 80)) }
      kernel.run(for: .milliseconds(10))
      servers.append(try kernel.accept(listener))
      // More than the other end has room for, and nobody reads it.
      _ = try kernel.send([UInt8](repeating: 1, count: 50_000), on: client)
      kernel.run(for: .milliseconds(10))
      kernel.close(client)
    }
    #expect(kernel.orphans == 2)
    #expect(kernel.counted(node)[.tcpExtTCPAbortOnMemory] == 1)
    kernel.run(for: .milliseconds(10))
    #expect(servers.map { kernel.takeError(of: $0) } == [0, 0, 104])
    // After twice the longest timeout without anything sent one counts twice when it asks for the window.
    kernel.run(for: .seconds(200))
    #expect(kernel.orphans == 2)
    kernel.run(for: .seconds(400))
    #expect(kernel.orphans == 1)
    #expect(kernel.counted(node)[.tcpExtTCPAbortOnMemory] == 2)
    for server in servers { kernel.close(server) }
    kernel.run(for: .seconds(400))
    #expect(kernel.orphans == 0)
  }

  @Test("FIN-WAIT-2 of who has gone lasts as long as it is told to")
  func finTimeout() throws {
    let link = try UnreliableLink(seed: 6)
    try link.kernel.setSysctl("net/ipv4/tcp_fin_timeout", to: "20", in: link.nodes[0])
    for (own, seconds) in [(nil, 20), (5, 5)] as [(Int?, Int64)] {
      let (listener, client, server) = try TCPTests.connection(link)
      if let own { try link.kernel.setOption(.linger2(own), on: client) }
      link.kernel.close(client)
      link.run(for: .milliseconds(seconds * 1000 - 500))
      #expect(TCPTests.state(link, client) == .finWait2)
      link.run(for: .milliseconds(1000))
      #expect(TCPTests.state(link, client) == nil)
      link.kernel.close(server)
      link.kernel.close(listener)
      link.run(for: .seconds(200))
    }
  }

  @Test("While something is missing the first acknowledgments go at once, and one for the next ones")
  func compressed() throws {
    for limit in [44, 0] {
      let link = try UnreliableLink(seed: 4, faults: .init(delay: 10_000_000))
      try link.kernel.setSysctl("net/ipv4/tcp_comp_sack_nr", to: "\(limit)", in: link.nodes[1])
      let (_, client, server) = try TCPTests.connection(link)
      // From full segments the receiver knows how long a round trip takes.
      try link.kernel.send(TCPTests.pattern(5000, 1), on: client)
      link.run(for: .milliseconds(200))
      var bytes: [UInt8] = []
      _ = try link.kernel.receive(server, into: &bytes, limit: 5000)
      try link.kernel.setOption(.noDelay(true), on: client)
      try link.kernel.setOption(.quickACK(0), on: server)
      link.faults.loss = 1000
      for byte: UInt8 in 0..<9 {
        try link.kernel.send([byte], on: client)
        link.run(for: .microseconds(20))
        link.faults.loss = 0
      }
      link.run(for: .milliseconds(12))
      #expect(link.kernel.counted(link.nodes[1])[.tcpExtTCPAckCompressed] == (limit == 0 ? 0 : 4))
      link.run(for: .seconds(2))
      _ = try link.kernel.receive(server, into: &bytes, limit: 100)
      #expect(bytes == Array(0..<9))
    }
  }

  @Test("A full accept queue resets who has completed the handshake, where that is wanted")
  func abortOnOverflow() throws {
    let link = try UnreliableLink(seed: 7)
    try link.kernel.setSysctl("net/ipv4/tcp_abort_on_overflow", to: "1", in: link.nodes[1])
    let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    try link.kernel.bind(listener, to: name("0.0.0.0", 80))
    try link.kernel.listen(listener, backlog: 4)
    // Three stand, two more find room, and four come at once.
    var clients: [SocketIndex] = []
    for round in [1, 1, 1, 4] {
      for _ in 0..<round {
        let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
        #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
        clients.append(client)
      }
      link.run(for: .milliseconds(50))
    }
    link.run(for: .seconds(2))
    #expect(clients.map { link.kernel.takeError(of: $0) }.filter { $0 == 104 }.count == 2)
    #expect(link.kernel.counted(link.nodes[1])[.tcpExtEmbryonicRsts] == 2)
  }

  @Test("Listeners that share a port take turns by the flow, each flow always with the same")
  func reusePort() throws {
    let link = try UnreliableLink(seed: 8)
    var listeners: [SocketIndex] = []
    for _ in 0..<4 {
      let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
      try link.kernel.setOption(.reusePort(true), on: listener)
      try link.kernel.bind(listener, to: name("0.0.0.0", 80))
      try link.kernel.listen(listener, backlog: 100)
      listeners.append(listener)
    }
    for _ in 0..<80 {
      let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
      #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
    }
    link.run(for: .seconds(1))
    let shares = listeners.map { listener in
      link.kernel.sockets(in: link.nodes[1]).first { $0.socket == listener }?.receiveQueue ?? 0
    }
    #expect(shares.reduce(0, +) == 80)
    #expect(shares.allSatisfy { $0 > 8 }, "\(shares)")
  }

  @Test("Options have the kernel's ranges")
  func ranges() throws {
    let link = try UnreliableLink(seed: 9)
    let socket = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
    let datagram = try link.kernel.makeSocket(.udp(.ipv4), in: link.nodes[0])
    let refused: [(SocketOption, Int32)] = [
      (.keepAliveTime(0), 22), (.keepAliveTime(32768), 22), (.keepAliveInterval(0), 22),
      (.keepAliveProbes(128), 22), (.synRetries(0), 22), (.synRetries(128), 22), (.userTimeout(-1), 22),
      (.maximumSegmentSize(87), 22), (.maximumSegmentSize(32768), 22), (.congestionControl("vegas"), 2),
    ]
    for (option, errno) in refused {
      #expect(failure { try link.kernel.setOption(option, on: socket) } == errno)
    }
    #expect(failure { try link.kernel.setOption(.keepAliveTime(5), on: datagram) } == 92)
    for name in ["reno", "bbr", "cubic"] {
      try link.kernel.setOption(.congestionControl(name), on: socket)
      #expect(link.kernel.information(of: socket)?.congestionControl.name == name)
    }
    try link.kernel.setOption(.maximumSegmentSize(1000), on: socket)
    #expect(link.kernel.information(of: socket)?.advertisedMSS == 536)
  }

  @Test("Who asks is told when a write's last byte was queued, sent and acknowledged")
  func stamps() throws {
    let link = try UnreliableLink(seed: 10)
    let (listener, client, _) = try TCPTests.connection(link)
    #expect(failure { try link.kernel.setOption(.timestamping([.sent, .numbered]), on: listener) } == 22)
    let asked: Timestamping = [.scheduled, .sent, .acknowledged, .software, .numbered]
    try link.kernel.setOption(.timestamping(asked), on: client)
    let began = link.kernel.now
    for count in [1000, 2896] {
      let sent = try link.kernel.send([UInt8](repeating: 1, count: count), on: client)
      #expect(sent == count)
    }
    #expect(link.kernel.readiness(of: client).contains(.error))
    link.run(for: .seconds(1))
    var told: [[UInt32]] = []
    while let report = try? link.kernel.receiveError(client) {
      #expect(report.errno == 42 && report.origin == .timestamping && !report.payload.isEmpty)
      told.append([report.information, report.data])
      // Sending takes no time, acknowledging a round trip.
      #expect((report.time > began) == (report.information == 2))
    }
    #expect(told == [[1, 999], [0, 999], [1, 3895], [0, 3895], [2, 999], [2, 3895]])
    #expect(!link.kernel.readiness(of: client).contains(.error))
    // It is no error of the socket.
    #expect(link.kernel.takeError(of: client) == 0)
  }

  @Test("What was not sent yet is bounded, where a sender wants it so")
  func notSent() throws {
    let link = try UnreliableLink(seed: 10)
    let (_, client, _) = try TCPTests.connection(link)
    try link.kernel.setOption(.sendBuffer(200_000), on: client)
    try link.kernel.setOption(.notSentLowWater(10_000), on: client)
    var sent = 0
    for _ in 0..<200 { sent += (try? link.kernel.send([UInt8](repeating: 1, count: 1000), on: client)) ?? 0 }
    let information = link.kernel.information(of: client)
    let known = try #require(information)
    // The packet that passes the limit is filled up, to half of the other end's window.
    let most = 10_000 + 65_535 / 2
    #expect(known.unsentBytes >= 10_000 && known.unsentBytes <= most, "\(known.unsentBytes) of \(sent)")
    #expect(!link.kernel.readiness(of: client).contains(.out))
    link.run(for: .seconds(1))
    #expect(link.kernel.readiness(of: client).contains(.out))
  }

  @Test("A flood of SYNs is answered by cookies: memory stays, and who means it gets through")
  func flood() throws {
    let link = try UnreliableLink(seed: 11)
    try link.kernel.route("default", via: "10.0.0.1", link.nodes[1])
    let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    try link.kernel.bind(listener, to: name("0.0.0.0", 80))
    try link.kernel.listen(listener, backlog: 64)
    _ = try link.kernel.ping("10.0.0.1", from: link.nodes[1])
    var random = RandomState(seed: 11)
    var clients: [SocketIndex] = []
    var mostRequests = 0
    for round in 0..<200 {
      for _ in 0..<100 {
        let source = IPv4Address(rawValue: 0xc612_0000 | UInt32(truncatingIfNeeded: random.next() & 0xffff))
        var frame = TCPHostileTests.frame(
          from: source, to: v4("10.0.0.2"), ports: (UInt16(truncatingIfNeeded: random.next()), 80),
          UInt32(truncatingIfNeeded: random.next()), 0, 2, window: 65535, options: [2, 4, 5, 0xb4], data: [])
        frame[5] = 2
        link.kernel.inject(frame, into: link.faces[1])
      }
      if round % 10 == 9 {
        let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
        #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
        clients.append(client)
      }
      link.run(for: .milliseconds(1))
      mostRequests = max(mostRequests, link.kernel.requests.count)
    }
    for client in clients { _ = try? link.kernel.send(Array("legitimate".utf8), on: client) }
    link.run(for: .seconds(3))
    #expect(clients.allSatisfy { TCPTests.state(link, $0) == .established })
    var accepted = 0
    while (try? link.kernel.accept(listener)) != nil { accepted += 1 }
    #expect(accepted == clients.count)
    #expect(mostRequests <= 65)
    let counters = link.kernel.counted(link.nodes[1])
    #expect(counters[.tcpExtSyncookiesSent] > 19_000)
    #expect(counters[.tcpExtSyncookiesRecv] >= 15)
    #expect(link.kernel.accounting.isClosed)
  }
}
