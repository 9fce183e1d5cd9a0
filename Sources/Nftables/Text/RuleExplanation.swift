// SPDX-License-Identifier: GPL-2.0-or-later

// A rule's bytecode, step by step, with what each step is there for: the writer of rules is asked after every expression
// what it has learnt.

/// What a rule's expressions are for.
public struct RuleExplanation: Hashable, Codable, Sendable {
  /// An expression as libnftnl prints it, and what it does in nft's words.
  public struct Step: Hashable, Codable, Sendable {
    public var bytecode: String
    public var meaning: String
  }

  /// The whole rule in nft's language.
  public var rule: String
  public var steps: [Step]

  /// `sets` are those of the rule's table.
  public init(_ rule: NftRule, family: NftFamily, sets: [NftSet]) {
    self.rule = NftText.text(rule, family: family, sets: sets)
    var writer = RuleText(family: family, sets: sets)
    steps = rule.expressions.enumerated().map { index, expression in
      let meaning = writer.explain(expression, after: index > 0 ? rule.expressions[index - 1] : nil)
      return Step(bytecode: expression.description, meaning: meaning)
    }
  }
}

extension RuleText {
  fileprivate mutating func explain(_ expression: NftExpression, after previous: NftExpression?) -> String {
    let known = items.count
    do throws(Unwritable) {
      // The second half of a range says both.
      if case .cmp(let high) = expression, high.operation == .lessOrEqual,
        case .cmp(let low)? = previous, low.operation == .greaterOrEqual, low.source == high.source
      {
        items.removeLast()
        try range(low.source, low.data, high.data, negated: false)
        return "goes on when \(items[items.count - 1].text)"
      }
      try write(expression)
    } catch {
      return "nft's language has no words for it"
    }
    guard items.count > known else { return held(by: expression) }
    let said = items[known...].map(\.text).joined(separator: " ")
    switch expression {
    case .cmp, .range:
      return items[known].guards == nil
        ? "goes on when \(said)" : "goes on when \(said), which what follows presumes"
    case .lookup(let lookup) where lookup.destination == nil: return "goes on when \(said)"
    default: return said
    }
  }

  /// What stands in the register that an expression has filled.
  private func held(by expression: NftExpression) -> String {
    let register: NftRegister?
    let verb: String
    switch expression {
    case .payload(let e): (register, verb) = (e.destination, "loads")
    case .meta(let e): (register, verb) = (e.destination, "loads")
    case .ct(let e): (register, verb) = (e.destination, "loads")
    case .fib(let e): (register, verb) = (e.destination, "asks the routes for")
    case .rt(let e): (register, verb) = (e.destination, "asks the route for")
    case .socket(let e): (register, verb) = (e.destination, "asks the socket for")
    case .exthdr(let e): (register, verb) = (e.destination, "looks for")
    case .numgen(let e): (register, verb) = (e.destination, "makes")
    case .hash(let e): (register, verb) = (e.destination, "makes")
    case .lookup(let e): (register, verb) = (e.destination, "looks up")
    case .byteorder(let e): (register, verb) = (e.destination, "turns into the other byte order")
    case .bitwise(let e): (register, verb) = (e.destination, "keeps, sets or flips bits of")
    case .immediate(let e): (register, verb) = (e.destination, "holds a constant for what follows")
    default: return ""
    }
    guard let word = register?.word, let operand = registers[word], !operand.text.isEmpty else { return verb }
    return "\(verb) \(operand.text)"
  }
}
