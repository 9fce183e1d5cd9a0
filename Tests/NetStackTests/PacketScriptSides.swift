// SPDX-License-Identifier: GPL-2.0-or-later

// The two stacks that scripts are played against: ours in virtual time, whose times are held to the script, and the host's
// kernel behind a tun device, whose segments are.

import Foundation
import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

/// A stack that a script is played against.
protocol ScriptSide: AnyObject {
  /// Lets so many milliseconds pass.
  func pass(_ milliseconds: Int64)
  func arrive(_ packet: [UInt8])
  /// The next packet that leaves, and after how many milliseconds, if one does within `limit`.
  func leave(within limit: Int64) -> (packet: [UInt8], after: Int64)?
  func set(_ setting: String, _ value: String) throws
  /// Changes what the device takes.
  func setMTU(_ mtu: UInt32) throws
  /// A socket's verbs; below zero the error's number. Descriptors are the side's own.
  func socket() throws -> Int32
  func listen(_ socket: Int32) -> Int
  func connect(_ socket: Int32) -> Int
  func accept(_ socket: Int32) -> Int
  /// `how`: nothing, `more` (MSG_MORE), `eor` (MSG_EOR).
  func write(_ socket: Int32, _ count: Int, _ how: String) -> Int
  func read(_ socket: Int32, _ count: Int) -> Int
  func shutdown(_ socket: Int32) -> Int
  func close(_ socket: Int32) -> Int
  func setOption(_ socket: Int32, level: Int32, _ name: Int32, _ value: Int32) -> Int
  /// tcpi_state, ca_state, retransmits, snd_cwnd.
  func information(_ socket: Int32) -> [String: Int]
  /// Whether the script's times are this side's.
  var keepsTime: Bool { get }
}

enum ScriptSides {
  /// What scripts count on, as kernels have it by default, with the control that every namespace may have.
  static let settings = [
    ("net/ipv4/tcp_congestion_control", "reno"), ("net/ipv4/tcp_rmem", "4096 131072 6291456"),
    ("net/ipv4/tcp_wmem", "4096 262144 4194304"),
  ]

  /// Plays a script; what differed, a line each.
  static func play(_ script: PacketScript, on side: any ScriptSide) throws -> [String] {
    for (setting, value) in settings { try side.set(setting, value) }
    var wire = ScriptWire()
    var sockets: [Int32] = []
    var differences: [String] = []
    for line in try script.lines() {
      switch line.action {
      case .arrive(let segment):
        side.pass(line.delay)
        side.arrive(wire.packet(segment))
      case .leave(let wanted):
        var found: (segment: ScriptSegment, after: Int64)?
        while found == nil, let (packet, after) = side.leave(within: line.delay + 2000) {
          if let segment = wire.segment(packet) { found = (segment, after) }
        }
        guard let found else {
          differences.append("\(line.text): nothing left")
          return differences
        }
        if !wanted.admits(found.segment) { differences.append("\(line.text): left \(found.segment)") }
        if side.keepsTime, abs(found.after - line.delay) > max(2, line.delay / 50) {
          differences.append("\(line.text): left after \(found.after) ms")
        }
      case .quiet:
        while let (packet, after) = side.leave(within: line.delay) {
          if let segment = wire.segment(packet) {
            differences.append("\(line.text): left \(segment) after \(after) ms")
          }
        }
      case .call(let words, let result):
        side.pass(line.delay)
        let answer = try perform(words, on: side, &sockets)
        if let result, result != answer { differences.append("\(line.text): answered \(answer)") }
      }
    }
    for socket in sockets { _ = side.close(socket) }
    return differences
  }

  private static let options: [String: (Int32, Int32)] = [
    "nodelay": (6, 1), "cork": (6, 3), "quickack": (6, 12), "keepidle": (6, 4), "keepintvl": (6, 5),
    "keepcnt": (6, 6),
    "usertimeout": (6, 18), "keepalive": (1, 9), "sndbuf": (1, 7), "rcvbuf": (1, 8), "linger": (1, 13),
  ]

  private static let errors: [Int32: String] = [
    EAGAIN: "EAGAIN", EPIPE: "EPIPE", ECONNRESET: "ECONNRESET", ECONNREFUSED: "ECONNREFUSED",
    ETIMEDOUT: "ETIMEDOUT",
    EINPROGRESS: "EINPROGRESS", ENOTCONN: "ENOTCONN",
  ]

