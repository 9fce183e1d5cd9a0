// SPDX-License-Identifier: GPL-2.0-or-later

// One expression from its attributes. A kind, key or operation that this library does not know gives
// `.unknown`; an attribute of the wrong length is an error.

import CNftnl
import NetTypes
import Nftables
import Rtnetlink

/// Reads one expression.
struct NftablesExpressionDecoder {
  private let name: String
  private var attributes: [Int: NetlinkAttribute] = [:]

  init(_ name: String, _ content: NetlinkAttribute?) throws(NetlinkDecodingError) {
    self.name = name
    guard var reader = content?.content else { return }
    while let attribute = try reader.next() { attributes[attribute.type] = attribute }
  }

  func expression() throws(NetlinkDecodingError) -> NftExpression {
    try known() ?? .unknown(name)
  }

  // MARK: Attributes

  private func u32(_ type: UInt32) throws(NetlinkDecodingError) -> UInt32? {
    guard let attribute = attributes[Int(type)] else { return nil }
    return try attribute.be32()
  }

  private func u64(_ type: UInt32) throws(NetlinkDecodingError) -> UInt64? {
    guard let attribute = attributes[Int(type)] else { return nil }
    return try attribute.be64()
  }

  private func number(_ type: UInt32) throws(NetlinkDecodingError) -> UInt32 {
    guard let value = try u32(type) else { throw missing(type) }
    return value
  }

  private func missing(_ type: UInt32) -> NetlinkDecodingError {
    .invalid("expression '\(name)' without attribute", value: UInt64(type))
  }

  private func register(_ type: UInt32) throws(NetlinkDecodingError) -> NftRegister {
    guard let register = try optionalRegister(type) else { throw missing(type) }
    return register
  }

  private func optionalRegister(_ type: UInt32) throws(NetlinkDecodingError) -> NftRegister? {
    guard let value = try u32(type) else { return nil }
    guard let register = NftRegister(rawValue: value) else {
      throw .invalid("register", value: UInt64(value))
    }
    return register
  }

  private func data(_ type: UInt32) throws(NetlinkDecodingError) -> NftData {
    guard let attribute = attributes[Int(type)] else { throw missing(type) }
    return try NftablesDecoder.data(attribute)
  }

  private func has(_ type: UInt32) -> Bool { attributes[Int(type)] != nil }

  // MARK: Expressions

  private func known() throws(NetlinkDecodingError) -> NftExpression? {
    switch name {
    case "payload": try payload()
    case "meta": try meta()
    case "ct": try ct()
    case "cmp": try cmp()
    case "range": try range()
    case "bitwise": try bitwise()
    case "byteorder":
      .byteorder(
        NftByteorder(
          source: try register(NFTA_BYTEORDER_SREG.rawValue),
          destination: try register(NFTA_BYTEORDER_DREG.rawValue),
          toNetwork: try number(NFTA_BYTEORDER_OP.rawValue) == 1,
          length: try number(NFTA_BYTEORDER_LEN.rawValue),
          size: try number(NFTA_BYTEORDER_SIZE.rawValue)))
    case "lookup": try lookup()
    case "immediate": try immediate()
    case "nat": try nat()
    case "masq":
      .masquerade(
        NftMasquerade(
          portMin: try optionalRegister(NFTA_MASQ_REG_PROTO_MIN.rawValue),
          portMax: try optionalRegister(NFTA_MASQ_REG_PROTO_MAX.rawValue),
          flags: NftNATFlags(rawValue: try u32(NFTA_MASQ_FLAGS.rawValue) ?? 0)))
    case "redir":
      .redirect(
        NftRedirect(
          portMin: try optionalRegister(NFTA_REDIR_REG_PROTO_MIN.rawValue),
          portMax: try optionalRegister(NFTA_REDIR_REG_PROTO_MAX.rawValue),
          flags: NftNATFlags(rawValue: try u32(NFTA_REDIR_FLAGS.rawValue) ?? 0)))
    case "notrack": .notrack
    case "counter", "limit", "quota", "connlimit", "log", "reject", "dynset", "objref": try action()
    default: try source()
    }
  }

