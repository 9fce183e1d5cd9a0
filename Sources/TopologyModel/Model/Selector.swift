// SPDX-License-Identifier: GPL-2.0-or-later

// The selectors of the general firewall form, by the words that nft uses for them: fields, and numbers to choose by.

public import Nftables

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
      if let field = Field(text) {
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
        let fields = middle.split(separator: " . ").map { Field(String($0)) }
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
      case .field(let field): return field.name
      case .number(let random, let modulus, let offset):
        return "numgen \(random ? "random" : "inc") \(numbers(modulus, nil, offset))"
      case .hash(let fields, let modulus, let seed, let offset):
        return "jhash \(fields.map(\.name).joined(separator: " . ")) \(numbers(modulus, seed, offset))"
      case .flowHash(let modulus, let offset): return "symhash \(numbers(modulus, nil, offset))"
      }
    }

    /// The type of its values.
    public var type: ValueType { if case .field(let field) = self { field.type } else { .number } }

    /// The largest of its numbers.
    public var limit: UInt64 {
      if case .field(let field) = self { field.limit } else { ValueType.number.limit }
    }

    /// How many numbers there are to choose from; nil for a field.
    public var choices: UInt32? {
      switch self {
      case .field: nil
      case .number(_, let modulus, _), .hash(_, let modulus, _, _), .flowHash(let modulus, _): modulus
      }
    }
  }

  /// A field of a packet or of what the kernel knows about it.
  public struct Field: Hashable, Sendable {
    /// In nft's words.
    public let name: String
    /// What the packet filter calls it.
    public let selector: Nftables.Selector
    /// The type of its values.
    public let type: ValueType
    /// The largest of its numbers.
    public let limit: UInt64

    /// From nft's words; nil for words that are no field, or one whose values the language has no type for.
    public init?(_ name: String) {
      guard let selector = Nftables.Selector(named: name), let type = ValueType(selector.type) else {
        return nil
      }
      self.name = name
      self.selector = selector
      self.type = type
      limit = min(type.limit, selector.limit)
    }

    /// All words that are fields.
    public static let names = Nftables.Selector.all.map(\.name).filter { Field($0) != nil }.sorted()
  }
}

extension Nftables.Selector {
  /// The largest number that it can be.
  fileprivate var limit: UInt64 {
    let bits: UInt32 =
      switch load {
      case .payload(_, _, let width): width
      case .exthdr(_, _, _, let width, let isPresence): isPresence ? 1 : width
      default: UInt32(type.size) * 8
      }
    return bits < 64 ? 1 << UInt64(bits) - 1 : .max
  }
}