  private static func perform(
    _ words: [String], on side: any ScriptSide, _ sockets: inout [Int32]
  ) throws -> String {
    let number = words.count > 1 ? Int(words[1]) ?? 0 : 0
    func told(_ answer: Int) -> String {
      answer < 0 ? errors[Int32(-answer)] ?? "errno \(-answer)" : "\(answer)"
    }
    // Calls are of the socket that came last: the connection, once there is one.
    let socket = sockets.last ?? -1
    switch words[0] {
    case "sysctl":
      try side.set(words[1].replacing(".", with: "/"), words.dropFirst(2).joined(separator: " "))
      return "0"
    case "mtu":
      try side.setMTU(UInt32(number))
      return "0"
    case "listen":
      sockets.append(try side.socket())
      return told(side.listen(sockets[0]))
    case "connect":
      if sockets.isEmpty { sockets.append(try side.socket()) }
      return told(side.connect(sockets[0]))
    case "accept":
      let answer = side.accept(sockets[0])
      if answer >= 0 { sockets.append(Int32(answer)) }
      return answer < 0 ? told(answer) : "0"
    case "write": return told(side.write(socket, number, words.last ?? ""))
    case "read": return told(side.read(socket, number))
    case "shutdown": return told(side.shutdown(socket))
    case "close":
      sockets.removeLast()
      return told(side.close(socket))
    case "set":
      guard let (level, name) = options[words[1]] else { throw PacketScript.Mistake(line: words[1]) }
      return told(side.setOption(socket, level: level, name, Int32(words[2]) ?? 0))
    case "info": return "\(side.information(socket)[words[1]] ?? -1)"
    default: throw PacketScript.Mistake(line: words[0])
    }
  }

  // MARK: Ours

  final class Ours: ScriptSide {
    private var kernel: Kernel
    private let node: NamespaceIndex
    private let device: DeviceIndex
    private var handles: [SocketIndex] = []
    private var now = Instant(nanoseconds: 100_000_000_500_000)
    private var sent: [(packet: [UInt8], time: Instant)] = []
    /// When the line before was done.
    private var since = Instant(nanoseconds: 0)

    var keepsTime: Bool { true }

    init() throws {
      var kernel = Kernel(Kernel.Options(seed: 1, pool: .init(packets: 4096)), now: now)
      node = try kernel.node()
      let name = try #require(InterfaceName("tun0"))
      device = try kernel.makeTunTap(name, in: node, TunTap(isTap: false))
      try kernel.setLink(true, of: device)
      try kernel.set("tun0", up: true, in: node)
      try kernel.address("10.1.0.1/24", "tun0", node)
      self.kernel = kernel
      since = now
      settle()
    }

    private func settle() {
      var isDone = false
      while !isDone {
        isDone = !kernel.poll(now: now).hasMore
        while let packet = kernel.takeFrame(from: device) {
          sent.append((packet, now))
          isDone = false
        }
      }
      _ = kernel.takeWakeups()
    }

    /// To the next event, or `end`. False: that is reached.
    private func step(to end: Instant) -> Bool {
      guard now < end else { return false }
      let next = kernel.poll(now: now).nextDeadline
      now = min(max(next ?? end, now + .microseconds(1)), end)
      settle()
      return true
    }

    func pass(_ milliseconds: Int64) {
      let end = since + .milliseconds(milliseconds)
      while step(to: end) {}
      since = now
    }

    func arrive(_ packet: [UInt8]) {
      _ = kernel.inject(packet, into: device)
      settle()
    }

    func leave(within limit: Int64) -> (packet: [UInt8], after: Int64)? {
      let end = since + .milliseconds(limit)
      while sent.isEmpty {
        guard step(to: end) else {
          since = now
          return nil
        }
      }
      let first = sent.removeFirst()
      let after = (first.time - since).nanoseconds / 1_000_000
      since = max(since, first.time)
      return (first.packet, after)
    }

    func set(_ setting: String, _ value: String) throws { try kernel.setSysctl(setting, to: value, in: node) }

