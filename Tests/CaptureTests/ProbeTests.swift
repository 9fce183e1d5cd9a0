// SPDX-License-Identifier: GPL-2.0-or-later

import Capture
import NetTypes
import Seeds
import Testing

@Suite("Probe packets")
struct ProbeTests {
  static let probes: [ProbePacket] = ["10.0.0.1 10.0.0.2", "fd00::1 fd00::2"].flatMap { pair in
    let ends = pair.split(separator: " ").compactMap { IPAddress($0) }
    return [.icmp, .tcp(source: 4000, destination: 443), .udp(source: 4000, destination: 53)].map {
      ProbePacket(from: ends[0], to: ends[1], $0, mark: 0xfedc_ba98_7654_3210)
    }
  }

  @Test("A probe is what its flow says, and is recognised whatever its addresses become", arguments: probes)
  func recognised(probe: ProbePacket) throws {
    let flow = try #require(PacketFlow(probe.bytes, .raw))
    #expect(flow.from == probe.flow.from && flow.to == probe.flow.to && flow.hopLimit == 64)
    #expect(probe.isCarried(by: flow) && probe.answer(in: flow) == nil)
    var translated = flow
    translated.source = try #require(IPAddress("192.0.2.1"))
    translated.sourcePort = 60_000
    #expect(probe.isCarried(by: translated))
    let other = ProbePacket(from: probe.source, to: probe.destination, probe.transport, mark: 1)
    #expect(!other.isCarried(by: flow))
  }

  @Test("Errors that quote a probe are answers to it", arguments: probes)
  func quoted(probe: ProbePacket) throws {
    let quote = Array(probe.bytes.prefix(200))
    let isIPv4 = probe.source.family == .ipv4
    let message: [UInt8] = (isIPv4 ? [3, 3] : [1, 4]) + [0, 0, 0, 0, 0, 0] + quote
    var flow = PacketFlow(probe.flow, carrying: message)
    flow.proto = isIPv4 ? 1 : 58
    #expect(probe.answer(in: flow) == "port unreachable")
    #expect(!probe.isCarried(by: flow))
    let other = ProbePacket(from: probe.source, to: probe.destination, probe.transport, mark: 1)
    if case .tcp = probe.transport { #expect(other.answer(in: flow) == nil) }
  }

  @Test("What answers a SYN acknowledges it")
  func acknowledged() throws {
    let probe = try #require(Self.probes.first { $0.proto == 6 })
    let answer: [UInt8] =
      [1, 187, 15, 160, 0, 0, 0, 9] + [0xfe, 0xdc, 0xba, 0x99] + [0x50, 0x12, 0, 0, 0, 0, 0, 0]
    #expect(probe.answer(in: PacketFlow(probe.flow, carrying: answer)) == "SYN,ACK")
    var reset = answer
    reset[13] = 0x14
    #expect(probe.answer(in: PacketFlow(probe.flow, carrying: reset)) == "RST")
    reset[11] = 0x98
    #expect(probe.answer(in: PacketFlow(probe.flow, carrying: reset)) == nil)
  }

  @Test("Torn and damaged packets are none, or others", arguments: probes)
  func hostile(probe: ProbePacket) {
    let bytes = probe.bytes
    for length in bytes.indices {
      _ = PacketFlow(Array(bytes.prefix(length)), .raw).map { probe.answer(in: $0) }
    }
    var random = SplitMix(7)
    for _ in 0..<Rounds.of(500) {
      var damaged = bytes
      damaged.damage(&random)
      if let flow = PacketFlow(damaged, .raw) { _ = (probe.isCarried(by: flow), probe.answer(in: flow)) }
      _ = PacketFlow([UInt8](repeating: 2, count: 12) + [8, 0] + damaged, .ethernet)
    }
  }
}

extension PacketFlow {
  /// The same with another transport header and what follows it.
  fileprivate init(_ flow: PacketFlow, carrying transport: [UInt8]) {
    self = flow
    self.transport = transport[...]
  }
}
