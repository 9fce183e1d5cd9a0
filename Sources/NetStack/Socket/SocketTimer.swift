// SPDX-License-Identifier: GPL-2.0-or-later

// What runs for a socket, as a list shows it (`ss -o`; net/ipv4/inet_diag.c inet_sk_diag_fill, inet_twsk_diag_fill,
// inet_req_diag_fill): of several timers the one that the kernel tells.

public import NetTypes

/// A timer of a socket.
public struct SocketTimer: Hashable, Sendable {
  /// What it is for.
  public enum Purpose: Hashable, Sendable {
    /// Something is sent again when it expires, or the end of a flight, or what seems lost.
    case retransmission
    /// A closed window is asked about.
    case windowProbe
    /// Keepalive, or a state that time ends.
    case keepalive
    case timeWait
  }

  public var purpose: Purpose
  /// How long until it expires; nothing when it is due.
  public var expires: Interval
  /// How often it has expired in vain.
  public var retransmits: Int
}

/// A connection whose handshake is not complete, of the SYN queue.
public struct ConnectionRequest: Hashable, Sendable {
  /// The listener that it waits at.
  public var listener: SocketIndex
  public var local: SocketAddress
  public var peer: SocketAddress
  public var timer: SocketTimer?
}

extension Kernel {
  /// What runs for a socket, nil while nothing does.
  func timer(of socket: SocketIndex) -> SocketTimer? {
    let (place, tcp) = (sockets[socket].timeWait, sockets[socket].tcp)
    guard place.isNone else {
      return timer(.timeWait, at: cpu.wheel.deadline(of: timeWaits[place].timer), retransmits: 0)
    }
    guard !tcp.isNone else { return nil }
    switch tcps[tcp].pending {
    case .retransmit, .lossProbe, .reorder:
      return timer(.retransmission, at: tcps[tcp].deadline, retransmits: tcps[tcp].retransmits)
    case .probe: return timer(.windowProbe, at: tcps[tcp].deadline, retransmits: tcps[tcp].probes)
    case .none: break
    }
    let (state, keepalive) = (tcps[tcp].stateTimer, tcps[tcp].keepaliveTimer)
    let deadlines = [cpu.wheel.deadline(of: state), cpu.wheel.deadline(of: keepalive)].compactMap { $0 }
    // FIN-WAIT-2 that counts as TIME-WAIT is told as such (tcp_time_wait).
    let purpose: SocketTimer.Purpose = tcps[tcp].isCountedWaiting ? .timeWait : .keepalive
    return timer(purpose, at: deadlines.min(), retransmits: tcps[tcp].probes)
  }

  /// The SYN queues of a namespace's listeners, oldest first.
  public func connectionRequests(in namespace: NamespaceIndex) -> [ConnectionRequest] {
    guard namespaces.contains(namespace) else { return [] }
    return sockets(in: namespace).filter { $0.state == .listen }.flatMap { listener in
      tcps[sockets[listener.socket].tcp].requests.map { index in
        let request = requests[index]
        return ConnectionRequest(
          listener: listener.socket, local: request.local, peer: request.remote,
          timer: timer(
            .retransmission, at: cpu.wheel.deadline(of: request.timer), retransmits: request.retransmits))
      }
    }
  }

  private func timer(_ purpose: SocketTimer.Purpose, at deadline: Int64?, retransmits: Int) -> SocketTimer? {
    deadline.map {
      SocketTimer(
        purpose: purpose, expires: Interval(nanoseconds: max(0, $0 - cpu.now)), retransmits: retransmits)
    }
  }
}
