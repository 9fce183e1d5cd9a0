// SPDX-License-Identifier: GPL-2.0-or-later

// A namespace's ruleset as the machine runs it: immutable but for its sets, replaced as a whole when the configuration
// changes. What packets count stands in `NftStates` and outlives it.

import NetTypes
import Nftables

/// A compiled ruleset.
@safe struct NftProgram: ~Copyable {
  /// A base chain where packets meet it.
  struct Hook: Hashable {
    var family: NftFamily
    var type: NftChainType
    var priority: Int32
    /// The first of its instructions.
    var start: UInt32
    /// What happens when no rule decides: NF_ACCEPT or NF_DROP.
    var policy: Int32
    /// Of ingress and egress chains; empty for all.
    var devices: [InterfaceName]
    /// The number of a flowtable that hangs here instead of a chain.
    var flowtable: UInt32?
  }

  /// A stateful expression, wherever it is.
  enum StateKey: Hashable {
    /// The n-th expression of a rule.
    case rule(NftTableKey, handle: UInt64, Int)
    case object(NftTableKey, type: UInt32, name: String)
    case flowtable(NftTableKey, name: String)
    /// The n-th expression of an element.
    case element(NftTableKey, set: String, key: [UInt32], Int)
  }

  private let instructions: UnsafeMutablePointer<NftInstruction>
  private let instructionCount: Int
  let constants: NftConstants
  var sets: Table<NftElements>
  /// The place in `sets` of each named set.
  let setPlaces: [NftSetKey: UInt32]
  /// Stateful expressions of elements: those of a set, or of a dynset expression.
  let templates: [[NftInstruction]]
  let logs: [NftLog]
  /// Named objects that maps give, each with its state.
  let objects: [NftInstruction]
  /// How long states of connections last that rules have given these to, by the number of the object's state.
  let timeouts: [UInt32: NftCtTimeout]
  /// What rules expect, by number.
  let expectations: [UInt32: NftCtExpectation]
  /// By the numbers of their states.
  let flowtables: [UInt32: NftFlowtable]
  /// For traces: the chains by their first instruction, and rules by the numbers that their first instructions have.
  let chainNames: [UInt32: NftChainKey]
  let ruleNames: [(chain: NftChainKey, handle: UInt64)]
  /// The state of everything that has any.
  let states: [StateKey: UInt32]

  init(_ parts: consuming NftAssembly, sets: consuming Table<NftElements>) {
    instructionCount = parts.instructions.count
    unsafe instructions = .allocate(capacity: max(parts.instructions.count, 1))
    for (index, instruction) in parts.instructions.enumerated() {
      unsafe (instructions + index).initialize(to: instruction)
    }
    constants = NftConstants(parts.constants)
    setPlaces = parts.setPlaces
    templates = parts.templates
    logs = parts.logs
    objects = parts.objects
    timeouts = parts.timeouts
    flowtables = parts.flowtables
    expectations = parts.expectations
    chainNames = parts.chainNames
    ruleNames = parts.ruleNames
    states = parts.states
    self.sets = sets
  }

  deinit { unsafe instructions.deallocate() }

  /// The instruction at a place, which programs only name when it is there.
  @inline(__always) subscript(place: Int) -> NftInstruction {
    assert(place < instructionCount)
    return unsafe instructions[place]
  }

  /// The place in `hooks` of a hook's chains. Packets of the `inet` family do not exist: its chains stand with both.
  static func place(_ family: NetfilterFamily, _ hook: NetfilterHook) -> Int {
    Int(family.rawValue) * NetfilterHook.count + Int(hook.rawValue)
  }
}

/// A set's name with its table's.
struct NftSetKey: Hashable {
  var table: NftTableKey
  var name: String
}

/// What an assembler has made of a ruleset.
struct NftAssembly {
  var instructions: [NftInstruction] = []
  var constants: [UInt32] = []
  /// By family and hook (`NftProgram.place`), sorted by priority and age.
  var hooks = [[NftProgram.Hook]](
    repeating: [], count: NetfilterFamily.allCases.count * NetfilterHook.count)
  /// The family of the table that is being assembled.
  var family = NftFamily.inet
  /// Which packets the ruleset wants tracked (nf_ct_netns_get).
  private(set) var tracked: TrackedFamilies = []
  /// Of which families there are SYN proxies (nf_synproxy_ipv4_init).
  private(set) var proxied: TrackedFamilies = []
  /// Whether it asks for what connections have counted.
  var needsAccounting = false
  var setPlaces: [NftSetKey: UInt32] = [:]
  var templates: [[NftInstruction]] = []
  var logs: [NftLog] = []
  var objects: [NftInstruction] = []
  var timeouts: [UInt32: NftCtTimeout] = [:]
  var flowtables: [UInt32: NftFlowtable] = [:]
  var expectations: [UInt32: NftCtExpectation] = [:]
  /// The place in `objects` of each.
  var objectPlaces: [NftProgram.StateKey: UInt32] = [:]
  var chainNames: [UInt32: NftChainKey] = [:]
  var ruleNames: [(chain: NftChainKey, handle: UInt64)] = []
  var states: [NftProgram.StateKey: UInt32] = [:]

  /// Something in the table wants connections tracked: those of its families, or of some that are named.
  mutating func track(_ named: TrackedFamilies? = nil) { tracked.formUnion(named ?? families) }

  /// The table has a SYN proxy.
  mutating func proxySYNs() {
    track()
    proxied.formUnion(families)
  }

  private var families: TrackedFamilies {
    switch family {
    case .ip: .ipv4
    case .ip6: .ipv6
    case .inet, .arp, .bridge, .netdev: [.ipv4, .ipv6]
    }
  }
}

/// Families whose packets belong to connections.
struct TrackedFamilies: OptionSet, BitwiseCopyable {
  var rawValue: UInt8
  static let ipv4 = TrackedFamilies(rawValue: 1)
  static let ipv6 = TrackedFamilies(rawValue: 2)

  /// Packets of the other families belong to none.
  @inline(__always) func contains(_ family: NetfilterFamily) -> Bool {
    rawValue & (family == .ipv4 ? 1 : family == .ipv6 ? 2 : 0) != 0
  }
}
