// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge of the host's kernel with four taps, and an emulated one with four faces, get the same messages and the same
// frames; what comes out of each port, and what both have learned of addresses and groups, must be the same.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "A bridge beside the kernel's",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct BridgeOracleTests {
  static let ports = ["t0", "t1", "t2", "t3"]

  /// What happens to both.
  enum Step {
    case frame(Int, [UInt8])
    case port(String, BridgePortOptions)
    case bridge(BridgeOptions)
    case entry(NeighborMessage, String, isNew: Bool)
    case group(MulticastEntry.Group, String, isNew: Bool)
    /// Milliseconds.
    case wait(Int)
  }

  final class Taps: Sendable {
    let descriptors: [FileDescriptor]

    init(_ descriptors: [FileDescriptor]) { self.descriptors = descriptors }

    deinit { for tap in descriptors { try? tap.close() } }
  }

  struct Pair: ~Copyable {
    let namespace: KernelNamespace
    let socket: NetlinkSocket
    private let open: Taps
    var kernel: Kernel
    let node: NamespaceIndex
    let faces: [DeviceIndex]
    var taps: [FileDescriptor] { open.descriptors }
    /// Numbers of the devices there and here.
    var theirs: [String: Int32] = [:]
    var ours: [String: Int32] = [:]

    init() throws {
      let thread = try NamespaceThread()
      let (namespace, socket, taps) = try thread.perform { (visitor) throws(NetlinkError) in
        let namespace = try visitor.create(label: "netstack-bridge")
        try visitor.writeSysctl("net/ipv6/conf/default/disable_ipv6", "1")
        // The bridge device's own memberships are not told.
        try visitor.writeSysctl("net/ipv4/igmp_link_local_mcast_reports", "0")
        var taps: [FileDescriptor] = []
        for text in BridgeOracleTests.ports {
          if let name = InterfaceName(text) { taps.append(try visitor.openTun(TunDevice(name, .tap))) }
        }
        return (namespace, try visitor.socket(), taps)
      }
      var kernel = Kernel()
      let node = try kernel.node()
      var faces: [DeviceIndex] = []
      for text in BridgeOracleTests.ports {
        faces.append(try kernel.makeOutside(try #require(InterfaceName(text)), in: node))
      }
      self.namespace = namespace
      self.socket = socket
      self.open = Taps(taps)
      self.kernel = kernel
      self.node = node
      self.faces = faces
    }

    /// Makes the bridges and their ports.
    mutating func setUp() throws {
      var bridge = LinkMessage(name: "br0")
      bridge.kind = .bridge(BridgeOptions())
      bridge.address = [2, 0, 0, 0, 0, 0xbb]
      bridge.set(.up, true)
      _ = try socket.request(bridge.request(.create))
      try kernel.perform(bridge.request(.create), in: node)
      for message in try socket.dump(LinkMessage.dump()).map({ try LinkMessage($0) }) {
        if let name = message.name { theirs[name] = message.index }
      }
      for name in BridgeOracleTests.ports + ["br0"] { ours[name] = kernel.ifindex(name, node) }
      for (number, name) in BridgeOracleTests.ports.enumerated() {
        try change { numbers in
          var port = LinkMessage(index: numbers[name] ?? 0)
          port.address = [2, 0, 0, 0, 1, UInt8(number)]
          port.master = numbers["br0"]
          port.set(.up, true)
          return port.request(.change)
        }
      }
      usleep(200_000)
      _ = try drain()
    }

    /// Sends a message, made from the numbers that devices have, to both; they must say the same of it.
    mutating func change(_ message: ([String: Int32]) throws -> NetlinkMessage) throws {
      var expected: CInt = 0
      do { _ = try socket.request(try message(theirs)) } catch let error as NetlinkError {
        expected = error.errno?.rawValue ?? -1
      }
      var got: CInt = 0
      do { try kernel.perform(try message(ours), in: node) } catch let error as KernelError {
        got = error.errno
      }
      #expect(got == expected)
    }

    func drain() throws -> [[[UInt8]]] {
      usleep(4000)
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

    /// Puts a frame into a port of both and tells what comes out of all.
    mutating func send(_ frame: [UInt8], _ port: Int) throws -> (got: [[[UInt8]]], expected: [[[UInt8]]]) {
      let written = unsafe frame.withUnsafeBytes {
        unsafe write(taps[port].rawValue, $0.baseAddress, $0.count)
      }
      try #require(written == frame.count)
      let expected = try drain()
      kernel.inject(frame, into: faces[port])
      kernel.run(for: .milliseconds(4))
      let got = faces.map { face in
        var frames: [[UInt8]] = []
        while let frame = kernel.takeFrame(from: face) { frames.append(frame) }
        return frames
      }
      return (got, expected)
    }

    static func addresses(_ messages: [NetlinkMessage], _ numbers: [String: Int32]) throws -> [String] {
      let names = Dictionary(uniqueKeysWithValues: numbers.map { ($1, $0) })
      return try messages.map { try NeighborMessage($0) }.filter { $0.master != nil }.map {
        "\($0.macAddress?.description ?? "-") \(names[$0.index] ?? "?") \($0.state.rawValue) "
          + "\($0.flags.contains(.sticky))"
      }.sorted()
    }

    static func groups(_ messages: [NetlinkMessage], _ numbers: [String: Int32]) throws -> [String] {
      let names = Dictionary(uniqueKeysWithValues: numbers.map { ($1, $0) })
      return try messages.map { try MulticastDatabaseMessage($0) }.flatMap { message in
        message.entries.map { "\($0.group) \(names[$0.port] ?? "?") \($0.isPermanent)" }
          + message.routers.map { "router \(names[$0] ?? "?")" }
      }.sorted()
    }

    mutating func compare(_ step: String) throws {
      let theirAddresses = try Self.addresses(socket.dump(NeighborMessage.dumpForwarding()), theirs)
      let ourAddresses = try Self.addresses(kernel.dump(NeighborMessage.dumpForwarding(), in: node), ours)
      #expect(ourAddresses == theirAddresses, "addresses after \(step)")
      let theirGroups = try Self.groups(socket.dump(MulticastDatabaseMessage.dump()), theirs)
      let ourGroups = try Self.groups(kernel.dump(MulticastDatabaseMessage.dump(), in: node), ours)
      #expect(ourGroups == theirGroups, "groups after \(step)")
    }

    mutating func perform(_ step: Step, _ name: String) throws {
      switch step {
      case .frame(let port, let frame):
        let (got, expected) = try send(frame, port)
        #expect(got == expected, "\(name)")
      case .port(let port, let options):
        try change { numbers in
          var link = LinkMessage(index: numbers[port] ?? 0)
          link.port = .bridge(options)
          return link.request(.change)
        }
      case .bridge(let options):
        try change { numbers in
          var link = LinkMessage(index: numbers["br0"] ?? 0)
          link.kind = .bridge(options)
          return link.request(.change)
        }
      case .entry(let entry, let port, let isNew):
        try change { numbers in
          var entry = entry
          entry.index = numbers[port] ?? 0
          return entry.request(isNew ? .create : .delete)
        }
      case .group(let group, let port, let isNew):
        try change { numbers in
          var message = MulticastDatabaseMessage(index: numbers["br0"] ?? 0)
          message.change = MulticastEntry(group, port: numbers[port] ?? 0, isPermanent: port != "br0")
          return message.request(isNew ? .create : .delete)
        }
      case .wait(let milliseconds):
        usleep(UInt32(milliseconds) * 1000)
        kernel.run(for: .milliseconds(Int64(milliseconds)))
      }
      try compare(name)
    }
  }

  // MARK: Frames

  static func host(_ number: UInt8) -> [UInt8] { [2, 0, 0, 0, 9, number] }

  static func frame(_ source: UInt8, to destination: [UInt8], type: [UInt8] = [0x88, 0xb5]) -> [UInt8] {
    destination + host(source) + type + (0..<46).map { UInt8($0) }
  }

  static func link(_ group: [UInt8]) -> [UInt8] { [1, 0, 0x5e, group[1] & 127, group[2], group[3]] }

  static func packet(_ group: [UInt8], proto: UInt8, _ payload: [UInt8], ttl: UInt8 = 1, from source: UInt8)
    -> [UInt8]
  {
    var packet = KernelOracleTests.IP(source: [10, 0, 0, source], destination: group, proto: proto, ttl: ttl)
    packet.payload = payload
    packet.link = link(group)
    var frame = packet.frame
    frame.replaceSubrange(6..<12, with: host(source))
    return frame
  }

  static func igmp(
    _ type: UInt8, _ group: [UInt8], from source: UInt8, code: UInt8 = 0, to destination: [UInt8]? = nil,
    more: [UInt8] = [], breaksChecksum: Bool = false
  ) -> [UInt8] {
    var message = [type, code, 0, 0] + group + more
    let sum = KernelOracleTests.checksum(message)
    message[2] = sum[0] ^ (breaksChecksum ? 1 : 0)
    message[3] = sum[1]
    return packet(destination ?? group, proto: 2, message, from: source)
  }

  /// A report of version 3 with one record.
  static func report(_ record: UInt8, _ group: [UInt8], from source: UInt8, sources: [[UInt8]] = [])
    -> [UInt8]
  {
    igmp(
      0x22, [0, 0, 0, 1], from: source, to: [224, 0, 0, 22],
      more: [record, 0, 0, UInt8(sources.count)] + group + sources.flatMap { $0 })
  }

  static func data(_ group: [UInt8], from source: UInt8) -> [UInt8] {
    packet(group, proto: 17, [0x30, 0x39, 0, 99, 0, 12, 0, 0, 1, 2, 3, 4], ttl: 9, from: source)
  }

  /// MLD behind a hop-by-hop header with a router alert.
  static func mld(
    _ type: UInt8, _ group: [UInt8], from source: UInt8, delay: UInt8 = 0, to destination: [UInt8],
    body: [UInt8]? = nil, breaksChecksum: Bool = false
  ) -> [UInt8] {
    let address: [UInt8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, source]
    var message: [UInt8] = [type, 0, 0, 0] + (body ?? [0, delay, 0, 0] + group)
    let sum = KernelOracleTests.checksum(
      address + destination + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58] + message)
    message[2] = sum[0] ^ (breaksChecksum ? 1 : 0)
    message[3] = sum[1]
    let extended: [UInt8] = [58, 0, 5, 2, 0, 0, 1, 0] + message
    return [0x33, 0x33] + destination.suffix(4) + host(source) + [0x86, 0xdd, 0x60, 0, 0, 0, 0]
      + [UInt8(extended.count), 0, 1] + address + destination + extended
  }

  static func group6(_ last: UInt8, scope: UInt8 = 5) -> [UInt8] {
    [0xff, scope, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
  }

  static func data6(_ group: [UInt8], from source: UInt8) -> [UInt8] {
    let address: [UInt8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, source]
    return [0x33, 0x33] + group.suffix(4) + host(source) + [0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 9] + address
      + group
      + [0x30, 0x39, 0, 99, 0, 12, 1, 1, 1, 2, 3, 4]
  }

  static func port(_ body: (inout BridgePortOptions) -> Void) -> BridgePortOptions {
    var options = BridgePortOptions()
    body(&options)
    return options
  }

  static func bridge(_ body: (inout BridgeOptions) -> Void) -> BridgeOptions {
    var options = BridgeOptions()
    body(&options)
    return options
  }

  static func entry(_ number: UInt8, _ state: NeighborState, _ flags: NeighborFlags = []) -> NeighborMessage {
    var entry = NeighborMessage(family: .bridge)
    entry.linkAddress = host(number)
    entry.state = state
    entry.flags = flags.union(.master)
    return entry
  }

  private func run(_ steps: [(String, Step)]) throws {
    var pair = try Pair()
    try pair.setUp()
    try pair.compare("the beginning")
    for (name, step) in steps { try pair.perform(step, name) }
    #expect(pair.kernel.accounting.isClosed)
  }

  // MARK: What is compared

  @Test("Learning, flooding, static and sticky entries, hairpin, isolation, link-local groups")
  func forwarding() throws {
    let all: [UInt8] = [255, 255, 255, 255, 255, 255]
    func local(_ last: UInt8) -> [UInt8] { [1, 0x80, 0xc2, 0, 0, last] }
    try run([
      ("an unknown destination", .frame(0, Self.frame(1, to: Self.host(2)))),
      ("an answer", .frame(1, Self.frame(2, to: Self.host(1)))),
      ("a known destination", .frame(0, Self.frame(1, to: Self.host(2)))),
      ("a move", .frame(3, Self.frame(1, to: Self.host(2)))),
      ("a destination behind the same port", .frame(3, Self.frame(4, to: Self.host(1)))),
      ("to all", .frame(2, Self.frame(3, to: all))),
      ("to the bridge", .frame(2, Self.frame(3, to: [2, 0, 0, 0, 0, 0xbb]))),
      ("to a port's own address", .frame(2, Self.frame(3, to: [2, 0, 0, 0, 1, 1]))),
      (
        "from a group",
        .frame(0, Self.host(2) + [3, 0, 0, 0, 0, 1, 0x88, 0xb5] + [UInt8](repeating: 0, count: 46))
      ),
      (
        "from nobody",
        .frame(0, Self.host(2) + [0, 0, 0, 0, 0, 0, 0x88, 0xb5] + [UInt8](repeating: 0, count: 46))
      ),
      (
        "from the bridge's own address",
        .frame(0, Self.host(2) + [2, 0, 0, 0, 0, 0xbb, 0x88, 0xb5] + [UInt8](repeating: 0, count: 46))
      ),
      ("the spanning tree's group", .frame(0, Self.frame(1, to: local(0)))),
      ("pause", .frame(0, Self.frame(1, to: local(1)))),
      ("LACP", .frame(0, Self.frame(7, to: local(2)))),
      ("LLDP", .frame(0, Self.frame(1, to: local(14), type: [0x88, 0xcc]))),
      ("forwarding of LLDP", .bridge(Self.bridge { $0.groupForwardMask = 0x4000 })),
      ("LLDP that is forwarded", .frame(0, Self.frame(1, to: local(14), type: [0x88, 0xcc]))),
      ("forwarding of pause frames", .bridge(Self.bridge { $0.groupForwardMask = 2 })),
      ("forwarding of LACP by a port", .port("t0", Self.port { $0.groupForwardMask = 4 })),
      ("LACP that is forwarded", .frame(0, Self.frame(1, to: local(2)))),
      ("forwarding of pause frames by a port", .port("t0", Self.port { $0.groupForwardMask = 2 })),
      ("a static entry", .entry(Self.entry(20, .noARP), "t3", isNew: true)),
      ("to the static entry", .frame(0, Self.frame(1, to: Self.host(20)))),
      ("the static entry moves", .frame(1, Self.frame(20, to: Self.host(1)))),
      ("a sticky entry", .entry(Self.entry(21, .noARP, .sticky), "t3", isNew: true)),
      ("the sticky entry stays", .frame(1, Self.frame(21, to: Self.host(1)))),
      ("the entry again", .entry(Self.entry(21, .noARP), "t3", isNew: true)),
      ("a local entry", .entry(Self.entry(22, .permanent), "t3", isNew: true)),
      ("to the local entry", .frame(1, Self.frame(2, to: Self.host(22)))),
      ("removal of an entry", .entry(Self.entry(21, .noARP), "t3", isNew: false)),
      ("removal of none", .entry(Self.entry(77, .noARP), "t3", isNew: false)),
      ("hairpin", .port("t3", Self.port { $0.hairpin = true })),
      ("back by the same port", .frame(3, Self.frame(4, to: Self.host(1)))),
      ("back to all", .frame(3, Self.frame(4, to: all))),
      ("isolation", .port("t0", Self.port { $0.isolated = true })),
      ("more isolation", .port("t1", Self.port { $0.isolated = true })),
      ("between isolated ports", .frame(0, Self.frame(1, to: Self.host(2)))),
      ("from an isolated port to all", .frame(0, Self.frame(1, to: all))),
      ("no unicast flood", .port("t2", Self.port { $0.unicastFlood = false })),
      ("to an unknown one", .frame(3, Self.frame(4, to: Self.host(66)))),
      ("no broadcast flood", .port("t2", Self.port { $0.broadcastFlood = false })),
      ("to all but one", .frame(3, Self.frame(4, to: all))),
      ("no multicast flood", .port("t2", Self.port { $0.multicastFlood = false })),
      ("to a group", .frame(3, Self.frame(4, to: [1, 0, 0, 0, 0, 9]))),
      ("no learning", .port("t2", Self.port { $0.learning = false })),
      ("nothing learned", .frame(2, Self.frame(55, to: Self.host(1)))),
      ("a blocked port", .port("t2", Self.port { $0.state = .listening })),
      ("into a blocked port", .frame(2, Self.frame(5, to: Self.host(1)))),
      ("all but the blocked port", .frame(3, Self.frame(4, to: all))),
      ("a state that is none", .port("t2", Self.port { $0.cost = 0 })),
      (
        "a tag that no VLAN filter sees",
        .frame(3, Self.frame(6, to: all, type: [0x81, 0, 0, 7, 0x88, 0xb5]))
      ),
    ])
  }

  @Test("Groups of IPv4: reports of three versions, leaves, queries, routers, entries by configuration")
  func groups() throws {
    let (one, two): ([UInt8], [UInt8]) = ([239, 1, 1, 1], [239, 1, 1, 2])
    let systems: [UInt8] = [224, 0, 0, 1]
    try run([
      ("data without a querier", .frame(0, Self.data(one, from: 1))),
      ("a report without a querier", .frame(1, Self.igmp(0x16, one, from: 2))),
      ("data without a querier still", .frame(0, Self.data(one, from: 1))),
      ("a query", .frame(3, Self.igmp(0x11, [0, 0, 0, 0], from: 100, code: 1, to: systems))),
      ("data while the answers come", .frame(0, Self.data(one, from: 1))),
      ("a while", .wait(200)),
      ("data to the member and the router", .frame(0, Self.data(one, from: 1))),
      ("data of a group without members", .frame(0, Self.data(two, from: 1))),
      ("another report", .frame(2, Self.igmp(0x16, two, from: 3))),
      ("a report of version 1", .frame(1, Self.igmp(0x12, two, from: 2))),
      ("data to both", .frame(0, Self.data(two, from: 1))),
      ("a report of version 3", .frame(0, Self.report(4, one, from: 1))),
      ("data to three", .frame(1, Self.data(one, from: 2))),
      ("to include nothing", .frame(0, Self.report(3, one, from: 1))),
      ("to include a source", .frame(0, Self.report(3, two, from: 1, sources: [[10, 0, 0, 5]]))),
      ("a group of the link", .frame(0, Self.igmp(0x16, [224, 0, 0, 251], from: 1))),
      ("data of the link", .frame(0, Self.data([224, 0, 0, 251], from: 1))),
      ("a leave, which the querier sees to", .frame(2, Self.igmp(0x17, two, from: 3, to: [224, 0, 0, 2]))),
      ("a bad checksum", .frame(2, Self.igmp(0x16, [239, 9, 9, 9], from: 3, breaksChecksum: true))),
      (
        "a report that is too short",
        .frame(2, Self.igmp(0x22, [0, 0, 0, 2], from: 3, to: [224, 0, 0, 22], more: [4, 0, 0, 0] + one))
      ),
      ("a general query to a group", .frame(2, Self.igmp(0x11, [0, 0, 0, 0], from: 100, code: 1, to: one))),
      (
        "a query from a larger address",
        .frame(2, Self.igmp(0x11, [0, 0, 0, 0], from: 200, code: 1, to: systems))
      ),
      (
        "a query from a smaller one",
        .frame(2, Self.igmp(0x11, [0, 0, 0, 0], from: 50, code: 1, to: systems))
      ),
      (
        "a query of version 3",
        .frame(3, Self.igmp(0x11, [0, 0, 0, 0], from: 50, code: 1, to: systems, more: [2, 125, 0, 0]))
      ),
      ("a packet that claims more", .frame(0, Array(Self.data(one, from: 1).dropLast(4)))),
      ("a router by configuration", .port("t0", Self.port { $0.multicastRouter = 2 })),
      ("data to the router", .frame(1, Self.data([239, 7, 7, 7], from: 2))),
      ("a port without routers", .port("t3", Self.port { $0.multicastRouter = 0 })),
      ("data not to the router", .frame(1, Self.data([239, 7, 7, 7], from: 2))),
      ("a group by configuration", .group(.internet(.v4(v4("239.5.5.5"))), "t2", isNew: true)),
      ("data to it", .frame(1, Self.data([239, 5, 5, 5], from: 2))),
      ("the group again", .group(.internet(.v4(v4("239.5.5.5"))), "t2", isNew: true)),
      ("no group", .group(.internet(.v4(v4("10.5.5.5"))), "t2", isNew: true)),
      ("a group of the link by configuration", .group(.internet(.v4(v4("224.0.0.5"))), "t2", isNew: true)),
      ("a group by its address", .group(.link(MACAddress(rawValue: 0x0100_0000_0009)), "t2", isNew: true)),
      ("data to the address", .frame(1, Self.frame(2, to: [1, 0, 0, 0, 0, 9]))),
      ("removal of a group", .group(.internet(.v4(v4("239.5.5.5"))), "t2", isNew: false)),
      ("removal of none", .group(.internet(.v4(v4("239.5.5.5"))), "t2", isNew: false)),
      ("fast leave", .port("t2", Self.port { $0.fastLeave = true })),
      ("a fast leave", .frame(2, Self.igmp(0x17, two, from: 3, to: [224, 0, 0, 2]))),
      ("no snooping", .bridge(Self.bridge { $0.multicastSnooping = false })),
      ("data to all", .frame(0, Self.data(two, from: 1))),
    ])
  }

  @Test("Groups of IPv6: reports of two versions, done, queries")
  func groups6() throws {
    let (one, two) = (Self.group6(1), Self.group6(2))
    let nodes = Self.group6(1, scope: 2)
    let routers = Self.group6(2, scope: 2)
    let reporters = Self.group6(22, scope: 2)
    func record(_ type: UInt8, _ group: [UInt8]) -> [UInt8] { [0, 0, 0, 1, type, 0, 0, 0] + group }
    try run([
      (
        "a query", .frame(3, Self.mld(130, [UInt8](repeating: 0, count: 16), from: 100, delay: 50, to: nodes))
      ),
      ("a while", .wait(150)),
      ("a report", .frame(1, Self.mld(131, one, from: 2, to: one))),
      ("a report of version 2", .frame(2, Self.mld(143, [], from: 3, to: reporters, body: record(4, two)))),
      ("data", .frame(0, Self.data6(one, from: 1))),
      ("data of the other", .frame(0, Self.data6(two, from: 1))),
      ("data of none", .frame(0, Self.data6(Self.group6(9), from: 1))),
      ("data to all nodes", .frame(0, Self.data6(nodes, from: 1))),
      ("done", .frame(1, Self.mld(132, one, from: 2, to: routers))),
      ("a bad checksum", .frame(1, Self.mld(131, Self.group6(8), from: 2, to: one, breaksChecksum: true))),
      ("a report without records", .frame(1, Self.mld(143, [], from: 3, to: reporters, body: [0, 0, 0, 1]))),
      (
        "a general query to a group",
        .frame(1, Self.mld(130, [UInt8](repeating: 0, count: 16), from: 1, delay: 50, to: one))
      ),
      ("to include nothing", .frame(2, Self.mld(143, [], from: 3, to: reporters, body: record(3, two)))),
    ])
  }
}
