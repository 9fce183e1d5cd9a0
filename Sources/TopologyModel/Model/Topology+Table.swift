// SPDX-License-Identifier: GPL-2.0-or-later

// The general form of the firewall: tables, chains, rules, sets and maps as nftables has them. A selector is known by
// the words nft uses for it; its type says how its values read.

public import LabCore
public import NetTypes

extension Topology {
  /// An nftables table.
  public struct Table: Hashable, Sendable {
    public enum Family: String, Hashable, CaseIterable, Sendable { case ip, ip6, inet, arp, bridge, netdev }

    public var name: String
    public var family: Family
    public var sets: [ElementSet] = []
    public var counters: [String] = []
    public var objects: [Object] = []
    public var chains: [Chain] = []
    public var location: SourceLocation

    public init(
      name: String, family: Family, sets: [ElementSet] = [], counters: [String] = [], objects: [Object] = [],
      chains: [Chain] = [], location: SourceLocation
    ) {
      self.name = name
      self.family = family
      self.sets = sets
      self.counters = counters
      self.objects = objects
      self.chains = chains
      self.location = location
    }
  }

  /// What several rules share, or what connections are given.
  public struct Object: Hashable, Sendable {
    public enum Kind: String, Hashable, CaseIterable, Sendable {
      case limit, quota, helper, timeouts, expectation, synProxy, flowtable
      /// Of these the name is all that there is to declare.
      case counter
    }
    public enum State: Hashable, Sendable {
      case limit(Rate)
      case quota(bytes: UInt64, over: Bool)
      case helper(String, Transport)
      /// Seconds by nft's names of the states.
      case timeouts(Transport, [String: UInt32])
      case expectation(Transport, port: Port, timeout: Interval, count: UInt8)
      case synProxy(SynProxy)
      case flowtable(devices: [String], priority: Int32, counts: Bool)
    }

    public var name: String
    public var state: State
    public var location: SourceLocation

    public init(name: String, state: State, location: SourceLocation) {
      self.name = name
      self.state = state
      self.location = location
    }

    public var kind: Kind {
      switch state {
      case .limit: .limit
      case .quota: .quota
      case .helper: .helper
      case .timeouts: .timeouts
      case .expectation: .expectation
      case .synProxy: .synProxy
      case .flowtable: .flowtable
      }
    }
  }

  /// A named set or map.
  public struct ElementSet: Hashable, Sendable {
    public enum Data: Hashable, Sendable {
      /// A set.
      case none
      /// A map to values of these types.
      case values([ValueType])
      /// A verdict map.
      case verdict
      /// A map to objects of one kind.
      case objects(Object.Kind)
    }

    public var name: String
    /// More than one is a concatenation.
    public var key: [ValueType]
    public var data: Data = .none
    /// Elements may be intervals.
    public var isInterval: Bool = false
    /// Rules may add to it.
    public var isDynamic: Bool = false
    /// Each element counts what it meets.
    public var counts: Bool = false
    public var timeout: Interval?
    public var size: Int?
    public var comment: String?
    public var elements: [Element] = []
    public var location: SourceLocation

    public init(
      name: String, key: [ValueType], data: Data = .none, isInterval: Bool = false, isDynamic: Bool = false,
      counts: Bool = false, timeout: Interval? = nil, size: Int? = nil, comment: String? = nil,
      elements: [Element] = [], location: SourceLocation
    ) {
      self.name = name
      self.key = key
      self.data = data
      self.isInterval = isInterval
      self.isDynamic = isDynamic
      self.counts = counts
      self.timeout = timeout
      self.size = size
      self.comment = comment
      self.elements = elements
      self.location = location
    }

    /// Whether its elements may leave by themselves.
    public var ages: Bool { timeout != nil || elements.contains { $0.timeout != nil } }
  }

  /// One element of a set or a map of any kind.
  public struct Element: Hashable, Sendable {
    /// As many as the set's key has types.
    public var key: [Value]
    /// As many as the map's data has types; empty where it leads to no values.
    public var data: [Value] = []
    public var verdict: Verdict?
    /// Of a map to objects: the name of one.
    public var object: String?
    /// When it leaves; nil: as its set says.
    public var timeout: Interval?
    public var comment: String?

