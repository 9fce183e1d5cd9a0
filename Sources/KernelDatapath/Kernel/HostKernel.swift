// SPDX-License-Identifier: GPL-2.0-or-later

// The host's kernel as one lab sees it: the namespaces of the lab, open or to be opened.

import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Rtnetlink

/// What stays open of a lab between two calls.
struct LabSession: Sendable {
  var namespaces: [NamespaceID: OpenNamespace] = [:]
  var tables: [NamespaceID: LinkTable] = [:]
}

/// The kernel for one lab, during one piece of work.
final class HostKernel: LabKernel {
  let lab: LabName
  let thread: HostThread
  let host: KernelNamespace
  var session: LabSession

  init(lab: LabName, thread: HostThread, host: KernelNamespace, session: LabSession) {
    self.lab = lab
    self.thread = thread
    self.host = host
    self.session = session
  }

  func channel(to namespace: NamespaceID) throws(TransportError) -> HostChannel {
    HostChannel(try open(namespace), thread)
  }

  func open(_ id: NamespaceID) throws(TransportError) -> OpenNamespace {
    if let known = session.namespaces[id] { return known }
    let namespace: KernelNamespace
    if let name = id.netnsName(in: lab) {
      do throws(NetlinkError) { namespace = try thread.directory.open(name) } catch { throw TransportError(error) }
    } else {
      namespace = host
    }
    let open = try thread.open(namespace)
    session.namespaces[id] = open
    return open
  }

  func scratch() throws(TransportError) -> HostChannel {
    HostChannel(try thread.makeNamespace(label: "\(lab), to try things"), thread)
  }

  func makeNamespaces(_ namespaces: [NewNamespace]) throws(NamespaceFailure) {
    do throws(NetlinkError) { try thread.directory.prepare() } catch {
      throw NamespaceFailure(namespace: namespaces.first?.id ?? .switch, error: TransportError(error))
    }
    for new in namespaces {
      do throws(TransportError) { try make(new) } catch { throw NamespaceFailure(namespace: new.id, error: error) }
    }
  }

  /// The namespace is marked before it has a name: whoever finds it knows whose it is.
  private func make(_ new: NewNamespace) throws(TransportError) {
    guard let name = new.id.netnsName(in: lab) else { return }
    try thread.refuse(.makeNamespace(name))
    guard !thread.directory.contains(name) else {
      throw TransportError(errno: EEXIST, text: "a network namespace '\(name)' is there already")
    }
    let open = try thread.makeNamespace(label: name)
    for outcome in try HostChannel(open, thread).transact(new.marks) {
      if let outcome { throw outcome }
    }
    try thread.name(name)
    session.namespaces[new.id] = open
  }

  func removeNamespaces(_ namespaces: [NamespaceID]) throws(NamespaceFailure) {
    // A namespace lives as long as a descriptor or a socket of ours does.
    for id in namespaces { session.namespaces[id] = nil }
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
}
