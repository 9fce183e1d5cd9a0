// SPDX-License-Identifier: GPL-2.0-or-later

// What netforge's own services do with the bytes of a connection, whichever datapath carries them.

public import LabCore
public import NetTypes

/// What a service does with the bytes of a connection.
public protocol ServiceBehavior: Sendable {
  /// Seconds without a byte after which the connection ends.
  var idleLimit: Int { get }
  /// Takes what it can from the front of `input` and adds to `output`. True when the connection ends with `output`.
  mutating func take(_ input: inout [UInt8], into output: inout [UInt8], now: Instant) -> Bool
  /// Adds what it says without being asked, whenever all before it is on its way.
  mutating func produce(into output: inout [UInt8])
  /// The connection is over.
  mutating func end()
}

extension ServiceBehavior {
  public mutating func produce(into output: inout [UInt8]) {}
  public mutating func end() {}
}

/// What all connections of one open service have in common.
public protocol ServiceProgram: Sendable {
  /// For a connection that has come.
  func behavior() -> any ServiceBehavior
  /// Whether, since this was asked last, one connection has given others something to say.
  func takeNews() -> Bool
  /// What answers a datagram: nil is no answer, an empty one sends back what came.
  var datagramAnswer: [UInt8]? { get }
}

/// A service whose connections know nothing of each other.
struct SeparateConnections: ServiceProgram {
  let make: @Sendable () -> any ServiceBehavior
  var datagramAnswer: [UInt8]?

  func behavior() -> any ServiceBehavior { make() }
  func takeNews() -> Bool { false }
}

/// RFC 862.
struct EchoBehavior: ServiceBehavior {
  let idleLimit = 300

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8], now: Instant) -> Bool {
    output += input
    input = []
    return false
  }
}

/// RFC 863.
struct DiscardBehavior: ServiceBehavior {
  let idleLimit = 300

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8], now: Instant) -> Bool {
    input = []
    return false
  }
}

/// RFC 864: lines of 72 characters, each beginning one further in the ring of the 95 that print.
struct CharacterGenerator: ServiceBehavior {
  let idleLimit = 300
  private var start = 0

  static func line(_ start: Int) -> [UInt8] {
    (0..<72).map { UInt8(0x20 + (start + $0) % 95) } + [0x0d, 0x0a]
  }

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8], now: Instant) -> Bool {
    input = []
    return false
  }

  mutating func produce(into output: inout [UInt8]) {
    for _ in 0..<95 {
      output += Self.line(start)
      start = (start + 1) % 95
    }
  }
}

extension NodeService {
  /// What an open service of a node does.
  public func program(of node: NodeName, in lab: LabName) -> any ServiceProgram {
    switch kind {
    case .http:
      let body = Array("\(node) in lab \(lab)\n".utf8)
      return SeparateConnections { HTTPResponder(body: body) }
    case .echo: return SeparateConnections(make: { EchoBehavior() }, datagramAnswer: [])
    case .discard: return SeparateConnections { DiscardBehavior() }
    case .chargen:
      return SeparateConnections(
        make: { CharacterGenerator() }, datagramAnswer: CharacterGenerator.line(0))
    case .iperf: return IperfServer()
    }
  }
}

extension NodeService.Kind {
  /// Whether it answers, or takes, datagrams as well.
  public var takesDatagrams: Bool {
    switch self {
    case .http, .iperf: false
    case .echo, .discard, .chargen: true
    }
  }
}
