// SPDX-License-Identifier: GPL-2.0-or-later

// What is there of a lab: its namespaces by their marks, all that is in them, and what others have put where the lab
// wants to stand.

import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import Rtnetlink

/// One observation of a lab.
struct Survey {
  private let kernel: HostKernel
  private let scope: Scope
  private let decoder: StateDecoder
  private var foreign: [ForeignObject] = []
  private var hostLinks: [LinkMessage] = []
  /// The lab's namespaces that are there, as far as they are wanted.
  private var found: [ReadNamespace] = []

  init(_ kernel: HostKernel, scope: Scope, addressesAreMarked: Bool) {
    self.kernel = kernel
    self.scope = scope
    decoder = StateDecoder(lab: kernel.lab, addressesAreMarked: addressesAreMarked)
  }

  mutating func run() throws(DatapathError) -> Observation {
    do throws(TransportError) {
      try findNamespaces()
      try findHost()
      try identify()
      let states = decode()
      return Observation(
        owned: hostLimited(LabState(lab: kernel.lab, namespaces: states.map(\.owned)), isOwned: true),
        unmarked: hostLimited(LabState(lab: kernel.lab, namespaces: states.map(\.unmarked)), isOwned: false),
        foreign: foreign.sorted { $0.path < $1.path }, initial: try initialSettings())
    } catch {
      throw DatapathError(
        error.errno == EPERM || error.errno == EACCES ? .permission : .unavailable,
        operation: "observe lab '\(kernel.lab)'", errno: error.errno == 0 ? nil : error.errno,
        cause: error.cause,
        remedy: error.errno == EPERM || error.errno == EACCES ? Privilege.remedy : nil)
    }
  }

  // MARK: Namespaces

  private mutating func findNamespaces() throws(TransportError) {
    let names: [String]
    do throws(NetlinkError) { names = try kernel.thread.directory.names() } catch {
      throw TransportError(error)
    }
    var wanted: [String: NamespaceID] = [:]
    for path in scope.claims where path.kind == .namespace {
      if let name = path.namespace.netnsName(in: kernel.lab) { wanted[name] = path.namespace }
    }
    let prefix = "\(kernel.lab)-"
    var places: [NamespaceVisit.Place] = []
    for name in names {
      guard wanted[name] != nil || name.hasPrefix(prefix) else { continue }
      guard let id = wanted[name] ?? Self.namespace(named: name, prefix: prefix) else { continue }
      places.append(.init(id: id, name: name, known: kernel.session.namespaces[id]))
    }
    let visit = NamespaceVisit(lab: kernel.lab, scope: scope)
    let outcome = kernel.crew.share(places, with: kernel.thread) { (place, thread) throws(TransportError) in
      try visit.run(place, thread)
    }
    if let failure = outcome.failure { throw failure }
    // Whoever was removed by hand is not held any longer.
    let host = kernel.session.namespaces[.host]
    kernel.session.namespaces = [:]
    kernel.session.namespaces[.host] = host
    for (place, finding) in zip(places, outcome.values) {
      let isWanted = wanted[place.name] != nil
      switch finding {
      case .ours(let open, let read):
        kernel.session.namespaces[place.id] = open
        if let read { found.append(read) }
      case .others(let detail): if isWanted { blame(place.id, detail) }
      case nil: break
      }
    }
  }

  private mutating func blame(_ id: NamespaceID, _ detail: String) {
    foreign.append(ForeignObject(path: StatePath(id), detail: detail))
  }

  static func namespace(named name: String, prefix: String) -> NamespaceID? {
    let rest = name.dropFirst(prefix.count)
    return rest == "-sw" ? .switch : NodeName(String(rest)).map { .node($0) }
  }

  // MARK: Reading

  /// On the host, nobody else's tables are of interest.
  private static func hostTables(_ lab: LabName) -> [NftTableKey] {
    NftFamily.allCases.map { NftTableKey(family: $0, name: Ownership(lab: lab).nftTableName) }
  }

