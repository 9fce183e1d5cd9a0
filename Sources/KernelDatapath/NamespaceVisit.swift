// SPDX-License-Identifier: GPL-2.0-or-later

// One namespace of a lab as a survey finds it: whose it is, by the marks on its `lo`, and all that is in it. Nothing
// of it relies on another namespace, so that several threads can be on visits at a time.

import Glibc
import LabCore
import LinuxObjects
import Netlink
import Rtnetlink

/// How the namespaces of a lab are read.
struct NamespaceVisit: Sendable {
  let lab: LabName
  let scope: Scope

  /// A name among those of namespaces, and the namespace that the lab may have behind it.
  struct Place: Sendable {
    var id: NamespaceID
    var name: String
    /// As it was opened before.
    var known: OpenNamespace?
  }

  enum Finding: Sendable {
    /// The lab's; read when the scope asks for it.
    case ours(OpenNamespace, ReadNamespace?)
    /// What stands there instead.
    case others(String)
  }

  func run(_ place: Place, _ thread: HostThread) throws(TransportError) -> Finding {
    let name = place.name
    guard let open = try? open(place, thread), let links = try? HostChannel(open, thread).allLinks() else {
      return .others("a file '\(name)' that is no network namespace")
    }
    guard
      let owner = links.first(where: { $0.flags.contains(.loopback) }).flatMap(
        Ownership.owner(ofNamespaceWith:))
    else {
      return .others("network namespace '\(name)', which no lab has marked")
    }
    guard owner.lab == lab, owner.namespace == place.id else {
      return .others("network namespace '\(name)' of lab '\(owner.lab)'")
    }
    guard scope.namespaces?.contains(place.id) != false else { return .ours(open, nil) }
    let dump = try NamespaceDump(
      NamespaceAnswers(
        reading: HostChannel(open, thread), links: links, sysctls: (scope.sysctls[place.id] ?? []).sorted(),
        nftTables: nil))
    return .ours(open, ReadNamespace(id: place.id, dump: dump))
  }

  /// One that has been replaced by hand since it was opened is opened anew.
  private func open(_ place: Place, _ thread: HostThread) throws(TransportError) -> OpenNamespace {
    if let known = place.known {
      var status = stat()
      if stat(thread.directory.path(of: place.name), &status) == 0,
        UInt64(status.st_ino) == known.namespace.identity.inode
      {
        return known
      }
    }
    let namespace: KernelNamespace
    do throws(NetlinkError) { namespace = try thread.directory.open(place.name) } catch {
      throw TransportError(error)
    }
    return try thread.open(namespace)
  }
}
