// SPDX-License-Identifier: GPL-2.0-or-later

// What the shop's network must do, said in code where the topology's own expectations do not suffice.

import NetforgeTesting
import Testing

@Suite("The shop")
struct ShopTests {
  /// `topologies/shop.swift`, from where this file is.
  static let topology =
    String(#filePath.dropLast("/shop-tests/Tests/ShopTests/ShopTests.swift".count)) + "/shop.swift"

  @Test("All that its file expects holds", arguments: [1, 2, 3] as [UInt64])
  func expectations(seed: UInt64) async throws {
    try await Lab.with(Self.topology, seed: seed) { lab in
      for observation in await lab.tryExpectations() {
        #expect(observation.verdict == .pass, "\(observation.name): \(observation.seen)")
      }
    }
  }

  @Test("The database gives back what a web server sends, byte for byte")
  func database() async throws {
    let lab = try await Lab(Self.topology)
    let connection = try await lab["web1"].connect(to: "db", port: 5432)
    let query = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let (_, answer) = try await lab.together {
      try await connection.send(query)
    } _: {
      var bytes: [UInt8] = []
      while bytes.count < query.count { bytes += try await connection.receive() }
      return bytes
    }
    #expect(answer == query)
  }

  @Test("The provider sees one address for all web servers, and a port for each connection")
  func masquerade() async throws {
    let lab = try await Lab(Self.topology)
    let socket = try await lab["isp"].bindUDP(port: 53)
    var seen: Set<String> = []
    for web in ["web1", "web2", "web3"] {
      try await lab[web].bindUDP(port: 4000).send("who am I?", to: "isp", port: 53)
      let message = try await socket.receive()
      #expect(message.address == "203.0.113.2")
      seen.insert("\(message.address):\(message.port)")
    }
    #expect(seen.count == 3, "\(seen)")
  }

  @Test("A day passes in no time, and the network still stands")
  func aDay() async throws {
    let lab = try await Lab(Self.topology)
    try await lab.expect("web1", reaches: "db", on: .tcp(5432))
    await lab.clock.advance(by: .seconds(24 * 3600))
    try await lab.expect("web1", reaches: "db", on: .tcp(5432), within: .milliseconds(1))
  }
}
