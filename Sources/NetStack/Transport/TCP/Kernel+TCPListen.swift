// SPDX-License-Identifier: GPL-2.0-or-later

// Listening (net/ipv4/tcp_input.c tcp_conn_request, tcp_minisocks.c tcp_check_req, inet_connection_sock.c): a SYN makes
// a request in the SYN queue; the acknowledgment that completes the handshake makes a connection in the accept queue.

import NetTypes

extension Kernel {
  /// Takes a segment for an address and a port that somebody listens on.
  mutating func tcpListen(
    _ segment: TCPSegment, _ listener: TCPIndex, _ key: FlowKey, _ local: SocketAddress,
    _ remote: SocketAddress
  ) {
    let namespace = sockets[tcps[listener].socket].namespace
    let flags = segment.flags
    if flags.contains(.ack), flags.isDisjoint(with: [.rst, .syn]) {
      guard let request = tcpTakeCookie(segment, listener, key, local, remote) else {
        tcpReplyReset(to: segment, local, remote, in: namespace)
        drop(segment.slot, .tcpFlags, in: namespace)
        return
      }
      tcpComplete(request, nil, segment)
      return
    }
    if flags.contains(.ack), !flags.contains(.rst) {
      tcpReplyReset(to: segment, local, remote, in: namespace)
    }
    guard flags.contains(.syn), flags.isDisjoint(with: [.ack, .rst, .fin]) else {
      drop(
        segment.slot, flags.intersection([.ack, .rst]) == .rst ? .tcpReset : .tcpFlags, in: namespace)
      return
    }
    tcpRequest(segment, listener, key, local, remote, initialSend: nil)
  }

  /// A listener cannot take one more (tcp_listendrop).
  private mutating func tcpDropAtListener(_ listener: TCPIndex) {
    let socket = tcps[listener].socket
    sockets[socket].drops &+= 1
    namespaces[sockets[socket].namespace].snmp[.tcpExtListenDrops] &+= 1
  }

  /// A SYN asks for a connection (tcp_conn_request).
  mutating func tcpRequest(
    _ segment: TCPSegment, _ listener: TCPIndex, _ key: FlowKey, _ local: SocketAddress,
    _ remote: SocketAddress, initialSend: UInt32?
  ) {
    let socket = tcps[listener].socket
    let namespace = sockets[socket].namespace
    defer { drop(segment.slot, .consumed, in: namespace) }
    var isCookie = false
    let waiting = tcps[listener].requests.count
    if namespaces[namespace].tcp[.synCookies] == 2 || waiting > tcps[listener].backlog, initialSend == nil {
      guard namespaces[namespace].tcp.isOn(.synCookies) else {
        namespaces[namespace].snmp[.tcpExtTCPReqQFullDrop] &+= 1
        tcpDropAtListener(listener)
        return
      }
      namespaces[namespace].snmp[.tcpExtTCPReqQFullDoCookies] &+= 1
      isCookie = true
    }
    guard tcps[listener].acceptQueue.count <= tcps[listener].backlog else {
      namespaces[namespace].snmp[.tcpExtListenOverflows] &+= 1
      tcpDropAtListener(listener)
      return
    }
    // Without cookies the last quarter is not for those that nobody knows.
    let most = namespaces[namespace].tcp[.maxSynBacklog]
    guard
      isCookie || initialSend != nil || namespaces[namespace].tcp.isOn(.synCookies)
        || most - waiting >= most >> 2
    else {
      tcpDropAtListener(listener)
      return
    }
    var request = tcpMakeRequest(segment, listener, key, local, remote, isCookie: isCookie)
    let secret = namespaces[namespace].sockets.secret
    if isCookie {
      // Nothing is kept: what comes back says it all.
      tcps[listener].lastOverflow = cpu.now
      request.initialSend = SynCookie.sequence(
        key, local.address.family, mss: request.peerMSS, peer: segment.sequence, secret, cpu.now)
      namespaces[namespace].snmp[.tcpExtSyncookiesSent] &+= 1
      tcpSendSynACK(request, isCookie: true)
      return
    }
    request.initialSend = initialSend ?? tcpInitialSequence(key, secret)
    guard let index = requests.insert(request) else {
      tcpDropAtListener(listener)
      return
    }
    namespaces[namespace].sockets.flows.insert(key, .request(index))
    tcps[listener].requests.append(index)
    tcpSendSynACK(request, isCookie: false)
    tcpArmRequest(index)
  }

