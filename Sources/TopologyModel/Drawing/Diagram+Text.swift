// SPDX-License-Identifier: GPL-2.0-or-later

// The two languages that drawings are written in.

import LabCore

extension Diagram {
  /// Graphviz's language.
  public var dot: String {
    var lines = [
      "graph \(Self.quoted(name.text)) {",
      "  layout=neato; overlap=false; splines=true; sep=\"+18\";",
      "  node [fontname=\"Helvetica\", fontsize=11, style=filled, fillcolor=white];",
      "  edge [fontname=\"Helvetica\", fontsize=9, len=2.2];",
    ]
    for vertex in vertices {
      let look =
        switch vertex.shape {
        case .node: "shape=box, style=\"rounded,filled\", fillcolor=\"#eef4ff\""
        case .router: "shape=box, fillcolor=\"#ffe9d6\""
        case .bridge: "shape=ellipse, fillcolor=\"#e8f6e8\""
        case .internet: "shape=egg, fillcolor=\"#f2f2f2\""
        case .host: "shape=box3d, fillcolor=\"#f2f2f2\""
        }
      let label = ([vertex.name] + vertex.notes).joined(separator: "\n")
      lines.append("  \(Self.quoted(vertex.name)) [\(look), label=\(Self.quoted(label))];")
    }
    for edge in edges {
      var attributes: [String] = []
      // An interface's name stands above its addresses.
      for (name, text) in [("taillabel", edge.fromLabel), ("headlabel", edge.toLabel)] where !text.isEmpty {
        attributes.append("\(name)=\(Self.quoted(text.split(separator: " ").joined(separator: "\n")))")
      }
      if !edge.label.isEmpty { attributes.append("label=\(Self.quoted(edge.label))") }
      lines.append(
        "  \(Self.quoted(edge.from)) -- \(Self.quoted(edge.to)) [\(attributes.joined(separator: ", "))];")
    }
    return (lines + ["}"]).joined(separator: "\n")
  }

  /// Mermaid's flowchart, as GitHub draws it.
  public var mermaid: String {
    let identifiers = Dictionary(
      vertices.enumerated().map { ($0.element.name, "v\($0.offset)") },
      uniquingKeysWith: { first, _ in first })
    let escaped = { (text: String) in
      String(text.flatMap { $0 == "\"" ? "#quot;" : $0 == "\n" ? "<br/>" : String($0) })
    }
    var lines = ["flowchart LR"]
    for vertex in vertices {
      let label = "\"" + escaped(([vertex.name] + vertex.notes).joined(separator: "\n")) + "\""
      let shape =
        switch vertex.shape {
        case .node: "(\(label))"
        case .router: "[\(label)]"
        case .bridge: "([\(label)])"
        case .internet, .host: "{{\(label)}}"
        }
      lines.append("  \(identifiers[vertex.name] ?? vertex.name)\(shape)")
    }
    for edge in edges {
      let label = escaped(
        [edge.fromLabel, edge.label, edge.toLabel].filter { !$0.isEmpty }.joined(separator: "\n"))
      let line = label.isEmpty ? "---" : "---|\"\(label)\"|"
      lines.append("  \(identifiers[edge.from] ?? edge.from) \(line) \(identifiers[edge.to] ?? edge.to)")
    }
    return lines.joined(separator: "\n")
  }

  private static func quoted(_ text: String) -> String {
    "\"" + text.flatMap { $0 == "\"" ? "\\\"" : $0 == "\\" ? "\\\\" : $0 == "\n" ? "\\n" : String($0) } + "\""
  }
}
