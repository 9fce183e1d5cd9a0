// SPDX-License-Identifier: GPL-2.0-or-later

// The attributes that this library gives values to, with the lengths that libnftnl 1.2.4 wants.

import CNftnl
import Nftables

extension NftablesAttribute {
  /// NFT_NAME_MAXLEN without its zero.
  private static let name = Length.text(255)
  private static let u8 = Length.exactly(1)
  private static let u16 = Length.exactly(2)
  private static let u32 = Length.exactly(4)
  private static let u64 = Length.exactly(8)
  /// A register's operand (NFT_DATA_VALUE_MAXLEN).
  private static let data = Length.upTo(NftData.maximumLength)
  /// NFT_USERDATA_MAXLEN.
  private static let userdata = Length.upTo(256)

  static let tableName = Self(.table, NFTNL_TABLE_NAME, name)
  static let tableFamily = Self(.table, NFTNL_TABLE_FAMILY, u32)
  static let tableFlags = Self(.table, NFTNL_TABLE_FLAGS, u32)
  static let tableUserdata = Self(.table, NFTNL_TABLE_USERDATA, userdata)

  static let chainTable = Self(.chain, NFTNL_CHAIN_TABLE, name)
  static let chainName = Self(.chain, NFTNL_CHAIN_NAME, name)
  static let chainFamily = Self(.chain, NFTNL_CHAIN_FAMILY, u32)
  static let chainHook = Self(.chain, NFTNL_CHAIN_HOOKNUM, u32)
  static let chainPriority = Self(.chain, NFTNL_CHAIN_PRIO, u32)
  static let chainPolicy = Self(.chain, NFTNL_CHAIN_POLICY, u32)
  static let chainType = Self(.chain, NFTNL_CHAIN_TYPE, name)
  static let chainDevice = Self(.chain, NFTNL_CHAIN_DEV, .text(15))
  static let chainUserdata = Self(.chain, NFTNL_CHAIN_USERDATA, userdata)

  static let setTable = Self(.set, NFTNL_SET_TABLE, name)
  static let setName = Self(.set, NFTNL_SET_NAME, name)
  static let setFamily = Self(.set, NFTNL_SET_FAMILY, u32)
  static let setFlags = Self(.set, NFTNL_SET_FLAGS, u32)
  static let setKeyType = Self(.set, NFTNL_SET_KEY_TYPE, u32)
  static let setKeyLength = Self(.set, NFTNL_SET_KEY_LEN, u32)
  static let setDataType = Self(.set, NFTNL_SET_DATA_TYPE, u32)
  static let setDataLength = Self(.set, NFTNL_SET_DATA_LEN, u32)
  static let setObjectType = Self(.set, NFTNL_SET_OBJ_TYPE, u32)
  static let setID = Self(.set, NFTNL_SET_ID, u32)
  static let setPolicy = Self(.set, NFTNL_SET_POLICY, u32)
  static let setSize = Self(.set, NFTNL_SET_DESC_SIZE, u32)
  static let setTimeout = Self(.set, NFTNL_SET_TIMEOUT, u64)
  static let setGCInterval = Self(.set, NFTNL_SET_GC_INTERVAL, u32)
  static let setFields = Self(.set, NFTNL_SET_DESC_CONCAT, .upTo(15))
  static let setUserdata = Self(.set, NFTNL_SET_USERDATA, userdata)

  static let elementFlags = Self(.element, NFTNL_SET_ELEM_FLAGS, u32)
  static let elementKey = Self(.element, NFTNL_SET_ELEM_KEY, data)
  static let elementKeyEnd = Self(.element, NFTNL_SET_ELEM_KEY_END, data)
  static let elementData = Self(.element, NFTNL_SET_ELEM_DATA, data)
  static let elementVerdict = Self(.element, NFTNL_SET_ELEM_VERDICT, u32)
  static let elementChain = Self(.element, NFTNL_SET_ELEM_CHAIN, name)
  static let elementTimeout = Self(.element, NFTNL_SET_ELEM_TIMEOUT, u64)
  static let elementObject = Self(.element, NFTNL_SET_ELEM_OBJREF, name)
  static let elementUserdata = Self(.element, NFTNL_SET_ELEM_USERDATA, userdata)