  private func payload() throws(NetlinkDecodingError) -> NftExpression? {
    guard let base = NftPayloadBase(rawValue: try number(NFTA_PAYLOAD_BASE.rawValue)) else { return nil }
    let offset = try number(NFTA_PAYLOAD_OFFSET.rawValue)
    let length = try number(NFTA_PAYLOAD_LEN.rawValue)
    guard let source = try optionalRegister(NFTA_PAYLOAD_SREG.rawValue) else {
      return .payload(
        NftPayload(
          base: base, offset: offset, length: length, destination: try register(NFTA_PAYLOAD_DREG.rawValue)))
    }
    return .payloadWrite(
      NftPayloadWrite(
        base: base, offset: offset, length: length, source: source,
        checksumType: try u32(NFTA_PAYLOAD_CSUM_TYPE.rawValue) ?? 0,
        checksumOffset: try u32(NFTA_PAYLOAD_CSUM_OFFSET.rawValue) ?? 0,
        checksumFlags: try u32(NFTA_PAYLOAD_CSUM_FLAGS.rawValue) ?? 0))
  }

  private func meta() throws(NetlinkDecodingError) -> NftExpression? {
    guard let key = NftMetaKey(rawValue: try number(NFTA_META_KEY.rawValue)) else { return nil }
    if let source = try optionalRegister(NFTA_META_SREG.rawValue) {
      return .metaSet(NftMetaSet(key: key, source: source))
    }
    return .meta(NftMeta(key: key, destination: try register(NFTA_META_DREG.rawValue)))
  }

  private func ct() throws(NetlinkDecodingError) -> NftExpression? {
    guard let key = NftCtKey(rawValue: try number(NFTA_CT_KEY.rawValue)) else { return nil }
    let direction = try attributes[Int(NFTA_CT_DIRECTION.rawValue)].flatMap {
      attribute throws(NetlinkDecodingError) in
      NftCtDirection(rawValue: try attribute.u8())
    }
    if let source = try optionalRegister(NFTA_CT_SREG.rawValue) {
      return .ctSet(NftCtSet(key: key, direction: direction, source: source))
    }
    return .ct(NftCt(key: key, direction: direction, destination: try register(NFTA_CT_DREG.rawValue)))
  }

  private func cmp() throws(NetlinkDecodingError) -> NftExpression? {
    guard let operation = NftComparisonOperator(rawValue: try number(NFTA_CMP_OP.rawValue)) else {
      return nil
    }
    return .cmp(
      NftCmp(
        operation: operation, source: try register(NFTA_CMP_SREG.rawValue),
        data: try data(NFTA_CMP_DATA.rawValue)))
  }

  private func range() throws(NetlinkDecodingError) -> NftExpression? {
    let operation = try number(NFTA_RANGE_OP.rawValue)
    guard operation <= 1 else { return nil }
    return .range(
      NftRange(
        isNegated: operation == 1, source: try register(NFTA_RANGE_SREG.rawValue),
        from: try data(NFTA_RANGE_FROM_DATA.rawValue), to: try data(NFTA_RANGE_TO_DATA.rawValue)))
  }

  private func bitwise() throws(NetlinkDecodingError) -> NftExpression? {
    let operation: NftBitwise.Operation
    switch try u32(NFTA_BITWISE_OP.rawValue) ?? 0 {
    case 0:
      // Between two registers there is no mask (newer kernels).
      guard has(NFTA_BITWISE_MASK.rawValue) else { return nil }
      operation = .mask(try data(NFTA_BITWISE_MASK.rawValue), flip: try data(NFTA_BITWISE_XOR.rawValue))
    case 1: operation = .shiftLeft(try shift())
    case 2: operation = .shiftRight(try shift())
    default: return nil
    }
    return .bitwise(
      NftBitwise(
        source: try register(NFTA_BITWISE_SREG.rawValue),
        destination: try register(NFTA_BITWISE_DREG.rawValue),
        length: try number(NFTA_BITWISE_LEN.rawValue), operation: operation))
  }

