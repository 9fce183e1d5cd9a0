// SPDX-License-Identifier: GPL-2.0-or-later

// A neighbour that does not answer may be behind a tunnel: then the tunnel's ends are looked at, both ways.

import LabCore
import NetTypes

extension PacketTracer {
  /// What is wrong with a tunnel that the segment of a device goes through; nil where there is none or it is as it should be.
  func brokenTunnel(behind link: LinkReference) -> String? {
    for near in ends(behind: link) {
      guard let remote = near.tunnel.remote, !remote.isMulticast else { continue }
      guard let far = end(at: remote, of: near) else { return words(remote, near) }
      guard let back = far.tunnel.remote, !back.isMulticast, end(at: back, of: far) == nil else { continue }
      return words(back, far)
    }
    return nil
  }

  private struct TunnelEnd {
    var link: LinkReference
    var tunnel: VXLANState
  }

  private func words(_ remote: IPAddress, _ end: TunnelEnd) -> String {
    "no tunnel \(end.tunnel.id) ends at \(remote), the remote of \(points.name(of: end.link))"
      + resolution.line(of: end.link.path)
  }

  /// The other end of a tunnel, if there is one at this address.
  private func end(at address: IPAddress, of end: TunnelEnd) -> TunnelEnd? {
    for space in resolution.state.namespaces
    where space.addresses.contains(where: { $0.prefix.address == address }) {
      for link in space.links {
        guard case .vxlan(let tunnel) = link.kind, tunnel.id == end.tunnel.id, tunnel.port == end.tunnel.port
        else { continue }
        return TunnelEnd(link: LinkReference(space.id, link.name), tunnel: tunnel)
      }
    }
    return nil
  }

  /// The tunnels' ends on the segment of a device: through pairs, and from port to port of bridges.
  private func ends(behind link: LinkReference) -> [TunnelEnd] {
    var found: [TunnelEnd] = []
    var seen: Set<LinkReference> = [link]
    var open = [link]
    while let reference = open.popLast() {
      guard let space = resolution.state[reference.namespace],
        let link = space.links.first(where: { $0.name == reference.name })
      else { continue }
      var next: [LinkReference] = []
      switch link.kind {
      case .vxlan(let tunnel): found.append(TunnelEnd(link: reference, tunnel: tunnel))
      case .veth(let peer): next = peer.map { [$0] } ?? []
      default: break
      }
      // A bridge's ports, and from a port the bridge with the others.
      let bridge = link.master ?? link.name
      next += space.links.filter { $0.master == bridge }.map { LinkReference(reference.namespace, $0.name) }
      for reference in next where seen.insert(reference).inserted { open.append(reference) }
    }
    return found
  }
}