    func setMTU(_ mtu: UInt32) throws { try kernel.change("tun0", node) { $0.mtu = mtu } }

    func socket() throws -> Int32 {
      handles.append(try kernel.makeSocket(.tcp(.ipv4), in: node))
      return Int32(handles.count - 1)
    }

    private func told(_ body: () throws -> Int) -> Int {
      defer { settle() }
      do {
        return try body()
      } catch {
        return -Int((error as? KernelError)?.errno ?? EIO)
      }
    }

    func listen(_ socket: Int32) -> Int {
      told {
        try kernel.bind(handles[Int(socket)], to: SocketAddress(.v4(.any), 8080))
        try kernel.listen(handles[Int(socket)], backlog: 8)
        return 0
      }
    }

    func connect(_ socket: Int32) -> Int {
      told {
        try kernel.connect(handles[Int(socket)], to: name("10.1.0.2", 4000))
        return 0
      }
    }

    func accept(_ socket: Int32) -> Int {
      told {
        handles.append(try kernel.accept(handles[Int(socket)]))
        return handles.count - 1
      }
    }

    func write(_ socket: Int32, _ count: Int, _ how: String) -> Int {
      var control = SendControl(isContinued: how == "more")
      control.endsRecord = how == "eor"
      return told {
        try kernel.send([UInt8](repeating: 7, count: count), on: handles[Int(socket)], control: control)
      }
    }

    func read(_ socket: Int32, _ count: Int) -> Int {
      told {
        var bytes: [UInt8] = []
        return try kernel.receive(handles[Int(socket)], into: &bytes, limit: count).length
      }
    }

    func shutdown(_ socket: Int32) -> Int {
      told {
        try kernel.shutdown(handles[Int(socket)], .send)
        return 0
      }
    }

    func close(_ socket: Int32) -> Int {
      told {
        kernel.close(handles[Int(socket)])
        return 0
      }
    }

    func setOption(_ socket: Int32, level: Int32, _ name: Int32, _ value: Int32) -> Int {
      let option: SocketOption? =
        switch (level, name) {
        case (6, 1): .noDelay(value != 0)
        case (6, 3): .cork(value != 0)
        case (6, 12): .quickACK(Int(value))
        case (6, 4): .keepAliveTime(Int(value))
        case (6, 5): .keepAliveInterval(Int(value))
        case (6, 6): .keepAliveProbes(Int(value))
        case (6, 18): .userTimeout(Int(value))
        case (1, 9): .keepAlive(value != 0)
        case (1, 7): .sendBuffer(Int(value))
        case (1, 8): .receiveBuffer(Int(value))
        case (1, 13): .linger(Int(value))
        default: nil
        }
      return told {
        try kernel.setOption(try #require(option), on: handles[Int(socket)])
        return 0
      }
    }

    func information(_ socket: Int32) -> [String: Int] {
      guard let told = kernel.information(of: handles[Int(socket)]) else { return [:] }
      return [
        "state": Int(told.state.rawValue), "phase": Int(told.phase.rawValue), "retransmits": told.retransmits,
        "cwnd": told.congestionWindow,
      ]
    }
  }

  // MARK: The host's kernel

  final class Host: ScriptSide {
    private let name: String
    private let namespace: KernelNamespace
    private let tun: FileDescriptor
    private var last = ContinuousClock.now

    var keepsTime: Bool { false }

