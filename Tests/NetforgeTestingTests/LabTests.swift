// SPDX-License-Identifier: GPL-2.0-or-later

// A lab in a test's own process, as a user's tests have it.

import Foundation
import NetforgeTesting
import Testing

@Suite("Labs in tests")
struct LabTests {
  static func topology(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
      .appending(path: "topologies/\(name).swift").path()
  }

  @Test("Connections, datagrams and pings between nodes, in virtual time")
  func sockets() async throws {
    let lab = try await Lab(Self.topology("shop"))
    let connection = try await lab["web1"].connect(to: "db", port: 5432)
    try await connection.send("hello")
    #expect(try await connection.receive() == Array("hello".utf8))
    await connection.close()

    let listener = try await lab["isp"].listen(port: 9000)
    let (greeting, peer) = try await lab.together {
      let client = try await lab["web2"].connect(to: "isp", port: 9000)
      let bytes = try await client.receiveToEnd()
      return String(decoding: bytes, as: UTF8.self)
    } _: {
      for try await client in listener {
        try await client.send("welcome")
        await client.close()
        return client.peer
      }
      return ""
    }
    #expect(greeting == "welcome" && peer.hasPrefix("203.0.113.2:"))

    let socket = try await lab["isp"].bindUDP(port: 53)
    try await lab["web3"].bindUDP().send("question", to: "isp", port: 53)
    let message = try await socket.receive()
    #expect(message.bytes == Array("question".utf8) && message.address == "203.0.113.2" && message.ttl == 63)

    let answer = try #require(try await lab["web1"].ping("gw"))
    #expect(answer.from == "10.0.1.1" && answer.ttl == 64)
    #expect(try await lab["web1"].ping("db") == nil)
    await #expect(throws: LabError.self) { _ = try await lab["web9"].ping("db") }
  }

  @Test("Time passes when it is told to, and not otherwise")
  func time() async throws {
    let lab = try await Lab(Self.topology("quickstart"))
    let begin = lab.clock.now
    await lab.clock.advance(by: .seconds(86_400))
    #expect(lab.clock.isVirtual && lab.clock.now - begin == .seconds(86_400))
  }

  @Test("Expectations in code, and the file's own")
  func expectations() async throws {
    try await Lab.with(Self.topology("nat-sites")) { lab in
      try await lab.expect("h1", reaches: "h0", on: .http(80, status: 200, body: "h0 in lab"))
      try await lab.expect("h1", appearsTo: "h0", as: "10.0.0.11")
      try await lab.expect("h1", cannotReach: "h2")
      let failure = await #expect(throws: ExpectationFailure.self) {
        try await lab.expect("h1", cannotReach: "h0", on: .tcp(80))
      }
      #expect(failure?.observation.verdict == .fail)
      let unclear = await #expect(throws: ExpectationFailure.self) {
        try await lab.expect("h0", cannotReach: "h1")
      }
      #expect(unclear?.observation.verdict == .inconclusive)
      let all = await lab.tryExpectations()
      #expect(all.count > 5 && all.allSatisfy { $0.verdict == .pass }, "\(all)")
    }
  }
}
