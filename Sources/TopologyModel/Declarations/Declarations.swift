// SPDX-License-Identifier: GPL-2.0-or-later

// The flat list of declarations that a topology file makes: decoded strictly, and written again as rendered JSON, the
// canonical document that `render` prints and every verb accepts. What the values mean is judged by `Topology`.

import LabCore

/// What a topology file declares, in order, each value of the right shape.
public struct Declarations: Hashable, Sendable {
  /// The version of the format: a new minor adds keys and kinds, a new major changes them.
  public static let version = (major: 1, minor: 0)
  /// The longest text that is decoded, in bytes.
  public static let maximumSize = 64 << 20

  /// Each an object that its kind's shape holds for.
  var items: [JSON]

  /// Decodes rendered JSON.
  public init(json bytes: [UInt8]) throws(TopologyErrors) {
    guard bytes.count <= Self.maximumSize else {
      throw Self.problem("the document is longer than \(Self.maximumSize >> 20) MiB")
    }
    let document: JSON
    do throws(JSONError) {
      document = try JSONParser.parse(bytes)
    } catch {
      throw Self.problem("not JSON: line \(error.line), column \(error.column): \(error.message)")
    }
    let minor = try Self.checkVersion(document)
    guard case .object(let members) = document else {
      throw Self.problem("the document is \(document.kindName)")
    }
    var check = ShapeCheck()
    let ordered = check.check(
      .object(members.filter { $0.key != "schemaVersion" }),
      .object([Field("declarations", .list(.declaration), required: true)]), path: "")
    try Self.report(check, minor: minor)
    guard case .array(let items)? = ordered["declarations"] else {
      throw Self.problem("the document has no 'declarations'")
    }
    self.items = items
  }

  /// From items whose shape is known.
  init(items: [JSON]) { self.items = items }

  /// Rendered JSON: the document in its canonical form, with a newline at its end.
  public var json: String {
    let version = JSON.object([
      JSON.Member(key: "major", value: .number("\(Self.version.major)")),
      JSON.Member(key: "minor", value: .number("\(Self.version.minor)")),
    ])
    let document = JSON.object([
      JSON.Member(key: "schemaVersion", value: version),
      JSON.Member(key: "declarations", value: .array(items)),
    ])
    return document.pretty + "\n"
  }

  /// The name that the file gives its lab, when it gives one.
  public var name: String? {
    for item in items {
      if case .string("topology")? = item["kind"], case .string(let name)? = item["name"] { return name }
    }
    return nil
  }

  /// The same declarations for a lab of another name.
  public func renamed(_ name: String) -> Declarations {
    Declarations(
      items: items.map { item in
        guard case .string("topology")? = item["kind"], case .object(let members) = item else { return item }
        return .object(members.map { $0.key == "name" ? JSON.Member(key: "name", value: .string(name)) : $0 })
      })
  }

  static func problem(_ message: String) -> TopologyErrors {
    TopologyErrors([TopologyError(message, at: nil)])
  }

  /// Reads `schemaVersion`; gives the minor version back.
  static func checkVersion(_ document: JSON) throws(TopologyErrors) -> Int {
    guard case .object = document else {
      throw problem("should be an object with 'schemaVersion', not \(document.kindName)")
    }
    guard let version = document["schemaVersion"] else {
      throw problem("there is no 'schemaVersion'; is this rendered by netforge?")
    }
    guard case .number(let majorText)? = version["major"], let major = Int(majorText),
      case .number(let minorText)? = version["minor"], let minor = Int(minorText), minor >= 0
    else {
      throw problem(
        "/schemaVersion: should be {\"major\":\(Self.version.major),\"minor\":\(Self.version.minor)}")
    }
    guard major == Self.version.major else {
      throw problem(
        "/schemaVersion: version \(major).\(minor) is not one that this netforge reads (\(Self.version.major).x); render the topology again with this netforge"
      )
    }
    return minor
  }

  static func report(_ check: ShapeCheck, minor: Int) throws(TopologyErrors) {
    guard !check.problems.isEmpty else { return }
    let newer =
      minor > version.minor
      ? " (the document is of version \(version.major).\(minor), newer than this netforge)" : ""
    throw TopologyErrors(
      check.problems.map { problem in
        TopologyError(
          "\(problem.path): \(problem.message)\(newer)",
          at: problem.location.map { SourceLocation(file: $0.file, line: $0.line) })
      })
  }
}