    init(_ suffix: String) throws {
      name = "netstack-script-\(suffix)-\(getpid())"
      try Shell.run("ip", ["netns", "add", name])
      namespace = try KernelNamespace(path: "/run/netns/\(name)")
      let device = TunDevice(try #require(InterfaceName("tun0")), .tun)
      tun = try namespace.run { (visitor) throws(NetlinkError) in try visitor.openTun(device) }
      try Shell.run("ip", ["link", "set", "lo", "up"], in: name)
      try Shell.run("sysctl", ["-qw", "net.ipv6.conf.all.disable_ipv6=1"], in: name)
      try Shell.run("ip", ["address", "add", "10.1.0.1/24", "dev", "tun0"], in: name)
      try Shell.run("ip", ["link", "set", "tun0", "up"], in: name)
    }

    deinit {
      try? tun.close()
      _ = try? Shell.run("ip", ["netns", "del", name])
    }

    func pass(_ milliseconds: Int64) {
      let rest = last + .milliseconds(milliseconds) - ContinuousClock.now
      if rest > .zero { usleep(UInt32(rest / .microseconds(1))) }
      last = .now
    }

    func arrive(_ packet: [UInt8]) {
      _ = packet.withUnsafeBytes { Glibc.write(tun.rawValue, $0.baseAddress, $0.count) }
    }

    func leave(within limit: Int64) -> (packet: [UInt8], after: Int64)? {
      let start = last
      let rest = max((start + .milliseconds(limit) - ContinuousClock.now) / .milliseconds(1), 0)
      var entry = pollfd(fd: tun.rawValue, events: Int16(POLLIN), revents: 0)
      guard Glibc.poll(&entry, 1, Int32(rest)) > 0 else {
        last = .now
        return nil
      }
      var bytes = [UInt8](repeating: 0, count: 65536)
      let count = bytes.withUnsafeMutableBytes { Glibc.read(tun.rawValue, $0.baseAddress, $0.count) }
      last = .now
      return (Array(bytes.prefix(max(count, 0))), Int64((last - start) / .milliseconds(1)))
    }

    func set(_ setting: String, _ value: String) throws {
      try Shell.run("sysctl", ["-qw", "\(setting.replacing("/", with: "."))=\(value)"], in: name)
    }

    func setMTU(_ mtu: UInt32) throws {
      try Shell.run("ip", ["link", "set", "tun0", "mtu", "\(mtu)"], in: name)
    }

    func socket() throws -> Int32 {
      try namespace.run { _ throws(NetlinkError) in
        Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
      }
    }

    private func told(_ result: Int) -> Int { result < 0 ? -Int(errno) : result }

    private func named(
      _ host: UInt32, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int {
      var name = sockaddr_in()
      name.sin_family = sa_family_t(AF_INET)
      name.sin_port = port.bigEndian
      name.sin_addr.s_addr = host.bigEndian
      return told(
        Int(
          withUnsafePointer(to: name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
              body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
          }))
    }

    func listen(_ socket: Int32) -> Int {
      let bound = named(0, 8080) { Glibc.bind(socket, $0, $1) }
      return bound < 0 ? bound : told(Int(Glibc.listen(socket, 8)))
    }

    func connect(_ socket: Int32) -> Int { named(0x0a01_0002, 4000) { Glibc.connect(socket, $0, $1) } }
    func accept(_ socket: Int32) -> Int {
      let connection = told(Int(Glibc.accept(socket, nil, nil)))
      if connection >= 0 { _ = fcntl(Int32(connection), F_SETFL, O_NONBLOCK) }
      return connection
    }

    func write(_ socket: Int32, _ count: Int, _ how: String) -> Int {
      let ends = how == "more" ? Int32(MSG_MORE) : how == "eor" ? Int32(MSG_EOR) : 0
      let flags = Int32(MSG_NOSIGNAL) | ends
      return told(Glibc.send(socket, [UInt8](repeating: 7, count: count), count, flags))
    }

    func read(_ socket: Int32, _ count: Int) -> Int {
      var bytes = [UInt8](repeating: 0, count: count)
      return told(Glibc.recv(socket, &bytes, count, 0))
    }

    func shutdown(_ socket: Int32) -> Int { told(Int(Glibc.shutdown(socket, 1))) }
    func close(_ socket: Int32) -> Int { told(Int(Glibc.close(socket))) }

    func setOption(_ socket: Int32, level: Int32, _ name: Int32, _ value: Int32) -> Int {
      var value = name == 13 && level == 1 ? [1, value] : [value]
      return told(Int(setsockopt(socket, level, name, &value, socklen_t(4 * value.count))))
    }

    func information(_ socket: Int32) -> [String: Int] {
      var bytes = [UInt8](repeating: 0, count: 300)
      var length = socklen_t(bytes.count)
      guard getsockopt(socket, 6, 11, &bytes, &length) == 0 else { return [:] }
      let cwnd = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 80, as: UInt32.self) }
      return [
        "state": Int(bytes[0]), "phase": Int(bytes[1]), "retransmits": Int(bytes[2]), "cwnd": Int(cwnd),
      ]
    }
  }
}
