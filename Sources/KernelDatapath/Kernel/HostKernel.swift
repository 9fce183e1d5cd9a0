// SPDX-License-Identifier: GPL-2.0-or-later

// The host's kernel as one lab sees it: the namespaces of the lab, open or to be opened.

import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Rtnetlink
import Synchronization
import SystemPackage

/// What stays open of a lab between two calls.
struct LabSession: Sendable {
  var namespaces: [NamespaceID: OpenNamespace] = [:]
  var tables: [NamespaceID: LinkTable] = [:]
}

/// A namespace to try things in. It stays as long as the process: while the kernel takes a namespace apart, it keeps
/// everybody else from changing devices.
final class Scratchpad: Sendable {
  let namespace = Mutex<OpenNamespace?>(nil)
}

/// The kernel for one lab, during one piece of work.
final class HostKernel: LabKernel {
  let lab: LabName
  let thread: HostThread
  let crew: Crew
  let host: KernelNamespace
  var session: LabSession
  private let initial = InitialSettings()
  /// Made during this piece of work.
  private var made: Set<NamespaceID> = []
  private let scratchpad: Scratchpad

  init(
    lab: LabName, thread: HostThread, crew: Crew, host: KernelNamespace, scratchpad: Scratchpad,
    session: LabSession
  ) {
    self.scratchpad = scratchpad
    self.crew = crew
    self.lab = lab
    self.thread = thread
    self.host = host
    self.session = session
  }

  func channel(to namespace: NamespaceID) throws(TransportError) -> HostChannel {
    HostChannel(try open(namespace), thread, initial: made.contains(namespace) ? initial : nil)
  }

  func open(_ id: NamespaceID) throws(TransportError) -> OpenNamespace {
    if let known = session.namespaces[id] { return known }
    let namespace: KernelNamespace
    if let name = id.netnsName(in: lab) {
      do throws(NetlinkError) { namespace = try thread.directory.open(name) } catch {
        throw TransportError(error)
      }
    } else {
      namespace = host
    }
    let open = try thread.open(namespace)
    session.namespaces[id] = open
    return open
  }

  func scratch() throws(TransportError) -> HostChannel {
    if let known = scratchpad.namespace.withLock({ $0 }) { return HostChannel(known, thread) }
    let made = try thread.makeNamespace(label: "to try things")
    scratchpad.namespace.withLock { $0 = made }
    return HostChannel(made, thread)
  }

  func makeNamespaces(_ namespaces: [NewNamespace]) throws(NamespaceFailure) {
    do throws(NetlinkError) { try thread.directory.prepare() } catch {
      throw NamespaceFailure(namespace: namespaces.first?.id ?? .switch, error: TransportError(error))
    }
    let names = namespaces.compactMap { new in
      new.id.netnsName(in: lab).map { (new: new, name: $0) }
    }
    let outcome = crew.share(names, with: thread) { (item, thread) throws(NamespaceFailure) in
      do throws(TransportError) { return try Self.make(item.new, item.name, thread) } catch {
        throw NamespaceFailure(namespace: item.new.id, error: error)
      }
    }
    // Those that were made are known, whatever became of the others.
    for (item, open) in zip(names, outcome.values) {
      guard let open else { continue }
      session.namespaces[item.new.id] = open
      made.insert(item.new.id)
    }
    if let failure = outcome.failure { throw failure }
  }

  /// The namespace is marked before it has a name: whoever finds it knows whose it is.
  private static func make(
    _ new: NewNamespace, _ name: String, _ thread: HostThread
  ) throws(TransportError) -> OpenNamespace {
    try thread.refuse(.makeNamespace(name))
    guard !thread.directory.contains(name) else {
      throw TransportError(errno: EEXIST, text: "a network namespace '\(name)' is there already")
    }
    let open = try thread.makeNamespace(label: name)
    for outcome in try HostChannel(open, thread).transact(new.marks) {
      if let outcome { throw outcome }
    }
    try keepBridgesApart(open, thread)
    try thread.name(name)
    return open
  }

