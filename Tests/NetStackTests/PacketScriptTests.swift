// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc
import Testing

@testable import NetStack

@Suite("Scripts of segments")
struct PacketScriptTests {
  @Test("Ours says what a script says, when it says it", arguments: PacketScriptTests.scripts)
  func ours(script: PacketScript) throws {
    let differences = try ScriptSides.play(script, on: ScriptSides.Ours())
    #expect(differences.isEmpty, "\(script.name):\n\(differences.joined(separator: "\n"))")
  }

  @Test(
    "The host's kernel says what a script says",
    .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"),
    arguments: PacketScriptTests.scripts.indices)
  func host(number: Int) throws {
    var differences: [String] = []
    // Its time is real: a script that the machine has kept waiting is played again.
    for attempt in 0..<3 where attempt == 0 || !differences.isEmpty {
      differences = try ScriptSides.play(Self.scripts[number], on: ScriptSides.Host("\(number)-\(attempt)"))
    }
    #expect(differences.isEmpty, "\(Self.scripts[number].name):\n\(differences.joined(separator: "\n"))")
  }
}
