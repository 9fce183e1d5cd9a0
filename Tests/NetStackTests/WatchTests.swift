// SPDX-License-Identifier: GPL-2.0-or-later

// What capture tells of packets that have a number.

import NetTypes
import Testing

@testable import NetStack

@Suite("Watched packets")
struct WatchTests {
  /// A datagram to a port, without its checksum.
  private static func datagram(to port: UInt16, payload: Int = 8) -> [UInt8] {
    let length = UInt16(8 + payload)
    return [0x10, 0, UInt8(port >> 8), UInt8(port & 255), UInt8(length >> 8), UInt8(length & 255), 0, 0]
      + [UInt8](repeating: 7, count: payload)
  }

  private struct Line: ~Copyable {
    var kernel: Kernel
    let a: NamespaceIndex
    let router: NamespaceIndex
    let b: NamespaceIndex

    init() throws {
      var kernel = Kernel()
      let a = try kernel.node()
      let router = try kernel.node()
      let b = try kernel.node()
      try kernel.veth("eth0", a, "eth1", router)
      try kernel.veth("eth2", router, "eth0", b)
      try kernel.address("10.0.1.1/24", "eth0", a)
      try kernel.address("10.0.1.254/24", "eth1", router)
      try kernel.address("10.0.2.254/24", "eth2", router)
      try kernel.address("10.0.2.1/24", "eth0", b)
      try kernel.route("default", via: "10.0.1.254", a)
      try kernel.route("default", via: "10.0.2.254", b)
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: router)
      kernel.captureAll()
      self.kernel = kernel
      (self.a, self.router, self.b) = (a, router, b)
    }

    mutating func send(
      _ bytes: [UInt8], to address: String, hopLimit: UInt8 = 64
    ) throws -> (number: UInt32, entries: [CaptureEntry]) {
      let number = try kernel.sendWatched(
        bytes, proto: 17, from: .v4(v4("10.0.1.1")), to: .v4(v4(address)), hopLimit: hopLimit, in: a)
      kernel.run(until: kernel.now + .seconds(5))
      return (number, kernel.takeCaptureEntries())
    }
  }

  private static func frames(_ entries: [CaptureEntry], of number: UInt32) -> [CaptureRecord] {
    entries.compactMap { if case .frame(let record) = $0, record.packet == number { record } else { nil } }
  }

  private static func events(_ entries: [CaptureEntry], of number: UInt32) -> [PacketEvent] {
    entries.compactMap { if case .event(let event) = $0, event.packet == number { event } else { nil } }
  }

  @Test("A packet keeps its number over all hops, and its end is told with its place")
  func way() throws {
    var line = try Line()
    let (number, entries) = try line.send(Self.datagram(to: 9), to: "10.0.2.1")
    let devices = try [
      line.kernel.find("eth0", line.a), line.kernel.find("eth1", line.router),
      line.kernel.find("eth2", line.router), line.kernel.find("eth0", line.b),
    ]
    #expect(Self.frames(entries, of: number).map(\.device) == devices)
    let events = Self.events(entries, of: number)
    #expect(events.map(\.kind) == [.waitsForNeighbor, .waitsForNeighbor, .dropped(.noSocket)])
    #expect(events.map(\.namespace) == [line.a, line.router, line.b])
    // What asks for neighbours, and the answer, are packets of their own.
    let others = Set(
      entries.compactMap { if case .frame(let record) = $0 { record.packet } else { nil } })
    #expect(others.count > 4 && !others.contains(0))
    #expect(line.kernel.accounting.isClosed)
  }

  @Test("The end of a packet that no device ever sent is told too")
  func unsent() throws {
    var line = try Line()
    try line.kernel.set("eth0", up: false, in: line.a)
    let (number, entries) = try line.send(Self.datagram(to: 9), to: "10.0.2.1")
    #expect(Self.frames(entries, of: number).isEmpty)
    #expect(Self.events(entries, of: number).map(\.kind) == [.dropped(.ipOutNoRoutes)])
  }

  @Test("A packet whose time is over ends in the router that took the last of it")
  func expired() throws {
    var line = try Line()
    let (number, entries) = try line.send(Self.datagram(to: 9), to: "10.0.2.1", hopLimit: 1)
    let last = Self.events(entries, of: number).last
    #expect(last?.kind == .dropped(.ttlExpired) && last?.namespace == line.router)
  }

  @Test("Nobody watches: packets have no numbers, and nothing is noted")
  func off() throws {
    var line = try Line()
    for device in line.kernel.devices.indices { line.kernel.setCapture(false, on: device) }
    _ = try line.kernel.ping("10.0.2.1", from: line.a, count: 2)
    #expect(line.kernel.takeCaptureEntries().isEmpty)
  }
}
