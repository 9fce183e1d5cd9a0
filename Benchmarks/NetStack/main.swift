// SPDX-License-Identifier: GPL-2.0-or-later

// How fast the emulated kernel is on one core and on two, beside the host's kernel doing the same, and what an idle node
// takes. Of frames only `poll` is timed: they are put into the ring before and taken from the other one after, so that the
// generator's cost is not in the figures.
//
//    swift build -c release --product netstack-bench && .build/release/netstack-bench

import Glibc
import NetStack
import NetTypes
import Rtnetlink

func nanoseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Of this thread's processor time: what others run beside makes no difference but for the caches.
func processorNanoseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

func residentBytes() -> Int {
  var text = [UInt8](repeating: 0, count: 256)
  let file = open("/proc/self/statm", O_RDONLY)
  guard file >= 0 else { return 0 }
  defer { close(file) }
  let count = read(file, &text, text.count)
  let fields = String(decoding: text.prefix(max(count, 0)), as: UTF8.self).split(separator: " ")
  return fields.count > 1 ? (Int(fields[1]) ?? 0) * 4096 : 0
}

func address(_ text: String) -> IPv4Address { IPv4Address(text) ?? .any }

extension Kernel {
  mutating func set(
    _ name: String, _ namespace: NamespaceIndex, _ body: (inout LinkMessage) -> Void
  ) throws {
    var link = LinkMessage(name: name)
    link.set(.up, true)
    body(&link)
    try perform(link.request(.change), in: namespace)
  }
}

/// Whether a figure was asked for: all are, unless words on the command line choose.
func isWanted(_ name: String) -> Bool {
  CommandLine.arguments.count == 1 || CommandLine.arguments.dropFirst().contains(name)
}

func report(_ name: String, _ nanoseconds: Int64, _ packets: Int) {
  let each = Double(nanoseconds) / Double(packets)
  let text =
    "\(name): \((each * 10).rounded() / 10) ns a packet, \((10_000 / each).rounded() / 10) Mpps"
  print(text)
}

/// Puts rounds of frames into one face, polls, and takes them from another; the time of the polls alone.
func measure(
  _ kernel: inout Kernel, from: DeviceIndex, to: DeviceIndex, _ frames: inout Frames, round: Int,
  packets: Int
) -> Int64 {
  var best = Int64.max
  for _ in 0..<5 {
    var spent: Int64 = 0
    var sent = 0
    var arrived = 0
    var now = kernel.now
    while sent < packets {
      for _ in 0..<round { kernel.inject(frames.take(), into: from) }
      sent += round
      now = now + .microseconds(10)
      let start = processorNanoseconds()
      while kernel.poll(now: now).hasMore {}
      spent += processorNanoseconds() - start
      while kernel.takeFrame(from: to, { _ in () }) != nil { arrived += 1 }
    }
    guard arrived == sent else { fatalError("\(sent) sent, \(arrived) arrived") }
    best = min(best, spent)
  }
  return best
}

func bridgeHop(burst: Int) throws {
  var kernel = Kernel(.init(seed: 1, burst: burst), now: Instant(nanoseconds: 0))
  let network = try kernel.makeQuietNamespace()
  var bridge = LinkMessage(name: "br0")
  bridge.kind = .bridge(BridgeOptions())
  bridge.set(.up, true)
  try kernel.perform(bridge.request(.create), in: network)
  let master = kernel.index(of: "br0", in: network)
  var ports: [DeviceIndex] = []
  for name in ["a", "b"] {
    ports.append(try kernel.makeOutside(deviceName(name), in: network))
    try kernel.set(name, network) { $0.master = master }
  }
  for teacher in bridgeTeachers() {
    kernel.inject(teacher, into: ports[1])
    while kernel.poll(now: kernel.now).hasMore {}
    while kernel.takeFrame(from: ports[0], { _ in () }) != nil {}
  }
  var frames = Frames(frames: bridgeFrames())
  let packets = 512_000
  let spent = measure(&kernel, from: ports[0], to: ports[1], &frames, round: 256, packets: packets)
  report("bridge hop, 64 bytes, 1,000 + 1,000 hosts, bursts of \(burst)", spent, packets)
}

func forwarding(burst: Int) throws {
  var kernel = Kernel(.init(seed: 1, burst: burst), now: Instant(nanoseconds: 0))
  let router = try kernel.makeQuietNamespace()
  try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: router)
  var faces: [DeviceIndex] = []
  for (name, subnet) in [("left", "10.0.1.1/24"), ("right", "10.0.2.1/24")] {
    guard let valid = InterfaceName(name), let prefix = IPPrefix(subnet) else { return }
    faces.append(
      try kernel.makeOutside(valid, in: router, mac: MACAddress(rawValue: 0x0200_0000_0001)))
    try kernel.set(name, router) { _ in }
    guard let index = kernel.index(of: name, in: router) else { return }
    try kernel.perform(AddressMessage(prefix, index: index).request(.create), in: router)
  }
  guard let right = kernel.index(of: "right", in: router) else { return }
  for request in forwardingRequests(right: right) { try kernel.perform(request, in: router) }
  var frames = Frames(frames: forwardingFrames())
  let packets = 512_000
  let spent = measure(&kernel, from: faces[0], to: faces[1], &frames, round: 256, packets: packets)
  report("IPv4 forwarding, 64 bytes, 1,000 routes, 4,096 flows, bursts of \(burst)", spent, packets)
}

