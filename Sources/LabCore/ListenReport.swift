// SPDX-License-Identifier: GPL-2.0-or-later

// A TCP listener's two queues, put together from a namespace's list of sockets: the kernel lists what waits in SYN queues
// beside the listeners, not with them (net/ipv4/inet_diag.c).

import NetTypes

/// What waits at a TCP listener.
public struct ListenReport: Hashable, Codable, Sendable {
  public var local: SocketReport.Name
  /// IPV6_V6ONLY: an unspecified IPv6 address does not mean IPv4's as well.
  public var isV6Only: Bool
  /// Connections whose handshake is not complete.
  public var synQueue: UInt32
  /// Connections that nobody has accepted.
  public var acceptQueue: UInt32
  /// What either queue may hold, `listen(backlog)` within `somaxconn`.
  public var backlog: UInt32
  /// Handshakes that one of the queues did not take (`sk_drops`); nil where the kernel does not tell.
  public var drops: UInt32?

  /// The listeners among a namespace's sockets, in their order.
  public static func listeners(among sockets: [SocketReport]) -> [ListenReport] {
    let listeners = sockets.filter { $0.kind == .tcp && $0.state == "LISTEN" }
    var reports = listeners.map {
      ListenReport(
        local: $0.local, isV6Only: $0.isV6Only, synQueue: 0, acceptQueue: $0.receiveQueue,
        backlog: $0.sendQueue,
        drops: $0.memory?.drops)
    }
    for request in sockets where request.kind == .tcp && request.state == "SYN-RECV" {
      // Who listens on the address itself comes before who listens on all.
      let place =
        listeners.firstIndex {
          $0.local.port == request.local.port && $0.local.address == request.local.address
        }
        ?? listeners.firstIndex { $0.takesAny(at: request.local) }
      if let place { reports[place].synQueue += 1 }
    }
    return reports
  }
}

extension SocketReport {
  /// Whether it listens on all addresses of the family that the name is of.
  fileprivate func takesAny(at name: Name) -> Bool {
    guard local.port == name.port, local.address.isUnspecified else { return false }
    return local.address.family == name.address.family || (local.address.family == .ipv6 && !isV6Only)
  }
}
