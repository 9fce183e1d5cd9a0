// SPDX-License-Identifier: GPL-2.0-or-later

// Options of IPv4 beside the host's kernel: what a router writes into them, what it answers, and what it refuses.

import Glibc
import NetTypes
import Testing

@testable import NetStack

@Suite(
  "IPv4 options beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct IPv4OptionOracleTests {
  private typealias IP = KernelOracleTests.IP

  private static let far: [UInt8] = [10, 0, 1, 9]
  private static let us: [UInt8] = [10, 0, 0, 1]

  private static func padded(_ options: [UInt8]) -> [UInt8] {
    options + [UInt8](repeating: 0, count: (4 - options.count % 4) % 4)
  }

  private static func record(_ type: UInt8, pointer: UInt8 = 4, _ addresses: [[UInt8]]) -> [UInt8] {
    padded([type, UInt8(3 + addresses.count * 4), pointer] + addresses.flatMap { $0 })
  }

  private static func stamp(_ form: UInt8, pointer: UInt8 = 5, room: [UInt8]) -> [UInt8] {
    padded([68, UInt8(4 + room.count), pointer, form] + room)
  }

  private static let zero: [UInt8] = [0, 0, 0, 0]

  private static let options: [(String, [UInt8])] = {
    let zeros = [UInt8](repeating: 0, count: 24)
    return [
      ("record route", record(7, [zero, zero, zero])),
      ("record route with one place", record(7, [zero])),
      ("record route, full", record(7, pointer: 12, [[1, 2, 3, 4], [5, 6, 7, 8]])),
      ("record route, half full", record(7, pointer: 8, [[1, 2, 3, 4], zero])),
      ("record route, pointer too low", record(7, pointer: 3, [zero])),
      ("record route, crooked pointer", record(7, pointer: 6, [zero])),
      ("record route, too short", [7, 2, 1, 0]),
      ("record route twice", record(7, [zero]) + record(7, [zero])),
      ("times", stamp(0, room: zeros)),
      ("times, half full", stamp(0, pointer: 9, room: [0, 0, 0, 9] + zero)),
      ("times, full", stamp(0, pointer: 9, room: [0, 0, 0, 9])),
      ("times, overflow", stamp(0xf0, pointer: 9, room: [0, 0, 0, 9])),
      ("times with addresses", stamp(1, room: zeros)),
      ("times with addresses, half a place", stamp(1, room: zero)),
      ("times of others", stamp(3, room: [1, 2, 3, 4] + zero)),
      ("times of us", stamp(3, room: us + zero + far + zero)),
      ("times of us twice", stamp(3, room: us + zero + us + zero)),
      ("times of no form", stamp(7, room: zeros)),
      ("times, pointer too low", stamp(0, pointer: 4, room: zeros)),
      ("times, too short", [68, 3, 5, 0]),
      ("times twice", stamp(0, room: zero) + stamp(0, room: zero)),
      ("record and times", record(7, [zero, zero]) + stamp(1, room: [0, 0, 0, 0, 0, 0, 0, 0])),
      ("router alert", [148, 4, 0, 0]),
      ("router alert, too short", [148, 3, 0, 0]),
      ("an option nobody knows", [99, 4, 1, 2]),
      ("an option beyond the end", [99, 9, 1, 2]),
      ("an option of one byte", [99, 1, 1, 2]),
      ("an option of no length", [1, 1, 1, 99]),
      ("something behind the end", [0, 7, 3, 9]),
      ("nothing, then record route", [1] + [7, 7, 4, 0, 0, 0, 0]),
      ("security", [130, 4, 0, 0]),
      ("loose source route", record(131, [far])),
      ("strict source route", record(137, [far])),
      ("source route, too short", [131, 2, 0, 0]),
      ("source route, pointer too low", record(131, pointer: 3, [far])),
      ("source route twice", record(131, [far]) + record(131, [far])),
    ]
  }()

  private static let sourceRoutes: [(String, [UInt8], [UInt8])] = [
    ("loose, next is far", record(131, [far]), us), ("strict, next is far", record(137, [far]), us),
    ("loose, next is behind a router", record(131, [[10, 2, 0, 5]]), us),
    ("strict, next is behind a router", record(137, [[10, 2, 0, 5]]), us),
    ("loose, us twice", record(131, [[10, 0, 1, 1], far]), us),
    ("loose, at its end", record(131, pointer: 8, [far]), us),
    ("loose, come by another", record(131, pointer: 8, [[10, 0, 0, 77], us]), us),
    ("loose, come by two", record(131, pointer: 12, [[10, 0, 0, 9], [10, 0, 0, 77]]), us),
    ("loose, crooked", record(131, pointer: 6, [far]), us),
    ("loose, to nobody", record(131, [[192, 0, 2, 1]]), us),
    ("loose, to a group", record(131, [[224, 0, 0, 9]]), us),
    ("loose, passing", record(131, [us]), far), ("strict, passing", record(137, [us]), far),
    ("loose with record route", record(131, [far]) + record(7, [zero]), us),
    ("loose with times", record(131, [far]) + stamp(1, room: [0, 0, 0, 0, 0, 0, 0, 0]), us),
  ]

  /// Without the time of day, wherever it stands.
  private static func normal(_ frames: [[UInt8]]) -> [[UInt8]] {
    KernelOracleTests.normal(frames.map(withoutTimes)).map { frame in
      var frame = frame
      // The checksums that the times are in, an error's quote among it.
      guard frame.count >= 44, frame[12] == 8, frame[13] == 0 else { return frame }
      let header = Int(frame[14] & 15) * 4
      if frame[18..<20] == [0x12, 0x34] { frame[24] = 0; frame[25] = 0 }
      if frame[14 + header] == 14 {
        for place in Array(2..<4) + Array(12..<20) { frame[14 + header + place] = 0 }
      }
      if [3, 5, 11, 12].contains(frame[14 + header]) {
        for place in [2, 3, 18, 19] where 14 + header + place < frame.count { frame[14 + header + place] = 0 }
      }
      return frame
    }
  }

  private static func withoutTimes(_ frame: [UInt8]) -> [UInt8] {
    guard frame.count >= 34, frame[12] == 8, frame[13] == 0 else { return frame }
    var frame = frame
    let header = Int(frame[14] & 15) * 4
    let inner = 14 + header + 8
    if inner + 20 <= frame.count, frame[23] == 1, [3, 5, 11, 12].contains(frame[14 + header]) {
      clearTimes(&frame, from: inner)
    }
    let wasRight = KernelOracleTests.checksum(frame[14..<14 + header]) == [0, 0]
    clearTimes(&frame, from: 14)
    // A sum that was right stays so.
    if wasRight {
      frame[24] = 0
      frame[25] = 0
      let sum = KernelOracleTests.checksum(frame[14..<14 + header])
      frame[24] = sum[0]
      frame[25] = sum[1]
    }
    return frame
  }

  private static func clearTimes(_ frame: inout [UInt8], from start: Int) {
    let end = min(start + Int(frame[start] & 15) * 4, frame.count)
    var place = start + 20
    while place + 3 < end, frame[place] != 0 {
      if frame[place] == 1 {
        place += 1
        continue
      }
      let length = Int(frame[place + 1])
      guard length >= 2, place + length <= end else { return }
      if frame[place] == 68, length >= 8 {
        let step = frame[place + 3] & 15 == 0 ? 4 : 8
        var time = place + 4 + step - 4
        while time + 4 <= place + length {
          for byte in time..<time + 4 { frame[byte] = 0 }
          time += step
        }
      }
      place += length
    }
  }

  @Test("A router fills in, answers and refuses options as the kernel's does")
  func options() throws {
    var twins = try KernelOracleTests.Twins()
    let udp: [UInt8] = [0x30, 0x39, 0, 99, 0, 12, 0, 0, 1, 2, 3, 4]
    for (name, options) in Self.options {
      let probes: [(String, KernelOracleTests.IP)] = [
        ("for us", IP(options: options)),
        ("for the far side", IP(destination: [10, 0, 1, 1], options: options)),
        ("to pass on", IP(destination: Self.far, options: options)),
        ("by a gateway", IP(destination: [10, 2, 3, 4], options: options)),
        ("that ends here", IP(destination: Self.far, ttl: 1, options: options)),
        ("to a closed port", IP(proto: 17, options: options, payload: udp)),
        ("to cut", IP(destination: Self.far, options: options, payload: KernelOracleTests.echo(1000))),
        (
          "for all",
          IP(destination: [10, 0, 0, 255], options: options, link: [255, 255, 255, 255, 255, 255])
        ),
        ("asking the time", IP(options: options, payload: KernelOracleTests.echo(12, type: 13))),
      ]
      for (place, packet) in probes {
        try twins.compare("\(name), \(place)", packet.frame, normal: Self.normal)
      }
    }
    // Five in a second are told that there is no route, and one that there is a better one.
    for (number, (name, options)) in [Self.options[0], Self.options[8], Self.options[21]].enumerated() {
      try twins.compare(
        "\(name), without a route", IP(destination: [192, 0, 2, 1], options: options).frame,
        normal: Self.normal)
      twins.perform(OracleSetup.neighbor("10.0.0.2\(number)", 0, OracleSetup.mac(7)))
      try twins.compare(
        "\(name), back",
        IP(source: [10, 0, 0, 20 + UInt8(number)], destination: [10, 0, 0, 9], options: options).frame,
        normal: Self.normal)
    }
    #expect(twins.emulated.kernel.accounting.isClosed)
  }

  @Test("Source routes are followed where they are accepted, and told of")
  func sourceRoutes() throws {
    var twins = try KernelOracleTests.Twins()
    try twins.set("net/ipv4/conf/all/accept_source_route", "1")
    for (name, options, destination) in Self.sourceRoutes {
      try twins.compare(name, IP(destination: destination, options: options).frame, normal: Self.normal)
      try twins.compare(
        "\(name), UDP",
        IP(destination: destination, proto: 17, options: options, payload: [0, 1, 0, 2, 0, 8, 0, 0]).frame,
        normal: Self.normal)
      try twins.compare(
        "\(name), its last hop", IP(destination: destination, ttl: 1, options: options).frame,
        normal: Self.normal)
    }
    #expect(twins.emulated.kernel.accounting.isClosed)
    try twins.emulated.kernel.setSysctl(
      "net/ipv4/conf/all/accept_source_route", to: "0", in: twins.emulated.node)
    try twins.emulated.kernel.setSysctl("net/ipv4/conf/t0/log_martians", to: "1", in: twins.emulated.node)
    for packet in [
      IP(options: Self.record(131, [Self.far])), IP(source: [127, 0, 0, 1]), IP(destination: [0, 0, 0, 0]),
    ] {
      _ = twins.emulated.answers(to: packet.frame)
    }
    #expect(
      twins.emulated.kernel.takeLogs().map(\.prefix) == [
        "source route option 10.0.0.9 -> 10.0.0.1", "martian source 10.0.0.1 from 127.0.0.1, on dev t0",
        "martian destination 0.0.0.0 from 10.0.0.9, dev t0",
      ])
  }
}