  /// What a SYN's options agree to.
  private mutating func tcpMakeRequest(
    _ segment: TCPSegment, _ listener: TCPIndex, _ key: FlowKey, _ local: SocketAddress,
    _ remote: SocketAddress, isCookie: Bool
  ) -> TCPRequest {
    let socket = tcps[listener].socket
    let namespace = sockets[socket].namespace
    let options = segment.options
    var ownMSS = tcpOwnMSS(socket, local: local.address, remote: remote)
    if tcps[listener].userMSS > 0 { ownMSS = min(ownMSS, tcps[listener].userMSS) }
    let hasTimestamps = options.timestamp != nil && namespaces[namespace].tcp.isOn(.timestamps)
    // A cookie has no place for options but in a timestamp.
    let keeps = !isCookie || hasTimestamps
    let hasScale = options.windowScale != nil && namespaces[namespace].tcp.isOn(.windowScaling) && keeps
    let window = tcpFirstWindow(socket, ownMSS - (hasTimestamps ? 12 : 0), isScaled: hasScale)
    return TCPRequest(
      listener: listener, key: key, local: local, remote: remote, initialSend: 0,
      initialReceive: segment.sequence,
      peerMSS: options.maximumSegmentSize == 0 ? 536 : Int(options.maximumSegmentSize), ownMSS: ownMSS,
      sendScale: hasScale ? options.windowScale ?? 0 : 0, receiveScale: window.scale,
      hasTimestamps: hasTimestamps,
      hasSACK: options.isSACKPermitted && namespaces[namespace].tcp.isOn(.sack) && keeps,
      hasWindowScale: hasScale,
      hasECN: segment.flags.isSuperset(of: [.ece, .cwr]) && segment.ecn == 0
        && namespaces[namespace].tcp.isOn(.ecn) && keeps,
      recentTimestamp: options.timestamp?.value ?? 0,
      timestampOffset: UInt32(truncatingIfNeeded: key.hostHash(namespaces[namespace].sockets.secret)),
      receiveWindow: window.bytes, sentAt: cpu.now, lastSentAt: cpu.now)
  }

  private mutating func tcpArmRequest(_ index: TCPRequestIndex) {
    let namespace = sockets[tcps[requests[index].listener].socket].namespace
    let timeout = min(
      TCPSock.initialTimeout << Int64(min(requests[index].timeouts, 20)),
      namespaces[namespace].tcp.maximumTimeout)
    cpu.wheel.rearm(
      &requests[index].timer, TimerEvent(kind: .tcpRequest, index: index.rawValue), at: cpu.now + timeout)
  }

  /// The SYN-ACK once more (tcp_rtx_synack).
  private mutating func tcpRepeatSynACK(_ index: TCPRequestIndex) {
    let namespace = sockets[tcps[requests[index].listener].socket].namespace
    namespaces[namespace].snmp[.tcpRetransSegs] &+= 1
    namespaces[namespace].snmp[.tcpExtTCPSynRetrans] &+= 1
    requests[index].retransmits += 1
    requests[index].lastSentAt = cpu.now
    tcpSendSynACK(requests[index], isCookie: false)
  }

  private mutating func tcpMayAnswer(_ index: TCPRequestIndex, _ namespace: NamespaceIndex) -> Bool {
    guard tcpMayAnswerOutOfWindow(since: requests[index].lastOutOfWindowACK, namespace) else {
      namespaces[namespace].snmp[.tcpExtTCPACKSkippedSynRecv] &+= 1
      return false
    }
    requests[index].lastOutOfWindowACK = cpu.now
    return true
  }

