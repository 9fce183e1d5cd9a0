// SPDX-License-Identifier: GPL-2.0-or-later

// TCP on its way down (net/ipv4/tcp_output.c): what may be sent now, and segments made of it.

import NetTypes

extension Kernel {
  // MARK: What may be sent

  /// Sends what the windows, Nagle's rule and the congestion window allow (tcp_write_xmit).
  mutating func tcpPush(_ index: TCPIndex) {
    while let length = sendableLength(index) {
      let start = tcps[index].sendNext
      let isLast = start &+ UInt32(length) == tcps[index].writeEnd
      var flags: TCPFlags = .ack
      if isLast, length > 0 { flags.insert(.psh) }
      if isLast, tcps[index].isFinQueued { flags.insert(.fin) }
      if length > 0, length < tcps[index].mss { tcps[index].smallSegmentEnd = start &+ UInt32(length) }
      guard tcpTransmitData(index, start, length, flags) else { break }
    }
    tcpArmProbe(index)
  }

  /// How many bytes the next segment has; zero for a FIN alone, nil when nothing may go.
  private func sendableLength(_ index: TCPIndex) -> Int? {
    let next = tcps[index].sendNext
    let available = Int(Int32(bitPattern: tcps[index].writeEnd &- next))
    let hasFin = tcps[index].isFinQueued
    guard available > 0 || available == 0 && hasFin else { return nil }
    let mss = tcps[index].currentMSS
    let length = min(available, mss)
    let window = Int(Int32(bitPattern: tcps[index].sendUnacknowledged &+ tcps[index].sendWindow &- next))
    // A part of a segment would only make a narrow window narrower (RFC 9293 3.8.6.2.1); the probe sends it in the end.
    let isLast = length == available
    guard length + (isLast && hasFin ? 1 : 0) <= window else { return nil }
    var congestionWindow = tcps[index].congestionWindow
    let isNew = next == tcps[index].sendMaximum
    // Limited transmit: the first two duplicates each let one new segment go (RFC 3042).
    if tcps[index].congestion == .open, isNew { congestionWindow += min(tcps[index].duplicateACKs, 2) }
    let flight = tcps[index].flight
    guard flight == 0 || flight + length <= congestionWindow * mss else { return nil }
    if length < mss, isLast, !hasFin, isNew, mustWait(index) { return nil }
    return length
  }

  /// Nagle as Minshall has it: a small segment waits for the one before it, not for large ones (tcp_nagle_check).
  private func mustWait(_ index: TCPIndex) -> Bool {
    let options = sockets[tcps[index].socket].options
    if options.isCorked { return true }
    guard !options.noDelay, tcps[index].flight > 0, let small = tcps[index].smallSegmentEnd else {
      return false
    }
    return isAfter(small, tcps[index].sendUnacknowledged)
  }

  /// Sends a range of the bytes, for the first time or again. False: there was no memory; a timer tries again.
  @discardableResult
  mutating func tcpTransmitData(
    _ index: TCPIndex, _ start: UInt32, _ length: Int, _ flags: TCPFlags
  ) -> Bool {
    let end = start &+ UInt32(length) &+ (flags.contains(.fin) ? 1 : 0)
    let namespace = sockets[tcps[index].socket].namespace
    let isAgain = isBefore(start, tcps[index].sendMaximum)
    guard tcpTransmit(index, start, length, flags) else { return false }
    if isAgain {
      namespaces[namespace].snmp[.tcpRetransSegs] &+= 1
      tcps[index].timedAt = nil
    } else if tcps[index].timedAt == nil {
      tcps[index].timedSequence = end
      tcps[index].timedAt = cpu.now
    }
    if isAfter(end, tcps[index].sendNext) { tcps[index].sendNext = end }
    if isAfter(end, tcps[index].sendMaximum) { tcps[index].sendMaximum = end }
    if length > 0, cpu.now - tcps[index].lastReceived < tcps[index].ackTimeout {
      tcps[index].isInteractive = true
    }
    if tcps[index].retransmitTimer == .none || tcps[index].isProbing { tcpArmRetransmit(index) }
    return true
  }

