// SPDX-License-Identifier: GPL-2.0-or-later

// What an expression or map element decides about a packet.

/// A verdict.
public enum NftVerdict: Hashable, Codable, Sendable {
  case accept, drop
  /// Goes on with the next rule, deciding nothing.
  case `continue`
  case `return`
  case jump(String)
  case goto(String)
  /// Any other code, as the kernel holds it (NF_QUEUE with its number, NF_STOLEN).
  case other(Int32)

  /// The code on the wire (NF_*, NFT_*).
  public var code: Int32 {
    switch self {
    case .drop: 0
    case .accept: 1
    case .continue: -1
    case .jump: -3
    case .goto: -4
    case .return: -5
    case .other(let code): code
    }
  }

  /// Nil when a jump or goto has no chain.
  public init?(code: Int32, chain: String?) {
    switch code {
    case 0: self = .drop
    case 1: self = .accept
    case -1: self = .continue
    case -5: self = .return
    case -3, -4:
      guard let chain, !chain.isEmpty else { return nil }
      self = code == -3 ? .jump(chain) : .goto(chain)
    default: self = .other(code)
    }
  }

  /// The chain that a jump or goto leads to.
  public var target: String? {
    switch self {
    case .jump(let chain), .goto(let chain): chain
    default: nil
    }
  }
}

extension NftVerdict: CustomStringConvertible {
  /// As nft writes it.
  public var description: String {
    switch self {
    case .accept: "accept"
    case .drop: "drop"
    case .continue: "continue"
    case .return: "return"
    case .jump(let chain): "jump \(chain)"
    case .goto(let chain): "goto \(chain)"
    case .other(let code): "verdict \(code)"
    }
  }
}
