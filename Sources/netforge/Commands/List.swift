// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabProcess
import Reconcile

/// `netforge ls`.
struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls", abstract: "List this user's labs.", aliases: ["list"])

  @OptionGroup var output: OutputOptions

  struct Lab: Encodable {
    var name: String
    var datapath: String?
    var state: String
    var nodes: Int
    var topologyFile: String?
    var since: Int64?
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var labs: [Lab]
  }

  func run() throws {
    let labs = LabFolders.ofCaller.list().map(Self.describe).sorted { $0.name < $1.name }
    try output.print(Document(labs: labs)) {
      guard !labs.isEmpty else { return "no lab is up" }
      var table = Table("LAB", "DATAPATH", "STATE", "NODES", "TOPOLOGY")
      for lab in labs {
        table.add(lab.name, lab.datapath ?? "-", lab.state, "\(lab.nodes)", lab.topologyFile ?? "-")
      }
      return table.text
    }
  }

  private static func describe(_ folder: LabFolder) -> Lab {
    var lab = Lab(name: folder.lab.text, state: "damaged", nodes: 0)
    guard let record = try? folder.record() else {
      if (try? folder.journal()) != nil { lab.state = "interrupted" }
      return lab
    }
    lab.datapath = record.datapath.rawValue
    lab.nodes = record.namespaces.count { $0.node != nil }
    lab.topologyFile = record.topologyFile
    lab.since = record.time
    let isRunning = LabProcess.isRunning(folder: folder.path)
    lab.state = record.datapath == .kernel || isRunning ? "up" : "gone"
    if ((try? folder.journal()) ?? nil) != nil { lab.state = "interrupted" }
    return lab
  }
}
