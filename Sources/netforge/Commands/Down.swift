// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import Reconcile

/// `netforge down`: takes a lab away, and the host is as before.
struct Down: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "down",
    abstract: "Take a lab away.", aliases: ["destroy"])

  @Argument(help: "The lab's topology file, or its name.")
  var file: String?

  @OptionGroup var selection: LabOptions

  @Flag(name: .shortAndLong, help: "Every lab of this user; needs --yes.")
  var all = false

  @Flag(name: .shortAndLong, help: "Agree.")
  var yes = Environment.isSet("YES")

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var removed: [String]
  }

  func run() async throws {
    let folders: [LabFolder]
    if all {
      folders = LabFolders.ofCaller.list()
      guard !folders.isEmpty else { throw Failure(.failed, "no lab is up") }
      guard yes else {
        throw Failure(
          .usage,
          "down --all takes \(folders.count) labs away (\(folders.map(\.lab.text).joined(separator: ", "))); add --yes"
        )
      }
    } else {
      folders = [try await selection.folder(file)]
    }
    for folder in folders { try await RunningLab.takeAway(folder) }
    let names = folders.map(\.lab.text)
    try output.print(Document(removed: names)) {
      names.map { "lab '\($0)' is gone" }.joined(separator: "\n")
    }
  }
}
