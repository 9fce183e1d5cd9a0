// SPDX-License-Identifier: GPL-2.0-or-later

// Rulesets in nft's language, as nft told what is in them.

import LabCore
import Nftables

extension TopologyCheck {
  mutating func ruleset(_ item: Reader, of node: Int) {
    let path = item.required("path")
    let who = "node '\(nodes[node].name)': ruleset '\(path)'"
    if let failure = item.text("failure") {
      fail("\(who): \(failure)", at: item.location)
      return
    }
    guard let text = item.text("json") else {
      fail("\(who): it has no rules in nft's JSON", at: item.location)
      return
    }
    let json = Array(text.utf8)
    // What nft itself had to say against it.
    if let said = try? JSONParser.parse(json)["error"], case .string(let message) = said {
      fail("\(who): \(message)", at: item.location)
      return
    }
    let ruleset: Ruleset
    do throws(RulesetError) {
      ruleset = try RulesetReader.read(
        json, at: NftSourcePosition(file: item.location.file, line: item.location.line))
    } catch {
      fail("\(who): \(error)", at: item.location)
      return
    }
    for table in ruleset.tables {
      let known = nodes[node].tables.contains {
        $0.name == table.name && $0.family.rawValue == table.family.rawValue
      }
      let again = nodes[node].rulesets.contains { other in
        other.tables.contains { $0.name == table.name && $0.family == table.family }
      }
      if known || again || table.name.hasPrefix("netforge-") {
        let why = known || again ? "is declared twice" : "has a name that is kept for the short form"
        fail("\(who): table \(table.family.rawValue) \(table.name) \(why)", at: item.location)
        return
      }
    }
    nodes[node].rulesets.append(ruleset)
  }
}
