// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions into libnftnl's.

import CNftnl
import NetTypes
import Nftables

/// Where an expression's anonymous set stands in the transaction.
struct NftablesAnonymousSet {
  var name: String
  var id: UInt32
}

extension NftExpression {
  /// The expression as libnftnl's object. `anonymous` says how the transaction calls the set of this
  /// expression.
  func object(_ anonymous: NftablesAnonymousSet? = nil) throws(NftablesValueError) -> NftablesObject {
    guard let name = kernelName else {
      throw NftablesValueError(text: "this library does not know how to make '\(self)'")
    }
    let object = try NftablesObject(.expression(name))
    try fill(object, anonymous)
    return object
  }

  /// What the kernel calls the expression; nil when it is not one that can be made.
  var kernelName: String? {
    switch self {
    case .payload, .payloadWrite: "payload"
    case .meta, .metaSet: "meta"
    case .ct, .ctSet: "ct"
    case .cmp: "cmp"
    case .range: "range"
    case .bitwise: "bitwise"
    case .byteorder: "byteorder"
    case .lookup: "lookup"
    case .immediate: "immediate"
    case .nat: "nat"
    case .masquerade: "masq"
    case .redirect: "redir"
    case .counter: "counter"
    case .limit: "limit"
    case .quota: "quota"
    case .log: "log"
    case .reject: "reject"
    case .notrack: "notrack"
    case .dynset: "dynset"
    case .objectReference: "objref"
    case .numgen: "numgen"
    case .hash: "hash"
    case .fib: "fib"
    case .rt: "rt"
    case .exthdr, .exthdrWrite: "exthdr"
    case .socket: "socket"
    case .tproxy: "tproxy"
    case .dup: "dup"
    case .fwd: "fwd"
    case .connlimit: "connlimit"
    case .synproxy: "synproxy"
    case .flowOffload: "flow_offload"
    case .unknown: nil
    }
  }

  private func fill(_ o: borrowing NftablesObject, _ anonymous: NftablesAnonymousSet?)
    throws(NftablesValueError)
  {
    switch self {
    case .payload(let e):
      try o.set(.payloadBase, e.base.rawValue)
      try o.set(.payloadOffset, e.offset)
      try o.set(.payloadLength, e.length)
      try o.set(.payloadDestination, e.destination.rawValue)
    case .payloadWrite(let e):
      try o.set(.payloadBase, e.base.rawValue)
      try o.set(.payloadOffset, e.offset)
      try o.set(.payloadLength, e.length)
      try o.set(.payloadSource, e.source.rawValue)
      try o.set(.payloadChecksumType, e.checksumType)
      try o.set(.payloadChecksumOffset, e.checksumOffset)
      if e.checksumFlags != 0 { try o.set(.payloadFlags, e.checksumFlags) }
    case .meta(let e):
      try o.set(.metaKey, e.key.rawValue)
      try o.set(.metaDestination, e.destination.rawValue)
    case .metaSet(let e):
      try o.set(.metaKey, e.key.rawValue)
      try o.set(.metaSource, e.source.rawValue)
    case .ct(let e):
      try o.set(.ctKey, e.key.rawValue)
      try o.set(.ctDestination, e.destination.rawValue)
      if let direction = e.direction { try o.set(.ctDirection, direction.rawValue) }
    case .ctSet(let e):
      try o.set(.ctKey, e.key.rawValue)
      try o.set(.ctSource, e.source.rawValue)
      if let direction = e.direction { try o.set(.ctDirection, direction.rawValue) }
    case .cmp(let e):
      try o.set(.cmpSource, e.source.rawValue)
      try o.set(.cmpOperation, e.operation.rawValue)
      try o.set(.cmpData, e.data.bytes)
    case .range(let e):
      try o.set(.rangeSource, e.source.rawValue)
      try o.set(.rangeOperation, UInt32(e.isNegated ? 1 : 0))
      try o.set(.rangeFrom, e.from.bytes)
      try o.set(.rangeTo, e.to.bytes)
    case .bitwise(let e): try e.fill(o)
    case .byteorder(let e):
      try o.set(.byteorderSource, e.source.rawValue)
      try o.set(.byteorderDestination, e.destination.rawValue)
      try o.set(.byteorderOperation, UInt32(e.toNetwork ? 1 : 0))
      try o.set(.byteorderLength, e.length)
      try o.set(.byteorderSize, e.size)
    case .lookup(let e):
      try o.set(.lookupSource, e.source.rawValue)
      if let destination = e.destination { try o.set(.lookupDestination, destination.rawValue) }
      if e.isInverted { try o.set(.lookupFlags, UInt32(1)) }
      try e.set.fill(o, name: .lookupSet, id: .lookupSetID, anonymous)
    case .immediate(let e):
      try o.set(.immediateDestination, e.destination.rawValue)
      switch e.value {
      case .data(let data): try o.set(.immediateData, data.bytes)
      case .verdict(let verdict):
        try o.set(.immediateVerdict, UInt32(bitPattern: verdict.code))
        if let target = verdict.target { try o.set(.immediateChain, text: target) }
      }
    case .nat, .masquerade, .redirect, .tproxy, .dup, .fwd: try fillTranslation(o)
    case .counter, .limit, .quota, .connlimit, .log, .reject, .notrack: try fillAction(o)
    case .dynset(let e): try e.fill(o)
    case .flowOffload(let name): try o.set(.flowTable, text: name)
    case .synproxy(let e):
      try o.set(.synproxyMSS, e.maximumSegment)
      try o.set(.synproxyScale, e.windowScale)
      try o.set(.synproxyFlags, e.flags)
    case .objectReference(let e):
      switch e.target {
      case .named(let type, let name):
        try o.set(.objrefType, type)
        try o.set(.objrefName, text: name)
      case .map(let set, let source):
        try o.set(.objrefSource, source.rawValue)
        try set.fill(o, name: .objrefSet, id: .objrefSetID, anonymous)
      }
    default: try fillSource(o)
    }
  }

