// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser

/// `netforge render`: the canonical document of a topology, which every verb takes in the file's place.
struct Render: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "render",
    abstract: "Print the topology as JSON, for hosts without a Swift toolchain.")

  @OptionGroup var source: TopologyOptions

  func run() async throws {
    let loaded = try await source.load()
    Terminal.print(String(decoding: loaded.rendered, as: UTF8.self))
  }
}
