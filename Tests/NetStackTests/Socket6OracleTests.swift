// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets of IPv6 beside the kernel's: the same calls by Python on the host's kernel and on sockets here. Mapped
// addresses, raw sockets, datagrams that are written in pieces.

import Foundation
import Glibc
import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "IPv6 sockets beside the kernel",
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0
      && access("/usr/bin/python3", X_OK) == 0,
    "needs root, /dev/net/tun and python3"))
struct Socket6OracleTests {
  static let script = """
    import socket as S, time
    from socket import *
    def e(name, f):
      try:
        r = f()
        print(name + ": " + (r if isinstance(r, str) else "0"))
      except OSError as x: print(name + ": " + str(x.errno))
    def make(family, kind, proto=0):
      s = S.socket(family, kind, proto)
      s.setblocking(False)
      return s
    U4 = lambda: make(AF_INET, SOCK_DGRAM)
    U6 = lambda: make(AF_INET6, SOCK_DGRAM)
    R6 = lambda proto: make(AF_INET6, SOCK_RAW, proto)
    def only(s): s.setsockopt(41, 26, 1); return s
    def text(s): time.sleep(0.02); return s.recv(100000).decode()
    def host(a): return a[0]
    s = U6()
    e("mapped: connect", lambda: s.connect(("::ffff:10.0.0.1", 9)))
    e("mapped: own name", lambda: host(s.getsockname()))
    e("mapped: peer's name", lambda: host(s.getpeername()))
    e("v6only: connect to a mapped one", lambda: only(U6()).connect(("::ffff:10.0.0.1", 9)))
    e("v6only: send to a mapped one", lambda: only(U6()).sendto(b"x", ("::ffff:10.0.0.1", 9)))
    e("v6only: bind to a mapped one", lambda: only(U6()).bind(("::ffff:10.0.0.1", 7000)))
    e("mapped: a stranger's address", lambda: U6().bind(("::ffff:10.0.0.77", 7000)))
    e("raw: bind to a mapped one", lambda: R6(200).bind(("::ffff:10.0.0.1", 0)))
    e("link-local: without a link", lambda: U6().bind(("fe80::1", 7000)))
    e("a stranger's address", lambda: U6().bind(("2001:db8::77", 7000)))
    s = U6(); s.bind(("2001:db8::1", 7001))
    e("bound to IPv6: send to a mapped one", lambda: s.sendto(b"x", ("::ffff:10.0.0.1", 9)))
    a = U4(); a.bind(("10.0.0.1", 7010))
    e("taken by IPv4", lambda: U6().bind(("::", 7010)))
    e("taken by IPv4, mapped", lambda: U6().bind(("::ffff:10.0.0.1", 7010)))
    b = only(U6())
    e("not taken, v6only", lambda: b.bind(("::", 7010)))
    c = U6()
    e("not taken, IPv6's own", lambda: c.bind(("2001:db8::1", 7011)))
    d = U4()
    e("not taken, IPv4 beside IPv6's own", lambda: d.bind(("0.0.0.0", 7011)))
    f = U6(); f.bind(("::", 7012))
    e("taken by both", lambda: U4().bind(("10.0.0.1", 7012)))
    server = U6(); server.bind(("::", 7100))
    client = U4()
    client.sendto(b"to both", ("10.0.0.1", 7100))
    time.sleep(0.02)
    data, source = server.recvfrom(100)
    e("from IPv4: bytes", lambda: data.decode())
    e("from IPv4: source", lambda: host(source))
    e("answered", lambda: server.sendto(b"back", source))
    e("the answer", lambda: text(client))
    client6 = U6()
    client6.connect(("::1", 7100))
    client6.setsockopt(17, 1, 1)
    e("cork: one", lambda: client6.send(b"ab"))
    e("cork: two", lambda: client6.send(b"cd"))
    e("cork: nothing yet", lambda: text(server))
    e("cork: pulled", lambda: client6.setsockopt(17, 1, 0))
    e("cork: all", lambda: text(server))
    e("more: one", lambda: client6.send(b"x", 0x8000))
    e("more: two", lambda: client6.send(b"y"))
    e("more: all", lambda: text(server))
    e("more: long", lambda: client6.send(b"x" * 40000, 0x8000))
    e("more: too long", lambda: client6.send(b"x" * 40000))
    e("more: after it", lambda: client6.send(b"z"))
    e("more: what came", lambda: text(server))
    s = U4()
    e("more: to one", lambda: s.sendto(b"1", 0x8000, ("10.0.0.1", 7100)))
    e("more: to another", lambda: s.sendto(b"2", ("10.0.0.1", 7101)))
    e("more: the one's", lambda: text(server))
    l = S.socket(AF_INET6, SOCK_STREAM); l.bind(("::", 8000)); l.listen(5)
    c = S.socket(AF_INET6, SOCK_STREAM)
    e("tcp: to a mapped one", lambda: c.connect(("::ffff:10.0.0.1", 8000)))
    e("tcp: own name", lambda: host(c.getsockname()))
    e("tcp: peer's name", lambda: host(c.getpeername()))
    d = l.accept()[0]
    e("tcp: the other end's name", lambda: host(d.getsockname()))
    d.send(b"hello")
    e("tcp: bytes", lambda: text(c))
    e("tcp: v6only", lambda: only(S.socket(AF_INET6, SOCK_STREAM)).connect(("::ffff:10.0.0.1", 8000)))
    e("tcp: from IPv4", lambda: S.socket(AF_INET, SOCK_STREAM).connect(("10.0.0.1", 8000)))
    e("tcp: its name", lambda: host(l.accept()[1]))
    r = R6(200)
    e("raw: to nobody", lambda: r.send(b"x"))
    e("raw: another protocol", lambda: r.sendto(b"x", ("::1", 201)))
    e("raw: a stranger's address", lambda: r.bind(("2001:db8::77", 0)))
    e("raw: to itself", lambda: r.sendto(b"hello", ("::1", 0)))
    e("raw: what came", lambda: text(r))
    e("raw: to nowhere", lambda: r.sendto(b"x", ("2001:db9::1", 0)))
    e("raw: too long", lambda: r.sendto(b"x" * 65536, ("::1", 0)))
    e("raw: an odd checksum", lambda: r.setsockopt(255, 7, 3))
    r.setsockopt(255, 7, 4)
    e("raw: too short for its checksum", lambda: r.sendto(b"12345", ("::1", 0)))
    e("raw: with a checksum", lambda: r.sendto(b"123456", ("::1", 0)))
    def sum(): time.sleep(0.02); return r.recv(100).hex()
    e("raw: its checksum", sum)
    h = R6(255)
    e("whole: too short", lambda: h.sendto(b"x" * 39, ("::1", 0)))
    e("whole: too long", lambda: h.sendto(b"x" * 65537, ("::1", 0)))
    loop = bytes(15) + b"\\x01"
    e("whole: right", lambda: h.sendto(b"\\x60\\0\\0\\0\\0\\x06\\xc8\\x07" + loop + loop + b"abc\\0\\0\\0", ("::1", 0)))
    r.setsockopt(255, 7, -1)
    h.sendto(b"\\x60\\0\\0\\0\\0\\x03\\xc8\\x07" + loop + loop + b"abc", ("::1", 0))
    e("whole: what came", lambda: text(r).rstrip("\\0"))
    e("whole: and then", lambda: text(r))
    i = R6(58)
    i.sendto(b"\\x80\\0\\0\\0\\0\\x07\\0\\x01data", ("::1", 0))
    def types(s):
      time.sleep(0.05)
      seen = []
      while True:
        try: seen.append(s.recv(100))
        except BlockingIOError: return " ".join("%d%s" % (m[0], "+" if m[2:4] != b"\\0\\0" else "-") for m in seen)
    e("icmp: request and answer", lambda: types(i))
    mask = bytearray(b"\\xff" * 32)
    mask[16] = 0xff & ~2
    i.setsockopt(58, 1, bytes(mask))
    i.sendto(b"\\x80\\0\\0\\0\\0\\x07\\0\\x02data", ("::1", 0))
    e("icmp: only answers", lambda: types(i))
    """