  private func fillTranslation(_ o: borrowing NftablesObject) throws(NftablesValueError) {
    switch self {
    case .nat(let e):
      try o.set(.natType, e.kind.rawValue)
      try o.set(.natFamily, UInt32(e.family == .ipv4 ? 2 : 10))
      if let register = e.addressMin { try o.set(.natAddressMin, register.rawValue) }
      if let register = e.addressMax { try o.set(.natAddressMax, register.rawValue) }
      if let register = e.portMin { try o.set(.natPortMin, register.rawValue) }
      if let register = e.portMax { try o.set(.natPortMax, register.rawValue) }
      if !e.flags.isEmpty { try o.set(.natFlags, e.flags.rawValue) }
    case .masquerade(let e):
      if let register = e.portMin { try o.set(.masqueradePortMin, register.rawValue) }
      if let register = e.portMax { try o.set(.masqueradePortMax, register.rawValue) }
      if !e.flags.isEmpty { try o.set(.masqueradeFlags, e.flags.rawValue) }
    case .redirect(let e):
      if let register = e.portMin { try o.set(.redirectPortMin, register.rawValue) }
      if let register = e.portMax { try o.set(.redirectPortMax, register.rawValue) }
      if !e.flags.isEmpty { try o.set(.redirectFlags, e.flags.rawValue) }
    case .tproxy(let e):
      try o.set(.tproxyFamily, e.family == .inet ? UInt32(0) : UInt32(e.family.number))
      if let register = e.address { try o.set(.tproxyAddress, register.rawValue) }
      if let register = e.port { try o.set(.tproxyPort, register.rawValue) }
    case .dup(let e):
      if let register = e.address { try o.set(.dupAddress, register.rawValue) }
      if let register = e.device { try o.set(.dupDevice, register.rawValue) }
    case .fwd(let e):
      try o.set(.fwdDevice, e.device.rawValue)
      if let register = e.address { try o.set(.fwdAddress, register.rawValue) }
      if let family = e.family { try o.set(.fwdFamily, family) }
    default: break
    }
  }

  private func fillAction(_ o: borrowing NftablesObject) throws(NftablesValueError) {
    switch self {
    case .counter(let e):
      try o.set(.counterPackets, e.packets)
      try o.set(.counterBytes, e.bytes)
    case .limit(let e):
      try o.set(.limitRate, e.rate)
      try o.set(.limitUnit, e.unitSeconds)
      try o.set(.limitBurst, e.burst)
      try o.set(.limitType, UInt32(e.countsBytes ? 1 : 0))
      try o.set(.limitFlags, UInt32(e.isInverted ? 1 : 0))
    case .quota(let e):
      try o.set(.quotaBytes, e.bytes)
      if e.consumed != 0 { try o.set(.quotaConsumed, e.consumed) }
      try o.set(.quotaFlags, UInt32(e.isInverted ? 1 : 0))
    case .connlimit(let e):
      try o.set(.connlimitCount, e.count)
      if e.isInverted { try o.set(.connlimitFlags, UInt32(1)) }
    case .log(let e):
      if let prefix = e.prefix, !prefix.isEmpty { try o.set(.logPrefix, text: prefix) }
      if let group = e.group {
        try o.set(.logGroup, group)
        if let snaplen = e.snaplen { try o.set(.logSnaplen, snaplen) }
        if let threshold = e.queueThreshold { try o.set(.logThreshold, threshold) }
      } else {
        if let level = e.level { try o.set(.logLevel, level) }
        if e.flags != 0 { try o.set(.logFlags, e.flags) }
      }
    case .reject(let e):
      try o.set(.rejectType, e.kind.rawValue)
      try o.set(.rejectCode, e.code)
    default: break
    }
  }

