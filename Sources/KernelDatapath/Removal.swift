// SPDX-License-Identifier: GPL-2.0-or-later

// Takes a lab away in bulk: what it has on the host by one message for all, namespaces by their names, which the kernel
// then cleans up together. A device at a time would cost 17 ms each.

import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import Rtnetlink

/// The removal of one lab.
struct Removal {
  private let kernel: HostKernel
  private let ownership: Ownership

  /// How long the kernel may take to clean up behind namespaces.
  private static let patience = Interval.seconds(30)

  init(_ kernel: HostKernel) {
    self.kernel = kernel
    ownership = Ownership(lab: kernel.lab)
  }

  mutating func run() throws(DatapathError) {
    do throws(TransportError) {
      let namespaces = try ownNamespaces()
      try removeHostTables()
      try removeHostDevices()
      do throws(NamespaceFailure) { try kernel.drop(namespaces) } catch { throw error.error }
      kernel.session = LabSession()
      try awaitDevices()
    } catch {
      let isPermission = error.errno == EPERM || error.errno == EACCES
      throw DatapathError(
        isPermission ? .permission : error.errno == ETIMEDOUT ? .timeout : .refused,
        operation: "remove lab '\(kernel.lab)'", errno: error.errno == 0 ? nil : error.errno,
        cause: error.cause,
        remedy: isPermission ? Privilege.remedy : nil)
    }
  }

  /// The lab's namespaces; devices of the host in them are given back on the way.
  private func ownNamespaces() throws(TransportError) -> [NamespaceID] {
    let names: [String]
    do throws(NetlinkError) { names = try kernel.thread.directory.names() } catch {
      throw TransportError(error)
    }
    let prefix = "\(kernel.lab)-"
    var result: [NamespaceID] = []
    for name in names where name.hasPrefix(prefix) {
      // A file with such a name that is no namespace, or another's namespace, is not ours to remove.
      guard let id = Survey.namespace(named: name, prefix: prefix), let channel = try? kernel.channel(to: id),
        let links = try? channel.allLinks(),
        let owner = links.first(where: { $0.flags.contains(.loopback) }).flatMap(
          Ownership.owner(ofNamespaceWith:)),
        owner.lab == kernel.lab, owner.namespace == id
      else { continue }
      try kernel.giveBack(links, channel)
      result.append(id)
    }
    return result
  }

  // MARK: The host

  private func removeHostTables() throws(TransportError) {
    let channel = try kernel.channel(to: .host)
    let tables = try channel.nftables(nil).tables.filter { $0.name == ownership.nftTableName }
    guard !tables.isEmpty else { return }
    do throws(NftRefusal) {
      try channel.commit(tables.map { .deleteTable($0.key) }, dryRun: false)
    } catch {
      throw error.error
    }
  }

  private func hostDevices() throws(TransportError) -> [LinkMessage] {
    try kernel.channel(to: .host).allLinks().filter { ownership.ownsHostDevice($0) }
  }

  /// Every device was looked at before: a group takes all that are in it.
  private func removeHostDevices() throws(TransportError) {
    let devices = try hostDevices()
    guard !devices.isEmpty else { return }
    let channel = try kernel.channel(to: .host)
    let messages = ownership.deletion(of: devices.map(\.index))
    let refusals = try channel.transact(messages)
    if let refusal = refusals.compactMap({ $0 }).first { throw refusal }
  }

  /// The kernel takes namespaces apart when it finds the time; ends of pairs on the host stay until then.
  private func awaitDevices() throws(TransportError) {
    let clock = MonotonicClock()
    let deadline = clock.now() + Self.patience
    while try !hostDevices().isEmpty {
      guard clock.now() < deadline else {
        throw TransportError(errno: ETIMEDOUT, text: "the kernel has not cleaned up behind the namespaces")
      }
      usleep(2000)
    }
  }
}
