// SPDX-License-Identifier: GPL-2.0-or-later

// What is there of the lab. Nobody but the lab can make namespaces in this kernel, so there is nothing to search for and
// nothing of others to find.

import LabCore
import LinuxObjects
import Rtnetlink

extension EmulatedKernel {
  func observe(_ scope: Scope) throws(TransportError) -> Observation {
    let ids = namespaces.keys.sorted()
    var identifiers: [Int32: NamespaceID] = [:]
    for id in ids { identifiers[try channel(to: id).handle] = id }
    var read: [ReadNamespace] = []
    for id in ids where scope.namespaces?.contains(id) != false {
      let channel = try channel(to: id)
      let dump = try NamespaceDump(
        reading: channel, links: channel.links(), sysctls: scope.sysctls[id] ?? [], nftTables: nil)
      read.append(ReadNamespace(id: id, dump: dump, identifiers: identifiers))
    }
    let names = ReadNames(read, host: [])
    tables = names.tables
    let decoder = StateDecoder(lab: lab)
    let states = read.map { decoder.decode($0, among: names) }
    var initial: [NamespaceID: [SysctlState]] = [:]
    for (id, question) in scope.initial { initial[id] = try question.answer(by: scratch()) }
    return Observation(
      owned: LabState(lab: lab, namespaces: states.map(\.owned)),
      unmarked: LabState(lab: lab, namespaces: states.map(\.unmarked)), initial: initial)
  }
}
