// SPDX-License-Identifier: GPL-2.0-or-later

// The receive queue, bounded by what its packets really hold, and the error queue (net/core/sock.c, datagram.c,
// net/ipv4/udp.c __udp_enqueue_schedule_skb, ip_sockglue.c).

import NetTypes

extension Kernel {
  // MARK: In

  /// Puts a packet into a socket's queue. False, and the packet still the caller's, when the buffer is full; one packet
  /// fits however large it is.
  mutating func enqueueReceived(_ slot: Slot, on index: SocketIndex) -> Bool {
    let size = pool.trueSize(slot)
    let charged = sockets[index].receiveQueue.charged
    guard charged == 0 || charged + size <= sockets[index].options.receiveBuffer else {
      sockets[index].drops &+= 1
      return false
    }
    append(slot, size, to: index)
    notify(index, .readable)
    return true
  }

  /// A stream's segment. What its window has promised is taken, up to twice the buffer, where the kernel makes room by
  /// joining what is queued (tcp_collapse).
  mutating func appendReceived(_ slot: Slot, on index: SocketIndex) -> Bool {
    guard sockets[index].receiveQueue.charged <= 2 * sockets[index].options.receiveBuffer else {
      sockets[index].drops &+= 1
      return false
    }
    append(slot, pool.trueSize(slot), to: index)
    return true
  }

  private mutating func append(_ slot: Slot, _ size: Int, to index: SocketIndex) {
    pool.orphan(slot)
    sockets[index].receiveQueue.packets.append(slot, pool)
    sockets[index].receiveQueue.charged += size
  }

  /// Takes the oldest packet out of a socket's queue.
  mutating func takeReceived(_ index: SocketIndex) -> Slot? {
    let slot = sockets[index].receiveQueue.packets.pop(pool)
    guard slot != .none else { return nil }
    sockets[index].receiveQueue.charged -= pool.trueSize(slot)
    return slot
  }

  // MARK: Out

  /// Receives the oldest message, or what has come of a stream: its bytes, as many as `limit` allows, take the place of
  /// what is in the buffer. No bytes are the end of a stream. Of messages, errors that wait come first. EAGAIN: there is none.
  public mutating func receive(
    _ index: SocketIndex, into buffer: inout [UInt8], limit: Int = .max, flags: ReceiveFlags = []
  ) throws(KernelError) -> ReceivedMessage {
    buffer.removeAll(keepingCapacity: true)
    var bytes: [UInt8] = []
    swap(&bytes, &buffer)
    defer { swap(&bytes, &buffer) }
    if flags.contains(.outOfBand), isOpen(index), sockets[index].kind.isStream {
      let length = try tcpReceiveUrgent(
        index, into: &bytes, limit: limit, isPeek: flags.contains(.peek))
      return ReceivedMessage(
        length: length, isTruncated: false, ifindex: 0, ttl: 0, typeOfService: 0, time: now)
    }
    let message = try peek(index, limit: limit) { $0.append(to: &bytes) }
    if !flags.contains(.peek) { try consume(index, bytes.count) }
    return message
  }

  /// Lends what could be received, piece by piece where it lies, and takes nothing: `consume` does. At most `limit` bytes
  /// of the oldest message, or of what has come of a stream, of which none are its end. EAGAIN: there is none.
  public mutating func peek(
    _ index: SocketIndex, limit: Int = .max, _ body: (RawSpan) -> Void
  ) throws(KernelError) -> ReceivedMessage {
    try peek(index, limit: limit) { (piece: PacketBytes) in piece.withSpan(body) }
  }

  private mutating func peek(
    _ index: SocketIndex, limit: Int, _ body: (PacketBytes) -> Void
  ) throws(KernelError) -> ReceivedMessage {
    guard isOpen(index) else { throw .badDescriptor }
    if sockets[index].kind.isStream {
      let length = try tcpPeek(index, limit: limit, body)
      return ReceivedMessage(
        length: length, isTruncated: false, ifindex: 0, ttl: 0, typeOfService: 0, time: now)
    }
    let error = takeError(of: index)
    guard error == 0 else { throw KernelError(error) }
    guard sockets[index].receiveQueue.count > 0 else { throw .wouldBlock }
    let slot = sockets[index].receiveQueue.head
    let start = payloadOffset(slot, of: sockets[index].kind)
    let length = Int(pool[slot].length) - start
    let taken = min(length, max(limit, 0))
    pool.forEachPiece(of: slot, from: start, count: taken, body)
    return message(slot, length: length, isTruncated: taken < length, on: index)
  }

