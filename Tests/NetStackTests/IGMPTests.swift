// SPDX-License-Identifier: GPL-2.0-or-later

// What a host tells of its groups, and when (RFC 2236, 3376).

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Groups")
struct IGMPTests {
  struct Host: ~Copyable {
    var kernel: Kernel
    let node: NamespaceIndex
    let face: DeviceIndex
    let socket: SocketIndex

    init() throws {
      var kernel = Kernel()
      let node = try kernel.node()
      let face = try kernel.makeOutside(
        try #require(InterfaceName("eth0")), in: node, mac: MACAddress(bytes: [2, 0, 0, 0, 0, 1]))
      try kernel.set("eth0", up: true, in: node)
      try kernel.address("10.0.0.1/24", "eth0", node)
      let socket = try kernel.makeSocket(.udp(.ipv4), in: node)
      self.kernel = kernel
      self.node = node
      self.face = face
      self.socket = socket
    }

    /// The IGMP messages that have come out: where to, type, and the first group.
    mutating func said(_ time: Interval) -> [String] {
      kernel.run(for: time)
      var messages: [String] = []
      while let frame = kernel.takeFrame(from: face) {
        guard frame[12] == 8, frame[13] == 0, frame[23] == 2 else { continue }
        #expect(KernelOracleTests.checksum(frame[14..<38]) == [0, 0])
        #expect(KernelOracleTests.checksum(frame[38...]) == [0, 0])
        #expect(frame[22] == 1 && Array(frame[34..<38]) == [0x94, 4, 0, 0])
        let isRecord = frame[38] == 0x22
        let group = isRecord ? frame[50..<54] : frame[42..<46]
        messages.append(
          "\(frame[33]) \(String(frame[38], radix: 16))\(isRecord ? "/\(frame[46])" : "") \(group.map { "\($0)" }.joined(separator: "."))"
        )
      }
      return messages
    }

    mutating func query(_ code: UInt8, _ group: [UInt8] = [0, 0, 0, 0], isV3: Bool = false) {
      var message: [UInt8] = [0x11, code, 0, 0] + group + (isV3 ? [2, 125, 0, 0] : [])
      let sum = KernelOracleTests.checksum(message)
      message[2] = sum[0]
      message[3] = sum[1]
      let ip = KernelOracleTests.IP(
        destination: group == [0, 0, 0, 0] ? [224, 0, 0, 1] : group, proto: 2, ttl: 1,
        options: [0x94, 4, 0, 0], payload: message, link: [1, 0, 0x5e, 0, 0, 1])
      kernel.inject(ip.frame, into: face)
    }
  }

  static let group = IPv4Address("239.1.2.3") ?? .any

  @Test(
    "A host tells twice that it has joined and that it has left, and answers routers of the third version")
  func third() throws {
    var host = try Host()
    _ = host.said(.seconds(1))
    try host.kernel.setOption(.joinGroup(.v4(Self.group), device: 2), on: host.socket)
    let joined = host.said(.seconds(5))
    #expect(joined == ["22 22/4 239.1.2.3", "22 22/4 239.1.2.3"])
    host.query(100, isV3: true)
    let answered = host.said(.seconds(11))
    #expect(answered == ["22 22/2 239.1.2.3"])
    host.query(10, [239, 1, 2, 3], isV3: true)
    let alone = host.said(.seconds(2))
    #expect(alone == ["22 22/2 239.1.2.3"])
    try host.kernel.setOption(.leaveGroup(.v4(Self.group), device: 2), on: host.socket)
    let left = host.said(.seconds(5))
    #expect(left == ["22 22/3 239.1.2.3", "22 22/3 239.1.2.3"])
    let others = host.said(.seconds(500))
    #expect(others.isEmpty)
    #expect(host.kernel.accounting.isClosed)
  }

  @Test("To a router of the second version it speaks the second, and tells it alone that it leaves")
  func second() throws {
    var host = try Host()
    host.query(100)
    _ = host.said(.seconds(1))
    try host.kernel.setOption(.joinGroup(.v4(Self.group), device: 2), on: host.socket)
    let joined = host.said(.seconds(12))
    #expect(joined == ["3 16 239.1.2.3", "3 16 239.1.2.3"])
    host.query(100)
    let answered = host.said(.seconds(11))
    #expect(answered == ["3 16 239.1.2.3"])
    host.kernel.close(host.socket)
    let left = host.said(.seconds(1))
    #expect(left == ["2 17 239.1.2.3"])
    #expect(host.kernel.accounting.isClosed)
  }

  @Test("Datagrams to a group come to who has joined it, and to nobody before and after")
  func delivery() throws {
    var host = try Host()
    func datagram() -> [UInt8] {
      KernelOracleTests.IP(
        destination: [239, 1, 2, 3], proto: 17, payload: [0x30, 0x39, 0x13, 0x88, 0, 12, 0, 0, 1, 2, 3, 4],
        link: [1, 0, 0x5e, 1, 2, 3]
      ).frame
    }
    func heard(_ kernel: inout Kernel, _ socket: SocketIndex) -> Int {
      var count = 0
      var bytes: [UInt8] = []
      while (try? kernel.receive(socket, into: &bytes)) != nil { count += 1 }
      return count
    }
    try host.kernel.bind(host.socket, to: SocketAddress(.v4(.any), 5000))
    host.kernel.inject(datagram(), into: host.face)
    _ = host.said(.milliseconds(1))
    let before = heard(&host.kernel, host.socket)
    try host.kernel.setOption(.joinGroup(.v4(Self.group), device: 2), on: host.socket)
    host.kernel.inject(datagram(), into: host.face)
    _ = host.said(.seconds(5))
    let during = heard(&host.kernel, host.socket)
    try host.kernel.setOption(.leaveGroup(.v4(Self.group), device: 2), on: host.socket)
    host.kernel.inject(datagram(), into: host.face)
    _ = host.said(.seconds(5))
    let after = heard(&host.kernel, host.socket)
    #expect([before, during, after] == [0, 1, 0])
    #expect(throws: KernelError(99)) {
      try host.kernel.setOption(.leaveGroup(.v4(Self.group), device: 2), on: host.socket)
    }
    #expect(throws: KernelError(22)) {
      try host.kernel.setOption(.joinGroup(.v4(v4("10.0.0.9")), device: 2), on: host.socket)
    }
  }
}
