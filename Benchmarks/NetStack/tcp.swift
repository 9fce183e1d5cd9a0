// SPDX-License-Identifier: GPL-2.0-or-later

// TCP between two nodes on a veth pair, all on one core: what sockets' users, both ends' stacks and the devices cost
// together. Time stands still but for what timers need, so that a figure is processor time.

import NetStack
import NetTypes
import Rtnetlink

/// Two nodes that can reach each other, and a listener in the second.
struct NodePair: ~Copyable {
  var kernel: Kernel
  let client: NamespaceIndex
  let server: NamespaceIndex
  let listener: SocketIndex
  static let name = SocketAddress(.v4(address("10.0.0.2")), 5201)

  static func make() throws -> NodePair {
    var kernel = Kernel(.init(seed: 1), now: Instant(nanoseconds: 0))
    let client = try kernel.makeQuietNamespace()
    let server = try kernel.makeQuietNamespace()
    var peer = LinkMessage(name: "eth0")
    peer.namespaceDescriptor = Kernel.descriptor(of: server)
    var link = LinkMessage(name: "eth0")
    link.kind = .veth(peer: peer)
    try kernel.perform(link.request(.create), in: client)
    for (node, text) in [(client, "10.0.0.1/24"), (server, "10.0.0.2/24")] {
      try kernel.set("lo", node) { _ in }
      try kernel.set("eth0", node) { _ in }
      guard let index = kernel.index(of: "eth0", in: node), let prefix = IPPrefix(text) else { continue }
      try kernel.perform(AddressMessage(prefix, index: index).request(.create), in: node)
    }
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: server)
    try kernel.bind(listener, to: Self.name)
    try kernel.listen(listener, backlog: 1024)
    return NodePair(kernel: kernel, client: client, server: server, listener: listener)
  }

  /// Runs all that is due, and lets a moment pass when nothing is.
  mutating func turn(_ pause: Interval = .microseconds(1)) {
    while kernel.poll(now: kernel.now + pause).hasMore {}
  }

  /// A connection from the first node, and its other end.
  mutating func connect() throws -> (client: SocketIndex, server: SocketIndex) {
    let socket = try kernel.makeSocket(.tcp(.ipv4), in: client)
    try? kernel.connect(socket, to: Self.name)
    for _ in 0..<100 {
      turn(.microseconds(10))
      if let accepted = try? kernel.accept(listener) { return (socket, accepted) }
    }
    fatalError("no connection")
  }
}

/// One stream in pieces of 128 KiB, as iperf3 writes them; without offloads every packet is a segment from one end's
/// device to the other's.
func tcpStream(offloads: Bool) throws {
  var pair = try NodePair.make()
  if !offloads {
    for node in [pair.client, pair.server] {
      guard let device = pair.kernel.device("eth0", in: node) else { continue }
      try pair.kernel.setFeature("tcp-segmentation-offload", false, of: device)
    }
  }
  let (sender, receiver) = try pair.connect()
  let piece = [UInt8](repeating: 7, count: 128 << 10)
  var buffer: [UInt8] = []
  var best = Int64.max
  let total = 1 << 28
  for _ in 0..<3 {
    var received = 0
    let start = processorNanoseconds()
    while received < total {
      let before = received
      while let count = try? pair.kernel.send(piece, on: sender), count == piece.count {}
      pair.turn()
      while let message = try? pair.kernel.receive(receiver, into: &buffer, limit: piece.count) {
        received += message.length
      }
      // Both wait for a timer.
      if received == before { pair.turn(.milliseconds(1)) }
    }
    best = min(best, processorNanoseconds() - start)
  }
  let gigabits = Double(total) * 8 / Double(best)
  print(
    "TCP, one stream, MTU 1500, \(offloads ? "with" : "no") offloads: \((gigabits * 10).rounded() / 10) Gbit/s"
  )
}

/// Messages of 64 bytes one after the other in one direction, each sent and received by itself.
func tcpMessages() throws {
  var pair = try NodePair.make()
  let (sender, receiver) = try pair.connect()
  let message = [UInt8](repeating: 7, count: 64)
  var buffer: [UInt8] = []
  let count = 2_000_000
  let start = processorNanoseconds()
  var (sent, received) = (0, 0)
  while received < count * message.count {
    for _ in 0..<32 where sent < count {
      guard (try? pair.kernel.send(message, on: sender)) != nil else { break }
      sent += 1
    }
    pair.turn()
    while let part = try? pair.kernel.receive(receiver, into: &buffer, limit: message.count) {
      received += part.length
    }
    if sent == count { pair.turn(.milliseconds(1)) }
  }
  let each = Double(processorNanoseconds() - start) / Double(count)
  print("TCP, messages of 64 bytes: \(Int(1e9 / each)) a second")
}

/// A byte there and a byte back.
func tcpRoundTrips() throws {
  var pair = try NodePair.make()
  let (sender, receiver) = try pair.connect()
  try pair.kernel.setOption(.noDelay(true), on: sender)
  try pair.kernel.setOption(.noDelay(true), on: receiver)
  var buffer: [UInt8] = []
  let count = 200_000
  let start = processorNanoseconds()
  for _ in 0..<count {
    for (from, to) in [(sender, receiver), (receiver, sender)] {
      _ = try pair.kernel.send([1], on: from)
      pair.turn()
      _ = try pair.kernel.receive(to, into: &buffer)
    }
  }
  let each = Double(processorNanoseconds() - start) / Double(count)
  print("TCP, round trips of one byte: \(Int(1e9 / each)) a second")
}

/// Connections that are made, used for one byte and closed by the client.
func tcpConnections() throws {
  var pair = try NodePair.make()
  var buffer: [UInt8] = []
  let count = 50_000
  let start = processorNanoseconds()
  for _ in 0..<count {
    let (client, server) = try pair.connect()
    _ = try pair.kernel.send([1], on: client)
    pair.turn()
    _ = try pair.kernel.receive(server, into: &buffer)
    pair.kernel.close(server)
    pair.turn()
    pair.kernel.close(client)
    // Their names are free again after a minute.
    pair.turn(.milliseconds(4))
  }
  let each = Double(processorNanoseconds() - start) / Double(count)
  print("TCP, connections: \(Int(1e9 / each)) a second")
}
