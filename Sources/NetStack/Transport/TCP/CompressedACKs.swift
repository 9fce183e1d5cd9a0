// SPDX-License-Identifier: GPL-2.0-or-later

// While something is missing every segment is acknowledged, and after the first few acknowledgments the next ones say
// little: for a twentieth of a round trip, a millisecond at most, one goes for all (net/ipv4/tcp_input.c
// __tcp_ack_snd_check, tcp_sack_compress_send_ack; tcp_timer.c tcp_compressed_ack_kick).

/// What a receiver holds back of acknowledgments.
struct CompressedACKs {
  /// So many are held back.
  var count = 0
  /// So many have gone at once since RCV.NXT was `next`.
  fileprivate var duplicates = 0
  fileprivate var next: UInt32 = 0
  /// When one goes for all, and whether an event comes then.
  fileprivate var deadline: Int64 = 0
  fileprivate var isArmed = false
}

extension Kernel {
  /// Whether an acknowledgment of what came before its turn is held back.
  mutating func tcpCompress(_ index: TCPIndex) -> Bool {
    let namespace = sockets[tcps[index].socket].namespace
    guard tcps[index].hasSACK, tcps[index].compressed.count < namespaces[namespace].tcp[.compressedSACKs]
    else { return false }
    if tcps[index].compressed.next != tcps[index].receiveNext {
      tcps[index].compressed.next = tcps[index].receiveNext
      tcps[index].compressed.duplicates = 0
    }
    guard tcps[index].compressed.duplicates >= 3 else {
      tcps[index].compressed.duplicates += 1
      return false
    }
    tcps[index].compressed.count += 1
    guard !tcps[index].compressed.isArmed else { return true }
    // Both are eightfold.
    var time = tcps[index].space.roundTripTime
    if tcps[index].rtt.smoothed != 0 { time = min(time, tcps[index].rtt.smoothed) }
    let delay = min(Int64(namespaces[namespace].tcp[.compressedSACKDelay]), time * 125 / 20)
    tcps[index].compressed.isArmed = true
    tcps[index].compressed.deadline = cpu.now + delay
    cpu.heap.schedule(TimerEvent(kind: .tcpCompressedACK, index: index.rawValue), at: cpu.now + delay)
    return true
  }

  /// One goes for all that were held back.
  mutating func tcpSendCompressed(_ index: TCPIndex) {
    guard tcps[index].compressed.count > 0 else { return }
    // This one is not saved.
    tcps[index].compressed.count -= 1
    tcpSendACK(index)
    tcpEndCompression(index)
  }

  mutating func tcpCompressedACKTimer(_ index: TCPIndex) {
    guard tcps.contains(index), tcps[index].compressed.isArmed, tcps[index].compressed.deadline <= cpu.now
    else { return }
    tcps[index].mstamp = cpu.now
    tcpSendCompressed(index)
  }

  /// What goes says it all (tcp_event_ack_sent).
  mutating func tcpEndCompression(_ index: TCPIndex) {
    namespaces[sockets[tcps[index].socket].namespace].snmp[.tcpExtTCPAckCompressed] &+= UInt64(
      tcps[index].compressed.count)
    tcps[index].compressed.count = 0
    tcps[index].compressed.isArmed = false
  }
}
