// SPDX-License-Identifier: GPL-2.0-or-later

// Segments from somebody who knows a connection's names and roughly its numbers, and means it ill.

import NetTypes
import Testing

@testable import NetStack

@Suite("Hostile segments")
struct TCPHostileTests {
  static func frame(
    from source: IPv4Address = v4("10.0.0.9"), to destination: IPv4Address, ports: (UInt16, UInt16),
    _ sequence: UInt32, _ ack: UInt32, _ flags: UInt8,
    window: UInt16, options: [UInt8], data: [UInt8]
  ) -> [UInt8] {
    func bytes(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }
    func short(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }
    var segment = short(ports.0) + short(ports.1) + bytes(sequence) + bytes(ack)
    segment += [UInt8(5 + options.count / 4) << 4, flags] + short(window) + [0, 0, 0, 0] + options + data
    let total = 20 + segment.count
    var frame: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0] + short(UInt16(total))
    frame += [0, 1, 0x40, 0, 64, 6, 0, 0] + source.bytes + destination.bytes + segment
    HostileTests.mend(&frame)
    return frame
  }

  @Test("Fuzz: segments about the numbers of a connection never trap, and the accounting closes")
  func segments() throws {
    var random = RandomState(seed: 11)
    var kernel = Kernel(seed: 11)
    let node = try kernel.node()
    let face = try kernel.makeOutside(
      try #require(InterfaceName("eth0")), in: node, mac: MACAddress(rawValue: 0x0200_0000_0001))
    try kernel.set("eth0", up: true, in: node)
    try kernel.address("10.0.0.2/24", "eth0", node)
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: node)
    try kernel.bind(listener, to: name("0.0.0.0", 80))
    try kernel.listen(listener, backlog: 4)
    var sockets: [SocketIndex] = []
    var buffer: [UInt8] = []
    for round in 0..<HostileTests.rounds {
      if round % 50 == 0 {
        let socket = try kernel.makeSocket(.tcp(.ipv4), in: node)
        try kernel.bind(socket, to: name("10.0.0.2", 0))
        _ = try? kernel.connect(socket, to: name("10.0.0.9", UInt16(1 + random.below(3))))
        sockets.append(socket)
      }
      // One of the connections that are there, or the listener's port.
      let all = kernel.tcps.indices
      let index = all[Int(random.below(UInt64(all.count)))]
      let socket = kernel.tcps[index].socket
      let peer = kernel.sockets[socket].peer?.port ?? UInt16(1 + random.below(3))
      let near = { (random: inout RandomState) -> UInt32 in
        let spread: [UInt64] = [1, 2, 5, 3000, 70000, 1 << 32]
        let distance = random.below(spread[Int(random.below(6))])
        return UInt32(truncatingIfNeeded: random.below(4) == 0 ? 0 &- distance : distance)
      }
      let sequence = kernel.tcps[index].receiveNext &+ near(&random)
      let ack = kernel.tcps[index].sendUnacknowledged &+ near(&random)
      let flags =
        random.below(3) == 0
        ? UInt8(truncatingIfNeeded: random.next()) : [0x10, 0x02, 0x12, 0x18, 0x11][Int(random.below(5))]
      let options = (0..<random.below(11) * 4).map { _ in UInt8(truncatingIfNeeded: random.next() & 0x0f0f) }
      let data = [UInt8](repeating: 7, count: Int(random.below(3) == 0 ? random.below(1400) : 0))
      let frame = Self.frame(
        to: v4("10.0.0.2"), ports: (peer, kernel.sockets[socket].local.port), sequence, ack, flags,
        window: UInt16(truncatingIfNeeded: random.next()), options: options, data: data)
      kernel.inject(frame, into: face)
      kernel.run(for: .microseconds(Int64(random.below(20) == 0 ? 900_000 : 100)))
      while kernel.takeFrame(from: face) != nil {}
      while let child = try? kernel.accept(listener) { sockets.append(child) }
      if let socket = sockets.randomElement(using: &random) {
        switch random.below(8) {
        case 0: _ = try? kernel.send([UInt8](repeating: 1, count: Int(random.below(5000))), on: socket)
        case 1: _ = try? kernel.shutdown(socket, .send)
        case 2:
          kernel.close(socket)
          sockets.removeAll { $0 == socket }
        default: while let message = try? kernel.receive(socket, into: &buffer), message.length > 0 {}
        }
      }
    }
    #expect(kernel.accounting.isClosed)
    for socket in sockets + [listener] { kernel.close(socket) }
    kernel.run(for: .seconds(3000))
    while kernel.takeFrame(from: face) != nil {}
    kernel.run(for: .seconds(3000))
    #expect(kernel.tcps.count == 0)
    #expect(kernel.requests.count == 0)
    #expect(kernel.sockets.count == 0)
    #expect(kernel.accounting.isClosed)
    #expect(kernel.accounting.held == 0)
  }

  @Test("A hundred thousand SYNs a second are answered by cookies, keep nothing, and nobody else waits")
  func flood() throws {
    var random = RandomState(seed: 12)
    var kernel = Kernel(seed: 12)
    let node = try kernel.node()
    let face = try kernel.makeOutside(
      try #require(InterfaceName("eth0")), in: node, mac: MACAddress(rawValue: 0x0200_0000_0001))
    try kernel.set("eth0", up: true, in: node)
    try kernel.address("10.0.0.2/24", "eth0", node)
    try kernel.perform(OracleSetup.neighbor("10.0.0.9", 0, [2, 0, 0, 0, 0, 9]), in: node)
    try kernel.route("default", via: "10.0.0.9", node)
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: node)
    try kernel.bind(listener, to: name("0.0.0.0", 80))
    try kernel.listen(listener, backlog: 128)
    let friend = v4("192.0.2.1")
    let options: [UInt8] = [2, 4, 5, 0xb4]
    var accepted = 0
    var mostRequests = 0
    var mostHeld: UInt64 = 0
    var buffer: [UInt8] = []
    for millisecond in 0..<1000 {
      for number in 0..<100 {
        // One in a thousand comes from somebody who goes on.
        let isFriend = millisecond % 10 == 5 && number == 50
        let source = isFriend ? friend : IPv4Address(rawValue: 0x0100_0000 | UInt32(random.below(1 << 24)))
        let port = isFriend ? UInt16(2000 + millisecond) : UInt16(random.below(65536))
        kernel.inject(
          Self.frame(
            from: source, to: v4("10.0.0.2"), ports: (port, 80),
            isFriend ? 1000 : UInt32(random.below(1 << 32)),
            0, 2, window: 60_000, options: options, data: []), into: face)
      }
      kernel.run(for: .milliseconds(1))
      mostRequests = max(mostRequests, kernel.requests.count)
      mostHeld = max(mostHeld, kernel.accounting.held)
      while let frame = kernel.takeFrame(from: face) {
        guard Array(frame[30..<34]) == friend.bytes, frame[47] == 0x12 else { continue }
        let sequence = frame[38..<42].reduce(0) { $0 << 8 | UInt32($1) }
        let port = UInt16(frame[36]) << 8 | UInt16(frame[37])
        kernel.inject(
          Self.frame(
            from: friend, to: v4("10.0.0.2"), ports: (port, 80), 1001, sequence &+ 1, 0x18, window: 60_000,
            options: [], data: [1, 2, 3]), into: face)
      }
      kernel.run(for: .microseconds(10))
      while let socket = try? kernel.accept(listener) {
        let message = try kernel.receive(socket, into: &buffer)
        #expect(message.length == 3)
        kernel.close(socket)
        accepted += 1
      }
    }
    #expect(accepted == 100)
    // The SYN queue, and nothing beyond it.
    #expect(mostRequests <= 129)
    #expect(mostHeld < 1000)
    #expect(kernel.counted(node)[.tcpExtSyncookiesSent] > 99_000)
    #expect(kernel.sockets.count <= 101)
    kernel.run(for: .seconds(300))
    #expect(kernel.requests.count == 0)
    #expect(kernel.accounting.isClosed)
  }
}
