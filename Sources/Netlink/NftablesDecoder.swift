// SPDX-License-Identifier: GPL-2.0-or-later

// nf_tables' messages into compiled tables, chains, sets, elements, objects and rules. Every number of
// nf_tables is in network byte order.

import CNftnl
import Nftables
import Rtnetlink

/// Reads the payloads of nf_tables' messages.
enum NftablesDecoder {
  static func table(
    _ reader: inout AttributeReader, _ family: NftFamily
  ) throws(NetlinkDecodingError) -> NftTable {
    var table = NftTable(family: family, name: "")
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_TABLE_NAME.rawValue: table.name = attribute.string()
      case NFTA_TABLE_FLAGS.rawValue: table.flags = try attribute.be32()
      case NFTA_TABLE_USERDATA.rawValue:
        table.comment = NftablesUserdata(attribute.bytes()).text(NftablesUserdata.comment)
      default: break
      }
    }
    return table
  }

  static func chain(
    _ reader: inout AttributeReader, _ family: NftFamily
  ) throws(NetlinkDecodingError) -> (table: String, chain: NftChain) {
    var table = ""
    var chain = NftChain(name: "")
    var type = NftChainType.filter
    var policy = NftPolicy.accept
    var base: NftBaseChain?
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_CHAIN_TABLE.rawValue: table = attribute.string()
      case NFTA_CHAIN_NAME.rawValue: chain.name = attribute.string()
      case NFTA_CHAIN_TYPE.rawValue: type = NftChainType(rawValue: attribute.string()) ?? .filter
      case NFTA_CHAIN_POLICY.rawValue: policy = try attribute.be32() == 0 ? .drop : .accept
      case NFTA_CHAIN_HOOK.rawValue: base = try hook(attribute, family)
      case NFTA_CHAIN_USERDATA.rawValue:
        chain.comment = NftablesUserdata(attribute.bytes()).text(NftablesUserdata.comment)
      default: break
      }
    }
    base?.type = type
    base?.policy = policy
    chain.base = base
    return (table, chain)
  }

  private static func hook(
    _ attribute: NetlinkAttribute, _ family: NftFamily
  ) throws(NetlinkDecodingError) -> NftBaseChain {
    var number: UInt32 = 0
    var priority: Int32 = 0
    var devices: Set<String> = []
    var reader = attribute.content
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_HOOK_HOOKNUM.rawValue: number = try attribute.be32()
      case NFTA_HOOK_PRIORITY.rawValue: priority = Int32(bitPattern: try attribute.be32())
      case NFTA_HOOK_DEV.rawValue: devices.insert(attribute.string())
      case NFTA_HOOK_DEVS.rawValue:
        var list = attribute.content
        while let device = try list.next() { devices.insert(device.string()) }
      default: break
      }
    }
    guard let hook = NftHook(number: number, family: family) else {
      throw .invalid("hook of the \(family.rawValue) family", value: UInt64(number))
    }
    return NftBaseChain(hook: hook, priority: priority, devices: Array(devices))
  }

  // MARK: Sets

  static func set(_ reader: inout AttributeReader) throws(NetlinkDecodingError) -> (
    table: String, set: NftSet
  ) {
    var table = ""
    var set = NftSet(keyTypes: [])
    var keyType: UInt32 = 0
    var keyLength: UInt32 = 0
    var dataType: UInt32?
    var dataLength: UInt32 = 0
    var fields: [Int] = []
    var userdata = NftablesUserdata()
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_SET_TABLE.rawValue: table = attribute.string()
      case NFTA_SET_NAME.rawValue: set.name = attribute.string()
      case NFTA_SET_FLAGS.rawValue: set.flags = NftSetFlags(rawValue: try attribute.be32())
      case NFTA_SET_KEY_TYPE.rawValue: keyType = try attribute.be32()
      case NFTA_SET_KEY_LEN.rawValue: keyLength = try attribute.be32()
      case NFTA_SET_DATA_TYPE.rawValue: dataType = try attribute.be32()
      case NFTA_SET_DATA_LEN.rawValue: dataLength = try attribute.be32()
      case NFTA_SET_OBJ_TYPE.rawValue: set.data = .object(try attribute.be32())
      case NFTA_SET_POLICY.rawValue: set.prefersMemory = try attribute.be32() == 1
      case NFTA_SET_TIMEOUT.rawValue: set.timeout = try attribute.be64()
      case NFTA_SET_GC_INTERVAL.rawValue: set.gcInterval = try attribute.be32()
      case NFTA_SET_DESC.rawValue: try describe(attribute, &set, &fields)
      case NFTA_SET_EXPR.rawValue: set.expressions.append(try expression(attribute))
      case NFTA_SET_EXPRESSIONS.rawValue: set.expressions += try expressions(attribute)
      case NFTA_SET_USERDATA.rawValue: userdata = NftablesUserdata(attribute.bytes())
      default: break
      }
    }
    guard (1...64).contains(keyLength), dataLength <= 64 else {
      throw .invalid("length of a set's key or value", value: UInt64(max(keyLength, dataLength)))
    }
    let order = userdata.number(NftablesUserdata.setKeyByteOrder)
    set.keyTypes = types(keyType, length: Int(keyLength), fields: fields, isHostOrder: order == 1)
    if let dataType {
      set.data =
        dataType == 0xffff_ff00
        ? .verdict
        : .value(
          types(
            dataType, length: Int(dataLength), fields: [],
            isHostOrder: userdata.number(NftablesUserdata.setDataByteOrder) == 1))
    }
    set.autoMerge = userdata.number(NftablesUserdata.setMergeElements) == 1
    set.comment = userdata.text(NftablesUserdata.setComment)
    set.userdata.other = userdata.records.filter { (3...6).contains($0.type) || $0.type > 7 }.map {
      NftSetUserdata.Record(type: $0.type, value: NftData($0.value))
    }
    return (table, set)
  }

  private static func describe(
    _ attribute: NetlinkAttribute, _ set: inout NftSet, _ fields: inout [Int]
  ) throws(NetlinkDecodingError) {
    var reader = attribute.content
    while let part = try reader.next() {
      switch UInt32(part.type) {
      case NFTA_SET_DESC_SIZE.rawValue: set.size = try part.be32()
      case NFTA_SET_DESC_CONCAT.rawValue:
        var list = part.content
        while let field = try list.next() {
          var content = field.content
          while let length = try content.next() { fields.append(Int(min(try length.be32(), 64))) }
        }
      default: break
      }
    }
  }

  /// The types behind nft's number: one, or six bits for each field of a concatenation.
  private static func types(_ number: UInt32, length: Int, fields: [Int], isHostOrder: Bool) -> [NftDataType]
  {
    guard number >= 64 else { return [NftDataType(rawValue: number, size: length, hostOrder: isHostOrder)] }
    var numbers: [UInt32] = []
    var rest = number
    while rest > 0 {
      numbers.insert(rest & 0x3f, at: 0)
      rest >>= 6
    }
    let types = numbers.enumerated().map { index, number in
      NftDataType(rawValue: number, size: fields.count == numbers.count ? fields[index] : nil)
    }
    // A number that is not nft's own is anyone's: the length is what counts.
    guard types.reduce(0, { $0 + $1.paddedSize }) == length else { return [.integer(length)] }
    return types
  }

  static func elements(_ reader: inout AttributeReader) throws(NetlinkDecodingError) -> [NftKernelElement] {
    var result: [NftKernelElement] = []
    while let attribute = try reader.next() {
      guard UInt32(attribute.type) == NFTA_SET_ELEM_LIST_ELEMENTS.rawValue else { continue }
      var list = attribute.content
      while let element = try list.next() {
        if let element = try self.element(element) { result.append(element) }
      }
    }
    return result
  }

  private static func element(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> NftKernelElement?
  {
    var element = NftKernelElement(key: [])
    var flags: UInt32 = 0
    var reader = attribute.content
    while let part = try reader.next() {
      switch UInt32(part.type) {
      case NFTA_SET_ELEM_FLAGS.rawValue: flags = try part.be32()
      case NFTA_SET_ELEM_KEY.rawValue: element.key = try data(part)
      case NFTA_SET_ELEM_KEY_END.rawValue: element.end = try data(part)
      case NFTA_SET_ELEM_DATA.rawValue: element.value = try value(part)
      case NFTA_SET_ELEM_OBJREF.rawValue: element.value = .object(part.string())
      case NFTA_SET_ELEM_TIMEOUT.rawValue: element.timeout = try part.be64()
      case NFTA_SET_ELEM_EXPIRATION.rawValue: element.expiration = try part.be64()
      case NFTA_SET_ELEM_USERDATA.rawValue:
        element.comment = NftablesUserdata(part.bytes()).text(NftablesUserdata.comment)
      case NFTA_SET_ELEM_EXPR.rawValue: element.expressions.append(try expression(part))
      case NFTA_SET_ELEM_EXPRESSIONS.rawValue: element.expressions += try expressions(part)
      default: break
      }
    }
    element.isEnd = flags & 1 != 0
    if flags & 2 != 0 { element.key = [] }
    return element
  }

  // MARK: Data

  /// NFTA_DATA_VALUE within a nest.
  static func data(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> NftData {
    var reader = attribute.content
    while let part = try reader.next() {
      if UInt32(part.type) == NFTA_DATA_VALUE.rawValue { return try bytes(part) }
    }
    throw .invalid("data without a value", value: 0)
  }

  private static func bytes(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> NftData {
    let bytes = attribute.bytes()
    guard (1...NftData.maximumLength).contains(bytes.count) else {
      throw .invalid("length of data", value: UInt64(bytes.count))
    }
    return NftData(bytes)
  }

  static func value(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> NftElementValue {
    var reader = attribute.content
    while let part = try reader.next() {
      switch UInt32(part.type) {
      case NFTA_DATA_VALUE.rawValue: return .data(try bytes(part))
      case NFTA_DATA_VERDICT.rawValue: return .verdict(try verdict(part))
      default: break
      }
    }
    throw .invalid("data without a value", value: 0)
  }

  private static func verdict(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> NftVerdict {
    var code: Int32 = 0
    var chain: String?
    var reader = attribute.content
    while let part = try reader.next() {
      switch UInt32(part.type) {
      case NFTA_VERDICT_CODE.rawValue: code = Int32(bitPattern: try part.be32())
      case NFTA_VERDICT_CHAIN.rawValue: chain = part.string()
      default: break
      }
    }
    guard let verdict = NftVerdict(code: code, chain: chain) else {
      throw .invalid("verdict without a chain", value: UInt64(UInt32(bitPattern: code)))
    }
    return verdict
  }

  // MARK: Rules and objects

  struct Rule {
    var table = ""
    var chain = ""
    var handle: UInt64 = 0
    var rule = NftRule(expressions: [])
  }

  static func rule(_ reader: inout AttributeReader) throws(NetlinkDecodingError) -> Rule {
    var result = Rule()
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_RULE_TABLE.rawValue: result.table = attribute.string()
      case NFTA_RULE_CHAIN.rawValue: result.chain = attribute.string()
      case NFTA_RULE_HANDLE.rawValue: result.handle = try attribute.be64()
      case NFTA_RULE_EXPRESSIONS.rawValue: result.rule.expressions = try expressions(attribute)
      case NFTA_RULE_USERDATA.rawValue:
        let userdata = NftablesUserdata(attribute.bytes())
        result.rule.comment = userdata.text(NftablesUserdata.comment)
        result.rule.key = userdata.text(NftablesUserdata.ruleKey) ?? ""
      default: break
      }
    }
    return result
  }

  static func object(
    _ reader: inout AttributeReader
  ) throws(NetlinkDecodingError) -> (table: String, object: NftObject) {
    var table = ""
    var object = NftObject(name: "", state: .unknown(0))
    var type: UInt32 = 0
    var content: NetlinkAttribute?
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_OBJ_TABLE.rawValue: table = attribute.string()
      case NFTA_OBJ_NAME.rawValue: object.name = attribute.string()
      case NFTA_OBJ_TYPE.rawValue: type = try attribute.be32()
      case NFTA_OBJ_DATA.rawValue: content = attribute
      case NFTA_OBJ_USERDATA.rawValue:
        object.comment = NftablesUserdata(attribute.bytes()).text(NftablesUserdata.comment)
      default: break
      }
    }
    object.state = .unknown(type)
    if let content { object.state = try state(type, content) }
    return (table, object)
  }

  static func flowtable(
    _ reader: inout AttributeReader
  ) throws(NetlinkDecodingError) -> (table: String, flowtable: NftFlowtable) {
    var table = ""
    var flowtable = NftFlowtable(name: "")
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_FLOWTABLE_TABLE.rawValue: table = attribute.string()
      case NFTA_FLOWTABLE_NAME.rawValue: flowtable.name = attribute.string()
      case NFTA_FLOWTABLE_FLAGS.rawValue:
        flowtable.counts = try attribute.be32() & NFT_FLOWTABLE_COUNTER.rawValue != 0
      case NFTA_FLOWTABLE_HOOK.rawValue:
        var hook = attribute.content
        while let part = try hook.next() {
          switch UInt32(part.type) {
          case NFTA_FLOWTABLE_HOOK_PRIORITY.rawValue:
            flowtable.priority = Int32(bitPattern: try part.be32())
          case NFTA_FLOWTABLE_HOOK_DEVS.rawValue:
            var list = part.content
            while let device = try list.next() { flowtable.devices.append(device.string()) }
            flowtable.devices.sort()
          default: break
          }
        }
      default: break
      }
    }
    return (table, flowtable)
  }

  /// A list of expressions.
  static func expressions(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> [NftExpression] {
    var result: [NftExpression] = []
    var list = attribute.content
    while let element = try list.next() { result.append(try expression(element)) }
    return result
  }

  static func expression(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) -> NftExpression {
    var name = ""
    var content: NetlinkAttribute?
    var reader = attribute.content
    while let part = try reader.next() {
      switch UInt32(part.type) {
      case NFTA_EXPR_NAME.rawValue: name = part.string()
      case NFTA_EXPR_DATA.rawValue: content = part
      default: break
      }
    }
    return try NftablesExpressionDecoder(name, content).expression()
  }
}
