// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc

/// `netforge version`.
struct Version: ParsableCommand {
  static let number = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "version",
    abstract: "Print the version of netforge and of the kernel it runs on.")

  @Flag(help: "Print the number only.")
  var short = false

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var netforge: String
    var kernel: String
    var machine: String
  }

  func run() throws {
    if short {
      Terminal.print(Self.number)
      return
    }
    let system = SystemIdentity()
    let document = Document(netforge: Self.number, kernel: system.release, machine: system.machine)
    try output.print(document) { "netforge \(Self.number), Linux \(system.release), \(system.machine)" }
  }
}

/// What uname(2) says.
struct SystemIdentity {
  var release: String
  var machine: String

  init() {
    var name = utsname()
    uname(&name)
    release = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    machine = withUnsafeBytes(of: &name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
