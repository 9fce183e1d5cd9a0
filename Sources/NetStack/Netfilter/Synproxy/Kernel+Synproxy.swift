// SPDX-License-Identifier: GPL-2.0-or-later

// The SYN proxy (nft_synproxy.c, nf_synproxy_core.c): a client's SYN is answered with a cookie in the server's name, and
// only who sends that back is let through to the server. From then on sequence numbers and timestamps of the server's
// side are changed into those that the client was given.
//
//    client │ SYN ─▶ │ ◀─ SYN-ACK, no window │ ACK ─▶ │            │       │ ◀─ ACK, the window opens │
//    server │        │                       │ SYN ─▶ │ ◀─ SYN-ACK │ ACK ─▶ │                         │

import NetTypes

extension Kernel {
  // MARK: The statement

  /// `synproxy` takes or drops SYNs and ACKs, and lets on what is neither (nft_synproxy_do_eval).
  mutating func proxySYN(_ instruction: NftInstruction, _ packet: NftPacket) -> NftVerdictCode {
    guard packet.proto == 6, packet.version != 0, packet.hasTransport else { return .break }
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    guard hasRightChecksum(packet), let options = SynproxyOptions(segment) else { return .drop }
    let flags = segment.u8(13)
    if flags & 0x02 != 0 {
      answerSYN(packet, segment, options, instruction)
    } else if flags & 0x10 != 0 {
      guard askServer(packet, segment, options, sequence: segment.u32(4)) else { return .drop }
    } else {
      return .continue
    }
    pool.free(packet.slot, .consumed)
    return .stolen
  }

  /// A SYN-ACK that remembers what the client has said (synproxy_send_client_synack).
  private mutating func answerSYN(
    _ packet: NftPacket, _ segment: PacketBytes, _ asked: SynproxyOptions, _ instruction: NftInstruction
  ) {
    var options = asked
    if segment.u8(13) & 0xc0 == 0xc0 { options.flags.insert(.congestion) }
    options.flags.formIntersection(SynproxyOptions.Flags(rawValue: instruction.b))
    options.segmentSize = UInt16(truncatingIfNeeded: instruction.a)
    if options.flags.contains(.timestamp) {
      options.keep(
        offering: UInt8(truncatingIfNeeded: instruction.a >> 16),
        milliseconds: UInt32(truncatingIfNeeded: cpu.now / 1_000_000))
    } else {
      options.flags.subtract([.scale, .sack, .congestion])
    }
    let sequence = segment.u32(4)
    let cookie = SynCookie.sequence(
      flowKey(packet, segment), packet.version == 6 ? .ipv6 : .ipv4, mss: Int(asked.segmentSize),
      peer: sequence, namespaces[packet.namespace].sockets.secret, cpu.now)
    var answer = ProxiedSegment(sequence: cookie, acknowledgement: sequence &+ 1, flags: 0x12, window: 0)
    if options.flags.contains(.congestion) { answer.flags |= 0x40 }
    var reference = pool.conntrack(packet.slot)
    if conntracks.contains(reference.index) { reference.info = .establishedReply }
    send(answer, options, answering: packet, isBack: true, reference)
  }

  /// Asks the server for the connection of who has sent a cookie back; false: it is none (synproxy_recv_client_ack,
  /// synproxy_send_server_syn). The acknowledgement tells the hook which numbers the client was given.
  private mutating func askServer(
    _ packet: NftPacket, _ segment: PacketBytes, _ asked: SynproxyOptions, sequence: UInt32
  ) -> Bool {
    let cookie = segment.u32(8) &- 1
    guard
      let size = SynCookie.segmentSize(
        cookie, flowKey(packet, segment), packet.version == 6 ? .ipv6 : .ipv4, peer: segment.u32(4) &- 1,
        namespaces[packet.namespace].sockets.secret, cpu.now)
    else { return false }
    var options = asked
    options.segmentSize = UInt16(clamping: size)
    options.flags.insert(.segment)
    if options.flags.contains(.timestamp) { options.recall() }
    var question = ProxiedSegment(
      sequence: sequence &- 1, acknowledgement: cookie, flags: 0x02, window: segment.u16(14))
    if options.flags.contains(.congestion) { question.flags |= 0xc0 }
    send(question, options, answering: packet, isBack: false, .proxied)
    return true
  }