  /// Finds out which namespaces the numbers in devices' states mean. Each pair tells both ends: whoever has learned
  /// where a device's other end is need not ask from there.
  private mutating func identify() throws(TransportError) {
    var positions: [NamespaceID: Int] = [:]
    var handles = [(id: NamespaceID.host, handle: try kernel.channel(to: .host).handle)]
    for (position, namespace) in found.enumerated() {
      positions[namespace.id] = position
      if namespace.id != .host { handles.append((namespace.id, try kernel.channel(to: namespace.id).handle)) }
    }
    let foreign = found.map { ReadNamespace.foreignIdentifiers(in: $0.dump.links) }
    let order = found.indices.sorted { foreign[$0].count > foreign[$1].count }
    var known: Set<Int> = []
    for position in order {
      let unknown = foreign[position].subtracting(found[position].identifiers.keys)
      if !unknown.isEmpty {
        let all = try kernel.channel(to: found[position].id).identifiers(of: handles)
        found[position].identifiers.merge(all) { first, _ in first }
      }
      known.insert(position)
      for link in found[position].dump.links {
        guard case .veth = link.kind, let identifier = link.linkNamespaceID, let peer = link.lowerIndex,
          let other = found[position].identifiers[identifier], let place = positions[other],
          !known.contains(place)
        else { continue }
        let isPeer = { (link: LinkMessage) in link.index == peer }
        if let back = found[place].dump.links.first(where: isPeer)?.linkNamespaceID, back >= 0 {
          found[place].identifiers[back] = found[position].id
        }
      }
    }
  }

  /// Understands what was read.
  private func decode() -> [(owned: NamespaceState, unmarked: NamespaceState)] {
    let names = ReadNames(found, host: hostLinks)
    kernel.session.tables = [:]
    for namespace in found { kernel.session.tables[namespace.id] = LinkTable(namespace.dump.links) }
    let decoder = decoder
    return kernel.crew.share(found, with: kernel.thread) { namespace, _ in
      decoder.decode(namespace, among: names)
    }.values.compactMap { $0 }
  }

  /// Tries out what settings namespaces begin with.
  private func initialSettings() throws(TransportError) -> [NamespaceID: [SysctlState]] {
    var result: [NamespaceID: [SysctlState]] = [:]
    for (id, question) in scope.initial {
      let open = try kernel.thread.makeNamespace(label: "as \(id) begins")
      result[id] = try question.answer(by: HostChannel(open, kernel.thread))
    }
    return result
  }

  // MARK: The host

  /// Reads the host's namespace when the lab has, or wants, something there.
  private mutating func findHost() throws(TransportError) {
    let wantsHost = scope.claims.contains { $0.namespace == .host } || scope.sysctls[.host]?.isEmpty == false
    let links = try kernel.channel(to: .host).allLinks()
    hostLinks = links
    guard scope.namespaces?.contains(.host) != false else { return }
    guard wantsHost || links.contains(where: decoder.ownership.ownsHostDevice) else { return }
    let dump = try NamespaceDump(
      NamespaceAnswers(
        reading: kernel.channel(to: .host), links: links, sysctls: (scope.sysctls[.host] ?? []).sorted(),
        nftTables: Self.hostTables(kernel.lab)))
    found.append(ReadNamespace(id: .host, dump: dump))
    for link in links {
      guard let name = link.name, !decoder.ownership.ownsHostDevice(link) else { continue }
      let path = StatePath(.host, .link, key: [name])
      guard scope.claims.contains(path) else { continue }
      let owner = link.alias.flatMap { Ownership.parse(alias: $0) }.map { " of lab '\($0.lab)'" } ?? ""
      foreign.append(ForeignObject(path: path, detail: "device '\(name)'\(owner) of the host"))
    }
  }

  /// Of the host's own objects, only those are shown that the lab made or that stand where it wants to.
  private func hostLimited(_ state: LabState, isOwned: Bool) -> LabState {
    guard var host = state[.host] else { return state }
    let devices = isOwned ? Set(host.links.map(\.name)) : []
    let isShown = { (object: StateObject, links: [InterfaceName]) in
      links.contains { devices.contains($0) } || scope.claims.contains(object.path(in: .host))
    }
    if !isOwned { host.links.removeAll { !isShown(.link($0), []) } }
    host.addresses.removeAll { !isShown(.address($0), [$0.link]) }
    host.routes.removeAll { !isShown(.route($0), $0.nextHops.compactMap(\.link)) }
    host.policyRules.removeAll { !isShown(.policyRule($0), []) }
    host.neighbors.removeAll { !isShown(.neighbor($0), [$0.link]) }
    host.fdb.removeAll { !isShown(.fdb($0), [$0.link]) }
    host.qdiscs.removeAll { !isShown(.qdisc($0), [$0.link]) }
    if !isOwned { host.tables = [] }
    let others = state.namespaces.filter { $0.id != .host }
    return LabState(lab: state.lab, namespaces: others + [host])
  }
}

extension HostChannel {
  func allLinks() throws(TransportError) -> [LinkMessage] {
    let answers = try dump(LinkMessage.dump(extended: .skipStatistics))
    do throws(NetlinkDecodingError) {
      return try answers.map { (answer) throws(NetlinkDecodingError) in try LinkMessage(answer) }
    } catch {
      throw TransportError(errno: 0, text: error.description)
    }
  }
}
