// SPDX-License-Identifier: GPL-2.0-or-later

// The host's kernel doing the same over veth, in the same run: as root only. Frames go in by a packet socket, one call
// each, and the kernel carries them to the other end within that call; what the call alone takes is measured on a pair
// that leads nowhere, and subtracted.

import Glibc
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import SystemPackage

/// A namespace of the host without a name, and a socket to configure it by.
struct HostNamespace {
  let thread: NamespaceThread
  let namespace: KernelNamespace
  let socket: NetlinkSocket

  init(_ thread: NamespaceThread, _ settings: [(String, String)] = []) throws {
    self.thread = thread
    (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      let namespace = try visitor.create(label: "netstack-bench")
      for scope in ["all", "default"] {
        try visitor.writeSysctl("net/ipv6/conf/\(scope)/disable_ipv6", "1")
      }
      for (name, value) in settings { try visitor.writeSysctl(name, value) }
      return (namespace, try visitor.socket())
    }
  }

  func request(_ message: NetlinkMessage) throws { _ = try socket.request(message) }

  func index(of name: String) throws -> Int32 {
    let links = try socket.dump(LinkMessage.dump()).map { try LinkMessage($0) }
    return links.first { $0.name == name }?.index ?? 0
  }

  func received(by name: String) throws -> Int {
    let links = try socket.dump(LinkMessage.dump()).map { try LinkMessage($0) }
    return Int(links.first { $0.name == name }?.statistics?.receivedPackets ?? 0)
  }

  /// A pair, both ends here or one in another namespace, up.
  func pair(_ name: String, _ peerName: String, in other: HostNamespace? = nil) throws {
    var peer = LinkMessage(name: peerName)
    if let other { peer.namespaceDescriptor = other.namespace.descriptor.rawValue }
    var link = LinkMessage(name: name)
    link.kind = .veth(peer: peer)
    try request(link.request(.create))
    // An end cannot come up before it has another one.
    try set(name) { $0.set(.up, true) }
    try (other ?? self).set(peerName) { $0.set(.up, true) }
  }

  func set(_ name: String, _ body: (inout LinkMessage) throws -> Void) throws {
    var link = LinkMessage(name: name)
    try body(&link)
    try request(link.request(.change))
  }

  func address(_ text: String, _ name: String) throws {
    guard let prefix = IPPrefix(text) else { return }
    try request(AddressMessage(prefix, index: index(of: name)).request(.create))
  }

  func open(_ make: @Sendable @escaping () -> Int32) throws -> Int32 {
    let namespace = namespace
    return try thread.perform { (visitor) throws(NetlinkError) in
      try visitor.enter(namespace)
      return make()
    }
  }

  /// Puts rules into the namespace.
  func commit(_ changes: [NftChange]) throws {
    let namespace = namespace
    let rules = try thread.perform { (visitor) throws(NetlinkError) in
      try visitor.enter(namespace)
      return try visitor.nftables()
    }
    try rules.apply(changes)
  }

  /// A packet socket that sends by a device, past its queue.
  func sender(_ name: String) throws -> Int32 { try packetSocket(name, protocol: 0) }

  /// One that hears what comes in as well: ETH_P_ALL.
  func listener(_ name: String) throws -> Int32 { try packetSocket(name, protocol: UInt16(3).bigEndian) }

  private func packetSocket(_ name: String, protocol: UInt16) throws -> Int32 {
    let index = try index(of: name)
    return try open {
      let descriptor = Glibc.socket(AF_PACKET, Int32(SOCK_RAW.rawValue), Int32(`protocol`))
      // struct sockaddr_ll: family, protocol, the device's number, and nothing more that sending asks for.
      var place = [UInt32](repeating: 0, count: 5)
      place[0] = UInt32(AF_PACKET) | UInt32(`protocol`) << 16
      place[1] = UInt32(bitPattern: index)
      _ = place.withUnsafeBytes { bytes in
        bytes.withMemoryRebound(to: sockaddr.self) {
          bind(descriptor, $0.baseAddress, socklen_t(bytes.count))
        }
      }
      var isOn: Int32 = 1
      // SOL_PACKET, PACKET_QDISC_BYPASS.
      setsockopt(descriptor, 263, 20, &isOn, socklen_t(MemoryLayout<Int32>.size))
      return descriptor
    }
  }
}

