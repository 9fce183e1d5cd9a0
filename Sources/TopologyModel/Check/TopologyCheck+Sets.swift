// SPDX-License-Identifier: GPL-2.0-or-later

// Named sets and maps of tables, their elements, and what rules do with these.

import LabCore
import NetTypes

extension TopologyCheck {
  mutating func elementSet(
    _ reader: Reader, _ scope: TableScope, _ counters: inout [String]
  ) -> Topology.ElementSet? {
    let name = reader.required("name")
    let who = "\(scope.who), set '\(name)'"
    guard Self.isIdentifier(name) else {
      fail(
        "\(who): it should be called by letters, digits, '_', '-' and '.', a letter first",
        at: reader.location)
      return nil
    }
    guard let key = types(reader.texts("key"), "\(who): key", at: reader.location), !key.isEmpty,
      let dataTypes = types(reader.texts("data"), "\(who): data", at: reader.location)
    else { return nil }
    guard let data = data(of: reader, dataTypes, who) else { return nil }
    var set = Topology.ElementSet(
      name: name, key: key, data: data, isInterval: reader.flag("interval") ?? false,
      isDynamic: reader.flag("dynamic") ?? false,
      counts: reader.flag("counters") ?? false, comment: comment(of: reader, "\(who): its comment"),
      location: reader.location)
    set.timeout = lifetime(reader, "\(who): timeout")
    set.size = integer(reader, "size", 1...Int(UInt32.max), "\(who): size")
    if set.isDynamic, set.isInterval {
      fail("\(who): a set is either dynamic or of intervals", at: reader.location)
      return nil
    }
    if case .objects = data, set.isDynamic || set.counts {
      fail(
        "\(who): a map to objects is not dynamic, and its elements count nothing but by their objects",
        at: reader.location)
      return nil
    }
    let items = reader.objects("elements")
    var seen = Set<[Topology.Value]>(minimumCapacity: items.count)
    for item in items {
      guard var element = self.element(item, key: key, data: set.data, who, scope, &counters) else {
        return nil
      }
      element.timeout = lifetime(item, "\(who): an element's timeout")
      element.comment = comment(of: item, "\(who): an element's comment")
      if element.key.contains(where: \.isInterval), !set.isInterval {
        fail("\(who): it holds a prefix or a range; give it interval: true", at: reader.location)
        return nil
      }
      guard seen.insert(element.key).inserted else {
        fail("\(who): one of its elements stands in it twice", at: reader.location)
        return nil
      }
      set.elements.append(element)
    }
    if let size = set.size, set.elements.count > size {
      fail(
        "\(who): it holds \(set.elements.count) elements, more than its size of \(size)", at: reader.location)
    }
    return set
  }

  /// How long elements stay. The kernel counts it in milliseconds and takes none for always.
  mutating func lifetime(_ reader: Reader, _ who: String) -> Interval? {
    guard
      let time = nanoseconds(reader, "timeoutNanoseconds", who, upTo: 365 * 86_400_000_000_000)
    else { return nil }
    guard time.nanoseconds >= 1_000_000 else {
      fail("\(who) of \(time) is less than a millisecond", at: reader.location)
      return nil
    }
    return time
  }

  /// All that rules put into a set has to keep the same: the kernel holds an element to what its set says, and one that
  /// another rule has put there keeps nothing of this one's.
  mutating func checkUpdates(_ table: Topology.Table, _ scope: TableScope) {
    var first: [String: (statements: [Topology.Statement], location: SourceLocation)] = [:]
    for set in table.sets where set.counts { first[set.name] = ([.counter(nil)], set.location) }
    for rule in table.chains.flatMap(\.rules) {
      for case .updateSet(let update) in rule.statements where update.operation != .remove {
        let counts = scope.sets[update.set]?.counts ?? false
        let statements = update.statements.isEmpty && counts ? [.counter(nil)] : update.statements
        guard let known = first[update.set] else {
          first[update.set] = (statements, rule.location)
          continue
        }
        if known.statements != statements {
          fail(
            "\(scope.who): the elements of '\(update.set)' keep something else at \(known.location); give them the same everywhere, or take two sets",
            at: rule.location)
        }
      }
    }
  }

  mutating func types(_ words: [String], _ who: String, at location: SourceLocation) -> [Topology
    .ValueType]?
  {
    let types = words.compactMap { word -> Topology.ValueType? in choice(word, who, at: location) }
    if types.contains(where: { [.connectionLabel, .helper, .connectionEvent].contains($0) }) {
      fail("\(who): labels, helpers and events stand in no set; nft could not write it", at: location)
      return nil
    }
    return types.count == words.count ? types : nil
  }

  /// What elements lead to.
  private mutating func data(
    of reader: Reader, _ types: [Topology.ValueType], _ who: String
  ) -> Topology.ElementSet.Data? {
    let isVerdictMap = reader.flag("verdicts") ?? false
    let object = reader.text("object")
    guard [isVerdictMap, object != nil, !types.isEmpty].count(where: { $0 }) <= 1 else {
      fail("\(who): a map leads either to values, to verdicts or to objects", at: reader.location)
      return nil
    }
    if let object { return mapped(object, who, at: reader.location).map { .objects($0) } }
    return isVerdictMap ? .verdict : types.isEmpty ? Topology.ElementSet.Data.none : .values(types)
  }

