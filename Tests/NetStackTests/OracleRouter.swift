// SPDX-License-Identifier: GPL-2.0-or-later

// One router twice, in a namespace of the host's kernel and emulated: the same settings and requests make both, the
// same frames go into both, and what comes out of their faces is compared. lo is 1, the faces t0, t1, … are 2, 3, …

import Foundation
import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

/// What both are made with.
struct OracleSetup {
  /// Before there are any faces.
  var settings: [(String, String)] = []
  var faces = 2
  var requests: [NetlinkMessage] = []
  /// Whether something is still said of its having been made for a while.
  var settles = false
}

extension OracleSetup {
  /// Both families: that of IPv4, and the addresses and neighbours of IPv6 beside it.
  static let dual: OracleSetup = {
    var setup = OracleSetup.ipv4
    setup.settings =
      setup.settings.filter { !$0.0.hasSuffix("disable_ipv6") } + IPv6OracleTests.setup.settings
    setup.settings.append(("net/ipv6/icmp/ratelimit", "0"))
    // But for its MTU, which is too small for IPv6.
    setup.requests = IPv6OracleTests.setup.requests
    for face in 0...1 {
      setup.requests += [
        address("10.0.\(face).1/24", face), neighbor("10.0.\(face).9", face, mac(9 - face)),
      ]
    }
    for last in ["8", "77"] { setup.requests.append(neighbor("2001:db8:1::\(last)", 1, [2, 0, 0, 0, 8, 7])) }
    setup.settles = true
    return setup
  }()

  /// Two subnets, a neighbour on each, and a route behind the second.
  static let ipv4: OracleSetup = {
    var setup = OracleSetup()
    setup.settings = [
      ("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1"),
      ("net/ipv4/conf/all/rp_filter", "0"), ("net/ipv4/conf/default/rp_filter", "0"),
      ("net/ipv4/ip_forward", "1"), ("net/ipv4/icmp_ratemask", "0"),
    ]
    for face in 0...1 {
      setup.requests += [
        up(face), address("10.0.\(face).1/24", face), neighbor("10.0.\(face).9", face, mac(9 - face)),
      ]
    }
    setup.requests += [
      mtu(600, 1), via("10.2.0.0/16", "10.0.1.9"), refusal("10.3.0.0/16", .blackhole),
      refusal("10.4.0.0/16", .unreachable), refusal("10.5.0.0/16", .prohibit),
      route("10.6.0.0/24") {
        $0.type = .local
        $0.table = RouteMessage.localTable
        $0.scope = .host
        $0.outputIndex = 1
      },
    ]
    return setup
  }()

  static func mac(_ last: Int) -> [UInt8] { [2, 0, 0, 0, UInt8(last), UInt8(last)] }

  static func up(_ face: Int, _ up: Bool = true) -> NetlinkMessage {
    var link = LinkMessage(index: Int32(face) + 2)
    link.address = [2, 0, 0, 0, UInt8(face) + 1, 1]
    link.set(.up, up)
    return link.request(.change)
  }

  static func mtu(_ value: UInt32, _ face: Int) -> NetlinkMessage {
    var link = LinkMessage(index: Int32(face) + 2)
    link.mtu = value
    return link.request(.change)
  }

  static func address(_ text: String, _ face: Int) -> NetlinkMessage {
    let prefix = prefix(text)
    var message = AddressMessage(prefix, index: Int32(face) + 2)
    if case .v4(let address) = prefix.address, prefix.length < 31 {
      message.broadcast = IPv4Address(rawValue: address.rawValue | UInt32.max >> UInt32(prefix.length))
    }
    return message.request(.create)
  }

  static func neighbor(
    _ address: String, _ face: Int, _ mac: [UInt8], _ body: (inout NeighborMessage) -> Void = { _ in }
  ) -> NetlinkMessage {
    let address = IPAddress(address) ?? .v4(.any)
    var message = NeighborMessage(family: address.family == .ipv4 ? .ipv4 : .ipv6, index: Int32(face) + 2)
    message.destination = address
    message.linkAddress = mac.isEmpty ? nil : mac
    message.state = .permanent
    body(&message)
    return message.request(.createOrReplace)
  }

  /// A route of the main table, of IPv6 where the destination is, or is said to be with `default`.
  static func message(
    _ text: String, _ family: AddressFamily, _ body: (inout RouteMessage) -> Void
  ) -> RouteMessage {
    let prefix = text == "default" ? nil : IPPrefix(text)
    var route = RouteMessage(family: text.contains(":") ? .ipv6 : family)
    route.destination = prefix?.length == 0 ? nil : prefix
    route.table = RouteMessage.mainTable
    route.protocolNumber = .static
    route.type = .unicast
    body(&route)
    return route
  }

  static func route(_ text: String, _ body: (inout RouteMessage) -> Void) -> NetlinkMessage {
    message(text, .ipv4, body).request(.create)
  }

  static func via(_ text: String, _ gateway: String, face: Int? = nil) -> NetlinkMessage {
    route(text) {
      $0.gateway = IPAddress(gateway)
      if let face { $0.outputIndex = Int32(face) + 2 }
    }
  }

  static func refusal(_ text: String, _ type: RouteType) -> NetlinkMessage { route(text) { $0.type = type } }
}