  /// Sends the first segment that is not acknowledged again.
  mutating func tcpRetransmitFirst(_ index: TCPIndex) {
    let start = tcps[index].sendUnacknowledged
    guard start == tcps[index].firstByte else {
      // Whoever has ended before the handshake did still owes it (RFC 9293 3.10.4, CLOSE in SYN-RECEIVED).
      tcpTransmit(index, tcps[index].initialSend, 0, [.syn, .ack])
      return
    }
    let outstanding = Int(tcps[index].sendMaximum &- start)
    let data = Int(Int32(bitPattern: tcps[index].writeEnd &- start))
    guard outstanding > 0 else { return }
    let length = max(min(outstanding, data, tcps[index].currentMSS), 0)
    var flags: TCPFlags = .ack
    if length == data {
      if length > 0 { flags.insert(.psh) }
      if tcps[index].isFinQueued { flags.insert(.fin) }
    }
    tcpTransmitData(index, start, length, flags)
  }

  // MARK: Segments

  /// Sends an acknowledgment alone.
  mutating func tcpSendACK(_ index: TCPIndex) {
    // What is being sent again does not take the sequence number of an acknowledgment back.
    tcpTransmit(index, tcps[index].sendMaximum, 0, .ack)
  }

  /// Ends a connection that the other end still takes for one (tcp_send_active_reset).
  mutating func tcpSendReset(_ index: TCPIndex) {
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpOutRsts] &+= 1
    tcpTransmit(index, tcps[index].sendMaximum, 0, [.rst, .ack])
  }

  /// Makes a segment and sends it (__tcp_transmit_skb).
  @discardableResult
  mutating func tcpTransmit(_ index: TCPIndex, _ sequence: UInt32, _ length: Int, _ flags: TCPFlags) -> Bool {
    let isSYN = flags.contains(.syn)
    var options = TCPOptions()
    var sack = InlineArray<4, TCPRange>(repeating: TCPRange(start: 0, end: 0))
    var sackCount = 0
    if isSYN {
      options.maximumSegmentSize = UInt16(clamping: tcps[index].ownMSS)
      options.isSACKPermitted = tcps[index].hasSACK
      if tcps[index].hasWindowScale { options.windowScale = tcps[index].receiveScale }
    } else if tcps[index].hasSACK, !tcps[index].outOfOrder.isEmpty {
      sackCount = tcps[index].selectiveBlocks(&sack)
    }
    if tcps[index].hasTimestamps {
      options.timestamp = (
        tcpTimestamp(tcps[index].timestampOffset), flags.contains(.ack) ? tcps[index].recentTimestamp : 0
      )
    }
    let headerLength = TCPHeader.length + options.size(sack: sackCount)
    let slot = pool.allocate(length: headerLength + length)
    guard slot != .none else { return false }
    let window =
      isSYN
      ? min(tcps[index].receiveWindow, 65535) : tcpSelectWindow(index) >> UInt32(tcps[index].receiveScale)
    let bytes = pool.bytes(slot)
    bytes.set(TCPHeader.sequence, u32: sequence)
    bytes.set(TCPHeader.acknowledgment, u32: flags.contains(.ack) ? tcps[index].receiveNext : 0)
    bytes.set(TCPHeader.dataOffset, u8: UInt8(headerLength / 4) << 4)
    bytes.set(TCPHeader.flags, u8: flags.rawValue)
    bytes.set(TCPHeader.window, u16: UInt16(clamping: window))
    bytes.set(TCPHeader.urgent, u16: 0)
    options.write(to: bytes.dropFirst(TCPHeader.length), sack, sackCount)
    if length > 0 {
      let offset = Int(sequence &- tcps[index].firstByte)
      tcps[index].unacknowledged.copy(offset, length, into: slot, at: headerLength, pool)
    }
    if flags.contains(.ack) { tcpAcknowledged(index) }
    let socket = tcps[index].socket
    guard let peer = sockets[socket].peer else {
      pool.free(slot, .consumed)
      return false
    }
    let local = sockets[socket].local
    let route = try? socketRoute(socket, to: peer, SendControl(source: local.address))
    tcpSend(slot, by: route, local.port, peer.port, in: sockets[socket].namespace)
    return true
  }

  /// Writes ports and checksum, and gives the segment to IP. What becomes of it, also without a route, is for the timers
  /// to find out.
  mutating func tcpSend(
    _ slot: Slot, by route: SocketRoute?, _ source: UInt16, _ destination: UInt16,
    in namespace: NamespaceIndex
  ) {
    namespaces[namespace].snmp[.tcpOutSegs] &+= 1
    guard let route else {
      drop(slot, .ipOutNoRoutes, in: namespace)
      return
    }
    let length = Int(pool[slot].length)
    let bytes = pool.bytes(slot)
    bytes.set(TCPHeader.source, u16: source)
    bytes.set(TCPHeader.destination, u16: destination)
    bytes.set(TCPHeader.checksum, u16: 0)
    let sum = pool.sum(slot, from: 0, count: length, route.pseudoSum(6, length))
    bytes.set(TCPHeader.checksum, u16: UInt16(bigEndian: ~foldChecksum(sum)))
    _ = output(slot, by: route, in: namespace)
  }

  /// An acknowledgment goes with whatever is sent now (tcp_event_ack_sent).
  private mutating func tcpAcknowledged(_ index: TCPIndex) {
    tcps[index].owesACK = false
    tcps[index].acksNow = false
    if tcps[index].quickACKs > 0 { tcps[index].quickACKs -= 1 }
    cpu.wheel.cancel(&tcps[index].delayedACKTimer)
  }

  /// Milliseconds, from a beginning that nobody outside can know (RFC 7323 5.4).
  func tcpTimestamp(_ offset: UInt32) -> UInt32 {
    UInt32(truncatingIfNeeded: cpu.now / 1_000_000) &+ offset
  }

  // MARK: The window that is offered

  /// The window to tell the other end, which is never taken back (tcp_select_window).
  private mutating func tcpSelectWindow(_ index: TCPIndex) -> UInt32 {
    let current = tcps[index].openWindow
    let scale = UInt32(tcps[index].receiveScale)
    var window = tcpFreeWindow(index)
    if window < current {
      let unit: UInt32 = 1 << scale
      window = (current + unit - 1) & ~(unit - 1)
    }
    let most: UInt32 = tcps[index].hasWindowScale ? 65535 << scale : 65535
    window = min(window, most)
    tcps[index].receiveWindow = window
    tcps[index].windowUpdate = tcps[index].receiveNext
    return window
  }

  /// The room in the receive buffer, as much as is worth telling (__tcp_select_window, RFC 9293 3.8.6.2.2).
  func tcpFreeWindow(_ index: TCPIndex) -> UInt32 {
    let socket = tcps[index].socket
    let full = sockets[socket].options.receiveBuffer / 2
    let free = (sockets[socket].options.receiveBuffer - sockets[socket].receiveQueue.charged) / 2
    let mss = min(tcps[index].receivedMSS, full)
    let unit = 1 << Int(tcps[index].receiveScale)
    if free < full / 2, free & ~(unit - 1) < full >> 4 || free < mss { return 0 }
    guard tcps[index].receiveScale == 0 else { return UInt32(max(free, 0) + unit - 1) & ~UInt32(unit - 1) }
    let current = Int(tcps[index].receiveWindow)
    if current <= free - mss || current > free { return UInt32(max(free, 0) / mss * mss) }
    return UInt32(current)
  }
}

extension TCPSock {
  /// How many ranges there is room for beside the other options.
  private var blockLimit: Int { hasTimestamps ? 3 : 4 }

  /// What one segment has room for now: while there is something to tell of, that takes its share (tcp_current_mss).
  var currentMSS: Int {
    hasSACK && !outOfOrder.isEmpty ? max(mss - 4 - 8 * blockLimit, 8) : mss
  }

  /// What has come before its turn, in ranges, the one with the newest segment first (RFC 2018 4).
  func selectiveBlocks(_ blocks: inout InlineArray<4, TCPRange>) -> Int {
    var ranges: [TCPRange] = []
    for segment in outOfOrder {
      if let last = ranges.last, !isBefore(last.end, segment.range.start) {
        if isAfter(segment.range.end, last.end) { ranges[ranges.count - 1].end = segment.range.end }
      } else {
        ranges.append(segment.range)
      }
    }
    if let newest = ranges.firstIndex(where: {
      !isBefore(newestOutOfOrder, $0.start) && isBefore(newestOutOfOrder, $0.end)
    }) {
      ranges.insert(ranges.remove(at: newest), at: 0)
    }
    let count = min(ranges.count, blockLimit)
    for index in 0..<count { blocks[index] = ranges[index] }
    return count
  }
}