  private mutating func tcpSendSynACK(_ request: TCPRequest, isCookie: Bool) {
    let namespace = sockets[tcps[request.listener].socket].namespace
    var options = TCPOptions()
    options.maximumSegmentSize = UInt16(clamping: request.ownMSS)
    options.isSACKPermitted = request.hasSACK
    if request.hasWindowScale { options.windowScale = request.receiveScale }
    if request.hasTimestamps {
      var stamp = UInt32(truncatingIfNeeded: cpu.now / 1_000_000)
      if isCookie {
        stamp = SynCookie.timestamp(
          stamp, scale: request.hasWindowScale ? request.sendScale : nil, hasSACK: request.hasSACK,
          hasECN: request.hasECN)
      }
      options.timestamp = (stamp &+ request.timestampOffset, request.recentTimestamp)
    }
    tcpReply(
      sequence: request.initialSend, acknowledgment: request.initialReceive &+ 1,
      flags: request.hasECN ? [.syn, .ack, .ece] : [.syn, .ack],
      window: UInt16(clamping: request.receiveWindow), options, request.local, request.remote,
      isTransparent: sockets[tcps[request.listener].socket].options.transparent, in: namespace)
  }

  /// The request that a cookie stands for (cookie_v4_check); nil: it stands for none.
  private mutating func tcpTakeCookie(
    _ segment: TCPSegment, _ listener: TCPIndex, _ key: FlowKey, _ local: SocketAddress,
    _ remote: SocketAddress
  ) -> TCPRequest? {
    let socket = tcps[listener].socket
    let namespace = sockets[socket].namespace
    let overflow = tcps[listener].lastOverflow
    guard namespaces[namespace].tcp.isOn(.synCookies), overflow != .min, cpu.now - overflow <= 120_000_000_000
    else {
      return nil
    }
    let secret = namespaces[namespace].sockets.secret
    let (initialSend, initialReceive) = (segment.acknowledgment &- 1, segment.sequence &- 1)
    guard
      let mss = SynCookie.segmentSize(
        initialSend, key, local.address.family, peer: initialReceive, secret, cpu.now)
    else {
      namespaces[namespace].snmp[.tcpExtSyncookiesFailed] &+= 1
      return nil
    }
    namespaces[namespace].snmp[.tcpExtSyncookiesRecv] &+= 1
    var options: (scale: UInt8?, hasSACK: Bool, hasECN: Bool) = (nil, false, false)
    let offset = UInt32(truncatingIfNeeded: key.hostHash(secret))
    if let timestamp = segment.options.timestamp {
      options = SynCookie.options(of: timestamp.echo &- offset)
      // What is off by now was never offered.
      guard namespaces[namespace].tcp.isOn(.timestamps),
        !options.hasSACK || namespaces[namespace].tcp.isOn(.sack),
        options.scale == nil || namespaces[namespace].tcp.isOn(.windowScaling)
      else { return nil }
    }
    let ownMSS = tcpOwnMSS(socket, local: local.address, remote: remote)
    let hasTimestamps = segment.options.timestamp != nil
    let window = tcpFirstWindow(
      socket, ownMSS - (hasTimestamps ? 12 : 0), isScaled: options.scale != nil)
    return TCPRequest(
      listener: listener, key: key, local: local, remote: remote, initialSend: initialSend,
      initialReceive: initialReceive, peerMSS: mss, ownMSS: ownMSS, sendScale: options.scale ?? 0,
      receiveScale: window.scale, hasTimestamps: hasTimestamps, hasSACK: options.hasSACK,
      hasWindowScale: options.scale != nil, hasECN: options.hasECN && namespaces[namespace].tcp.isOn(.ecn),
      recentTimestamp: segment.options.timestamp?.value ?? 0, timestampOffset: offset,
      receiveWindow: window.bytes, sentAt: cpu.now, lastSentAt: cpu.now)
  }

  /// The SYN-ACK was not acknowledged in time, or data does not come (reqsk_timer_handler).
  mutating func tcpRequestTimer(_ index: TCPRequestIndex) {
    guard requests.contains(index) else { return }
    requests[index].timer = .none
    let socket = tcps[requests[index].listener].socket
    let namespace = sockets[socket].namespace
    let most = sockets[socket].options.synRetries ?? namespaces[namespace].tcp[.synACKRetries]
    let deferred = sockets[socket].options.deferAccept
    let count = requests[index].timeouts
    namespaces[namespace].snmp[.tcpExtTCPTimeouts] &+= 1
    let isWaiting = requests[index].isAcknowledged && deferred > 0
    guard count < most || isWaiting && count < deferred else {
      tcpForgetRequest(index)
      return
    }
    requests[index].timeouts += 1
    // Who has acknowledged is asked once more at the end, so that it may still send.
    if !isWaiting || count >= deferred - 1 { tcpRepeatSynACK(index) }
    tcpArmRequest(index)
  }

