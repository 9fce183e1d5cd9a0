// SPDX-License-Identifier: GPL-2.0-or-later

import Capture
import Seeds
import Testing

@Suite("pcapng")
struct PcapngTests {
  private static let blocks: [PcapngBlock] = [
    .section(application: "netforge"),
    .interface(CapturedInterface(name: "web1:eth0", snapLength: 262_144)),
    .interface(CapturedInterface(name: "vpn:tun0", linkType: .raw, snapLength: 64)),
    .packet(
      CapturedPacket(
        interface: 1, nanoseconds: 1_764_000_000_123_456_789, direction: .transmitted, length: 1500,
        bytes: [0x45, 1, 2, 3, 4], comments: ["dropped: netfilter_drop", "ümlaut"])),
    .packet(CapturedPacket(interface: 0, nanoseconds: 7, direction: .received, length: 3, bytes: [1, 2, 3])),
    .statistics(CaptureStatistics(interface: 0, nanoseconds: 9, received: 1, dropped: 5)),
  ]

  private static var file: [UInt8] {
    var bytes: [UInt8] = []
    for block in blocks { block.append(to: &bytes) }
    return bytes
  }

  @Test("What is written is read, in pieces of any size", arguments: [1, 3, 16, 1000])
  func roundTrip(piece: Int) throws {
    var reader = PcapngReader()
    var found: [PcapngBlock] = []
    let file = Self.file
    for start in stride(from: 0, to: file.count, by: piece) {
      reader.append(file[start..<min(start + piece, file.count)])
      while let block = try reader.next() { found.append(block) }
    }
    #expect(found == Self.blocks)
    #expect(reader.isEmpty)
  }

  @Test("A block that nobody knows is passed over")
  func unknown() throws {
    var bytes: [UInt8] = []
    Self.blocks[0].append(to: &bytes)
    bytes += [0x0b, 0, 0, 0, 16, 0, 0, 0, 1, 2, 3, 4, 16, 0, 0, 0]
    Self.blocks[1].append(to: &bytes)
    var reader = PcapngReader()
    reader.append(bytes)
    #expect(try reader.next() == Self.blocks[0])
    #expect(try reader.next() == Self.blocks[1])
  }

  @Test("Hostile bytes are an error or nothing, never a trap")
  func hostile() {
    var random = SplitMix(1)
    for _ in 0..<Rounds.of(2000) {
      var bytes = Self.file
      for _ in 0..<Int.random(in: 1...4, using: &random) { bytes.damage(&random) }
      var reader = PcapngReader()
      reader.append(bytes)
      while (try? reader.next()) ?? nil != nil {}
    }
  }

  @Test("Hostile packets are told in a line, and filters of noise end")
  func hostilePackets() {
    var random = SplitMix(2)
    var summary = PacketSummary()
    for _ in 0..<Rounds.of(2000) {
      // A frame that looks like one for some layers.
      var bytes: [UInt8] =
        [UInt8](repeating: 2, count: 12)
        + (([[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]] as [[UInt8]]).randomElement(using: &random) ?? [])
      bytes.append([0x45, 0x60, 0x4f].randomElement(using: &random) ?? 0)
      for _ in 0..<Int.random(in: 0...90, using: &random) {
        bytes.append(
          [0, 1, 4, 6, 17, 44, 58, .random(in: 0...255, using: &random)].randomElement(using: &random) ?? 0)
      }
      let packet = CapturedPacket(
        interface: 0, nanoseconds: 0, direction: .received, length: bytes.count, bytes: bytes)
      #expect(!summary.describe(packet, .ethernet).contains("\n"))
      #expect(!summary.describe(packet, .raw).isEmpty)
      let program = (0..<Int.random(in: 0...20, using: &random)).map { _ in
        PacketFilter.Instruction(
          code: .random(in: 0...0xff, using: &random), jumpTrue: .random(in: 0...9, using: &random),
          jumpFalse: .random(in: 0...9, using: &random),
          k: [0, 12, 23, .max, .random(in: 0...99, using: &random)].randomElement(using: &random) ?? 0)
      }
      _ = PacketFilter(program).matches(bytes)
    }
  }
}
