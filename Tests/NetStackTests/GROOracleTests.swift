// SPDX-License-Identifier: GPL-2.0-or-later

// Linux judges what may be joined: the same segments, of several flows, right and wrong, go through the receive offload of
// a pair of the host's kernel and of an emulated card, and what comes out must be the same, flow by flow. The host's pair
// is told to wait for more (gro_flush_timeout), so that one poll sees all of a case.

import CLinux
import Glibc
import NetTypes
import Netlink
import Testing

@testable import NetStack

/// A pair of the host's kernel: what goes into one end comes out of the other, joined.
final class JoiningPair {
  private let name = "netstack-gro-\(getpid())-\(UInt32.random(in: 0 ... .max))"
  private let ends: [Int32]

  static let isPossible = (try? JoiningPair()) != nil

  init() throws {
    try Shell.run("ip", ["netns", "add", name])
    do {
      try Shell.run(
        "sh",
        [
          "-ec",
          """
          echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
          ip link add va type veth peer name vb address 02:00:00:00:00:01
          ethtool -K va tso off gso off
          ethtool -K vb gro on
          ip link set va up
          ip link set vb up
          echo 10000000 > /sys/class/net/vb/gro_flush_timeout
          echo 2 > /sys/class/net/vb/napi_defer_hard_irqs
          """,
        ], in: name)
      let namespace = try KernelNamespace(path: "/run/netns/\(name)")
      ends = try namespace.run { (_) throws(NetlinkError) in
        [nf_packet_listen(Int32(if_nametoindex("va"))), nf_packet_listen(Int32(if_nametoindex("vb")))]
      }
      try #require(ends.allSatisfy { $0 >= 0 })
    } catch {
      _ = try? Shell.run("ip", ["netns", "del", name])
      throw error
    }
  }

  deinit {
    for end in ends { close(end) }
    _ = try? Shell.run("ip", ["netns", "del", name])
  }

  func carry(_ frames: [[UInt8]]) throws -> [[UInt8]] {
    for frame in frames { try #require(write(ends[0], frame, frame.count) == frame.count) }
    usleep(60_000)
    var came: [[UInt8]] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    while case let count = read(ends[1], &buffer, buffer.count), count > 0 {
      came.append(Array(buffer.prefix(count)))
    }
    return came
  }
}

@Suite(
  "Receive offload beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && Shell.has("ethtool") && JoiningPair.isPossible,
    "needs root, ethtool and a kernel whose pairs join segments"))
