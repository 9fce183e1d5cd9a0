// SPDX-License-Identifier: GPL-2.0-or-later

// Linux is the judge of IPv6 too: the same frames go into a router of the host's kernel and into an emulated one, and
// the same requests of configuration to both. Flow labels and the numbers of pieces are chosen freely and not
// compared, nor are reports of groups, which come when they will.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "IPv6 beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct IPv6OracleTests {
  static let setup: OracleSetup = {
    var setup = OracleSetup()
    setup.settings = [
      ("net/ipv6/conf/all/forwarding", "1"), ("net/ipv6/conf/all/accept_dad", "0"),
      ("net/ipv6/conf/default/accept_dad", "0"), ("net/ipv6/icmp/ratemask", "127"),
    ]
    for face in 0...1 {
      setup.requests += [
        OracleSetup.up(face), OracleSetup.address(face == 0 ? "2001:db8::1/64" : "2001:db8:1::1/64", face),
      ]
    }
    setup.requests += [
      OracleSetup.mtu(1300, 1), OracleSetup.neighbor("2001:db8::9", 0, OracleSetup.mac(9)),
      OracleSetup.neighbor("2001:db8:1::9", 1, OracleSetup.mac(8)),
      OracleSetup.neighbor("2001:db8::8", 0, OracleSetup.mac(9)),
      OracleSetup.neighbor("fe80::9", 0, OracleSetup.mac(9)),
      OracleSetup.via("2001:db8:2::/48", "2001:db8:1::9"),
      OracleSetup.refusal("2001:db8:3::/48", .blackhole),
      OracleSetup.refusal("2001:db8:4::/48", .unreachable),
      OracleSetup.refusal("2001:db8:5::/48", .prohibit),
    ]
    return setup
  }()

  // MARK: Probes

  struct IP {
    var source = "2001:db8::9"
    var destination = "2001:db8::1"
    /// Headers before the payload, each with its number.
    var headers: [(UInt8, [UInt8])] = []
    var next: UInt8 = 58
    var hopLimit: UInt8 = 33
    var trafficClass: UInt8 = 0
    var payload: [UInt8] = [128, 0, 0, 0, 0, 42, 0, 7] + (0..<56).map { UInt8($0) }
    /// Where the payload has its checksum; nil for none.
    var checksum: Int? = 2
    var breaksChecksum = false
    var link: [UInt8] = KernelOracleTests.macs[0]
    var claims = 0
    var version: UInt8 = 6
    /// Bytes behind the datagram.
    var padding = 0

    var frame: [UInt8] {
      let (from, to) = (v6(source).bytes, v6(destination).bytes)
      var payload = payload
      if let checksum {
        let length = payload.count
        let pseudo = from + to + [0, 0, UInt8(length >> 8), UInt8(length & 255), 0, 0, 0, next]
        let sum = KernelOracleTests.checksum(pseudo + payload)
        payload[checksum] = sum[0] ^ (breaksChecksum ? 1 : 0)
        payload[checksum + 1] = sum[1]
      }
      return wrap(payload, from, to)
    }

    /// The same datagram in pieces of the given sizes, each with its offset.
    func pieces(_ cuts: [(offset: Int, length: Int)], id: UInt8 = 5) -> [[UInt8]] {
      var whole = self
      whole.headers = []
      let bytes = Array(whole.frame.dropFirst(54))
      return cuts.map { cut in
        var piece = self
        let isLast = cut.offset + cut.length >= bytes.count
        let word = UInt16(cut.offset) | (isLast ? 0 : 1)
        piece.headers = headers + [(44, [next, 0, UInt8(word >> 8), UInt8(word & 255), 0, 0, 0, id])]
        piece.checksum = nil
        piece.payload = Array(bytes[cut.offset..<min(cut.offset + cut.length, bytes.count)])
        return piece.frame
      }
    }

    private func wrap(_ payload: [UInt8], _ from: [UInt8], _ to: [UInt8]) -> [UInt8] {
      var extensions: [UInt8] = []
      for (place, header) in headers.enumerated() {
        let following = place + 1 < headers.count ? headers[place + 1].0 : next
        // A fragment header brings its own.
        extensions += header.0 == 44 ? header.1 : [following] + header.1
      }
      let total = extensions.count + payload.count + claims
      let header: [UInt8] = [
        version << 4 | trafficClass >> 4, trafficClass << 4, 0, 0, UInt8(total >> 8), UInt8(total & 255),
        headers.first?.0 ?? next, hopLimit,
      ]
      return link + KernelOracleTests.sender + [0x86, 0xdd] + header + from + to + extensions + payload
        + [UInt8](repeating: 9, count: padding)
    }
  }

  static func solicit(
    _ target: String, to destination: String? = nil, from source: String = "2001:db8::9",
    hopLimit: UInt8 = 255,
    code: UInt8 = 0, options: [UInt8] = [1, 1, 2, 0, 0, 0, 9, 9]
  ) -> [UInt8] {
    let bytes = v6(target).bytes
    let group = "\(IPv6Address(IPv6.solicitedNode(UInt128(v6(target)))))"
    let link: [UInt8] = destination == nil ? [0x33, 0x33, 0xff] + bytes[13...] : KernelOracleTests.macs[0]
    return IP(
      source: source, destination: destination ?? group, hopLimit: hopLimit,
      payload: [135, code, 0, 0, 0, 0, 0, 0] + bytes + options, link: link
    ).frame
  }

  static let probes: [(String, [[UInt8]])] = {
    let far = "2001:db8:1::9"
    let udp: [UInt8] = [0x30, 0x39, 0, 99, 0, 12, 0, 0, 1, 2, 3, 4]
    func hop(_ options: [UInt8], _ number: UInt8 = 0) -> IP {
      IP(headers: [(number, [UInt8(options.count / 8)] + options)])
    }
    func long(_ length: Int) -> [UInt8] {
      [128, 0, 0, 0, 0, 42, 0, 8] + (0..<length).map { UInt8($0 & 255) }
    }
    func one(_ name: String, _ ip: IP) -> (String, [[UInt8]]) { (name, [ip.frame]) }
    let pair = IP(payload: long(200))
    var routing0 = IP(headers: [(43, [2, 0, 1, 0, 0, 0, 0] + v6(far).bytes)])
    routing0.hopLimit = 9
    let routingDone = IP(headers: [(43, [2, 0, 0, 0, 0, 0, 0] + v6(far).bytes)])
    let segments = IP(headers: [(43, [2, 4, 1, 0, 0, 0, 0] + v6(far).bytes)])
    var list: [(String, [[UInt8]])] = [
      ("solicitation", [solicit("2001:db8::1")]),
      ("solicitation, unicast", [solicit("2001:db8::1", to: "2001:db8::1")]),
      ("solicitation for the link-local address", [solicit("fe80::ff:fe00:101", from: "fe80::9")]),
      ("solicitation for the other side's address", [solicit("2001:db8:1::1")]),
      ("solicitation for a stranger", [solicit("2001:db8::77")]),
      ("detection of our address", [solicit("2001:db8::1", from: "::", options: [])]),
      ("detection with a link address", [solicit("2001:db8::1", from: "::")]),
      ("solicitation that was forwarded", [solicit("2001:db8::1", hopLimit: 254)]),
      ("solicitation with a code", [solicit("2001:db8::1", code: 1)]),
      ("solicitation with an empty option", [solicit("2001:db8::1", options: [1, 0, 2, 0, 0, 0, 9, 9])]),
      ("solicitation of a group", [solicit("ff02::1", to: "2001:db8::1")]),
      ("solicitation for the routers' anycast", [solicit("2001:db8::", to: "2001:db8::1")]),
      one("echo", IP()),
      one("echo with a class", IP(trafficClass: 0xb8)),
      one("echo without data", IP(payload: long(0))),
      one("echo of odd length", IP(payload: long(33))),
      one("echo to the other side's address", IP(destination: "2001:db8:1::1")),
      one("echo to the subnet's routers", IP(destination: "2001:db8::")),
      one("echo with padding behind it", IP(padding: 14)),
      one("echo with a bad checksum", IP(breaksChecksum: true)),
      one("echo that claims more than there is", IP(claims: 8)),
      one("version 5", IP(version: 5)),
      one("echo to another card", IP(link: [2, 0, 0, 0, 7, 7])),
      one("echo to all nodes", IP(destination: "ff02::1", link: [0x33, 0x33, 0, 0, 0, 1])),
      one(
        "echo to all routers, link-local",
        IP(source: "fe80::9", destination: "ff02::2", link: [0x33, 0x33, 0, 0, 0, 2])),
      one("echo to a group nobody wants", IP(destination: "ff02::77", link: [0x33, 0x33, 0, 0, 0, 0x77])),
      one("echo to a group of the interface", IP(destination: "ff01::1", link: [0x33, 0x33, 0, 0, 0, 1])),
      one("echo to a group without scope", IP(destination: "ff00::1", link: [0x33, 0x33, 0, 0, 0, 1])),
      one("echo from a group", IP(source: "ff02::9")),
      one("echo from nobody", IP(source: "::")),
      one("echo from the loopback address", IP(source: "::1")),
      one("echo to the loopback address", IP(destination: "::1")),
      one("echo between link-local addresses", IP(source: "fe80::9", destination: "fe80::ff:fe00:101")),
      one("echo reply nobody asked for", IP(payload: [129, 0, 0, 0, 0, 1, 0, 1])),
      one("an ICMPv6 error that quotes nothing", IP(payload: [1, 0, 0, 0, 0, 0, 0, 0])),
      one("an unknown ICMPv6 error", IP(payload: [100, 0, 0, 0, 0, 0, 0, 0])),
      one("an unknown ICMPv6 message", IP(payload: [200, 0, 0, 0, 0, 0, 0, 0])),
      one("UDP to a closed port", IP(next: 17, payload: udp, checksum: 6)),
      one(
        "UDP to a closed port of a group",
        IP(destination: "ff02::1", next: 17, payload: udp, checksum: 6, link: [0x33, 0x33, 0, 0, 0, 1])),
      one("UDP without a checksum", IP(next: 17, payload: udp, checksum: nil)),
      one("UDP with a bad checksum", IP(next: 17, payload: udp, checksum: 6, breaksChecksum: true)),
      one("a protocol nobody speaks", IP(next: 200, payload: udp, checksum: nil)),
      one("no next header", IP(next: 59, payload: udp, checksum: nil)),
      one("hop-by-hop padding", hop([1, 4, 0, 0, 0, 0])),
      one("hop-by-hop router alert", hop([5, 2, 0, 0, 1, 0])),
      one("hop-by-hop, an option to pass over", hop([0x1e, 4, 1, 2, 3, 4])),
      one("hop-by-hop, an option to drop by", hop([0x5e, 4, 1, 2, 3, 4])),
      one("hop-by-hop, an option to tell of", hop([0x9e, 4, 1, 2, 3, 4])),
      one("hop-by-hop, an option to tell one of", hop([0xde, 4, 1, 2, 3, 4])),
      one("hop-by-hop, padding with something in it", hop([1, 4, 0, 0, 7, 0])),
      one("hop-by-hop, an option beyond the end", hop([0x1e, 9, 1, 2, 3, 4])),
      one("hop-by-hop, too much padding", hop([0x1e, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
      one("destination options", hop([0x1e, 4, 1, 2, 3, 4], 60)),
      one("destination options, one to tell of", hop([0x9e, 4, 1, 2, 3, 4], 60)),
      one("destination options, one to drop by", hop([0x5e, 4, 1, 2, 3, 4], 60)),
      one(
        "a second hop-by-hop header",
        IP(headers: [(60, [0, 1, 4, 0, 0, 0, 0]), (0, [0, 1, 4, 0, 0, 0, 0])])),
      one("a routing header that is done", routingDone),
      one("a routing header of type 0", routing0),
      one("a routing header of segments", segments),
      ("a whole datagram with a fragment header", pair.pieces([(0, 208)])),
      ("two pieces", pair.pieces([(0, 104), (104, 104)], id: 6)),
      ("two pieces the other way round", pair.pieces([(104, 104), (0, 104)], id: 7)),
      ("a piece twice", pair.pieces([(0, 104), (0, 104), (104, 104)], id: 8)),
      ("pieces that overlap", pair.pieces([(0, 112), (104, 104), (0, 112)], id: 9)),
      ("a piece of a crooked length", pair.pieces([(0, 101)], id: 10)),
      (
        "a first piece without its header",
        [IP(headers: [(44, [58, 0, 0, 1, 0, 0, 0, 11])], payload: [], checksum: nil).frame]
      ),
      one("a piece beyond the end", IP(headers: [(44, [58, 0, 0xff, 0xf8, 0, 0, 0, 12])])),
      one("forwarded", IP(destination: far)),
      one("forwarded by a route", IP(destination: "2001:db8:2::5", trafficClass: 0x20)),
      one("forwarded UDP", IP(destination: far, next: 17, payload: udp, checksum: 6)),
      one("forwarded with its last hop", IP(destination: far, hopLimit: 2)),
      one("time exceeded", IP(destination: far, hopLimit: 1)),
      one("time exceeded at zero", IP(destination: far, hopLimit: 0)),
      one("echo for us at hop limit 0", IP(hopLimit: 0)),
      one(
        "time exceeded for an error", IP(destination: far, hopLimit: 1, payload: [1, 0, 0, 0, 0, 0, 0, 0])),
      one("too big", IP(destination: far, payload: long(1300))),
      one("too big, of an error", IP(destination: far, payload: [1] + long(1300).dropFirst())),
      one("no route", IP(destination: "2001:db9::1")),
      one("no route, a long packet", IP(destination: "2001:db9::1", payload: long(1400))),
      one("a black hole", IP(destination: "2001:db8:3::1")),
      one("an unreachable route", IP(destination: "2001:db8:4::1")),
      one("a prohibiting route", IP(destination: "2001:db8:5::1")),
      one("forwarded from the link alone", IP(source: "fe80::9", destination: far)),
      one("forwarded from nobody", IP(source: "::", destination: far)),
      one("forwarded in a group's frame", IP(destination: far, link: [0x33, 0x33, 0, 0, 0, 1])),
      one(
        "forwarded with options for every hop",
        {
          var ip = hop([5, 2, 0, 0, 1, 0]); ip.destination = far; return ip
        }()),
      one(
        "forwarded with an option to tell of",
        {
          var ip = hop([0x9e, 4, 1, 2, 3, 4]); ip.destination = far; return ip
        }()),
      one("to a site's group", IP(destination: "ff05::77", link: [0x33, 0x33, 0, 0, 0, 0x77])),
      one("back to the link it came from", IP(destination: "2001:db8::8")),
    ]
    list.append(
      (
        "an unknown EtherType",
        [
          KernelOracleTests.macs[0] + KernelOracleTests.sender + [0x88, 0xb5]
            + [UInt8](repeating: 1, count: 46)
        ]
      ))
    return list
  }()

  static func normal(_ frames: [[UInt8]]) -> [[UInt8]] {
    frames.compactMap { frame in
      var frame = frame
      guard frame.count >= 54, frame[12] == 0x86, frame[13] == 0xdd else { return frame }
      // A report of groups.
      if frame[20] == 0, frame.count > 62, frame[54] == 58, frame[62] == 143 { return nil }
      frame[15] &= 0xf0
      frame[16] = 0
      frame[17] = 0
      return frame
    }
  }

  @Test("A router answers every probe as the kernel's does")
  func probes() throws {
    var twins = try KernelOracleTests.Twins(Self.setup, settled: .seconds(2))
    for (name, frames) in Self.probes {
      for (number, frame) in frames.enumerated() {
        try twins.compare("\(name), \(number)", frame, normal: Self.normal)
      }
    }
    #expect(twins.emulated.kernel.accounting.isClosed)
  }

  // MARK: Configuration

  private static func address(
    _ text: String, _ index: Int32, _ body: (inout AddressMessage) -> Void = { _ in }
  )
    -> AddressMessage
  {
    var message = AddressMessage(prefix(text), index: index)
    body(&message)
    return message
  }

  private static func route(_ text: String, _ body: (inout RouteMessage) -> Void) -> RouteMessage {
    OracleSetup.message(text, .ipv6, body)
  }

  /// a0 is 3, b0 2.
  private static let requests: [(String, NetlinkMessage)] = {
    func link(_ name: String, _ body: (inout LinkMessage) -> Void) -> LinkMessage {
      var link = LinkMessage(name: name)
      body(&link)
      return link
    }
    let pair = link("a0") {
      $0.index = 3
      var peer = LinkMessage(index: 2, name: "b0")
      peer.address = [2, 0, 0, 0, 0, 2]
      $0.kind = .veth(peer: peer)
      $0.address = [2, 0, 0, 0, 0, 3]
    }
    func up(_ name: String, _ value: Bool) -> NetlinkMessage {
      link(name) { $0.set(.up, value) }.request(.change)
    }
    func mtu(_ value: UInt32) -> NetlinkMessage { link("a0") { $0.mtu = value }.request(.change) }
    func neighbor(_ text: String, _ index: Int32, _ body: (inout NeighborMessage) -> Void = { _ in })
      -> NeighborMessage
    {
      var message = NeighborMessage(family: .ipv6, index: index)
      message.destination = .v6(v6(text))
      message.linkAddress = [2, 0, 0, 0, 0, 9]
      message.state = .permanent
      body(&message)
      return message
    }
    return [
      ("lo up", up("lo", true)), ("a pair", pair.request(.create)),
      ("an address on a link that is down", address("2001:db8::1/64", 3).request(.create)),
      ("a up", up("a0", true)), ("b up", up("b0", true)),
      ("the address again", address("2001:db8::1/64", 3).request(.create)),
      ("another", address("2001:db8::2/64", 3).request(.create)),
      ("one alone", address("2001:db8:9::1/128", 3).request(.create)),
      ("one without a route", address("2001:db8:7::1/64", 3) { $0.flags = .noPrefixRoute }.request(.create)),
      ("one with a metric", address("2001:db8:8::1/64", 3) { $0.routePriority = 77 }.request(.create)),
      ("one that is marked", address("2001:db8:a::1/64", 3) { $0.protocolNumber = 99 }.request(.create)),
      (
        "a point-to-point one",
        address("2001:db8:b::1/128", 3) { $0.address = .v6(v6("2001:db8:b::2")) }.request(.create)
      ),
      ("a group", address("ff02::9/64", 3).request(.create)),
      ("the loopback address elsewhere", address("::1/128", 3).request(.create)),
      ("none", address("::/64", 3).request(.create)),
      ("one on no link", address("2001:db8::1/64", 88).request(.create)),
      (
        "a lifetime that ends before it is preferred",
        address("2001:db8:c::1/64", 3) { $0.lifetime = AddressLifetime(preferred: 9, valid: 5) }.request(
          .create)
      ),
      (
        "one that ends",
        address("2001:db8:c::1/64", 3) { $0.lifetime = AddressLifetime(preferred: 500, valid: 900) }.request(
          .create)
      ),
      ("removal with another length", address("2001:db8::2/63", 3).request(.delete)),
      ("removal of one that is not there", address("2001:db8::77/64", 3).request(.delete)),
      ("removal of one of two", address("2001:db8::2/64", 3).request(.delete)),
      ("a route", route("2001:db8:20::/48") { $0.gateway = .v6(v6("2001:db8::9")) }.request(.create)),
      (
        "a route from an address",
        route("2001:db8:21::/48") {
          $0.gateway = .v6(v6("2001:db8::9")); $0.preferredSource = .v6(v6("2001:db8:8::1"))
        }.request(.create)
      ),
      ("removal of the address routes speak from", address("2001:db8:8::1/64", 3).request(.delete)),
      ("a link-local address", address("fe80::77/64", 3).request(.create)),
      ("a neighbour", neighbor("2001:db8::9", 3).request(.create)),
      ("the neighbour again", neighbor("2001:db8::9", 3).request(.create)),
      (
        "a neighbour without an address", neighbor("2001:db8::8", 3) { $0.linkAddress = nil }.request(.create)
      ),
      ("a proxy", neighbor("2001:db8::50", 3) { $0.flags = .proxy }.request(.create)),
      ("removal of a neighbour", neighbor("2001:db8::9", 3).request(.delete)),
      ("removal of one that is not there", neighbor("2001:db8::9", 3).request(.delete)),
      ("removal of a proxy", neighbor("2001:db8::50", 3) { $0.flags = .proxy }.request(.delete)),
      (
        "removal of a proxy that is not there",
        neighbor("2001:db8::50", 3) { $0.flags = .proxy }.request(.delete)
      ),
      ("a small MTU", mtu(1279)),
      ("an address with a small MTU", address("2001:db8:d::1/64", 3).request(.create)),
      ("removal with a small MTU", address("2001:db8:d::1/64", 3).request(.delete)),
      ("a large MTU", mtu(1500)),
      ("an address once more", address("2001:db8:d::1/64", 3).request(.create)),
      ("b down", up("b0", false)), ("b up again", up("b0", true)), ("a down", up("a0", false)),
      ("a up again", up("a0", true)), ("lo down", up("lo", false)), ("lo up again", up("lo", true)),
      ("removal", link("a0") { _ in }.request(.delete)),
    ]
  }()

  static func addresses(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try AddressMessage($0) }.map {
      "\($0.index) \($0.local.map { "\($0)" } ?? "-") \($0.address.map { "\($0)" } ?? "-")/\($0.prefixLength) "
        + "\($0.flags.rawValue) \($0.scope.rawValue) \($0.protocolNumber ?? 0) \($0.routePriority ?? 0) "
        + "\($0.lifetime.map { $0.valid == .max ? "for ever" : "ends" } ?? "-")"
    }
  }

  static func routes(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try RouteMessage($0) }.map {
      "\($0.table) \($0.type.rawValue) \($0.destination.map { "\($0)" } ?? "default") \($0.gateway.map { "\($0)" } ?? "-") "
        + "\($0.outputIndex ?? 0) \($0.scope.rawValue) \($0.protocolNumber.rawValue) "
        + "\($0.preferredSource.map { "\($0)" } ?? "-") \($0.priority ?? 0) \($0.flags.contains(.linkDown))"
    }.sorted()
  }

  @Test("Each request has the kernel's error number, and what stands after it is what stands in the kernel")
  func requests() throws {
    let thread = try NamespaceThread()
    let (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      let namespace = try visitor.create(label: "netstack-oracle6")
      for scope in ["all", "default"] { try visitor.writeSysctl("net/ipv6/conf/\(scope)/accept_dad", "0") }
      return (namespace, try visitor.socket())
    }
    defer { withExtendedLifetime(namespace) {} }
    var kernel = Kernel()
    let node = try kernel.makeNamespace()
    for scope in ["all", "default"] {
      try kernel.setSysctl("net/ipv6/conf/\(scope)/accept_dad", to: "0", in: node)
    }
    for (name, request) in Self.requests {
      var expected: CInt = 0
      do { _ = try socket.request(request) } catch { expected = error.errno?.rawValue ?? -1 }
      var got: CInt = 0
      do { try kernel.perform(request, in: node) } catch { got = error.errno }
      kernel.run(for: .milliseconds(10))
      #expect(got == expected, "\(name)")
      func theirs() throws -> [[String]] {
        [
          try Self.addresses(socket.dump(AddressMessage.dump(.ipv6))),
          try Self.routes(socket.dump(RouteMessage.dump(.ipv6))),
        ]
      }
      let ours = [
        try Self.addresses(kernel.dump(AddressMessage.dump(.ipv6), in: node)),
        try Self.routes(kernel.dump(RouteMessage.dump(.ipv6), in: node)),
      ]
      // The kernel's addresses become ready a while after the fact, and so do its links.
      var there = try theirs()
      for _ in 0..<150 where there != ours {
        usleep(10_000)
        there = try theirs()
      }
      #expect(ours[0] == there[0], "addresses after \(name)")
      #expect(ours[1] == there[1], "routes after \(name)")
    }
  }
}