  static let ruleTable = Self(.rule, NFTNL_RULE_TABLE, name)
  static let ruleChain = Self(.rule, NFTNL_RULE_CHAIN, name)
  static let ruleFamily = Self(.rule, NFTNL_RULE_FAMILY, u32)
  static let ruleHandle = Self(.rule, NFTNL_RULE_HANDLE, u64)
  static let rulePosition = Self(.rule, NFTNL_RULE_POSITION, u64)
  static let ruleUserdata = Self(.rule, NFTNL_RULE_USERDATA, userdata)

  static let objectTable = Self(.object, NFTNL_OBJ_TABLE, name)
  static let objectName = Self(.object, NFTNL_OBJ_NAME, name)
  static let objectType = Self(.object, NFTNL_OBJ_TYPE, u32)
  static let objectFamily = Self(.object, NFTNL_OBJ_FAMILY, u32)
  static let objectUserdata = Self(.object, NFTNL_OBJ_USERDATA, userdata)
  static let objectCounterPackets = Self(.object, NFTNL_OBJ_CTR_PKTS, u64)
  static let objectCounterBytes = Self(.object, NFTNL_OBJ_CTR_BYTES, u64)
  static let objectQuotaBytes = Self(.object, NFTNL_OBJ_QUOTA_BYTES, u64)
  static let objectQuotaConsumed = Self(.object, NFTNL_OBJ_QUOTA_CONSUMED, u64)
  static let objectQuotaFlags = Self(.object, NFTNL_OBJ_QUOTA_FLAGS, u32)
  static let objectLimitRate = Self(.object, NFTNL_OBJ_LIMIT_RATE, u64)
  static let objectLimitUnit = Self(.object, NFTNL_OBJ_LIMIT_UNIT, u64)
  static let objectLimitBurst = Self(.object, NFTNL_OBJ_LIMIT_BURST, u32)
  static let objectLimitType = Self(.object, NFTNL_OBJ_LIMIT_TYPE, u32)
  static let objectLimitFlags = Self(.object, NFTNL_OBJ_LIMIT_FLAGS, u32)

  static let objectHelperName = Self(.object, NFTNL_OBJ_CT_HELPER_NAME, .text(15))
  static let objectHelperNetwork = Self(.object, NFTNL_OBJ_CT_HELPER_L3PROTO, u16)
  static let objectHelperTransport = Self(.object, NFTNL_OBJ_CT_HELPER_L4PROTO, u8)
  static let objectTimeoutNetwork = Self(.object, NFTNL_OBJ_CT_TIMEOUT_L3PROTO, u16)
  static let objectTimeoutTransport = Self(.object, NFTNL_OBJ_CT_TIMEOUT_L4PROTO, u8)
  /// Of every protocol as many as of the one with most: the library copies them all.
  static let objectTimeoutSeconds = Self(
    .object, NFTNL_OBJ_CT_TIMEOUT_ARRAY, .exactly(timeoutCount * 4))
  static let timeoutCount = Int(NFTNL_CTTIMEOUT_TCP_MAX.rawValue)
  static let objectExpectNetwork = Self(.object, NFTNL_OBJ_CT_EXPECT_L3PROTO, u16)
  static let objectExpectTransport = Self(.object, NFTNL_OBJ_CT_EXPECT_L4PROTO, u8)
  static let objectExpectPort = Self(.object, NFTNL_OBJ_CT_EXPECT_DPORT, u16)
  static let objectExpectTimeout = Self(.object, NFTNL_OBJ_CT_EXPECT_TIMEOUT, u32)
  static let objectExpectSize = Self(.object, NFTNL_OBJ_CT_EXPECT_SIZE, u8)
  static let objectSynproxyMSS = Self(.object, NFTNL_OBJ_SYNPROXY_MSS, u16)
  static let objectSynproxyScale = Self(.object, NFTNL_OBJ_SYNPROXY_WSCALE, u8)
  static let objectSynproxyFlags = Self(.object, NFTNL_OBJ_SYNPROXY_FLAGS, u32)

  static let flowtableTable = Self(.flowtable, NFTNL_FLOWTABLE_TABLE, name)
  static let flowtableName = Self(.flowtable, NFTNL_FLOWTABLE_NAME, name)
  static let flowtableHook = Self(.flowtable, NFTNL_FLOWTABLE_HOOKNUM, u32)
  static let flowtablePriority = Self(.flowtable, NFTNL_FLOWTABLE_PRIO, u32)
  static let flowtableFlags = Self(.flowtable, NFTNL_FLOWTABLE_FLAGS, u32)

