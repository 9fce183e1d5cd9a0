// SPDX-License-Identifier: GPL-2.0-or-later

// How much waits in a socket's queues (tcp_ioctl, tcp_inq, tcp_inq_hint, udp_ioctl).

/// How many bytes wait.
public struct SocketQueues: Hashable, Sendable {
  /// SIOCINQ: those that can be read before an urgent byte or the end; of a datagram socket the next message's.
  public var received: Int
  /// TCP_CM_INQ: the same with a byte for the end of the stream, so that its reader goes on.
  public var hint: Int
  /// SIOCOUTQ: those that are not acknowledged.
  public var unacknowledged: Int
  /// SIOCOUTQNSD: those that were never sent.
  public var unsent: Int
}

extension Kernel {
  /// What waits in a socket's queues. EINVAL: it listens.
  public mutating func queues(of index: SocketIndex) throws(KernelError) -> SocketQueues {
    guard isOpen(index) else { throw .badDescriptor }
    guard sockets[index].kind.isStream else {
      let next = sockets[index].receiveQueue.count > 0 ? try peek(index, limit: 0) { _ in }.length : 0
      return SocketQueues(
        received: next, hint: next, unacknowledged: pool.writers.charged(to: index.rawValue), unsent: 0)
    }
    let tcp = sockets[index].tcp
    guard tcps[tcp].state != .listen else { throw .invalidArgument }
    let isOpening = tcps[tcp].state == .synSent || tcps[tcp].state == .synReceived
    let there = isOpening ? 0 : Int(tcps[tcp].receiveNext &- tcps[tcp].copied)
    var received = there > 0 && tcps[tcp].isDone ? there - 1 : there
    if !tcps[tcp].urgent.isNone, !sockets[index].options.urgentInline {
      let urgent = Int(Int32(bitPattern: tcps[tcp].urgent.sequence &- tcps[tcp].copied))
      if (0..<there).contains(urgent) { received = urgent }
    }
    return SocketQueues(
      received: received, hint: there == 0 && tcps[tcp].isDone ? 1 : there,
      unacknowledged: tcps[tcp].unacknowledged.count, unsent: tcps[tcp].unsentBytes)
  }
}