  /// The same calls here.
  final class Calls {
    var kernel: Kernel
    let node: NamespaceIndex
    var results: [String] = []

    init(_ setup: OracleSetup) throws {
      let emulated = try KernelOracleTests.Emulated(setup)
      node = emulated.node
      kernel = Self.take(emulated)
      kernel.run(for: .seconds(2))
    }

    private static func take(_ emulated: consuming KernelOracleTests.Emulated) -> Kernel {
      emulated.kernel
    }

    func e(_ name: String, _ body: () throws -> Void) {
      results.append("\(name): \(failure(body))")
    }
    func t(_ name: String, _ body: () throws -> String) {
      var text = ""
      let number = failure { text = try body() }
      results.append("\(name): \(number == 0 ? text : "\(number)")")
    }
    func make(_ kind: SocketKind, only: Bool = false) throws -> SocketIndex {
      let socket = try kernel.makeSocket(kind, in: node)
      if only { try kernel.setOption(.v6Only(true), on: socket) }
      return socket
    }
    func bytes(_ socket: SocketIndex) throws -> [UInt8] {
      kernel.run(for: .milliseconds(20))
      var bytes: [UInt8] = []
      _ = try kernel.receive(socket, into: &bytes)
      return bytes
    }
    func text(_ socket: SocketIndex) throws -> String {
      String(decoding: try bytes(socket), as: UTF8.self)
    }
    func send(
      _ text: String, _ socket: SocketIndex, _ peer: SocketAddress? = nil, more: Bool = false
    ) throws {
      try kernel.send(
        Array(text.utf8), on: socket, to: peer, control: SendControl(isContinued: more))
    }
    func bind(_ socket: SocketIndex, _ text: String, _ port: UInt16) throws {
      try kernel.bind(socket, to: name(text, port))
    }

