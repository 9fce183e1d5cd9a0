// SPDX-License-Identifier: GPL-2.0-or-later

// Pieces of datagrams, redirects and clocks beside the host's kernel: several frames in order into both routers.

import Glibc
import NetTypes
import Testing

@testable import NetStack

@Suite(
  "Fragments beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct FragmentOracleTests {
  private typealias IP = KernelOracleTests.IP

  /// Pieces of one echo: byte ranges of its payload, the last one marked so unless it is told otherwise.
  private static func pieces(
    _ identification: UInt8, _ length: Int, _ ranges: [(Range<Int>, isLast: Bool)], tos: [UInt8] = [],
    dontFragment: Bool = false, destination: [UInt8] = [10, 0, 0, 1]
  ) -> [[UInt8]] {
    let whole = KernelOracleTests.echo(length)
    return ranges.enumerated().map { number, piece in
      var packet = IP(destination: destination)
      packet.payload = Array(whole[piece.0])
      packet.fragment =
        UInt16(piece.0.lowerBound / 8) | (piece.isLast ? 0 : 0x2000) | (dontFragment ? 0x4000 : 0)
      packet.tos = tos.isEmpty ? 0 : tos[number]
      var frame = packet.frame
      frame[18] = identification
      let sum = KernelOracleTests.checksum(frame[14..<24] + [0, 0] + frame[26..<34])
      frame[24] = sum[0]
      frame[25] = sum[1]
      return frame
    }
  }

  static let sequences: [(String, [[UInt8]])] = [
    ("two in order", pieces(1, 92, [(0..<48, false), (48..<100, true)])),
    ("two the other way round", pieces(2, 92, [(48..<100, true), (0..<48, false)])),
    ("many", pieces(3, 992, (0..<25).map { ($0 * 40..<$0 * 40 + 40, $0 == 24) })),
    ("many from behind", pieces(4, 992, (0..<25).reversed().map { ($0 * 40..<$0 * 40 + 40, $0 == 24) })),
    ("one twice", pieces(5, 92, [(0..<48, false), (0..<48, false), (48..<100, true)])),
    ("a part of one again", pieces(6, 92, [(0..<48, false), (8..<40, false), (48..<100, true)])),
    ("an overlap", pieces(7, 92, [(0..<48, false), (40..<100, true), (48..<100, true)])),
    (
      "an overlap of all",
      pieces(8, 92, [(16..<48, false), (0..<64, false), (0..<16, false), (48..<100, true)])
    ),
    (
      "within two that touch",
      pieces(9, 92, [(0..<24, false), (24..<48, false), (8..<40, false), (48..<100, true)])
    ),
    ("two ends", pieces(10, 92, [(48..<100, true), (48..<64, true), (0..<48, false)])),
    ("beyond the end", pieces(11, 92, [(48..<80, true), (80..<96, false), (0..<48, false)])),
    ("a piece of no multiple of eight", pieces(12, 92, [(0..<45, false), (40..<100, true)])),
    ("a piece of four bytes", pieces(13, 92, [(0..<4, false), (0..<48, false), (48..<100, true)])),
    ("an empty last piece", pieces(14, 92, [(0..<48, false), (48..<48, true), (48..<100, true)])),
    ("congestion met on the way", pieces(15, 92, [(0..<48, false), (48..<100, true)], tos: [2, 3])),
    ("congestion and ignorance", pieces(16, 92, [(0..<48, false), (48..<100, true)], tos: [0, 3])),
    ("pieces that must not be cut", pieces(17, 92, [(0..<48, false), (48..<100, true)], dontFragment: true)),
    (
      "to the far side's address",
      pieces(18, 92, [(0..<48, false), (48..<100, true)], destination: [10, 0, 1, 1])
    ),
    ("passed on", pieces(19, 92, [(0..<48, false), (48..<100, true)], destination: [10, 0, 1, 9])),
    ("from a host to itself", [IP(destination: [10, 0, 0, 9]).frame]),
    ("back by the way it came", [IP(source: [10, 0, 0, 8], destination: [10, 0, 0, 9]).frame]),
    ("back once more", [IP(source: [10, 0, 0, 8], destination: [10, 0, 0, 9]).frame]),
    ("a source that is not on the link", [IP(source: [198, 51, 100, 7], destination: [10, 0, 0, 9]).frame]),
    ("a mask", [IP(payload: KernelOracleTests.echo(4, type: 17)).frame]),
    ("a message of no type", [IP(payload: KernelOracleTests.echo(4, type: 77)).frame]),
    ("a clock", [IP(payload: KernelOracleTests.echo(12, type: 13)).frame]),
    ("a clock of few bytes", [IP(payload: KernelOracleTests.echo(2, type: 13)).frame]),
  ]

  /// Without the times of a clock.
  private static func normal(_ frames: [[UInt8]]) -> [[UInt8]] {
    KernelOracleTests.normal(frames).map { frame in
      var frame = frame
      guard frame.count >= 54, frame[12] == 8, frame[23] == 1, frame[34] == 14 else { return frame }
      for place in Array(36..<38) + Array(46..<54) { frame[place] = 0 }
      return frame
    }
  }

  @Test("Every sequence of frames is answered as the kernel's router answers it")
  func sequences() throws {
    var twins = try KernelOracleTests.Twins()
    for (name, frames) in Self.sequences {
      for (number, frame) in frames.enumerated() {
        try twins.compare("\(name), frame \(number)", frame, normal: Self.normal)
      }
    }
    #expect(twins.emulated.kernel.accounting.isClosed)
    // What never came is given up, and its sender told.
    twins.emulated.kernel.run(for: .seconds(40))
    #expect(twins.emulated.kernel.fragmentQueues.indices.isEmpty)
    #expect(twins.emulated.kernel.accounting.isClosed)
  }
}