  static let payloadDestination = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_DREG, u32)
  static let payloadBase = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_BASE, u32)
  static let payloadOffset = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_OFFSET, u32)
  static let payloadLength = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_LEN, u32)
  static let payloadSource = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_SREG, u32)
  static let payloadChecksumType = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_CSUM_TYPE, u32)
  static let payloadChecksumOffset = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, u32)
  static let payloadFlags = Self(.expression("payload"), NFTNL_EXPR_PAYLOAD_FLAGS, u32)

  static let metaKey = Self(.expression("meta"), NFTNL_EXPR_META_KEY, u32)
  static let metaDestination = Self(.expression("meta"), NFTNL_EXPR_META_DREG, u32)
  static let metaSource = Self(.expression("meta"), NFTNL_EXPR_META_SREG, u32)

  static let ctKey = Self(.expression("ct"), NFTNL_EXPR_CT_KEY, u32)
  static let ctDestination = Self(.expression("ct"), NFTNL_EXPR_CT_DREG, u32)
  static let ctSource = Self(.expression("ct"), NFTNL_EXPR_CT_SREG, u32)
  static let ctDirection = Self(.expression("ct"), NFTNL_EXPR_CT_DIR, u8)

  static let cmpSource = Self(.expression("cmp"), NFTNL_EXPR_CMP_SREG, u32)
  static let cmpOperation = Self(.expression("cmp"), NFTNL_EXPR_CMP_OP, u32)
  static let cmpData = Self(.expression("cmp"), NFTNL_EXPR_CMP_DATA, data)

  static let rangeSource = Self(.expression("range"), NFTNL_EXPR_RANGE_SREG, u32)
  static let rangeOperation = Self(.expression("range"), NFTNL_EXPR_RANGE_OP, u32)
  static let rangeFrom = Self(.expression("range"), NFTNL_EXPR_RANGE_FROM_DATA, data)
  static let rangeTo = Self(.expression("range"), NFTNL_EXPR_RANGE_TO_DATA, data)

  static let bitwiseSource = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_SREG, u32)
  static let bitwiseDestination = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_DREG, u32)
  static let bitwiseLength = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_LEN, u32)
  static let bitwiseMask = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_MASK, data)
  static let bitwiseFlip = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_XOR, data)
  static let bitwiseOperation = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_OP, u32)
  static let bitwiseData = Self(.expression("bitwise"), NFTNL_EXPR_BITWISE_DATA, data)

  static let byteorderSource = Self(.expression("byteorder"), NFTNL_EXPR_BYTEORDER_SREG, u32)
  static let byteorderDestination = Self(.expression("byteorder"), NFTNL_EXPR_BYTEORDER_DREG, u32)
  static let byteorderOperation = Self(.expression("byteorder"), NFTNL_EXPR_BYTEORDER_OP, u32)
  static let byteorderLength = Self(.expression("byteorder"), NFTNL_EXPR_BYTEORDER_LEN, u32)
  static let byteorderSize = Self(.expression("byteorder"), NFTNL_EXPR_BYTEORDER_SIZE, u32)

  static let lookupSource = Self(.expression("lookup"), NFTNL_EXPR_LOOKUP_SREG, u32)
  static let lookupDestination = Self(.expression("lookup"), NFTNL_EXPR_LOOKUP_DREG, u32)
  static let lookupSet = Self(.expression("lookup"), NFTNL_EXPR_LOOKUP_SET, name)
  static let lookupSetID = Self(.expression("lookup"), NFTNL_EXPR_LOOKUP_SET_ID, u32)
  static let lookupFlags = Self(.expression("lookup"), NFTNL_EXPR_LOOKUP_FLAGS, u32)

  static let immediateDestination = Self(.expression("immediate"), NFTNL_EXPR_IMM_DREG, u32)
  static let immediateData = Self(.expression("immediate"), NFTNL_EXPR_IMM_DATA, data)
  static let immediateVerdict = Self(.expression("immediate"), NFTNL_EXPR_IMM_VERDICT, u32)
  static let immediateChain = Self(.expression("immediate"), NFTNL_EXPR_IMM_CHAIN, name)

  static let natType = Self(.expression("nat"), NFTNL_EXPR_NAT_TYPE, u32)
  static let natFamily = Self(.expression("nat"), NFTNL_EXPR_NAT_FAMILY, u32)
  static let natAddressMin = Self(.expression("nat"), NFTNL_EXPR_NAT_REG_ADDR_MIN, u32)
  static let natAddressMax = Self(.expression("nat"), NFTNL_EXPR_NAT_REG_ADDR_MAX, u32)
  static let natPortMin = Self(.expression("nat"), NFTNL_EXPR_NAT_REG_PROTO_MIN, u32)
  static let natPortMax = Self(.expression("nat"), NFTNL_EXPR_NAT_REG_PROTO_MAX, u32)
  static let natFlags = Self(.expression("nat"), NFTNL_EXPR_NAT_FLAGS, u32)

  static let masqueradeFlags = Self(.expression("masq"), NFTNL_EXPR_MASQ_FLAGS, u32)
  static let masqueradePortMin = Self(.expression("masq"), NFTNL_EXPR_MASQ_REG_PROTO_MIN, u32)
  static let masqueradePortMax = Self(.expression("masq"), NFTNL_EXPR_MASQ_REG_PROTO_MAX, u32)

  static let redirectPortMin = Self(.expression("redir"), NFTNL_EXPR_REDIR_REG_PROTO_MIN, u32)
  static let redirectPortMax = Self(.expression("redir"), NFTNL_EXPR_REDIR_REG_PROTO_MAX, u32)
  static let redirectFlags = Self(.expression("redir"), NFTNL_EXPR_REDIR_FLAGS, u32)

  static let counterPackets = Self(.expression("counter"), NFTNL_EXPR_CTR_PACKETS, u64)
  static let counterBytes = Self(.expression("counter"), NFTNL_EXPR_CTR_BYTES, u64)

  static let limitRate = Self(.expression("limit"), NFTNL_EXPR_LIMIT_RATE, u64)
  static let limitUnit = Self(.expression("limit"), NFTNL_EXPR_LIMIT_UNIT, u64)
  static let limitBurst = Self(.expression("limit"), NFTNL_EXPR_LIMIT_BURST, u32)
  static let limitType = Self(.expression("limit"), NFTNL_EXPR_LIMIT_TYPE, u32)
  static let limitFlags = Self(.expression("limit"), NFTNL_EXPR_LIMIT_FLAGS, u32)

  static let quotaBytes = Self(.expression("quota"), NFTNL_EXPR_QUOTA_BYTES, u64)
  static let quotaConsumed = Self(.expression("quota"), NFTNL_EXPR_QUOTA_CONSUMED, u64)
  static let quotaFlags = Self(.expression("quota"), NFTNL_EXPR_QUOTA_FLAGS, u32)

  static let logPrefix = Self(.expression("log"), NFTNL_EXPR_LOG_PREFIX, .text(127))
  static let logGroup = Self(.expression("log"), NFTNL_EXPR_LOG_GROUP, u16)
  static let logSnaplen = Self(.expression("log"), NFTNL_EXPR_LOG_SNAPLEN, u32)
  static let logThreshold = Self(.expression("log"), NFTNL_EXPR_LOG_QTHRESHOLD, u16)
  static let logLevel = Self(.expression("log"), NFTNL_EXPR_LOG_LEVEL, u32)
  static let logFlags = Self(.expression("log"), NFTNL_EXPR_LOG_FLAGS, u32)

  static let rejectType = Self(.expression("reject"), NFTNL_EXPR_REJECT_TYPE, u32)
  static let rejectCode = Self(.expression("reject"), NFTNL_EXPR_REJECT_CODE, u8)

  static let dynsetKey = Self(.expression("dynset"), NFTNL_EXPR_DYNSET_SREG_KEY, u32)
  static let dynsetData = Self(.expression("dynset"), NFTNL_EXPR_DYNSET_SREG_DATA, u32)
  static let dynsetOperation = Self(.expression("dynset"), NFTNL_EXPR_DYNSET_OP, u32)
  static let dynsetTimeout = Self(.expression("dynset"), NFTNL_EXPR_DYNSET_TIMEOUT, u64)
  static let dynsetName = Self(.expression("dynset"), NFTNL_EXPR_DYNSET_SET_NAME, name)
  static let dynsetFlags = Self(.expression("dynset"), NFTNL_EXPR_DYNSET_FLAGS, u32)

  static let objrefType = Self(.expression("objref"), NFTNL_EXPR_OBJREF_IMM_TYPE, u32)
  static let objrefName = Self(.expression("objref"), NFTNL_EXPR_OBJREF_IMM_NAME, name)
  static let objrefSource = Self(.expression("objref"), NFTNL_EXPR_OBJREF_SET_SREG, u32)
  static let objrefSet = Self(.expression("objref"), NFTNL_EXPR_OBJREF_SET_NAME, name)
  static let objrefSetID = Self(.expression("objref"), NFTNL_EXPR_OBJREF_SET_ID, u32)

  static let numgenDestination = Self(.expression("numgen"), NFTNL_EXPR_NG_DREG, u32)
  static let numgenModulus = Self(.expression("numgen"), NFTNL_EXPR_NG_MODULUS, u32)
  static let numgenType = Self(.expression("numgen"), NFTNL_EXPR_NG_TYPE, u32)
  static let numgenOffset = Self(.expression("numgen"), NFTNL_EXPR_NG_OFFSET, u32)

  static let hashSource = Self(.expression("hash"), NFTNL_EXPR_HASH_SREG, u32)
  static let hashDestination = Self(.expression("hash"), NFTNL_EXPR_HASH_DREG, u32)
  static let hashLength = Self(.expression("hash"), NFTNL_EXPR_HASH_LEN, u32)
  static let hashModulus = Self(.expression("hash"), NFTNL_EXPR_HASH_MODULUS, u32)
  static let hashSeed = Self(.expression("hash"), NFTNL_EXPR_HASH_SEED, u32)
  static let hashOffset = Self(.expression("hash"), NFTNL_EXPR_HASH_OFFSET, u32)
  static let hashType = Self(.expression("hash"), NFTNL_EXPR_HASH_TYPE, u32)

  static let fibDestination = Self(.expression("fib"), NFTNL_EXPR_FIB_DREG, u32)
  static let fibResult = Self(.expression("fib"), NFTNL_EXPR_FIB_RESULT, u32)
  static let fibFlags = Self(.expression("fib"), NFTNL_EXPR_FIB_FLAGS, u32)

  static let rtKey = Self(.expression("rt"), NFTNL_EXPR_RT_KEY, u32)
  static let rtDestination = Self(.expression("rt"), NFTNL_EXPR_RT_DREG, u32)

  static let exthdrDestination = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_DREG, u32)
  static let exthdrType = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_TYPE, u8)
  static let exthdrOffset = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_OFFSET, u32)
  static let exthdrLength = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_LEN, u32)
  static let exthdrFlags = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_FLAGS, u32)
  static let exthdrOperation = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_OP, u32)
  static let exthdrSource = Self(.expression("exthdr"), NFTNL_EXPR_EXTHDR_SREG, u32)

  static let socketKey = Self(.expression("socket"), NFTNL_EXPR_SOCKET_KEY, u32)
  static let socketDestination = Self(.expression("socket"), NFTNL_EXPR_SOCKET_DREG, u32)
  static let socketLevel = Self(.expression("socket"), NFTNL_EXPR_SOCKET_LEVEL, u32)

  static let tproxyFamily = Self(.expression("tproxy"), NFTNL_EXPR_TPROXY_FAMILY, u32)
  static let tproxyAddress = Self(.expression("tproxy"), NFTNL_EXPR_TPROXY_REG_ADDR, u32)
  static let tproxyPort = Self(.expression("tproxy"), NFTNL_EXPR_TPROXY_REG_PORT, u32)

  static let dupAddress = Self(.expression("dup"), NFTNL_EXPR_DUP_SREG_ADDR, u32)
  static let dupDevice = Self(.expression("dup"), NFTNL_EXPR_DUP_SREG_DEV, u32)

  static let fwdDevice = Self(.expression("fwd"), NFTNL_EXPR_FWD_SREG_DEV, u32)
  static let fwdAddress = Self(.expression("fwd"), NFTNL_EXPR_FWD_SREG_ADDR, u32)
  static let fwdFamily = Self(.expression("fwd"), NFTNL_EXPR_FWD_NFPROTO, u32)

  static let flowTable = Self(.expression("flow_offload"), NFTNL_EXPR_FLOW_TABLE_NAME, name)

  static let synproxyMSS = Self(.expression("synproxy"), NFTNL_EXPR_SYNPROXY_MSS, u16)
  static let synproxyScale = Self(.expression("synproxy"), NFTNL_EXPR_SYNPROXY_WSCALE, u8)
  static let synproxyFlags = Self(.expression("synproxy"), NFTNL_EXPR_SYNPROXY_FLAGS, u32)

  static let connlimitCount = Self(.expression("connlimit"), NFTNL_EXPR_CONNLIMIT_COUNT, u32)
  static let connlimitFlags = Self(.expression("connlimit"), NFTNL_EXPR_CONNLIMIT_FLAGS, u32)

  /// All of them, for the test that holds this table to the library.
  static let all: [NftablesAttribute] = [
    tableName, tableFamily, tableFlags, tableUserdata, chainTable, chainName, chainFamily, chainHook,
    chainPriority, chainPolicy, chainType, chainDevice, chainUserdata, setTable, setName, setFamily,
    setFlags, setKeyType, setKeyLength, setDataType, setDataLength, setObjectType, setID, setPolicy,
    setSize, setTimeout, setGCInterval, setFields, setUserdata, elementFlags, elementKey, elementKeyEnd,
    elementData, elementVerdict, elementChain, elementTimeout, elementObject, elementUserdata, ruleTable,
    ruleChain, ruleFamily, ruleHandle, rulePosition, ruleUserdata, objectTable, objectName, objectType,
    objectFamily, objectUserdata, objectCounterPackets, objectCounterBytes, objectQuotaBytes,
    objectQuotaConsumed, objectQuotaFlags, objectLimitRate, objectLimitUnit, objectLimitBurst,
    objectLimitType, objectLimitFlags, objectHelperName, objectHelperNetwork, objectHelperTransport,
    objectTimeoutNetwork, objectTimeoutTransport, objectTimeoutSeconds, objectExpectNetwork,
    objectExpectTransport, objectExpectPort, objectExpectTimeout, objectExpectSize, objectSynproxyMSS,
    objectSynproxyScale, objectSynproxyFlags, flowtableTable, flowtableName, flowtableHook,
    flowtablePriority, flowtableFlags, flowTable, payloadDestination, payloadBase, payloadOffset,
    payloadLength,
    payloadSource, payloadChecksumType, payloadChecksumOffset, payloadFlags, metaKey, metaDestination,
    metaSource, ctKey, ctDestination, ctSource, ctDirection, cmpSource, cmpOperation, cmpData, rangeSource,
    rangeOperation, rangeFrom, rangeTo, bitwiseSource, bitwiseDestination, bitwiseLength, bitwiseMask,
    bitwiseFlip, bitwiseOperation, bitwiseData, byteorderSource, byteorderDestination, byteorderOperation,
    byteorderLength, byteorderSize, lookupSource, lookupDestination, lookupSet, lookupSetID, lookupFlags,
    immediateDestination, immediateData, immediateVerdict, immediateChain, natType, natFamily,
    natAddressMin, natAddressMax, natPortMin, natPortMax, natFlags, masqueradeFlags, masqueradePortMin,
    masqueradePortMax, redirectPortMin, redirectPortMax, redirectFlags, counterPackets, counterBytes,
    limitRate, limitUnit, limitBurst, limitType, limitFlags, quotaBytes, quotaConsumed, quotaFlags,
    logPrefix, logGroup, logSnaplen, logThreshold, logLevel, logFlags, rejectType, rejectCode, dynsetKey,
    dynsetData, dynsetOperation, dynsetTimeout, dynsetName, dynsetFlags, objrefType, objrefName,
    objrefSource, objrefSet, objrefSetID, numgenDestination, numgenModulus, numgenType, numgenOffset,
    hashSource, hashDestination, hashLength, hashModulus, hashSeed, hashOffset, hashType, fibDestination,
    fibResult, fibFlags, rtKey, rtDestination, exthdrDestination, exthdrType, exthdrOffset, exthdrLength,
    exthdrFlags, exthdrOperation, exthdrSource, socketKey, socketDestination, socketLevel, tproxyFamily,
    tproxyAddress, tproxyPort, dupAddress, dupDevice, fwdDevice, fwdAddress, fwdFamily, connlimitCount,
    connlimitFlags, synproxyMSS, synproxyScale, synproxyFlags,
  ]
}
