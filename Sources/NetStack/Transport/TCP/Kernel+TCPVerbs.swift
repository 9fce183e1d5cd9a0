// SPDX-License-Identifier: GPL-2.0-or-later

// What a stream socket's user does (net/ipv4/tcp.c, af_inet.c __inet_stream_connect): connect, send, receive, end.

import NetTypes

extension Kernel {
  mutating func insertTCP(for socket: SocketIndex) -> TCPIndex? {
    guard let index = tcps.insert(TCPSock(socket: socket)) else {
      forgetSocket(socket)
      return nil
    }
    let namespace = sockets[socket].namespace
    sockets[socket].tcp = index
    sockets[socket].options.receiveBuffer = namespaces[namespace].tcp.receiveMemory.standard
    sockets[socket].options.sendBuffer = namespaces[namespace].tcp.sendMemory.standard
    tcps[index].algorithm = namespaces[namespace].tcp.congestionControl
    return index
  }

  // MARK: Connecting

  /// Begins a connection. EINPROGRESS: it is asked for, and news comes when it stands or fails; EALREADY: it still is;
  /// EISCONN: it stands; once, what it failed with.
  mutating func tcpConnect(_ socket: SocketIndex, to peer: SocketAddress) throws(KernelError) {
    let index = sockets[socket].tcp
    switch tcps[index].connection {
    case .complete: throw .isConnected
    case .ending: throw .invalidArgument
    case .pending:
      let state = tcps[index].state
      if state == .synSent || state == .synReceived { throw .alreadyInProgress }
      if state == .close {
        // Told, the failure is over, and the socket as it was (tcp_disconnect).
        tcps[index].connection = .none
        tcps[index].isDone = false
        sockets[socket].shutdown = []
        sockets[socket].peer = nil
        let error = takeError(of: socket)
        throw error == 0 ? .connectionAborted : KernelError(error)
      }
      tcps[index].connection = .complete
      return
    case .none: break
    }
    guard tcps[index].state == .close else { throw .isConnected }
    guard peer.address.family == sockets[socket].kind.family else { throw .familyNotSupported }
    let target = try destination(of: socket, peer)
    let route = try socketRoute(socket, to: target, SendControl())
    guard !route.isBroadcast, !target.address.isMulticast else { throw .networkUnreachable }
    let source = route.source
    let namespace = sockets[socket].namespace
    if sockets[socket].local.port == 0 {
      guard let port = tcpFreePort(source, target, in: namespace) else { throw .addressNotAvailable }
      sockets[socket].local.port = port
      enlist(socket, port)
    }
    let local = SocketAddress(source, sockets[socket].local.port)
    let key = FlowKey(local: local, remote: target)
    var reused: UInt32?
    guard tcpMayUse(key, in: namespace, &reused) else { throw .addressNotAvailable }
    sockets[socket].local.address = source
    sockets[socket].source = source
    sockets[socket].peer = target
    sockets[socket].error = 0
    sockets[socket].shutdown = []
    namespaces[namespace].sockets.flows.insert(key, .socket(socket))
    tcps[index].key = key
    tcps[index].connection = .pending
    namespaces[namespace].snmp[.tcpActiveOpens] &+= 1
    tcpSendSyn(index, key, route, reused)
    throw .inProgress
  }

  private mutating func tcpSendSyn(
    _ index: TCPIndex, _ key: FlowKey, _ route: SocketRoute, _ reused: UInt32?
  ) {
    let socket = tcps[index].socket
    let secret = namespaces[sockets[socket].namespace].sockets.secret
    let namespace = sockets[socket].namespace
    tcps[index].restart()
    tcps[index].mstamp = cpu.now
    tcps[index].ownMSS = route.segmentSize
    tcps[index].pathMSS = route.segmentSize
    tcps[index].mss = min(536, tcps[index].ownMSS)
    tcps[index].hasTimestamps = namespaces[namespace].tcp.isOn(.timestamps)
    tcps[index].hasSACK = namespaces[namespace].tcp.isOn(.sack)
    tcps[index].hasWindowScale = namespaces[namespace].tcp.isOn(.windowScaling)
    tcps[index].ecn.isOn = namespaces[namespace].tcp[.ecn] == 1
    tcps[index].timestampOffset = UInt32(truncatingIfNeeded: key.hostHash(secret))
    let window = tcpFirstWindow(socket, tcps[index].advertisedMSS, isScaled: tcps[index].hasWindowScale)
    tcps[index].receiveWindow = window.bytes
    tcps[index].receiveScale = window.scale
    let initial = reused ?? tcpInitialSequence(key, secret)
    tcps[index].initialSend = initial
    tcps[index].pushedEnd = initial &+ 1
    tcps[index].sendUnacknowledged = initial
    tcps[index].sendNext = initial &+ 1
    tcps[index].recoveryPoint = initial
    tcps[index].state = .synSent
    tcps[index].delivery.firstSentAt = cpu.now
    tcpTransmit(index, initial, 0, tcps[index].ecn.isOn ? [.syn, .ece, .cwr] : .syn)
    tcps[index].setTimer(.retransmit, after: tcps[index].rtt.timeout)
    tcpSettleTimer(index)
  }

