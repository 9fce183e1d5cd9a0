// SPDX-License-Identifier: GPL-2.0-or-later

// Packets of many segments: where they are cut, when they are joined, and that neither changes what arrives.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Segmentation and receive offload")
struct OffloadTests {
  /// Two nodes and a router between them, each link a pair.
  struct Chain: ~Copyable {
    var kernel: Kernel
    let nodes: [NamespaceIndex]

    init(burst: Int = 64) throws {
      var kernel = Kernel(burst: burst)
      let nodes = [try kernel.node(), try kernel.node(), try kernel.node()]
      try kernel.veth("eth0", nodes[0], "left", nodes[1])
      try kernel.veth("right", nodes[1], "eth0", nodes[2])
      try kernel.address("10.0.0.1/24", "eth0", nodes[0])
      try kernel.address("10.0.0.2/24", "left", nodes[1])
      try kernel.address("10.0.1.2/24", "right", nodes[1])
      try kernel.address("10.0.1.3/24", "eth0", nodes[2])
      try kernel.route("default", via: "10.0.0.2", nodes[0])
      try kernel.route("default", via: "10.0.1.2", nodes[2])
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: nodes[1])
      self.kernel = kernel
      self.nodes = nodes
    }

    mutating func setFeature(_ name: String, _ isOn: Bool, of device: String, _ node: Int) throws {
      try kernel.setFeature(name, isOn, of: kernel.find(device, nodes[node]))
    }

