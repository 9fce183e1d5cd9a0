// SPDX-License-Identifier: GPL-2.0-or-later

// VLAN filtering beside a kernel that has it (`make test-guest` brings one): tables of ports and of the bridge, frames
// with and without tags, and what is learned in which VLAN.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "A bridge's VLANs beside the kernel's",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct BridgeVLANOracleTests {
  private static let ids: [UInt16] = [1, 10, 20, 4094]

  /// Type and payload, behind tags.
  private static func frame(_ random: inout RandomState) -> [UInt8] {
    let destinations: [[UInt8]] =
      (1...5).map { BridgeOracleTests.host($0) } + [
        [UInt8](repeating: 255, count: 6), [1, 0, 0x5e, 1, 2, 3],
      ]
    var bytes = destinations[Int(random.below(UInt64(destinations.count)))]
    bytes += BridgeOracleTests.host(UInt8(1 + random.below(5)))
    let tags: [UInt16] = ids + [0, 30, 0xa00a, 0x2000, 4095]
    for _ in 0..<[0, 0, 1, 1, 1, 2][Int(random.below(6))] {
      let tag = tags[Int(random.below(UInt64(tags.count)))]
      bytes += random.below(5) == 0 ? [0x88, 0xa8] : [0x81, 0x00]
      bytes += [UInt8(tag >> 8), UInt8(tag & 255)]
    }
    return bytes + [0x88, 0xb5] + (0..<46).map { UInt8($0) }
  }

  private static func learned(_ messages: [NetlinkMessage], _ numbers: [String: Int32]) throws -> [String] {
    let names = Dictionary(uniqueKeysWithValues: numbers.map { ($1, $0) })
    // The kernel lists a port's own address once more for each of its VLANs, the emulated one once.
    let entries = try messages.map { try NeighborMessage($0) }
    return entries.filter { $0.master != nil && $0.state != .permanent }.map {
      "\($0.macAddress?.description ?? "-") vlan \($0.vlan ?? 0) \(names[$0.index] ?? "?") \($0.state.rawValue)"
    }.sorted()
  }

  private static func tables(_ messages: [NetlinkMessage], _ numbers: [String: Int32]) throws -> [String] {
    let names = Dictionary(uniqueKeysWithValues: numbers.map { ($1, $0) })
    return try messages.map { try BridgeVLANMessage($0) }.map { message in
      "\(names[message.index] ?? "?") \(message.vlans)"
    }.sorted()
  }

  private static func setting(
    _ numbers: [String: Int32], _ body: (inout BridgeOptions) -> Void
  ) -> NetlinkMessage {
    var link = LinkMessage(index: numbers["br0"] ?? 0)
    link.kind = .bridge(BridgeOracleTests.bridge(body))
    return link.request(.change)
  }

  @Test("Tables, frames and what is learned are the same", arguments: [1, 2, 3] as [UInt64])
  func filtering(seed: UInt64) throws {
    var pair = try BridgeOracleTests.Pair()
    try pair.setUp()
    var options = LinkMessage(index: pair.theirs["br0"] ?? 0)
    options.kind = .bridge(BridgeOracleTests.bridge { $0.vlanFiltering = true })
    do { _ = try pair.socket.request(options.request(.change)) } catch {
      try Test.cancel("this kernel's bridges filter no VLANs: \(error)")
    }
    try pair.change { Self.setting($0) { $0.vlanFiltering = true } }
    var random = RandomState(seed: seed)
    var delivered = 0
    for step in 0..<600 {
      let what = random.below(10)
      switch what {
      case 0, 1:
        let device = (BridgeOracleTests.ports + ["br0"])[Int(random.below(5))]
        let flags: [BridgeVLAN.Flags] = [[], [.pvid, .untagged], [.untagged], [.pvid]]
        let vlan = BridgeVLAN(
          Self.ids[Int(random.below(UInt64(Self.ids.count)))], flags[Int(random.below(4))])
        let isRemoval = random.below(3) == 0
        try pair.change { numbers in
          let message = BridgeVLANMessage(
            index: numbers[device] ?? 0, vlans: [vlan], isBridgeItself: device == "br0")
          return isRemoval ? message.deleteRequest : message.addRequest
        }
      case 2 where step % 7 == 0:
        let isService = random.below(2) == 0
        try pair.change { Self.setting($0) { $0.vlanProtocol = isService ? 0x88a8 : 0x8100 } }
      default:
        let frame = Self.frame(&random)
        let port = Int(random.below(4))
        let (got, expected) = try pair.send(frame, port)
        #expect(got == expected, "step \(step) of seed \(seed): \(frame.prefix(24)) into \(port)")
        delivered += expected.reduce(0) { $0 + $1.count }
      }
      let ours = try Self.learned(
        pair.kernel.dump(NeighborMessage.dumpForwarding(), in: pair.node), pair.ours)
      let theirs = try Self.learned(pair.socket.dump(NeighborMessage.dumpForwarding()), pair.theirs)
      #expect(ours == theirs, "learned after step \(step) of seed \(seed)")
      let mine = try Self.tables(pair.kernel.dump(BridgeVLANMessage.dump(), in: pair.node), pair.ours)
      let other = try Self.tables(pair.socket.dump(BridgeVLANMessage.dump()), pair.theirs)
      #expect(mine == other, "tables after step \(step) of seed \(seed)")
    }
    #expect(delivered > 100, "\(delivered)")
  }
}