  private func flowKey(_ packet: NftPacket, _ segment: PacketBytes) -> FlowKey {
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    let isIPv6 = packet.version == 6
    let source: IPAddress =
      isIPv6
      ? .v6(IPv6Address(header.ipv6Source)) : .v4(IPv4Address(rawValue: header.u32(IPv4Header.source)))
    let destination: IPAddress =
      isIPv6
      ? .v6(IPv6Address(header.ipv6Destination))
      : .v4(IPv4Address(rawValue: header.u32(IPv4Header.destination)))
    return FlowKey(
      local: SocketAddress(destination, segment.u16(2)), remote: SocketAddress(source, segment.u16(0)))
  }

  // MARK: The hook

  /// Segments of a connection that a proxy has begun, before they leave (ipv4_synproxy_hook, ipv6_synproxy_hook).
  mutating func passProxied(_ packet: NftPacket) -> NetfilterVerdict {
    let reference = pool.conntrack(packet.slot)
    let index = reference.index
    guard conntracks.contains(index), conntracks[index].synproxy.isOn, packet.proto == 6, packet.hasTransport,
      !devices[packet.device].isLoopback
    else { return .accept }
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    guard segment.count >= 20 else { return .drop }
    let flags = segment.u8(13)
    let (isSYN, isACK, isReset) = (flags & 0x02 != 0, flags & 0x10 != 0, flags & 0x04 != 0)
    let isReply = reference.info.direction == .reply
    switch conntracks[index].tcp.state {
    case .close where isReset && isReply:
      let offset = conntracks[index].synproxy.initialSequence &- segment.u32(4) &+ 1
      conntracks[index].adjust(.reply, allBy: offset)
    case .close where isSYN && !isACK && !isReply:
      // Opened again: what its timestamps are off by will be known when the server answers.
      conntracks[index].synproxy.stampOffset = 0
      return passFirst(packet, segment, index, isReply)
    case .synSent: return passFirst(packet, segment, index, isReply)
    case .synReceived where isSYN && isACK: return openBoth(packet, segment, index)
    default: break
    }
    adjustStamp(packet, segment, index, isReply)
    return .accept
  }

  /// Before the server has answered: the proxy's own SYN, or a client that asks again.
  private mutating func passFirst(
    _ packet: NftPacket, _ segment: PacketBytes, _ index: ConntrackIndex, _ isReply: Bool
  ) -> NetfilterVerdict {
    guard let options = SynproxyOptions(segment) else { return .drop }
    let flags = segment.u8(13)
    if flags & 0x02 == 0, flags & 0x10 != 0, !isReply {
      // A keepalive's number is one less than the next.
      guard askServer(packet, segment, options, sequence: segment.u32(4) &+ 1) else { return .drop }
      pool.free(packet.slot, .consumed)
      return .stolen
    }
    conntracks[index].synproxy.initialSequence = segment.u32(8)
    if options.flags.contains(.timestamp) { conntracks[index].synproxy.initialStamp = options.echo }
    adjustStamp(packet, segment, index, isReply)
    return .accept
  }

  /// The server has answered: it gets its acknowledgement, and the client a window to send into.
  private mutating func openBoth(
    _ packet: NftPacket, _ segment: PacketBytes, _ index: ConntrackIndex
  ) -> NetfilterVerdict {
    guard var options = SynproxyOptions(segment) else { return .drop }
    if options.flags.contains(.timestamp) {
      conntracks[index].synproxy.stampOffset = options.stamp &- conntracks[index].synproxy.initialStamp
    }
    options.flags.subtract([.segment, .scale, .sack])
    let (sequence, acknowledgement, window) = (segment.u32(4), segment.u32(8), segment.u16(14))
    (options.stamp, options.echo) = (options.echo, options.stamp)
    let forServer = ProxiedSegment(
      sequence: acknowledgement, acknowledgement: sequence &+ 1, flags: 0x10,
      window: UInt16(truncatingIfNeeded: conntracks[index].tcp.clientWindow))
    send(forServer, options, answering: packet, isBack: true, .none)
    let offset = conntracks[index].synproxy.initialSequence &- sequence
    conntracks[index].adjust(.reply, allBy: offset)
    (options.stamp, options.echo) = (options.echo, options.stamp)
    let forClient = ProxiedSegment(
      sequence: sequence &+ 1, acknowledgement: acknowledgement, flags: 0x10, window: window >> options.scale)
    send(
      forClient, options, answering: packet, isBack: false,
      ConntrackReference(index: index, info: .establishedReply))
    pool.free(packet.slot, .consumed)
    return .stolen
  }

