// SPDX-License-Identifier: GPL-2.0-or-later

// Frames from anyone. Debug builds check every access to a packet's bytes, so that these tests find reads beyond the
// end as well as traps.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

#if canImport(Glibc)
  import Glibc
#endif

@Suite("Hostile frames")
struct HostileTests {
  /// A router with three outside faces, two of them ports of a bridge.
  struct Target: ~Copyable {
    var kernel: Kernel
    let faces: [DeviceIndex]
    let node: NamespaceIndex
    let sockets: [SocketIndex]

    init(seed: UInt64) throws {
      var kernel = Kernel(seed: seed)
      let node = try kernel.node()
      var faces: [DeviceIndex] = []
      for name in ["eth0", "port1", "port2"] {
        let mac = MACAddress(rawValue: 0x0200_0000_0000 + UInt64(faces.count))
        faces.append(try kernel.makeOutside(try #require(InterfaceName(name)), in: node, mac: mac))
        try kernel.set(name, up: true, in: node)
      }
      try kernel.bridge("br0", node)
      try kernel.join("port1", "br0", node)
      try kernel.join("port2", "br0", node)
      try kernel.address("10.0.0.1/24", "eth0", node)
      try kernel.address("10.0.1.1/24", "br0", node)
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
      let server = try kernel.makeSocket(.udp(.ipv4), in: node)
      try kernel.bind(server, to: NetStackTests.name("0.0.0.0", 53))
      let listener = try kernel.makeSocket(.tcp(.ipv4), in: node)
      try kernel.bind(listener, to: NetStackTests.name("0.0.0.0", 53))
      try kernel.listen(listener, backlog: 4)
      let ping = try kernel.openEcho(in: node, identifier: 1)
      let raw = try kernel.makeSocket(.raw(.ipv4, 1), in: node)
      let tap = try kernel.makeSocket(.packet(PacketAddress.everyProtocol, cooked: false), in: node)
      sockets = [server, listener, ping, raw, tap]
      self.kernel = kernel
      self.faces = faces
      self.node = node
    }

    mutating func send(_ frame: [UInt8], _ face: Int) {
      kernel.inject(frame, into: faces[face])
      kernel.run(for: .microseconds(50))
      for face in faces { while kernel.takeFrame(from: face) != nil {} }
      var bytes: [UInt8] = []
      for socket in sockets {
        while (try? kernel.receiveError(socket)) != nil {}
        _ = kernel.takeError(of: socket)
        while (try? kernel.receive(socket, into: &bytes)) != nil {}
      }
    }
  }

  /// Frames that come far: ARP, echo, UDP, errors that quote, fragments, options.
  static let seeds: [[UInt8]] = {
    let ethernet: [UInt8] = [2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 9]
    let arp: [UInt8] = [
      8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 9, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
    ]
    func ip(_ proto: UInt8, _ target: [UInt8], _ payload: [UInt8], ttl: UInt8 = 9, fragment: UInt8 = 0)
      -> [UInt8]
    {
      [8, 0, 0x45, 0, 0, UInt8(20 + payload.count), 0, 1, fragment, 0, ttl, proto, 0, 0, 10, 0, 0, 9] + target
        + payload
    }
    let echo: [UInt8] = [8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]
    let udp: [UInt8] = [0, 53, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]
    let syn: [UInt8] = [
      0x30, 0x39, 0, 53, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10,
      0, 0,
      0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
    ]
    let quote = [UInt8](ip(1, [10, 0, 0, 9], echo).dropFirst(2))
    return [
      ethernet + arp, ethernet + ip(1, [10, 0, 0, 1], echo), ethernet + ip(17, [10, 0, 0, 1], udp),
      ethernet + ip(1, [10, 0, 0, 1], [3, 3, 0, 0, 0, 0, 0, 0] + quote),
      ethernet + ip(1, [10, 0, 1, 9], echo), ethernet + ip(1, [10, 0, 1, 9], echo, ttl: 1),
      ethernet + ip(1, [192, 0, 2, 1], echo), ethernet + ip(17, [10, 0, 1, 255], udp),
      ethernet + ip(6, [10, 0, 0, 1], udp), ethernet + ip(1, [224, 0, 0, 1], echo),
      ethernet + ip(1, [10, 0, 0, 1], echo, fragment: 0x20), ethernet + ip(6, [10, 0, 0, 1], syn),
    ]
  }()

  /// Mends the checksums of IPv4, ICMP and TCP, so that a changed frame is not stopped at the door.
  static func mend(_ frame: inout [UInt8]) {
    func sum(_ range: Range<Int>) -> UInt16 {
      var total: UInt32 = 0
      for (place, index) in range.enumerated() { total += UInt32(frame[index]) << (place % 2 == 0 ? 8 : 0) }
      while total > 0xffff { total = total & 0xffff + total >> 16 }
      return ~UInt16(total)
    }
    guard frame.count >= 34, frame[12] == 8, frame[13] == 0 else { return }
    let header = Int(frame[14] & 15) * 4
    guard header >= 20, frame.count >= 14 + header else { return }
    if frame[23] == 1, frame.count >= 14 + header + 4 {
      let total = max(14 + header + 4, min(frame.count, 14 + Int(frame[16]) << 8 + Int(frame[17])))
      frame[14 + header + 2] = 0
      frame[14 + header + 3] = 0
      let icmp = sum(14 + header..<total)
      frame[14 + header + 2] = UInt8(icmp >> 8)
      frame[14 + header + 3] = UInt8(icmp & 255)
    }
    if frame[23] == 6, frame.count >= 14 + header + 20 {
      let total = max(14 + header + 20, min(frame.count, 14 + Int(frame[16]) << 8 + Int(frame[17])))
      frame[14 + header + 16] = 0
      frame[14 + header + 17] = 0
      let length = total - 14 - header
      let pseudo = Array(frame[26..<34]) + [0, 6, UInt8(length >> 8), UInt8(length & 255)]
      let sum = KernelOracleTests.checksum(pseudo + frame[(14 + header)..<total])
      frame[14 + header + 16] = sum[0]
      frame[14 + header + 17] = sum[1]
    }
    frame[24] = 0
    frame[25] = 0
    let ip = sum(14..<14 + header)
    frame[24] = UInt8(ip >> 8)
    frame[25] = UInt8(ip & 255)
  }

  static var rounds: Int {
    guard let text = unsafe getenv("NETFORGE_FUZZ_ROUNDS") else { return 3000 }
    return unsafe Int(String(cString: text)) ?? 3000
  }

  @Test("Every frame cut at every length is taken or dropped, never trapped on")
  func truncations() throws {
    var target = try Target(seed: 1)
    for seed in Self.seeds {
      for length in 0...seed.count {
        var frame = Array(seed.prefix(length))
        Self.mend(&frame)
        target.send(frame, 0)
        target.send(frame, 1)
      }
    }
    target.kernel.run(for: .seconds(60))
    #expect(target.kernel.accounting.isClosed)
  }

  @Test("Fuzz: changed and random frames end in a reason each, and the accounting closes")
  func random() throws {
    var random = RandomState(seed: 99)
    var target = try Target(seed: 2)
    for round in 0..<Self.rounds {
      var frame: [UInt8]
      if round % 4 == 0 {
        frame = (0..<random.below(200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      } else {
        frame = Self.seeds[Int(random.below(UInt64(Self.seeds.count)))]
        for _ in 0...random.below(4) {
          frame[Int(random.below(UInt64(frame.count)))] = UInt8(truncatingIfNeeded: random.next())
        }
        if random.below(3) == 0 { frame.removeLast(Int(random.below(UInt64(frame.count)))) }
        if random.below(2) == 0 { Self.mend(&frame) }
      }
      target.send(frame, Int(random.below(3)))
    }
    for socket in target.sockets { target.kernel.close(socket) }
    // More may be left to say than a card's ring holds.
    for _ in 0..<3 {
      target.kernel.run(for: .seconds(600))
      for face in target.faces { while target.kernel.takeFrame(from: face) != nil {} }
    }
    target.kernel.run(for: .microseconds(1))
    #expect(target.kernel.accounting.isClosed)
    #expect(target.kernel.accounting.held == 0)
    #expect(target.kernel.accounting.reasons.nonZero.count > 8)
  }

  @Test("Fuzz: frames of any length, by many queues, with too little memory, end in a reason each")
  func lengths() throws {
    var random = RandomState(seed: 17)
    var kernel = Kernel(
      .init(seed: 4, pool: .init(packets: 600, largeBlocks: 8, smallPages: 32, largePages: 4)),
      now: Instant(nanoseconds: 0))
    let node = try kernel.node()
    var faces: [DeviceIndex] = []
    for name in ["eth0", "eth1"] {
      let face = try kernel.makeOutside(try #require(InterfaceName(name)), in: node, queues: 2)
      try kernel.setScaling(fields: [.udp4, .tcp4, .udp6, .tcp6], of: face)
      try kernel.change(name, node) { $0.mtu = 65535 }
      try kernel.set(name, up: true, in: node)
      faces.append(face)
    }
    try kernel.address("10.0.0.1/24", "eth0", node)
    try kernel.address("10.0.1.1/24", "eth1", node)
    try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
    for round in 0..<Self.rounds / 10 {
      var frame = Self.seeds[Int(random.below(UInt64(Self.seeds.count)))]
      let length = Int(random.below(random.below(2) == 0 ? 4000 : 66000))
      while frame.count < length { frame.append(UInt8(truncatingIfNeeded: random.next())) }
      if frame[12] == 8, frame[13] == 0, frame.count < 65549, random.below(3) > 0 {
        frame[16] = UInt8((frame.count - 14) >> 8)
        frame[17] = UInt8((frame.count - 14) & 255)
        Self.mend(&frame)
      }
      kernel.inject(frame, into: faces[Int(random.below(2))])
      if round % 7 == 0 { try kernel.change("eth1", node) { $0.mtu = UInt32(68 + random.below(65000)) } }
      if random.below(3) > 0 { kernel.run(for: .microseconds(50)) }
      if random.below(3) > 0 { for face in faces { while kernel.takeFrame(from: face) != nil {} } }
    }
    #expect(kernel.accounting.isClosed)
    kernel.run(for: .seconds(600))
    for face in faces { while kernel.takeFrame(from: face) != nil {} }
    kernel.run(for: .seconds(1))
    for face in faces { while kernel.takeFrame(from: face) != nil {} }
    kernel.run(for: .seconds(1))
    #expect(kernel.accounting.isClosed)
    #expect(kernel.accounting.held == 0)
    #expect(kernel.accounting.pagesHeld == 0)
  }

  @Test("Fuzz: requests of random bytes are refused or carried out, never trapped on")
  func requests() throws {
    var random = RandomState(seed: 5)
    var target = try Target(seed: 3)
    var link = LinkMessage(name: "x0")
    link.kind = .veth(peer: LinkMessage(name: "y0"))
    var route = RouteMessage(family: .ipv4)
    route.destination = prefix("10.9.0.0/16")
    route.gateway = .v4(v4("10.0.0.9"))
    var neighbor = NeighborMessage(family: .ipv4, index: 2)
    neighbor.destination = .v4(v4("10.0.0.7"))
    neighbor.linkAddress = [2, 0, 0, 0, 0, 7]
    let samples = [
      link.request(.create), route.request(.create), neighbor.request(.create),
      AddressMessage(prefix("10.3.0.1/16"), index: 2).request(.create), link.request(.delete),
      route.request(.delete), neighbor.request(.delete), LinkMessage.dump(), RouteMessage.dump(.ipv4),
    ]
    for _ in 0..<Self.rounds {
      var request = samples[Int(random.below(UInt64(samples.count)))]
      for _ in 0..<random.below(4) where !request.payload.isEmpty {
        request.payload[Int(random.below(UInt64(request.payload.count)))] = UInt8(
          truncatingIfNeeded: random.next())
      }
      if random.below(8) == 0 {
        request.payload.removeLast(Int(random.below(UInt64(request.payload.count + 1))))
      }
      _ = try? target.kernel.perform(request, in: target.node)
      _ = try? target.kernel.dump(request, in: target.node)
      target.send(Self.seeds[Int(random.below(UInt64(Self.seeds.count)))], Int(random.below(3)))
    }
    #expect(target.kernel.accounting.isClosed)
  }
}
