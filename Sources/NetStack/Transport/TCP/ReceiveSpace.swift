// SPDX-License-Identifier: GPL-2.0-or-later

// The receiver's window and its growth (net/ipv4/tcp_input.c tcp_grow_window, tcp_rcv_space_adjust, tcp_rcv_rtt_measure;
// tcp_output.c __tcp_select_window): what is offered follows what packets really hold, and the buffer follows what the
// user reads in a round trip, up to tcp_rmem's maximum.

/// What a receiver keeps for its window.
struct ReceiveSpace {
  /// rcv_ssthresh: the window is not larger yet; window_clamp: it never is; what TCP_WINDOW_CLAMP said.
  var threshold = 0
  var clamp = 0
  /// Bytes of data in 256 bytes of memory (scaling_ratio).
  var ratio = 128
  /// What the user read in the last round trip, from where and when on that is measured (rcvq_space).
  var read = 0
  var sequence: UInt32 = 0
  var time: Int64 = 0
  /// The round-trip time that the receiver sees, eightfold microseconds (rcv_rtt_est).
  private(set) var roundTripTime: Int64 = 0
  private var roundEnd: UInt32 = 0
  private var roundStart: Int64 = 0
  private var lastEcho: UInt32 = 0

  /// tcp_win_from_space.
  func window(from space: Int) -> Int { (max(space, 0) * ratio) >> 8 }
  /// tcp_space_from_win.
  func space(from window: Int) -> Int { window << 8 / max(ratio, 1) }

  /// tcp_rcv_rtt_update.
  private mutating func take(_ sample: Int64, isWindow: Bool) {
    if roundTripTime == 0 {
      roundTripTime = sample << 3
    } else if isWindow {
      roundTripTime = min(roundTripTime, sample << 3)
    } else {
      roundTripTime += sample - roundTripTime >> 3
    }
  }

  /// A window's worth has come: that takes a round trip at least (tcp_rcv_rtt_measure).
  mutating func measureWindow(_ next: UInt32, _ window: UInt32, _ now: Int64) {
    if roundStart != 0 {
      guard !isBefore(next, roundEnd) else { return }
      take(max((now - roundStart) / 1000, 1), isWindow: true)
    }
    roundEnd = next &+ window
    roundStart = now
  }

  /// The echo of a full segment (tcp_rcv_rtt_measure_ts).
  mutating func measureEcho(_ echo: UInt32, _ time: Int64?) {
    guard echo != lastEcho, let time else { return }
    lastEcho = echo
    take(time, isWindow: false)
  }
}

extension Kernel {
  /// A connection begins: its first window (tcp_init_buffer_space).
  mutating func tcpBeginReceiving(_ index: TCPIndex) {
    let buffer = sockets[tcps[index].socket].options.receiveBuffer
    let window = Int(tcps[index].receiveWindow)
    tcps[index].space.threshold = window
    tcps[index].space.read = min(window, TCPSock.initialWindow * tcps[index].ownMSS)
    tcps[index].space.sequence = tcps[index].copied
    tcps[index].space.time = cpu.now
    let most = tcps[index].space.window(from: buffer)
    tcps[index].space.clamp = min(tcpWindowClamp(index), most)
    tcps[index].space.threshold = min(window, tcps[index].space.clamp)
  }

  /// What the window's field and TCP_WINDOW_CLAMP allow.
  private func tcpWindowClamp(_ index: TCPIndex) -> Int {
    let user = sockets[tcps[index].socket].options.windowClamp
    let most = tcps[index].hasWindowScale ? 65535 << Int(tcps[index].receiveScale) : 65535
    return user > 0 ? min(user, most) : most
  }

  /// A segment with data has come: how much memory data takes, how long a round trip does, and whether the window may
  /// grow (tcp_event_data_recv).
  mutating func tcpMeasureArrival(_ index: TCPIndex, _ segment: TCPSegment) {
    let length = segment.length
    let size = pool.trueSize(segment.slot)
    // What came in one packet had segments of that size (tcp_measure_rcv_mss).
    let segmentSize = segment.size
    if segmentSize >= tcps[index].receivedMSS {
      if segmentSize != tcps[index].receivedMSS {
        let old = tcps[index].space.ratio
        tcps[index].space.ratio = min(max(length << 8 / max(size, 1), 1), 255)
        if old != tcps[index].space.ratio {
          let buffer = sockets[tcps[index].socket].options.receiveBuffer
          tcps[index].space.clamp = min(
            tcpWindowClamp(index), tcps[index].space.window(from: buffer))
        }
      }
      tcps[index].receivedMSS = min(segmentSize, max(tcps[index].ownMSS, 536))
    }
    tcps[index].space.measureWindow(tcps[index].receiveNext, tcps[index].receiveWindow, cpu.now)
    if tcps[index].hasTimestamps, let echo = segment.options.timestamp?.echo, echo != 0,
      length >= tcps[index].receivedMSS
    {
      tcps[index].space.measureEcho(echo, tcps[index].echoRTT)
    }
    if length >= 128 { tcpGrowWindow(index, length, size) }
  }

