// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc
import Reconcile
import Spawn
import SystemPackage
import TopologyModel

/// `netforge graph`.
struct Graph: AsyncParsableCommand {
  enum Form: String, ExpressibleByArgument, CaseIterable {
    case dot, mermaid, svg, json
  }

  static let configuration = CommandConfiguration(
    commandName: "graph",
    abstract: "Draw a topology: DOT, Mermaid, SVG through Graphviz, or JSON.")

  @OptionGroup var source: TopologyOptions

  @Option(name: .shortAndLong, help: "dot, mermaid, svg or json.")
  var format: Form = .dot

  struct Document: Encodable {
    var schemaVersion = 1
    var graph: Diagram
  }

  func run() async throws {
    let topology = try await source.load().topology
    let diagram = Diagram(of: topology, addresses: try Resolver().resolve(topology).addresses(of: topology))
    switch format {
    case .dot: Terminal.print(diagram.dot)
    case .mermaid: Terminal.print(diagram.mermaid)
    case .json: Terminal.print(try JSONText.of(Document(graph: diagram)))
    case .svg: Terminal.write(try Self.svg(of: diagram.dot), to: .standardOutput)
    }
  }

  /// What Graphviz makes of it.
  static func svg(of dot: String) throws -> String {
    guard let file = tmpfile() else { throw Failure(.failed, "cannot make a temporary file") }
    defer { fclose(file) }
    let descriptor = FileDescriptor(rawValue: fileno(file))
    try descriptor.writeAll(dot.utf8)
    try descriptor.seek(offset: 0, from: .start)
    var request = SpawnRequest(.name("dot", search: Environment.path), arguments: ["dot", "-Tsvg"])
    request.descriptors = [SpawnRequest.Descriptor(descriptor, as: 0)]
    let result: ProgramOutput
    do throws(SpawnError) {
      result = try request.run(
        capturing: [OutputCapture(1, limit: 64 << 20), OutputCapture(2, limit: 1 << 16)],
        timeout: .seconds(60))
    } catch {
      guard error.isProgramMissing else { throw Failure(.failed, error.description) }
      throw Failure(
        .unavailable, "SVG is drawn by Graphviz, and 'dot' is not installed",
        "install Debian's package graphviz, or take -f dot or -f mermaid")
    }
    guard result.status == .exited(0), result.ending == .ended else {
      throw Failure(.failed, "Graphviz could not draw the graph: \(result.text(2))")
    }
    return result.text(1)
  }
}
