// SPDX-License-Identifier: GPL-2.0-or-later

// A transaction as the bytes that the kernel takes: begin, the steps, end. All steps take effect together or
// none; without its end the kernel only checks it.

import CMnl
import CNftnl
import Glibc
import Nftables
import Rtnetlink

/// A transaction that can be sent.
struct NftablesTransaction {
  /// The messages, one after the other.
  var bytes: [UInt8] = []
  /// Which step each message is of, and where it begins; by sequence number from `firstSequence`.
  var messages: [(step: Int?, start: Int)] = []

  static let firstSequence: UInt32 = 1

  /// The changes as a transaction.
  /// - Parameters:
  ///   - generation: The ruleset's generation for which the changes were planned; nil means whatever it is.
  ///   - commits: False for a dry run.
  init(_ changes: [NftChange], generation: UInt32? = nil, commits: Bool = true) throws(NftablesStepError) {
    let batch = try NftablesBatch(changes, generation: generation, commits: commits)
    bytes = batch.bytes
    messages = batch.messages
  }
}

/// Builds a transaction.
private struct NftablesBatch: ~Copyable {
  var bytes: [UInt8] = []
  var messages: [(step: Int?, start: Int)] = []

  private let scratch: UnsafeMutableRawBufferPointer
  private var step: Int?
  private var nextSetID: UInt32 = 1

  /// More than any message that passes the checks below takes.
  private static let scratchSize = 1 << 19
  /// A message's nested list has a length of sixteen bits.
  private static let maximumMessage = 65_000
  private static let elementBudget = 48_000
  /// NFT_RULE_MAXEXPRS.
  private static let maximumExpressions = 128

  init(
    _ changes: [NftChange], generation: UInt32?, commits: Bool
  ) throws(NftablesStepError) {
    scratch = .allocate(byteCount: Self.scratchSize, alignment: 16)
    append(nftnl_batch_begin(base, sequence))
    if let generation { setGeneration(generation) }
    for (index, change) in changes.enumerated() {
      step = index
      do throws(NftablesValueError) {
        try add(change)
      } catch {
        throw NftablesStepError(index: index, text: error.text)
      }
    }
    step = nil
    if commits { append(nftnl_batch_end(base, sequence)) }
  }

  deinit { scratch.deallocate() }

  private var base: UnsafeMutablePointer<CChar>? { scratch.baseAddress?.assumingMemoryBound(to: CChar.self) }
  private var sequence: UInt32 {
    NftablesTransaction.firstSequence + UInt32(truncatingIfNeeded: messages.count)
  }