  /// tcp_grow_window.
  private mutating func tcpGrowWindow(_ index: TCPIndex, _ length: Int, _ size: Int) {
    let socket = tcps[index].socket
    let free = sockets[socket].options.receiveBuffer - sockets[socket].receiveQueue.charged
    let space = tcps[index].space
    let room = min(space.clamp, space.window(from: free)) - space.threshold
    guard room > 0 else { return }
    var step = 0
    if space.window(from: size) <= length {
      step = 2 * tcps[index].ownMSS
    } else {
      // Packets that hold more than they carry: only while there is much room (__tcp_grow_window).
      var memory = space.window(from: size) >> 1
      var window =
        space.window(from: namespaces[sockets[socket].namespace].tcp.receiveMemory.maximum) >> 1
      while step == 0, space.threshold <= window, memory > 0 {
        if memory <= length { step = 2 * tcps[index].receivedMSS }
        memory >>= 1
        window >>= 1
      }
    }
    guard step > 0 else { return }
    tcps[index].space.threshold += min(room, max(step, 2 * length))
  }

  /// The user has read: the buffer grows to twice what came in a round trip (tcp_rcv_space_adjust, tcp_rcvbuf_grow).
  mutating func tcpAdjustReceiveBuffer(_ index: TCPIndex) {
    let space = tcps[index].space
    guard space.roundTripTime > 0, (cpu.now - space.time) / 1000 >= space.roundTripTime >> 3 else { return }
    let copied = min(Int(tcps[index].copied &- space.sequence), 1 << 30)
    if copied > space.read { tcpGrowReceiveBuffer(index, copied) }
    tcps[index].space.sequence = tcps[index].copied
    tcps[index].space.time = cpu.now
  }

  private mutating func tcpGrowReceiveBuffer(_ index: TCPIndex, _ copied: Int) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let before = max(tcps[index].space.read, 1)
    tcps[index].space.read = copied
    guard namespaces[namespace].tcp.isOn(.moderateReceiveBuffer),
      !sockets[socket].options.isReceiveBufferLocked
    else {
      return
    }
    // One round trip late, and the sender may double its rate meanwhile.
    var window = copied << 1
    window += (window * (copied - before) / before) << 1
    if let last = tcps[index].outOfOrder.last { window += Int(last.range.end &- tcps[index].receiveNext) }
    let buffer = min(tcps[index].space.space(from: window), namespaces[namespace].tcp.receiveMemory.maximum)
    guard buffer > sockets[socket].options.receiveBuffer else { return }
    sockets[socket].options.receiveBuffer = buffer
    tcps[index].space.clamp = min(tcpWindowClamp(index), tcps[index].space.window(from: buffer))
  }

  // MARK: The window that is offered

  /// The window to tell the other end, which is never taken back (tcp_select_window).
  mutating func tcpSelectWindow(_ index: TCPIndex) -> UInt32 {
    let current = tcps[index].openWindow
    let scale = UInt32(tcps[index].receiveScale)
    var window = tcpFreeWindow(index)
    let namespace = sockets[tcps[index].socket].namespace
    if window < current {
      if window == 0 { namespaces[namespace].snmp[.tcpExtTCPWantZeroWindowAdv] &+= 1 }
      let unit: UInt32 = 1 << scale
      window = (current + unit - 1) & ~(unit - 1)
    }
    let most: UInt32 = tcps[index].hasWindowScale ? 65535 << scale : 65535
    window = min(window, most)
    let before = tcps[index].receiveWindow
    if window == 0, before != 0 { namespaces[namespace].snmp[.tcpExtTCPToZeroWindowAdv] &+= 1 }
    if window != 0, before == 0 { namespaces[namespace].snmp[.tcpExtTCPFromZeroWindowAdv] &+= 1 }
    tcps[index].receiveWindow = window
    tcps[index].windowUpdate = tcps[index].receiveNext
    return window
  }

  /// The room in the receive buffer, as much as is worth telling (__tcp_select_window, RFC 9293 3.8.6.2.2).
  func tcpFreeWindow(_ index: TCPIndex) -> UInt32 {
    let socket = tcps[index].socket
    let space = tcps[index].space
    let allowed = space.window(from: sockets[socket].options.receiveBuffer)
    let full = min(space.clamp, allowed)
    let mss = min(tcps[index].receivedMSS, full)
    guard mss > 0 else { return 0 }
    let unit = 1 << Int(tcps[index].receiveScale)
    var free = space.window(
      from: sockets[socket].options.receiveBuffer - sockets[socket].receiveQueue.charged)
    if free < full >> 1 {
      free &= ~(unit - 1)
      if free < allowed >> 4 || free < mss { return 0 }
    }
    free = min(free, space.threshold)
    guard tcps[index].receiveScale == 0 else { return UInt32((free + unit - 1) & ~(unit - 1)) }
    let current = Int(tcps[index].receiveWindow)
    if current <= free - mss || current > free { return UInt32(free / mss * mss) }
    if mss == full, free > current + full >> 1 { return UInt32(free) }
    return UInt32(current)
  }
}
