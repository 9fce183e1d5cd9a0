// SPDX-License-Identifier: GPL-2.0-or-later

// Bulk between the host's TCP and ours, both directions and families, through an emulated router whose netem loses,
// reorders, doubles, damages and marks, or whose links take less than they did: what arrives has the hash of what was sent,
// and the two agree to what either offers. NETFORGE_TRANSFER_BYTES says how much each case carries.

import Foundation
import Glibc
import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "TCP in bulk beside the kernel",
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && access("/usr/bin/python3", X_OK) == 0,
    "needs root, /dev/net/tun and python3"),
  .serialized)
struct TCPTransferTests {
  typealias Peer = TCPOracleTests.Peer

  static let bytes: Int = {
    let asked = ProcessInfo.processInfo.environment["NETFORGE_TRANSFER_BYTES"].flatMap { Int($0) }
    return max(asked ?? 500_000, 100_000)
  }()

  enum Wire: String, CaseIterable {
    case clean, onePercent, fivePercent, bursts
    case reordering, duplication, corruption, marks
    case narrowing, ownMTU, blackHole

    /// What the router's queues do with each packet, either way.
    var netem: NetemOptions? {
      var options = NetemOptions()
      options.limit = 20_000
      options.seed = 7
      let share = NetemOptions.probability
      switch self {
      case .clean, .narrowing, .ownMTU, .blackHole: return nil
      case .onePercent: options.loss = share(0.01)
      case .fivePercent: options.loss = share(0.05)
      case .bursts: options.lossModel = .gilbertElliott(p: share(0.01), r: share(0.2), h: 0, k1: 0)
      case .reordering:
        // A tenth overtakes what waits.
        options.latency = 1_000_000
        options.gap = 1
        options.reorder = share(0.1)
      case .duplication: options.duplicate = share(0.03)
      case .corruption: options.corrupt = share(0.02)
      case .marks:
        options.loss = share(0.01)
        options.explicitCongestion = true
      }
      return options
    }

    /// What happens to a packet of netem's happens to one segment.
    var cutsFirst: Bool { netem != nil && self != .marks }
  }

  struct Case: CustomTestStringConvertible {
    var wire: Wire
    var isFromKernel: Bool
    var isIPv6: Bool
    /// A wire that loses lone packets four times of five makes any sender wait that doubles its timeout each time, on an
    /// average without end: there, less is carried.
    var bytes: Int { wire == .bursts ? min(TCPTransferTests.bytes, 5_000_000) : TCPTransferTests.bytes }
    var testDescription: String {
      "\(wire.rawValue), \(isFromKernel ? "kernel to us" : "us to the kernel")\(isIPv6 ? ", IPv6" : "")"
    }
  }

  static let cases = Wire.allCases.flatMap { wire in
    [(true, false), (true, true), (false, false), (false, true)].map {
      Case(wire: wire, isFromKernel: $0.0, isIPv6: $0.1)
    }
  }

  /// SHA-256 of what passes by.
  final class Digest {
    private let process = Process()
    private let (input, output) = (Pipe(), Pipe())

    init() throws {
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = ["sha256sum"]
      process.standardInput = input
      process.standardOutput = output
      try process.run()
    }

    func take(_ bytes: [UInt8]) { input.fileHandleForWriting.write(Data(bytes)) }

    func finish() throws -> String {
      try input.fileHandleForWriting.close()
      let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      return String(text.prefix(64))
    }
  }

  /// Our end: what it has carried so far, and the hash of it.
  struct End {
    let socket: SocketIndex
    let sends: Bool
    /// How much is carried.
    let bytes: Int
    let digest: Digest
    private(set) var count = 0
    private(set) var isOver = false
    private var random = RandomState(seed: 5)
    private let noise: [UInt8]
    private var rest: ArraySlice<UInt8> = []
    private var buffer: [UInt8] = []

