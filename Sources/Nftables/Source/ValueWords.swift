// SPDX-License-Identifier: GPL-2.0-or-later

// Values from the words that nft uses for them, the other way round of `ValueText`.

import NetTypes

extension NftDataType {
  /// A number as a register of the type holds it; nil when it has not the room.
  public func data(_ number: UInt64) -> NftData? {
    if self == .connectionLabel { return Self.label(number) }
    guard size >= 8 || number < 1 << UInt64(size * 8) else { return nil }
    return isHostOrder ? NftData(host: number, width: size) : NftData(bigEndian: number, width: size)
  }

  /// A value from its word; nil for one that the type does not have. An interface's name may end with `*`.
  public func data(_ word: String) -> NftData? {
    switch self {
    case .ipv4Address: return IPv4Address(word).map { NftData($0.bytes) }
    case .ipv6Address: return IPv6Address(word).map { NftData($0.bytes) }
    case .etherAddress: return MACAddress(word)?.nftData
    case .interfaceName: return InterfacePattern(word)?.nftData
    case .date: return TimeWords.nanoseconds(of: word).flatMap { data($0) }
    case .timeOfDay: return TimeWords.seconds(ofDay: word).flatMap { data($0) }
    case .string:
      let bytes = Array(word.utf8)
      guard bytes.count < size else { return nil }
      return NftData(bytes + [UInt8](repeating: 0, count: size - bytes.count))
    default: break
    }
    if let value = Self.words[rawValue]?[word] { return data(value) }
    if self == .classID, let colon = word.firstIndex(of: ":") {
      // As `tc` writes it: two hexadecimal halves.
      guard let major = UInt16(word[..<colon], radix: 16),
        let minor = UInt16(word[word.index(after: colon)...], radix: 16)
      else { return nil }
      return data(UInt64(major) << 16 | UInt64(minor))
    }
    if word.hasPrefix("0x") { return UInt64(word.dropFirst(2), radix: 16).flatMap { data($0) } }
    return UInt64(word).flatMap { data($0) }
  }

  /// The bit of a label's number.
  private static func label(_ number: UInt64) -> NftData? {
    guard number < 128 else { return nil }
    let half = NftData(host: 1 << (number % 64), width: 8).bytes
    let zero = [UInt8](repeating: 0, count: 8)
    return NftData((number < 64) == NftData.hostIsLittleEndian ? half + zero : zero + half)
  }

  private static let words: [UInt32: [String: UInt64]] = {
    var words: [UInt32: [String: UInt64]] = [:]
    for (type, names) in ValueText.names {
      for (name, value) in names { words[type, default: [:]][name] = value }
    }
    for (type, names) in ValueText.flagNames {
      for (name, value) in names { words[type, default: [:]][name] = value }
    }
    words[NftDataType.ipProtocol.rawValue, default: [:]]["icmpv6"] = 58
    words[NftDataType.ipProtocol.rawValue, default: [:]]["comp"] = 108
    words[NftDataType.packetType.rawValue, default: [:]]["unicast"] = 0
    words[NftDataType.etherType.rawValue, default: [:]]["8021q"] = 0x8100
    words[NftDataType.icmpv6Type.rawValue, default: [:]]["mld-listener-reduction"] = 132
    words[NftDataType.boolean.rawValue] = ["exists": 1, "missing": 0, "true": 1, "false": 0]
    words[NftDataType.deviceType.rawValue] = ["ether": 1, "loopback": 772]
    words[NftDataType.interfaceIndex.rawValue] = ["lo": 1]
    words[NftDataType.icmpCode.rawValue] = [
      "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3,
      "frag-needed": 4, "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
    ]
    words[NftDataType.icmpv6Code.rawValue] = [
      "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4, "policy-fail": 5,
      "reject-route": 6,
    ]
    words[NftDataType.ecn.rawValue] = ["not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3]
    var codePoints: [String: UInt64] = ["be": 0, "df": 0, "lephb": 1, "va": 0x2c, "ef": 0x2e]
    for precedence in 0..<8 as Range<UInt64> { codePoints["cs\(precedence)"] = precedence << 3 }
    for level in 1...4 as ClosedRange<UInt64> {
      for drop in 1...3 as ClosedRange<UInt64> { codePoints["af\(level)\(drop)"] = level << 3 | drop << 1 }
    }
    words[NftDataType.dscp.rawValue] = codePoints
    return words
  }()
}