/// Pings across a chain of routers, one packet at a time: what a simulation in virtual time mostly does.
func simulation() throws {
  var kernel = Kernel(.init(seed: 1), now: Instant(nanoseconds: 0))
  let hops = 8
  var nodes: [NamespaceIndex] = []
  for _ in 0...hops { nodes.append(try kernel.makeQuietNamespace()) }
  for (number, node) in nodes.enumerated() {
    try kernel.set("lo", node) { _ in }
    try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
    guard number < hops else { continue }
    var peer = LinkMessage(name: "left")
    peer.namespaceDescriptor = Kernel.descriptor(of: nodes[number + 1])
    var link = LinkMessage(name: "right")
    link.kind = .veth(peer: peer)
    try kernel.perform(link.request(.create), in: node)
    for (name, at, host) in [("right", node, 1), ("left", nodes[number + 1], 2)] {
      try kernel.set(name, at) { _ in }
      guard let index = kernel.index(of: name, in: at),
        let prefix = IPPrefix("10.0.\(number).\(host)/24")
      else { return }
      try kernel.perform(AddressMessage(prefix, index: index).request(.create), in: at)
    }
  }
  func addRoute(_ destination: String?, _ gateway: String, _ node: NamespaceIndex) throws {
    var route = RouteMessage(family: .ipv4)
    route.destination = destination.flatMap { IPPrefix($0) }
    route.gateway = IPAddress(gateway)
    route.type = .unicast
    route.table = RouteMessage.mainTable
    try kernel.perform(route.request(.create), in: node)
  }
  for number in 0..<hops {
    try addRoute("10.0.\(hops - 1).2/32", "10.0.\(number).2", nodes[number])
  }
  for number in 2...hops { try addRoute("10.0.0.0/24", "10.0.\(number - 1).1", nodes[number]) }
  try kernel.setSysctl("net/ipv4/ping_group_range", to: "0 0", in: nodes[0])
  let socket = try kernel.makeSocket(.ping(.ipv4), in: nodes[0])
  let target = SocketAddress(.v4(address("10.0.\(hops - 1).2")))
  let request: [UInt8] = [8, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 7, count: 56)
  var answer: [UInt8] = []
  let pings = 50_000
  var replies = 0
  let start = nanoseconds()
  for _ in 0..<pings {
    try kernel.send(request, on: socket, to: target)
    kernel.run(for: .microseconds(100))
    while (try? kernel.receive(socket, into: &answer)) != nil { replies += 1 }
  }
  let spent = nanoseconds() - start
  guard replies >= pings - 16 else { fatalError("\(replies) replies of \(pings)") }
  report(
    "virtual time, pings over \(hops) hops, bursts of one, a packet a hop", spent, pings * hops * 2)
}

func memory() throws {
  let count = 10_000
  var kernel = Kernel(.init(seed: 1), now: Instant(nanoseconds: 0))
  let before = residentBytes()
  let start = nanoseconds()
  let network = try kernel.makeQuietNamespace()
  var master: Int32 = 0
  for number in 0..<count {
    if number % 1000 == 0 { master = try kernel.makeBridge("lan\(number / 1000)", in: network) }
    _ = try kernel.makeNode(number, on: master, of: network)
  }
  let spent = nanoseconds() - start
  let bytes = (residentBytes() - before) / count
  print("idle node on a bridge: \(bytes) bytes; \(count) of them made in \(spent / 1_000_000) ms")
}

for burst in [64, 1] {
  if isWanted("bridge") { try bridgeHop(burst: burst) }
  if isWanted("forwarding") { try forwarding(burst: burst) }
}
if isWanted("simulation") { try simulation() }
if isWanted("udp") { try udpRoundTrips() }
if isWanted("pings") { try manyPings() }
if isWanted("rules") { try rules() }
if CommandLine.arguments.contains("nat") { try translated() }
if isWanted("tcp") {
  for offloads in [false, true] { try tcpStream(offloads: offloads) }
  try tcpMessages()
  try tcpRoundTrips()
  try tcpConnections()
  try hostTCP()
}
if isWanted("kernel") { try hostKernel() }
if isWanted("crossing") { try crossing() }
if isWanted("memory") { try memory() }
if CommandLine.arguments.dropFirst().contains("windows") { try windows() }

extension Kernel {
  /// A namespace that says nothing unasked.
  mutating func makeQuietNamespace() throws(KernelError) -> NamespaceIndex {
    let namespace = try makeNamespace()
    try setSysctl("net/ipv6/conf/all/disable_ipv6", to: "1", in: namespace)
    return namespace
  }

  /// A bridge, and its number.
  mutating func makeBridge(_ name: String, in network: NamespaceIndex) throws -> Int32 {
    var bridge = LinkMessage(name: name)
    bridge.kind = .bridge(BridgeOptions())
    bridge.set(.up, true)
    try perform(bridge.request(.create), in: network)
    return index(of: name, in: network) ?? 0
  }

  /// A node with an address of its number, on a bridge; and the number of its device.
  mutating func makeNode(
    _ number: Int, on master: Int32, of network: NamespaceIndex
  ) throws -> (NamespaceIndex, Int32) {
    let node = try makeQuietNamespace()
    try set("lo", node) { _ in }
    var peer = LinkMessage(name: "p\(number)")
    peer.namespaceDescriptor = Self.descriptor(of: network)
    peer.master = master
    peer.set(.up, true)
    var link = LinkMessage(name: "eth0")
    link.kind = .veth(peer: peer)
    link.set(.up, true)
    try perform(link.request(.create), in: node)
    let index = index(of: "eth0", in: node) ?? 0
    guard let prefix = IPPrefix("\(Self.address(ofNode: number))/8") else { return (node, index) }
    try perform(AddressMessage(prefix, index: index).request(.create), in: node)
    return (node, index)
  }

  static func address(ofNode number: Int) -> IPv4Address {
    IPv4Address(rawValue: 10 << 24 | UInt32(number))
  }
}
