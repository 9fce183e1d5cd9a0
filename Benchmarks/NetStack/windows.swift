// SPDX-License-Identifier: GPL-2.0-or-later

// Congestion windows of ours and of the host's kernel on one path of 100 Mbit/s, 40 ms and a queue of as much as the path
// holds, which an emulated router makes: tbf towards the receiver, netem's delay on the way back. Ours runs in virtual time;
// the host's kernel, as root, behind two taps in real time, so that it wants a machine that does little else, or
// `chrt --fifo 10`. A few minutes, and therefore only when asked for: `netstack-bench windows`.

import Glibc
import NetStack
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage

/// The path, and whoever stands at its ends.
private final class SlowPath {
  static let rate = 12_500_000
  static let roundTrip: Int64 = 40_000_000
  static let product = 500_000

  /// A socket of the host, or of an emulated node.
  enum End {
    case host(Int32)
    case ours(SocketIndex)
  }

  struct Flow {
    var client: End
    var server: End
    var delivered = 0
  }

  private var kernel: Kernel
  private let left: DeviceIndex
  private let right: DeviceIndex
  /// Nodes, or namespaces of the host with the taps between them and the router.
  private var nodes: [NamespaceIndex] = []
  private var hosts: [HostNamespace] = []
  private var taps: [FileDescriptor] = []
  private let start: Int64
  private var port: UInt16 = 5000
  private(set) var flows: [Flow] = []
  private var turn = 0
  /// The longest that nobody carried frames between the host's kernel and the router, nanoseconds.
  private(set) var longestPause: Int64 = 0
  private var lastCarried: Int64 = 0
  private var buffer: [UInt8] = []
  private let piece = [UInt8](repeating: 7, count: 65_536)

