// SPDX-License-Identifier: GPL-2.0-or-later

// Named objects: what libnftnl is told of each kind, and how a dump tells it (nft_ct.c, nft_synproxy.c and the
// expressions that objects share their attributes with).

import CNftnl
import NetTypes
import Nftables
import Rtnetlink

extension NftablesObject {
  /// Says what an object is.
  func fill(_ object: NftObject) throws(NftablesValueError) {
    switch object.state {
    case .counter(let counter):
      try set(.objectCounterPackets, counter.packets)
      try set(.objectCounterBytes, counter.bytes)
    case .quota(let quota):
      try set(.objectQuotaBytes, quota.bytes)
      try set(.objectQuotaFlags, UInt32(quota.isInverted ? 1 : 0))
    case .limit(let limit):
      try set(.objectLimitRate, limit.rate)
      try set(.objectLimitUnit, limit.unitSeconds)
      try set(.objectLimitBurst, limit.burst)
      try set(.objectLimitType, UInt32(limit.countsBytes ? 1 : 0))
      try set(.objectLimitFlags, UInt32(limit.isInverted ? 1 : 0))
    case .ctHelper(let helper):
      try set(.objectHelperName, text: helper.helper)
      try set(.objectHelperNetwork, Self.network(helper.network))
      try set(.objectHelperTransport, helper.transport)
    case .ctTimeout(let timeout):
      try set(.objectTimeoutNetwork, Self.network(timeout.network))
      try set(.objectTimeoutTransport, timeout.transport)
      let missing = max(0, NftablesAttribute.timeoutCount - timeout.seconds.count)
      let seconds = timeout.seconds + [UInt32](repeating: 0, count: missing)
      try set(.objectTimeoutSeconds, seconds.flatMap { value in withUnsafeBytes(of: value) { [UInt8]($0) } })
    case .ctExpectation(let expectation):
      try set(.objectExpectNetwork, Self.network(expectation.network))
      try set(.objectExpectTransport, expectation.transport)
      try set(.objectExpectPort, expectation.destinationPort)
      try set(.objectExpectTimeout, expectation.timeout)
      try set(.objectExpectSize, expectation.size)
    case .synproxy(let proxy):
      try set(.objectSynproxyMSS, proxy.maximumSegment)
      try set(.objectSynproxyScale, proxy.windowScale)
      try set(.objectSynproxyFlags, proxy.flags)
    case .connlimit, .unknown:
      throw NftablesValueError(text: "libnftnl cannot make object '\(object.name)'")
    }
  }

  /// NFPROTO_*.
  private static func network(_ family: NetworkFamily?) -> UInt16 { family.map { UInt16($0.rawValue) } ?? 1 }
}

extension NftablesDecoder {
  /// What an object of a type is.
  static func state(
    _ type: UInt32, _ content: NetlinkAttribute
  ) throws(NetlinkDecodingError) -> NftObject.State {
    switch NftObjectKind(rawValue: type) {
    case .counter: return try stateful("counter", content) ?? .unknown(type)
    case .quota: return try stateful("quota", content) ?? .unknown(type)
    case .limit: return try stateful("limit", content) ?? .unknown(type)
    case .connlimit: return try stateful("connlimit", content) ?? .unknown(type)
    case .ctHelper: return try helper(content)
    case .ctTimeout: return try timeout(content) ?? .unknown(type)
    case .ctExpectation: return try expectation(content)
    case .synproxy: return try stateful("synproxy", content) ?? .unknown(type)
    case nil: return .unknown(type)
    }
  }

  /// Those that rules may hold themselves are told as expressions are.
  private static func stateful(
    _ name: String, _ content: NetlinkAttribute
  ) throws(NetlinkDecodingError) -> NftObject.State? {
    switch try NftablesExpressionDecoder(name, content).expression() {
    case .counter(let counter): .counter(counter)
    case .quota(let quota): .quota(quota)
    case .limit(let limit): .limit(limit)
    case .connlimit(let connlimit): .connlimit(connlimit)
    case .synproxy(let proxy): .synproxy(proxy)
    default: nil
    }
  }

  private static func network(_ number: UInt16) -> NetworkFamily? {
    UInt8(exactly: number).flatMap { NetworkFamily(rawValue: $0) }
  }

  private static func helper(_ content: NetlinkAttribute) throws(NetlinkDecodingError) -> NftObject.State {
    var helper = NftCtHelper(helper: "", transport: 0)
    var reader = content.content
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_CT_HELPER_NAME.rawValue: helper.helper = attribute.string()
      case NFTA_CT_HELPER_L3PROTO.rawValue: helper.network = network(try attribute.be16())
      case NFTA_CT_HELPER_L4PROTO.rawValue: helper.transport = try attribute.u8()
      default: break
      }
    }
    return .ctHelper(helper)
  }

  private static func timeout(_ content: NetlinkAttribute) throws(NetlinkDecodingError) -> NftObject.State? {
    var family: NetworkFamily?
    var transport: UInt8 = 0
    var seconds: [(place: Int, value: UInt32)] = []
    var reader = content.content
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_CT_TIMEOUT_L3PROTO.rawValue: family = network(try attribute.be16())
      case NFTA_CT_TIMEOUT_L4PROTO.rawValue: transport = try attribute.u8()
      case NFTA_CT_TIMEOUT_DATA.rawValue:
        var states = attribute.content
        while let state = try states.next() { seconds.append((state.type - 1, try state.be32())) }
      default: break
      }
    }
    guard var timeout = NftCtTimeout(network: family, transport: transport, seconds: [:]) else { return nil }
    for (place, value) in seconds where timeout.seconds.indices.contains(place) {
      timeout.seconds[place] = value
    }
    return .ctTimeout(timeout)
  }

  private static func expectation(
    _ content: NetlinkAttribute
  ) throws(NetlinkDecodingError) -> NftObject.State {
    var expectation = NftCtExpectation(transport: 0, destinationPort: 0, timeout: 0, size: 0)
    var reader = content.content
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case NFTA_CT_EXPECT_L3PROTO.rawValue: expectation.network = network(try attribute.be16())
      case NFTA_CT_EXPECT_L4PROTO.rawValue: expectation.transport = try attribute.u8()
      case NFTA_CT_EXPECT_DPORT.rawValue: expectation.destinationPort = try attribute.be16()
      // Alone among them it is in the host's order (nft_ct_expect_obj_dump).
      case NFTA_CT_EXPECT_TIMEOUT.rawValue: expectation.timeout = try attribute.u32()
      case NFTA_CT_EXPECT_SIZE.rawValue: expectation.size = try attribute.u8()
      default: break
      }
    }
    return .ctExpectation(expectation)
  }
}
