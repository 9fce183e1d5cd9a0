// SPDX-License-Identifier: GPL-2.0-or-later

// The selectors of the general firewall form, by the words that nft uses for them: fields, and numbers to choose by.

extension Topology {
  /// What a rule looks at.
  public enum Selector: Hashable, Sendable {
    case field(Field)
    /// The next number, or any.
    case number(random: Bool, modulus: UInt32, offset: UInt32)
    /// A hash of fields.
    case hash([Field], modulus: UInt32, seed: UInt32?, offset: UInt32)
    /// A hash that both directions of a flow share.
    case flowHash(modulus: UInt32, offset: UInt32)

    /// From nft's words, `jhash ip saddr . tcp sport mod 4 seed 7`; nil for words that are none.
    public init?(_ text: String) {
      if let field = Field(rawValue: text) {
        self = .field(field)
        return
      }
      var words = text.split(separator: " ", omittingEmptySubsequences: false)[...]
      func number(after word: String) -> UInt32? {
        guard words.first ?? "" == word, words.count > 1, let value = UInt32(words[words.startIndex + 1])
        else { return nil }
        words = words.dropFirst(2)
        return value
      }
      guard let kind = words.popFirst(), let end = words.firstIndex(of: "mod") else { return nil }
      let middle = words[..<end].joined(separator: " ")
      words = words[end...]
      guard let modulus = number(after: "mod"), modulus > 0 else { return nil }
      let seed = number(after: "seed")
      let offset = number(after: "offset") ?? 0
      guard words.isEmpty, offset <= .max - modulus, kind == "jhash" || seed == nil else { return nil }
      switch (kind, middle) {
      case ("numgen", "inc"): self = .number(random: false, modulus: modulus, offset: offset)
      case ("numgen", "random"): self = .number(random: true, modulus: modulus, offset: offset)
      case ("symhash", ""): self = .flowHash(modulus: modulus, offset: offset)
      case ("jhash", _):
        let fields = middle.split(separator: " . ").map { Field(rawValue: String($0)) }
        let known = fields.compactMap { $0 }
        guard !known.isEmpty, known.count == fields.count else { return nil }
        self = .hash(known, modulus: modulus, seed: seed, offset: offset)
      default: return nil
      }
    }

    /// In nft's words.
    public var name: String {
      func numbers(_ modulus: UInt32, _ seed: UInt32?, _ offset: UInt32) -> String {
        "mod \(modulus)\(seed.map { " seed \($0)" } ?? "")\(offset == 0 ? "" : " offset \(offset)")"
      }
      switch self {
      case .field(let field): return field.rawValue
      case .number(let random, let modulus, let offset):
        return "numgen \(random ? "random" : "inc") \(numbers(modulus, nil, offset))"
      case .hash(let fields, let modulus, let seed, let offset):
        return "jhash \(fields.map(\.rawValue).joined(separator: " . ")) \(numbers(modulus, seed, offset))"
      case .flowHash(let modulus, let offset): return "symhash \(numbers(modulus, nil, offset))"
      }
    }

    /// The type of its values.
    public var type: ValueType { if case .field(let field) = self { field.type } else { .number } }

    /// How many numbers there are to choose from; nil for a field.
    public var choices: UInt32? {
      switch self {
      case .field: nil
      case .number(_, let modulus, _), .hash(_, let modulus, _, _), .flowHash(let modulus, _): modulus
      }
    }
  }

  /// A field of a packet or of what the kernel knows about it.
  public enum Field: String, Hashable, CaseIterable, Sendable {
    case ipSource = "ip saddr"
    case ipDestination = "ip daddr"
    case ipProtocol = "ip protocol"
    case ipTTL = "ip ttl"
    case ipLength = "ip length"
    case ipDSCP = "ip dscp"
    case ip6Source = "ip6 saddr"
    case ip6Destination = "ip6 daddr"
    case ip6NextHeader = "ip6 nexthdr"
    case ip6HopLimit = "ip6 hoplimit"
    case tcpSourcePort = "tcp sport"
    case tcpDestinationPort = "tcp dport"
    case tcpFlags = "tcp flags"
    case udpSourcePort = "udp sport"
    case udpDestinationPort = "udp dport"
    case transportSourcePort = "th sport"
    case transportDestinationPort = "th dport"
    case icmpType = "icmp type"
    case icmpv6Type = "icmpv6 type"
    case etherSource = "ether saddr"
    case etherDestination = "ether daddr"
    case etherType = "ether type"
    case vlanID = "vlan id"
    case arpOperation = "arp operation"
    case incomingName = "meta iifname"
    case outgoingName = "meta oifname"
    case mark = "meta mark"
    case transportProtocol = "meta l4proto"
    case networkProtocol = "meta nfproto"
    case length = "meta length"
    case packetType = "meta pkttype"
    case userID = "meta skuid"
    case connectionState = "ct state"
    case connectionStatus = "ct status"
    case connectionMark = "ct mark"
    case originalSource = "ct original ip saddr"
    case originalDestination = "ct original ip daddr"
    case originalDestinationPort = "ct original proto-dst"
    case destinationType = "fib daddr type"
    case sourceType = "fib saddr type"

    /// The type of its values.
    public var type: ValueType {
      switch self {
      case .ipSource, .ipDestination, .originalSource, .originalDestination: .ipv4Address
      case .ip6Source, .ip6Destination: .ipv6Address
      case .ipProtocol, .ip6NextHeader, .transportProtocol: .ipProtocol
      case .ipTTL, .ipLength, .ip6HopLimit, .vlanID, .arpOperation, .networkProtocol, .length, .userID:
        .number
      case .ipDSCP: .dscp
      case .tcpSourcePort, .tcpDestinationPort, .udpSourcePort, .udpDestinationPort, .transportSourcePort,
        .transportDestinationPort, .originalDestinationPort:
        .port
      case .tcpFlags: .tcpFlags
      case .icmpType: .icmpType
      case .icmpv6Type: .icmpv6Type
      case .etherSource, .etherDestination: .etherAddress
      case .etherType: .etherType
      case .incomingName, .outgoingName: .interfaceName
      case .mark, .connectionMark: .mark
      case .packetType: .packetType
      case .connectionState: .connectionState
      case .connectionStatus: .connectionStatus
      case .destinationType, .sourceType: .addressType
      }
    }
  }
}
