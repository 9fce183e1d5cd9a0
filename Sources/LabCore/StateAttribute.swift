// SPDX-License-Identifier: GPL-2.0-or-later

// What the differ compares and a plan prints: each object as a list of named, printable attributes.

/// The name of one attribute of an object.
public struct AttributeName: RawRepresentable, Hashable, Codable, Sendable {
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  public init(_ name: String) { rawValue = name }
}

/// An attribute's value as plans and reports show it.
public enum StateValue: Hashable, Sendable {
  case text(String)
  case number(Int64)
  case flag(Bool)
  case list([StateValue])

  public init(_ number: some BinaryInteger) { self = .number(Int64(clamping: number)) }
  public init(_ value: some CustomStringConvertible) { self = .text(value.description) }
}

extension StateValue: CustomStringConvertible {
  public var description: String {
    switch self {
    case .text(let text): text
    case .number(let number): String(number)
    case .flag(let flag): String(flag)
    case .list(let values): "[" + values.map(\.description).joined(separator: ", ") + "]"
    }
  }
}

extension StateValue: Encodable {
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .text(let text): try container.encode(text)
    case .number(let number): try container.encode(number)
    case .flag(let flag): try container.encode(flag)
    case .list(let values): try container.encode(values)
    }
  }
}

/// One attribute. A desired object leaves out what it does not care about; an observed one has all.
public struct StateAttribute: Hashable, Sendable {
  public var name: AttributeName
  public var value: StateValue

  public init(_ name: AttributeName, _ value: StateValue) {
    self.name = name
    self.value = value
  }
}

/// Collects attributes, leaving out what is nil.
struct AttributeList {
  private(set) var attributes: [StateAttribute] = []

  mutating func add(_ name: AttributeName, _ value: StateValue?) {
    if let value { attributes.append(StateAttribute(name, value)) }
  }

  mutating func add(_ name: AttributeName, text: (any CustomStringConvertible)?) {
    add(name, text.map { .text($0.description) })
  }

  mutating func add(_ name: AttributeName, number: (some BinaryInteger)?) {
    add(name, number.map { StateValue($0) })
  }

  mutating func add(_ name: AttributeName, flag: Bool?) {
    add(name, flag.map { .flag($0) })
  }
}
