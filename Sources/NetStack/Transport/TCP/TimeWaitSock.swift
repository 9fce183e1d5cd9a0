// SPDX-License-Identifier: GPL-2.0-or-later

// TIME-WAIT (RFC 9293 3.10.7, RFC 1337, RFC 6191; net/ipv4/tcp_minisocks.c): all that is kept of a connection is what
// answers need, so that what waits a minute costs little. A user who has not closed it yet keeps the connection too, to
// whose verbs it is closed.

/// The place of a connection that waits in the kernel's table.
typealias TimeWaitIndex = TableIndex<TimeWaitSock>

/// What time alone keeps of a connection (struct tcp_timewait_sock).
struct TimeWaitSock {
  let socket: SocketIndex
  let key: FlowKey
  let sendNext: UInt32
  let receiveNext: UInt32
  /// RCV.WND as the header has it.
  let window: UInt16
  let hasTimestamps: Bool
  let timestampOffset: UInt32
  /// TS.Recent and when it was taken.
  var recentTimestamp: UInt32
  var recentTimestampTime: Int64
  /// When what was out of the window was answered last.
  var lastOutOfWindowACK = Int64.min
  var timer = TimerID.none

  static let length: Int64 = 60_000_000_000
}

extension Kernel {
  /// Both have sent all, and this end acknowledged last (tcp_time_wait).
  mutating func tcpTimeWait(_ index: TCPIndex) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    tcpUncount(index)
    tcpStopTimers(index)
    tcps[index].owesACK = false
    sockets[socket].shutdown = .both
    tcpDropOutOfOrder(index)
    guard namespaces[namespace].timeWaits < namespaces[namespace].tcp[.maxTimeWaitBuckets],
      let key = tcps[index].key,
      let place = timeWaits.insert(
        TimeWaitSock(
          socket: socket, key: key, sendNext: tcps[index].sendNext, receiveNext: tcps[index].receiveNext,
          window: UInt16(clamping: tcps[index].openWindow >> UInt32(tcps[index].receiveScale)),
          hasTimestamps: tcps[index].hasTimestamps, timestampOffset: tcps[index].timestampOffset,
          recentTimestamp: tcps[index].recentTimestamp,
          recentTimestampTime: tcps[index].recentTimestampTime))
    else {
      namespaces[namespace].snmp[.tcpExtTCPTimeWaitOverflow] &+= 1
      tcpDone(index)
      return
    }
    namespaces[namespace].timeWaits += 1
    sockets[socket].timeWait = place
    tcps[index].state = .timeWait
    tcps[index].key = nil
    armTimeWait(place)
    if tcps[index].isOrphan { tcpForget(index) }
  }

  /// Nobody uses the connection, and the other end has not ended yet: it waits as in TIME-WAIT, and counts as such, unless
  /// it may for longer (tcp_time_wait with TCP_FIN_WAIT2).
  mutating func tcpAwaitFin(_ index: TCPIndex) {
    let namespace = sockets[tcps[index].socket].namespace
    let time = tcpFinTime(index)
    if time <= TimeWaitSock.length {
      guard namespaces[namespace].timeWaits < namespaces[namespace].tcp[.maxTimeWaitBuckets] else {
        namespaces[namespace].snmp[.tcpExtTCPTimeWaitOverflow] &+= 1
        tcpDone(index)
        return
      }
      tcpUncount(index)
      tcps[index].isCountedWaiting = true
      namespaces[namespace].timeWaits += 1
    }
    tcpArmState(index, time)
  }

  private mutating func armTimeWait(_ place: TimeWaitIndex) {
    cpu.wheel.rearm(
      &timeWaits[place].timer, TimerEvent(kind: .tcpTimeWait, index: place.rawValue),
      at: cpu.now + TimeWaitSock.length)
  }

  mutating func tcpTimeWaitTimer(_ place: TimeWaitIndex) {
    guard timeWaits.contains(place) else { return }
    timeWaits[place].timer = .none
    namespaces[sockets[timeWaits[place].socket].namespace].snmp[.tcpExtTW] &+= 1
    tcpEndTimeWait(place)
  }

  /// The names are free again (inet_twsk_kill).
  mutating func tcpEndTimeWait(_ place: TimeWaitIndex) {
    let socket = timeWaits[place].socket
    let namespace = sockets[socket].namespace
    cpu.wheel.cancel(&timeWaits[place].timer)
    namespaces[namespace].timeWaits -= 1
    namespaces[namespace].sockets.flows.remove(timeWaits[place].key)
    timeWaits.remove(place)
    sockets[socket].timeWait = .none
    if sockets[socket].tcp.isNone {
      unbind(socket)
      endSocket(socket)
    } else {
      tcpDone(sockets[socket].tcp)
    }
  }

  /// Takes a segment (tcp_timewait_state_process). The packet is gone afterwards.
  mutating func tcpProcessTimeWait(_ place: TimeWaitIndex, _ segment: TCPSegment) {
    let namespace = sockets[timeWaits[place].socket].namespace
    defer { drop(segment.slot, .tcpTimeWait, in: namespace) }
    let isRST = segment.flags.contains(.rst)
    let isOld = tcpIsOld(segment, place)
    if !isOld, segment.sequence == timeWaits[place].receiveNext, segment.isBare || isRST {
      // A late reset may not end the wait where RFC 1337 is kept to.
      if isRST, !namespaces[namespace].tcp.isOn(.rfc1337) { return tcpEndTimeWait(place) }
      if !isRST { armTimeWait(place) }
      if let timestamp = segment.options.timestamp, timeWaits[place].hasTimestamps {
        timeWaits[place].recentTimestamp = timestamp.value
        timeWaits[place].recentTimestampTime = cpu.now
      }
      return
    }
    if isOld { namespaces[namespace].snmp[.tcpExtPAWSTimewait] &+= 1 }
    guard !isRST else { return }
    // An old SYN may as well be a new one: it does not make the wait longer.
    if isOld || segment.flags.contains(.ack) { armTimeWait(place) }
    if segment.isBare {
      guard tcpMayAnswerOutOfWindow(since: timeWaits[place].lastOutOfWindowACK, namespace) else {
        namespaces[namespace].snmp[.tcpExtTCPACKSkippedTimeWait] &+= 1
        return
      }
      timeWaits[place].lastOutOfWindowACK = cpu.now
    }
    acknowledgeInTimeWait(place)
  }

  private func tcpIsOld(_ segment: TCPSegment, _ place: TimeWaitIndex) -> Bool {
    guard let timestamp = segment.options.timestamp, timeWaits[place].hasTimestamps else { return false }
    // Resets are held to it for a minute (tcp_paws_reject).
    if segment.flags.contains(.rst), cpu.now - timeWaits[place].recentTimestampTime >= TimeWaitSock.length {
      return false
    }
    return TCPSock.isOld(
      timestamp.value, timeWaits[place].recentTimestamp, seen: timeWaits[place].recentTimestampTime,
      at: cpu.now)
  }

  /// tcp_v4_timewait_ack.
  private mutating func acknowledgeInTimeWait(_ place: TimeWaitIndex) {
    let socket = timeWaits[place].socket
    guard let peer = sockets[socket].peer else { return }
    var options = TCPOptions()
    if timeWaits[place].hasTimestamps {
      options.timestamp = (
        TCPSock.timestamp(at: cpu.now, timeWaits[place].timestampOffset), timeWaits[place].recentTimestamp
      )
    }
    let slot = tcpBare(
      sequence: timeWaits[place].sendNext, acknowledgment: timeWaits[place].receiveNext, flags: .ack,
      window: timeWaits[place].window, options)
    guard slot != .none else { return }
    let route = try? socketRoute(socket, to: peer, SendControl(source: sockets[socket].local.address))
    tcpSend(slot, by: route, sockets[socket].local.port, peer.port, in: sockets[socket].namespace)
  }

  /// Whether a SYN may begin the same connection anew (RFC 9293 3.6.1, RFC 6191; tcp_timewait_state_process).
  func tcpMayReopen(_ place: TimeWaitIndex, _ segment: TCPSegment) -> Bool {
    guard segment.flags.contains(.syn), segment.flags.isDisjoint(with: [.rst, .ack]),
      !tcpIsOld(segment, place)
    else { return false }
    if isAfter(segment.sequence, timeWaits[place].receiveNext) { return true }
    guard let timestamp = segment.options.timestamp, timeWaits[place].hasTimestamps else { return false }
    return isAfter(timestamp.value, timeWaits[place].recentTimestamp)
  }
}
