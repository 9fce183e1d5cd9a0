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
    if flags.contains(.ack), !flags.contains(.rst) {
      tcpReplyReset(to: segment, local, remote, in: namespace)
    }
    guard flags.contains(.syn), flags.isDisjoint(with: [.ack, .rst, .fin]) else {
      drop(segment.slot, .tcpInvalidSYN, in: namespace)
      return
    }
    tcpRequest(segment, listener, key, local, remote, initialSend: nil)
  }

  /// A SYN asks for a connection (tcp_conn_request).
  mutating func tcpRequest(
    _ segment: TCPSegment, _ listener: TCPIndex, _ key: FlowKey, _ local: SocketAddress,
    _ remote: SocketAddress, initialSend: UInt32?
  ) {
    let socket = tcps[listener].socket
    let namespace = sockets[socket].namespace
    defer { drop(segment.slot, .consumed, in: namespace) }
    let isAcceptFull = tcps[listener].acceptQueue.count > tcps[listener].backlog
    guard !isAcceptFull, tcps[listener].requests.count < max(tcps[listener].backlog, 1) else {
      if isAcceptFull { namespaces[namespace].snmp[.tcpExtListenOverflows] &+= 1 }
      namespaces[namespace].snmp[.tcpExtListenDrops] &+= 1
      return
    }
    let options = segment.options
    let ownMSS = tcpOwnMSS(socket, local: local.address, remote: remote)
    let peerMSS = options.maximumSegmentSize == 0 ? 536 : Int(options.maximumSegmentSize)
    let hasTimestamps = options.timestamp != nil
    let secret = namespaces[namespace].sockets.secret
    let request = TCPRequest(
      listener: listener, key: key, local: local, remote: remote,
      initialSend: initialSend ?? tcpInitialSequence(key, secret), initialReceive: segment.sequence,
      peerMSS: peerMSS, ownMSS: ownMSS, sendScale: options.windowScale ?? 0,
      receiveScale: options.windowScale == nil ? 0 : TCPSock.windowScale,
      hasTimestamps: hasTimestamps, hasSACK: options.isSACKPermitted,
      hasWindowScale: options.windowScale != nil, recentTimestamp: options.timestamp?.value ?? 0,
      timestampOffset: UInt32(truncatingIfNeeded: key.hostHash(secret)),
      receiveWindow: tcpFirstWindow(
        sockets[socket].options.receiveBuffer, min(ownMSS, peerMSS) - (hasTimestamps ? 12 : 0)),
      sentAt: cpu.now)
    guard let index = requests.insert(request) else {
      namespaces[namespace].snmp[.tcpExtListenDrops] &+= 1
      return
    }
    namespaces[namespace].sockets.flows.insert(key, .request(index))
    tcps[listener].requests.append(index)
    tcpSendSynACK(index)
    tcpArmRequest(index)
  }

  private mutating func tcpArmRequest(_ index: TCPRequestIndex) {
    let timeout = TCPSock.initialTimeout << Int64(requests[index].retransmits)
    requests[index].timer = cpu.wheel.arm(
      TimerEvent(kind: .tcpRequest, index: index.rawValue), at: cpu.now + timeout)
  }

  private mutating func tcpSendSynACK(_ index: TCPRequestIndex) {
    let request = requests[index]
    let namespace = sockets[tcps[request.listener].socket].namespace
    var options = TCPOptions()
    options.maximumSegmentSize = UInt16(clamping: request.ownMSS)
    options.isSACKPermitted = request.hasSACK
    if request.hasWindowScale { options.windowScale = request.receiveScale }
    if request.hasTimestamps {
      options.timestamp = (tcpTimestamp(request.timestampOffset), request.recentTimestamp)
    }
    tcpReply(
      sequence: request.initialSend, acknowledgment: request.initialReceive &+ 1, flags: [.syn, .ack],
      window: UInt16(clamping: request.receiveWindow), options, request.local, request.remote, in: namespace)
  }

  /// The SYN-ACK was not acknowledged in time.
  mutating func tcpRequestTimer(_ index: TCPRequestIndex) {
    guard requests.contains(index) else { return }
    requests[index].timer = .none
    guard requests[index].retransmits < TCPSock.synACKRetries else {
      tcpForgetRequest(index)
      return
    }
    requests[index].retransmits += 1
    let namespace = sockets[tcps[requests[index].listener].socket].namespace
    namespaces[namespace].snmp[.tcpRetransSegs] &+= 1
    tcpSendSynACK(index)
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
    let namespace = sockets[tcps[request.listener].socket].namespace
    let next = request.initialReceive &+ 1
    if segment.flags.contains(.syn), segment.flags.isDisjoint(with: [.rst, .ack]),
      segment.sequence == request.initialReceive
    {
      tcpSendSynACK(index)
      drop(segment.slot, .consumed, in: namespace)
      return
    }
    let isInWindow =
      !isBefore(segment.end, next) && !isAfter(segment.sequence, next &+ request.receiveWindow)
    guard isInWindow else {
      if !segment.flags.contains(.rst) { tcpAcknowledgeRequest(index) }
      drop(segment.slot, .tcpOutOfWindow, in: namespace)
      return
    }
    if !segment.flags.isDisjoint(with: [.rst, .syn]) {
      namespaces[namespace].snmp[.tcpAttemptFails] &+= 1
      if segment.flags.contains(.rst), segment.sequence != next {
        drop(segment.slot, .tcpReset, in: namespace)
        return
      }
      if !segment.flags.contains(.rst) {
        tcpReplyReset(to: segment, request.local, request.remote, in: namespace)
      }
      tcpForgetRequest(index)
      drop(segment.slot, .tcpReset, in: namespace)
      return
    }
    guard segment.flags.contains(.ack), segment.acknowledgment == request.initialSend &+ 1 else {
      if segment.flags.contains(.ack) {
        tcpReplyReset(to: segment, request.local, request.remote, in: namespace)
      }
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    }
    guard tcps[request.listener].acceptQueue.count <= tcps[request.listener].backlog else {
      // The handshake stays open: the SYN-ACK that is sent again asks once more.
      namespaces[namespace].snmp[.tcpExtListenOverflows] &+= 1
      namespaces[namespace].snmp[.tcpExtListenDrops] &+= 1
      drop(segment.slot, .tcpListenOverflow, in: namespace)
      return
    }
    guard let child = tcpMakeChild(index, segment) else {
      drop(segment.slot, .noMemory, in: namespace)
      return
    }
    tcpProcess(child, segment)
    let listener = tcps[request.listener].socket
    notify(listener, [.in, .readNormal])
  }

  /// Tells somebody outside the window where a request stands (tcp_v4_reqsk_send_ack).
  private mutating func tcpAcknowledgeRequest(_ index: TCPRequestIndex) {
    let request = requests[index]
    var options = TCPOptions()
    if request.hasTimestamps {
      options.timestamp = (tcpTimestamp(request.timestampOffset), request.recentTimestamp)
    }
    tcpReply(
      sequence: request.initialSend &+ 1, acknowledgment: request.initialReceive &+ 1, flags: .ack,
      window: UInt16(clamping: request.receiveWindow >> UInt32(request.receiveScale)), options,
      request.local, request.remote, in: sockets[tcps[request.listener].socket].namespace)
  }

  /// The connection of a request, in the accept queue (tcp_v4_syn_recv_sock). Nil: there is no place for it.
  private mutating func tcpMakeChild(_ index: TCPRequestIndex, _ segment: TCPSegment) -> TCPIndex? {
    let request = requests[index]
    let parent = tcps[request.listener].socket
    let namespace = sockets[parent].namespace
    guard
      let socket = insertSocket(sockets[parent].kind, in: namespace, sockets[parent].credentials),
      let child = insertTCP(for: socket)
    else { return nil }
    sockets[socket].options = sockets[parent].options
    sockets[socket].local = request.local
    sockets[socket].source = request.local.address
    sockets[socket].peer = request.remote
    tcpForgetRequest(index)
    namespaces[namespace].sockets.tcp.insert(socket, request.local.port)
    namespaces[namespace].sockets.flows.insert(request.key, .socket(socket))
    tcps[child].key = request.key
    tcps[child].state = .established
    tcps[child].connection = .complete
    tcps[child].initialSend = request.initialSend
    tcps[child].sendUnacknowledged = request.initialSend &+ 1
    tcps[child].sendNext = request.initialSend &+ 1
    tcps[child].sendMaximum = request.initialSend &+ 1
    tcps[child].recoveryPoint = request.initialSend &+ 1
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
    tcps[child].recentTimestamp = segment.options.timestamp?.value ?? request.recentTimestamp
    tcps[child].recentTimestampTime = cpu.now
    tcps[child].timestampOffset = request.timestampOffset
    tcps[child].peerMSS = request.peerMSS
    tcps[child].ownMSS = request.ownMSS
    tcpSetMSS(child)
    if request.retransmits == 0 { tcps[child].takeRTT(cpu.now - request.sentAt) }
    tcpExpandSendBuffer(child)
    tcpEnterQuickACK(child)
    tcps[child].listener = request.listener
    tcps[request.listener].acceptQueue.append(child)
    namespaces[namespace].snmp[.tcpPassiveOpens] &+= 1
    return child
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
    tcps[tcp].backlog = min(backlog < 0 ? TCPSock.backlogMaximum : backlog, TCPSock.backlogMaximum)
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
