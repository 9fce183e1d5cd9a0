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
  let master = try kernel.makeBridge("br0", in: network)
  var sockets: [SocketIndex] = []
  for number in 0..<count {
    let (node, index) = try kernel.makeNode(number, on: master, of: network)
    try kernel.setSysctl("net/ipv4/ping_group_range", to: "0 0", in: node)
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
  // A few neighbours each, as hosts have; they are asked for one after the other, since every node hears every question.
  func other(_ number: Int, _ round: Int) -> Int { (number + 1 + round % 8) % count }
  for round in 0..<8 {
    for number in 0..<count {
      try kernel.send(
        request, on: sockets[number], to: SocketAddress(.v4(Kernel.address(ofNode: other(number, round)))))
      kernel.run(for: .microseconds(100))
    }
  }
  kernel.run(for: .seconds(4))
  for socket in sockets { while (try? kernel.receive(socket, into: &answer)) != nil {} }
  let begin = kernel.now
  let start = nanoseconds()
  for round in 0..<rounds {
    for number in 0..<count {
      try kernel.send(
        request, on: sockets[number],
        to: SocketAddress(.v4(Kernel.address(ofNode: other(number, round)))))
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
