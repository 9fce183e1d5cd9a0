// SPDX-License-Identifier: GPL-2.0-or-later

// Where all packets are. Every packet that was begun has ended or is held by somebody; who holds them is found by
// walking, not by counting along, so that a packet that was lost or ended twice shows.

extension Kernel {
  /// Visits every packet that somebody holds between polls. A stage that gets a new place to keep packets in adds it.
  func forEachHeld(_ body: (Slot) -> Void) {
    for index in devices.indices {
      devices[index].ring.forEach(body)
    }
    for nic in nics.indices {
      for queue in nics[nic].queues.indices {
        nics[nic].queues[queue].transmit.forEach { body(Slot(index: $0)) }
      }
    }
    cpu.backlog.forEach(body)
    for index in fragmentQueues.indices { fragmentQueues[index].forEach(body) }
    for index in sockets.indices {
      var slot = sockets[index].receiveQueue.head
      for _ in 0..<sockets[index].receiveQueue.count {
        body(slot)
        slot = pool[slot].next
      }
    }
    for index in delayedAnswers.indices { body(delayedAnswers[index].slot) }
    for index in qdiscs.indices {
      for band in 0..<3 { qdiscs[index].bands[band].forEach(pool, body) }
      if qdiscs[index].peeked != .none { body(qdiscs[index].peeked) }
    }
    for index in netems.indices { netems[index].delayed.forEach(body) }
    for index in tcps.indices {
      for place in 0..<tcps[index].outOfOrder.count { body(tcps[index].outOfOrder[place].slot) }
    }
    for index in neighbors.indices {
      var slot = neighbors[index].queueHead
      while slot != .none {
        body(slot)
        slot = pool[slot].next
      }
    }
  }

  /// Frames that have been handed to other CPUs, taken from them, and wait to be taken.
  var crossed: (sent: UInt64, received: UInt64, waiting: UInt64) {
    var (sent, received) = retiredCrossings
    var waiting: UInt64 = 0
    for index in crossings.indices {
      sent += crossings[index].sent
      received += crossings[index].received
      waiting += UInt64(crossings[index].link.ring(to: crossings[index].side).count)
    }
    return (sent, received, waiting)
  }

  /// Packets and pages begun, ended, and found with somebody who holds them. Between polls
  /// `allocated == freed + held`, or one has been lost.
  public var accounting: Accounting {
    var held = 0
    var pageReferences = tcps.indices.reduce(0) { $0 + tcps[$1].unacknowledged.pageCount }
    forEachHeld { slot in
      held += 1
      pageReferences += pool.pageReferences(slot)
    }
    var posted = 0
    for nic in nics.indices {
      for queue in nics[nic].queues.indices { posted += nics[nic].queues[queue].receive.used }
    }
    return Accounting(
      allocated: pool.allocated, freed: pool.freed, held: UInt64(held),
      buffersTaken: pool.buffersTaken, buffersReturned: pool.buffersReturned, buffersHeld: UInt64(posted),
      pagesTaken: pool.pages.taken, pagesReleased: pool.pages.released, pagesHeld: UInt64(pageReferences),
      failures: pool.failures + pool.pages.failures, reasons: pool.reasons)
  }
}

/// Where all packets are.
public struct Accounting: Sendable {
  /// Packets begun, copies for flooding included.
  public var allocated: UInt64
  /// Packets ended, for whatever reason; one that became a part of another has ended too.
  public var freed: UInt64
  /// Packets found in rings and queues.
  public var held: UInt64
  /// Blocks given to devices to write frames into.
  public var buffersTaken: UInt64
  /// Blocks that devices have given back, most of them as packets.
  public var buffersReturned: UInt64
  /// Blocks found in RX rings.
  public var buffersHeld: UInt64
  /// References to pages taken: one with each page, one each time that it was shared.
  public var pagesTaken: UInt64
  /// References to pages given back.
  public var pagesReleased: UInt64
  /// References to pages found with packets in rings and queues.
  public var pagesHeld: UInt64
  /// Packets and pages that could not begin for want of memory.
  public var failures: UInt64
  /// Why they ended.
  public var reasons: DropCounters

  /// Whether none was lost and none ended twice.
  public var isClosed: Bool {
    allocated == freed + held && pagesTaken == pagesReleased + pagesHeld
      && buffersTaken == buffersReturned + buffersHeld
  }
}
