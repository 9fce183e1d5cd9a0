// SPDX-License-Identifier: GPL-2.0-or-later

// SACK blocks that come in, put on the scoreboard (RFC 2018, RFC 2883 for D-SACK; tcp_sacktag_write_queue and what it
// calls). Blocks of the acknowledgment before this one are not walked over again.

extension TCPSock {
  /// Takes the blocks of an acknowledgment of `ack`.
  mutating func takeBlocks(
    _ blocks: SACKBlocks, acknowledging acknowledged: UInt32, _ ack: inout ACKState, _ net: inout NetNamespace
  ) {
    if sackedOut == 0 {
      highestSacked = sendUnacknowledged
      knownBlocks = SACKBlocks()
    }
    ack.reordered = sendNext
    let isDuplicate = checkDuplicate(blocks, acknowledged, &ack, &net)
    // Nothing that old can be told of (the sender's own window, as the kernel bounds it).
    guard !sent.isEmpty, !isBefore(acknowledged, ack.priorUnacknowledged &- max(largestWindow, 1)) else {
      return
    }
    var sorted = SACKBlocks()
    for place in 0..<blocks.count {
      let block = blocks[place]
      let isTold = isDuplicate && place == 0
      guard isPossible(block, isDuplicate: isTold) else {
        let reason: SNMPCounter
        if isTold {
          reason = undoMarker == nil ? .tcpExtTCPDSACKIgnoredNoUndo : .tcpExtTCPDSACKIgnoredOld
        } else {
          // What acknowledges less than is known may tell of what is no more.
          if acknowledged != sendUnacknowledged, !isAfter(block.end, sendUnacknowledged) { continue }
          reason = .tcpExtTCPSACKDiscard
        }
        net.snmp[reason] &+= 1
        continue
      }
      guard isAfter(block.end, ack.priorUnacknowledged) else { continue }
      if isTold {
        walk(block, from: block.start, isDuplicate: true, &ack, &net)
      } else {
        sorted.insertSorted(block)
      }
    }
    for place in 0..<sorted.count {
      walkNews(of: sorted[place], from: sorted[place].start, &ack, &net)
    }
    knownBlocks = sorted
    if congestion != .loss || undoMarker != nil {
      noteReordering(ack.reordered, byTimestamp: false, &net)
    }
  }

  /// Whether a block can be true (tcp_is_sackblock_valid).
  private func isPossible(_ block: TCPRange, isDuplicate: Bool) -> Bool {
    guard !isAfter(block.end, sendNext), isBefore(block.start, block.end), isBefore(block.start, sendNext)
    else { return false }
    if isAfter(block.start, sendUnacknowledged) { return true }
    guard isDuplicate, let undoMarker else { return false }
    guard isAfter(block.end, sendUnacknowledged) || !isBefore(block.start, undoMarker) else {
      return !isBefore(block.end, undoMarker)
        && !isBefore(block.start, block.end &- max(largestWindow, 1))
    }
    return true
  }

  /// The first block of an acknowledgment that tells of what came twice (tcp_check_dsack).
  private mutating func checkDuplicate(
    _ blocks: SACKBlocks, _ acknowledged: UInt32, _ ack: inout ACKState, _ net: inout NetNamespace
  ) -> Bool {
    guard !blocks.isEmpty else { return false }
    let first = blocks[0]
    let isOld = isBefore(first.start, acknowledged)
    let isWithin =
      blocks.count > 1 && !isAfter(first.end, blocks[1].end) && !isBefore(first.start, blocks[1].start)
    guard isOld || isWithin else { return false }
    let count = takeDuplicate(first, &ack)
    guard count > 0 else {
      net.snmp[.tcpExtTCPDSACKIgnoredDubious] &+= 1
      return false
    }
    net.snmp[isOld ? .tcpExtTCPDSACKRecv : .tcpExtTCPDSACKOfoRecv] &+= 1
    net.snmp[.tcpExtTCPDSACKRecvSegs] &+= UInt64(count)
    if let undoMarker, undoRetransmits > 0, !isAfter(first.end, ack.priorUnacknowledged),
      isAfter(first.end, undoMarker)
    {
      undoRetransmits = max(0, undoRetransmits - count)
    }
    return true
  }