extension KernelOracleTests {
  /// The host's kernel as a router with taps.
  final class Router {
    let name = "netstack-oracle-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    let namespace: KernelNamespace
    let taps: [FileDescriptor]
    let socket: NetlinkSocket

    init(_ setup: OracleSetup = .ipv4) throws {
      try Shell.run("ip", ["netns", "add", name])
      namespace = try KernelNamespace(path: "/run/netns/\(name)")
      let (settings, faces) = (setup.settings, setup.faces)
      (taps, socket) = try namespace.run { (visitor) throws(NetlinkError) in
        for (name, value) in settings { try visitor.writeSysctl(name, value) }
        var taps: [FileDescriptor] = []
        for face in 0..<faces {
          if let name = InterfaceName("t\(face)") { taps.append(try visitor.openTun(TunDevice(name, .tap))) }
        }
        return (taps, try visitor.socket())
      }
      var loopback = LinkMessage(index: 1)
      loopback.set(.up, true)
      for request in [loopback.request(.change)] + setup.requests { _ = try socket.request(request) }
    }

    deinit {
      for tap in taps { try? tap.close() }
      _ = try? Shell.run("ip", ["netns", "del", name])
    }

    func set(_ setting: String, _ value: String) throws {
      try namespace.run { (visitor) throws(NetlinkError) in try visitor.writeSysctl(setting, value) }
    }

    /// The error number of a request.
    func perform(_ request: NetlinkMessage) -> CInt {
      do { _ = try socket.request(request) } catch { return error.errno?.rawValue ?? -1 }
      return 0
    }

    /// What comes out of the taps once a frame has gone into one.
    func answers(to frame: [UInt8]?, by face: Int = 0, wait: Interval = .milliseconds(3)) throws
      -> [[[UInt8]]]
    {
      if let frame {
        let written = unsafe frame.withUnsafeBytes {
          unsafe write(taps[face].rawValue, $0.baseAddress, $0.count)
        }
        try #require(written == frame.count)
      }
      usleep(UInt32(wait.nanoseconds / 1000))
      return taps.map { tap in
        var frames: [[UInt8]] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
          let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(tap.rawValue, $0.baseAddress, $0.count)
          }
          guard count > 0 else { return frames }
          frames.append(Array(buffer.prefix(count)))
        }
      }
    }
  }

  /// The same router, emulated.
  struct Emulated: ~Copyable {
    var kernel: Kernel
    let faces: [DeviceIndex]
    let node: NamespaceIndex

    init(_ setup: OracleSetup = .ipv4, groupsRules: Bool = true, seed: UInt64 = 1) throws {
      var kernel = Kernel(seed: seed, groupsRules: groupsRules)
      let node = try kernel.node(ipv6: true)
      for (name, value) in setup.settings { try kernel.setSysctl(name, to: value, in: node) }
      var faces: [DeviceIndex] = []
      for face in 0..<setup.faces {
        faces.append(try kernel.makeOutside(try #require(InterfaceName("t\(face)")), in: node))
      }
      for request in setup.requests { try kernel.perform(request, in: node) }
      self.kernel = kernel
      self.faces = faces
      self.node = node
    }

    mutating func answers(
      to frame: [UInt8]?, by face: Int = 0, wait: Interval = .milliseconds(3)
    ) -> [[[UInt8]]] {
      if let frame { kernel.inject(frame, into: faces[face]) }
      kernel.run(for: wait)
      var result: [[[UInt8]]] = []
      for face in faces {
        var frames: [[UInt8]] = []
        while let frame = kernel.takeFrame(from: face) { frames.append(frame) }
        result.append(frames)
      }
      return result
    }
  }

  /// Both at once: whatever is done to one is done to the other.
  struct Twins: ~Copyable {
    let router: Router
    var emulated: Emulated

    /// Waits until nobody has anything more to say of having been made.
    init(_ setup: OracleSetup = .ipv4, settled: Interval = .milliseconds(50)) throws {
      let router = try Router(setup)
      var emulated = try Emulated(setup)
      _ = try router.answers(to: nil, wait: settled)
      _ = emulated.answers(to: nil, wait: settled)
      self.router = router
      self.emulated = emulated
    }

    mutating func set(_ setting: String, _ value: String) throws {
      try router.set(setting, value)
      try emulated.kernel.setSysctl(setting, to: value, in: emulated.node)
    }

    mutating func perform(_ request: NetlinkMessage, _ name: String = "") {
      var errno: CInt = 0
      do { try emulated.kernel.perform(request, in: emulated.node) } catch { errno = error.errno }
      #expect(errno == router.perform(request), "\(name)")
    }

    /// A frame, or nothing but time, and what came of it.
    mutating func compare(
      _ name: String, _ frame: [UInt8]?, by face: Int = 0, wait: Interval = .milliseconds(3),
      normal: ([[UInt8]]) -> [[UInt8]] = KernelOracleTests.normal
    ) throws {
      // The kernel's clock has gone on while it was waited for; ours goes on as much.
      let start = ContinuousClock.now
      let expected = try router.answers(to: frame, by: face, wait: wait).map(normal)
      let passed = max(.milliseconds(Int64((ContinuousClock.now - start) / .milliseconds(1))), wait)
      let got = emulated.answers(to: frame, by: face, wait: passed).map(normal)
      #expect(got == expected, "\(name)")
    }
  }
}
