// SPDX-License-Identifier: GPL-2.0-or-later

// The stand-in for the host's network in a lab whose user may change nothing there: a namespace of the lab's own kernel that
// gets what the plan has for the host, the internet's device with its address, the setting and the table, so that
// plans and drift are as everywhere. Beside that every address outside is local to it (AnyIP), for the sockets of a
// `HostGateway`. Nothing of it is the lab's, and it goes with the lab's process.

import LabCore
import LinuxObjects
import NetStack
import NetTypes
import Rtnetlink

extension EmulatedMachine {
  /// Makes the stand-in where it is not there yet.
  func makeStandIn() throws(DatapathError) {
    guard !kernels.contains(where: { $0.namespaces[.host] != nil }) else { return }
    do throws(NamespaceFailure) {
      try makeNamespaces([NewNamespace(id: .host, marks: Ownership(lab: lab).marks(for: .host))])
    } catch {
      throw DatapathError(
        .refused, operation: "make a stand-in for the host's network", errno: error.error.errno,
        cause: error.error.cause)
    }
  }

  /// Joins pairs whose other ends are in the stand-in, and has every address beyond their subnets be the stand-in's.
  func openGateways() throws(DatapathError) {
    for kernel in kernels {
      for (position, edge) in kernel.edges.all.enumerated() where edge.isPair {
        do throws(TransportError) { try open(edge, at: position, of: kernel) } catch {
          throw DatapathError(
            .refused, operation: "join the stand-in for the host's network", path: edge.link.path,
            errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
        }
      }
    }
  }

  private func open(_ edge: HostEdge, at position: Int, of kernel: EmulatedKernel) throws(TransportError) {
    guard let namespace = kernel.namespaces[.host],
      let device = kernel.stack.device(edge.tap.text, in: namespace),
      let ifindex = kernel.stack.index(of: edge.tap.text, in: namespace)
    else { return }
    let gateway: HostGateway
    if case .gateway(let standing) = edge.wire, standing.device == device {
      gateway = standing
    } else {
      gateway = try HostGateway(device, in: namespace)
      kernel.edges.set(.gateway(gateway), at: position)
      do throws(KernelError) {
        for end in [edge.device, device] { try kernel.stack.setLink(true, of: end) }
      } catch {
        throw TransportError(error)
      }
    }
    let channel = try channel(to: .host)
    let addresses = try channel.dump(AddressMessage.dump(.ipv4)).lazy.compactMap { try? AddressMessage($0) }
    guard
      let prefix = addresses.first(where: {
        $0.index == ifindex && $0.protocolNumber == Ownership.routeProtocol
      })?.prefix, gateway.subnet != prefix.network
    else { return }
    gateway.subnet = prefix.network
    var outside = RouteMessage(family: .ipv4)
    outside.table = RouteMessage.localTable
    outside.type = .local
    outside.scope = .host
    outside.outputIndex = 1
    // More specific than the one above, so that nodes are not the stand-in itself.
    var nodes = RouteMessage(family: .ipv4)
    nodes.destination = prefix.network
    nodes.table = RouteMessage.localTable
    nodes.type = .unicast
    nodes.scope = .link
    nodes.outputIndex = ifindex
    for refusal in try channel.transact([
      nodes.request(.createOrReplace), outside.request(.createOrReplace),
    ]) {
      if let refusal { throw refusal }
    }
  }
}