  /// Between emulated nodes, or, with a thread, between namespaces of the host.
  init(seed: UInt64, hosts thread: NamespaceThread? = nil) throws {
    start = thread == nil ? 0 : nanoseconds()
    var kernel = Kernel(
      .init(seed: seed, pool: .init(packets: 32_768)), now: Instant(nanoseconds: start))
    let router = try kernel.makeQuietNamespace()
    try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: router)
    var faces: [DeviceIndex] = []
    for (side, name) in ["left", "right"].enumerated() {
      if let thread {
        faces.append(try kernel.makeOutside(deviceName(name), in: router))
        try kernel.setFeature("generic-receive-offload", false, of: faces[side])
        let host = try HostNamespace(thread)
        taps.append(try Self.tap(of: host))
        try host.set("tap0") { $0.set(.up, true) }
        try host.address("10.0.\(side).1/24", "tap0")
        try host.request(Self.route(by: side))
        hosts.append(host)
      } else {
        let node = try kernel.makeQuietNamespace()
        var peer = LinkMessage(name: name)
        peer.namespaceDescriptor = Kernel.descriptor(of: router)
        var link = LinkMessage(name: "eth0")
        link.kind = .veth(peer: peer)
        try kernel.perform(link.request(.create), in: node)
        for device in ["lo", "eth0"] { try kernel.set(device, node) { _ in } }
        try Self.configure(&kernel, "eth0", node, "10.0.\(side).1/24")
        if let device = kernel.device("eth0", in: node) {
          try kernel.setFeature("tcp-segmentation-offload", false, of: device)
        }
        nodes.append(node)
        if let device = kernel.device(name, in: router) { faces.append(device) }
      }
      try kernel.set(name, router) { _ in }
      try Self.configure(&kernel, name, router, "10.0.\(side).254/24")
    }
    for side in nodes.indices { try kernel.perform(Self.route(by: side), in: nodes[side]) }
    var delay = NetemOptions()
    delay.latency = Self.roundTrip
    delay.limit = 50_000
    let limit = TBFOptions(rate: UInt64(Self.rate), burst: 3028, limit: UInt32(Self.product))
    for (name, kind) in [("left", QdiscKind.netem(delay)), ("right", .tbf(limit))] {
      let queue = QdiscMessage(
        index: kernel.index(of: name, in: router) ?? 0, parent: .root, handle: QdiscHandle(major: 1),
        kind: kind)
      try kernel.perform(queue.request(.create), in: router)
    }
    (left, right) = (faces[0], faces[1])
    self.kernel = kernel
  }

  deinit {
    for flow in flows {
      for case .host(let descriptor) in [flow.client, flow.server] { Glibc.close(descriptor) }
    }
    for tap in taps { try? tap.close() }
  }

  private static func configure(
    _ kernel: inout Kernel, _ name: String, _ node: NamespaceIndex, _ text: String
  ) throws {
    guard let index = kernel.index(of: name, in: node), let prefix = IPPrefix(text) else { return }
    try kernel.perform(AddressMessage(prefix, index: index).request(.create), in: node)
  }

  private static func route(by side: Int) -> NetlinkMessage {
    var route = RouteMessage(family: .ipv4)
    route.gateway = .v4(address("10.0.\(side).254"))
    route.table = RouteMessage.mainTable
    route.protocolNumber = .static
    route.type = .unicast
    return route.request(.create)
  }

  private static func tap(of host: HostNamespace) throws -> FileDescriptor {
    let (namespace, device) = (host.namespace, TunDevice(try deviceName("tap0"), .tap))
    return try host.thread.perform { (visitor) throws(NetlinkError) in
      try visitor.enter(namespace)
      return try visitor.openTun(device)
    }
  }

  // MARK: Connections

  /// One more from left to right.
  func connect(_ algorithm: String) throws {
    port += 1
    flows.append(hosts.isEmpty ? try connectNodes(algorithm) : try connectHosts(algorithm))
  }

  private func connectNodes(_ algorithm: String) throws -> Flow {
    let name = SocketAddress(.v4(address("10.0.1.1")), port)
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: nodes[1])
    try kernel.bind(listener, to: name)
    try kernel.listen(listener, backlog: 1)
    let client = try kernel.makeSocket(.tcp(.ipv4), in: nodes[0])
    try kernel.setOption(.congestionControl(algorithm), on: client)
    try? kernel.connect(client, to: name)
    while true {
      run(for: 1_000_000)
      if let server = try? kernel.accept(listener) {
        return Flow(client: .ours(client), server: .ours(server))
      }
    }
  }

  private func connectHosts(_ algorithm: String) throws -> Flow {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = UInt32(0x0a00_0101).bigEndian
    let there = name
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let listener = try hosts[1].open {
      let descriptor = Glibc.socket(AF_INET, kind, 0)
      Self.withName(there) { bind(descriptor, $0, $1) }
      listen(descriptor, 1)
      return descriptor
    }
    let client = try hosts[0].open {
      let descriptor = Glibc.socket(AF_INET, kind, 0)
      // TCP_CONGESTION.
      setsockopt(descriptor, Int32(IPPROTO_TCP), 13, algorithm, socklen_t(algorithm.utf8.count))
      Self.withName(there) { Glibc.connect(descriptor, $0, $1) }
      return descriptor
    }
    defer { Glibc.close(listener) }
    while true {
      run(for: 1_000_000)
      let server = accept(listener, nil, nil)
      _ = fcntl(server, F_SETFL, O_NONBLOCK)
      if server >= 0 { return Flow(client: .host(client), server: .host(server)) }
    }
  }

  @discardableResult
  private static func withName(
    _ name: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    withUnsafePointer(to: name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  /// The congestion window of a flow, in segments.
  func window(_ flow: Int) -> Int {
    switch flows[flow].client {
    case .ours(let socket): return kernel.information(of: socket)?.congestionWindow ?? 0
    case .host(let descriptor):
      var bytes = [UInt32](repeating: 0, count: 64)
      var length = socklen_t(bytes.count * 4)
      // TCP_INFO; tcpi_snd_cwnd.
      guard getsockopt(descriptor, Int32(IPPROTO_TCP), 11, &bytes, &length) == 0 else { return 0 }
      return Int(bytes[20])
    }
  }

  /// Bytes that wait for the narrow link.
  var backlog: Int { kernel.queueStatistics(of: right)?.backlog ?? 0 }

  // MARK: Time

  private var clock: Int64 { hosts.isEmpty ? kernel.now.nanoseconds : nanoseconds() }

  /// Lets so much time pass, with senders that always have something to say and readers that read.
  func run(for interval: Int64) {
    let end = clock + interval
    while clock < end {
      // Whoever is first now is last the next time.
      turn += 1
      for place in flows.indices { use((turn + place) % flows.count) }
      if hosts.isEmpty {
        kernel.run(until: Instant(nanoseconds: min(end, clock + 250_000)))
      } else {
        carry(until: end)
      }
    }
  }

  private func use(_ flow: Int) {
    switch flows[flow].client {
    case .ours(let socket): while (try? kernel.send(piece, on: socket)) == piece.count {}
    case .host(let descriptor): while write(descriptor, piece, piece.count) == piece.count {}
    }
    switch flows[flow].server {
    case .ours(let socket):
      while let message = try? kernel.receive(socket, into: &buffer, limit: 1 << 20) {
        flows[flow].delivered += message.length
      }
    case .host(let descriptor):
      if buffer.isEmpty { buffer = [UInt8](repeating: 0, count: 1 << 20) }
      while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { break }
        flows[flow].delivered += count
      }
    }
  }

  /// Frames between the taps and the router, until nothing more is to be done now; then waits a moment.
  private func carry(until end: Int64) {
    var frame = [UInt8](repeating: 0, count: 2048)
    var isIdle = true
    let now = nanoseconds()
    if lastCarried > 0 { longestPause = max(longestPause, now - lastCarried) }
    lastCarried = now
    for (tap, face) in zip(taps, [left, right]) {
      for _ in 0..<64 {
        let count = read(tap.rawValue, &frame, frame.count)
        guard count > 0 else { break }
        isIdle = false
        kernel.inject(Array(frame.prefix(count)), into: face)
      }
    }
    var result = kernel.poll(now: Instant(nanoseconds: nanoseconds()))
    while result.hasMore { result = kernel.poll(now: Instant(nanoseconds: nanoseconds())) }
    for (tap, face) in zip(taps, [left, right]) {
      while kernel.takeFrame(
        from: face, { frame in frame.withUnsafeBytes { write(tap.rawValue, $0.baseAddress, $0.count) } })
        != nil
      { isIdle = false }
    }
    guard isIdle else { return }
    let next = min(end, result.nextDeadline?.nanoseconds ?? end)
    usleep(UInt32(max(min(next - nanoseconds(), 100_000), 0) / 1000))
  }
}

