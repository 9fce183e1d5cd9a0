// SPDX-License-Identifier: GPL-2.0-or-later

// From the source form to the compiled form, and every reason for which the kernel would refuse it.

/// Compiles rulesets.
public enum Compiler {
  /// The tables, sorted, with every rule keyed; or all that is wrong, in the order of the source.
  public static func compile(_ ruleset: Ruleset) -> Result<[NftTable], NftCompileErrors> {
    var errors: [NftCompileError] = []
    var tables: [NftTable] = []
    var seen: Set<NftTableKey> = []
    for table in ruleset.tables {
      let key = NftTableKey(family: table.family, name: table.name)
      if !seen.insert(key).inserted {
        errors.append(NftCompileError(subject: "table \(key)", message: "declared twice"))
      }
      var compilation = TableCompilation(table)
      tables.append(compilation.run())
      errors += compilation.errors
    }
    guard errors.isEmpty else { return .failure(NftCompileErrors(errors: errors)) }
    return .success(tables.sorted { $0.key < $1.key })
  }

  /// One table; throws the first of what is wrong.
  public static func compile(_ table: Ruleset.Table) throws(NftCompileError) -> NftTable {
    var compilation = TableCompilation(table)
    let result = compilation.run()
    if let error = compilation.errors.first { throw error }
    return result
  }
}

/// All that is wrong with a ruleset.
public struct NftCompileErrors: Error, Hashable, Sendable {
  public var errors: [NftCompileError]
}

/// One table's compilation.
struct TableCompilation {
  let source: Ruleset.Table
  var errors: [NftCompileError] = []

  init(_ source: Ruleset.Table) { self.source = source }

  private var subject: String { "table \(source.family.rawValue) \(source.name)" }