  /// How many segments a D-SACK tells of; 0: more than there can be (tcp_dsack_seen).
  private mutating func takeDuplicate(_ block: TCPRange, _ ack: inout ACKState) -> Int {
    guard isBefore(block.start, block.end) else { return 0 }
    let length = Int(block.end &- block.start)
    guard length <= Int(largestWindow) else { return 0 }
    var count = 1
    if length > mss {
      count = (length + mss - 1) / mss
    } else if tailProbeEnd != 0, tailProbeEnd == block.end {
      ack.flags.insert(.probeDuplicateTold)
    }
    duplicateSegments &+= UInt32(count)
    guard duplicateSegments <= totalRetransmits else { return 0 }
    if reorderingSeen > 0, !ack.flags.contains(.probeDuplicateTold) { rack.hasDSACK = true }
    ack.flags.insert(.duplicateTold)
    ack.delivered += count
    return count
  }

  /// Walks over what a block tells that its forerunner did not.
  private mutating func walkNews(
    of block: TCPRange, from start: UInt32, _ ack: inout ACKState, _ net: inout NetNamespace
  ) {
    for place in 0..<knownBlocks.count {
      let known = knownBlocks[place]
      guard isAfter(block.end, known.start), isAfter(known.end, start) else { continue }
      if isBefore(start, known.start) {
        walk(TCPRange(start: block.start, end: known.start), from: start, isDuplicate: false, &ack, &net)
      }
      if isAfter(block.end, known.end) { walkNews(of: block, from: known.end, &ack, &net) }
      return
    }
    walk(block, from: start, isDuplicate: false, &ack, &net)
  }

  /// Every segment that lies within a range has arrived (tcp_sacktag_walk).
  private mutating func walk(
    _ range: TCPRange, from start: UInt32, isDuplicate: Bool, _ ack: inout ACKState,
    _ net: inout NetNamespace
  ) {
    var number = sent.find(start)
    while number != sent.tail {
      let segment = sent[number]
      guard isBefore(segment.start, range.end) else { return }
      if !isBefore(segment.start, range.start), !isAfter(segment.end, range.end) {
        mark(number, isDuplicate: isDuplicate, &ack, &net)
      }
      number &+= 1
    }
  }

  /// tcp_sacktag_one.
  private mutating func mark(
    _ number: UInt32, isDuplicate: Bool, _ ack: inout ACKState, _ net: inout NetNamespace
  ) {
    let segment = sent[number]
    if isDuplicate, segment.isRetransmission {
      if let undoMarker, undoRetransmits > 0, isAfter(segment.end, undoMarker) {
        undoRetransmits = max(0, undoRetransmits - 1)
      }
      if segment.flags.contains(.sacked), isBefore(segment.start, ack.reordered) {
        ack.reordered = segment.start
      }
    }
    if !segment.flags.contains(.sacked) {
      advanceRACK(segment)
      if segment.flags.contains(.retransmitted) {
        // Lost and sent again: one of the two has come.
        if segment.flags.contains(.lost) {
          sent[number].flags.subtract([.lost, .retransmitted])
          lostOut -= 1
          retransmittedOut -= 1
        }
      } else {
        if !segment.isRetransmission {
          if isBefore(segment.start, highestSackedEnd), isBefore(segment.start, ack.reordered) {
            ack.reordered = segment.start
          }
          if !isAfter(segment.end, recoveryPoint) { ack.flags.insert(.originalSacked) }
          if ack.firstSacked == nil { ack.firstSacked = segment.sentAt }
          ack.lastSacked = segment.sentAt
        }
        if segment.flags.contains(.lost) {
          sent[number].flags.remove(.lost)
          lostOut -= 1
        }
      }
      let highest = highestSackedEnd
      sent[number].flags.insert(.sacked)
      ack.flags.insert(.dataSacked)
      sackedOut += 1
      ack.delivered += 1
      countDelivered(1, isMarked: ack.flags.contains(.congestionEcho))
      delivery.arrived(&sent[number], &ack.sample)
      sent.unlink(number)
      highestSacked = isAfter(segment.end, highest) ? segment.end : highest
    }
    // A second retransmission of what has come is not on its way any more.
    if isDuplicate, sent[number].flags.contains(.retransmitted) {
      sent[number].flags.remove(.retransmitted)
      retransmittedOut -= 1
    }
  }
}

extension SACKBlocks {
  /// Puts a block where it belongs by its start.
  fileprivate mutating func insertSorted(_ range: TCPRange) {
    var sorted = SACKBlocks()
    var isPut = false
    for place in 0..<count {
      if !isPut, isBefore(range.start, self[place].start) {
        sorted.append(range)
        isPut = true
      }
      sorted.append(self[place])
    }
    if !isPut { sorted.append(range) }
    self = sorted
  }
}