  private func shift() throws(NetlinkDecodingError) -> UInt32 {
    UInt32(truncatingIfNeeded: try data(NFTA_BITWISE_DATA.rawValue).hostValue)
  }

  private func lookup() throws(NetlinkDecodingError) -> NftExpression? {
    guard let set = attributes[Int(NFTA_LOOKUP_SET.rawValue)] else { throw missing(NFTA_LOOKUP_SET.rawValue) }
    return .lookup(
      NftLookup(
        set: .named(set.string()), source: try register(NFTA_LOOKUP_SREG.rawValue),
        destination: try optionalRegister(NFTA_LOOKUP_DREG.rawValue),
        isInverted: (try u32(NFTA_LOOKUP_FLAGS.rawValue) ?? 0) & 1 != 0))
  }

  private func immediate() throws(NetlinkDecodingError) -> NftExpression? {
    guard let attribute = attributes[Int(NFTA_IMMEDIATE_DATA.rawValue)] else {
      throw missing(NFTA_IMMEDIATE_DATA.rawValue)
    }
    let destination = try register(NFTA_IMMEDIATE_DREG.rawValue)
    return switch try NftablesDecoder.value(attribute) {
    case .data(let data): .immediate(.data(data, in: destination))
    case .verdict(let verdict): .immediate(NftImmediate(destination: destination, value: .verdict(verdict)))
    case .object: nil
    }
  }

  private func nat() throws(NetlinkDecodingError) -> NftExpression? {
    guard let kind = NftNAT.Kind(rawValue: try number(NFTA_NAT_TYPE.rawValue)) else { return nil }
    let family: IPFamily
    switch try number(NFTA_NAT_FAMILY.rawValue) {
    case 2: family = .ipv4
    case 10: family = .ipv6
    default: return nil
    }
    return .nat(
      NftNAT(
        kind: kind, family: family, addressMin: try optionalRegister(NFTA_NAT_REG_ADDR_MIN.rawValue),
        addressMax: try optionalRegister(NFTA_NAT_REG_ADDR_MAX.rawValue),
        portMin: try optionalRegister(NFTA_NAT_REG_PROTO_MIN.rawValue),
        portMax: try optionalRegister(NFTA_NAT_REG_PROTO_MAX.rawValue),
        flags: NftNATFlags(rawValue: try u32(NFTA_NAT_FLAGS.rawValue) ?? 0)))
  }

  // MARK: State and actions

  private func action() throws(NetlinkDecodingError) -> NftExpression? {
    switch name {
    case "counter":
      return .counter(
        NftCounter(
          packets: try u64(NFTA_COUNTER_PACKETS.rawValue) ?? 0,
          bytes: try u64(NFTA_COUNTER_BYTES.rawValue) ?? 0))
    case "limit":
      return .limit(
        NftLimit(
          rate: try u64(NFTA_LIMIT_RATE.rawValue) ?? 0, unitSeconds: try u64(NFTA_LIMIT_UNIT.rawValue) ?? 1,
          burst: try u32(NFTA_LIMIT_BURST.rawValue) ?? 0,
          countsBytes: try u32(NFTA_LIMIT_TYPE.rawValue) ?? 0 == 1,
          isInverted: (try u32(NFTA_LIMIT_FLAGS.rawValue) ?? 0) & 1 != 0))
    case "quota":
      return .quota(
        NftQuota(
          bytes: try u64(NFTA_QUOTA_BYTES.rawValue) ?? 0,
          consumed: try u64(NFTA_QUOTA_CONSUMED.rawValue) ?? 0,
          isInverted: (try u32(NFTA_QUOTA_FLAGS.rawValue) ?? 0) & 1 != 0))
    case "connlimit":
      return .connlimit(
        NftConnlimit(
          count: try u32(NFTA_CONNLIMIT_COUNT.rawValue) ?? 0,
          isInverted: (try u32(NFTA_CONNLIMIT_FLAGS.rawValue) ?? 0) & 1 != 0))
    case "log": return try log()
    case "reject":
      guard let kind = NftReject.Kind(rawValue: try number(NFTA_REJECT_TYPE.rawValue)) else { return nil }
      return .reject(
        NftReject(kind: kind, code: try attributes[Int(NFTA_REJECT_ICMP_CODE.rawValue)]?.u8() ?? 0))
    case "dynset": return try dynset()
    default: return try objectReference()
    }
  }