  mutating func tcpForgetRequest(_ index: TCPRequestIndex) {
    let listener = requests[index].listener
    cpu.wheel.cancel(&requests[index].timer)
    namespaces[sockets[tcps[listener].socket].namespace].sockets.flows.remove(requests[index].key)
    tcps[listener].requests.removeAll { $0 == index }
    requests.remove(index)
  }

  /// Takes a segment for a request (tcp_check_req). The packet is gone afterwards.
  mutating func tcpProcessRequest(_ index: TCPRequestIndex, _ segment: TCPSegment) {
    let request = requests[index]
    let socket = tcps[request.listener].socket
    let namespace = sockets[socket].namespace
    let next = request.initialReceive &+ 1
    if segment.flags.contains(.syn), segment.flags.isDisjoint(with: [.rst, .ack]),
      segment.sequence == request.initialReceive, !request.isOld(segment, at: cpu.now)
    {
      if tcpMayAnswer(index, namespace) {
        tcpRepeatSynACK(index)
        tcpArmRequest(index)
      }
      tcpDiscard(segment, .consumed, at: socket)
      return
    }
    if segment.flags.contains(.ack), segment.acknowledgment != request.initialSend &+ 1 {
      if !segment.flags.contains(.rst) {
        tcpReplyReset(to: segment, request.local, request.remote, in: namespace)
      }
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    }
    let (isOld, isEchoWrong) = (request.isOld(segment, at: cpu.now), request.isEchoWrong(in: segment))
    guard request.takes(segment), !isOld, !isEchoWrong else {
      let isLimited = segment.isBare || segment.flags.contains(.syn)
      if !segment.flags.contains(.rst), !isLimited || tcpMayAnswer(index, namespace) {
        tcpAcknowledgeRequest(index)
      }
      if isOld {
        namespaces[namespace].snmp[.tcpExtPAWSEstab] &+= 1
      } else if isEchoWrong {
        namespaces[namespace].snmp[.tcpExtTSEcrRejected] &+= 1
      }
      tcpDiscard(segment, .tcpOutOfWindow, at: socket)
      return
    }
    if !segment.flags.isDisjoint(with: [.rst, .syn]) {
      namespaces[namespace].snmp[.tcpAttemptFails] &+= 1
      if segment.flags.contains(.rst), segment.sequence != next {
        tcpDiscard(segment, .tcpReset, at: socket)
        return
      }
      tcpAbortRequest(index, segment)
      return
    }
    guard segment.flags.contains(.ack) else {
      tcpDiscard(segment, .tcpInvalidACK, at: socket)
      return
    }
    if request.timeouts < sockets[socket].options.deferAccept, segment.end == next {
      // An acknowledgment alone is not what the listener waits for.
      requests[index].isAcknowledged = true
      namespaces[namespace].snmp[.tcpExtTCPDeferAcceptDrop] &+= 1
      tcpDiscard(segment, .consumed, at: socket)
      return
    }
    tcpComplete(request, index, segment)
  }

  /// Answers with a reset and forgets the request.
  private mutating func tcpAbortRequest(_ index: TCPRequestIndex, _ segment: TCPSegment) {
    let request = requests[index]
    let socket = tcps[request.listener].socket
    let namespace = sockets[socket].namespace
    namespaces[namespace].snmp[.tcpExtEmbryonicRsts] &+= 1
    if !segment.flags.contains(.rst) {
      tcpReplyReset(to: segment, request.local, request.remote, in: namespace)
    }
    tcpForgetRequest(index)
    tcpDiscard(segment, .tcpReset, at: socket)
  }

  /// A segment for a request of which nothing comes is one that the listener did not take (tcp_v4_rcv).
  private mutating func tcpDiscard(_ segment: TCPSegment, _ reason: DropReason, at listener: SocketIndex) {
    sockets[listener].drops &+= 1
    drop(segment.slot, reason, in: sockets[listener].namespace)
  }

