// SPDX-License-Identifier: GPL-2.0-or-later

// Sets and their elements as nft's language writes them.

/// Writes a set's elements.
struct SetText {
  let set: NftSet
  /// The fields that were turned into network order before the lookup; nil: those that always are.
  var swapped: Set<Int>?

  /// `{ a, b : accept }`.
  var elements: String {
    self.set.elements.isEmpty ? "{ }" : "{ " + set.elements.map(text).joined(separator: ", ") + " }"
  }

  func text(_ element: NftSetElement) -> String {
    var text = element.isCatchAll ? "*" : key(element)
    if let timeout = element.timeout { text += " timeout \(TimeText.text(timeout))" }
    for expression in element.expressions {
      if let statement = RuleText.stateful(expression) { text += " \(statement)" }
    }
    if let comment = element.comment { text += " comment \(quoted(comment))" }
    switch element.value {
    case .verdict(let verdict): text += " : \(verdict)"
    case .data(let data): text += " : \(value(data))"
    case .object(let name): text += " : \(quoted(name))"
    case nil: break
    }
    return text
  }

  private func key(_ element: NftSetElement) -> String {
    fields(element.key, element.keyEnd ?? element.key, set.keyTypes) { index in
      let type = set.keyTypes[index]
      if let swapped { return swapped.contains(index) }
      return RuleCompiler.swapped(set.keyTypes, intervals: set.isInterval)
        .contains(index) && type.isHostOrder
    }
  }

  private func value(_ data: NftData) -> String {
    guard case .value(let types)? = set.data else { return "\(data)" }
    return fields(data, data, types) { _ in false }
  }

  private func fields(
    _ first: NftData, _ last: NftData, _ types: [NftDataType], isSwapped: (Int) -> Bool
  ) -> String {
    guard types.count > 1 else {
      return types.first.map { ValueText(type: $0, isSwapped: isSwapped(0)).text(first, last) } ?? "\(first)"
    }
    var offset = 0
    var parts: [String] = []
    for (index, type) in types.enumerated() {
      let end = min(offset + type.size, first.count, last.count)
      let range = min(offset, end)..<end
      parts.append(
        ValueText(type: type, isSwapped: isSwapped(index)).text(
          NftData(Array(first.bytes[range])), NftData(Array(last.bytes[range]))))
      offset += type.paddedSize
    }
    return parts.joined(separator: " . ")
  }

  /// What a declaration says after `type`.
  var type: String {
    let key = set.keyTypes.map(\.name).joined(separator: " . ")
    switch set.data {
    case .verdict?: return key + " : verdict"
    case .value(let types)?: return key + " : " + types.map(\.name).joined(separator: " . ")
    case .object(let number)?: return key + " : " + (ObjectText.name(number) ?? "object \(number)")
    case nil: return key
    }
  }

  /// The declaration of a named set, its lines without indentation.
  var declaration: [String] {
    var lines: [String] = ["\(set.isMap ? "map" : "set") \(set.name) {"]
    lines.append("\ttype \(type)")
    let names: [(NftSetFlags, String)] = [
      (.constant, "constant"), (.interval, "interval"), (.timeout, "timeout"), (.dynamic, "dynamic"),
    ]
    let flags = names.filter { set.flags.contains($0.0) }.map(\.1)
    if !flags.isEmpty { lines.append("\tflags \(flags.joined(separator: ","))") }
    if let size = set.size { lines.append("\tsize \(size)") }
    for expression in set.expressions {
      if case .counter = expression {
        lines.append("\tcounter")
      } else if let statement = RuleText.stateful(expression) {
        lines.append("\t\(statement)")
      }
    }
    if set.prefersMemory { lines.append("\tpolicy memory") }
    if let timeout = set.timeout { lines.append("\ttimeout \(TimeText.text(timeout))") }
    if let interval = set.gcInterval { lines.append("\tgc-interval \(TimeText.text(UInt64(interval)))") }
    if set.autoMerge { lines.append("\tauto-merge") }
    if let comment = set.comment { lines.append("\tcomment \(quoted(comment))") }
    if !set.elements.isEmpty { lines.append("\telements = \(elements)") }
    return lines + ["}"]
  }
}

