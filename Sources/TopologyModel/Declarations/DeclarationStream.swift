// SPDX-License-Identifier: GPL-2.0-or-later

// What a topology program writes to descriptor 3: a header line, a line for each declaration, and an end marker when the
// program ended by itself. A program that crashed leaves the lines up to where it came.

public import LabCore

/// The declarations of a topology program, as far as it came.
public struct DeclarationStream: Sendable {
  /// Without what only the program itself knows: what it read, and which variables it asked for.
  public var declarations: Declarations
  /// Whether the end marker was there. Without it the program crashed or was stopped.
  public var isComplete: Bool
  /// The last declaration that the program reached: what it declares, and where.
  public var last: (what: String, location: SourceLocation)?
  /// What the program itself found wrong: files that could not be read, variables without a value.
  public var failures: [TopologyError]
  /// Paths that `lab.read` was given, in order.
  public var filesRead: [String]
  /// Names that `lab.variable` was given, in order.
  public var variables: [String]

  /// Decodes what came out of descriptor 3.
  /// - Parameter paths: file names as the program knows them, and as messages shall say them.
  public init(_ bytes: [UInt8], paths: [String: String] = [:]) throws(TopologyErrors) {
    guard bytes.count <= Declarations.maximumSize else {
      throw Declarations.problem("the declarations are longer than \(Declarations.maximumSize >> 20) MiB")
    }
    declarations = Declarations(items: [])
    isComplete = false
    failures = []
    filesRead = []
    variables = []
    var lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false)
    // What stands after the last newline was cut off in the middle.
    let torn = lines.popLast()?.isEmpty == false
    guard let header = lines.first else {
      if torn { throw Declarations.problem("the program wrote no declarations that can be read") }
      return
    }
    let minor = try Declarations.checkVersion(try Self.parse(header))
    var check = ShapeCheck()
    for (index, line) in lines.enumerated().dropFirst() {
      let value = try Self.parse(line)
      if case .number(let count)? = value["end"] {
        guard index == lines.count - 1, !torn, Int(count) == lines.count - 2 else {
          throw Declarations.problem("the declarations were tampered with: their count is wrong")
        }
        isComplete = true
        break
      }
      let item = Self.rewrite(check.check(value, .written, path: "/\(index - 1)"), paths)
      try Declarations.report(check, minor: minor)
      keep(item)
    }
  }

  private mutating func keep(_ item: JSON) {
    guard case .string(let kind)? = item["kind"], let location = SourceLocation(of: item) else { return }
    switch kind {
    case "read": if case .string(let path)? = item["path"] { filesRead.append(path) }
    case "variable": if case .string(let name)? = item["name"] { variables.append(name) }
    case "failure":
      if case .string(let message)? = item["message"] {
        failures.append(TopologyError(message, at: location))
      }
    default:
      declarations.items.append(item)
      var what = kind
      if case .string(let name)? = item["name"] { what += " '\(name)'" }
      last = (what, location)
    }
  }

  private static func parse(_ line: ArraySlice<UInt8>) throws(TopologyErrors) -> JSON {
    do throws(JSONError) {
      return try JSONParser.parse(Array(line))
    } catch {
      throw Declarations.problem("a declaration is not JSON: column \(error.column): \(error.message)")
    }
  }

  /// Says files by the paths that messages shall have.
  private static func rewrite(_ value: JSON, _ paths: [String: String]) -> JSON {
    guard !paths.isEmpty else { return value }
    switch value {
    case .array(let values): return .array(values.map { rewrite($0, paths) })
    case .object(let members):
      return .object(
        members.map { member in
          if member.key == "file", case .string(let name) = member.value, let path = paths[name] {
            return JSON.Member(key: "file", value: .string(path))
          }
          // Labels may be called anything.
          return member.key == "labels"
            ? member : JSON.Member(key: member.key, value: rewrite(member.value, paths))
        })
    case .null, .bool, .number, .string: return value
    }
  }
}

extension SourceLocation {
  /// The `file` and `line` of a declaration.
  init?(of item: JSON) {
    guard case .string(let file)? = item["file"], case .number(let digits)? = item["line"],
      let line = Int(digits)
    else { return nil }
    self.init(file: file, line: line)
  }
}
