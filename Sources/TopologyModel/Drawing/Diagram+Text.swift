// SPDX-License-Identifier: GPL-2.0-or-later

// The two languages that drawings are written in.

import LabCore

extension Diagram {
  /// Graphviz's language: from left to right, interfaces with their addresses in the boxes.
  public var dot: String {
    var lines = [
      "graph \(Self.quoted(name.text)) {",
      "  layout=dot; rankdir=LR; nodesep=0.3; ranksep=1.1; pad=0.3;",
      "  node [fontname=\"Helvetica\", fontsize=11, shape=box, style=\"rounded,filled\", margin=\"0.06,0.03\"];",
      "  edge [fontname=\"Helvetica\", fontsize=9, color=\"#5b6675\", fontcolor=\"#b3400a\"];",
    ]
    for vertex in vertices {
      let look =
        switch vertex.shape {
        case .node: "fillcolor=\"#eef4ff\", color=\"#7c93b8\""
        case .router: "fillcolor=\"#ffeedd\", color=\"#c98a4b\""
        case .bridge: "fillcolor=\"#e6f4e6\", color=\"#6a9d6a\""
        case .internet: "shape=egg, style=filled, fillcolor=\"#f2f2f2\", color=\"#888888\""
        case .host: "shape=box3d, style=filled, fillcolor=\"#f2f2f2\", color=\"#888888\""
        }
      lines.append("  \(Self.quoted(vertex.name)) [\(look), label=<\(table(of: vertex))>];")
    }
    for edge in edges { lines.append(line(of: edge)) }
    return (lines + ["}"]).joined(separator: "\n")
  }

  /// A box's inside: its name, its interfaces, each a place where lines end, and its notes.
  private func table(of vertex: Vertex) -> String {
    var rows = ["<td><b>\(Self.escaped(vertex.name))</b></td>"]
    let interfaces =
      edges.filter { $0.from == vertex.name }.map(\.fromLabel)
      + edges.filter { $0.to == vertex.name }.map(\.toLabel)
    for label in interfaces where !label.isEmpty {
      let words = label.split(separator: " ")
      let addresses = words.dropFirst().map { Self.escaped(String($0)) }.joined(separator: "<br/>")
      // Graphviz takes no empty element.
      let shown = addresses.isEmpty ? "" : " <font color=\"#33507e\">\(addresses)</font>"
      rows.append(
        "<td align=\"left\" port=\(Self.quoted(String(words[0])))><font point-size=\"9\">"
          + Self.escaped(String(words[0])) + shown + "</font></td>")
    }
    for note in vertex.notes {
      rows.append(
        "<td align=\"left\"><font point-size=\"9\" color=\"#8a4b08\">\(Self.escaped(note))</font></td>")
    }
    return "<table border=\"0\" cellborder=\"0\" cellspacing=\"0\" cellpadding=\"2\">"
      + rows.map { "<tr>\($0)</tr>" }.joined() + "</table>"
  }

  /// A line; dashed where packets fare badly on it. Routers stand behind the bridges that their nodes are on.
  private func line(of edge: Edge) -> String {
    let ends = [(edge.from, edge.fromLabel), (edge.to, edge.toLabel)].map { name, label in
      Self.quoted(name) + (label.split(separator: " ").first.map { ":" + Self.quoted(String($0)) } ?? "")
    }
    let shapes = [edge.from, edge.to].map { name in vertices.first { $0.name == name }?.shape }
    let isTurned = shapes == [.router, .bridge]
    let label = edge.label.isEmpty ? "" : " [style=dashed, label=\(Self.quoted(edge.label))]"
    return "  \(ends[isTurned ? 1 : 0]) -- \(ends[isTurned ? 0 : 1])\(label);"
  }

  /// As the labels of Graphviz's tables want it.
  private static func escaped(_ text: String) -> String {
    String(
      text.flatMap {
        $0 == "&" ? "&amp;" : $0 == "<" ? "&lt;" : $0 == ">" ? "&gt;" : $0 == "\"" ? "&quot;" : String($0)
      })
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
