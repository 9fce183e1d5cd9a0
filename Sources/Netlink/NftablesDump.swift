// SPDX-License-Identifier: GPL-2.0-or-later

// Reads a namespace's ruleset back: tables, chains, sets with elements, objects, rules with handles and
// counts. What comes from the kernel is read by our own checked reader, since libnftnl ends the process at an
// attribute whose length it does not expect, and gives up on a rule with an expression that it does not know.

import CNftnl
import Nftables
import Rtnetlink

/// One reading of the ruleset.
struct NftablesDump {
  private let only: NftTableKey?
  private var resource: UInt16 = 0
  private var isStable = true
  private var tables: [NftTableKey: NftTable] = [:]
  private var chains: [NftTableKey: [NftChain]] = [:]
  private var sets: [NftTableKey: [NftSet]] = [:]
  private var objects: [NftTableKey: [NftObject]] = [:]
  private var flowtables: [NftTableKey: [NftFlowtable]] = [:]
  private var handles = NftHandles()

  init(only: NftTableKey?) { self.only = only }

  /// Nil when the ruleset changed meanwhile.
  mutating func run(_ connection: inout NftablesConnection) throws(NftablesError) -> NftObservation? {
    let generation = try connection.generation()
    resource = UInt16(truncatingIfNeeded: generation)
    try read(&connection, "tables", NFT_MSG_GETTABLE.rawValue, NFT_MSG_NEWTABLE.rawValue) {
      (dump, key, reader) throws(NetlinkDecodingError) in
      try dump.table(key.family, &reader)
    }
    if !tables.isEmpty {
      try readContents(&connection)
    }
    guard isStable, try connection.generation() == generation else { return nil }
    return NftObservation(tables: tables.values.map(assembled), handles: handles, generation: generation)
  }

  private func assembled(_ table: NftTable) -> NftTable {
    NftTable(
      family: table.family, name: table.name, flags: table.flags, comment: table.comment,
      chains: chains[table.key] ?? [], sets: (sets[table.key] ?? []).filter { !$0.isAnonymous },
      objects: objects[table.key] ?? [], flowtables: flowtables[table.key] ?? [])
  }

  private mutating func readContents(_ connection: inout NftablesConnection) throws(NftablesError) {
    try read(&connection, "chains", NFT_MSG_GETCHAIN.rawValue, NFT_MSG_NEWCHAIN.rawValue) {
      (dump, key, reader) throws(NetlinkDecodingError) in
      let (table, chain) = try NftablesDecoder.chain(&reader, key.family)
      let owner = NftTableKey(family: key.family, name: table)
      guard dump.tables[owner] != nil else { return }
      dump.chains[owner, default: []].append(chain)
    }
    try read(
      &connection, "sets", NFT_MSG_GETSET.rawValue, NFT_MSG_NEWSET.rawValue,
      table: NFTA_SET_TABLE.rawValue
    ) { (dump, key, reader) throws(NetlinkDecodingError) in
      let (table, set) = try NftablesDecoder.set(&reader)
      let owner = NftTableKey(family: key.family, name: table)
      guard dump.tables[owner] != nil else { return }
      dump.sets[owner, default: []].append(set)
    }
    for key in sets.keys.sorted() {
      for index in (sets[key] ?? []).indices { try readElements(&connection, key, index) }
    }
    try read(
      &connection, "objects", NFT_MSG_GETOBJ.rawValue, NFT_MSG_NEWOBJ.rawValue, table: NFTA_OBJ_TABLE.rawValue
    ) {
      (dump, key, reader) throws(NetlinkDecodingError) in
      let (table, object) = try NftablesDecoder.object(&reader)
      let owner = NftTableKey(family: key.family, name: table)
      guard dump.tables[owner] != nil else { return }
      dump.objects[owner, default: []].append(object)
    }
    try read(
      &connection, "flowtables", NFT_MSG_GETFLOWTABLE.rawValue, NFT_MSG_NEWFLOWTABLE.rawValue,
      table: NFTA_FLOWTABLE_TABLE.rawValue
    ) { (dump, key, reader) throws(NetlinkDecodingError) in
      let (table, flowtable) = try NftablesDecoder.flowtable(&reader)
      let owner = NftTableKey(family: key.family, name: table)
      guard dump.tables[owner] != nil else { return }
      dump.flowtables[owner, default: []].append(flowtable)
    }
    try read(
      &connection, "rules", NFT_MSG_GETRULE.rawValue, NFT_MSG_NEWRULE.rawValue,
      table: NFTA_RULE_TABLE.rawValue
    ) { (dump, key, reader) throws(NetlinkDecodingError) in
      try dump.rule(key.family, &reader)
    }
  }