  /// RFC 6528: a clock of 64 ns beside a keyed hash of the names.
  func tcpInitialSequence(_ key: FlowKey, _ secret: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: key.hash(secret ^ 0x5e9_0e4c)) &+ UInt32(truncatingIfNeeded: cpu.now >> 6)
  }

  /// The window of a SYN in whole segments, as far as the field holds it, and the scale that the largest buffer needs
  /// (tcp_select_initial_window).
  func tcpFirstWindow(_ socket: SocketIndex, _ mss: Int, isScaled: Bool) -> (bytes: UInt32, scale: UInt8) {
    let namespace = sockets[socket].namespace
    var most = sockets[socket].options.windowClamp > 0 ? sockets[socket].options.windowClamp : 65535 << 14
    // A buffer that the user has chosen never grows.
    if sockets[socket].options.isReceiveBufferLocked {
      most = min(most, sockets[socket].options.receiveBuffer / 2)
    }
    var space = min(sockets[socket].options.receiveBuffer / 2, most)
    if space > mss { space = space / mss * mss }
    let limit = namespaces[namespace].tcp.isOn(.workaroundSignedWindows) ? 32767 : 65535
    var scale = 0
    if isScaled {
      let largest = namespaces[namespace].tcp.receiveMemory.maximum
      let wanted = min(max(space, largest, SocketOptions.bufferMaximum), most)
      scale = min(max(Int.bitWidth - 1 - wanted.leadingZeroBitCount - 15, 0), 14)
    }
    return (UInt32(min(space, limit)), UInt8(scale))
  }

  /// What one segment to an address has room for on this end's device.
  mutating func tcpOwnMSS(_ socket: SocketIndex, local: IPAddress, remote: SocketAddress) -> Int {
    (try? socketRoute(socket, to: remote, SendControl(source: local)).segmentSize) ?? 536
  }

  /// A port from which nobody speaks to that name yet (__inet_hash_connect).
  private mutating func tcpFreePort(
    _ source: IPAddress, _ peer: SocketAddress, in namespace: NamespaceIndex
  ) -> UInt16? {
    let range = namespaces[namespace].ipv4.localPorts
    let count = Int(range.upperBound - range.lowerBound) + 1
    let start = Int(cpu.random.below(UInt64(count)))
    for step in 0..<count {
      let port = range.lowerBound + UInt16((start + step) % count)
      if tcpMayConnect(from: SocketAddress(source, port), to: peer, in: namespace) { return port }
    }
    return nil
  }

  /// Ports that somebody was given by bind are left alone; those of connections are shared.
  private mutating func tcpMayConnect(
    from local: SocketAddress, to peer: SocketAddress, in namespace: NamespaceIndex
  ) -> Bool {
    var cursor = namespaces[namespace].sockets.tcp.first(local.port)
    while cursor != PortTable.end {
      let other = namespaces[namespace].sockets.tcp.socket(at: cursor)
      if sockets[other].isPortBound || isListening(other) { return false }
      cursor = namespaces[namespace].sockets.tcp.next(cursor, local.port)
    }
    var reused: UInt32?
    return tcpMayUse(FlowKey(local: local, remote: peer), in: namespace, &reused)
  }

  /// A pair of names is free, or was used by a connection that time alone still keeps (tcp_twsk_unique), beyond whose
  /// numbers the next one begins.
  private mutating func tcpMayUse(
    _ key: FlowKey, in namespace: NamespaceIndex, _ reused: inout UInt32?
  ) -> Bool {
    switch namespaces[namespace].sockets.flows.find(key) {
    case nil: return true
    case .request: return false
    case .socket(let socket):
      let old = sockets[socket].timeWait
      let mode = namespaces[namespace].tcp[.timeWaitReuse]
      let isLoopback = sockets[socket].local.address.isLoopback
      guard mode == 1 || mode == 2 && isLoopback, !old.isNone, timeWaits[old].hasTimestamps,
        cpu.now - timeWaits[old].recentTimestampTime > Int64(namespaces[namespace].tcp[.timeWaitReuseDelay])
          * 1_000_000
      else { return false }
      reused = max(timeWaits[old].sendNext &+ 65537, 1)
      namespaces[namespace].snmp[.tcpExtTWRecycled] &+= 1
      tcpEndTimeWait(old)
      return true
    }
  }

  // MARK: Sending and receiving

  /// What is wrong with a connection that bytes are to be sent on.
  private mutating func tcpCheckSending(_ socket: SocketIndex) throws(KernelError) {
    let index = sockets[socket].tcp
    switch tcps[index].state {
    case .established, .closeWait: break
    case .synSent, .synReceived:
      let error = takeError(of: socket)
      guard error == 0 else { throw KernelError(error) }
      tcps[index].awaitsRoom = true
      throw .wouldBlock
    default:
      let error = takeError(of: socket)
      throw error == 0 ? .brokenPipe : KernelError(error)
    }
    guard sockets[socket].error == 0, !sockets[socket].shutdown.contains(.send) else {
      let error = takeError(of: socket)
      throw error == 0 ? .brokenPipe : KernelError(error)
    }
    tcpFollowPath(index)
    tcps[index].noteApplicationLimit(charged: pool.writers.charged(to: socket.rawValue))
  }

  /// Room of the packet that is written to, or of another one, if the buffer has memory for it: the last packet is always
  /// filled up.
  private func tcpSendRoom(_ index: TCPIndex, isUrgent: Bool = false) -> (bytes: Int, isNew: Bool) {
    let mss = tcps[index].currentMSS
    let goal = isUrgent ? mss : tcps[index].packetGoal(mss)
    let there = tcps[index].writeQueue.lastLength(from: tcps[index].sendNext)
    if let last = tcps[index].writeQueue.last, !last.endsRecord, there < goal { return (goal - there, false) }
    return streamHasMemory(tcps[index].socket) ? (goal, true) : (0, true)
  }

  /// Takes bytes to be sent, packet by packet, as many as the buffer has memory for (tcp_sendmsg_locked). The last of
  /// urgent ones is told apart.
  mutating func tcpSend(
    _ data: borrowing RawSpan, on socket: SocketIndex, _ control: SendControl
  ) throws(KernelError) -> Int {
    let index = sockets[socket].tcp
    try tcpCheckSending(socket)
    guard data.byteCount > 0 else { return 0 }
    var taken = 0
    while taken < data.byteCount {
      let room = tcpSendRoom(index, isUrgent: control.isUrgent)
      let wanted = min(data.byteCount - taken, room.bytes)
      let count =
        wanted > 0 ? tcps[index].unacknowledged.append(data.extracting(taken..<taken + wanted), &pool) : 0
      guard count > 0 else { break }
      tcps[index].writeQueue.write(to: tcps[index].writeEnd, isNew: room.isNew, takesMark: taken == 0)
      taken += count
      if taken < data.byteCount, count == room.bytes { tcpPushFull(index) }
    }
    if taken < data.byteCount { tcps[index].awaitsRoom = true }
    guard taken > 0 else { throw .wouldBlock }
    let isWhole = taken == data.byteCount
    if isWhole, control.isUrgent { tcps[index].sendUrgent = tcps[index].writeEnd }
    if isWhole, control.endsRecord { tcps[index].writeQueue.markRecord() }
    if stampedSockets > 0 { tcpStampWrite(index) }
    tcpPushWritten(index, taken, isWhole ? control.isContinued ? .corked : .plain : .withoutNagle)
    return taken
  }

  /// A packet is full, and more follows: what is half of the window goes, and what can begin does.
  private mutating func tcpPushFull(_ index: TCPIndex) {
    if tcps[index].mustPush {
      tcps[index].markPush()
      tcpPush(index, .withoutNagle)
    } else if tcps[index].writeQueue.count == 1 {
      tcpPush(index, .one)
    }
  }

  /// The same of bytes that are written where they will stand.
  mutating func tcpSend(
    on socket: SocketIndex, atMost limit: Int, _ body: (inout MutableRawSpan) -> Int
  ) throws(KernelError) -> Int {
    let index = sockets[socket].tcp
    try tcpCheckSending(socket)
    guard limit > 0 else { return 0 }
    let room = tcpSendRoom(index)
    guard room.bytes > 0 else {
      tcps[index].awaitsRoom = true
      throw .wouldBlock
    }
    let taken = tcps[index].unacknowledged.append(atMost: min(room.bytes, limit), &pool, body)
    guard taken > 0 else { return 0 }
    tcps[index].writeQueue.write(to: tcps[index].writeEnd, isNew: room.isNew, takesMark: true)
    tcpPushWritten(index, taken, .plain)
    return taken
  }

  /// Bytes have been written: they go, or wait for those that may follow (tcp_push).
  private mutating func tcpPushWritten(_ index: TCPIndex, _ length: Int, _ how: TCPPush) {
    tcps[index].statistics.begin(.busy, cpu.now)
    if how != .corked || tcps[index].mustPush { tcps[index].markPush() }
    guard tcpMustCork(index, length) else {
      tcpPush(index, how)
      return
    }
    namespaces[sockets[tcps[index].socket].namespace].snmp[.tcpExtTCPAutoCorking] &+= 1
  }

  /// A small write waits for those that may follow while packets of this socket are still on their way down
  /// (tcp_should_autocork): what leaves goes on with it.
  private mutating func tcpMustCork(_ index: TCPIndex, _ length: Int) -> Bool {
    let socket = tcps[index].socket
    guard length < tcps[index].mss, tcps[index].unsentBytes < tcps[index].mss, !tcps[index].sent.isEmpty,
      namespaces[sockets[socket].namespace].tcp.isOn(.autocorking),
      pool.writers.charged(to: socket.rawValue) > 4096
    else { return false }
    pool.writers.await(socket.rawValue, 4096)
    return true
  }

  /// Whether the next byte is an urgent one that stands apart from the stream, so that reading passes it.
  private func tcpPassesUrgent(_ index: TCPIndex) -> Bool {
    !tcps[index].urgent.isNone && tcps[index].urgent.sequence == tcps[index].copied
      && tcps[index].receiveNext != tcps[index].copied
      && !sockets[tcps[index].socket].options.urgentInline
  }

  /// Lends bytes that have come; none at the end of the stream (tcp_recvmsg). Reading stops before an urgent byte and
  /// then passes it.
  mutating func tcpPeek(
    _ socket: SocketIndex, limit: Int, _ body: (PacketBytes) -> Void
  ) throws(KernelError) -> Int {
    let index = sockets[socket].tcp
    guard tcps[index].state != .listen else { throw .notConnected }
    var most = limit
    if !tcps[index].urgent.isNone {
      let distance = Int(Int32(bitPattern: tcps[index].urgent.sequence &- tcps[index].copied))
      if distance > 0 { most = min(most, distance) }
    }
    var skip = tcpPassesUrgent(index) ? 1 : 0
    var slot = sockets[socket].receiveQueue.head
    var offset = tcps[index].readOffset
    var seen = 0
    for _ in 0..<sockets[socket].receiveQueue.count where seen < most {
      let passed = min(skip, Int(pool[slot].length) - offset)
      skip -= passed
      offset += passed
      let count = min(Int(pool[slot].length) - offset, most - seen)
      if count > 0 { pool.forEachPiece(of: slot, from: offset, count: count, body) }
      seen += count
      slot = pool[slot].next
      offset = 0
    }
    guard seen == 0 else { return seen }
    if tcps[index].isDone || limit == 0 { return 0 }
    let error = takeError(of: socket)
    guard error == 0 else { throw KernelError(error) }
    if sockets[socket].shutdown.contains(.receive) { return 0 }
    guard tcps[index].state != .close else { throw .notConnected }
    throw .wouldBlock
  }

  /// The user has read: room is told when it is worth it (tcp_cleanup_rbuf). EINVAL: there is not so much.
  mutating func tcpConsume(_ socket: SocketIndex, _ count: Int) throws(KernelError) {
    let index = sockets[socket].tcp
    let total = count + (tcpPassesUrgent(index) ? 1 : 0)
    var slot = sockets[socket].receiveQueue.head
    var there = -tcps[index].readOffset
    for _ in 0..<sockets[socket].receiveQueue.count where there < total {
      there += Int(pool[slot].length)
      slot = pool[slot].next
    }
    guard total <= there else { throw .invalidArgument }
    tcpTake(index, total)
    if !tcps[index].urgent.isNone, isAfter(tcps[index].copied, tcps[index].urgent.sequence) {
      tcps[index].urgent.state = .none
    }
  }

  /// Takes bytes that are there out of the queue.
  mutating func tcpTake(_ index: TCPIndex, _ count: Int) {
    let socket = tcps[index].socket
    var rest = count
    while rest > 0, sockets[socket].receiveQueue.count > 0 {
      let head = sockets[socket].receiveQueue.head
      let there = Int(pool[head].length) - tcps[index].readOffset
      guard rest >= there else {
        tcps[index].readOffset += rest
        break
      }
      rest -= there
      tcps[index].readOffset = 0
      if let slot = takeReceived(socket) { pool.free(slot, .consumed) }
    }
    tcps[index].copied &+= UInt32(count)
    tcps[index].mstamp = cpu.now
    tcpAdjustReceiveBuffer(index)
    switch tcps[index].state {
    case .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck: break
    default: return
    }
    let owed = Int(tcps[index].receiveNext &- tcps[index].windowUpdate)
    let isRead = sockets[socket].receiveQueue.count == 0
    var isDue =
      tcps[index].owesACK && (owed > tcps[index].receivedMSS || isRead && !tcps[index].isInteractive)
    let window = tcps[index].openWindow
    if !isDue, !sockets[socket].shutdown.contains(.receive), 2 * Int(window) <= tcps[index].space.clamp {
      let fresh = tcpFreeWindow(index)
      isDue = fresh > 0 && fresh >= 2 * window
    }
    if isDue { tcpSendACK(index) }
  }

  // MARK: Ending

  /// Sends a FIN behind what is queued (tcp_shutdown, tcp_close_state).
  mutating func tcpSendFin(_ index: TCPIndex) {
    switch tcps[index].state {
    case .established, .synReceived: tcps[index].state = .finWait1
    case .closeWait: tcps[index].state = .lastAck
    default: return
    }
    tcps[index].finSequence = tcps[index].writeEnd
    tcps[index].isFinQueued = true
    tcpPush(index)
  }

  /// inet_shutdown for streams.
  mutating func tcpShutdown(_ socket: SocketIndex, _ how: SocketShutdown) throws(KernelError) {
    let index = sockets[socket].tcp
    if tcps[index].connection == .pending {
      switch tcps[index].state {
      case .synSent, .synReceived, .close, .timeWait: tcps[index].connection = .ending
      default: tcps[index].connection = .complete
      }
    }
    switch tcps[index].state {
    case .close, .timeWait:
      sockets[socket].shutdown.formUnion(how)
      notify(socket, [.in, .readNormal, .readHangUp, .hangUp])
      throw .notConnected
    case .listen:
      if how.contains(.receive) {
        tcpStopListening(index)
        tcps[index].state = .close
        notify(socket, .hangUp)
      }
    case .synSent:
      // As if nobody had asked for a connection, but for the error (tcp_disconnect).
      tcpDone(index)
      tcps[index].connection = .none
      sockets[socket].shutdown = []
      sockets[socket].peer = nil
      sockets[socket].error = KernelError.connectionReset.errno
      notify(socket, [.hangUp, .error])
    default:
      sockets[socket].shutdown.formUnion(how)
      // A handshake that is under way is completed first.
      if how.contains(.send), tcps[index].state != .synReceived { tcpSendFin(index) }
      notify(socket, how.contains(.receive) ? [.in, .readNormal, .readHangUp] : [.out, .writeNormal])
    }
  }

  /// The user has gone (tcp_close): what was not read is answered with a reset, else all is sent and ended.
  mutating func tcpClose(_ socket: SocketIndex) {
    let index = sockets[socket].tcp
    tcps[index].isOrphan = true
    sockets[socket].shutdown = .both
    let hasUnread = sockets[socket].receiveQueue.count > 0
    dropReceived(of: socket)
    switch tcps[index].state {
    case .listen:
      tcpStopListening(index)
      tcpDone(index)
    case .close, .synSent: tcpDone(index)
    case .timeWait: tcpForget(index)
    case .lastAck, .closing, .finWait1: break
    case .finWait2:
      if sockets[socket].options.linger2 ?? 0 < 0 {
        namespaces[sockets[socket].namespace].snmp[.tcpExtTCPAbortOnLinger] &+= 1
        tcpSendReset(index)
        tcpDone(index)
      } else {
        tcpAwaitFin(index)
      }
    case .established, .synReceived, .closeWait:
      let namespace = sockets[socket].namespace
      if hasUnread {
        namespaces[namespace].snmp[.tcpExtTCPAbortOnClose] &+= 1
        tcpSendReset(index)
        tcpDone(index)
      } else if sockets[socket].options.linger == 0 {
        namespaces[namespace].snmp[.tcpExtTCPAbortOnData] &+= 1
        tcpSendReset(index)
        tcpDone(index)
      } else {
        tcpSendFin(index)
      }
    }
    guard tcps.contains(index), !tcps[index].isCountedWaiting else { return }
    tcps[index].isCountedOrphan = true
    orphans += 1
    // Too many that nobody uses: this one is not waited for (tcp_check_oom).
    guard orphans > options.orphanLimit else { return }
    namespaces[sockets[socket].namespace].snmp[.tcpExtTCPAbortOnMemory] &+= 1
    tcpSendReset(index)
    tcpDone(index)
  }

  /// Whether one that nobody uses ends, now that its timer has come, because there are too many: those whose peer is silent
  /// count for more (tcp_out_of_resources).
  mutating func tcpIsOutOfResources(_ index: TCPIndex, resets: Bool) -> Bool {
    let namespace = sockets[tcps[index].socket].namespace
    let silence = cpu.now - tcps[index].lastSent
    var weight = tcps[index].softError == 0 ? 0 : 1
    if !resets || silence > 2 * namespaces[namespace].tcp.maximumTimeout { weight += 1 }
    guard orphans << weight > options.orphanLimit else { return false }
    let isClosed = tcps[index].sendWindow == 0 && tcps[index].sent.isEmpty
    if resets || silence <= TimeWaitSock.length || isClosed { tcpSendReset(index) }
    namespaces[namespace].snmp[.tcpExtTCPAbortOnMemory] &+= 1
    tcpDone(index)
    return true
  }

  /// It is over, or waits in another state.
  mutating func tcpUncount(_ index: TCPIndex) {
    if tcps[index].isCountedOrphan { orphans -= 1 }
    if tcps[index].isCountedWaiting { namespaces[sockets[tcps[index].socket].namespace].timeWaits -= 1 }
    (tcps[index].isCountedOrphan, tcps[index].isCountedWaiting) = (false, false)
  }

  /// A connection is over (tcp_done): nothing of it is left but what the user has not heard.
  mutating func tcpDone(_ index: TCPIndex) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    tcpUncount(index)
    tcps[index].state = .close
    tcpStopTimers(index)
    tcps[index].sent.removeAll()
    (tcps[index].sackedOut, tcps[index].lostOut, tcps[index].retransmittedOut) = (0, 0, 0)
    if let key = tcps[index].key { namespaces[namespace].sockets.flows.remove(key) }
    tcps[index].key = nil
    tcps[index].unacknowledged.removeAll(&pool)
    tcps[index].writeQueue = WriteQueue()
    tcps[index].sentPackets = 0
    tcps[index].stamps = []
    tcpDropOutOfOrder(index)
    sockets[socket].shutdown = .both
    if !sockets[socket].isPortBound || tcps[index].isOrphan { unbind(socket) }
    guard tcps[index].isOrphan else { return }
    let listener = tcps[index].listener
    if !listener.isNone { tcps[listener].acceptQueue.removeAll { $0 == index } }
    tcpForget(index)
    endSocket(socket)
  }

  mutating func tcpStopTimers(_ index: TCPIndex) {
    cpu.wheel.cancel(&tcps[index].retransmitTimer)
    cpu.wheel.cancel(&tcps[index].delayedACKTimer)
    cpu.wheel.cancel(&tcps[index].stateTimer)
    cpu.wheel.cancel(&tcps[index].keepaliveTimer)
    tcps[index].pending = .none
  }

  /// Nobody uses a connection any more, and of its socket no more than its names.
  mutating func tcpForget(_ index: TCPIndex) {
    let socket = tcps[index].socket
    tcpStopTimers(index)
    tcps[index].unacknowledged.removeAll(&pool)
    dropReceived(of: socket)
    tcps.remove(index)
    sockets[socket].tcp = .none
  }

  // MARK: Readiness

  /// sk_stream_is_writeable: a third of what is queued is free at least, and not too much of it was never sent.
  func streamIsWritable(_ socket: SocketIndex) -> Bool {
    let queued = tcps[sockets[socket].tcp].queuedMemory
    return sockets[socket].options.sendBuffer - queued >= queued / 2 && streamHasMemory(socket, twice: true)
  }

  /// Whether the buffer has memory, and less than TCP_NOTSENT_LOWAT, or half of that, was never sent
  /// (tcp_stream_memory_free).
  private func streamHasMemory(_ socket: SocketIndex, twice: Bool = false) -> Bool {
    guard tcps[sockets[socket].tcp].queuedMemory < sockets[socket].options.sendBuffer else { return false }
    let own = sockets[socket].options.notSentLowWater
    let limit = own > 0 ? own : namespaces[sockets[socket].namespace].tcp[.notSentLowWater]
    return tcps[sockets[socket].tcp].unsentBytes << (twice ? 1 : 0) < limit
  }

  /// tcp_poll.
  func streamReadiness(of socket: SocketIndex) -> Readiness {
    let index = sockets[socket].tcp
    let state = tcps[index].state
    if state == .listen { return tcps[index].acceptQueue.isEmpty ? [] : [.in, .readNormal] }
    var ready: Readiness = []
    let shutdown = sockets[socket].shutdown
    if shutdown == .both || state == .close { ready.insert(.hangUp) }
    if shutdown.contains(.receive) { ready.formUnion([.in, .readNormal, .readHangUp]) }
    if state != .synSent, state != .synReceived {
      // An urgent byte alone is nothing to read.
      let isApart =
        !tcps[index].urgent.isNone && tcps[index].urgent.sequence == tcps[index].copied
        && !sockets[socket].options.urgentInline
      if Int(tcps[index].receiveNext &- tcps[index].copied) > (isApart ? 1 : 0),
        sockets[socket].receiveQueue.count > 0
      {
        ready.formUnion([.in, .readNormal])
      }
      if shutdown.contains(.send) || streamIsWritable(socket) { ready.formUnion([.out, .writeNormal]) }
    }
    if tcps[index].urgent.isHere { ready.insert(.priority) }
    if sockets[socket].error != 0 || !sockets[socket].errorQueue.isEmpty { ready.insert(.error) }
    return ready
  }

  // MARK: Errors

  /// An ICMP error about a segment (tcp_v4_err).
  mutating func tcpError(_ error: ICMPErrorReport, in namespace: NamespaceIndex) {
    let ports = (error.transport.u16(TCPHeader.source), error.transport.u16(TCPHeader.destination))
    let key = FlowKey(
      local: SocketAddress(error.source, ports.0), remote: SocketAddress(error.destination, ports.1))
    guard case .socket(let socket) = namespaces[namespace].sockets.flows.find(key) else {
      namespaces[namespace].snmp[error.source.family == .ipv6 ? .icmp6InErrors : .icmpInErrors] &+= 1
      return
    }
    guard sockets[socket].timeWait.isNone else { return }
    let index = sockets[socket].tcp
    let sequence = error.transport.u32(TCPHeader.sequence)
    // Whoever does not know what was sent has no say (RFC 5927 4.1).
    guard !isBefore(sequence, tcps[index].sendUnacknowledged),
      !isAfter(sequence, tcps[index].sendNext)
    else {
      namespaces[namespace].snmp[.tcpExtOutOfWindowIcmps] &+= 1
      return
    }
    learnPath(from: error, in: namespace)
    if error.errno == KernelError.messageTooLong.errno {
      // tcp_v4_mtu_reduced: what counts is what is believed of the way now.
      let before = tcps[index].pathMSS
      tcpFollowPath(index)
      guard tcps[index].state.isSynchronized, tcps[index].pathMSS < before else { return }
      tcps[index].mstamp = cpu.now
      tcps[index].resendLarge(&namespaces[namespace])
      tcpRetransmitQueue(index)
      return
    }
    guard error.errno != 0 else { return }
    if tcps[index].state == .synSent || tcps[index].state == .synReceived {
      tcpFail(index, KernelError(error.errno))
    } else {
      tcps[index].softError = error.errno
    }
  }
}
