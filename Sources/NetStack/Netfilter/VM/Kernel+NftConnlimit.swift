// SPDX-License-Identifier: GPL-2.0-or-later

// How many connections have passed a rule, or an element of a set, and still are (nft_connlimit.c,
// nf_conncount.c).

import Nftables

/// The connections that one expression counts.
struct ConnectionCount {
  /// More than that are not told apart: the limit that a rule may ask about is below it.
  static let limit = 1 << 16

  /// What each began with; of packets that nobody tracks what they are themselves.
  var members: [ConntrackTuple] = []
  /// The millisecond in which one was added last.
  var added = Int64.min
}

extension Kernel {
  /// `ct count`.
  mutating func limitConnections(
    _ instruction: NftInstruction, _ state: UInt32, _ packet: NftPacket
  ) -> NftVerdictCode {
    let namespace = packet.namespace
    let index = pool.conntrack(packet.slot).index
    // What nobody tracks counts for a moment, if it can be told apart from others.
    guard let tuple = conntracks.contains(index) ? conntracks[index].original : tuple(of: packet) else {
      return .drop
    }
    var count = namespaces[namespace].nftables.states.takeConnections(state)
    // Within a jiffy of the last that was added nobody is looked for, not even the connection itself.
    let jiffy = cpu.now / 1_000_000
    let isKnown = count.added != jiffy && revise(&count, meeting: tuple, in: namespace)
    if !isKnown { count.added = jiffy }
    if !isKnown, count.members.count < ConnectionCount.limit { count.members.append(tuple) }
    let exceeds = count.members.count > Int(instruction.b)
    namespaces[namespace].nftables.states.keepConnections(count, state)
    return exceeds == (instruction.flags & 1 == 1) ? .continue : .break
  }

  /// Whether a connection is counted already. On the way to it those are forgotten that are gone or closed, a few at a
  /// time; what stands behind it is not looked at (__nf_conncount_add). One that this packet has ended, as a reset does
  /// that nobody has answered before, is not found any more.
  private func revise(
    _ count: inout ConnectionCount, meeting tuple: ConntrackTuple, in namespace: NamespaceIndex
  ) -> Bool {
    var position = 0
    var forgotten = 0
    while position < count.members.count, forgotten <= 8 {
      let member = count.members[position]
      let found = namespaces[namespace].conntrack.table.find(member, in: conntracks)
      if found != nil, member == tuple { return true }
      if let found, !isClosed(found.index) {
        position += 1
      } else {
        count.members.remove(at: position)
        forgotten += 1
      }
    }
    return false
  }

  /// Whether TCP has closed a connection (already_closed).
  private func isClosed(_ index: ConntrackIndex) -> Bool {
    guard conntracks[index].original.proto == 6 else { return false }
    let state = conntracks[index].tcp.state
    return state == .timeWait || state == .close
  }
}
