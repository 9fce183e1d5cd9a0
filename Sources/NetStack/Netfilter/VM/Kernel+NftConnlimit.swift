// SPDX-License-Identifier: GPL-2.0-or-later

// How many connections have passed a rule, or an element of a set, and still are (nft_connlimit.c,
// nf_conncount.c).

import Nftables

/// The connections that one expression counts.
struct ConnectionCount {
  /// More than that are not told apart: the limit that a rule may ask about is below it.
  static let limit = 1 << 16

  struct Member {
    var index: ConntrackIndex
    /// Of the entry: its place may be another's by now.
    var id: UInt32
  }

  var members: [Member] = []
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
    let isTracked = conntracks.contains(index)
    // What nobody tracks counts for a moment, if it can be told apart from others.
    guard isTracked || packet.hasTransport else { return .drop }
    var count = namespaces[namespace].nftables.states.takeConnections(state)
    // Within a jiffy of the last that was added nobody is looked for, not even the connection itself.
    let jiffy = cpu.now / 1_000_000
    let isKnown = count.added != jiffy && revise(&count, meeting: index)
    if !isKnown { count.added = jiffy }
    let id = isTracked ? conntracks[index].id : 0
    if !isKnown, count.members.count < ConnectionCount.limit {
      count.members.append(ConnectionCount.Member(index: isTracked ? index : .none, id: id))
    }
    let exceeds = count.members.count > Int(instruction.b)
    namespaces[namespace].nftables.states.keepConnections(count, state)
    return exceeds == (instruction.flags & 1 == 1) ? .continue : .break
  }

  /// Whether a connection is counted already. On the way to it those are forgotten that are gone, a few at a time; what
  /// stands behind it is not looked at (__nf_conncount_add).
  private func revise(_ count: inout ConnectionCount, meeting index: ConntrackIndex) -> Bool {
    var position = 0
    var forgotten = 0
    while position < count.members.count, forgotten <= 8 {
      let member = count.members[position]
      let isGone = isGone(member)
      // One that this packet has ended, as a reset does that nobody has answered before, is not found any more.
      if !isGone, member.index == index { return true }
      if isGone || isClosed(member.index) {
        count.members.remove(at: position)
        forgotten += 1
      } else {
        position += 1
      }
    }
    return false
  }

  private func isGone(_ member: ConnectionCount.Member) -> Bool {
    !conntracks.contains(member.index) || conntracks[member.index].id != member.id
      || conntracks[member.index].status.contains(.dying)
  }

  /// Whether TCP has closed a connection (already_closed).
  private func isClosed(_ index: ConntrackIndex) -> Bool {
    guard conntracks[index].original.proto == 6 else { return false }
    let state = conntracks[index].tcp.state
    return state == .timeWait || state == .close
  }
}