  /// Where br_netfilter is loaded, a bridge of a new namespace shows what it forwards to the rules of IP; those of a lab
  /// are for what is routed. In the namespace itself: the module's settings are each namespace's own since 5.3.
  private static func keepBridgesApart(
    _ open: OpenNamespace, _ thread: HostThread
  ) throws(TransportError) {
    try thread.enter(open.namespace)
    for family in ["ip", "ip6", "arp"] {
      do throws(NetlinkError) {
        try thread.visitor.writeSysctl("net/bridge/bridge-nf-call-\(family)tables", "0")
      } catch {
        if error.errno == .noSuchFileOrDirectory { return }
        throw TransportError(error)
      }
    }
  }

  func withChannels<Failure: Error>(
    to namespaces: [NamespaceID],
    _ body: @Sendable @escaping (NamespaceID, HostChannel) throws(Failure) -> Void,
    unreachable: @Sendable @escaping (NamespaceID, TransportError) -> Failure
  ) throws(Failure) {
    var places: [(id: NamespaceID, open: OpenNamespace, initial: InitialSettings?)] = []
    for id in namespaces {
      do throws(TransportError) {
        places.append((id, try open(id), made.contains(id) ? initial : nil))
      } catch {
        throw unreachable(id, error)
      }
    }
    let outcome = crew.share(places, with: thread) { (place, thread) throws(Failure) in
      try body(place.id, HostChannel(place.open, thread, initial: place.initial))
    }
    if let failure = outcome.failure { throw failure }
  }

  func removeNamespaces(_ namespaces: [NamespaceID]) throws(NamespaceFailure) {
    try clear(namespaces)
    try drop(namespaces)
  }

  /// Takes the names of namespaces away, which then go with all that is in them.
  func drop(_ namespaces: [NamespaceID]) throws(NamespaceFailure) {
    // A namespace lives as long as a descriptor or a socket of ours does.
    for id in namespaces {
      session.namespaces[id] = nil
      made.remove(id)
    }
    for id in namespaces {
      guard let name = id.netnsName(in: lab) else { continue }
      do throws(TransportError) {
        try thread.refuse(.removeNamespace(name))
        try thread.unname(name)
      } catch {
        throw NamespaceFailure(namespace: id, error: error)
      }
    }
  }

  /// Gives the host's own devices back to it.
  func giveBack(_ links: [LinkMessage], _ channel: HostChannel) throws(TransportError) {
    let ownership = Ownership(lab: lab)
    let borrowed = links.filter(ownership.isBorrowed)
    guard !borrowed.isEmpty else { return }
    let host = try self.channel(to: .host).handle
    let refusals = try channel.transact(borrowed.flatMap { Ownership.giving(back: $0, to: host) })
    if let refusal = refusals.compactMap({ $0 }).first { throw refusal }
  }

  /// Makes namespaces ready to go: the host's devices go home, and pairs that reach into other namespaces of the lab
  /// are deleted. The kernel would do that too, when it finds the time, and until then their names are taken.
  private func clear(_ doomed: [NamespaceID]) throws(NamespaceFailure) {
    let survivors = session.namespaces.keys.filter { !doomed.contains($0) }.sorted()
    var ends: [NamespaceID: [Int32]] = [:]
    for id in doomed {
      do throws(TransportError) {
        let channel = try channel(to: id)
        let links = try channel.allLinks()
        try giveBack(links, channel)
        let pairs = links.filter { link in
          if case .veth = link.kind {
            link.linkNamespaceID != nil && !Ownership(lab: lab).isBorrowed(link)
          } else {
            false
          }
        }
        guard !pairs.isEmpty, !survivors.isEmpty else { continue }
        var handles: [(id: NamespaceID, handle: Int32)] = []
        for survivor in survivors { handles.append((survivor, try self.channel(to: survivor).handle)) }
        let known = try channel.identifiers(of: handles)
        for pair in pairs {
          guard let place = pair.linkNamespaceID.flatMap({ known[$0] }), let index = pair.lowerIndex else {
            continue
          }
          ends[place, default: []].append(index)
        }
      } catch {
        // What is not there any more needs no care.
        guard error.errno != ENOENT else { continue }
        throw NamespaceFailure(namespace: id, error: error)
      }
    }
    for (place, indices) in ends.sorted(by: { $0.key < $1.key }) {
      do throws(TransportError) {
        let refusals = try channel(to: place).transact(Ownership(lab: lab).deletion(of: indices))
        if let refusal = refusals.compactMap({ $0 }).first { throw refusal }
      } catch {
        throw NamespaceFailure(namespace: place, error: error)
      }
    }
  }
}
