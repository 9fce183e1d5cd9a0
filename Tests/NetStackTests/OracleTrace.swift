// SPDX-License-Identifier: GPL-2.0-or-later

// What rules do to the packets that come of a probe, step by step, as the host's kernel tells it (NFT_MSG_TRACE) and as
// the emulated one does, in the same words.

import Netlink
import Nftables

@testable import NetStack

/// The steps of each packet. One that a rule makes meets rules before that rule is told of in one kernel and may
/// meet them later in the other, so that only the order of a packet's own steps counts.
struct OracleTrace {
  private var told: [(id: UInt32, step: String)] = []

  /// By packet, each by the number in which packets come up.
  var lines: [String] {
    var ids: [UInt32] = []
    for step in told where !ids.contains(step.id) { ids.append(step.id) }
    return ids.enumerated().flatMap { number, id in
      told.filter { $0.id == id }.map { "packet \(number) \($0.step)" }
    }
  }

  /// As they were told, of whatever packet: the kernel gives the copies of a packet numbers of their own.
  var steps: [String] { told.map(\.step) }

  /// Whether both tell the same. The kernel makes a packet's number from where it lies and what flow it is of, so that one
  /// may have the number of another that is gone.
  func agrees(with other: OracleTrace) -> Bool {
    lines == other.lines || steps.sorted() == other.steps.sorted()
  }

  init(_ messages: [NftTraceMessage], _ rules: NftHandles) {
    for message in messages {
      // The headers come with the first step of a base chain.
      if !message.transport.isEmpty { add(message.id, Self.headers(message.chain, message.transport)) }
      switch message.step {
      case .rule(let handle, let verdict):
        add(message.id, Self.rule(message.chain, handle, verdict, rules))
      case .policy(let verdict): add(message.id, Self.policy(message.chain, verdict))
      // The emulated kernel does not tell of it, as nft does not.
      case .end: break
      }
    }
  }

  init(_ records: [NftTraceRecord], _ rules: NftHandles) {
    for record in records {
      switch record.event {
      case .packet(let chain, let packet):
        if !packet.transport.isEmpty { add(record.id, Self.headers(chain, packet.transport)) }
      case .rule(let chain, let handle, let verdict):
        add(record.id, Self.rule(chain, handle, verdict, rules))
      case .policy(let chain, let verdict): add(record.id, Self.policy(chain, verdict))
      // What NAT does is none of nf_tables' steps.
      case .translation: break
      }
    }
  }

  private mutating func add(_ id: UInt32, _ step: String) { told.append((id, step)) }

  /// Without what is TCP's checksum: the sum of a host's own segment is its device's business in one of the kernels.
  private static func headers(_ chain: NftChainKey, _ transport: [UInt8]) -> String {
    "\(chain.chain) \(transport.prefix(16)) \(transport.dropFirst(18))"
  }

  private static func rule(
    _ chain: NftChainKey, _ handle: UInt64, _ verdict: NftVerdict, _ rules: NftHandles
  ) -> String {
    "\(chain.chain) rule \(rules.rules[chain]?.firstIndex(of: handle) ?? -1) \(verdict)"
  }

  private static func policy(_ chain: NftChainKey, _ verdict: NftVerdict) -> String {
    "\(chain.chain) policy \(verdict)"
  }
}