    /// Sends bytes over a connection of its own and tells what arrives.
    mutating func carry(_ bytes: [UInt8]) throws -> [UInt8] {
      let listener = try kernel.makeSocket(.tcp(.ipv4), in: nodes[2])
      try kernel.bind(listener, to: name("0.0.0.0", 80))
      try kernel.listen(listener, backlog: 1)
      let client = try kernel.makeSocket(.tcp(.ipv4), in: nodes[0])
      _ = failure { try kernel.connect(client, to: name("10.0.1.3", 80)) }
      for _ in 0..<100 where kernel.readiness(of: listener).isEmpty { kernel.run(for: .milliseconds(100)) }
      let server = try kernel.accept(listener)
      var (sent, received, buffer): (Int, [UInt8], [UInt8]) = (0, [], [])
      for _ in 0..<20_000 where received.count < bytes.count {
        while sent < bytes.count,
          let count = try? kernel.send(Array(bytes[sent..<min(sent + 65_536, bytes.count)]), on: client)
        {
          sent += count
        }
        kernel.run(for: .microseconds(200))
        while let message = try? kernel.receive(server, into: &buffer), message.length > 0 {
          received += buffer
        }
      }
      for socket in [client, server, listener] { kernel.close(socket) }
      return received
    }
  }

  static func isSummed(_ frame: [UInt8]) -> Bool {
    frame.withUnsafeBytes { bytes in
      guard let frame = unsafe PacketBytes(reading: bytes) else { return false }
      let network = frame.dropFirst(EthernetHeader.length)
      return (network.u8(0) >> 4 == 6 || network.ipv4Checksum() == 0)
        && TransportOffsets(of: frame)?.isChecksumGood(in: frame) == true
    }
  }

  @Test(
    "A veth carries many segments as one packet, as the kernel's does, and one without the feature has them cut"
  )
  func wholeAndCut() throws {
    var packets: [Int] = []
    for isOn in [true, false] {
      var chain = try Chain()
      try chain.setFeature("tcp-segmentation-offload", isOn, of: "right", 1)
      chain.kernel.setCapture(true, on: try chain.kernel.find("right", chain.nodes[1]))
      let bytes = TCPTests.pattern(1_000_000, 3)
      #expect(try chain.carry(bytes) == bytes)
      let frames = chain.kernel.takeCapture().filter { $0.direction == .transmitted }.map(\.frame)
      #expect(frames.allSatisfy { $0[12...13] != [8, 0] || Self.isSummed($0) })
      let largest = frames.map(\.count).max() ?? 0
      if isOn { #expect(largest > 30_000) } else { #expect(largest == 1514) }
      packets.append(frames.count)
      #expect(chain.kernel.softnet.segmented == 0 || !isOn)
      chain.kernel.run(for: .seconds(120))
      #expect(chain.kernel.accounting.isClosed && chain.kernel.accounting.held == 0)
      // A ring of 256 does not take so many segments at once.
      #expect(chain.kernel.counted(chain.nodes[0])[.tcpRetransSegs] == 0 || !isOn)
    }
    #expect(packets[0] * 5 < packets[1])
  }

  @Test("Segments have consecutive numbers and identifications; the last alone is pushed")
  func segmentHeaders() throws {
    let link = try UnreliableLink(seed: 1)
    let (_, client, _) = try TCPTests.connection(link)
    while link.kernel.takeFrame(from: link.faces[0]) != nil {}
    try link.kernel.send(TCPTests.pattern(5 * 1448, 1), on: client)
    _ = link.kernel.poll(now: link.kernel.now)
    var frames: [[UInt8]] = []
    while let frame = link.kernel.takeFrame(from: link.faces[0]) { frames.append(frame) }
    #expect(frames.count == 5)
    #expect(frames.allSatisfy { Self.isSummed($0) && $0.count == 1514 })
    func word(_ frame: [UInt8], _ place: Int) -> Int { Int(frame[place]) << 8 | Int(frame[place + 1]) }
    func sequence(_ frame: [UInt8]) -> UInt32 {
      UInt32(word(frame, 38)) << 16 | UInt32(word(frame, 40))
    }
    for (number, frame) in frames.enumerated() {
      #expect(word(frame, 18) == (word(frames[0], 18) + number) & 0xffff)
      #expect(sequence(frame) == sequence(frames[0]) &+ UInt32(number * 1448))
      #expect(frame[47] == (number == 4 ? 0x18 : 0x10))
    }
  }

  @Test("A narrower link behind a router is told to the sender, as of packets that were cut before")
  func narrowLink() throws {
    var chain = try Chain()
    try chain.kernel.change("right", chain.nodes[1]) { $0.mtu = 1000 }
    let bytes = TCPTests.pattern(300_000, 4)
    #expect(try chain.carry(bytes) == bytes)
    #expect(chain.kernel.counted(chain.nodes[1])[.ipFragFails] > 0)
    #expect(chain.kernel.statistics("right", chain.nodes[1]).txPackets > 0)
  }

  @Test("Rules of a queue that no large packet could pass see segments", arguments: [true, false])
  func queues(_ isBucket: Bool) throws {
    var chain = try Chain()
    var netem = NetemOptions()
    netem.latency = 1_000_000
    netem.corrupt = NetemOptions.probability(0.05)
    netem.seed = 5
    let bucket = TBFOptions(rate: 12_500_000, burst: 10_000, limit: 300_000)
    let message = QdiscMessage(
      index: chain.kernel.ifindex("right", chain.nodes[1]), parent: .root, handle: QdiscHandle(major: 1),
      kind: isBucket ? .tbf(bucket) : .netem(netem))
    try chain.kernel.perform(message.request(.createOrReplace), in: chain.nodes[1])
    let bytes = TCPTests.pattern(500_000, 6)
    #expect(try chain.carry(bytes) == bytes)
    #expect(chain.kernel.softnet.segmented > 0)
    chain.kernel.run(for: .seconds(120))
    #expect(chain.kernel.accounting.isClosed && chain.kernel.accounting.held == 0)
    for device in [try chain.kernel.find("right", chain.nodes[1])] {
      let queue = chain.kernel.devices[device].qdisc
      #expect(chain.kernel.qdiscs[queue].statistics.queueLength == 0)
      #expect(chain.kernel.qdiscs[queue].statistics.backlog == 0)
    }
  }

  // MARK: Joining

  /// A router with two cards, and the frames of a train.
  struct Router: ~Copyable {
    var kernel: Kernel
    let node: NamespaceIndex
    let faces: [DeviceIndex]

    init(burst: Int = 64, joins: Bool = true) throws {
      var kernel = Kernel(burst: burst)
      let node = try kernel.node()
      var faces: [DeviceIndex] = []
      for (number, text) in ["left", "right"].enumerated() {
        let mac = MACAddress(rawValue: 0x0200_0000_0010 + UInt64(number))
        faces.append(try kernel.makeOutside(try #require(InterfaceName(text)), in: node, mac: mac))
        try kernel.set(text, up: true, in: node)
        try kernel.address("10.0.\(number).1/24", text, node)
        try kernel.setFeature("generic-receive-offload", joins, of: faces[number])
      }
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
      var neighbor = NeighborMessage(family: .ipv4, index: kernel.ifindex("right", node))
      neighbor.destination = .v4(v4("10.0.1.2"))
      neighbor.linkAddress = [2, 0, 0, 0, 0, 0x99]
      neighbor.state = .permanent
      try kernel.perform(neighbor.request(.createOrReplace), in: node)
      self.kernel = kernel
      self.node = node
      self.faces = faces
    }

    mutating func pass(_ frames: [[UInt8]]) -> [[UInt8]] {
      for frame in frames { kernel.inject(frame, into: faces[0]) }
      kernel.run(for: .microseconds(10))
      var out: [[UInt8]] = []
      while let frame = kernel.takeFrame(from: faces[1]) { out.append(frame) }
      kernel.run(for: .microseconds(10))
      return out
    }
  }

  struct Segment {
    var port: UInt16 = 1000
    var id: UInt16
    var ttl: UInt8 = 64
    var tos: UInt8 = 0
    var dontFragment = true
    var sequence: UInt32
    var acknowledgment: UInt32 = 1
    var flags: UInt8 = 0x10
    var window: UInt16 = 500
    var time: UInt32 = 7
    var length = 1000
    var padding = 0

    var frame: [UInt8] {
      func bytes(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
      }
      func bytes(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }
      let payload = (0..<length).map { UInt8(truncatingIfNeeded: Int(sequence) + $0) }
      let total = 52 + length
      var ip: [UInt8] = [0x45, tos] + bytes(UInt16(total)) + bytes(id)
      ip += [dontFragment ? 0x40 : 0, 0, ttl, 6, 0, 0, 10, 0, 0, 2, 10, 0, 1, 2]
      var tcp = bytes(port) + bytes(UInt16(80)) + bytes(sequence) + bytes(acknowledgment)
      tcp += [0x80, flags] + bytes(window) + [0, 0, 0, 0, 1, 1, 8, 10] + bytes(time) + bytes(UInt32(3))
      tcp += payload
      func sum(_ data: [UInt8], _ start: Int) -> UInt16 {
        var total = start
        for place in stride(from: 0, to: data.count, by: 2) {
          total += Int(data[place]) << 8 | (place + 1 < data.count ? Int(data[place + 1]) : 0)
        }
        while total > 0xffff { total = total & 0xffff + total >> 16 }
        return ~UInt16(total)
      }
      let header = sum(ip, 0)
      (ip[10], ip[11]) = (UInt8(header >> 8), UInt8(header & 255))
      let check = sum(tcp, Int(~sum(Array(ip[12..<20]), 0)) + 6 + tcp.count)
      (tcp[16], tcp[17]) = (UInt8(check >> 8), UInt8(check & 255))
      return [2, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0x55, 8, 0] + ip + tcp
        + [UInt8](repeating: 0, count: padding)
    }
  }

  static func train(_ count: Int) -> [Segment] {
    (0..<count).map { Segment(id: UInt16(100 + $0), sequence: UInt32(5000 + 1000 * $0)) }
  }

  @Test(
    "What a router joins it cuts again to what came, whatever the size of bursts", arguments: [1, 2, 7, 64])
  func inverse(_ burst: Int) throws {
    var random = RandomState(seed: 11)
    var plain = try Router(joins: false)
    var joining = try Router(burst: burst)
    var next: [UInt16: UInt32] = [:]
    for _ in 0..<50 {
      var frames: [[UInt8]] = []
      for _ in 0..<random.below(40) {
        // Runs of a few flows, with something odd here and there.
        let port = UInt16(1000 + random.below(3))
        for _ in 0..<random.below(12) {
          let start = next[port] ?? 0
          var segment = Segment(port: port, id: UInt16(truncatingIfNeeded: start / 1000), sequence: start)
          switch random.below(30) {
          case 0: segment.flags |= 0x08
          case 1: segment.length = Int(random.below(1000))
          case 2: segment.id &+= 1
          case 3: segment.ttl = 63
          case 4: segment.flags |= 0x80
          case 5: segment.sequence &+= 1000
          case 6: segment.dontFragment = false
          case 7: segment.time = 9
          case 8: segment.flags |= 0x01
          default: break
          }
          next[port] = segment.sequence &+ UInt32(segment.length)
          frames.append(segment.frame)
        }
      }
      func byFlow(_ frames: [[UInt8]]) -> [UInt8: [[UInt8]]] { Dictionary(grouping: frames) { $0[35] } }
      let (before, after) = (plain.pass(frames), joining.pass(frames))
      #expect(before.count == frames.count)
      // The order among flows is not kept, by the kernel neither.
      #expect(byFlow(after) == byFlow(before))
    }
    #expect(joining.kernel.softnet.joined > 500)
    #expect(joining.kernel.softnet.joined <= joining.kernel.softnet.segmented)
    for name in ["left", "right"] {
      let (one, other) = (
        plain.kernel.statistics(name, plain.node), joining.kernel.statistics(name, joining.node)
      )
      #expect(one == other)
    }
    #expect(joining.kernel.accounting.isClosed && joining.kernel.accounting.held == 0)
  }

  @Test("Segments are joined as long as they differ in nothing that cutting could not make again")
  func rules() throws {
    func count(_ change: (inout [Segment]) -> Void) throws -> UInt64 {
      var router = try Router()
      var train = Self.train(6)
      change(&train)
      let frames = train.map(\.frame)
      let out = router.pass(frames)
      #expect(
        out.map { Array($0[34...]) }
          == frames.map { Array($0[34..<(66 + Int($0[16]) << 8 + Int($0[17]) - 52)]) })
      return router.kernel.softnet.joined
    }
    #expect(try count { _ in } == 5)
    // The fourth differs: it begins anew, and what follows it differs from it.
    #expect(try count { $0[3].ttl = 9 } == 3)
    #expect(try count { $0[3].tos = 4 } == 3)
    #expect(try count { $0[3].dontFragment = false } == 3)
    #expect(try count { $0[3].acknowledgment = 2 } == 3)
    #expect(try count { $0[3].window = 2 } == 3)
    #expect(try count { $0[3].time = 8 } == 3)
    #expect(try count { $0[3].id = 7 } == 3)
    #expect(try count { $0[3].flags = 0x90 } == 3)
    #expect(try count { $0[3].flags = 0x50 } == 3)
    // It ends what it belongs to, and is not joined to.
    #expect(try count { $0[3].flags = 0x18 } == 4)
    #expect(try count { $0[3].flags = 0x11 } == 4)
    #expect(try count { $0[3].length = 999 } == 4)
    // Nothing can be joined to the first.
    #expect(try count { $0[0].flags = 0x18 } == 4)
    // Urgent data, padding, a wrong checksum: not joined at all.
    #expect(try count { $0[3].flags = 0x30 } == 3)
    #expect(try count { $0[3].padding = 6 } == 3)
    // One identification for all is as good as counting.
    for dontFragment in [true, false] {
      #expect(
        try count { train in
          for place in 0..<6 {
            train[place].id = 5
            train[place].dontFragment = dontFragment
          }
        } == 5)
    }
  }

  @Test("A card's frames come to the socket as one packet, acknowledged once")
  func received() throws {
    var router = try Router()
    router.kernel.setCapture(true, on: router.faces[0])
    _ = router.pass(Self.train(40).map(\.frame))
    let seen = router.kernel.takeCapture().filter { $0.direction == .received }
    #expect(seen.count == 1)
    #expect(seen.first.map { Self.isSummed($0.frame) } == true)
    #expect(seen.first?.frame.count == 66 + 40_000)
    let statistics = router.kernel.statistics("left", router.node)
    #expect(statistics.rxPackets == 40)
    #expect(statistics.rxBytes == 40 * 1066)
  }

  @Test("A run with a seed is the same twice, and delivers the same for every size of burst")
  func determinism() throws {
    func run(_ burst: Int) throws -> (all: [CaptureRecord], byDevice: [UInt32: [[UInt8]]]) {
      var chain = try Chain(burst: burst)
      try chain.setFeature("tcp-segmentation-offload", false, of: "eth0", 0)
      try chain.setFeature("generic-receive-offload", true, of: "left", 1)
      chain.kernel.captureAll()
      let bytes = TCPTests.pattern(400_000, 8)
      #expect(try chain.carry(bytes) == bytes)
      #expect(chain.kernel.softnet.joined > 100)
      let all = chain.kernel.takeCapture()
      return (
        all,
        Dictionary(grouping: all) { $0.device.rawValue * 2 + UInt32($0.direction.rawValue) }
          .mapValues { $0.map(\.frame) }
      )
    }
    let first = try run(64)
    let second = try run(64)
    #expect(first.all == second.all)
    for burst in [1, 7] {
      let other = try run(burst)
      #expect(other.byDevice == first.byDevice)
    }
  }
}
