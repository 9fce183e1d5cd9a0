// SPDX-License-Identifier: GPL-2.0-or-later

// The topology's words for what a packet filter says, in those of the ruleset.

import LabCore
import NetTypes
import Nftables
import TopologyModel

extension NftSourcePosition {
  init(_ location: SourceLocation) { self.init(file: location.file, line: location.line) }
}

extension SourceLocation {
  init(_ position: NftSourcePosition) { self.init(file: position.file, line: position.line) }
}

extension Topology.Transport {
  var number: IPProtocol { self == .tcp ? .tcp : .udp }
}

extension NftHook {
  init(_ hook: Topology.Firewall.Hook) {
    switch hook {
    case .input: self = .input
    case .forward: self = .forward
    case .output: self = .output
    }
  }
}

extension ConntrackState {
  init(_ state: Topology.FirewallMatch.State) {
    switch state {
    case .new: self = .new
    case .established: self = .established
    case .related: self = .related
    case .invalid: self = .invalid
    case .untracked: self = .untracked
    }
  }
}

extension RejectReason {
  init(_ rejection: Topology.Rejection) {
    switch rejection {
    case .networkUnreachable: self = .icmpx(0)
    case .portUnreachable: self = .icmpx(1)
    case .hostUnreachable: self = .icmpx(2)
    case .adminProhibited: self = .icmpx(3)
    case .tcpReset: self = .tcpReset
    }
  }
}

extension NftLimit {
  init(_ rate: Topology.Rate) {
    let unit: UInt64 =
      switch rate.per {
      case .second: 1
      case .minute: 60
      case .hour: 3600
      case .day: 86400
      }
    self.init(
      rate: rate.count, unitSeconds: unit, burst: rate.burst ?? 0, countsBytes: rate.inBytes,
      isInverted: rate.over)
  }
}

extension SetUpdate {
  /// Where elements do not age there is nothing to renew, and older kernels refuse to (nft_dynset_init).
  init(_ update: Topology.SetUpdate, ages: Bool) {
    let operation: NftDynset.Operation =
      switch update.operation {
      case .add: .add
      case .update: ages ? .update : .add
      case .remove: .delete
      }
    self.init(
      set: update.set, operation: operation, selectors: update.selectors.map(ResolveWork.selector),
      timeout: update.timeout.map(ResolveWork.milliseconds),
      expressions: update.statements.compactMap { NftExpression(perElement: $0) })
  }
}

extension NftExpression {
  /// What an element keeps for itself; nil for statements that it cannot keep.
  fileprivate init?(perElement statement: Topology.Statement) {
    switch statement {
    case .counter: self = .counter(NftCounter())
    case .limit(let rate): self = .limit(NftLimit(rate))
    case .quota(let bytes, let over): self = .quota(NftQuota(bytes: bytes, isInverted: over))
    case .connectionLimit(let count, let over):
      self = .connlimit(NftConnlimit(count: count, isInverted: over))
    default: return nil
    }
  }
}

extension NftSynproxy {
  init(_ proxy: Topology.SynProxy) {
    self.init(
      maximumSegment: proxy.maximumSegmentSize ?? 0, windowScale: proxy.windowScale ?? 0,
      flags: (proxy.maximumSegmentSize == nil ? 0 : 1) | (proxy.windowScale == nil ? 0 : 2)
        | (proxy.selectiveAcknowledgments ? 4 : 0) | (proxy.timestamps ? 8 : 0))
  }
}

extension Topology.ICMPType {
  /// The messages of both families.
  var services: [FirewallRule.Service] {
    switch self {
    case .echoRequest: [.icmp([.echoRequest]), .icmpv6([.echoRequest])]
    case .echoReply: [.icmp([.echoReply]), .icmpv6([.echoReply])]
    case .destinationUnreachable: [.icmp([.destinationUnreachable]), .icmpv6([.destinationUnreachable])]
    // In IPv4 a code of destination unreachable.
    case .packetTooBig: [.icmp([.destinationUnreachable]), .icmpv6([.packetTooBig])]
    case .timeExceeded: [.icmp([.timeExceeded]), .icmpv6([.timeExceeded])]
    case .parameterProblem: [.icmp([.parameterProblem]), .icmpv6([.parameterProblem])]
    }
  }
}

extension [FirewallRule.Service] {
  /// With the ports and types of one protocol in one place, so that they become one rule with a set.
  var merged: [FirewallRule.Service] {
    var result: [FirewallRule.Service] = []
    for service in self {
      guard let index = result.firstIndex(where: { $0.joined(with: service) != nil }),
        let joined = result[index].joined(with: service)
      else {
        result.append(service)
        continue
      }
      result[index] = joined
    }
    return result
  }
}

extension FirewallRule.Service {
  /// Both in one; nil for different protocols. No ports or types at all means all of them.
  fileprivate func joined(with other: Self) -> Self? {
    func join<Item: Equatable>(_ a: [Item], _ b: [Item]) -> [Item] {
      a.isEmpty || b.isEmpty ? [] : a + b.filter { !a.contains($0) }
    }
    switch (self, other) {
    case (.tcp(let a), .tcp(let b)): return .tcp(join(a, b))
    case (.udp(let a), .udp(let b)): return .udp(join(a, b))
    case (.icmp(let a), .icmp(let b)): return .icmp(join(a, b))
    case (.icmpv6(let a), .icmpv6(let b)): return .icmpv6(join(a, b))
    case (.other(let a), .other(let b)): return a == b ? self : nil
    default: return nil
    }
  }
}

extension Topology.AddressRange {
  /// The fewest prefixes that cover it and nothing else.
  var prefixes: [IPPrefix] {
    switch self {
    case .prefix(let prefix): return [prefix.network]
    case .range(let range):
      let width = range.lowerBound.family.width
      var result: [IPPrefix] = []
      var first = range.lowerBound.number
      let last = range.upperBound.number
      while first <= last {
        // As large as the first address is aligned and the rest is long.
        var bits = min(first == 0 ? width : first.trailingZeroBitCount, width)
        while bits > 0, bits >= 128 || (last - first) < (UInt128(1) << UInt128(bits)) - 1 { bits -= 1 }
        guard let address = IPAddress(number: first, like: range.lowerBound),
          let prefix = IPPrefix(address, length: width - bits)
        else { return result }
        result.append(prefix)
        let (next, overflow) = first.addingReportingOverflow(UInt128(1) << UInt128(bits))
        if overflow { return result }
        first = next
      }
      return result
    }
  }
}

extension IPAddress {
  fileprivate var number: UInt128 { bytes.reduce(0) { $0 << 8 | UInt128($1) } }

  fileprivate init?(number: UInt128, like other: IPAddress) {
    let count = other.family.width / 8
    self.init(bytes: (0..<count).reversed().map { UInt8(truncatingIfNeeded: number >> UInt128($0 * 8)) })
  }
}
