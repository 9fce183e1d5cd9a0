// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel checks of a base chain and all that it reaches when a ruleset is committed (nft_table_validate,
// nft_chain_validate, each expression's validate): how deep jumps go, and which statements may stand at which hook.

import Nftables

/// Checks the chains of one table.
struct NftChainValidator {
  /// Jumps one in another (NFT_JUMP_STACK_SIZE, less the base chain).
  private static let depth = 16
  private let table: NftTable
  private let chains: [String: NftChain]

  init(_ table: NftTable) {
    self.table = table
    chains = Dictionary(table.chains.map { ($0.name, $0) }) { first, _ in first }
  }

  /// - Throws: EMLINK for jumps too deep or in a circle, EOPNOTSUPP for what has no place at the hook.
  func validate(_ chain: NftChain, _ base: NftBaseChain) throws(KernelError) {
    guard base.hook.number(in: table.family) != nil else { throw KernelError(95) }
    switch base.type {
    case .filter: break
    case .nat:
      guard [.ip, .ip6, .inet].contains(table.family),
        [.prerouting, .input, .output, .postrouting].contains(base.hook), base.priority > -200
      else { throw KernelError(95) }
    case .route:
      guard [.ip, .ip6, .inet].contains(table.family), base.hook == .output else { throw KernelError(95) }
    }
    try visit(chain, base, 0)
  }

  private func visit(_ chain: NftChain, _ base: NftBaseChain, _ level: Int) throws(KernelError) {
    guard level < Self.depth else { throw KernelError(31) }
    for rule in chain.rules {
      for expression in rule.expressions {
        try check(expression, base)
        for target in targets(expression) {
          guard let next = chains[target] else { throw .noSuchEntry }
          guard next.base == nil else { throw KernelError(95) }
          try visit(next, base, level + 1)
        }
      }
    }
  }

  private func targets(_ expression: NftExpression) -> [String] {
    switch expression {
    case .immediate(let immediate):
      if case .verdict(let verdict) = immediate.value, let target = verdict.target { [target] } else { [] }
    case .lookup(let lookup):
      set(lookup.set)?.elements.compactMap { element in
        if case .verdict(let verdict)? = element.value { verdict.target } else { nil }
      } ?? []
    default: []
    }
  }

  private func set(_ reference: NftSetReference) -> NftSet? {
    switch reference {
    case .named(let name): table.set(name)
    case .anonymous(let set): set
    }
  }

  /// NFT_OBJECT_* of what a rule refers to.
  private func type(of target: NftObjectReference.Target) -> UInt32? {
    switch target {
    case .named(let type, _): type
    case .map(let reference, _): if case .object(let type)? = set(reference)?.data { type } else { nil }
    }
  }

  private func check(_ expression: NftExpression, _ base: NftBaseChain) throws(KernelError) {
    let allowed: Bool
    switch expression {
    case .nat(let nat):
      allowed =
        base.type == .nat
        && (nat.kind == .source
          ? [.postrouting, .input].contains(base.hook) : [.prerouting, .output].contains(base.hook))
    case .masquerade: allowed = base.type == .nat && base.hook == .postrouting
    case .redirect: allowed = base.type == .nat && [.prerouting, .output].contains(base.hook)
    case .reject:
      allowed = table.family == .netdev ? base.hook == .ingress : base.hook != .postrouting
    case .flowOffload: allowed = [.ip, .ip6, .inet].contains(table.family) && base.hook == .forward
    case .tproxy: allowed = base.hook == .prerouting
    case .socket: allowed = [.prerouting, .input, .output].contains(base.hook)
    case .fwd: allowed = table.family == .netdev
    case .dup: allowed = [.netdev, .ip, .ip6, .inet].contains(table.family)
    case .synproxy: allowed = admitsProxy(base)
    case .objectReference(let reference) where type(of: reference.target) == NftObjectKind.synproxy.rawValue:
      allowed = admitsProxy(base)
    case .rt(let rt) where rt.key == .tcpMSS:
      allowed = [.forward, .output, .postrouting].contains(base.hook)
    default: allowed = true
    }
    guard allowed else { throw KernelError(95) }
  }

  /// nft_synproxy_validate.
  private func admitsProxy(_ base: NftBaseChain) -> Bool {
    [.ip, .ip6, .inet].contains(table.family) && [.input, .forward].contains(base.hook)
  }
}
