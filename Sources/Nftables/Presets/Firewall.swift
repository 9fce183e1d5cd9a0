// SPDX-License-Identifier: GPL-2.0-or-later

// The short form of a packet filter: a chain at one hook whose rules name interfaces, addresses, protocols
// and what is done. One short rule may become several, one for each family and protocol that it names.

public import NetTypes

/// A packet filter at one hook.
public struct Firewall: Hashable, Sendable {
  /// `.forward` for what passes through, `.input` for what is for this host, `.output` for what it sends.
  public var hook: NftHook
  public var policy: NftPolicy
  public var rules: [FirewallRule]
  public var sets: [AddressSet]
  /// At input, whether the host may talk to itself and find its IPv6 neighbours whatever the policy.
  public var keepsHostAlive: Bool
  public var position: NftSourcePosition?

  public init(
    on hook: NftHook = .forward, policy: NftPolicy, rules: [FirewallRule], sets: [AddressSet] = [],
    keepsHostAlive: Bool = true, position: NftSourcePosition? = nil
  ) {
    self.hook = hook
    self.policy = policy
    self.rules = rules
    self.sets = sets
    self.keepsHostAlive = keepsHostAlive
    self.position = position
  }
}

/// Addresses under a name, of either family or both.
public struct AddressSet: Hashable, Sendable {
  public var name: String
  public var prefixes: [IPPrefix]
  public var position: NftSourcePosition?

  public init(name: String, prefixes: [IPPrefix], position: NftSourcePosition? = nil) {
    self.name = name
    self.prefixes = prefixes
    self.position = position
  }

  /// What the set of a family is called: a set of both families is two sets to the kernel.
  func name(_ family: IPFamily) -> String {
    let families = Set(prefixes.map(\.family))
    return family == .ipv6 && families.count == 2 ? name + ".6" : name
  }

  var declarations: [SetDeclaration] {
    IPFamily.allCases.compactMap { family in
      let members = prefixes.filter { $0.family == family }
      guard !members.isEmpty || prefixes.isEmpty && family == .ipv4 else { return nil }
      return SetDeclaration(
        name: name(family), keyTypes: [family == .ipv4 ? .ipv4Address : .ipv6Address],
        flags: .interval, elements: members.map { SetDeclaration.Element(key: [FieldValue($0)]) },
        position: position)
    }
  }
}

/// One short rule.
public struct FirewallRule: Hashable, Sendable {
  public var action: Action
  /// Empty for any.
  public var from: [InterfacePattern]
  public var to: [InterfacePattern]
  public var states: ConntrackState
  /// Any of these; empty for all packets.
  public var services: [Service]
  public var source: Addresses
  public var destination: Addresses
  /// Writes a line with this prefix before the action.
  public var log: String?
  public var counts: Bool
  public var limit: NftLimit?
  public var comment: String?
  public var position: NftSourcePosition?

  public enum Action: Hashable, Sendable {
    case accept, drop
    case reject(RejectReason)
    case jump(String)
    /// Only logs or counts.
    case pass
  }

  /// A protocol and, where it has them, ports or types.
  public enum Service: Hashable, Sendable {
    /// Destination ports; empty for all.
    case tcp([PortRange])
    case udp([PortRange])
    case sctp([PortRange])
    /// Message types; empty for all.
    case icmp([ICMPType])
    case icmpv6([ICMPv6Type])
    case other(IPProtocol)

    /// Echo requests of either family.
    public static let ping: [Service] = [.icmp([.echoRequest]), .icmpv6([.echoRequest])]
  }

  public enum Addresses: Hashable, Sendable {
    case any
    case prefixes([IPPrefix])
    case set(AddressSet)
    indirect case not(Addresses)
  }

  public init(
    _ action: Action, from: [InterfacePattern] = [], to: [InterfacePattern] = [], states: ConntrackState = [],
    services: [Service] = [], source: Addresses = .any, destination: Addresses = .any, log: String? = nil,
    counts: Bool = false, limit: NftLimit? = nil, comment: String? = nil, position: NftSourcePosition? = nil
  ) {
    self.action = action
    self.from = from
    self.to = to
    self.states = states
    self.services = services
    self.source = source
    self.destination = destination
    self.log = log
    self.counts = counts
    self.limit = limit
    self.comment = comment
    self.position = position
  }