    public init(
      key: [Value], data: [Value] = [], verdict: Verdict? = nil, object: String? = nil,
      timeout: Interval? = nil, comment: String? = nil
    ) {
      self.key = key
      self.data = data
      self.verdict = verdict
      self.object = object
      self.timeout = timeout
      self.comment = comment
    }
  }

  /// The type of a selector, a set's key or a map's data.
  public enum ValueType: String, Hashable, CaseIterable, Sendable {
    case ipv4Address = "ipv4_addr"
    case ipv6Address = "ipv6_addr"
    case etherAddress = "ether_addr"
    case ipProtocol = "inet_proto"
    case port = "inet_service"
    case mark
    case interfaceName = "ifname"
    case etherType = "ether_type"
    case connectionState = "ct_state"
    case connectionStatus = "ct_status"
    case connectionLabel = "ct_label"
    case connectionEvent = "ct_event"
    /// The name of a connection's helper.
    case helper = "string"
    case icmpType = "icmp_type"
    case icmpv6Type = "icmpv6_type"
    case tcpFlags = "tcp_flag"
    case number = "integer"
    case packetType = "pkt_type"
    case addressType = "fib_addrtype"
    case dscp
    case direction = "ct_dir"
    case networkProtocol = "nf_proto"
    /// Whether it is there.
    case presence = "boolean"
    case date
    case timeOfDay = "hour"
    case weekday = "day"
  }

  /// A value of a selector's type.
  public enum Value: Hashable, Sendable {
    case address(IPAddress)
    case prefix(IPPrefix)
    case addressRange(ClosedRange<IPAddress>)
    case mac(MACAddress)
    /// Ports, marks, protocols, types, labels, plain numbers: host byte order.
    case number(UInt64)
    case numberRange(ClosedRange<UInt64>)
    /// A helper's name, or a device's; a trailing `*` matches what begins so.
    case name(String)
  }

  public struct Chain: Hashable, Sendable {
    public enum Kind: String, Hashable, CaseIterable, Sendable { case filter, nat, route }
    public enum Hook: String, Hashable, CaseIterable, Sendable {
      case prerouting, input, forward, output, postrouting, ingress, egress
    }

    /// Where a base chain hangs.
    public struct Base: Hashable, Sendable {
      public var kind: Kind
      public var hook: Hook
      public var priority: Int32
      public var policy: Firewall.Policy = .accept
      /// For ingress and egress.
      public var device: String?

      public init(
        kind: Kind, hook: Hook, priority: Int32, policy: Firewall.Policy = .accept, device: String? = nil
      ) {
        self.kind = kind
        self.hook = hook
        self.priority = priority
        self.policy = policy
        self.device = device
      }
    }

    public var name: String
    /// Nil for a chain that only jumps reach.
    public var base: Base?
    public var rules: [Rule] = []
    public var location: SourceLocation

    public init(name: String, base: Base? = nil, rules: [Rule] = [], location: SourceLocation) {
      self.name = name
      self.base = base
      self.rules = rules
      self.location = location
    }
  }

  public struct Rule: Hashable, Sendable {
    public var statements: [Statement]
    public var comment: String?
    public var location: SourceLocation

    public init(statements: [Statement], comment: String? = nil, location: SourceLocation) {
      self.statements = statements
      self.comment = comment
      self.location = location
    }
  }

  public enum Verdict: Hashable, Sendable {
    case accept, drop, proceed, `return`
    case jump(String)
    case goto(String)
  }