  private func log() throws(NetlinkDecodingError) -> NftExpression? {
    .log(
      NftLog(
        prefix: attributes[Int(NFTA_LOG_PREFIX.rawValue)]?.string(), level: try u32(NFTA_LOG_LEVEL.rawValue),
        flags: try u32(NFTA_LOG_FLAGS.rawValue) ?? 0,
        group: try attributes[Int(NFTA_LOG_GROUP.rawValue)]?.be16(),
        snaplen: try u32(NFTA_LOG_SNAPLEN.rawValue),
        queueThreshold: try attributes[Int(NFTA_LOG_QTHRESHOLD.rawValue)]?.be16()))
  }

  private func dynset() throws(NetlinkDecodingError) -> NftExpression? {
    guard let set = attributes[Int(NFTA_DYNSET_SET_NAME.rawValue)],
      let operation = NftDynset.Operation(rawValue: try number(NFTA_DYNSET_OP.rawValue))
    else { return nil }
    var expressions: [NftExpression] = []
    if let single = attributes[Int(NFTA_DYNSET_EXPR.rawValue)] {
      expressions = [try NftablesDecoder.expression(single)]
    } else if let list = attributes[Int(NFTA_DYNSET_EXPRESSIONS.rawValue)] {
      expressions = try NftablesDecoder.expressions(list)
    }
    return .dynset(
      NftDynset(
        setName: set.string(), operation: operation, key: try register(NFTA_DYNSET_SREG_KEY.rawValue),
        data: try optionalRegister(NFTA_DYNSET_SREG_DATA.rawValue),
        timeout: try u64(NFTA_DYNSET_TIMEOUT.rawValue) ?? 0,
        expressions: expressions, isInverted: (try u32(NFTA_DYNSET_FLAGS.rawValue) ?? 0) & 1 != 0))
  }

  private func objectReference() throws(NetlinkDecodingError) -> NftExpression? {
    if let object = attributes[Int(NFTA_OBJREF_IMM_NAME.rawValue)] {
      return .objectReference(
        NftObjectReference(
          target: .named(type: try number(NFTA_OBJREF_IMM_TYPE.rawValue), name: object.string())))
    }
    guard let set = attributes[Int(NFTA_OBJREF_SET_NAME.rawValue)] else { return nil }
    return .objectReference(
      NftObjectReference(
        target: .map(.named(set.string()), source: try register(NFTA_OBJREF_SET_SREG.rawValue))))
  }

  // MARK: Sources

