// SPDX-License-Identifier: GPL-2.0-or-later

// Routes, policy rules and queueing disciplines.

import LabCore
import NetTypes
import Rtnetlink

extension BatchEncoder {
  mutating func encodeRoute(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    switch (change.operation, change.before, change.after) {
    case (.create, _, .route(let route)):
      emit(try routeMessage(route, in: namespace).request(.create), in: namespace, "add")
    case (.update, _, .route(let route)), (.replace, _, .route(let route)):
      emit(try routeMessage(route, in: namespace).request(.createOrReplace), in: namespace, "change")
    case (.delete, .route(let route), _):
      emit(Self.deletion(of: route), in: namespace, "delete")
    default:
      throw .impossible("a \(change.operation.rawValue) of a route without its state")
    }
  }

  private mutating func routeMessage(
    _ route: RouteState, in namespace: NamespaceID
  ) throws(EncodingFailure) -> RouteMessage {
    var message = Self.key(of: route)
    message.scope = Self.scope(of: route)
    message.preferredSource = route.preferredSource
    message.metrics.mtu = route.mtu
    if let hop = route.nextHops.first, route.nextHops.count == 1 {
      message.gateway = hop.gateway
      message.outputIndex = try hop.link.map { (link) throws(EncodingFailure) in
        try index(of: link, in: namespace)
      }
      if hop.isOnLink { message.flags.insert(.onLink) }
    } else {
      for hop in route.nextHops {
        var next = NextHop(outputIndex: 0, gateway: hop.gateway, weight: hop.weight)
        if let link = hop.link { next.outputIndex = try index(of: link, in: namespace) }
        if hop.isOnLink { next.flags.insert(.onLink) }
        message.nextHops.append(next)
      }
    }
    return message
  }

  /// What the kernel finds the route by.
  private static func key(of route: RouteState) -> RouteMessage {
    var message = RouteMessage(family: AddressFamily(route.destination.family))
    message.destination = route.destination
    message.table = route.table
    message.typeOfService = route.typeOfService
    message.priority = route.metric == 0 ? nil : route.metric
    message.type = RouteType(rawValue: route.type.rawValue)
    message.protocolNumber = RouteProtocol(rawValue: Ownership.routeProtocol)
    return message
  }

  private static func deletion(of route: RouteState) -> NetlinkMessage {
    var message = key(of: route)
    // Whatever its scope.
    message.scope = .nowhere
    return message.request(.delete)
  }

  /// As ip(8) chooses it: without a gateway, a destination is on the link.
  private static func scope(of route: RouteState) -> RouteScope {
    if let scope = route.scope { return RouteScope(rawValue: scope.rawValue) }
    guard route.destination.family == .ipv4 else { return .universe }
    switch route.type {
    case .local, .nat: return .host
    case .broadcast, .multicast, .anycast: return .link
    case .unicast:
      return route.nextHops.contains { $0.gateway != nil } ? .universe : .link
    case .blackhole, .unreachable, .prohibit, .throw: return .universe
    }
  }

  // MARK: Policy rules

  mutating func encodePolicyRule(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    // The new rule is there before the old one goes, so that no packet falls between them.
    if case .policyRule(let rule) = change.after, change.operation != .delete {
      emit(Self.message(of: rule).request(.create), in: namespace, "add")
    }
    if case .policyRule(let rule) = change.before, change.operation != .create {
      emit(Self.message(of: rule).request(.delete), in: namespace, "delete")
    }
  }

  private static func message(of rule: PolicyRuleState) -> RuleMessage {
    var message = RuleMessage(family: AddressFamily(rule.family))
    message.priority = rule.priority
    message.source = rule.source
    message.destination = rule.destination
    message.inputInterface = rule.inputLink?.text
    message.outputInterface = rule.outputLink?.text
    message.mark = rule.mark
    message.markMask = rule.markMask
    message.typeOfService = rule.typeOfService
    message.ipProtocol = rule.ipProtocol?.rawValue
    message.sourcePorts = rule.sourcePorts
    message.destinationPorts = rule.destinationPorts
    message.protocolNumber = RouteProtocol(rawValue: Ownership.routeProtocol)
    if rule.isInverted { message.flags.insert(.invert) }
    switch rule.action {
    case .lookup(let table):
      message.action = .toTable
      message.table = table
    case .blackhole: message.action = .blackhole
    case .unreachable: message.action = .unreachable
    case .prohibit: message.action = .prohibit
    }
    return message
  }

  // MARK: Queueing disciplines

  mutating func encodeQdisc(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    switch (change.operation, change.before, change.after) {
    case (.delete, .qdisc(let qdisc), _):
      let index = try index(of: qdisc.link, in: namespace)
      emit(QdiscMessage(index: index).request(.delete), in: namespace, "delete")
    case (.update, .qdisc(let before), .qdisc(let after)) where before.kind.name == after.kind.name:
      // A change in place keeps the packets that wait.
      emit(try qdiscMessage(after, in: namespace).message(.newQdisc), in: namespace, "change")
    case (_, _, .qdisc(let qdisc)):
      emit(try qdiscMessage(qdisc, in: namespace).request(.createOrReplace), in: namespace, "set")
    default:
      throw .impossible("a \(change.operation.rawValue) of a queueing discipline without its state")
    }
  }

  private mutating func qdiscMessage(
    _ qdisc: QdiscState, in namespace: NamespaceID
  ) throws(EncodingFailure) -> QdiscMessage {
    let kind: Rtnetlink.QdiscKind =
      switch qdisc.kind {
      case .netem(let netem): .netem(NetemOptions(netem))
      case .tokenBucket(let bucket):
        .tbf(TBFOptions(rate: bucket.rate, burst: bucket.burst, limit: bucket.limit))
      case .other(let name): .other(name, [])
      }
    return QdiscMessage(index: try index(of: qdisc.link, in: namespace), kind: kind)
  }
}

extension NetemOptions {
  init(_ netem: NetemState) {
    self.init()
    latency = netem.delay.nanoseconds
    jitter = netem.jitter.nanoseconds
    limit = netem.limit
    loss = netem.loss
    gap = netem.gap
    duplicate = netem.duplicate
    delayCorrelation = netem.delayCorrelation
    lossCorrelation = netem.lossCorrelation
    duplicateCorrelation = netem.duplicateCorrelation
    reorder = netem.reorder
    reorderCorrelation = netem.reorderCorrelation
    corrupt = netem.corrupt
    corruptCorrelation = netem.corruptCorrelation
    // Also none: a change that does not say them leaves the old ones.
    rate = NetemRate(bytesPerSecond: netem.rate)
    explicitCongestion = false
    slot = NetemSlot()
    seed = netem.seed
  }
}