  /// One statement of a rule, in order.
  public enum Statement: Hashable, Sendable {
    case match(Match)
    case verdict(Verdict)
    /// Several selectors are a concatenation.
    case verdictMap([Selector], MapSource)
    case counter(String?)
    case limit(Rate)
    case quota(bytes: UInt64, over: Bool)
    case log(prefix: String?, level: Int?, group: Int?)
    case reject(Rejection)
    case masquerade(ports: ClosedRange<Port>?, flags: [TranslationFlag])
    case sourceNAT(Target, flags: [TranslationFlag])
    case destinationNAT(Target, flags: [TranslationFlag])
    case redirect(ports: ClosedRange<Port>?, flags: [TranslationFlag])
    case setMark(MarkKind, value: UInt32, mask: UInt32)
    /// To a number that is chosen.
    case chooseMark(MarkKind, Selector)
    /// To what a named map has for the selectors.
    case lookUpMark(MarkKind, [Selector], String)
    case setField(Field, Value)
    /// Writes what another selector has into a field.
    case copyField(Field, from: Selector)
    /// Copies one mark into the other.
    case copyMark(from: MarkKind, to: MarkKind)
    case noTrack
    case updateSet(SetUpdate)
    case connectionLimit(count: UInt32, over: Bool)
    case object(Object.Kind, String)
    /// The object that the selectors lead to.
    case objectMap(Object.Kind, [Selector], MapSource)
    /// To an address by a device, or one of them.
    case duplicate(to: IPAddress?, device: String?)
    case sendBy(device: String, to: IPAddress?)
    case transparentProxy(IPAddress?, port: Port?)
    case synProxy(SynProxy)
    /// What becomes of the packet is told to who watches.
    case trace
  }

  /// What a rule does with an element made of selectors.
  public struct SetUpdate: Hashable, Sendable {
    public enum Operation: String, Hashable, CaseIterable, Sendable { case add, update, remove }
    /// What a map's element leads to.
    public enum Data: Hashable, Sendable {
      case values([Value])
      case selectors([Selector])
    }

    public var set: String
    public var operation: Operation
    public var selectors: [Selector]
    /// Nil for a set, and where an element is removed.
    public var data: Data?
    /// Nil takes the set's.
    public var timeout: Interval?
    /// Limits, counters, quotas and numbers of connections that each element keeps for itself.
    public var statements: [Statement]

    public init(
      set: String, operation: Operation, selectors: [Selector], data: Data? = nil, timeout: Interval? = nil,
      statements: [Statement] = []
    ) {
      self.set = set
      self.operation = operation
      self.selectors = selectors
      self.data = data
      self.timeout = timeout
      self.statements = statements
    }
  }

  /// What a SYN proxy offers in the name of the server.
  public struct SynProxy: Hashable, Sendable {
    public var maximumSegmentSize: UInt16?
    public var windowScale: UInt8?
    public var timestamps: Bool
    public var selectiveAcknowledgments: Bool

    public init(
      maximumSegmentSize: UInt16? = nil, windowScale: UInt8? = nil, timestamps: Bool = false,
      selectiveAcknowledgments: Bool = false
    ) {
      self.maximumSegmentSize = maximumSegmentSize
      self.windowScale = windowScale
      self.timestamps = timestamps
      self.selectiveAcknowledgments = selectiveAcknowledgments
    }
  }

  public enum MarkKind: String, Hashable, CaseIterable, Sendable { case packet, connection }
  public enum TranslationFlag: String, Hashable, CaseIterable, Sendable {
    case random, fullyRandom, persistent
  }

  /// A comparison.
  public struct Match: Hashable, Sendable {
    public enum Operator: String, Hashable, CaseIterable, Sendable {
      case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual
    }
    public enum Operand: Hashable, Sendable {
      /// One value, or any of several; for a concatenation each element has one value a selector.
      case values([[Value]])
      case set(String)
      /// These bits and no others, of those under the mask where there is one.
      case bits(UInt64, mask: UInt64?)
    }

    /// More than one is a concatenation.
    public var selectors: [Selector]
    public var comparison: Operator = .equal
    public var operand: Operand

    public init(selectors: [Selector], comparison: Operator = .equal, operand: Operand) {
      self.selectors = selectors
      self.comparison = comparison
      self.operand = operand
    }
  }

  /// What a map statement looks up in.
  public enum MapSource: Hashable, Sendable {
    case named(String)
    case anonymous([Element])
  }

  /// Where NAT sends a packet.
  public enum Target: Hashable, Sendable {
    case address(ClosedRange<IPAddress>?, ports: ClosedRange<Port>?)
    /// Through a map from these selectors to addresses, with ports when the map's data has them.
    case map([Selector], MapSource)
    /// Each new connection one of them, by a choice among as many numbers.
    case spread([IPAddress], port: Port?, by: Selector)
  }
}
