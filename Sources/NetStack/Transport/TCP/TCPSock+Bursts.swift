// SPDX-License-Identifier: GPL-2.0-or-later

// How many segments go down as one packet, and when it is better to wait until there can be more of them
// (net/ipv4/tcp_output.c tcp_tso_autosize, tcp_cwnd_test, tcp_tso_should_defer, tcp_mss_split_point). On the scoreboard
// each segment stands by itself all the same, as the kernel's tcp_skb_pcount counts them.

extension TCPSock {
  /// What sending waits for until it has a whole packet to send.
  enum Deferral { case congestionWindow, window, application }

  /// Segments of one packet at most: a millisecond's worth at the pace, more where the path is short
  /// (tcp_tso_segs).
  func largestBurst(_ mss: Int, _ settings: TCPSettings) -> Int {
    let most = UInt64(Kernel.gsoMaximum)
    var bytes = min(pacingRate >> 10, most)
    let shift = rtt.minimum.value >> Int64(settings[.tsoRTTLogarithm] & 31)
    if shift < 32 { bytes = min(bytes + most >> UInt64(max(shift, 0)), most) }
    // bbr_min_tso_segs.
    let least = algorithm == .bbr ? (pacingRate < 150_000 ? 1 : 2) : settings[.minimumTSOSegments]
    return min(max(Int(bytes) / mss, least), max(Kernel.gsoMaximum / mss, 1))
  }

  /// Bytes that a packet is filled up to while it is written: half of the largest window that the other end has offered,
  /// in whole segments (tcp_xmit_size_goal).
  func packetGoal(_ mss: Int) -> Int {
    let window = Int(largestWindow)
    let cutoff = window > 536 ? window >> 1 : window
    let most = cutoff > 0 && cutoff < Kernel.gsoMaximum ? cutoff : Kernel.gsoMaximum
    return max(most / mss, 1) * mss
  }

  /// More than half of that window was written since PSH was said (forced_push).
  var mustPush: Bool { isAfter(writeEnd, pushedEnd &+ largestWindow >> 1) }

  /// tcp_mark_push.
  mutating func markPush() {
    writeQueue.markPush()
    pushedEnd = writeEnd
  }

  /// Segments that the congestion window lets go now, of which at least two packets are made (tcp_cwnd_test).
  var windowQuota: Int {
    let room = congestionWindow - inFlight
    return room <= 0 ? 0 : min(max(congestionWindow >> 1, 1), room)
  }

  /// Whether to wait for an acknowledgment that lets more go at once, and what it is that allows too little; nil: not
  /// (tcp_tso_should_defer).
  func deferral(
    _ length: Int, endsRecord: Bool, most: Int, _ mss: Int, _ settings: TCPSettings
  ) -> Deferral? {
    // Only what has been sending just now waits.
    guard congestion < .recovery, mstamp - pacingStamp <= 1_000_000, !sent.isEmpty else { return nil }
    let window = max(Int(Int32(bitPattern: windowEnd &- sendNext)), 0)
    let congestionRoom = (congestionWindow - inFlight) * mss
    let limit = min(window, congestionRoom)
    let isLast = length == unsentBytes
    if limit >= most * mss || !isLast && limit >= length { return nil }
    let divisor = settings[.tsoWindowDivisor]
    let share = divisor > 0 ? min(Int(sendWindow), congestionWindow * mss) / divisor : 3 * mss
    if limit >= share { return nil }
    // Only when the next acknowledgment is near.
    let expected = sent[sent.head].sentAt + rtt.smoothed * 125
    if expected - mstamp > min(rtt.smoothed * 125 / 2, 1_000_000) { return nil }
    if congestionRoom < window {
      if congestionRoom <= length { return .congestionWindow }
    } else if window <= length {
      return .window
    }
    return isLast && isFinQueued || endsRecord ? nil : .application
  }

  /// Where a packet of several segments ends: within the window, and without a part of a segment that Nagle's rule
  /// would hold back (tcp_mss_split_point).
  func splitPoint(_ length: Int, quota: Int, _ mss: Int, holdsPart: Bool) -> Int {
    if sendUrgent != nil { return mss }
    let window = Int(Int32(bitPattern: windowEnd &- sendNext))
    if quota * mss <= window, length < unsentBytes { return min(length, quota * mss) }
    let needed = min(length, window)
    if quota * mss <= needed { return quota * mss }
    let part = needed % mss
    return part > 0 && holdsPart ? needed - part : needed
  }
}
