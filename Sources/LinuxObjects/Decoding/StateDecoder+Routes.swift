// SPDX-License-Identifier: GPL-2.0-or-later

// Routes, policy rules and queueing disciplines.

import LabCore
import NetTypes
import Rtnetlink

extension StateDecoder {
  func decodeRoute(_ message: RouteMessage, _ result: inout Decoding) {
    guard let family = message.family.internet,
      let type = RouteState.RouteType(rawValue: message.type.rawValue),
      !message.flags.contains(.cloned)
    else { return }
    var route = RouteState(
      destination: message.destination ?? .everything(family), table: message.table, type: type)
    route.typeOfService = message.typeOfService
    route.metric = message.priority ?? 0
    route.preferredSource = message.preferredSource
    route.scope = AddressScope(rawValue: message.scope.rawValue)
    route.mtu = message.metrics.mtu
    route.nextHops = nextHops(of: message, type, result)
    result.add(route, to: \.routes, owned: message.protocolNumber.rawValue == Ownership.routeProtocol)
  }

  private func nextHops(
    of message: RouteMessage, _ type: RouteState.RouteType, _ result: Decoding
  ) -> [RouteState.NextHop] {
    switch type {
    // IPv6 lets such routes point to `lo`.
    case .blackhole, .unreachable, .prohibit, .throw: return []
    default: break
    }
    guard message.nextHops.isEmpty else {
      let hops = message.nextHops.map { hop in
        RouteState.NextHop(
          gateway: hop.gateway, link: result.names[hop.outputIndex], weight: hop.weight,
          isOnLink: hop.flags.contains(.onLink))
      }
      return hops.sorted(by: Self.precedes)
    }
    let hop = RouteState.NextHop(
      gateway: message.gateway, link: message.outputIndex.flatMap { result.names[$0] },
      isOnLink: message.flags.contains(.onLink))
    return hop.gateway == nil && hop.link == nil ? [] : [hop]
  }

  private static func precedes(_ a: RouteState.NextHop, _ b: RouteState.NextHop) -> Bool {
    switch (a.gateway, b.gateway) {
    case (nil, .some): return true
    case (.some, nil): return false
    case (let first?, let second?) where first != second: return first < second
    default: return (a.link?.text ?? "") < (b.link?.text ?? "")
    }
  }

  func decodeRule(_ message: RuleMessage, _ result: inout Decoding) {
    guard let family = message.family.internet, message.protocolNumber != .kernel else { return }
    let action: PolicyRuleState.Action
    switch message.action {
    case .toTable: action = .lookup(table: message.table)
    case .blackhole: action = .blackhole
    case .unreachable: action = .unreachable
    case .prohibit: action = .prohibit
    default: return
    }
    var rule = PolicyRuleState(family: family, priority: message.priority ?? 0, action: action)
    rule.source = message.source
    rule.destination = message.destination
    rule.inputLink = message.inputInterface.flatMap { InterfaceName($0) }
    rule.outputLink = message.outputInterface.flatMap { InterfaceName($0) }
    rule.mark = message.mark
    // A mark without a mask means all of its bits; the kernel tells the mask then too.
    rule.markMask = message.markMask == .max ? nil : message.markMask
    rule.typeOfService = message.typeOfService
    rule.ipProtocol = message.ipProtocol.flatMap { $0 == 0 ? nil : IPProtocol(rawValue: $0) }
    rule.sourcePorts = message.sourcePorts
    rule.destinationPorts = message.destinationPorts
    rule.isInverted = message.flags.contains(.invert)
    result.add(
      rule, to: \.policyRules, owned: message.protocolNumber?.rawValue == Ownership.routeProtocol)
  }

  /// Qdiscs carry no mark: those of the lab's devices are the lab's.
  func decodeQdisc(_ message: QdiscMessage, _ result: inout Decoding) {
    guard message.parent == .root, let link = result.names[message.index], let kind = message.kind else {
      return
    }
    // The kernel's own choice for a device has no handle.
    guard message.handle.rawValue != 0 else { return }
    let state: LabCore.QdiscKind
    switch kind {
    case .netem(let options): state = .netem(NetemState(options))
    case .tbf(let options):
      state = .tokenBucket(
        TokenBucketState(rate: options.rate, burst: Self.roundest(options), limit: options.limit))
    default: state = .other(kind.name)
    }
    result.add(
      QdiscState(link: link, kind: state), to: \.qdiscs, owned: result.ownedLinks.contains(message.index))
  }

  /// The bucket's size that was asked for. The kernel keeps the time that a bucket takes in steps of 64 ns, so that at
  /// high rates several sizes are one to it: of those, the roundest is what people and programs ask for.
  static func roundest(_ options: TBFOptions) -> UInt32 {
    let told = UInt64(options.burst)
    let (high, low) = options.rate.multipliedFullWidth(by: 64)
    guard told > 0, high < 1_000_000_000 else { return options.burst }
    // What one step is in bytes; what was told is rounded down, the kernel's own time was too.
    let step = UInt64(1_000_000_000).dividingFullWidth((high, low)).quotient
    let (least, most) = (told - min(told - 1, step), told.addingReportingOverflow(step).partialValue)
    guard step > 1, most > told, most <= UInt64(UInt32.max) else { return options.burst }
    for unit in Self.roundNumbers {
      let candidate = (least + unit - 1) / unit * unit
      if candidate <= most { return UInt32(clamping: candidate) }
    }
    return options.burst
  }

  /// Powers of two, and 1, 2 and 5 times powers of ten; the largest first.
  private static let roundNumbers: [UInt64] = {
    let binary = (1...31).map { UInt64(1) << UInt64($0) }
    var decimal: [UInt64] = []
    var ten: UInt64 = 1
    while ten < UInt64(UInt32.max) {
      decimal += [ten, ten * 2, ten * 5]
      ten *= 10
    }
    return (binary + decimal).sorted(by: >)
  }()
}

extension NetemState {
  init(_ options: NetemOptions) {
    self.init(
      delay: Interval(nanoseconds: options.latency), jitter: Interval(nanoseconds: options.jitter),
      delayCorrelation: options.delayCorrelation, loss: options.loss,
      lossCorrelation: options.lossCorrelation,
      duplicate: options.duplicate, duplicateCorrelation: options.duplicateCorrelation,
      reorder: options.reorder,
      reorderCorrelation: options.reorderCorrelation, gap: options.gap, corrupt: options.corrupt,
      corruptCorrelation: options.corruptCorrelation, rate: options.rate?.bytesPerSecond ?? 0,
      limit: options.limit,
      seed: options.seed)
  }
}