  mutating func element(
    _ reader: Reader, key: [Topology.ValueType], data: Topology.ElementSet.Data, _ who: String,
    _ scope: TableScope, _ counters: inout [String]
  ) -> Topology.Element? {
    guard let keyValues = values(reader.texts("key"), of: key, who, scope, at: reader.location) else {
      return nil
    }
    var element = Topology.Element(key: keyValues)
    switch data {
    case .none:
      guard reader.texts("data").isEmpty, reader.text("verdict") == nil else {
        fail("\(who): a set's elements lead to nothing", at: reader.location)
        return nil
      }
    case .values(let types):
      guard let known = values(reader.texts("data"), of: types, who, scope, at: reader.location) else {
        return nil
      }
      guard !known.contains(where: \.isInterval) else {
        fail("\(who): a map leads to single values, not to ranges", at: reader.location)
        return nil
      }
      element.data = known
    case .verdict:
      guard let verdict = verdict(reader.text("verdict") ?? "", who, scope, at: reader.location) else {
        return nil
      }
      element.verdict = verdict
    case .objects(let kind):
      let name = reader.texts("data").first ?? ""
      guard exists(kind, name, who, scope, &counters, at: reader.location) else { return nil }
      element.object = name
    }
    return element
  }

  /// A comment as the kernel keeps it.
  mutating func comment(of reader: Reader, _ who: String) -> String? {
    guard let comment = reader.text("comment") else { return nil }
    if comment.utf8.count > 127 || comment.utf8.contains(where: { $0 < 0x20 }) {
      fail("\(who) should be one line of at most 127 characters", at: reader.location)
    }
    return comment
  }

  mutating func updateSet(_ reader: Reader, _ scope: TableScope) -> Topology.Statement? {
    let (who, location) = (scope.who, reader.location)
    guard let selectors = selectors(reader.texts("selectors"), who, at: location),
      let set = set(reader.required("set"), key: selectors, who, scope, at: location),
      let operation: Topology.SetUpdate.Operation = choice(
        reader.text("operation") ?? "update", "\(who): operation", at: location)
    else { return nil }
    switch set.data {
    case .none, .values: break
    case .verdict, .objects:
      fail("\(who): rules put values into maps, and '\(set.name)' leads to none", at: location)
      return nil
    }
    guard set.isDynamic else {
      fail(
        "\(who): rules add to a dynamic set and remove from one only; give '\(set.name)' dynamic: true",
        at: location)
      return nil
    }
    let items = reader.objects("statements")
    if operation == .remove, !items.isEmpty || reader.integer("timeoutNanoseconds") != nil {
      fail("\(who): what is removed from '\(set.name)' needs neither a timeout nor statements", at: location)
      return nil
    }
    var update = Topology.SetUpdate(set: set.name, operation: operation, selectors: selectors)
    guard added(to: &update, from: reader, set, scope) else { return nil }
    update.timeout = lifetime(reader, "\(who): timeout")
    if update.timeout != nil, !set.ages {
      fail("\(who): elements of '\(set.name)' never leave; give it a timeout", at: location)
      return nil
    }
    // NFT_SET_EXPR_MAX.
    guard items.count <= 2 else {
      fail("\(who): an element keeps two statements at most, not \(items.count)", at: location)
      return nil
    }
    for item in items {
      var counters: [String] = []
      guard let statement = statement(item, base: nil, scope, &counters) else { return nil }
      if let name = counters.first {
        fail(
          "\(who): each element has a counter of its own, not '\(name)'; write Counter()", at: location)
        return nil
      }
      if case .connectionLimit = statement, set.ages {
        fail(
          "\(who): elements of '\(set.name)' leave after a time; a number of connections is kept in a set without a timeout",
          at: location)
        return nil
      }
      update.statements.append(statement)
    }
    return .updateSet(update)
  }
  /// What the element of a map leads to. False with a complaint.
  private mutating func added(
    to update: inout Topology.SetUpdate, from reader: Reader, _ set: Topology.ElementSet, _ scope: TableScope
  ) -> Bool {
    let (who, location) = (scope.who, reader.location)
    let (texts, words) = (reader.texts("data"), reader.texts("dataSelectors"))
    guard case .values(let types) = set.data else {
      guard texts.isEmpty, words.isEmpty else {
        fail("\(who): elements of '\(set.name)' lead to nothing; it is a set", at: location)
        return false
      }
      return true
    }
    guard update.operation != .remove || texts.isEmpty && words.isEmpty else {
      fail("\(who): what is removed from '\(set.name)' is found by its key alone", at: location)
      return false
    }
    let kinds = types.map(\.rawValue).joined(separator: " . ")
    switch (texts.isEmpty, words.isEmpty) {
    case (true, true):
      guard update.operation == .remove else {
        fail("\(who): '\(set.name)' is a map; say what the element leads to, \(kinds)", at: location)
        return false
      }
    case (false, false):
      fail("\(who): an element of '\(set.name)' leads either to values or to what fields say", at: location)
      return false
    case (false, true):
      guard let known = values(texts, of: types, who, scope, at: location) else { return false }
      guard !known.contains(where: \.isInterval) else {
        fail("\(who): a map leads to single values, not to ranges", at: location)
        return false
      }
      update.data = .values(known)
    case (true, false):
      guard let known = selectors(words, who, at: location) else { return false }
      guard known.map(\.type) == types, known.allSatisfy({ $0.exists(in: scope.family) }) else {
        fail(
          "\(who): '\(set.name)' leads to \(kinds), not to \(known.map(\.name).joined(separator: " . "))",
          at: location)
        return false
      }
      update.data = .selectors(known)
    }
    return true
  }
}
