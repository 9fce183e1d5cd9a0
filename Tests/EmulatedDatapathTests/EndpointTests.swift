// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets in emulated nodes, in real time: what probes, verbs and services stand on.

import Capture
import Glibc
import LabCore
import NetTypes
import Testing

@testable import EmulatedDatapath

@Suite("Emulated endpoints")
struct EndpointTests {
  private static let first = SocketEndpoint(.v4(IPv4Address(10, 77, 0, 1)), 0)
  private static let second = SocketEndpoint(.v4(IPv4Address(10, 77, 0, 2)), 0)
  private static let missing = SocketEndpoint(.v4(IPv4Address(10, 77, 0, 99)), 0)

  private func node(_ number: Int) throws -> NodeName { try #require(NodeName("n\(number)")) }

  @Test("A ping is answered with its own bytes, and one to nobody with an error or not at all")
  func ping() async throws {
    let lab = try StarLab("emu-ping")
    try await lab.up(lab.star(nodes: 2))
    let echo = try await lab.datapath.endpoint(.echo(.ipv4), in: node(0), of: lab.name)
    let payload = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
    try await echo.send(payload, to: Self.second)
    let answer = try await echo.receive(limit: 2048, timeout: .seconds(5))
    #expect(answer.bytes == payload)
    #expect(answer.source == Self.second && answer.hopLimit == 64)
    let error = await #expect(throws: DatapathError.self) {
      _ = try await echo.receive(limit: 2048, timeout: .milliseconds(50))
    }
    #expect(error?.code == .timeout)
    try await echo.send([1], to: Self.missing)
    let report = try await echo.receive(limit: 2048, timeout: .seconds(10))
    #expect(report.error == ICMPError(type: 3, code: 1, family: .ipv4), "\(report)")
    #expect(report.source == Self.first)
    await echo.close()
    let closed = await #expect(throws: DatapathError.self) { try await echo.send([1], to: Self.second) }
    #expect(closed?.errno == EBADF)
  }

