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
  /// The lab's namespaces that are there, with their devices.
  private var found: [(id: NamespaceID, links: [LinkMessage])] = []

  init(_ kernel: HostKernel, scope: Scope, addressesAreMarked: Bool) {
    self.kernel = kernel
    self.scope = scope
    decoder = StateDecoder(lab: kernel.lab, addressesAreMarked: addressesAreMarked)
  }

  mutating func run() throws(DatapathError) -> Observation {
    do throws(TransportError) {
      try findNamespaces()
      try findHost()
      var namespaces: [ReadNamespace] = []
      namespaces.reserveCapacity(found.count)
      for (id, links) in found { namespaces.append(try read(id, links)) }
      try identify(&namespaces)
      let result = decoder.observe(namespaces, host: hostLinks)
      kernel.session.tables = result.tables
      return Observation(
        owned: hostLimited(result.owned, isOwned: true),
        unmarked: hostLimited(result.unmarked, isOwned: false),
        foreign: foreign.sorted { $0.path < $1.path })
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
    var present: Set<NamespaceID> = []
    for name in names {
      guard wanted[name] != nil || name.hasPrefix(prefix) else { continue }
      let id = wanted[name] ?? Self.namespace(named: name, prefix: prefix)
      guard let id else { continue }
      guard let links = try? self.links(of: id, name) else {
        if wanted[name] != nil { blame(id, "a file '\(name)' that is no network namespace") }
        continue
      }
      guard
        let owner = links.first(where: { $0.flags.contains(.loopback) }).flatMap(
          Ownership.owner(ofNamespaceWith:))
      else {
        if wanted[name] != nil { blame(id, "network namespace '\(name)', which no lab has marked") }
        kernel.session.namespaces[id] = nil
        continue
      }
      guard owner.lab == kernel.lab, owner.namespace == id else {
        if wanted[name] != nil { blame(id, "network namespace '\(name)' of lab '\(owner.lab)'") }
        kernel.session.namespaces[id] = nil
        continue
      }
      present.insert(id)
      if scope.namespaces?.contains(id) != false { found.append((id, links)) }
    }
    // Whoever was removed by hand is not held any longer.
    for id in kernel.session.namespaces.keys where id != .host && !present.contains(id) {
      kernel.session.namespaces[id] = nil
    }
  }

  private mutating func blame(_ id: NamespaceID, _ detail: String) {
    foreign.append(ForeignObject(path: StatePath(id), detail: detail))
  }

  static func namespace(named name: String, prefix: String) -> NamespaceID? {
    let rest = name.dropFirst(prefix.count)
    return rest == "-sw" ? .switch : NodeName(String(rest)).map { .node($0) }
  }

  /// The devices of a namespace. One that has been replaced by hand since it was opened is opened anew.
  private func links(of id: NamespaceID, _ name: String) throws(TransportError) -> [LinkMessage] {
    if let known = kernel.session.namespaces[id] {
      var status = stat()
      let isSame =
        stat(kernel.thread.directory.path(of: name), &status) == 0
        && UInt64(status.st_ino) == known.namespace.identity.inode
      if !isSame { kernel.session.namespaces[id] = nil }
    }
    return try kernel.channel(to: id).allLinks()
  }

  // MARK: Reading

  private func read(_ id: NamespaceID, _ links: [LinkMessage]) throws(TransportError) -> ReadNamespace {
    let tables: [NftTableKey]? = id == .host ? Self.hostTables(kernel.lab) : nil
    let dump = try NamespaceDump(
      reading: kernel.channel(to: id), links: links, sysctls: scope.sysctls[id] ?? [], nftTables: tables)
    return ReadNamespace(id: id, dump: dump)
  }

  /// On the host, nobody else's tables are of interest.
  private static func hostTables(_ lab: LabName) -> [NftTableKey] {
    NftFamily.allCases.map { NftTableKey(family: $0, name: Ownership(lab: lab).nftTableName) }
  }

  /// Finds out which namespaces the numbers in devices' states mean. Each pair tells both ends: whoever has learned
  /// where a device's other end is need not ask from there.
  private func identify(_ namespaces: inout [ReadNamespace]) throws(TransportError) {
    var positions: [NamespaceID: Int] = [:]
    var handles = [(id: NamespaceID.host, handle: try kernel.channel(to: .host).handle)]
    for (position, namespace) in namespaces.enumerated() {
      positions[namespace.id] = position
      if namespace.id != .host { handles.append((namespace.id, try kernel.channel(to: namespace.id).handle)) }
    }
    let foreign = namespaces.map { ReadNamespace.foreignIdentifiers(in: $0.dump.links) }
    let order = namespaces.indices.sorted { foreign[$0].count > foreign[$1].count }
    var links: [Int: [Int32: LinkMessage]] = [:]
    for position in order {
      let unknown = foreign[position].subtracting(namespaces[position].identifiers.keys)
      if !unknown.isEmpty {
        let all = try kernel.channel(to: namespaces[position].id).identifiers(of: handles)
        namespaces[position].identifiers.merge(all) { first, _ in first }
      }
      for link in namespaces[position].dump.links {
        guard case .veth = link.kind, let identifier = link.linkNamespaceID, let peer = link.lowerIndex,
          let other = namespaces[position].identifiers[identifier], let place = positions[other]
        else { continue }
        if links[place] == nil {
          links[place] = Dictionary(
            namespaces[place].dump.links.map { ($0.index, $0) }, uniquingKeysWith: { first, _ in first })
        }
        if let back = links[place]?[peer]?.linkNamespaceID, back >= 0 {
          namespaces[place].identifiers[back] = namespaces[position].id
        }
      }
    }
  }

  // MARK: The host

  /// Reads the host's namespace when the lab has, or wants, something there.
  private mutating func findHost() throws(TransportError) {
    let wantsHost = scope.claims.contains { $0.namespace == .host } || scope.sysctls[.host]?.isEmpty == false
    let links = try kernel.channel(to: .host).allLinks()
    hostLinks = links
    guard scope.namespaces?.contains(.host) != false else { return }
    guard wantsHost || links.contains(where: decoder.ownership.ownsHostDevice) else { return }
    found.append((.host, links))
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