  private func source() throws(NetlinkDecodingError) -> NftExpression? {
    switch name {
    case "numgen":
      let type = try number(NFTA_NG_TYPE.rawValue)
      guard type <= 1 else { return nil }
      return .numgen(
        NftNumgen(
          isRandom: type == 1, modulus: try number(NFTA_NG_MODULUS.rawValue),
          offset: try u32(NFTA_NG_OFFSET.rawValue) ?? 0, destination: try register(NFTA_NG_DREG.rawValue)))
    case "hash":
      return .hash(
        NftHash(
          source: try optionalRegister(NFTA_HASH_SREG.rawValue), length: try u32(NFTA_HASH_LEN.rawValue) ?? 0,
          modulus: try number(NFTA_HASH_MODULUS.rawValue), seed: try u32(NFTA_HASH_SEED.rawValue),
          offset: try u32(NFTA_HASH_OFFSET.rawValue) ?? 0, destination: try register(NFTA_HASH_DREG.rawValue))
      )
    case "fib":
      let flags = try number(NFTA_FIB_FLAGS.rawValue)
      guard let result = NftFib.Result(rawValue: try number(NFTA_FIB_RESULT.rawValue)) else { return nil }
      return .fib(
        NftFib(
          flags: NftFib.Flags(rawValue: flags & 31), result: result, isPresence: flags & 32 != 0,
          destination: try register(NFTA_FIB_DREG.rawValue)))
    case "rt":
      guard let key = NftRtKey(rawValue: try number(NFTA_RT_KEY.rawValue)) else { return nil }
      return .rt(NftRt(key: key, destination: try register(NFTA_RT_DREG.rawValue)))
    case "socket":
      guard let key = NftSocketKey(rawValue: try number(NFTA_SOCKET_KEY.rawValue)) else { return nil }
      return .socket(
        NftSocket(
          key: key, level: try u32(NFTA_SOCKET_LEVEL.rawValue),
          destination: try register(NFTA_SOCKET_DREG.rawValue)))
    case "exthdr": return try exthdr()
    case "tproxy": return try tproxy()
    case "flow_offload":
      return attributes[Int(NFTA_FLOW_TABLE_NAME.rawValue)].map { .flowOffload($0.string()) }
    case "dup":
      return .dup(
        NftDup(
          address: try optionalRegister(NFTA_DUP_SREG_ADDR.rawValue),
          device: try optionalRegister(NFTA_DUP_SREG_DEV.rawValue)))
    case "synproxy":
      return .synproxy(
        NftSynproxy(
          maximumSegment: try attributes[Int(NFTA_SYNPROXY_MSS.rawValue)]?.be16() ?? 0,
          windowScale: try attributes[Int(NFTA_SYNPROXY_WSCALE.rawValue)]?.u8() ?? 0,
          flags: try u32(NFTA_SYNPROXY_FLAGS.rawValue) ?? 0))
    case "fwd":
      return .fwd(
        NftFwd(
          device: try register(NFTA_FWD_SREG_DEV.rawValue),
          address: try optionalRegister(NFTA_FWD_SREG_ADDR.rawValue),
          family: try u32(NFTA_FWD_NFPROTO.rawValue)))
    default: return nil
    }
  }

  private func exthdr() throws(NetlinkDecodingError) -> NftExpression? {
    guard let operation = NftExthdrOperation(rawValue: try u32(NFTA_EXTHDR_OP.rawValue) ?? 0) else {
      return nil
    }
    let type = try attributes[Int(NFTA_EXTHDR_TYPE.rawValue)]?.u8() ?? 0
    let offset = try u32(NFTA_EXTHDR_OFFSET.rawValue) ?? 0
    let length = try u32(NFTA_EXTHDR_LEN.rawValue) ?? 0
    guard let destination = try optionalRegister(NFTA_EXTHDR_DREG.rawValue) else {
      return .exthdrWrite(
        NftExthdrWrite(
          operation: operation, type: type, offset: offset, length: length,
          source: try optionalRegister(NFTA_EXTHDR_SREG.rawValue)))
    }
    return .exthdr(
      NftExthdr(
        operation: operation, type: type, offset: offset, length: length,
        isPresence: (try u32(NFTA_EXTHDR_FLAGS.rawValue) ?? 0) & 1 != 0, destination: destination))
  }

  private func tproxy() throws(NetlinkDecodingError) -> NftExpression? {
    let family: NftFamily
    switch try number(NFTA_TPROXY_FAMILY.rawValue) {
    case 0, 1: family = .inet
    case 2: family = .ip
    case 10: family = .ip6
    default: return nil
    }
    return .tproxy(
      NftTproxy(
        family: family, address: try optionalRegister(NFTA_TPROXY_REG_ADDR.rawValue),
        port: try optionalRegister(NFTA_TPROXY_REG_PORT.rawValue)))
  }
}