struct GROOracleTests {
  /// What an emulated card hands up of the same.
  static func carry(_ frames: [[UInt8]]) throws -> [[UInt8]] {
    var kernel = Kernel(seed: 1)
    let node = try kernel.node()
    let mac = MACAddress(rawValue: 0x0200_0000_0001)
    let card = try kernel.makeOutside(try #require(InterfaceName("eth0")), in: node, mac: mac)
    try kernel.set("eth0", up: true, in: node)
    let tap = try kernel.makeSocket(.packet(PacketAddress.everyProtocol, cooked: false), in: node)
    for frame in frames {
      let isTaken = kernel.inject(frame, into: card)
      #expect(isTaken)
    }
    kernel.run(for: .milliseconds(60))
    var came: [[UInt8]] = []
    var buffer: [UInt8] = []
    while let message = try? kernel.receive(tap, into: &buffer, limit: 1 << 17), message.length > 0 {
      came.append(buffer)
    }
    #expect(kernel.accounting.isClosed)
    return came
  }

  // MARK: Segments by chance

  /// A flow as far as it has come.
  struct Flow {
    var isIPv6: Bool
    var port: UInt16
    var sequence: UInt32 = 1000
    var identification: UInt16 = 7
    var acknowledgment: UInt32 = 5000
    var timestamp: UInt32?
    var dontFragment: Bool
    var hasFixedID: Bool
  }

  struct Maker {
    var random: RandomState
    var flows: [Flow]

    init(seed: UInt64) {
      random = RandomState(seed: seed)
      flows = []
      for number in 0..<1 + random.below(3) {
        flows.append(
          Flow(
            isIPv6: random.below(3) == 0, port: 2000 + UInt16(number),
            timestamp: random.below(2) == 0 ? 77 : nil, dontFragment: random.below(2) == 0,
            hasFixedID: random.below(3) == 0))
      }
    }

    private mutating func once(in count: UInt64) -> Bool { random.below(count) == 0 }

    private func bytes(_ value: UInt32) -> [UInt8] {
      [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    /// Mostly what goes on with its flow, now and then with something about it that is not as before.
    mutating func frame() -> [UInt8] {
      let place = Int(random.below(UInt64(flows.count)))
      var flow = flows[place]
      if once(in: 20) { flow.acknowledgment += 1 }
      if flow.timestamp != nil, once(in: 15) { flow.timestamp = flow.timestamp.map { $0 + 1 } }
      if once(in: 25) { flow.sequence &+= 1000 }
      if once(in: 40) { flow.sequence &-= 1000 }
      if once(in: 20) { flow.identification &+= 3 }
      let length = once(in: 6) ? Int(random.below(1400)) : once(in: 12) ? 0 : 1000
      var flags: UInt8 = 0x10
      for (bit, rarity) in [(8, 12), (1, 30), (0x80, 30), (0x40, 30), (0x20, 40), (2, 40), (4, 40)]
        as [(UInt8, UInt64)]
      where once(in: rarity) { flags |= bit }
      var options: [UInt8] = flow.timestamp.map { [1, 1, 8, 10] + bytes($0) + bytes(99) } ?? []
      if once(in: 40) { options += [1, 1, 1, 1] }
      var segment: [UInt8] = [UInt8(flow.port >> 8), UInt8(flow.port & 255), 0, 80]
      segment += bytes(flow.sequence) + bytes(flow.acknowledgment)
      segment += [UInt8(5 + options.count / 4) << 4, flags, 0x20, once(in: 30) ? 1 : 0, 0, 0, 0, 0] + options
      segment += (0..<length).map { UInt8(truncatingIfNeeded: $0 &+ Int(flow.sequence)) }
      let packet = flow.isIPv6 ? ipv6(segment) : ipv4(segment, flow)
      flow.sequence &+= UInt32(length)
      if !flow.hasFixedID { flow.identification &+= 1 }
      flows[place] = flow
      let link: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, once(in: 50) ? 3 : 2]
      return link + (flow.isIPv6 ? [0x86, 0xdd] : [8, 0]) + packet
        + (once(in: 30) ? [UInt8](repeating: 9, count: 6) : [])
    }

    private mutating func summed(_ segment: [UInt8], _ addresses: [UInt8]) -> [UInt8] {
      let pseudo = addresses + bytes(UInt32(segment.count)) + [0, 0, 0, 6]
      var segment = segment
      let sum = KernelOracleTests.checksum(pseudo + segment)
      segment[16] = sum[0] ^ (once(in: 30) ? 1 : 0)
      segment[17] = sum[1]
      return segment
    }

    private mutating func ipv4(_ segment: [UInt8], _ flow: Flow) -> [UInt8] {
      let options: [UInt8] = once(in: 40) ? [1, 1, 1, 0] : []
      let addresses: [UInt8] = [10, 0, 0, 9, 10, 0, 0, 1]
      let total = 20 + options.count + segment.count
      let dontFragment = flow.dontFragment != once(in: 30)
      var header: [UInt8] = [
        0x45 + UInt8(options.count / 4), once(in: 30) ? 4 : 0, UInt8(total >> 8), UInt8(total & 255),
        UInt8(flow.identification >> 8), UInt8(flow.identification & 255),
        (dontFragment ? 0x40 : 0) | (once(in: 40) ? 0x20 : 0), 0, once(in: 30) ? 63 : 64, 6, 0, 0,
      ]
      header += addresses + options
      let sum = KernelOracleTests.checksum(header)
      header[10] = sum[0] ^ (once(in: 40) ? 1 : 0)
      header[11] = sum[1]
      return header + summed(segment, addresses)
    }

    private mutating func ipv6(_ segment: [UInt8]) -> [UInt8] {
      var header: [UInt8] = [0x60, once(in: 30) ? 0x40 : 0, 0, once(in: 30) ? 1 : 0]
      header += [UInt8(segment.count >> 8), UInt8(segment.count & 255), 6, once(in: 30) ? 63 : 64]
      let addresses: [UInt8] =
        [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [9]
        + [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
      return header + addresses + summed(segment, addresses)
    }
  }

  // MARK: Comparing

  /// By flow, without the sums: who has joined segments leaves TCP's to be made, and where a capture shows it is its own
  /// affair. In the host's kernel flows come up in the order of a hash.
  static func told(_ frames: [[UInt8]]) -> [String] {
    var lines: [(port: Int, text: String)] = []
    for frame in frames where frame.count > 54 {
      var frame = frame
      let isIPv6 = frame[12] == 0x86
      if !isIPv6 { frame.replaceSubrange(24..<26, with: [0, 0]) }
      let transport = 14 + (isIPv6 ? 40 : Int(frame[14] & 15) * 4)
      guard frame.count >= transport + 20 else { continue }
      frame.replaceSubrange(transport + 16..<transport + 18, with: [0, 0])
      let sequence = frame[transport + 4..<transport + 8].reduce(0) { $0 << 8 | Int($1) }
      let hash = frame.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
      lines.append(
        (
          Int(frame[transport]) << 8 | Int(frame[transport + 1]),
          "\(isIPv6 ? 6 : 4) \(frame.count) bytes, sequence \(sequence), flags \(frame[transport + 13]), "
            + String(hash, radix: 16)
        ))
    }
    return Set(lines.map(\.port)).sorted().flatMap { port in
      lines.filter { $0.port == port }.map { "\(port) \($0.text)" }
    }
  }

  @Test("Segments that go on are joined, and what differs ends what was joined, as in the kernel")
  func joining() async throws {
    let pair = try JoiningPair()
    for seed in 1...UInt64(max(100, HostileTests.rounds / 5000)) {
      await Task.yield()
      var maker = Maker(seed: seed)
      let frames = (0..<3 + maker.random.below(30)).map { _ in maker.frame() }
      let here = Self.told(try Self.carry(frames))
      var there = Self.told(try pair.carry(frames))
      // The host's time is real: a machine that is busy may keep a segment from the next for longer than it is held.
      for _ in 0..<5 where here != there { there = Self.told(try pair.carry(frames)) }
      guard here != there else { continue }
      Issue.record(
        """
        seed \(seed):
          sent:  \(Self.told(frames).joined(separator: "\n         "))
          here:  \(here.joined(separator: "\n         "))
          Linux: \(there.joined(separator: "\n         "))
        """)
      return
    }
  }
}