  /// The handshake is complete: a connection comes of the request, which a cookie may have stood for. The packet is gone
  /// afterwards.
  private mutating func tcpComplete(
    _ request: TCPRequest, _ index: TCPRequestIndex?, _ segment: TCPSegment
  ) {
    let listener = request.listener
    let namespace = sockets[tcps[listener].socket].namespace
    guard tcps[listener].acceptQueue.count <= tcps[listener].backlog else {
      namespaces[namespace].snmp[.tcpExtListenOverflows] &+= 1
      tcpDropAtListener(listener)
      if let index {
        if namespaces[namespace].tcp.isOn(.abortOnOverflow) {
          tcpAbortRequest(index, segment)
          return
        }
        // The handshake stays open: the SYN-ACK that is sent again asks once more.
        requests[index].isAcknowledged = true
        sockets[tcps[listener].socket].drops &+= 1
      }
      drop(segment.slot, .tcpListenOverflow, in: namespace)
      return
    }
    guard let child = tcpMakeChild(request, segment) else {
      drop(segment.slot, .noMemory, in: namespace)
      return
    }
    if let index { tcpForgetRequest(index) }
    tcpAdopt(child, request)
    tcpProcess(child, segment)
    notify(tcps[listener].socket, [.in, .readNormal])
  }

  /// Tells somebody outside the window where a request stands (tcp_v4_reqsk_send_ack).
  private mutating func tcpAcknowledgeRequest(_ index: TCPRequestIndex) {
    let request = requests[index]
    var options = TCPOptions()
    if request.hasTimestamps {
      options.timestamp = (request.timestamp(at: cpu.now), request.recentTimestamp)
    }
    tcpReply(
      sequence: request.initialSend &+ 1, acknowledgment: request.initialReceive &+ 1, flags: .ack,
      window: UInt16(clamping: request.receiveWindow >> UInt32(request.receiveScale)), options,
      request.local, request.remote, in: sockets[tcps[request.listener].socket].namespace)
  }

  /// The connection of a request (tcp_create_openreq_child). Nil: there is no place for it.
  private mutating func tcpMakeChild(_ request: TCPRequest, _ segment: TCPSegment) -> TCPIndex? {
    let parent = tcps[request.listener].socket
    let namespace = sockets[parent].namespace
    guard
      let socket = insertSocket(sockets[parent].kind, in: namespace, sockets[parent].credentials),
      let child = insertTCP(for: socket)
    else { return nil }
    sockets[socket].options = sockets[parent].options
    if !sockets[socket].options.timestamping.isDisjoint(with: .stamps) { stampedSockets += 1 }
    sockets[socket].local = request.local
    sockets[socket].source = request.local.address
    sockets[socket].peer = request.remote
    tcps[child].algorithm = tcps[request.listener].algorithm
    tcps[child].userMSS = tcps[request.listener].userMSS
    tcps[child].key = request.key
    tcps[child].state = .established
    tcps[child].connection = .complete
    tcps[child].initialSend = request.initialSend
    tcps[child].pushedEnd = request.initialSend &+ 1
    tcps[child].sendUnacknowledged = request.initialSend &+ 1
    tcps[child].sendNext = request.initialSend &+ 1
    tcps[child].initialReceive = request.initialReceive
    tcps[child].receiveNext = request.initialReceive &+ 1
    tcps[child].copied = request.initialReceive &+ 1
    tcps[child].windowUpdate = request.initialReceive &+ 1
    tcps[child].receiveWindow = request.receiveWindow
    tcps[child].receiveScale = request.receiveScale
    tcps[child].sendScale = request.sendScale
    tcps[child].windowSequence = segment.sequence
    tcps[child].sendWindow = segment.window << UInt32(request.sendScale)
    tcps[child].largestWindow = tcps[child].sendWindow
    tcps[child].hasTimestamps = request.hasTimestamps
    tcps[child].hasSACK = request.hasSACK
    tcps[child].hasWindowScale = request.hasWindowScale
    tcps[child].ecn.isOn = request.hasECN
    tcps[child].recentTimestamp = segment.options.timestamp?.value ?? request.recentTimestamp
    tcps[child].recentTimestampTime = cpu.now
    tcps[child].timestampOffset = request.timestampOffset
    tcps[child].peerMSS = request.peerMSS
    tcps[child].ownMSS = request.ownMSS
    tcps[child].pathMSS = request.ownMSS
    return child
  }

