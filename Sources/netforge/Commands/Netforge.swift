// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser

@main
struct Netforge: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "netforge",
    abstract: "Networks from Swift files: bring a topology up, prove it, take it away.",
    subcommands: [Version.self, Completion.self])
}
