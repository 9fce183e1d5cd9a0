// SPDX-License-Identifier: GPL-2.0-or-later

// Error numbers beside the kernel's: the same calls, by the same names, by Python on the host's kernel and on sockets
// here.

import Foundation
import Glibc
import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "Sockets beside the kernel",
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && access("/usr/bin/python3", X_OK) == 0,
    "needs root, /dev/net/tun and python3"))
struct SocketOracleTests {
  static let script = """
    def e(name, f):
      try: f(); print(name + ": 0")
      except OSError as x: print(name + ": " + str(x.errno))
    def make(kind, proto=0):
      s = socket.socket(socket.AF_INET, kind, proto)
      s.setblocking(False)
      return s
    U = lambda: make(socket.SOCK_DGRAM)
    T = lambda: make(socket.SOCK_STREAM)
    R = lambda proto: make(socket.SOCK_RAW, proto)
    s = U()
    e("udp: to nobody", lambda: s.send(b"x"))
    e("udp: to port 0", lambda: s.sendto(b"x", ("10.0.0.9", 0)))
    e("udp: no route", lambda: s.sendto(b"x", ("192.0.2.1", 9)))
    e("udp: broadcast", lambda: s.sendto(b"x", ("10.0.0.255", 9)))
    e("udp: too long", lambda: s.sendto(b"x" * 65508, ("127.0.0.1", 9)))
    e("udp: nothing there", lambda: s.recv(1))
    e("udp: no peer", lambda: s.getpeername())
    e("udp: shutdown", lambda: s.shutdown(socket.SHUT_WR))
    e("udp: after shutdown", lambda: s.sendto(b"x", ("10.0.0.9", 9)))
    s = U()
    e("udp: a stranger's address", lambda: s.bind(("10.0.0.77", 7)))
    e("udp: bind", lambda: s.bind(("10.0.0.1", 7000)))
    e("udp: bind again", lambda: s.bind(("10.0.0.1", 7001)))
    t = U()
    e("udp: taken", lambda: t.bind(("0.0.0.0", 7000)))
    e("udp: a broadcast address", lambda: t.bind(("10.0.0.255", 7002)))
    t = U()
    e("udp: a group", lambda: t.bind(("224.1.2.3", 7003)))
    t = U()
    e("udp: connect to all", lambda: t.connect(("10.0.0.255", 9)))
    e("udp: connect nowhere", lambda: t.connect(("192.0.2.1", 9)))
    t.setsockopt(0, 10, 2)
    e("udp: larger than the MTU", lambda: t.sendto(b"x" * 1473, ("10.0.0.9", 9)))
    e("udp: as large as the MTU", lambda: t.sendto(b"x" * 1472, ("10.0.0.9", 9)))
    t = U()
    t.connect(("127.0.0.1", 9))
    t.send(b"x")
    time.sleep(0.02)
    e("udp: refused", lambda: t.recv(1))
    e("udp: refused once", lambda: t.recv(1))
    s = T()
    e("tcp: receive", lambda: s.recv(1))
    e("tcp: send", lambda: s.send(b"x"))
    e("tcp: accept", lambda: s.accept())
    e("tcp: shutdown", lambda: s.shutdown(2))
    e("tcp: no peer", lambda: T().getpeername())
    e("tcp: connect to all", lambda: T().connect(("10.0.0.255", 9)))
    e("tcp: connect nowhere", lambda: T().connect(("192.0.2.1", 9)))
    s = T()
    e("tcp: connect", lambda: s.connect(("10.0.0.9", 9)))
    e("tcp: connect again", lambda: s.connect(("10.0.0.9", 9)))
    e("tcp: send too early", lambda: s.send(b"x"))
    e("tcp: receive too early", lambda: s.recv(1))
    e("tcp: listen too late", lambda: s.listen(1))
    e("tcp: bind too late", lambda: s.bind(("10.0.0.1", 0)))
    l = T()
    l.bind(("127.0.0.1", 80))
    e("listener: listen", lambda: l.listen(1))
    e("listener: accept", lambda: l.accept())
    e("listener: receive", lambda: l.recv(1))
    e("listener: send", lambda: l.send(b"x"))
    e("listener: connect", lambda: l.connect(("127.0.0.1", 81)))
    e("listener: listen again", lambda: l.listen(5))
    e("listener: taken", lambda: T().bind(("127.0.0.1", 80)))
    c = T()
    e("connection: begun", lambda: c.connect(("127.0.0.1", 80)))
    time.sleep(0.02)
    e("connection: complete", lambda: c.connect(("127.0.0.1", 80)))
    e("connection: once more", lambda: c.connect(("127.0.0.1", 80)))
    l.accept()[0].close()
    time.sleep(0.02)
    e("closed: send", lambda: c.send(b"x"))
    time.sleep(0.02)
    e("closed: send again", lambda: c.send(b"x"))
    e("closed: receive", lambda: c.recv(1))
    c = T()
    c.connect_ex(("127.0.0.1", 81))
    time.sleep(0.02)
    c.getsockopt(1, 4)
    e("refused: told already", lambda: c.connect(("127.0.0.1", 81)))
    c = T()
    c.connect_ex(("127.0.0.1", 81))
    time.sleep(0.02)
    e("refused: connect", lambda: c.connect(("127.0.0.1", 81)))
    e("refused: receive", lambda: c.recv(1))
    e("refused: send", lambda: c.send(b"x"))
    s = R(200)
    e("raw: to nobody", lambda: s.send(b"x"))
    e("raw: a stranger's address", lambda: s.bind(("10.0.0.77", 0)))
    s = R(255)
    e("raw: too short", lambda: s.sendto(b"x" * 19, ("10.0.0.9", 0)))
    e("raw: too long", lambda: s.sendto(b"\\x45" + b"x" * 1500, ("10.0.0.9", 0)))
    """

