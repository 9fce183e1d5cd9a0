// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets of emulated nodes: round trips of UDP over a pair, and a thousand nodes that ping each other a million times
// while every link loses a hundredth.

import Glibc
import NetStack
import NetTypes
import Rtnetlink

func reportEcho(_ name: String, _ nanoseconds: Int64, _ rounds: Int) {
  let each = Double(nanoseconds) / Double(rounds)
  print(
    "\(name): \((each / 10).rounded() / 100) µs a round trip, \(Int(1_000_000_000 / each)) a second"
  )
}

func udpRoundTrips() throws {
  var pair = try NodePair.make()
  var sockets: [SocketIndex] = []
  for (number, node) in [pair.client, pair.server].enumerated() {
    let socket = try pair.kernel.makeSocket(.udp(.ipv4), in: node)
    try pair.kernel.bind(socket, to: SocketAddress(.v4(address("10.0.0.\(number + 1)")), 7))
    try pair.kernel.connect(socket, to: SocketAddress(.v4(address("10.0.0.\(2 - number)")), 7))
    sockets.append(socket)
  }
  let data = [UInt8](repeating: 7, count: 32)
  var answer: [UInt8] = []
  func once(_ kernel: inout Kernel) throws {
    for number in 0...1 {
      try kernel.send(data, on: sockets[number])
      while kernel.poll(now: kernel.now).hasMore {}
      _ = try kernel.receive(sockets[1 - number], into: &answer)
    }
  }
  try once(&pair.kernel)
  let rounds = 500_000
  var best = Int64.max
  for _ in 0..<3 {
    let start = nanoseconds()
    for _ in 0..<rounds { try once(&pair.kernel) }
    best = min(best, nanoseconds() - start)
  }
  reportEcho("UDP echo of 32 bytes over veth", best, rounds)
}

func manyPings() throws {
  let (count, rounds) = (1000, 1000)
  var kernel = Kernel(.init(seed: 1), now: Instant(nanoseconds: 0))
  let network = try kernel.makeQuietNamespace()
  var bridge = LinkMessage(name: "br0")
  bridge.kind = .bridge(BridgeOptions())
  bridge.set(.up, true)
  try kernel.perform(bridge.request(.create), in: network)
  let master = kernel.index(of: "br0", in: network)
  var sockets: [SocketIndex] = []
  for number in 0..<count {
    let node = try kernel.makeQuietNamespace()
    try kernel.setSysctl("net/ipv4/ping_group_range", to: "0 0", in: node)
    var peer = LinkMessage(name: "p\(number)")
    peer.namespaceDescriptor = Kernel.descriptor(of: network)
    peer.master = master
    peer.set(.up, true)
    var link = LinkMessage(name: "eth0")
    link.kind = .veth(peer: peer)
    link.set(.up, true)
    try kernel.perform(link.request(.create), in: node)
    guard let index = kernel.index(of: "eth0", in: node),
      let prefix = IPPrefix("10.0.\(number >> 8).\(number & 255)/16")
    else { return }
    try kernel.perform(AddressMessage(prefix, index: index).request(.create), in: node)
    var netem = NetemOptions()
    netem.loss = NetemOptions.probability(0.01)
    netem.seed = UInt64(number)
    let queue = QdiscMessage(
      index: index, parent: .root, handle: QdiscHandle(major: 1), kind: .netem(netem))
    try kernel.perform(queue.request(.createOrReplace), in: node)
    sockets.append(try kernel.makeSocket(.ping(.ipv4), in: node))
  }
  let request: [UInt8] = [8, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 7, count: 56)
  var answer: [UInt8] = []
  var replies = 0
  let begin = kernel.now
  let start = nanoseconds()
  for round in 0..<rounds {
    for number in 0..<count {
      // A few neighbours each, as hosts have.
      let other = (number + 1 + round % 8) % count
      try kernel.send(
        request, on: sockets[number],
        to: SocketAddress(.v4(address("10.0.\(other >> 8).\(other & 255)"))))
    }
    kernel.run(for: .seconds(1))
    for socket in sockets {
      while (try? kernel.receive(socket, into: &answer)) != nil { replies += 1 }
      _ = kernel.takeError(of: socket)
    }
  }
  let spent = Double(nanoseconds() - start) / 1e9
  let passed = (kernel.now.nanoseconds - begin.nanoseconds) / 1_000_000_000
  print(
    "\(count * rounds) pings of \(count) nodes under 1 % loss: \(replies) answered, \(passed) s of virtual time in "
      + "\((spent * 10).rounded() / 10) s")
}
