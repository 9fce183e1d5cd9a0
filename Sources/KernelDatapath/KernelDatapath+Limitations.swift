// SPDX-License-Identifier: GPL-2.0-or-later

// What cannot be done here for a lab, said before anything is changed.

import Glibc
public import LabCore
import LinuxObjects
import Netlink
import Nftables
import Synchronization

extension KernelDatapath {
  public func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    let needs = Feature.needs(of: desired)
    let isMachine = site.isMachine
    return try await perform(on: desired.lab, "check lab '\(desired.lab)'") {
      (kernel) throws(DatapathError) in
      do throws(TransportError) {
        // A lab that stands has shown that its kernel makes pairs and bridges.
        let stands = desired.namespaces.contains { space in
          space.id.netnsName(in: desired.lab).map { self.directory.contains($0) } ?? false
        }
        var result: [Limitation] = []
        for need in needs where !stands || ![.bridge, .veth].contains(need.feature) {
          if try self.has(need.feature, kernel.scratch()) { continue }
          result.append(
            Limitation(
              path: need.path, cause: "the kernel has no \(need.feature.name)", remedy: need.feature.remedy))
        }
        for space in desired.namespaces {
          for link in space.links {
            guard case .tuntap(let device) = link.kind, let tap = device.hostTap else { continue }
            result.append(
              Limitation(
                path: StateObject.link(link).path(in: space.id),
                cause: "only the emulated datapath carries what passes \(tap), a tap of the host",
                remedy: "use --datapath emulated, or Uplink(.veth())"))
          }
        }
        if !isMachine, let host = desired[.host], let object = host.objects.dropFirst().first {
          result.append(
            Limitation(
              path: object.path(in: .host), cause: "a rootless lab has no way into the host's network",
              remedy: "run as root, or leave out uplinks and lab.internet"))
        }
        if !isMachine,
          let (node, port) = runtime.nodes.lazy.compactMap({ node in
            node.hostPorts.first.map { (node.node, $0) }
          }).first
        {
          result.append(
            Limitation(
              path: StatePath(.node(node)), location: port.location,
              cause: "the process of a rootless lab has a network of its own, without the host's ports",
              remedy: "run as root, use --datapath emulated, or leave out Publish(host:)"))
        }
        return try result + Self.refusedTables(of: desired, kernel)
      } catch {
        let isPermission = error.errno == EPERM || error.errno == EACCES
        throw DatapathError(
          isPermission ? .permission : .unavailable, operation: "make a network namespace",
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause,
          remedy: isPermission ? Privilege.remedy : "use --datapath emulated")
      }
    }
  }

  /// Whether the kernel has a feature, tried once.
  func has(_ feature: Feature, _ scratch: HostChannel) throws(TransportError) -> Bool {
    if let known = capabilities.withLock({ $0[feature] }) { return known }
    let answer = try feature.probe(in: scratch)
    capabilities.withLock { $0[feature] = answer }
    return answer
  }

  /// Tables with something in them that this kernel's nftables does not know.
  private static func refusedTables(
    of desired: LabState, _ kernel: HostKernel
  ) throws(TransportError) -> [Limitation] {
    var result: [Limitation] = []
    for namespace in desired.namespaces {
      // A netdev chain names a device that an empty namespace does not have.
      for table in namespace.tables where table.family != .netdev {
        let scratch = try kernel.scratch()
        do throws(NftRefusal) {
          // Nor has it those of a flowtable, which can do without.
          var table = table.sample
          for index in table.flowtables.indices { table.flowtables[index].devices = [] }
          try scratch.commit(table.creation, dryRun: true)
        } catch {
          // Only what is absent from the kernel is a limitation; mistakes are found when the change is checked.
          guard [ENOENT, EOPNOTSUPP, EPROTONOSUPPORT, EAFNOSUPPORT].contains(error.error.errno) else {
            continue
          }
          result.append(
            Limitation(
              path: StatePath(namespace.id, .nftTable, key: [table.key.description]),
              cause: "the kernel's nftables does not take the table: \(error.error.cause)",
              remedy: "use a kernel with the missing module, or --datapath emulated"))
        }
      }
    }
    return result
  }
}