    func names() throws {
      let s = try make(.udp(.ipv6))
      let mapped = name("::ffff:10.0.0.1", 9)
      e("mapped: connect") { try kernel.connect(s, to: mapped) }
      t("mapped: own name") { "\(try kernel.localName(of: s).address)" }
      t("mapped: peer's name") { "\(try kernel.peerName(of: s).address)" }
      e("v6only: connect to a mapped one") {
        try kernel.connect(make(.udp(.ipv6), only: true), to: mapped)
      }
      e("v6only: send to a mapped one") { try send("x", make(.udp(.ipv6), only: true), mapped) }
      e("v6only: bind to a mapped one") {
        try bind(make(.udp(.ipv6), only: true), "::ffff:10.0.0.1", 7000)
      }
      e("mapped: a stranger's address") { try bind(make(.udp(.ipv6)), "::ffff:10.0.0.77", 7000) }
      e("raw: bind to a mapped one") { try bind(make(.raw(.ipv6, 200)), "::ffff:10.0.0.1", 0) }
      e("link-local: without a link") { try bind(make(.udp(.ipv6)), "fe80::1", 7000) }
      e("a stranger's address") { try bind(make(.udp(.ipv6)), "2001:db8::77", 7000) }
      let own = try make(.udp(.ipv6))
      try bind(own, "2001:db8::1", 7001)
      e("bound to IPv6: send to a mapped one") { try send("x", own, mapped) }
      try bind(make(.udp(.ipv4)), "10.0.0.1", 7010)
      e("taken by IPv4") { try bind(make(.udp(.ipv6)), "::", 7010) }
      e("taken by IPv4, mapped") { try bind(make(.udp(.ipv6)), "::ffff:10.0.0.1", 7010) }
      e("not taken, v6only") { try bind(make(.udp(.ipv6), only: true), "::", 7010) }
      e("not taken, IPv6's own") { try bind(make(.udp(.ipv6)), "2001:db8::1", 7011) }
      e("not taken, IPv4 beside IPv6's own") { try bind(make(.udp(.ipv4)), "0.0.0.0", 7011) }
      try bind(make(.udp(.ipv6)), "::", 7012)
      e("taken by both") { try bind(make(.udp(.ipv4)), "10.0.0.1", 7012) }
    }

    func datagrams() throws {
      let server = try make(.udp(.ipv6))
      try bind(server, "::", 7100)
      let client = try make(.udp(.ipv4))
      try send("to both", client, name("10.0.0.1", 7100))
      kernel.run(for: .milliseconds(20))
      var data: [UInt8] = []
      let message = try kernel.receive(server, into: &data)
      t("from IPv4: bytes") { String(decoding: data, as: UTF8.self) }
      t("from IPv4: source") { "\(try #require(message.source).address)" }
      e("answered") { try send("back", server, message.source) }
      t("the answer") { try text(client) }
      let six = try make(.udp(.ipv6))
      try kernel.connect(six, to: name("::1", 7100))
      try kernel.setOption(.cork(true), on: six)
      e("cork: one") { try send("ab", six) }
      e("cork: two") { try send("cd", six) }
      t("cork: nothing yet") { try text(server) }
      e("cork: pulled") { try kernel.setOption(.cork(false), on: six) }
      t("cork: all") { try text(server) }
      e("more: one") { try send("x", six, more: true) }
      e("more: two") { try send("y", six) }
      t("more: all") { try text(server) }
      let long = String(repeating: "x", count: 40000)
      e("more: long") { try send(long, six, more: true) }
      e("more: too long") { try send(long, six) }
      e("more: after it") { try send("z", six) }
      t("more: what came") { try text(server) }
      let s = try make(.udp(.ipv4))
      e("more: to one") { try send("1", s, name("10.0.0.1", 7100), more: true) }
      e("more: to another") { try send("2", s, name("10.0.0.1", 7101)) }
      t("more: the one's") { try text(server) }
    }

    /// Waits until a connection stands, as a socket that waits does.
    func connect(_ socket: SocketIndex, to peer: SocketAddress) throws {
      do { try kernel.connect(socket, to: peer) } catch {
        guard error == .inProgress else { throw error }
        kernel.run(for: .milliseconds(20))
        let number = kernel.takeError(of: socket)
        guard number == 0 else { throw KernelError(number) }
      }
    }