    init(_ socket: SocketIndex, sends: Bool, bytes: Int) throws {
      self.socket = socket
      self.sends = sends
      self.bytes = bytes
      digest = try Digest()
      var random = RandomState(seed: 6)
      noise = (0..<(sends ? 1 << 20 : 0)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    mutating func act(_ kernel: inout Kernel) throws {
      if sends { send(&kernel) } else { receive(&kernel) }
    }

    private mutating func send(_ kernel: inout Kernel) {
      while count < bytes {
        if rest.isEmpty {
          let start = Int(random.below(UInt64(noise.count - 65_536)))
          rest = noise[start..<start + min(65_536, bytes - count)]
        }
        let piece = Array(rest)
        guard let sent = try? kernel.send(piece, on: socket) else { return }
        digest.take(Array(piece.prefix(sent)))
        rest = rest.dropFirst(sent)
        count += sent
      }
      guard !isOver else { return }
      isOver = failure { try kernel.shutdown(socket, .send) } == 0
    }

    private mutating func receive(_ kernel: inout Kernel) {
      while !isOver, let message = try? kernel.receive(socket, into: &buffer, limit: 1 << 20) {
        isOver = message.length == 0
        count += buffer.count
        digest.take(buffer)
      }
      if isOver { _ = failure { try kernel.shutdown(socket, .send) } }
    }
  }

  /// The kernel's end: the hash of what it has sent or received.
  private static func program(_ it: Case) -> String {
    let family = it.isIPv6 ? "socket.AF_INET6" : "socket.AF_INET"
    let own = it.isIPv6 ? "fd00::1" : "10.0.0.1"
    return """
      import os
      digest = hashlib.sha256()
      """
        + (it.isFromKernel
          ? """

          s = socket.create_connection(("\(it.isIPv6 ? "fd01::2" : "10.1.0.2")", 80), timeout=600)
          left = \(it.bytes)
          while left:
            piece = os.urandom(min(left, 1 << 20))
            s.sendall(piece)
            digest.update(piece)
            left -= len(piece)
          s.shutdown(socket.SHUT_WR)
          assert s.recv(1) == b""
          """
          : """

          l = socket.create_server(("\(own)", 80), family=\(family))
          s, _ = l.accept()
          s.settimeout(600)
          while True:
            piece = s.recv(1 << 20)
            if not piece: break
            digest.update(piece)
          s.close()
          """) + "\nprint(digest.hexdigest())"
  }

  /// What the host's kernel says of its end.
  private func told(_ peer: Peer) throws -> String {
    try Shell.run("ss", ["-Htino", "state", "connected"], in: peer.namespaceName)
  }

  /// Has the router's queues do what the wire is to do.
  private func disturb(_ it: Case, _ peer: Peer) throws {
    guard let netem = it.wire.netem, let router = peer.router else { return }
    for device in ["wan0", "lan0"] {
      let qdisc = QdiscMessage(
        index: peer.kernel.ifindex(device, router), parent: .root, handle: QdiscHandle(major: 1),
        kind: .netem(netem))
      try peer.kernel.perform(qdisc.request(.createOrReplace), in: router)
    }
  }

  /// What changes on the way, at each quarter of what is carried.
  private func change(_ it: Case, _ quarter: Int, _ peer: Peer) throws {
    func set(_ mtu: UInt32, theirs: Bool, _ device: String, _ node: NamespaceIndex) throws {
      if theirs {
        try Shell.run("ip", ["link", "set", "t0", "mtu", "\(mtu)"], in: peer.namespaceName)
      } else {
        try peer.kernel.change(device, node) { $0.mtu = mtu }
      }
    }
    guard let router = peer.router else { return }
    switch it.wire {
    case .narrowing:
      // The router's link towards who receives.
      let mtu: UInt32 = [1500, 1400, 1300, 1500][quarter]
      try set(mtu, theirs: false, it.isFromKernel ? "lan0" : "wan0", router)
    case .ownMTU:
      try set([1500, 1300, 1400, 1500][quarter], theirs: it.isFromKernel, "eth0", peer.node)
    case .blackHole:
      peer.wire.longest = [Int.max, 1200, 1200, .max][quarter]
    default: break
    }
  }

  @Test("What arrives has the hash of what was sent", arguments: cases)
  func transfer(it: Case) throws {
    let peer = try Peer("bulk", isRouted: true)
    let router = try #require(peer.router)
    peer.isRecording = Shell.has("tshark") && it.wire != .corruption && Self.bytes <= 2_000_000
    let hasECN = it.wire == .marks
    for (setting, value) in [
      ("net.ipv4.tcp_ecn", hasECN ? "1" : "2"),
      ("net.ipv4.tcp_mtu_probing", it.wire == .blackHole ? "1" : "0"),
    ] {
      try peer.set(setting, value)
      try peer.kernel.setSysctl(setting.replacing(".", with: "/"), to: value, in: peer.node)
    }
    if it.wire.cutsFirst {
      let (eth0, wan0) = (try peer.kernel.find("eth0", peer.node), try peer.kernel.find("wan0", router))
      try peer.kernel.setFeature("tcp-segmentation-offload", false, of: eth0)
      try peer.kernel.setFeature("generic-receive-offload", false, of: wan0)
    }
    let socket = try peer.kernel.makeSocket(.tcp(it.isIPv6 ? .ipv6 : .ipv4), in: peer.node)
    if it.isFromKernel {
      try peer.kernel.bind(socket, to: SocketAddress(.any(it.isIPv6 ? .ipv6 : .ipv4), 80))
      try peer.kernel.listen(socket, backlog: 8)
    }
    let pipe = Pipe()
    let process = try peer.python(Self.program(it), output: pipe)
    var end: End?
    if !it.isFromKernel {
      let isListening = try peer.pump(seconds: 60) {
        try Shell.run("ss", ["-Htln"], in: peer.namespaceName).contains(":80 ")
      }
      #expect(isListening)
      #expect(
        failure {
          try peer.kernel.connect(socket, to: name(it.isIPv6 ? "fd00::1" : "10.0.0.1", 80))
        } == 115)
      let isConnected = try peer.pump(seconds: 60) {
        peer.kernel.information(of: socket)?.state == .established
      }
      #expect(isConnected)
      end = try End(socket, sends: true, bytes: it.bytes)
    }
    var quarter = 0
    var kernelSays = ""
    let isGood = try peer.pump(process, seconds: 120 + Int64(it.bytes / 50_000)) {
      if end == nil {
        guard let connection = try? peer.kernel.accept(socket) else { return }
        end = try End(connection, sends: false, bytes: it.bytes)
      }
      if kernelSays.isEmpty {
        // From here on: neighbours have been found, and nobody's address is damaged.
        try disturb(it, peer)
        kernelSays = try told(peer)
      }
      try end?.act(&peer.kernel)
      let reached = min((end?.count ?? 0) * 4 / it.bytes, 3)
      if reached != quarter {
        quarter = reached
        try change(it, quarter, peer)
        let now = try told(peer)
        if !now.isEmpty { kernelSays = now }
      }
    }
    #expect(isGood)
    let ours = try #require(end)
    #expect(ours.isOver && ours.count == it.bytes)
    let theirs = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(try ours.digest.finish() == theirs.trimmingCharacters(in: .whitespacesAndNewlines))
    let words = Set(kernelSays.split(whereSeparator: \.isWhitespace))
    #expect(words.isSuperset(of: ["ts", "sack"]) && kernelSays.contains(" wscale:"), "\(kernelSays)")
    #expect(words.contains("ecn") == hasECN, "\(kernelSays)")
    try check(it, peer)
    if peer.isRecording {
      let complaints = try peer.complaints()
      #expect(complaints.isEmpty, "\(complaints.prefix(2000))")
    }
    #expect(peer.kernel.accounting.isClosed)
  }

  /// The wire did what it was to do.
  private func check(_ it: Case, _ peer: Peer) throws {
    let counters = peer.kernel.counted(peer.node)
    switch it.wire {
    case .clean: #expect(counters[.tcpInCsumErrors] == 0)
    case .onePercent, .fivePercent, .bursts:
      #expect(counters[it.isFromKernel ? .tcpExtTCPOFOQueue : .tcpRetransSegs] > 0)
    case .duplication:
      #expect(!it.isFromKernel || counters[.tcpExtTCPDSACKOldSent] > 0)
    case .corruption:
      #expect(!it.isFromKernel || counters[.tcpInCsumErrors] > 0)
    case .reordering, .marks, .ownMTU: break
    case .narrowing:
      let router = peer.kernel.counted(try #require(peer.router))
      #expect(router[.icmpOutDestUnreachs] + router[.icmp6OutPktTooBigs] > 0)
    case .blackHole: if !it.isFromKernel { #expect(counters[.tcpExtTCPTimeouts] > 0) }
    }
  }
}
