// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// Which network namespace of a lab an object stands in.
public enum NamespaceID: Hashable, Comparable, Sendable {
  /// The namespace that the lab is brought up from: uplinks and `lab.internet` only.
  case host
  /// The lab's own switch namespace, where every `lab.bridge` lives.
  case `switch`
  case node(NodeName)

  /// The name under /run/netns; nil for the host's own.
  public func netnsName(in lab: LabName) -> String? {
    switch self {
    case .host: nil
    case .switch: "\(lab)--sw"
    case .node(let node): "\(lab)-\(node)"
    }
  }

  /// The node, when it is one.
  public var node: NodeName? {
    if case .node(let name) = self { name } else { nil }
  }

  private var rank: Int {
    switch self {
    case .host: 0
    case .switch: 1
    case .node: 2
    }
  }

  public static func < (a: Self, b: Self) -> Bool {
    if case (.node(let first), .node(let second)) = (a, b) { return first < second }
    return a.rank < b.rank
  }
}

extension NamespaceID: TextCodable {
  /// `host`, `switch` or `node/<name>`.
  public init?(_ text: String) {
    switch text {
    case "host": self = .host
    case "switch": self = .switch
    default:
      guard text.hasPrefix("node/"), let name = NodeName(String(text.dropFirst(5))) else { return nil }
      self = .node(name)
    }
  }

  public var description: String {
    switch self {
    case .host: "host"
    case .switch: "switch"
    case .node(let node): "node/\(node)"
    }
  }
}