  /// Takes what was peeked at: `count` bytes of a stream, or the oldest message, however much of it was seen. EINVAL:
  /// there is not so much.
  public mutating func consume(_ index: SocketIndex, _ count: Int) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    if sockets[index].kind.isStream {
      guard count > 0 else { return }
      try tcpConsume(index, count)
      return
    }
    guard let slot = takeReceived(index) else { throw .invalidArgument }
    if case .udp = sockets[index].kind {
      let counters = UDPCounters(sockets[index].kind.family ?? .ipv4)
      namespaces[sockets[index].namespace].snmp[counters.inDatagrams] &+= 1
    }
    pool.free(slot, .consumed)
  }

  /// Where a packet's message begins, from the packet's first byte: behind UDP's header; at ICMP's; raw IPv4 sockets
  /// see the IP header, packet sockets the link header unless they are cooked.
  private func payloadOffset(_ slot: Slot, of kind: SocketKind) -> Int {
    let place: UInt16 =
      switch kind {
      case .udp: pool[slot].transportHeader &+ UInt16(UDPHeader.length)
      case .tcp: pool[slot].dataOffset
      case .ping, .raw(.ipv6, _): pool[slot].transportHeader
      case .raw(.ipv4, _): pool[slot].networkHeader
      case .packet(_, let cooked): cooked ? pool[slot].networkHeader : pool[slot].linkHeader
      }
    return Int(place) - Int(pool[slot].dataOffset)
  }

  private func message(_ slot: Slot, length: Int, isTruncated: Bool, on index: SocketIndex) -> ReceivedMessage
  {
    let device = DeviceIndex(pool[slot].device)
    let ifindex = devices.contains(device) ? devices[device].ifindex : 0
    var message = ReceivedMessage(
      length: length, isTruncated: isTruncated, ifindex: ifindex, ttl: 0, typeOfService: 0,
      time: Instant(nanoseconds: pool[slot].timestamp))
    if case .packet = sockets[index].kind {
      message.link = packetAddress(slot, ifindex)
      return message
    }
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    var port: UInt16 = 0
    if case .udp = sockets[index].kind { port = pool.bytes(slot, from: pool[slot].transportHeader).u16(0) }
    let isIPv6 = header.u8(0) >> 4 == 6
    let family = sockets[index].kind.family
    message.source = SocketAddress(header.sourceAddress.told(to: family), port)
    // Whose link a link-local address is of has to be said with it.
    if isIPv6, IPv6.isLinkLocal(header.ipv6Source) { message.source?.scope = ifindex }
    message.destination = header.destinationAddress.told(to: family)
    message.ttl = header.u8(isIPv6 ? IPv6Header.hopLimit : IPv4Header.ttl)
    message.typeOfService = isIPv6 ? header.trafficClass : header.u8(IPv4Header.typeOfService)
    return message
  }

  // MARK: Errors

  /// Puts an error into a socket's queue, if it wants them, and makes it the socket's (ip_icmp_error, sk_error_report).
  mutating func report(_ report: SocketErrorReport, isHard: Bool, to index: SocketIndex) {
    if sockets[index].options.receiveErrors {
      if sockets[index].errorQueue.count < Socket.errorLimit { sockets[index].errorQueue.append(report) }
    } else {
      // RFC 1122 4.1.3.3 as Linux has it: only a connected socket is told, and only what is final.
      guard isHard, sockets[index].peer != nil else { return }
    }
    sockets[index].error = report.errno
    notify(index, .error)
  }

  /// Takes the oldest error out of the error queue (MSG_ERRQUEUE). EAGAIN: there is none.
  public mutating func receiveError(_ index: SocketIndex) throws(KernelError) -> SocketErrorReport {
    guard isOpen(index) else { throw .badDescriptor }
    guard !sockets[index].errorQueue.isEmpty else { throw .wouldBlock }
    let report = sockets[index].errorQueue.removeFirst()
    // The next one's number is the socket's error now (sock_dequeue_err_skb).
    if let next = sockets[index].errorQueue.first {
      if next.origin.isICMP { sockets[index].error = next.errno }
      notify(index, .error)
    } else if report.origin.isICMP {
      sockets[index].error = 0
    }
    return report
  }
}

extension PacketBytes {
  /// The source of the header at the front, of either family.
  var sourceAddress: IPAddress { u8(0) >> 4 == 6 ? ipv6Source.address : ipv4Source }
  /// The destination of the header at the front, of either family.
  var destinationAddress: IPAddress { u8(0) >> 4 == 6 ? ipv6Destination.address : ipv4Destination }
  /// The source of the IPv4 header at the front.
  var ipv4Source: IPAddress { .v4(IPv4Address(rawValue: u32(IPv4Header.source))) }
  /// The destination of the IPv4 header at the front.
  var ipv4Destination: IPAddress { .v4(IPv4Address(rawValue: u32(IPv4Header.destination))) }
}