private func median(_ values: [Int]) -> Int { values.sorted()[values.count / 2] }

/// What one flow's window is at twenty moments, and of the queue the mean and the most in thousandths of what the path
/// holds.
private struct WindowRun {
  var windows: [Int] = []
  var meanQueue = 0
  var mostQueue = 0
  var longestPause: Int64 = 0

  init(_ algorithm: String, seed: UInt64, _ thread: NamespaceThread?) throws {
    let path = try SlowPath(seed: seed, hosts: thread)
    try path.connect(algorithm)
    var (sum, count) = (0, 0)
    for _ in 0..<20 {
      for _ in 0..<50 {
        path.run(for: 10_000_000)
        // The first seconds are those of slow start.
        guard windows.count >= 4 else { continue }
        let queued = path.backlog * 1000 / SlowPath.product
        (sum, count) = (sum + queued, count + 1)
        mostQueue = max(mostQueue, queued)
      }
      windows.append(path.window(0))
    }
    meanQueue = sum / count
    longestPause = path.longestPause
  }
}

private func compareWindows(_ algorithm: String, runs: Int, _ thread: NamespaceThread?) throws {
  let ours = try (1...runs).map { try WindowRun(algorithm, seed: UInt64($0), nil) }
  // Twice as many, of which those count in which frames waited least for this program.
  let theirs = try thread.map { thread in
    try (1...2 * runs).map { try WindowRun(algorithm, seed: UInt64($0), thread) }.sorted {
      $0.longestPause < $1.longestPause
    }.prefix(runs)
  }
  print("\(algorithm), segments at each half second: ours, the kernel's, difference in per cent")
  var within = 0
  for place in 0..<20 {
    let own = median(ours.map { $0.windows[place] })
    guard let theirs else {
      print("  \(Double(place + 1) / 2) s: \(own)")
      continue
    }
    let all = theirs.map { $0.windows[place] }.sorted()
    let difference = (own - median(all)) * 1000 / max(median(all), 1)
    if abs(difference) <= 100 { within += 1 }
    print(
      "  \(Double(place + 1) / 2) s: \(own), \(median(all)) (\(all[0]) to \(all[runs - 1])), \(Double(difference) / 10)"
    )
  }
  if let theirs {
    let pauses = theirs.map { Double($0.longestPause / 100_000) / 10 }
    print(
      "  within 10 per cent: \(within) of 20; frames of the kernel's waited for this program \(pauses) ms at most"
    )
  }
  for (name, all) in [("ours", ours[...]), ("the kernel's", theirs ?? [])] where !all.isEmpty {
    let mean = Double(median(all.map(\.meanQueue))) / 1000
    print("  queue of \(name): mean \(mean), at most \(Double(median(all.map(\.mostQueue))) / 1000) BDP")
  }
}

/// How evenly flows share the path from ten seconds on (Jain's index), and how much of it they use.
private func compareFairness(_ algorithm: String, flows: Int, _ thread: NamespaceThread?) throws {
  for (name, thread) in [("ours", nil), ("the kernel's", thread)] as [(String, NamespaceThread?)] {
    guard name == "ours" || thread != nil else { continue }
    let path = try SlowPath(seed: 1, hosts: thread)
    for _ in 0..<flows {
      try path.connect(algorithm)
      path.run(for: 100_000_000)
    }
    path.run(for: 10_000_000_000)
    let before = path.flows.map(\.delivered)
    path.run(for: 20_000_000_000)
    let shares = zip(path.flows, before).map { Double($0.delivered - $1) }
    let sum = shares.reduce(0, +)
    let index = sum * sum / (Double(flows) * shares.reduce(0) { $0 + $1 * $1 })
    let use = sum / 20 / Double(SlowPath.rate)
    print(
      "\(algorithm), \(flows) flows, \(name): index \((index * 1000).rounded() / 1000), \(Int(use * 100)) per cent"
    )
  }
}

func windows() throws {
  let thread = geteuid() == 0 ? try NamespaceThread() : nil
  if thread == nil { print("the host's kernel beside ours: skipped, needs root") }
  for algorithm in ["cubic", "bbr", "reno"] { try compareWindows(algorithm, runs: 5, thread) }
  for algorithm in ["cubic", "bbr"] {
    for flows in [2, 4, 8] { try compareFairness(algorithm, flows: flows, thread) }
  }
}