  @Test("Datagrams go to and fro; a port is one socket's; closing ends a wait")
  func datagrams() async throws {
    let lab = try StarLab("emu-udp")
    try await lab.up(lab.star(nodes: 2))
    let any = IPAddress.v4(.any)
    let server = try await lab.datapath.endpoint(
      .bindUDP(SocketEndpoint(any, 5000)), in: node(1), of: lab.name)
    let client = try await lab.datapath.endpoint(.bindUDP(SocketEndpoint(any, 0)), in: node(0), of: lab.name)
    try await client.send(Array("hello".utf8), to: SocketEndpoint(Self.second.address, 5000))
    let request = try await server.receive(limit: 2048, timeout: .seconds(5))
    #expect(request.bytes == Array("hello".utf8) && request.source.address == Self.first.address)
    try await server.send(Array("there".utf8), to: request.source)
    #expect(try await client.receive(limit: 3, timeout: .seconds(5)).bytes == Array("the".utf8))
    let taken = await #expect(throws: DatapathError.self) {
      _ = try await lab.datapath.endpoint(.bindUDP(SocketEndpoint(any, 5000)), in: node(1), of: lab.name)
    }
    #expect(taken?.errno == EADDRINUSE)
    let waiting = Task {
      do throws(DatapathError) {
        _ = try await server.receive(limit: 1, timeout: .seconds(60))
        return Int32(0)
      } catch {
        return error.errno ?? -1
      }
    }
    try await Task.sleep(for: .milliseconds(50))
    await server.close()
    #expect(await waiting.value == EBADF)
  }

  @Test("A cancelled wait ends, and the socket is free for another")
  func cancellation() async throws {
    let lab = try StarLab("emu-cancel")
    try await lab.up(lab.star(nodes: 1))
    let socket = try await lab.datapath.endpoint(
      .bindUDP(SocketEndpoint(.v4(.any), 7000)), in: node(0), of: lab.name)
    let waiting = Task { try await socket.receive(limit: 1, timeout: .seconds(60)) }
    try await Task.sleep(for: .milliseconds(50))
    waiting.cancel()
    await #expect(throws: DatapathError.self) { _ = try await waiting.value }
    try await socket.send([7], to: SocketEndpoint(Self.first.address, 7000))
    #expect(try await socket.receive(limit: 1, timeout: .seconds(5)).bytes == [7])
  }

  @Test("Echo answers datagrams and discard takes them")
  func services() async throws {
    let lab = try StarLab("emu-services")
    try await lab.up(lab.star(nodes: 2))
    let place = SourceLocation(file: "x.swift", line: 1)
    let echo = try await lab.datapath.open(
      NodeService(kind: .echo, port: 7, location: place), in: node(1), of: lab.name)
    let discard = try await lab.datapath.open(
      NodeService(kind: .discard, port: 9, location: place), in: node(1), of: lab.name)
    let client = try await lab.datapath.endpoint(
      .bindUDP(SocketEndpoint(.v4(.any), 0)), in: node(0), of: lab.name)
    for number in UInt8(0)..<20 {
      try await client.send([number], to: SocketEndpoint(Self.second.address, 9))
      try await client.send([number, 1], to: SocketEndpoint(Self.second.address, 7))
      let answer = try await client.receive(limit: 10, timeout: .seconds(5))
      #expect(answer.bytes == [number, 1] && answer.source.port == 7)
    }
    echo.close()
    discard.close()
  }

  @Test("Connections carry bytes both ways, however many, and end; what listens nowhere is refused")
  func connections() async throws {
    let lab = try StarLab("emu-tcp")
    try await lab.up(lab.star(nodes: 2))
    let target = SocketEndpoint(Self.second.address, 8080)
    let refused = await #expect(throws: DatapathError.self) {
      _ = try await lab.datapath.endpoint(
        .connectTCP(to: target, from: nil, timeout: .seconds(5)), in: node(0), of: lab.name)
    }
    #expect(refused?.errno == ECONNREFUSED)
    let listener = try await lab.datapath.endpoint(.listenTCP(target), in: node(1), of: lab.name)
    let client = try await lab.datapath.endpoint(
      .connectTCP(to: target, from: SocketEndpoint(Self.first.address, 0), timeout: .seconds(5)), in: node(0),
      of: lab.name)
    let (server, peer) = try await listener.accept(timeout: .seconds(5))
    #expect(try await client.localEndpoint() == peer && peer.address == Self.first.address)
    // More than all buffers hold, so that both ends have to take turns.
    let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    async let sent: Void = client.send(bytes, to: nil)
    var received: [UInt8] = []
    while received.count < bytes.count {
      received += try await server.receive(limit: 1 << 20, timeout: .seconds(20)).bytes
    }
    try await sent
    #expect(received == bytes)
    try await server.send([1, 2, 3], to: nil)
    let answer = try await client.receive(limit: 10, timeout: .seconds(5))
    #expect(answer.bytes == [1, 2, 3] && answer.source == target)
    await client.close()
    #expect(try await server.receive(limit: 10, timeout: .seconds(5)).bytes.isEmpty)
    let nobody = await #expect(throws: DatapathError.self) {
      _ = try await listener.accept(timeout: .milliseconds(20))
    }
    #expect(nobody?.code == .timeout)
  }

  @Test("A closed socket's number is another's: the first owner closes it no more")
  func numbers() async throws {
    let lab = try StarLab("emu-numbers")
    try await lab.up(lab.star(nodes: 1))
    let any = SocketEndpoint(.v4(.any), 6000)
    var first: (any NodeEndpoint)? = try await lab.datapath.endpoint(.bindUDP(any), in: node(0), of: lab.name)
    await first?.close()
    let second = try await lab.datapath.endpoint(.bindUDP(any), in: node(0), of: lab.name)
    await #expect(throws: DatapathError.self) { _ = try await first?.localEndpoint() }
    first = nil
    try await second.send([9], to: SocketEndpoint(Self.first.address, 6000))
    #expect(try await second.receive(limit: 1, timeout: .seconds(5)).bytes == [9])
  }

  @Test("A raw socket sees what arrives, whoever holds the port")
  func arrivals() async throws {
    let lab = try StarLab("emu-arrivals")
    try await lab.up(lab.star(nodes: 2))
    let watch = try await lab.datapath.endpoint(.arrivals(.ipv4, protocol: 1), in: node(1), of: lab.name)
    let echo = try await lab.datapath.endpoint(.echo(.ipv4), in: node(0), of: lab.name)
    try await echo.send(Array("token".utf8), to: Self.second)
    let seen = try await watch.receive(limit: 2048, timeout: .seconds(5))
    #expect(seen.source == Self.first && seen.bytes.first == 8)
    #expect(Array(seen.bytes.dropFirst(EchoMessage.headerLength)) == Array("token".utf8))
  }

  @Test("Virtual time jumps while everybody waits, stands while somebody works, and gives the same run again")
  func virtualTime() async throws {
    func run() async throws -> [Int64] {
      let lab = try StarLab("emu-virtual", time: .virtual)
      try await lab.up(lab.star(nodes: 2))
      let clock = lab.datapath.clock
      var times = [clock.now().nanoseconds]
      let hour = Interval.seconds(3600)
      await clock.sleep(until: clock.now() + hour)
      times.append(clock.now().nanoseconds)
      let echo = try await lab.datapath.endpoint(.echo(.ipv4), in: node(0), of: lab.name)
      try await echo.send([1], to: Self.missing)
      // Three ARP requests, a second apart.
      let report = try await echo.receive(limit: 10, timeout: hour)
      #expect(report.error == ICMPError(type: 3, code: 1, family: .ipv4))
      times.append(clock.now().nanoseconds)
      try await Task.sleep(for: .milliseconds(20))
      times.append(clock.now().nanoseconds)
      // Two tasks: time waits for both.
      await clock.enter()
      let begin = clock.now()
      async let long: Void = clock.sleep(until: begin + .seconds(2))
      await clock.sleep(until: begin + .seconds(1))
      times.append(clock.now().nanoseconds)
      await clock.leave()
      await long
      times.append(clock.now().nanoseconds)
      return times
    }
    let times = try await run()
    #expect(times[1] - times[0] == 3_600_000_000_000)
    #expect(times[2] - times[1] < 5_000_000_000 && times[2] > times[1])
    #expect(times[3] == times[2])
    #expect(times[4] - times[3] == 1_000_000_000 && times[5] - times[4] == 1_000_000_000)
    #expect(try await run() == times)
  }

  @Test("Several CPUs carry what one does: the same state, every byte, and a packet's way told in order")
  func severalCPUs() async throws {
    let one = try StarLab("emu-cpus")
    let lab = try StarLab("emu-cpus", cpus: 4)
    let state = try lab.star(nodes: 7)
    try await one.up(state)
    try await lab.up(state)
    // Addresses of ports are left to chance, and each CPU has its own.
    func observed(_ lab: StarLab) async throws -> LabState {
      var state = try await lab.observe(state)
      for space in state.namespaces.indices {
        for link in state.namespaces[space].links.indices { state.namespaces[space].links[link].mac = nil }
      }
      return state
    }
    #expect(try await observed(lab) == observed(one))
    #expect(lab.datapath.placement.cpu(of: .node(try node(5))) == 1, "nodes go round")
    let echo = try await lab.datapath.open(
      NodeService(kind: .echo, port: 7, location: SourceLocation(file: "f", line: 1)), in: node(6),
      of: lab.name)
    // Six streams at a time, from all CPUs to one, and back.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<6 {
        let (datapath, sender) = (lab.datapath, try node(number))
        let name = lab.name
        group.addTask {
          let peer = SocketEndpoint(.v4(IPv4Address(rawValue: 0x0a4d_0007)), 7)
          let client = try await datapath.endpoint(
            .connectTCP(to: peer, from: nil, timeout: .seconds(10)), in: sender, of: name)
          let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* (number + 3)) }
          var back: [UInt8] = []
          // A socket has one who waits for it.
          while back.count < bytes.count {
            let next = min(back.count + 30_000, bytes.count)
            try await client.send(Array(bytes[back.count..<next]), to: nil)
            while back.count < next {
              back += try await client.receive(limit: 65_536, timeout: .seconds(10)).bytes
            }
          }
          #expect(back == bytes)
          await client.close()
        }
      }
      try await group.waitForAll()
    }
    echo.close()
    let points = state.namespaces.flatMap { space in
      space.links.map { CapturePoint(LinkReference(space.id, $0.name), name: "\(space.id) \($0.name)") }
    }
    let probe = ProbePacket(
      from: .v4(IPv4Address(rawValue: 0x0a4d_0001)), to: .v4(IPv4Address(rawValue: 0x0a4d_0006)), .icmp,
      mark: 0x1234_5678_9abc_def1)
    let report = try await lab.datapath.trace(
      TraceRequest(node: node(0), probe: probe, points: points, wait: .seconds(5)), of: lab.name)
    let (sender, receiver) = (NamespaceID.node(try node(0)), NamespaceID.node(try node(5)))
    let first = points.firstIndex { $0.link == LinkReference(sender, "eth0") }
    let target = points.firstIndex { $0.link == LinkReference(receiver, "eth0") }
    #expect(report.sightings.first?.point == first && report.sightings.last?.point == first, "there and back")
    #expect(report.sightings.map(\.time) == report.sightings.map(\.time).sorted())
    #expect(
      report.notes.contains { note in
        if case .ring(target ?? -1, fill: 1, size: 256) = note.kind { true } else { false }
      }, "\(report.notes)")
    try await lab.datapath.remove(lab.name)
    #expect(try await lab.observe(state).namespaces.isEmpty)
  }
}
