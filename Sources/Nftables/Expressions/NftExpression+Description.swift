// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions as text, close to what `nft --debug=netlink` prints: what tests compare, what `explain` shows
// and what a rule's content hash is made of. So it must never change for an expression that exists.

import NetTypes

extension NftExpression: CustomStringConvertible {
  public var description: String {
    switch self {
    case .payload(let e):
      "payload load \(e.length)b @ \(e.base.name) header + \(e.offset) => reg \(e.destination)"
    case .payloadWrite(let e):
      "payload write reg \(e.source) => \(e.length)b @ \(e.base.name) header + \(e.offset)"
        + " csum_type \(e.checksumType) csum_off \(e.checksumOffset) csum_flags \(hex(e.checksumFlags))"
    case .meta(let e): "meta load \(e.key.mnemonic) => reg \(e.destination)"
    case .metaSet(let e): "meta set \(e.key.mnemonic) with reg \(e.source)"
    case .ct(let e):
      "ct load \(e.key.name) => reg \(e.destination)\(e.direction.map { " , dir \($0)" } ?? "")"
    case .ctSet(let e): "ct set \(e.key.name) with reg \(e.source)\(e.direction.map { " , dir \($0)" } ?? "")"
    case .cmp(let e): "cmp \(e.operation.mnemonic) reg \(e.source) \(words(e.data))"
    case .range(let e): "range \(e.isNegated ? "neq" : "eq") reg \(e.source) \(words(e.from)) \(words(e.to))"
    case .bitwise(let e): e.text
    case .byteorder(let e):
      "byteorder reg \(e.destination) = \(e.toNetwork ? "hton" : "ntoh")(reg \(e.source), \(e.size), \(e.length))"
    case .lookup(let e):
      "lookup reg \(e.source) set \(e.set.text)\(e.destination.map { " dreg \($0)" } ?? "")"
        + (e.isInverted ? " 0x1" : "")
    case .immediate(let e):
      switch e.value {
      case .data(let data): "immediate reg \(e.destination) \(words(data))"
      case .verdict(let verdict): "immediate reg 0 \(verdict.mnemonic)"
      }
    case .nat(let e): e.text
    case .masquerade(let e): "masq\(ports(e.portMin, e.portMax))\(flags(e.flags))"
    case .redirect(let e): "redir\(ports(e.portMin, e.portMax))\(flags(e.flags))"
    case .counter(let e): "counter pkts \(e.packets) bytes \(e.bytes)"
    case .limit(let e):
      "limit rate \(e.rate)/\(e.unitName) burst \(e.burst) type \(e.countsBytes ? "bytes" : "packets")"
        + " flags \(e.isInverted ? "0x1" : "0x0")"
    case .quota(let e): "quota bytes \(e.bytes) consumed \(e.consumed) flags \(e.isInverted ? 1 : 0)"
    case .log(let e): e.text
    case .reject(let e): "reject type \(e.kind.rawValue) code \(e.code)"
    case .notrack: "notrack"
    case .dynset(let e): e.text
    case .objectReference(let e):
      switch e.target {
      case .named(let type, let name): "objref type \(type) name \(name)"
      case .map(let set, let source): "objref sreg \(source) set \(set.text)"
      }
    case .numgen(let e):
      "numgen reg \(e.destination) = \(e.isRandom ? "random" : "inc") mod \(e.modulus)"
        + (e.offset == 0 ? "" : " offset \(e.offset)")
    case .hash(let e): e.text
    case .fib(let e): e.text
    case .rt(let e): "rt load \(e.key.mnemonic) => reg \(e.destination)"
    case .exthdr(let e):
      "exthdr load \(e.operation.name) \(e.length)b @ \(e.type) + \(e.offset)\(e.isPresence ? " present" : "")"
        + " => reg \(e.destination)"
    case .exthdrWrite(let e):
      if let source = e.source {
        "exthdr write \(e.operation.name) reg \(source) => \(e.length)b @ \(e.type) + \(e.offset)"
      } else {
        "exthdr reset \(e.operation.name) \(e.type)"
      }
    case .socket(let e): "socket load \(e.key)\(e.level.map { " level \($0)" } ?? "") => reg \(e.destination)"
    case .tproxy(let e):
      "tproxy" + (e.family == .inet ? "" : " \(e.family.rawValue)")
        + (e.address.map { " addr reg \($0)" } ?? "")
        + (e.port.map { " port reg \($0)" } ?? "")
    case .dup(let e):
      "dup" + (e.address.map { " sreg_addr \($0)" } ?? "") + (e.device.map { " sreg_dev \($0)" } ?? "")
    case .fwd(let e):
      "fwd sreg_dev \(e.device)" + (e.address.map { " sreg_addr \($0)" } ?? "")
        + (e.family.map { " nfproto \($0)" } ?? "")
    case .connlimit(let e): "connlimit count \(e.count) flags \(e.isInverted ? 1 : 0)"
    case .synproxy(let e): "synproxy mss \(e.maximumSegment) wscale \(e.windowScale)"
    case .flowOffload(let name): "flow_offload flowtable \(name)"
    case .unknown(let name): "unknown \(name)"
    }
  }
}

/// Bytes as libnftnl prints them: little-endian words without leading zeros.
func words(_ data: NftData) -> String {
  stride(from: 0, to: data.count, by: 4).map { start in
    let word = data.bytes[start..<min(start + 4, data.count)].reversed().reduce(UInt32(0)) {
      $0 << 8 | UInt32($1)
    }
    let digits = String(word, radix: 16)
    return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
  }.joined(separator: " ")
}

