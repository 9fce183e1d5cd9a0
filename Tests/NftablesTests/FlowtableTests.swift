// SPDX-License-Identifier: GPL-2.0-or-later

// Flowtables in the language: bytecode as nft makes it, text that nft takes, and what the kernel would refuse.

import NetTypes
import Nftables
import Testing

@Suite("Flowtables in the language")
struct FlowtableTests {
  private static func table(
    _ family: NftFamily = .inet, hook: NftHook = .forward, name: String = "f",
    flowtables: [NftFlowtable] = [
      NftFlowtable(name: "f", priority: -5, devices: ["lo", "eth0"], counts: true)
    ]
  ) -> Ruleset.Table {
    Ruleset.Table(
      family: family, name: "t",
      chains: [
        Ruleset.Chain(
          name: "c", base: NftBaseChain(hook: hook),
          rules: [Rule([.match(.is(.transportProtocol, .tcp)), .addFlow(name), .counter])])
      ], flowtables: flowtables)
  }

  @Test("The bytecode is nft's", .enabled(if: nftIsUsable, "needs nft"))
  func bytecode() throws {
    let compiled = try Compiler.compile(Self.table())
    let ours = try #require(compiled.chains.first?.rules.first).expressions.map { "[ \($0) ]" }
    // Where the kernel has no flowtables nft says so behind what it would have sent.
    let answer = shell("nft -c --debug=netlink -f - <<'END'\n\(NftText.text(compiled))END").output
    let theirs = answer.split(separator: "\n").map { $0.filter { $0 != " " } }
    for expression in ours.dropLast() {
      let wanted = expression.filter { $0 != " " }
      #expect(theirs.contains { $0 == wanted }, "\(wanted) in \(answer)")
    }
    #expect(!answer.contains("syntax error"), "\(answer)")
  }

  @Test("The text is nft's")
  func text() throws {
    let text = try NftText.text(Compiler.compile(Self.table()))
    #expect(
      text == """
        table inet t {
        \tflowtable f {
        \t\thook ingress priority -5
        \t\tdevices = { "eth0", "lo" }
        \t\tcounter
        \t}

        \tchain c {
        \t\ttype filter hook forward priority 0; policy accept;
        \t\tmeta l4proto tcp flow add @f counter packets 0 bytes 0
        \t}
        }

        """)
  }

  static let refusals: [(Ruleset.Table, String)] = [
    (table(hook: .input), "at forward only"), (table(name: "g"), "there is no flowtable 'g'"),
    (table(.bridge), "in the families ip, ip6 and inet, not in bridge"),
    (
      table(flowtables: [NftFlowtable(name: "f", devices: ["lo"]), NftFlowtable(name: "g", devices: ["lo"])]),
      "'lo' is a device of another flowtable"
    ),
    (table(flowtables: [NftFlowtable(name: "f"), NftFlowtable(name: "f")]), "declared twice"),
  ]

  @Test("What the kernel would refuse is refused before", arguments: refusals.indices)
  func refused(_ index: Int) {
    let (table, words) = Self.refusals[index]
    guard case .failure(let errors) = Compiler.compile(Ruleset(tables: [table])) else {
      Issue.record("\(words): it was taken")
      return
    }
    #expect(errors.errors.contains { $0.message.contains(words) }, "\(errors)")
  }
}