  private mutating func append(_ header: UnsafeMutablePointer<nlmsghdr>?) {
    guard let header else { return }
    let count = min(Int(header.pointee.nlmsg_len), Self.scratchSize)
    messages.append((step, bytes.count))
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: header, count: count))
    for _ in 0..<(-count & 3) { bytes.append(0) }
  }

  /// Puts the generation into the begin message, the only one so far.
  private mutating func setGeneration(_ generation: UInt32) {
    let length = UInt16(8)
    bytes.append(contentsOf: withUnsafeBytes(of: length) { [UInt8]($0) })
    bytes.append(contentsOf: withUnsafeBytes(of: UInt16(1)) { [UInt8]($0) })  // NFNL_BATCH_GENID
    bytes.append(contentsOf: withUnsafeBytes(of: generation.bigEndian) { [UInt8]($0) })
    bytes.replaceSubrange(0..<4, with: withUnsafeBytes(of: UInt32(bytes.count)) { [UInt8]($0) })
  }

  private func header(
    _ type: UInt32, _ family: NftFamily, _ flags: Int32 = 0
  ) throws(NftablesValueError) -> UnsafeMutablePointer<nlmsghdr> {
    let type = UInt16(truncatingIfNeeded: type)
    let flags = UInt16(truncatingIfNeeded: flags)
    guard let header = nftnl_nlmsg_build_hdr(base, type, UInt16(family.number), flags, sequence) else {
      throw NftablesValueError(text: "libnftnl cannot begin a message")
    }
    return header
  }

  private mutating func finish(_ header: UnsafeMutablePointer<nlmsghdr>) throws(NftablesValueError) {
    guard header.pointee.nlmsg_len <= Self.maximumMessage else {
      throw NftablesValueError(
        text: "it takes \(header.pointee.nlmsg_len) bytes; a message has at most \(Self.maximumMessage)")
    }
    append(header)
  }

  // MARK: Steps

  private mutating func add(_ change: NftChange) throws(NftablesValueError) {
    let key = change.table
    switch change {
    case .addTable(let table): try self.table(NFT_MSG_NEWTABLE.rawValue, key, table)
    case .deleteTable: try table(NFT_MSG_DELTABLE.rawValue, key, nil)
    case .addChain(_, let chain): try add(chain, key)
    case .deleteChain(_, let name):
      let object = try chain(name, key)
      let header = try header(NFT_MSG_DELCHAIN.rawValue, key.family)
      nftnl_chain_nlmsg_build_payload(header, object.pointer)
      try finish(header)
    case .flushChain(_, let name): try rule(NFT_MSG_DELRULE.rawValue, key, name, nil)
    case .addSet(_, let set):
      _ = try add(set, key, id: takeSetID(), name: set.name)
      try elements(NFT_MSG_NEWSETELEM.rawValue, key, set, set.kernelElements)
    case .deleteSet(_, let name):
      let object = try NftablesObject(.set)
      try object.set(.setTable, text: key.name)
      try object.set(.setName, text: name)
      let header = try header(NFT_MSG_DELSET.rawValue, key.family)
      nftnl_set_nlmsg_build_payload(header, object.pointer)
      try finish(header)
    case .addElements(_, let set, let elements):
      try self.elements(
        NFT_MSG_NEWSETELEM.rawValue, key, set, set.kernelElements(of: elements, leading: false))
    case .deleteElements(_, let set, let elements):
      try self.elements(
        NFT_MSG_DELSETELEM.rawValue, key, set, set.kernelElements(of: elements, leading: false))
    case .addObject(_, let object): try self.object(NFT_MSG_NEWOBJ.rawValue, key, object)
    case .deleteObject(_, let object): try self.object(NFT_MSG_DELOBJ.rawValue, key, object)
    case .addFlowtable(_, let flowtable): try add(flowtable, key)
    case .deleteFlowtable(_, let name):
      let object = try self.flowtable(name, key)
      let header = try header(NFT_MSG_DELFLOWTABLE.rawValue, key.family)
      nftnl_flowtable_nlmsg_build_payload(header, object.pointer)
      try finish(header)
    case .appendRule(_, let chain, let rule):
      try self.rule(NFT_MSG_NEWRULE.rawValue, key, chain, rule, flags: NLM_F_CREATE | NLM_F_APPEND)
    case .prependRule(_, let chain, let rule):
      try self.rule(NFT_MSG_NEWRULE.rawValue, key, chain, rule, flags: NLM_F_CREATE)
    case .insertRule(_, let chain, let rule, let handle):
      try self.rule(
        NFT_MSG_NEWRULE.rawValue, key, chain, rule, position: handle, flags: NLM_F_CREATE | NLM_F_APPEND)
    case .replaceRule(_, let chain, let rule, let handle):
      try self.rule(NFT_MSG_NEWRULE.rawValue, key, chain, rule, handle: handle, flags: NLM_F_REPLACE)
    case .deleteRule(_, let chain, let handle):
      try self.rule(NFT_MSG_DELRULE.rawValue, key, chain, nil, handle: handle)
    }
  }

  private mutating func table(
    _ type: UInt32, _ key: NftTableKey, _ table: NftTable?
  ) throws(NftablesValueError) {
    let object = try NftablesObject(.table)
    try object.set(.tableName, text: key.name)
    if let table {
      try object.set(.tableFlags, table.flags)
      var userdata = NftablesUserdata()
      try userdata.add(NftablesUserdata.comment, text: table.comment)
      if !userdata.records.isEmpty { try object.set(.tableUserdata, userdata.bytes) }
    }
    let header = try header(type, key.family, table == nil ? 0 : NLM_F_CREATE)
    nftnl_table_nlmsg_build_payload(header, object.pointer)
    try finish(header)
  }

  private func chain(_ name: String, _ key: NftTableKey) throws(NftablesValueError) -> NftablesObject {
    let object = try NftablesObject(.chain)
    try object.set(.chainTable, text: key.name)
    try object.set(.chainName, text: name)
    return object
  }

  private mutating func add(_ chain: NftChain, _ key: NftTableKey) throws(NftablesValueError) {
    let object = try self.chain(chain.name, key)
    if let base = chain.base {
      guard let hook = base.hook.number(in: key.family) else {
        throw NftablesValueError(
          text: "the \(key.family.rawValue) family has no hook '\(base.hook.rawValue)'")
      }
      try object.set(.chainType, text: base.type.rawValue)
      try object.set(.chainHook, hook)
      try object.set(.chainPriority, UInt32(bitPattern: base.priority))
      try object.set(.chainPolicy, UInt32(base.policy == .accept ? 1 : 0))
      if base.devices.count == 1 {
        try object.set(.chainDevice, text: base.devices[0])
      } else if !base.devices.isEmpty {
        try setDevices(base.devices, of: object)
      }
    }
    var userdata = NftablesUserdata()
    try userdata.add(NftablesUserdata.comment, text: chain.comment)
    if !userdata.records.isEmpty { try object.set(.chainUserdata, userdata.bytes) }
    let header = try header(NFT_MSG_NEWCHAIN.rawValue, key.family, NLM_F_CREATE)
    nftnl_chain_nlmsg_build_payload(header, object.pointer)
    try finish(header)
  }

  private func flowtable(_ name: String, _ key: NftTableKey) throws(NftablesValueError) -> NftablesObject {
    let object = try NftablesObject(.flowtable)
    try object.set(.flowtableTable, text: key.name)
    try object.set(.flowtableName, text: name)
    return object
  }

  private mutating func add(_ flowtable: NftFlowtable, _ key: NftTableKey) throws(NftablesValueError) {
    let object = try self.flowtable(flowtable.name, key)
    // NF_NETDEV_INGRESS.
    try object.set(.flowtableHook, UInt32(0))
    try object.set(.flowtablePriority, UInt32(bitPattern: flowtable.priority))
    if flowtable.counts { try object.set(.flowtableFlags, NFT_FLOWTABLE_COUNTER.rawValue) }
    if !flowtable.devices.isEmpty { try setDevices(flowtable.devices, of: object) }
    let header = try header(NFT_MSG_NEWFLOWTABLE.rawValue, key.family, NLM_F_CREATE)
    nftnl_flowtable_nlmsg_build_payload(header, object.pointer)
    try finish(header)
  }

  /// The devices of a chain or a flowtable.
  private func setDevices(_ devices: [String], of object: borrowing NftablesObject) throws(NftablesValueError)
  {
    for device in devices where device.utf8.isEmpty || device.utf8.count > 15 || device.utf8.contains(0) {
      throw NftablesValueError(text: "'\(device)' is not the name of a device")
    }
    // The library copies the array and its strings, so that ours end here.
    var names = devices.map { UnsafePointer<CChar>(strdup($0)) }
    names.append(nil)
    let result = names.withUnsafeMutableBufferPointer { buffer in
      object.kind == .flowtable
        ? nftnl_flowtable_set_array(
          object.pointer, UInt16(truncatingIfNeeded: NFTNL_FLOWTABLE_DEVICES.rawValue), buffer.baseAddress)
        : nftnl_chain_set_array(
          object.pointer, UInt16(truncatingIfNeeded: NFTNL_CHAIN_DEVICES.rawValue), buffer.baseAddress)
    }
    for name in names { free(UnsafeMutablePointer(mutating: name)) }
    guard result >= 0 else { throw NftablesValueError(text: "libnftnl refuses the devices") }
  }

  // MARK: Rules

  private mutating func rule(
    _ type: UInt32, _ key: NftTableKey, _ chain: String, _ rule: NftRule?, handle: UInt64? = nil,
    position: UInt64? = nil, flags: Int32 = 0
  ) throws(NftablesValueError) {
    let object = try NftablesObject(.rule)
    try object.set(.ruleTable, text: key.name)
    try object.set(.ruleChain, text: chain)
    if let handle { try object.set(.ruleHandle, handle) }
    if let position { try object.set(.rulePosition, position) }
    if let rule {
      guard rule.expressions.count <= Self.maximumExpressions else {
        throw NftablesValueError(
          text: "a rule of \(rule.expressions.count) expressions; the kernel takes \(Self.maximumExpressions)"
        )
      }
      var userdata = NftablesUserdata()
      try userdata.add(NftablesUserdata.comment, text: rule.comment)
      if !rule.key.isEmpty { try userdata.add(NftablesUserdata.ruleKey, text: rule.key) }
      if !userdata.records.isEmpty { try object.set(.ruleUserdata, userdata.bytes) }
      for expression in rule.expressions {
        let made = try expression.object(try anonymous(of: expression, key))
        nftnl_rule_add_expr(object.pointer, made.release())
      }
    }
    let header = try header(type, key.family, flags)
    nftnl_rule_nlmsg_build_payload(header, object.pointer)
    try finish(header)
  }

  /// Adds the anonymous set of an expression, which must stand before its rule.
  private mutating func anonymous(
    of expression: NftExpression, _ key: NftTableKey
  ) throws(NftablesValueError) -> NftablesAnonymousSet? {
    let reference: NftSetReference? =
      switch expression {
      case .lookup(let lookup): lookup.set
      case .objectReference(let object):
        if case .map(let set, _) = object.target { set } else { nil }
      default: nil
      }
    guard case .anonymous(let set)? = reference else { return nil }
    let id = takeSetID()
    let name = set.isMap ? "__map%d" : "__set%d"
    let added = try add(set, key, id: id, name: name)
    try elements(NFT_MSG_NEWSETELEM.rawValue, key, set, set.kernelElements, anonymous: added)
    return added
  }

  private mutating func takeSetID() -> UInt32 {
    defer { nextSetID += 1 }
    return nextSetID
  }

  // MARK: Sets

  private mutating func add(
    _ set: NftSet, _ key: NftTableKey, id: UInt32, name: String
  ) throws(NftablesValueError) -> NftablesAnonymousSet {
    let object = try NftablesObject(.set)
    try object.set(.setTable, text: key.name)
    try object.set(.setName, text: name)
    try object.set(.setFamily, UInt32(key.family.number))
    try object.set(.setFlags, set.flags.rawValue)
    try object.set(.setID, id)
    guard !set.keyTypes.isEmpty, (1...NftData.maximumLength).contains(set.keyLength) else {
      throw NftablesValueError(text: "a key of \(set.keyLength) bytes; the kernel takes 1 to 64")
    }
    try object.set(.setKeyType, Self.number(of: set.keyTypes))
    try object.set(.setKeyLength, UInt32(set.keyLength))
    switch set.data {
    case .verdict?:
      try object.set(.setDataType, UInt32(0xffff_ff00))
      try object.set(.setDataLength, UInt32(16))
    case .value(let types)?:
      guard let length = set.data?.length, (1...NftData.maximumLength).contains(length) else {
        throw NftablesValueError(text: "a map's value has 1 to 64 bytes")
      }
      try object.set(.setDataType, Self.number(of: types))
      try object.set(.setDataLength, UInt32(length))
    case .object(let type)?: try object.set(.setObjectType, type)
    case nil: break
    }
    if set.flags.contains(.concatenation) {
      guard set.keyTypes.count <= 15 else { throw NftablesValueError(text: "a key of more than 15 fields") }
      try object.set(.setFields, set.keyTypes.map { UInt8(truncatingIfNeeded: $0.size) })
    }
    if let size = set.isAnonymous ? UInt32(set.kernelElements.count) : set.size {
      try object.set(.setSize, size)
    }
    if let timeout = set.timeout { try object.set(.setTimeout, timeout) }
    if let interval = set.gcInterval { try object.set(.setGCInterval, interval) }
    if set.prefersMemory { try object.set(.setPolicy, UInt32(1)) }
    try object.set(.setUserdata, try Self.userdata(of: set).bytes)
    guard set.expressions.count <= NftDynset.maximumExpressions else {
      throw NftablesValueError(text: "an element holds at most \(NftDynset.maximumExpressions) expressions")
    }
    for expression in set.expressions {
      let made = try expression.object()
      nftnl_set_add_expr(object.pointer, made.release())
    }
    let header = try header(NFT_MSG_NEWSET.rawValue, key.family, NLM_F_CREATE)
    nftnl_set_nlmsg_build_payload(header, object.pointer)
    try finish(header)
    return NftablesAnonymousSet(name: name, id: id)
  }

  /// nft's number for a type, six bits a field of a concatenation.
  private static func number(of types: [NftDataType]) -> UInt32 {
    types.reduce(0) { $0 << 6 | $1.rawValue & 0x3f }
  }

  private static func userdata(of set: NftSet) throws(NftablesValueError) -> NftablesUserdata {
    var userdata = NftablesUserdata()
    userdata.add(NftablesUserdata.setKeyByteOrder, number: byteOrder(set.keyTypes))
    if case .value(let types)? = set.data {
      userdata.add(NftablesUserdata.setDataByteOrder, number: byteOrder(types))
    }
    if set.autoMerge { userdata.add(NftablesUserdata.setMergeElements, number: 1) }
    try userdata.add(NftablesUserdata.setComment, text: set.comment)
    for record in set.userdata.other where record.value.count <= 255 {
      userdata.records.append((record.type, record.value.bytes))
    }
    return userdata
  }

  /// nft's word for it: 0 for concatenations, 1 the host's, 2 the network's.
  private static func byteOrder(_ types: [NftDataType]) -> UInt32 {
    guard types.count == 1 else { return 0 }
    return types[0].isHostOrder ? 1 : 2
  }

  private mutating func elements(
    _ type: UInt32, _ key: NftTableKey, _ set: NftSet, _ elements: [NftKernelElement],
    anonymous: NftablesAnonymousSet? = nil
  ) throws(NftablesValueError) {
    var start = elements.startIndex
    while start < elements.endIndex {
      let object = try NftablesObject(.set)
      try object.set(.setTable, text: key.name)
      try object.set(.setName, text: anonymous?.name ?? set.name)
      if let anonymous { try object.set(.setID, anonymous.id) }
      var size = 0
      var end = start
      while end < elements.endIndex, size < Self.elementBudget {
        let element = try self.element(elements[end])
        size += elements[end].encodedBound
        nftnl_set_elem_add(object.pointer, element.release())
        end += 1
      }
      let header = try header(type, key.family, type == NFT_MSG_NEWSETELEM.rawValue ? NLM_F_CREATE : 0)
      nftnl_set_elems_nlmsg_build_payload(header, object.pointer)
      try finish(header)
      start = end
    }
  }

  private func element(_ element: NftKernelElement) throws(NftablesValueError) -> NftablesObject {
    let object = try NftablesObject(.element)
    let flags = (element.isEnd ? UInt32(1) : 0) | (element.key.isEmpty ? 2 : 0)
    if flags != 0 { try object.set(.elementFlags, flags) }
    if !element.key.isEmpty { try object.set(.elementKey, element.key.bytes) }
    if let end = element.end { try object.set(.elementKeyEnd, end.bytes) }
    switch element.value {
    case .data(let data)?: try object.set(.elementData, data.bytes)
    case .verdict(let verdict)?:
      try object.set(.elementVerdict, UInt32(bitPattern: verdict.code))
      if let target = verdict.target { try object.set(.elementChain, text: target) }
    case .object(let name)?: try object.set(.elementObject, text: name)
    case nil: break
    }
    if let timeout = element.timeout { try object.set(.elementTimeout, timeout) }
    var userdata = NftablesUserdata()
    try userdata.add(NftablesUserdata.comment, text: element.comment)
    if !userdata.records.isEmpty { try object.set(.elementUserdata, userdata.bytes) }
    guard element.expressions.count <= NftDynset.maximumExpressions else {
      throw NftablesValueError(text: "an element holds at most \(NftDynset.maximumExpressions) expressions")
    }
    for expression in element.expressions {
      let made = try expression.object()
      nftnl_set_elem_add_expr(object.pointer, made.release())
    }
    return object
  }

  // MARK: Objects

  private mutating func object(
    _ type: UInt32, _ key: NftTableKey, _ object: NftObject
  ) throws(NftablesValueError) {
    if case .unknown = object.state, type == NFT_MSG_NEWOBJ.rawValue {
      throw NftablesValueError(text: "this library does not know how to make object '\(object.name)'")
    }
    let made = try NftablesObject(.object)
    try made.set(.objectTable, text: key.name)
    try made.set(.objectName, text: object.name)
    try made.set(.objectType, object.type)
    if type == NFT_MSG_NEWOBJ.rawValue {
      try made.fill(object)
      var userdata = NftablesUserdata()
      try userdata.add(NftablesUserdata.comment, text: object.comment)
      if !userdata.records.isEmpty { try made.set(.objectUserdata, userdata.bytes) }
    }
    let header = try header(type, key.family, type == NFT_MSG_NEWOBJ.rawValue ? NLM_F_CREATE : 0)
    nftnl_obj_nlmsg_build_payload(header, made.pointer)
    try finish(header)
  }
}

/// A step that cannot be sent.
struct NftablesStepError: Error, Hashable {
  var index: Int
  var text: String
}

extension NftKernelElement {
  /// At least the bytes that it takes in a message.
  fileprivate var encodedBound: Int {
    let value: Int =
      switch value {
      case .data(let data): data.count + 16
      case .verdict(let verdict): 32 + (verdict.target?.utf8.count ?? 0)
      case .object(let name): 8 + name.utf8.count
      case nil: 0
      }
    return 48 + key.count + (end.map { $0.count + 16 } ?? 0) + value + (comment?.utf8.count ?? 0)
      + expressions.count * 256
  }
}