  private func fillSource(_ o: borrowing NftablesObject) throws(NftablesValueError) {
    switch self {
    case .numgen(let e):
      try o.set(.numgenDestination, e.destination.rawValue)
      try o.set(.numgenModulus, e.modulus)
      try o.set(.numgenType, UInt32(e.isRandom ? 1 : 0))
      try o.set(.numgenOffset, e.offset)
    case .hash(let e):
      if let source = e.source {
        try o.set(.hashSource, source.rawValue)
        try o.set(.hashLength, e.length)
      }
      try o.set(.hashType, UInt32(e.source == nil ? 1 : 0))
      try o.set(.hashDestination, e.destination.rawValue)
      try o.set(.hashModulus, e.modulus)
      if let seed = e.seed { try o.set(.hashSeed, seed) }
      try o.set(.hashOffset, e.offset)
    case .fib(let e):
      try o.set(.fibDestination, e.destination.rawValue)
      try o.set(.fibResult, e.result.rawValue)
      try o.set(.fibFlags, e.flags.rawValue | (e.isPresence ? 32 : 0))
    case .rt(let e):
      try o.set(.rtKey, e.key.rawValue)
      try o.set(.rtDestination, e.destination.rawValue)
    case .exthdr(let e):
      try o.set(.exthdrOperation, e.operation.rawValue)
      try o.set(.exthdrType, e.type)
      try o.set(.exthdrOffset, e.offset)
      try o.set(.exthdrLength, e.length)
      if e.isPresence { try o.set(.exthdrFlags, UInt32(1)) }
      try o.set(.exthdrDestination, e.destination.rawValue)
    case .exthdrWrite(let e):
      try o.set(.exthdrOperation, e.operation.rawValue)
      try o.set(.exthdrType, e.type)
      // An option that is taken out has no place (nft_exthdr_tcp_strip_init).
      guard let source = e.source else { break }
      try o.set(.exthdrOffset, e.offset)
      try o.set(.exthdrLength, e.length)
      try o.set(.exthdrSource, source.rawValue)
    case .socket(let e):
      try o.set(.socketKey, e.key.rawValue)
      try o.set(.socketDestination, e.destination.rawValue)
      if let level = e.level { try o.set(.socketLevel, level) }
    default: break
    }
  }
}

extension NftBitwise {
  fileprivate func fill(_ o: borrowing NftablesObject) throws(NftablesValueError) {
    try o.set(.bitwiseSource, source.rawValue)
    try o.set(.bitwiseDestination, destination.rawValue)
    try o.set(.bitwiseLength, length)
    switch operation {
    case .mask(let mask, let flip):
      try o.set(.bitwiseOperation, UInt32(0))
      try o.set(.bitwiseMask, mask.bytes)
      try o.set(.bitwiseFlip, flip.bytes)
    case .shiftLeft(let count):
      try o.set(.bitwiseOperation, UInt32(1))
      try o.set(.bitwiseData, NftData(host: UInt64(count), width: 4).bytes)
    case .shiftRight(let count):
      try o.set(.bitwiseOperation, UInt32(2))
      try o.set(.bitwiseData, NftData(host: UInt64(count), width: 4).bytes)
    }
  }
}

extension NftDynset {
  /// NFT_SET_EXPR_MAX.
  static let maximumExpressions = 2

  fileprivate func fill(_ o: borrowing NftablesObject) throws(NftablesValueError) {
    guard expressions.count <= Self.maximumExpressions else {
      throw NftablesValueError(text: "an element holds at most \(Self.maximumExpressions) expressions")
    }
    try o.set(.dynsetName, text: setName)
    try o.set(.dynsetOperation, operation.rawValue)
    try o.set(.dynsetKey, key.rawValue)
    if let data { try o.set(.dynsetData, data.rawValue) }
    if timeout != 0 { try o.set(.dynsetTimeout, timeout) }
    let flags = (isInverted ? UInt32(1) : 0) | (expressions.count > 1 ? 2 : 0)
    if flags != 0 { try o.set(.dynsetFlags, flags) }
    for expression in expressions {
      let object = try expression.object()
      nftnl_expr_add_expr(o.pointer, UInt32(NFTNL_EXPR_DYNSET_EXPRESSIONS), object.release())
    }
  }
}

extension NftSetReference {
  fileprivate func fill(
    _ o: borrowing NftablesObject, name: NftablesAttribute, id: NftablesAttribute,
    _ anonymous: NftablesAnonymousSet?
  ) throws(NftablesValueError) {
    switch self {
    case .named(let text): try o.set(name, text: text)
    case .anonymous:
      guard let anonymous else { throw NftablesValueError(text: "an anonymous set stands where none can be") }
      try o.set(name, text: anonymous.name)
      try o.set(id, anonymous.id)
    }
  }
}