  /// Puts a connection among the others and into its listener's accept queue.
  private mutating func tcpAdopt(_ child: TCPIndex, _ request: TCPRequest) {
    let socket = tcps[child].socket
    let namespace = sockets[socket].namespace
    enlist(socket, request.local.port)
    namespaces[namespace].sockets.flows.insert(request.key, .socket(socket))
    tcpSetMSS(child)
    tcps[child].mstamp = cpu.now
    tcps[child].lastReceived = cpu.now
    if request.retransmits == 0, request.sentAt < cpu.now {
      let sample = max((cpu.now - request.sentAt) / 1000, 1)
      tcps[child].rtt.minimum.reset(cpu.now, sample)
      tcps[child].takeSample(sample, namespaces[namespace].tcp)
    }
    tcps[child].totalRetransmits = UInt32(request.retransmits)
    tcpBeginTransfer(child)
    tcps[child].listener = request.listener
    tcps[request.listener].acceptQueue.append(child)
    namespaces[namespace].snmp[.tcpPassiveOpens] &+= 1
  }

  // MARK: Verbs

  /// Makes a socket listen, or changes its backlog (inet_listen). EINVAL: it is connected; EADDRINUSE: another listens.
  public mutating func listen(_ index: SocketIndex, backlog: Int) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    guard sockets[index].kind.isStream else { throw .operationNotSupported }
    let tcp = sockets[index].tcp
    let isListening = tcps[tcp].state == .listen
    guard isListening || tcps[tcp].state == .close, tcps[tcp].connection == .none else {
      throw .invalidArgument
    }
    let most = namespaces[sockets[index].namespace].tcp[.listenBacklogMaximum]
    tcps[tcp].backlog = backlog < 0 ? most : min(backlog, most)
    guard !isListening else { return }
    if sockets[index].local.port == 0 {
      guard takePort(index, 0) else { throw .addressInUse }
    } else if isTaken(sockets[index].local.port, for: index) {
      throw .addressInUse
    }
    tcps[tcp].state = .listen
    namespaces[sockets[index].namespace].sockets.listeners.insert(index, sockets[index].local.port)
  }

  /// Takes the oldest connection that somebody has asked for. EINVAL: the socket does not listen; EAGAIN: there is none.
  public mutating func accept(_ index: SocketIndex) throws(KernelError) -> SocketIndex {
    let connection = try acceptPeek(index)
    try acceptCommit(index, connection)
    return connection
  }

  /// The connection that `accept` gives out next. It stays in the queue, so that who is interrupted before `acceptCommit`
  /// has lost nothing.
  public func acceptPeek(_ index: SocketIndex) throws(KernelError) -> SocketIndex {
    guard isOpen(index) else { throw .badDescriptor }
    guard sockets[index].kind.isStream else { throw .operationNotSupported }
    let tcp = sockets[index].tcp
    guard tcps[tcp].state == .listen else { throw .invalidArgument }
    guard let child = tcps[tcp].acceptQueue.first else { throw .wouldBlock }
    return tcps[child].socket
  }

  /// Takes a connection that was peeked at. EAGAIN: it is not the next any more; another has taken it, or it has ended.
  public mutating func acceptCommit(
    _ index: SocketIndex, _ connection: SocketIndex
  ) throws(KernelError) {
    guard try acceptPeek(index) == connection else { throw .wouldBlock }
    let child = tcps[sockets[index].tcp].acceptQueue.removeFirst()
    tcps[child].listener = .none
  }

  /// What listens no more leaves nobody behind (inet_csk_listen_stop).
  mutating func tcpStopListening(_ index: TCPIndex) {
    let socket = tcps[index].socket
    namespaces[sockets[socket].namespace].sockets.listeners.remove(socket, sockets[socket].local.port)
    while let request = tcps[index].requests.last { tcpForgetRequest(request) }
    while let child = tcps[index].acceptQueue.popLast() {
      tcps[child].listener = .none
      if tcps[child].state != .close { tcpSendReset(child) }
      tcps[child].isOrphan = true
      tcpDone(child)
    }
  }
}
