// SPDX-License-Identifier: GPL-2.0-or-later

// The host's TCP as the peer over wires that lose, double, reorder and damage, in both families; settings and options
// beside the kernel's own.

import Foundation
import Glibc
import NetTypes
import Testing

@testable import NetStack

@Suite(
  "TCP over bad wires beside the kernel",
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && access("/usr/bin/python3", X_OK) == 0,
    "needs root, /dev/net/tun and python3"),
  .serialized)
struct TCPLossOracleTests {
  typealias Peer = TCPOracleTests.Peer
  typealias Wire = Peer.Wire

  static let wires: [Wire] = [
    Wire(name: "clean", isIPv6: true), Wire(name: "1 % lost", loss: 10),
    Wire(name: "5 % lost", loss: 50), Wire(name: "5 % lost", loss: 50, isIPv6: true),
    Wire(name: "bursts of 6 lost", loss: 8, burst: 6), Wire(name: "3 % twice", duplication: 30),
    Wire(name: "10 % reordered", reordering: 100),
    Wire(name: "10 % reordered", reordering: 100, isIPv6: true),
    Wire(name: "2 % damaged", corruption: 20),
    Wire(name: "all of it", loss: 10, duplication: 10, reordering: 50, corruption: 5),
  ]

  @Test("Bytes go both ways unharmed, and tshark finds no error of the protocol", arguments: wires)
  func transfers(wire: Wire) throws {
    let peer = try Peer("wire")
    peer.isRecording = Shell.has("tshark") && wire.corruption == 0
    let listener = try peer.kernel.makeSocket(.tcp(wire.isIPv6 ? .ipv6 : .ipv4), in: peer.node)
    try peer.kernel.bind(listener, to: SocketAddress(.any(wire.isIPv6 ? .ipv6 : .ipv4), 80))
    try peer.kernel.listen(listener, backlog: 8)
    let process = try peer.python(
      TCPOracleTests.client + """
        s = socket.create_connection(("\(wire.isIPv6 ? "fd00::2" : "10.0.0.2")", 80), timeout=60)
        transfer(s, 400000)
        """)
    peer.wire = wire
    var echoes: [TCPOracleTests.Echo] = []
    let isGood = try peer.pump(process, seconds: 90) {
      while let socket = try? peer.kernel.accept(listener) { echoes.append(TCPOracleTests.Echo(socket)) }
      for index in echoes.indices { echoes[index].act(&peer.kernel) }
    }
    #expect(isGood)
    #expect(echoes.map(\.count) == [400_000])
    #expect(peer.kernel.accounting.isClosed)
    let counters = peer.kernel.counted(peer.node)
    // Of few damaged or doubled frames all may have been the other way's.
    if wire.corruption >= 20 { #expect(counters[.tcpInCsumErrors] > 0) }
    if wire.loss >= 50 { #expect(counters[.tcpRetransSegs] > 0) }
    if wire.duplication >= 30 { #expect(counters[.tcpExtTCPDSACKOldSent] > 0) }
    if peer.isRecording {
      let complaints = try peer.complaints()
      #expect(complaints.isEmpty, "\(complaints.prefix(2000))")
    }
  }

  /// What both ends agree to for each of this end's and the other's settings, as TCP_INFO has it: 1 timestamps, 2 SACK,
  /// 4 window scale, 8 ECN.
  static let agreements: [(String, String, Int)] = [
    ("net.ipv4.tcp_sack", "0", 5), ("net.ipv4.tcp_timestamps", "0", 6),
    ("net.ipv4.tcp_window_scaling", "0", 3), ("net.ipv4.tcp_ecn", "1", 15),
  ]

  @Test(
    "Options are agreed to as the kernel does, whoever has them off", arguments: agreements, [false, true])
  func options(agreement: (String, String, Int), isOurs: Bool) throws {
    let peer = try Peer("options")
    if isOurs {
      try peer.kernel.setSysctl(
        agreement.0.replacingOccurrences(of: ".", with: "/"), to: agreement.1, in: peer.node)
    } else {
      try peer.set(agreement.0, agreement.1)
    }
    // Whoever has ECN on asks for it; the other answers.
    let weConnect = agreement.0.hasSuffix("ecn") == isOurs
    let server = try peer.kernel.makeSocket(.tcp(.ipv4), in: peer.node)
    try peer.kernel.bind(server, to: name("0.0.0.0", 80))
    try peer.kernel.listen(server, backlog: 8)
    let check = """

      time.sleep(1)
      options = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5]
      assert options & 15 == \(agreement.2), options
      """
    let process = try peer.python(
      (weConnect
        ? "l = socket.create_server((\"10.0.0.1\", 80))\ns, _ = l.accept()"
        : "s = socket.create_connection((\"10.0.0.2\", 80), timeout=30)\ns.sendall(b\"hello\")") + check)
    var socket: SocketIndex?
    if weConnect {
      let isListening = try peer.pump(seconds: 20) {
        try Shell.run("ss", ["-Htln"], in: peer.namespaceName).contains(":80 ")
      }
      #expect(isListening)
      let client = try peer.kernel.makeSocket(.tcp(.ipv4), in: peer.node)
      _ = try? peer.kernel.connect(client, to: name("10.0.0.1", 80))
      socket = client
    }
    let isUp = try peer.pump(seconds: 20) {
      if socket == nil { socket = try? peer.kernel.accept(server) }
      return socket.flatMap { peer.kernel.information(of: $0)?.state } == .established
    }
    #expect(isUp)
    let isAgreed = try peer.pump(process, seconds: 40) {}
    #expect(isAgreed)
    let known = try #require(socket.flatMap { peer.kernel.information(of: $0) })
    let bits = [known.hasTimestamps, known.hasSACK, known.hasWindowScale, known.hasECN].enumerated()
      .reduce(0) { $0 | ($1.element ? 1 << $1.offset : 0) }
    #expect(bits == agreement.2)
  }

  @Test("Settings take and refuse the values that the kernel's do")
  func settings() throws {
    let peer = try Peer("settings")
    let names = try Shell.run("sysctl", ["-N", "-a"], in: peer.namespaceName).split(separator: "\n")
      .map(String.init).filter { $0.hasPrefix("net.ipv4.tcp_") }
    let values = [
      "-1", "0", "1", "2", "255", "256", "1000", "1001", "70000", "4294967295", "4294967296", "x",
    ]
    var differences: [String] = []
    var compared = 0
    for name in names {
      let path = name.replacingOccurrences(of: ".", with: "/")
      // What the emulated kernel has not is refused by name; accurate ECN is one value of a setting that it has.
      guard TCPSetting.byPath[path] != nil else { continue }
      for value in values where !(name.hasSuffix("_ecn") && Int(value) ?? 0 > 2) {
        // The kernel's multiplication of milliseconds wraps here.
        if name.hasSuffix("invalid_ratelimit"), value == "4294967296" { continue }
        let theirs = (try? peer.set(name, value)) != nil
        let ours = (try? peer.kernel.setSysctl(path, to: value, in: peer.node)) != nil
        compared += 1
        if theirs != ours {
          differences.append("\(name) = \(value): \(theirs ? "taken" : "refused") by the kernel")
        }
      }
    }
    #expect(compared > 300)
    #expect(differences == [])
  }

  @Test("A kernel that floods is answered by cookies, with all that they remember")
  func cookies() throws {
    let peer = try Peer("cookies")
    try peer.kernel.setSysctl("net/ipv4/tcp_syncookies", to: "2", in: peer.node)
    let listener = try peer.kernel.makeSocket(.tcp(.ipv4), in: peer.node)
    try peer.kernel.bind(listener, to: name("0.0.0.0", 80))
    try peer.kernel.listen(listener, backlog: 8)
    let process = try peer.python(
      TCPOracleTests.client + """
        s = socket.create_connection(("10.0.0.2", 80), timeout=60)
        options = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5]
        assert options & 7 == 7, options
        transfer(s, 200000)
        """)
    var echoes: [TCPOracleTests.Echo] = []
    var known: TCPInformation?
    let isGood = try peer.pump(process, seconds: 60) {
      while let socket = try? peer.kernel.accept(listener) {
        if known == nil { known = peer.kernel.information(of: socket) }
        echoes.append(TCPOracleTests.Echo(socket))
      }
      for index in echoes.indices { echoes[index].act(&peer.kernel) }
    }
    #expect(isGood)
    // An acknowledgment that comes again when all is over has a cookie's numbers, since as much went either way: it may
    // begin a connection of nothing.
    #expect(echoes.first?.count == 200_000 && echoes.dropFirst().allSatisfy { $0.count == 0 })
    let all = try #require(known)
    #expect(all.hasTimestamps && all.hasSACK && all.hasWindowScale)
    let counters = peer.kernel.counted(peer.node)
    #expect(counters[.tcpExtSyncookiesSent] == 1)
    #expect(counters[.tcpExtSyncookiesRecv] == UInt64(echoes.count))
    #expect(peer.kernel.requests.count == 0)
  }
}