  private mutating func readElements(
    _ connection: inout NftablesConnection, _ key: NftTableKey, _ index: Int
  ) throws(NftablesError) {
    guard let set = sets[key]?[index] else { return }
    let (messages, isWhole) = try connection.request(
      NFT_MSG_GETSETELEM.rawValue, family: key.family.number, isDump: true,
      [(NFTA_SET_ELEM_LIST_TABLE.rawValue, key.name), (NFTA_SET_ELEM_LIST_SET.rawValue, set.name)],
      "reading the elements of nftables set \(key) \(set.name)")
    if !isWhole { isStable = false }
    var entries: [NftKernelElement] = []
    for message in messages where message.type.rawValue == NftablesMessage.type(NFT_MSG_NEWSETELEM.rawValue) {
      do throws(NetlinkDecodingError) {
        var reader = AttributeReader(message.payload)
        try check(try reader.fixed(NftablesMessage.Header.self))
        entries += try NftablesDecoder.elements(&reader)
      } catch {
        throw NftablesError(
          .malformedAnswer, "reading nftables set \(key) \(set.name)", text: error.description)
      }
    }
    sets[key]?[index].elements = set.elements(fromKernel: entries)
  }

  /// Reads all objects of one kind and gives each to `take`.
  private mutating func read(
    _ connection: inout NftablesConnection, _ what: String, _ request: UInt32, _ answer: UInt32,
    table attribute: UInt32? = nil,
    _ take: (inout NftablesDump, NftTableKey, inout AttributeReader) throws(NetlinkDecodingError) -> Void
  ) throws(NftablesError) {
    var attributes: [(type: UInt32, text: String)] = []
    if let attribute, let only { attributes.append((attribute, only.name)) }
    let (messages, isWhole) = try connection.request(
      request, family: only?.family.number ?? 0, isDump: true, attributes, "reading nftables \(what)")
    if !isWhole { isStable = false }
    for message in messages where message.type.rawValue == NftablesMessage.type(answer) {
      do throws(NetlinkDecodingError) {
        var reader = AttributeReader(message.payload)
        let header = try reader.fixed(NftablesMessage.Header.self)
        try check(header)
        guard let family = NftFamily(number: header.family) else { continue }
        try take(&self, NftTableKey(family: family, name: ""), &reader)
      } catch {
        throw NftablesError(.malformedAnswer, "reading nftables \(what)", text: error.description)
      }
    }
  }

  private mutating func check(_ header: NftablesMessage.Header) throws(NetlinkDecodingError) {
    if UInt16(bigEndian: header.resource) != resource { isStable = false }
  }

  private mutating func table(_ family: NftFamily, _ reader: inout AttributeReader)
    throws(NetlinkDecodingError)
  {
    let table = try NftablesDecoder.table(&reader, family)
    guard only == nil || only == table.key else { return }
    tables[table.key] = table
  }

  private mutating func rule(_ family: NftFamily, _ reader: inout AttributeReader)
    throws(NetlinkDecodingError)
  {
    var decoded = try NftablesDecoder.rule(&reader)
    let key = NftTableKey(family: family, name: decoded.table)
    guard let index = chains[key]?.firstIndex(where: { $0.name == decoded.chain }) else { return }
    let anonymous = (sets[key] ?? []).filter(\.isAnonymous)
    decoded.rule.expressions = decoded.rule.expressions.map { expression in
      switch expression {
      case .lookup(var lookup):
        lookup.set = Self.resolve(lookup.set, anonymous)
        return .lookup(lookup)
      case .objectReference(var reference):
        if case .map(let set, let source) = reference.target {
          reference.target = .map(Self.resolve(set, anonymous), source: source)
        }
        return .objectReference(reference)
      default: return expression
      }
    }
    chains[key]?[index].rules.append(decoded.rule)
    handles.rules[NftChainKey(table: key, chain: decoded.chain), default: []].append(decoded.handle)
  }

  private static func resolve(_ reference: NftSetReference, _ anonymous: [NftSet]) -> NftSetReference {
    guard case .named(let name) = reference, let set = anonymous.first(where: { $0.name == name }) else {
      return reference
    }
    return .anonymous(set.normalized)
  }
}