/// Nanoseconds that a number of frames takes to be sent.
func send(_ frames: inout Frames, _ packets: Int, by descriptor: Int32) -> Int64 {
  var best = Int64.max
  for _ in 0..<3 {
    let start = nanoseconds()
    for _ in 0..<packets {
      let frame = frames.take()
      _ = frame.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
    best = min(best, nanoseconds() - start)
  }
  return best
}

/// What a call alone takes, with a pair whose other end has nobody behind it.
private func callAlone(_ thread: NamespaceThread, _ frames: inout Frames, _ packets: Int) throws
  -> Int64
{
  let host = try HostNamespace(thread)
  try host.pair("a", "b")
  let descriptor = try host.sender("a")
  defer { close(descriptor) }
  // An end that is down takes nothing: the frame ends in the sender's own call.
  try host.set("b") { $0.set(.up, false) }
  return send(&frames, packets, by: descriptor)
}

private func tell(_ name: String, _ spent: Int64, _ alone: Int64, _ packets: Int, arrived: Int) {
  let share = arrived * 100 / (packets * 3)
  report(
    "the host's kernel, \(name) (\(share) % arrived; with the call \((Double(spent) / Double(packets) * 10).rounded() / 10) ns)",
    max(spent - alone, 1), packets)
}

func hostBridgeHop(_ thread: NamespaceThread) throws {
  let host = try HostNamespace(thread)
  var bridge = LinkMessage(name: "br0")
  bridge.kind = .bridge(BridgeOptions())
  bridge.set(.up, true)
  try host.request(bridge.request(.create))
  for (outside, port) in [("a", "pa"), ("b", "pb")] {
    try host.pair(outside, port)
    try host.set(port) { $0.master = try host.index(of: "br0") }
  }
  // The ports forward at once, without a spanning tree.
  usleep(200_000)
  let (left, right) = (try host.sender("a"), try host.sender("b"))
  defer { for descriptor in [left, right] { close(descriptor) } }
  var teachers = Frames(frames: bridgeTeachers())
  _ = send(&teachers, 1000, by: right)
  var frames = Frames(frames: bridgeFrames())
  let packets = 200_000
  let before = try host.received(by: "b")
  let spent = send(&frames, packets, by: left)
  let arrived = try host.received(by: "b") - before
  tell("bridge hop", spent, try callAlone(thread, &frames, packets), packets, arrived: arrived)
}

func hostForwarding(_ thread: NamespaceThread) throws {
  let router = try HostNamespace(thread, [("net/ipv4/ip_forward", "1")])
  let outside = try HostNamespace(thread)
  for (name, subnet) in [("left", "10.0.1.1/24"), ("right", "10.0.2.1/24")] {
    try router.pair(name, name, in: outside)
    try router.address(subnet, name)
  }
  try router.set("left") { $0.macAddress = MACAddress(rawValue: 0x0200_0000_0001) }
  for request in forwardingRequests(right: try router.index(of: "right")) {
    try router.request(request)
  }
  let descriptor = try outside.sender("left")
  defer { close(descriptor) }
  var frames = Frames(frames: forwardingFrames())
  let packets = 200_000
  let before = try outside.received(by: "right")
  let spent = send(&frames, packets, by: descriptor)
  let arrived = try outside.received(by: "right") - before
  tell(
    "IPv4 forwarding, 1,000 routes", spent, try callAlone(thread, &frames, packets), packets,
    arrived: arrived)
}

func hostEcho(_ thread: NamespaceThread) throws {
  let client = try HostNamespace(thread)
  let server = try HostNamespace(thread)
  try client.pair("eth0", "eth0", in: server)
  try client.address("10.0.0.1/24", "eth0")
  try server.address("10.0.0.2/24", "eth0")
  func open(_ host: HostNamespace, _ last: UInt8, _ peer: UInt8) throws -> Int32 {
    try host.open {
      let descriptor = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
      func name(_ last: UInt8) -> sockaddr_in {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = UInt16(7).bigEndian
        name.sin_addr.s_addr = (0x0a00_0000 | UInt32(last)).bigEndian
        return name
      }
      let size = socklen_t(MemoryLayout<sockaddr_in>.size)
      for (address, isPeer) in [(name(last), false), (name(peer), true)] {
        _ = withUnsafePointer(to: address) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            isPeer ? connect(descriptor, $0, size) : bind(descriptor, $0, size)
          }
        }
      }
      return descriptor
    }
  }
  let (a, b) = (try open(client, 1, 2), try open(server, 2, 1))
  defer { for descriptor in [a, b] { close(descriptor) } }
  var buffer = [UInt8](repeating: 7, count: 64)
  func once() {
    _ = write(a, buffer, 32)
    _ = read(b, &buffer, 64)
    _ = write(b, buffer, 32)
    _ = read(a, &buffer, 64)
  }
  once()
  let rounds = 100_000
  var best = Int64.max
  for _ in 0..<3 {
    let start = nanoseconds()
    for _ in 0..<rounds { once() }
    best = min(best, nanoseconds() - start)
  }
  reportEcho("the host's kernel, UDP echo of 32 bytes over veth", best, rounds)
}

/// Nothing but a line when there is no kernel to compare with.
func hostKernel() throws {
  guard geteuid() == 0 else {
    print("the host's kernel beside it: skipped, needs root")
    return
  }
  let thread = try NamespaceThread()
  try hostBridgeHop(thread)
  try hostForwarding(thread)
  try hostEcho(thread)
}