/// Lengths of time as nft writes them.
enum TimeText {
  static func text(_ milliseconds: UInt64) -> String {
    var rest = milliseconds
    var text = ""
    for (unit, size) in [("d", UInt64(86_400_000)), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
      let count = rest / size
      if count > 0 { text += "\(count)\(unit)" }
      rest %= size
    }
    return text.isEmpty ? "0s" : text
  }
}

/// Named objects as nft's language writes them.
enum ObjectText {
  /// NFT_OBJECT_* by what nft's language calls them.
  static func name(_ type: UInt32) -> String? { NftObjectKind(rawValue: type)?.name }

  static func declaration(_ object: NftObject) -> [String] {
    let comment = object.comment.map { ["\tcomment \(quoted($0))"] } ?? []
    switch object.state {
    case .counter(let counter):
      return ["counter \(object.name) {"] + comment + [
        "\tpackets \(counter.packets) bytes \(counter.bytes)", "}",
      ]
    case .quota(let quota):
      let used = quota.consumed == 0 ? "" : " used \(quota.consumed) bytes"
      return ["quota \(object.name) {"] + comment
        + ["\t\(quota.isInverted ? "over " : "")\(quota.bytes) bytes\(used)", "}"]
    case .limit(let limit):
      return ["limit \(object.name) {"] + comment + [
        "\t\(RuleText.limit(limit).dropFirst("limit ".count))", "}",
      ]
    case .ctHelper(let helper):
      return ["ct helper \(object.name) {"] + comment
        + ["\ttype \(quoted(helper.helper)) protocol \(protocolName(helper.transport))"]
        + network(helper.network) + ["}"]
    case .ctTimeout(let timeout):
      let states = NftCtTimeout.states(of: timeout.transport) ?? []
      let policy = zip(states, timeout.seconds).map { "\($0.name) : \($1)" }.joined(separator: ", ")
      return ["ct timeout \(object.name) {"] + comment
        + ["\tprotocol \(protocolName(timeout.transport));"] + network(timeout.network)
        + ["\tpolicy = { \(policy) }", "}"]
    case .ctExpectation(let expectation):
      return ["ct expectation \(object.name) {"] + comment
        + [
          "\tprotocol \(protocolName(expectation.transport))", "\tdport \(expectation.destinationPort)",
          "\ttimeout \(TimeText.text(UInt64(expectation.timeout)))", "\tsize \(expectation.size)",
        ] + network(expectation.network) + ["}"]
    case .synproxy(let proxy):
      // An object's size and scale always stand there.
      let flags = proxy.options
      return ["synproxy \(object.name) {"] + comment
        + ["\tmss \(proxy.maximumSegment)", "\twscale \(proxy.windowScale)"]
        + (flags.isEmpty ? [] : ["\t" + flags.joined(separator: " ")]) + ["}"]
    case .connlimit, .unknown:
      return ["# object \(object.name) is of a kind that cannot be written here (type \(object.type))"]
    }
  }
}

extension NftSynproxy {
  /// Flags that have no number.
  var options: [String] { (flags & 8 != 0 ? ["timestamp"] : []) + (flags & 4 != 0 ? ["sack-perm"] : []) }

  /// What a statement says of it.
  var words: [String] {
    (flags & 1 != 0 ? ["mss \(maximumSegment)"] : []) + (flags & 2 != 0 ? ["wscale \(windowScale)"] : [])
      + options
  }
}

extension ObjectText {
  private static func protocolName(_ number: UInt8) -> String {
    ValueText(type: .ipProtocol).text([number])
  }

  private static func network(_ family: NetworkFamily?) -> [String] {
    family.map { ["\tl3proto \($0 == .ipv4 ? "ip" : "ip6")"] } ?? []
  }
}

/// Text between quotes; nft's language has no way to write a quote or a line's end within.
func quoted(_ text: String) -> String {
  "\"" + String(text.map { $0 == "\"" ? "'" : $0.isNewline ? " " : $0 }) + "\""
}