func hex(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }

private func ports(_ min: NftRegister?, _ max: NftRegister?) -> String {
  (min.map { " proto_min reg \($0)" } ?? "") + (max.map { " proto_max reg \($0)" } ?? "")
}

private func flags(_ flags: NftNATFlags) -> String { flags.isEmpty ? "" : " flags \(hex(flags.rawValue))" }

extension NftPayloadBase {
  var name: String {
    switch self {
    case .link: "link"
    case .network: "network"
    case .transport: "transport"
    case .inner: "inner"
    }
  }
}

extension NftMetaKey {
  /// As libnftnl prints it, where that differs from nft's word.
  var mnemonic: String {
    switch self {
    case .length: "len"
    case .bridgeInputName: "bri_iifname"
    case .bridgeOutputName: "bri_oifname"
    case .random: "prandom"
    case .secpath: "secpath"
    case .bridgeInputPVID: "bri_iifpvid"
    case .bridgeInputProtocol: "bri_iifvproto"
    default: name
    }
  }
}

extension NftRtKey {
  var mnemonic: String {
    switch self {
    case .classID: "classid"
    case .nexthop4: "nexthop4"
    case .nexthop6: "nexthop6"
    case .tcpMSS: "tcpmss"
    case .xfrm: "ipsec"
    }
  }
}

extension NftExthdrOperation {
  var name: String {
    switch self {
    case .ipv6: "ipv6"
    case .tcpOption: "tcpopt"
    case .ipv4Option: "ipv4"
    case .sctpChunk: "sctp"
    }
  }
}

extension NftBitwise {
  var text: String {
    switch operation {
    case .mask(let mask, let flip):
      "bitwise reg \(destination) = ( reg \(source) & \(words(mask)) ) ^ \(words(flip))"
    case .shiftLeft(let count): "bitwise reg \(destination) = ( reg \(source) << \(hex(count)) )"
    case .shiftRight(let count): "bitwise reg \(destination) = ( reg \(source) >> \(hex(count)) )"
    }
  }
}

extension NftNAT {
  var text: String {
    var text = "nat \(kind == .source ? "snat" : "dnat") \(family == .ipv4 ? "ip" : "ip6")"
    if let addressMin { text += " addr_min reg \(addressMin)" }
    if let addressMax { text += " addr_max reg \(addressMax)" }
    return text + ports(portMin, portMax) + Nftables.flags(flags)
  }
}

extension NftLimit {
  var unitName: String {
    switch unitSeconds {
    case 1: "second"
    case 60: "minute"
    case 3600: "hour"
    case 86400: "day"
    case 604_800: "week"
    default: "\(unitSeconds)s"
    }
  }
}

extension NftLog {
  var text: String {
    var text = "log"
    if let prefix { text += " prefix \(prefix)" }
    if let group {
      text += " group \(group) snaplen \(snaplen ?? 0) qthreshold \(queueThreshold ?? 0)"
    } else {
      if let level { text += " level \(level)" }
      if flags != 0 { text += " flags \(hex(flags))" }
    }
    return text
  }
}

extension NftDynset {
  var text: String {
    var text = "dynset \(operation) reg_key \(key) set \(setName)"
    if let data { text += " sreg_data \(data)" }
    if timeout != 0 { text += " timeout \(timeout)ms" }
    for expression in expressions { text += " expr [ \(expression) ]" }
    return text + (isInverted ? " inv" : "")
  }
}

extension NftHash {
  var text: String {
    let tail = "% mod \(modulus)" + (offset == 0 ? "" : " offset \(offset)")
    guard let source else { return "hash reg \(destination) = symhash() \(tail)" }
    return "hash reg \(destination) = jhash(reg \(source), \(length), \(hex(seed ?? 0))) \(tail)"
  }
}

extension NftFib {
  var text: String {
    var parts: [String] = []
    if flags.contains(.sourceAddress) { parts.append("saddr") }
    if flags.contains(.destinationAddress) { parts.append("daddr") }
    if flags.contains(.mark) { parts.append("mark") }
    if flags.contains(.inputInterface) { parts.append("iif") }
    if flags.contains(.outputInterface) { parts.append("oif") }
    let name =
      switch result {
      case .outputIndex: "oif"
      case .outputName: "oifname"
      case .addressType: "type"
      }
    return
      "fib \(parts.joined(separator: " . ")) \(name)\(isPresence ? " present" : "") => reg \(destination)"
  }
}

extension NftVerdict {
  /// As libnftnl prints it.
  var mnemonic: String {
    switch self {
    case .jump(let chain): "jump -> \(chain)"
    case .goto(let chain): "goto -> \(chain)"
    default: description
    }
  }
}

extension NftSetReference {
  /// A named set's name; an anonymous set's whole content.
  var text: String {
    switch self {
    case .named(let name): name
    case .anonymous(let set):
      "{\(set.keyTypes.map(\.name).joined(separator: " . ")) flags \(hex(set.flags.rawValue)) | "
        + set.elements.map(\.text).joined(separator: " , ") + " }"
    }
  }
}

extension NftSetElement {
  var text: String {
    var text = isCatchAll ? "*" : "\(key)"
    if let keyEnd { text += "-\(keyEnd)" }
    switch value {
    case .data(let data): text += " : \(data)"
    case .verdict(let verdict): text += " : \(verdict.mnemonic)"
    case .object(let name): text += " : \(name)"
    case nil: break
    }
    return text
  }
}
