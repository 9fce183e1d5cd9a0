// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost

/// `netforge events`: what the kernel says has changed, as it happens.
struct Events: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events",
    abstract: "Follow what changes in a lab's namespaces, until interrupted.",
    discussion: "With -f json a document a line.")

  @Argument(help: "The lab's topology file, or its name.")
  var file: String?

  @OptionGroup var selection: LabOptions
  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var action: String
    var path: String
    var summary: String
  }

  func run() async throws {
    let folder = try await selection.folder(file)
    let lab = try await RunningLab.open(folder)
    for await event in try await lab.datapath.changes(of: lab.name) {
      switch output.format {
      case .table: Terminal.print("\(event.action.rawValue) \(event.path): \(event.summary)")
      case .json:
        Terminal.print(
          try JSONText.line(
            of: Document(action: event.action.rawValue, path: event.path.description, summary: event.summary))
        )
      }
    }
  }
}
