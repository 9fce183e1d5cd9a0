// SPDX-License-Identifier: GPL-2.0-or-later

// The host's TCP as the peer: a tap in a namespace of its own joins the two, Python speaks on the kernel's side, and
// the wire between them is the test's.

import Foundation
import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "TCP beside the kernel",
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && access("/usr/bin/python3", X_OK) == 0,
    "needs root, /dev/net/tun and python3"),
  .serialized)
struct TCPOracleTests {
  final class Peer {
    private let name: String
    var namespaceName: String { name }
    private let tap: FileDescriptor
    private let face: DeviceIndex
    private var random = RandomState(seed: 3)
    var kernel: Kernel
    let node: NamespaceIndex
    /// Where a router stands before our host: `wan0` is on the wire, `lan0` leads to the host.
    let router: NamespaceIndex?
    var wire = Wire()
    private var rest = 0
    private var held: [[UInt8]] = []
    /// Every frame that came out of the wire, while somebody wants to see them.
    var isRecording = false
    private(set) var record: [[UInt8]] = []

    /// What the wire does, each way, in thousandths.
    struct Wire: CustomTestStringConvertible {
      var name = "clean"
      var loss: UInt64 = 0
      /// So many frames are lost together.
      var burst = 1
      var duplication: UInt64 = 0
      var reordering: UInt64 = 0
      var corruption: UInt64 = 0
      /// Longer frames vanish.
      var longest = Int.max
      var isIPv6 = false
      var testDescription: String { name + (isIPv6 ? " over IPv6" : "") }
    }