  mutating func run() -> NftTable {
    check(name: source.name, of: subject)
    checkNames()
    let sets = source.sets.map { compile($0) }
    let table = Dictionary(sets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let chains = source.chains.map { chain in
      NftChain(name: chain.name, base: chain.base, comment: chain.comment, rules: compile(chain, table).keyed)
    }
    if errors.isEmpty {
      errors += ChainGraph(source: source, chains: chains, sets: sets).errors()
    }
    return NftTable(
      family: source.family, name: source.name, comment: source.comment, chains: chains, sets: sets,
      objects: source.objects, flowtables: source.flowtables)
  }

  private mutating func fail(_ subject: String, _ position: NftSourcePosition?, _ message: String) {
    errors.append(NftCompileError(position: position, subject: "\(self.subject)\(subject)", message: message))
  }

  private mutating func check(comment: String?, of subject: String, _ position: NftSourcePosition?) {
    guard let comment else { return }
    do throws(Fault) {
      try admit(text: comment, as: "a comment")
    } catch {
      fail(subject, position, error.message)
    }
  }

  private mutating func checkNames() {
    check(comment: source.comment, of: "", nil)
    for chain in source.chains { check(comment: chain.comment, of: ", chain \(chain.name)", chain.position) }
    for object in source.objects { check(comment: object.comment, of: ", object \(object.name)", nil) }
    var chains: Set<String> = []
    for chain in source.chains {
      check(name: chain.name, of: "\(subject), chain '\(chain.name)'", chain.position)
      if !chains.insert(chain.name).inserted {
        fail(", chain \(chain.name)", chain.position, "declared twice")
      }
    }
    var sets: Set<String> = []
    for set in source.sets {
      check(name: set.name, of: "\(subject), set '\(set.name)'", set.position)
      if !sets.insert(set.name).inserted { fail(", set \(set.name)", set.position, "declared twice") }
    }
    var flowtables: Set<String> = []
    var devices: Set<String> = []
    for flowtable in source.flowtables {
      let subject = ", flowtable \(flowtable.name)"
      check(name: flowtable.name, of: "\(self.subject)\(subject)")
      if !flowtables.insert(flowtable.name).inserted { fail(subject, nil, "declared twice") }
      if ![.ip, .ip6, .inet].contains(source.family) {
        fail(
          subject, nil, "flowtables stand in the families ip, ip6 and inet, not in \(source.family.rawValue)")
      }
      for device in flowtable.devices where !devices.insert(device).inserted {
        fail(subject, nil, "'\(device)' is a device of another flowtable of the table")
      }
    }
    var objects: Set<String> = []
    for object in source.objects {
      check(name: object.name, of: "\(subject), object '\(object.name)'")
      if !objects.insert("\(object.type) \(object.name)").inserted {
        fail(", object \(object.name)", nil, "declared twice")
      }
      if let fault = object.fault { fail(", \(object.kind?.name ?? "object") \(object.name)", nil, fault) }
    }
  }

  private mutating func check(name: String, of subject: String, _ position: NftSourcePosition? = nil) {
    guard !NftName.isValid(name) else { return }
    errors.append(
      NftCompileError(
        position: position, subject: subject,
        message:
          "a name begins with a letter or _, goes on with letters, digits, / - _ and ., and has at most "
          + "\(NftName.maximumLength) bytes"))
  }

  private mutating func compile(_ chain: Ruleset.Chain, _ sets: [String: NftSet]) -> [NftRule] {
    var rules: [NftRule] = []
    for (index, rule) in chain.rules.enumerated() {
      var compiler = RuleCompiler(
        family: source.family, sets: sets, objects: source.objects,
        flowtables: source.flowtables)
      do {
        rules.append(try compiler.compile(rule))
      } catch {
        fail(", chain \(chain.name), rule \(index + 1)", rule.position ?? chain.position, error.message)
      }
    }
    return rules
  }

  private mutating func compile(_ declaration: SetDeclaration) -> NftSet {
    var set = NftSet(
      name: declaration.name, keyTypes: declaration.keyTypes, flags: declaration.flags,
      data: declaration.data,
      size: declaration.size, timeout: declaration.timeout, comment: declaration.comment,
      expressions: declaration.expressions.map(\.normalized))
    let subject = ", set \(declaration.name)"
    guard !declaration.keyTypes.isEmpty, set.keyLength <= NftData.maximumLength else {
      fail(subject, declaration.position, "a key of \(set.keyLength) bytes; the kernel takes 1 to 64")
      return set
    }
    var builder = SetBuilder(types: declaration.keyTypes)
    do throws(Fault) {
      if let comment = declaration.comment { try admit(text: comment, as: "a comment") }
      for element in declaration.elements {
        if let comment = element.comment { try admit(text: comment, as: "a comment") }
        guard (element.value != nil) == (declaration.data != nil) else {
          throw Fault(
            declaration.data == nil ? "an element with a value in a set" : "an element without its value")
        }
        try check(element.value, declaration.data)
        try builder.add(
          element.key, value: element.value, timeout: element.timeout, comment: element.comment,
          expressions: element.expressions.isEmpty
            ? set.expressions : element.expressions.map(\.normalized))
      }
      if builder.needsIntervals { set.flags.insert(.interval) }
      if declaration.timeout != nil || declaration.elements.contains(where: { $0.timeout != nil }) {
        set.flags.insert(.timeout)
      }
      if case .object? = declaration.data {
        set.flags.insert(.objectMap)
      } else if declaration.data != nil {
        set.flags.insert(.map)
      }
      if set.isInterval, declaration.keyTypes.count > 1 { set.flags.insert(.concatenation) }
      guard !set.isInterval || !set.flags.contains(.dynamic) else {
        throw Fault("a set that rules fill cannot keep intervals")
      }
      let types = declaration.keyTypes
      let swapped = RuleCompiler.swapped(types, intervals: set.isInterval)
      set.elements = try builder.elements(intervals: set.isInterval, swapped: swapped, merging: false)
      if let size = declaration.size, set.elements.count > Int(size) {
        throw Fault("\(set.elements.count) elements in a set of size \(size)")
      }
    } catch {
      fail(subject, declaration.position, error.message)
    }
    return set
  }

  private func check(_ value: NftElementValue?, _ data: NftSetData?) throws(Fault) {
    switch (value, data) {
    case (nil, nil), (.verdict?, .verdict?): break
    case (.data(let bytes)?, .value?):
      guard bytes.count == data?.length else { throw Fault("a value of \(bytes.count) bytes in the map") }
    case (.object(let name)?, .object(let type)?):
      guard source.objects.contains(where: { $0.name == name && $0.type == type }) else {
        throw Fault("there is no object '\(name)' in the table")
      }
    default: throw Fault("an element's value is not of the map's kind")
    }
  }
}

/// The names that both the kernel and nft's files take.
enum NftName {
  static let maximumLength = 255

  static func isValid(_ name: String) -> Bool {
    let bytes = Array(name.utf8)
    guard (1...maximumLength).contains(bytes.count), let first = bytes.first, isLetter(first) || first == 0x5f
    else {
      return false
    }
    return bytes.allSatisfy {
      isLetter($0) || (0x30...0x39).contains($0) || [0x5f, 0x2d, 0x2e, 0x2f].contains($0)
    }
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
  }
}

extension NftObject {
  /// Why the kernel would not make it.
  var fault: String? {
    switch state {
    case .limit(let limit):
      limit.rate > 0 && [1, 60, 3600, 86400, 604_800].contains(limit.unitSeconds)
        ? nil : "a limit needs a rate of at least 1 in a second, minute, hour, day or week"
    case .ctHelper(let helper):
      (1...15).contains(helper.helper.utf8.count) && [6, 17].contains(helper.transport)
        ? nil : "a helper has a name of at most 15 bytes and reads TCP or UDP"
    case .ctTimeout(let timeout):
      NftCtTimeout.states(of: timeout.transport)?.count == timeout.seconds.count
        ? nil : "timeouts are given to TCP and UDP, one for each state"
    case .ctExpectation(let expectation):
      [6, 17].contains(expectation.transport) ? nil : "a connection of TCP or UDP can be expected"
    case .counter, .quota, .connlimit, .synproxy, .unknown: nil
    }
  }
}