    func streams() throws {
      let l = try make(.tcp(.ipv6))
      try bind(l, "::", 8000)
      try kernel.listen(l, backlog: 5)
      let c = try make(.tcp(.ipv6))
      let mapped = name("::ffff:10.0.0.1", 8000)
      e("tcp: to a mapped one") { try connect(c, to: mapped) }
      t("tcp: own name") { "\(try kernel.localName(of: c).address)" }
      t("tcp: peer's name") { "\(try kernel.peerName(of: c).address)" }
      let d = try kernel.accept(l)
      t("tcp: the other end's name") { "\(try kernel.localName(of: d).address)" }
      try send("hello", d)
      t("tcp: bytes") { try text(c) }
      e("tcp: v6only") { try connect(make(.tcp(.ipv6), only: true), to: mapped) }
      e("tcp: from IPv4") { try connect(make(.tcp(.ipv4)), to: name("10.0.0.1", 8000)) }
      t("tcp: its name") { "\(try kernel.peerName(of: kernel.accept(l)).address)" }
    }

    func packets() throws {
      let r = try make(.raw(.ipv6, 200))
      let here = name("::1")
      e("raw: to nobody") { try send("x", r) }
      e("raw: another protocol") { try send("x", r, name("::1", 201)) }
      e("raw: a stranger's address") { try bind(r, "2001:db8::77", 0) }
      e("raw: to itself") { try send("hello", r, here) }
      t("raw: what came") { try text(r) }
      e("raw: to nowhere") { try send("x", r, name("2001:db9::1")) }
      e("raw: too long") { try send(String(repeating: "x", count: 65536), r, here) }
      e("raw: an odd checksum") { try kernel.setOption(.checksumOffset(3), on: r) }
      try kernel.setOption(.checksumOffset(4), on: r)
      e("raw: too short for its checksum") { try send("12345", r, here) }
      e("raw: with a checksum") { try send("123456", r, here) }
      t("raw: its checksum") {
        try bytes(r).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
      }
      let h = try make(.raw(.ipv6, 255))
      e("whole: too short") { try send(String(repeating: "x", count: 39), h, here) }
      e("whole: too long") { try send(String(repeating: "x", count: 65537), h, here) }
      let loop = [UInt8](repeating: 0, count: 15) + [1]
      func whole(_ text: String) -> [UInt8] {
        [0x60, 0, 0, 0, 0, UInt8(text.utf8.count), 200, 7] + loop + loop + Array(text.utf8)
      }
      e("whole: right") { try kernel.send(whole("abc\0\0\0"), on: h, to: here) }
      kernel.run(for: .milliseconds(20))
      try kernel.setOption(.checksumOffset(nil), on: r)
      try kernel.send(whole("abc"), on: h, to: here)
      t("whole: what came") { try text(r).trimmingCharacters(in: CharacterSet(["\0"])) }
      t("whole: and then") { try text(r) }
      let i = try make(.raw(.ipv6, 58))
      func ask() throws {
        try kernel.send([0x80, 0, 0, 0, 0, 7, 0, 1] + Array("data".utf8), on: i, to: here)
      }
      func types() -> String {
        var seen: [String] = []
        while let message = try? bytes(i) {
          seen.append("\(message[0])\(message[2...3].allSatisfy { $0 == 0 } ? "-" : "+")")
        }
        return seen.joined(separator: " ")
      }
      try ask()
      t("icmp: request and answer") { types() }
      try kernel.setOption(.icmp6Filter(ICMP6Filter(errors: .max, messages: .max ^ 2)), on: i)
      try ask()
      t("icmp: only answers") { types() }
    }
  }

  @Test("Every call answers as the kernel's does")
  func calls() throws {
    var setup = OracleSetup()
    setup.faces = 1
    setup.settings = [
      ("net/ipv6/conf/all/accept_dad", "0"), ("net/ipv6/conf/default/accept_dad", "0"),
    ]
    setup.requests = [
      OracleSetup.up(0), OracleSetup.address("10.0.0.1/24", 0),
      OracleSetup.address("2001:db8::1/64", 0),
    ]
    let router = try KernelOracleTests.Router(setup)
    let output = try Shell.run("python3", ["-"], in: router.name, input: Self.script)
    var expected = output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    expected.removeAll { $0.isEmpty }
    let calls = try Calls(setup)
    try calls.names()
    try calls.datagrams()
    try calls.streams()
    try calls.packets()
    #expect(expected.count == calls.results.count)
    for (got, wanted) in zip(calls.results, expected) { #expect(got == wanted) }
    #expect(calls.kernel.accounting.isClosed)
  }
}
