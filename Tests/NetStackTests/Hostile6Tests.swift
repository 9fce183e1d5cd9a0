// SPDX-License-Identifier: GPL-2.0-or-later

// Frames of IPv6 from anyone, and of IPv4 with everything that its options, groups and pieces can say: those of the tests
// beside the kernel, damaged in every way that keeps them from being stopped at the door.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Hostile IPv6")
struct Hostile6Tests {
  /// A router with an address of each family and kind on two faces, a third that is a port of a bridge that listens for
  /// groups, a VLAN, and a socket of every kind.
  struct Target: ~Copyable {
    var kernel: Kernel
    let faces: [DeviceIndex]
    let node: NamespaceIndex
    let sockets: [SocketIndex]

    init(seed: UInt64) throws {
      var kernel = Kernel(seed: seed)
      let node = try kernel.node(ipv6: true)
      for (name, value) in IPv6OracleTests.setup.settings {
        try kernel.setSysctl(name, to: value, in: node)
      }
      var faces: [DeviceIndex] = []
      for face in 0...2 {
        faces.append(try kernel.makeOutside(try #require(InterfaceName("t\(face)")), in: node))
      }
      for request in IPv6OracleTests.setup.requests + OracleSetup.ipv4.requests {
        try kernel.perform(request, in: node)
      }
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
      try kernel.setSysctl("net/ipv4/conf/all/accept_source_route", to: "1", in: node)
      try kernel.setSysctl("net/ipv6/conf/t0/proxy_ndp", to: "1", in: node)
      try kernel.setSysctl("net/ipv6/conf/t0/accept_ra", to: "2", in: node)
      try kernel.set("t2", up: true, in: node)
      try kernel.bridge("br0", node)
      try kernel.join("t2", "br0", node)
      try kernel.address("10.0.7.1/24", "br0", node)
      var tagged = LinkMessage(name: "v9")
      var tag = VLANOptions()
      tag.identifier = 9
      tagged.kind = .vlan(tag)
      tagged.lowerIndex = kernel.ifindex("t1", node)
      tagged.set(.up, true)
      try kernel.perform(tagged.request(.create), in: node)
      try kernel.perform(
        OracleSetup.neighbor("2001:db8::50", 0, []) { $0.flags = .proxy }, in: node)
      var sockets: [SocketIndex] = []
      for family in [IPFamily.ipv4, .ipv6] {
        for kind in [SocketKind.udp(family), .tcp(family)] {
          let socket = try kernel.makeSocket(kind, in: node)
          if family == .ipv6 { try kernel.setOption(.v6Only(true), on: socket) }
          try kernel.bind(socket, to: SocketAddress(.any(family), 99))
          if kind.isStream { try kernel.listen(socket, backlog: 4) }
          try kernel.setOption(.receiveErrors(true), on: socket)
          sockets.append(socket)
        }
        for proto in [UInt8(1), 58, 200] {
          sockets.append(try kernel.makeSocket(.raw(family, proto), in: node))
        }
        let ping = try kernel.makeSocket(.ping(family), in: node)
        try kernel.bind(ping, to: SocketAddress(.any(family), family == .ipv4 ? 42 : 43))
        sockets.append(ping)
      }
      sockets.append(
        try kernel.makeSocket(.packet(PacketAddress.everyProtocol, cooked: false), in: node))
      self.kernel = kernel
      self.faces = faces
      self.node = node
      self.sockets = sockets
    }

    mutating func send(_ frame: [UInt8], _ face: Int, wait: Interval = .microseconds(50)) {
      kernel.inject(frame, into: faces[face])
      kernel.run(for: wait)
      for face in faces { while kernel.takeFrame(from: face) != nil {} }
      var bytes: [UInt8] = []
      for socket in sockets {
        while (try? kernel.receiveError(socket)) != nil {}
        _ = kernel.takeError(of: socket)
        while (try? kernel.receive(socket, into: &bytes)) != nil {}
      }
    }

    /// Closes everything, and lets all that waits come to its end.
    mutating func end() throws {
      for socket in sockets { kernel.close(socket) }
      for _ in 0..<3 {
        kernel.run(for: .seconds(900))
        for face in faces { while kernel.takeFrame(from: face) != nil {} }
      }
      // A router's advertisement may have put days between two solicitations (ndisc_router_discovery takes any retrans
      // timer): what waits for these ends with the devices.
      for face in ["t0", "t1", "t2"] { try kernel.set(face, up: false, in: node) }
      kernel.run(for: .microseconds(1))
    }
  }

  /// Messages that the tests beside the kernel have no probes of: routers, redirects, listeners, a bridge's protocol.
  static let seeds: [[UInt8]] = {
    typealias IP = IPv6OracleTests.IP
    let group: [UInt8] = [0x33, 0x33, 0, 0, 0, 1]
    func near(
      _ payload: [UInt8], to destination: String = "ff02::1", headers: [(UInt8, [UInt8])] = []
    ) -> [UInt8] {
      var packet = IP(
        source: "fe80::9", destination: destination, headers: headers,
        hopLimit: headers.isEmpty ? 255 : 1,
        payload: payload, link: group)
      packet.link = destination.hasPrefix("ff") ? group : KernelOracleTests.macs[0]
      return packet.frame
    }
    let alert: [(UInt8, [UInt8])] = [(0, [0, 5, 2, 0, 0, 1, 0])]
    let quote = Array(IP(source: "2001:db8::1", destination: "2001:db8:9::1").frame.dropFirst(14))
    let linkOption: [UInt8] = [1, 1, 2, 0, 0, 0, 9, 9]
    let prefixOption: [UInt8] =
      [3, 4, 64, 0xc0, 0, 0, 1, 0, 0, 0, 0, 200, 0, 0, 0, 0] + v6("2001:db8:77::").bytes
    let advertisement: [UInt8] =
      [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0] + linkOption + [5, 1, 0, 0, 0, 0, 5, 0]
      + prefixOption
    let redirect: [UInt8] =
      [137, 0, 0, 0, 0, 0, 0, 0] + v6("fe80::8").bytes + v6("2001:db8:9::1").bytes + [
        2, 1, 2, 0, 0, 0, 7, 7,
      ]
      + [4, UInt8(quote.count / 8 + 1), 0, 0, 0, 0, 0, 0] + quote
    let tcp: [UInt8] = [
      0x30, 0x39, 0, 99, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4,
      2, 8, 10, 0,
      0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
    ]
    var list = [
      near(advertisement), near([133, 0, 0, 0, 0, 0, 0, 0] + linkOption, to: "ff02::2"),
      near(redirect, to: "2001:db8::1"),
      near(
        [136, 0, 0, 0, 0xe0, 0, 0, 0] + v6("2001:db8::9").bytes + [2, 1, 2, 0, 0, 0, 9, 9],
        to: "2001:db8::1"),
      near([130, 0, 0, 0, 0, 9, 0, 0] + v6("::").bytes, headers: alert),
      near([130, 0, 0, 0, 0, 9, 0, 0] + v6("::").bytes + [2, 125, 0, 0], headers: alert),
      near([131, 0, 0, 0, 0, 0, 0, 0] + v6("ff02::9").bytes, to: "ff02::9", headers: alert),
      near(
        [143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0] + v6("ff02::9").bytes, to: "ff02::16", headers: alert
      ),
      IP(next: 6, payload: tcp, checksum: 16).frame,
      IP(payload: [2, 0, 0, 0, 0, 0, 5, 0] + quote).frame,
      IP(payload: [1, 4, 0, 0, 0, 0, 0, 0] + quote).frame,
      // A bridge that says it is the root; a tagged frame.
      [1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 9, 9, 0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0]
        + [UInt8](repeating: 1, count: 30),
      KernelOracleTests.macs[1] + KernelOracleTests.sender + [0x81, 0, 0, 9] + quote.prefix(0) + [
        0x86, 0xdd,
      ] + quote,
    ]
    list += IPv6OracleTests.probes.flatMap(\.1) + KernelOracleTests.probes.map(\.1)
    for options in [
      [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0], [68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0],
      [131, 11, 4, 10, 0, 1, 9, 10, 0, 0, 9, 0], [137, 7, 4, 10, 0, 1, 9, 0], [148, 4, 0, 0],
    ] as [[UInt8]] {
      list.append(KernelOracleTests.IP(options: options).frame)
      list.append(KernelOracleTests.IP(destination: [10, 0, 1, 9], options: options).frame)
    }
    let igmp: [UInt8] = [0x11, 9, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]
    list.append(
      KernelOracleTests.IP(
        destination: [224, 0, 0, 1], proto: 2, ttl: 1, options: [148, 4, 0, 0], payload: igmp,
        link: [1, 0, 0x5e, 0, 0, 1]
      ).frame)
    return list
  }()

  /// Mends the lengths and checksums of a frame of either family, so that a changed one is not stopped at the door.
  static func mend(_ frame: inout [UInt8], length mendsLength: Bool) {
    guard frame.count >= 54, frame[12] == 0x86, frame[13] == 0xdd else {
      HostileTests.mend(&frame)
      return
    }
    if mendsLength {
      frame[18] = UInt8((frame.count - 54) >> 8)
      frame[19] = UInt8((frame.count - 54) & 255)
    }
    // Through whatever stands before the transport's header, as far as it can be followed.
    var (next, place) = (frame[20], 54)
    while [0, 43, 60].contains(next), place + 8 <= frame.count {
      (next, place) = (frame[place], place + (Int(frame[place + 1]) + 1) * 8)
    }
    let end = min(54 + Int(frame[18]) << 8 + Int(frame[19]), frame.count)
    guard let offset = [58: 2, 17: 6, 6: 16][next], place + offset + 2 <= end else { return }
    frame[place + offset] = 0
    frame[place + offset + 1] = 0
    let length = end - place
    let pseudo =
      Array(frame[22..<54]) + [0, 0, UInt8(length >> 8), UInt8(length & 255), 0, 0, 0, next]
    let sum = KernelOracleTests.checksum(pseudo + frame[place..<end])
    frame[place + offset] = sum[0]
    frame[place + offset + 1] = sum[1]
  }

  @Test("Every frame cut at every length is taken or dropped, never trapped on")
  func truncations() throws {
    var target = try Target(seed: 1)
    for seed in Self.seeds where seed.count < 400 {
      for length in 0...seed.count {
        var frame = Array(seed.prefix(length))
        if length % 2 == 0 { Self.mend(&frame, length: true) }
        target.send(frame, length % 3)
      }
    }
    try target.end()
    #expect(target.kernel.accounting.isClosed)
    #expect(target.kernel.accounting.held == 0)
  }

  @Test("Fuzz: changed frames of both families end in a reason each, and the accounting closes")
  func changes() throws {
    var random = RandomState(seed: 66)
    var target = try Target(seed: 2)
    for round in 0..<HostileTests.rounds {
      var frame = Self.seeds[Int(random.below(UInt64(Self.seeds.count)))]
      for _ in 0...random.below(4) {
        // Headers are more worth than what they carry.
        let reach = random.below(2) == 0 ? min(frame.count, 80) : frame.count
        frame[Int(random.below(UInt64(reach)))] = UInt8(truncatingIfNeeded: random.next())
      }
      switch random.below(6) {
      case 0: frame.removeLast(Int(random.below(UInt64(frame.count))))
      case 1:
        // A header for hops or destinations, a routing header, a piece's, before whatever follows.
        guard frame.count > 60, frame[12] == 0x86 else { break }
        let kind: UInt8 = [0, 43, 44, 60][Int(random.below(4))]
        let words = Int(random.below(3))
        let header =
          [frame[20], kind == 44 ? 0 : UInt8(words)]
          + (0..<(kind == 44 ? 6 : 6 + words * 8)).map { _ in
            UInt8(truncatingIfNeeded: random.next() & 0x3f)
          }
        frame.insert(contentsOf: header, at: 54)
        frame[20] = kind
      default: break
      }
      if random.below(4) > 0 { Self.mend(&frame, length: random.below(4) > 0) }
      target.send(frame, Int(random.below(3)), wait: .microseconds(round % 64 == 0 ? 200_000 : 50))
    }
    try target.end()
    #expect(target.kernel.accounting.isClosed)
    #expect(target.kernel.accounting.held == 0)
    #expect(target.kernel.accounting.reasons.nonZero.count > 12)
  }
}