    /// With a router our host is 10.1.0.2 and fd01::2, else 10.0.0.2 and fd00::2; the host's kernel is 10.0.0.1 and
    /// fd00::1.
    init(_ suffix: String, isRouted: Bool = false) throws {
      name = "netstack-tcp-\(suffix)-\(getpid())"
      try Self.run(["ip", "netns", "add", name])
      let namespace = try KernelNamespace(path: "/run/netns/\(name)")
      let device = TunDevice(try #require(InterfaceName("t0")), .tap)
      tap = try namespace.run { (visitor) throws(NetlinkError) in
        return try visitor.openTun(device)
      }
      try Self.run(["ip", "-n", name, "link", "set", "lo", "up"])
      try Self.run(["ip", "-n", name, "address", "add", "10.0.0.1/24", "dev", "t0"])
      try Self.run(["ip", "-n", name, "address", "add", "fd00::1/64", "dev", "t0", "nodad"])
      try Self.run(["ip", "-n", name, "link", "set", "t0", "up"])
      var kernel = Kernel(
        Kernel.Options(seed: 1, pool: .init(packets: isRouted ? 32_768 : 8192)), now: Self.clock)
      let node = try kernel.node(ipv6: true)
      guard isRouted else {
        face = try kernel.makeOutside(try #require(InterfaceName("eth0")), in: node)
        try Self.configure(&kernel, "eth0", node, 0, 2)
        self.kernel = kernel
        self.node = node
        router = nil
        return
      }
      let router = try kernel.node(ipv6: true)
      for forwarding in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        try kernel.setSysctl(forwarding, to: "1", in: router)
      }
      face = try kernel.makeOutside(try #require(InterfaceName("wan0")), in: router)
      try kernel.veth("eth0", node, "lan0", router, up: false)
      for (device, subnet) in [("wan0", 0), ("lan0", 1)] {
        try Self.configure(&kernel, device, router, subnet, 254)
      }
      try Self.configure(&kernel, "eth0", node, 1, 2)
      try kernel.route("default", via: "10.1.0.254", node)
      try kernel.route6("default", via: "fd01::254", node)
      self.kernel = kernel
      self.node = node
      self.router = router
      try Self.run(["ip", "-n", name, "route", "add", "10.1.0.0/24", "via", "10.0.0.254"])
      try Self.run(["ip", "-n", name, "route", "add", "fd01::/64", "via", "fd00::254"])
    }

    private static func configure(
      _ kernel: inout Kernel, _ device: String, _ node: NamespaceIndex, _ subnet: Int, _ host: Int
    ) throws {
      try kernel.set(device, up: true, in: node)
      try kernel.address("10.\(subnet).0.\(host)/24", device, node)
      try kernel.setSysctl("net/ipv6/conf/\(device)/accept_dad", to: "0", in: node)
      try kernel.address6("fd0\(subnet)::\(host)/64", device, node)
    }

    deinit {
      try? tap.close()
      try? Self.run(["ip", "netns", "del", name])
    }

    static var clock: Instant {
      var time = timespec()
      unsafe clock_gettime(CLOCK_MONOTONIC, &time)
      return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    static func run(_ arguments: [String]) throws {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = arguments
      try process.run()
      process.waitUntilExit()
      try #require(process.terminationStatus == 0, "\(arguments.joined(separator: " "))")
    }

    /// Starts a program on the kernel's side.
    func python(_ program: String, output: Pipe? = nil) throws -> Process {
      let process = Process()
      if let output { process.standardOutput = output }
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = [
        "ip", "netns", "exec", name, "python3", "-c", "import socket, hashlib, struct, sys, time\n" + program,
      ]
      try process.run()
      return process
    }

    /// What a program on the kernel's side prints, a line each.
    func output(of program: String) throws -> [String] {
      let process = Process()
      let pipe = Pipe()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = [
        "ip", "netns", "exec", name, "python3", "-c", "import socket, time\n" + program,
      ]
      process.standardOutput = pipe
      try process.run()
      let data = pipe.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Carries frames and lets our side act, until it says that it is done or the time is over.
    func pump(seconds: Int64, _ act: () throws -> Bool) throws -> Bool {
      let end = Self.clock + .seconds(seconds)
      var buffer = [UInt8](repeating: 0, count: 65600)
      while Self.clock < end {
        var isIdle = true
        for _ in 0..<64 {
          let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(tap.rawValue, $0.baseAddress, $0.count)
          }
          guard count > 0 else { break }
          isIdle = false
          for frame in carry(Array(buffer.prefix(count))) { kernel.inject(frame, into: face) }
        }
        while kernel.poll(now: Self.clock).hasMore {}
        let isDone = try act()
        while let frame = kernel.takeFrame(from: face) {
          isIdle = false
          for frame in carry(frame) {
            _ = unsafe frame.withUnsafeBytes { unsafe write(tap.rawValue, $0.baseAddress, $0.count) }
          }
        }
        if isDone { return true }
        if isIdle { usleep(200) }
      }
      return false
    }

    /// What comes out of the wire when a frame goes in.
    private func carry(_ frame: [UInt8]) -> [[UInt8]] {
      // Neighbours are found whatever the wire does, so that what fails is what is tested.
      let place = frame[12] == 8 && frame[13] == 0 ? 23 : 20
      guard frame.count > place, frame[place] == 6 else { return [frame] }
      guard frame.count <= wire.longest else { return [] }
      if rest > 0 {
        rest -= 1
        return []
      }
      if random.below(1000) < wire.loss {
        rest = wire.burst - 1
        return []
      }
      var frame = frame
      if random.below(1000) < wire.corruption {
        frame[frame.count - 1 - Int(random.below(20))] ^= 1 << UInt8(random.below(8))
      }
      var out = [frame] + held
      held = []
      if random.below(1000) < wire.reordering {
        held = [frame]
        out.removeFirst()
      }
      if random.below(1000) < wire.duplication { out.append(frame) }
      if isRecording { record += out }
      return out
    }

    /// What tshark holds for errors of the protocol in all that was recorded.
    func complaints() throws -> String {
      func little(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
      }
      var file = little(0xa1b2_c3d4) + [2, 0, 4, 0] + little(0) + little(0) + little(65535) + little(1)
      for (number, frame) in record.enumerated() {
        let count = UInt32(frame.count)
        file += little(UInt32(number / 1000)) + little(UInt32(number % 1000)) + little(count) + little(count)
        file += frame
      }
      let path = "/tmp/\(name).pcap"
      try Data(file).write(to: URL(fileURLWithPath: path))
      defer { try? FileManager.default.removeItem(atPath: path) }
      return try Shell.run(
        "tshark",
        [
          "-r", path, "-o", "tcp.check_checksum:TRUE", "--disable-protocol", "http", "-Y",
          // What is wrong with bytes that are nobody's protocol, or are taken for one, is no complaint.
          "_ws.expert.severity == error && !(tcp.payload && _ws.malformed)"
            + " && !(tcp.payload && !(frame.protocols matches \"tcp(:data)?$\"))",
        ])
    }

    /// Changes a setting on the kernel's side.
    func set(_ setting: String, _ value: String) throws {
      try Shell.run("sysctl", ["-qw", "\(setting)=\(value)"], in: name)
    }

    /// The same until a program on the other side has ended; whether it ended well.
    func pump(_ process: Process, seconds: Int64, _ act: () throws -> Void) throws -> Bool {
      let isOver = try pump(seconds: seconds) {
        try act()
        return !process.isRunning
      }
      if !isOver { process.terminate() }
      process.waitUntilExit()
      return isOver && process.terminationStatus == 0
    }
  }

  /// Sends back whatever comes, and ends when the other end does.
  struct Echo {
    let socket: SocketIndex
    private var pending: [UInt8] = []
    private var isOver = false
    private(set) var isClosed = false
    private(set) var count = 0

    init(_ socket: SocketIndex) { self.socket = socket }

    mutating func act(_ kernel: inout Kernel) {
      guard !isClosed else { return }
      var buffer: [UInt8] = []
      while !isOver, pending.count < 100_000,
        let message = try? kernel.receive(socket, into: &buffer, limit: 65536)
      {
        if message.length == 0 { isOver = true }
        pending += buffer
        count += buffer.count
      }
      while !pending.isEmpty, let sent = try? kernel.send(pending, on: socket) { pending.removeFirst(sent) }
      if isOver, pending.isEmpty {
        kernel.close(socket)
        isClosed = true
      }
    }
  }

  static let client = """
    def transfer(s, size):
      data = bytes((i * 7 + i // 251) & 255 for i in range(size))
      s.settimeout(60)
      import threading
      def feed():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
      thread = threading.Thread(target=feed)
      thread.start()
      got = bytearray()
      while True:
        piece = s.recv(65536)
        if not piece: break
        got += piece
      thread.join()
      assert bytes(got) == data, (len(got), size)

    """

  @Test(
    "The kernel connects to us, its bytes come back, and all that it offers is agreed to",
    arguments: [0, 20, 80])
  func serves(loss: Int) throws {
    let peer = try Peer("serves")
    peer.wire.loss = UInt64(loss)
    let listener = try peer.kernel.makeSocket(.tcp(.ipv4), in: peer.node)
    try peer.kernel.bind(listener, to: name("0.0.0.0", 80))
    try peer.kernel.listen(listener, backlog: 8)
    let size = loss == 0 ? 3_000_000 : 300_000
    let process = try peer.python(
      Self.client + """
        s = socket.create_connection(("10.0.0.2", 80), timeout=60)
        options = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5]
        assert options & 7 == 7, options
        transfer(s, \(size))
        s.close()
        """)
    var echoes: [Echo] = []
    let isGood = try peer.pump(process, seconds: 90) {
      while let socket = try? peer.kernel.accept(listener) { echoes.append(Echo(socket)) }
      for index in echoes.indices { echoes[index].act(&peer.kernel) }
    }
    #expect(isGood)
    #expect(echoes.map(\.count) == [size])
    #expect(peer.kernel.accounting.isClosed)
    #expect(peer.kernel.counted(peer.node)[.tcpInCsumErrors] == 0)
  }

  @Test("We connect to the kernel, and our bytes come back", arguments: [0, 20, 80])
  func connects(loss: Int) throws {
    let peer = try Peer("connects")
    let server = try peer.python(
      """
      l = socket.socket()
      l.bind(("10.0.0.1", 80))
      l.listen(4)
      s, _ = l.accept()
      options = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5]
      assert options & 7 == 7, options
      data = bytearray()
      while True:
        piece = s.recv(65536)
        if not piece: break
        data += piece
      s.sendall(data)
      s.close()
      """)
    _ = try peer.pump(seconds: 1) { false }
    peer.wire.loss = UInt64(loss)
    let bytes = TCPTests.pattern(loss == 0 ? 2_000_000 : 200_000, 5)
    let client = try peer.kernel.makeSocket(.tcp(.ipv4), in: peer.node)
    #expect(failure { try peer.kernel.connect(client, to: name("10.0.0.1", 80)) } == 115)
    var sent = 0
    var received: [UInt8] = []
    var buffer: [UInt8] = []
    var isOver = false
    let isGood = try peer.pump(seconds: 90) {
      while sent < bytes.count,
        let count = try? peer.kernel.send(Array(bytes[sent..<min(sent + 65536, bytes.count)]), on: client)
      {
        sent += count
        if sent == bytes.count { try peer.kernel.shutdown(client, .send) }
      }
      while !isOver, let message = try? peer.kernel.receive(client, into: &buffer, limit: 65536) {
        isOver = message.length == 0
        received += buffer
      }
      return isOver
    }
    #expect(isGood)
    #expect(received == bytes)
    peer.kernel.close(client)
    #expect(try peer.pump(server, seconds: 20) {})
    #expect(peer.kernel.accounting.isClosed)
  }

  @Test("The kernel hears from us what it hears from its own kind: refusal, resets, half-closed ends")
  func states() throws {
    let peer = try Peer("states")
    let listener = try peer.kernel.makeSocket(.tcp(.ipv4), in: peer.node)
    try peer.kernel.bind(listener, to: name("0.0.0.0", 80))
    try peer.kernel.listen(listener, backlog: 8)
    let process = try peer.python(
      """
      try:
        socket.create_connection(("10.0.0.2", 81), timeout=10)
        sys.exit(1)
      except ConnectionRefusedError: pass
      # A reset by what was not read.
      s = socket.create_connection(("10.0.0.2", 80), timeout=10)
      s.sendall(b"reset")
      try:
        s.recv(1)
        sys.exit(2)
      except ConnectionResetError: pass
      # Our end says all that it has to say, and hears the rest.
      s = socket.create_connection(("10.0.0.2", 80), timeout=10)
      s.sendall(b"half")
      assert s.recv(100) == b"bye", "bye"
      assert s.recv(100) == b"", "end"
      s.sendall(b"more")
      s.shutdown(socket.SHUT_WR)
      time.sleep(0.3)
      # A connection that is reset by the kernel.
      s = socket.create_connection(("10.0.0.2", 80), timeout=10)
      s.sendall(b"linger")
      time.sleep(0.2)
      s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
      s.close()
      time.sleep(0.3)
      """)
    var connections: [SocketIndex] = []
    var heard: [String] = []
    var buffer: [UInt8] = []
    let isGood = try peer.pump(process, seconds: 30) {
      while let socket = try? peer.kernel.accept(listener) { connections.append(socket) }
      for socket in connections {
        do {
          let message = try peer.kernel.receive(socket, into: &buffer, flags: .peek)
          let text = String(decoding: buffer, as: UTF8.self)
          if text == "reset" {
            peer.kernel.close(socket)
            continue
          }
          if message.length == 0 {
            if !heard.contains("end") { heard.append("end") }
            peer.kernel.close(socket)
            continue
          }
          _ = try peer.kernel.receive(socket, into: &buffer)
          heard.append(text)
          if text == "half" {
            try peer.kernel.send(Array("bye".utf8), on: socket)
            try peer.kernel.shutdown(socket, .send)
          }
        } catch let error as KernelError where error.errno == 104 {
          heard.append("reset by peer")
          peer.kernel.close(socket)
        } catch {}
      }
    }
    #expect(isGood)
    #expect(heard == ["half", "more", "end", "linger", "reset by peer"])
  }
}