  /// The server's timestamps become those that the client was given, and back (synproxy_tstamp_adjust).
  private mutating func adjustStamp(
    _ packet: NftPacket, _ segment: PacketBytes, _ index: ConntrackIndex, _ isReply: Bool
  ) {
    let offset = conntracks[index].synproxy.stampOffset
    guard offset != 0, pool.makeWritable(packet.slot) else { return }
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    var options = TCPOptionCursor(segment, end: min(Int(segment.u8(12) >> 4) * 4, segment.count))
    while let (kind, place, length) = options.next() {
      guard kind == 8, length == 10 else { continue }
      let at = place + (isReply ? 2 : 6)
      let old = segment.u32(at)
      let new = isReply ? old &- offset : old &+ offset
      segment.set(at, u32: new)
      var change = ChecksumChange()
      // At an odd place each byte stands in the other half of its word.
      change.replace(at & 1 == 0 ? old : old.byteSwapped, by: at & 1 == 0 ? new : new.byteSwapped)
      if pool[packet.slot].checksumState != .partial { mendTransport(packet, change) }
      return
    }
  }

  // MARK: Sending

  /// A segment of the proxy's, in the name of who sent a packet or, back, of who it is for (synproxy_send_tcp).
  private mutating func send(
    _ segment: ProxiedSegment, _ options: SynproxyOptions, answering packet: NftPacket, isBack: Bool,
    _ reference: ConntrackReference
  ) {
    let length = 20 + options.size
    let slot = pool.allocate(length: length)
    guard slot != .none else { return }
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    let asked = header.dropFirst(packet.transport)
    let bytes = pool.bytes(slot)
    bytes.set(0, u16: asked.u16(isBack ? 2 : 0))
    bytes.set(2, u16: asked.u16(isBack ? 0 : 2))
    bytes.set(4, u32: segment.sequence)
    bytes.set(8, u32: segment.acknowledgement)
    bytes.set(12, u8: UInt8(length / 4) << 4)
    bytes.set(13, u8: segment.flags)
    bytes.set(14, u16: segment.window)
    bytes.set(16, u32: 0)
    options.write(to: bytes.dropFirst(20))
    if reference.info != .none { pool.setConntrack(reference, of: slot) }
    // The packet that is answered is still on its way.
    let outer = suspendUnconfirmed()
    defer { resumeUnconfirmed(outer) }
    if packet.version == 6 {
      let source = isBack ? header.ipv6Destination : header.ipv6Source
      let destination = isBack ? header.ipv6Source : header.ipv6Destination
      bytes.set(16, u16: sum(bytes, ipv6PseudoSum(source, destination, length: length, proto: 6)))
      var datagram = IPv6Datagram(
        source: source, destination: destination, proto: 6,
        hopLimit: UInt8(truncatingIfNeeded: namespaces[packet.namespace].everyDevice.ipv6[.hopLimit]),
        flowLabel: 0)
      if IPv6.isLinkLocal(destination) { datagram.device = packet.input }
      guard let path = try? ipv6Route(datagram, in: packet.namespace) else {
        drop(slot, .ipOutNoRoutes, in: packet.namespace)
        return
      }
      _ = ipv6Output(slot, datagram, by: path, in: packet.namespace)
    } else {
      let source = header.u32(isBack ? IPv4Header.destination : IPv4Header.source)
      let destination = header.u32(isBack ? IPv4Header.source : IPv4Header.destination)
      bytes.set(16, u16: sum(bytes, pseudoHeaderSum(source, destination, 6, length)))
      var datagram = IPv4Datagram(
        source: source, isFromAnywhere: true, destination: destination, proto: 6, pathMTUDiscovery: .do)
      datagram.ttl = namespaces[packet.namespace].ipv4.defaultTTL
      ipv4Send(slot, datagram, in: packet.namespace)
    }
  }

  private func sum(_ bytes: PacketBytes, _ pseudo: UInt64) -> UInt16 {
    UInt16(bigEndian: ~foldChecksum(bytes.sum(pseudo)))
  }
}

/// What a proxy says beside options.
private struct ProxiedSegment {
  var sequence: UInt32
  var acknowledgement: UInt32
  var flags: UInt8
  var window: UInt16
}