  /// The rules that say it.
  public var rules: [Rule] {
    let services: [Service?] = self.services.isEmpty ? [nil] : self.services.map { $0 }
    return services.flatMap { service in
      families(with: service).map { family in
        Rule(statements(service, family), comment: comment, position: position)
      }
    }
  }

  /// The families for which a rule is written; a single nil when one rule does for both.
  private func families(with service: Service?) -> [IPFamily?] {
    let named = [source.families, destination.families].compactMap { $0 }
    guard !named.isEmpty else { return [nil] }
    return IPFamily.allCases.filter { family in
      switch (service, family) {
      case (.icmp?, .ipv6), (.icmpv6?, .ipv4): return false
      default: return named.allSatisfy { $0.contains(family) }
      }
    }
  }

  private func statements(_ service: Service?, _ family: IPFamily?) -> [Statement] {
    var statements: [Statement] = []
    if !from.isEmpty { statements.append(.match(.isOne(of: from, .inputInterface))) }
    if !to.isEmpty { statements.append(.match(.isOne(of: to, .outputInterface))) }
    if let family {
      if let match = source.match("saddr", family) { statements.append(.match(match)) }
      if let match = destination.match("daddr", family) { statements.append(.match(match)) }
    }
    if let match = service?.match { statements.append(.match(match)) }
    if !states.isEmpty { statements.append(.match(.is(.conntrackState, states))) }
    if let limit { statements.append(.limit(limit)) }
    if counts { statements.append(.counter) }
    if let log { statements.append(.log(NftLog(prefix: log))) }
    switch action {
    case .accept: statements.append(.verdict(.accept))
    case .drop: statements.append(.verdict(.drop))
    case .reject(let reason): statements.append(.reject(reason))
    case .jump(let chain): statements.append(.verdict(.jump(chain)))
    case .pass: break
    }
    return statements
  }
}

extension FirewallRule.Service {
  var match: Match {
    switch self {
    case .tcp(let ports): Self.match(.tcpDestination, .tcp, ports)
    case .udp(let ports): Self.match(.udpDestination, .udp, ports)
    case .sctp(let ports): Self.match(.sctpDestination, .sctp, ports)
    case .icmp(let types):
      types.isEmpty ? .is(.transportProtocol, .icmp) : .isOne(of: types, .icmpType)
    case .icmpv6(let types):
      types.isEmpty ? .is(.transportProtocol, .icmpv6) : .isOne(of: types, .icmpv6Type)
    case .other(let number): .is(.transportProtocol, number)
    }
  }

  private static func match(_ field: Field<Port>, _ number: IPProtocol, _ ports: [PortRange]) -> Match {
    guard !ports.isEmpty else { return .is(.transportProtocol, number) }
    return Match(
      field.selector, .equal,
      ports.map { $0.first == $0.last ? .value($0.first.nftData) : .range($0.first.nftData, $0.last.nftData) }
    )
  }
}

extension FirewallRule.Addresses {
  /// Nil for any address of either family.
  var families: Set<IPFamily>? {
    switch self {
    case .any: nil
    case .prefixes(let prefixes): Set(prefixes.map(\.family))
    case .set(let set): set.prefixes.isEmpty ? [.ipv4] : Set(set.prefixes.map(\.family))
    case .not(let addresses): addresses.families
    }
  }

  func match(_ field: String, _ family: IPFamily) -> Match? {
    switch self {
    case .any: return nil
    case .prefixes(let prefixes):
      let members = prefixes.filter { $0.family == family }
      return field == "saddr" ? .source(in: members) : .destination(in: members)
    case .set(let set):
      switch (field, family) {
      case ("saddr", .ipv4): return .isIn(.ipSource, set: set.name(family))
      case ("saddr", .ipv6): return .isIn(.ip6Source, set: set.name(family))
      case (_, .ipv4): return .isIn(.ipDestination, set: set.name(family))
      case (_, .ipv6): return .isIn(.ip6Destination, set: set.name(family))
      }
    case .not(let addresses): return addresses.match(field, family)?.negated
    }
  }
}