  /// The same calls here.
  final class Calls {
    var kernel: Kernel
    let node: NamespaceIndex
    var results: [String] = []

    init() throws {
      var kernel = Kernel(seed: 1)
      let node = try kernel.node()
      _ = try kernel.makeOutside(try #require(InterfaceName("t0")), in: node)
      try kernel.set("t0", up: true, in: node)
      var address = AddressMessage(prefix("10.0.0.1/24"), index: kernel.ifindex("t0", node))
      address.broadcast = v4("10.0.0.255")
      try kernel.perform(address.request(.create), in: node)
      self.kernel = kernel
      self.node = node
    }

    func e(_ name: String, _ body: () throws -> Void) { results.append("\(name): \(failure(body))") }
    func make(_ kind: SocketKind) throws -> SocketIndex { try kernel.makeSocket(kind, in: node) }
    func send(_ socket: SocketIndex, _ count: Int = 1, to peer: SocketAddress? = nil) throws {
      try kernel.send([UInt8](repeating: 0x45, count: count), on: socket, to: peer)
    }
    func receive(_ socket: SocketIndex) throws {
      var bytes: [UInt8] = []
      _ = try kernel.receive(socket, into: &bytes)
    }
    func pause() { kernel.run(for: .milliseconds(20)) }

    func datagrams() throws {
      let s = try make(.udp(.ipv4))
      e("udp: to nobody") { try send(s) }
      e("udp: to port 0") { try send(s, to: name("10.0.0.9", 0)) }
      e("udp: no route") { try send(s, to: name("192.0.2.1", 9)) }
      e("udp: broadcast") { try send(s, to: name("10.0.0.255", 9)) }
      e("udp: too long") { try send(s, 65508, to: name("127.0.0.1", 9)) }
      e("udp: nothing there") { try receive(s) }
      e("udp: no peer") { _ = try kernel.peerName(of: s) }
      e("udp: shutdown") { try kernel.shutdown(s, .send) }
      e("udp: after shutdown") { try send(s, to: name("10.0.0.9", 9)) }
      let bound = try make(.udp(.ipv4))
      e("udp: a stranger's address") { try kernel.bind(bound, to: name("10.0.0.77", 7)) }
      e("udp: bind") { try kernel.bind(bound, to: name("10.0.0.1", 7000)) }
      e("udp: bind again") { try kernel.bind(bound, to: name("10.0.0.1", 7001)) }
      var t = try make(.udp(.ipv4))
      e("udp: taken") { try kernel.bind(t, to: name("0.0.0.0", 7000)) }
      e("udp: a broadcast address") { try kernel.bind(t, to: name("10.0.0.255", 7002)) }
      t = try make(.udp(.ipv4))
      e("udp: a group") { try kernel.bind(t, to: name("224.1.2.3", 7003)) }
      t = try make(.udp(.ipv4))
      e("udp: connect to all") { try kernel.connect(t, to: name("10.0.0.255", 9)) }
      e("udp: connect nowhere") { try kernel.connect(t, to: name("192.0.2.1", 9)) }
      try kernel.setOption(.pathMTUDiscovery(.do), on: t)
      e("udp: larger than the MTU") { try send(t, 1473, to: name("10.0.0.9", 9)) }
      e("udp: as large as the MTU") { try send(t, 1472, to: name("10.0.0.9", 9)) }
      t = try make(.udp(.ipv4))
      try kernel.connect(t, to: name("127.0.0.1", 9))
      try send(t)
      pause()
      e("udp: refused") { try receive(t) }
      e("udp: refused once") { try receive(t) }
    }

    func streams() throws {
      var s = try make(.tcp(.ipv4))
      e("tcp: receive") { try receive(s) }
      e("tcp: send") { try send(s) }
      e("tcp: accept") { _ = try kernel.accept(s) }
      e("tcp: shutdown") { try kernel.shutdown(s, .both) }
      e("tcp: no peer") { _ = try kernel.peerName(of: make(.tcp(.ipv4))) }
      e("tcp: connect to all") { try kernel.connect(make(.tcp(.ipv4)), to: name("10.0.0.255", 9)) }
      e("tcp: connect nowhere") { try kernel.connect(make(.tcp(.ipv4)), to: name("192.0.2.1", 9)) }
      s = try make(.tcp(.ipv4))
      e("tcp: connect") { try kernel.connect(s, to: name("10.0.0.9", 9)) }
      e("tcp: connect again") { try kernel.connect(s, to: name("10.0.0.9", 9)) }
      e("tcp: send too early") { try send(s) }
      e("tcp: receive too early") { try receive(s) }
      e("tcp: listen too late") { try kernel.listen(s, backlog: 1) }
      e("tcp: bind too late") { try kernel.bind(s, to: name("10.0.0.1", 0)) }
      let l = try make(.tcp(.ipv4))
      try kernel.bind(l, to: name("127.0.0.1", 80))
      e("listener: listen") { try kernel.listen(l, backlog: 1) }
      e("listener: accept") { _ = try kernel.accept(l) }
      e("listener: receive") { try receive(l) }
      e("listener: send") { try send(l) }
      e("listener: connect") { try kernel.connect(l, to: name("127.0.0.1", 81)) }
      e("listener: listen again") { try kernel.listen(l, backlog: 5) }
      e("listener: taken") { try kernel.bind(make(.tcp(.ipv4)), to: name("127.0.0.1", 80)) }
      try connections(l)
    }

    private func connections(_ l: SocketIndex) throws {
      var c = try make(.tcp(.ipv4))
      e("connection: begun") { try kernel.connect(c, to: name("127.0.0.1", 80)) }
      pause()
      e("connection: complete") { try kernel.connect(c, to: name("127.0.0.1", 80)) }
      e("connection: once more") { try kernel.connect(c, to: name("127.0.0.1", 80)) }
      kernel.close(try kernel.accept(l))
      pause()
      e("closed: send") { try send(c) }
      pause()
      e("closed: send again") { try send(c) }
      e("closed: receive") { try receive(c) }
      c = try make(.tcp(.ipv4))
      _ = failure { try kernel.connect(c, to: name("127.0.0.1", 81)) }
      pause()
      _ = kernel.takeError(of: c)
      e("refused: told already") { try kernel.connect(c, to: name("127.0.0.1", 81)) }
      c = try make(.tcp(.ipv4))
      _ = failure { try kernel.connect(c, to: name("127.0.0.1", 81)) }
      pause()
      e("refused: connect") { try kernel.connect(c, to: name("127.0.0.1", 81)) }
      e("refused: receive") { try receive(c) }
      e("refused: send") { try send(c) }
    }

    func packets() throws {
      var s = try make(.raw(.ipv4, 200))
      e("raw: to nobody") { try send(s) }
      e("raw: a stranger's address") { try kernel.bind(s, to: name("10.0.0.77")) }
      s = try make(.raw(.ipv4, 255))
      e("raw: too short") { try send(s, 19, to: name("10.0.0.9")) }
      e("raw: too long") { try send(s, 1501, to: name("10.0.0.9")) }
    }
  }

  @Test("Every call fails with the kernel's number, or does not where the kernel's does not")
  func numbers() throws {
    let peer = try TCPOracleTests.Peer("numbers")
    let calls = try Calls()
    try calls.datagrams()
    try calls.streams()
    try calls.packets()
    let expected = try peer.output(of: Self.script)
    #expect(expected.count == calls.results.count)
    for (got, wanted) in zip(calls.results, expected) { #expect(got == wanted) }
  }
}
