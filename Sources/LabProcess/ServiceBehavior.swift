// SPDX-License-Identifier: GPL-2.0-or-later

// What netforge's own services do with the bytes of a connection, whichever datapath carries them.

public import LabCore

/// What a service does with the bytes of a connection.
public protocol ServiceBehavior: Sendable {
  /// Seconds without a byte after which the connection ends.
  var idleLimit: Int { get }
  /// Takes what it can from the front of `input` and adds to `output`. True when the connection ends with `output`.
  mutating func take(_ input: inout [UInt8], into output: inout [UInt8]) -> Bool
}

/// RFC 862.
struct EchoBehavior: ServiceBehavior {
  let idleLimit = 300

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8]) -> Bool {
    output += input
    input = []
    return false
  }
}

/// RFC 863.
struct DiscardBehavior: ServiceBehavior {
  let idleLimit = 300

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8]) -> Bool {
    input = []
    return false
  }
}

extension NodeService {
  /// What the service of a node does with a new connection.
  public func behavior(of node: NodeName, in lab: LabName) -> any ServiceBehavior {
    switch kind {
    case .http: HTTPResponder(body: Array("\(node) in lab \(lab)\n".utf8))
    case .echo: EchoBehavior()
    case .discard: DiscardBehavior()
    }
  }
}
