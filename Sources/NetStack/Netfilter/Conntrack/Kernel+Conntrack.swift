// SPDX-License-Identifier: GPL-2.0-or-later

// Connection tracking (net/netfilter/nf_conntrack_core.c): which connection a packet belongs to, when it comes in or is
// made (priority -200), and that an entry counts once its first packet has got through (confirmation, last of all).
// An entry that is not confirmed belongs to the packet that made it. Packets go through the hooks one by one, so that
// whatever is left unconfirmed when the next one comes was dropped on the way.

import NetTypes

extension Kernel {
  /// Finds or makes the packet's entry (nf_conntrack_in).
  mutating func conntrackIn(_ packet: inout NftPacket) -> NetfilterVerdict {
    // Seen before: by loopback, as the answer to a packet that is still here, or told not to be tracked. What only has
    // a zone has not, nor what begins a connection for a SYN proxy.
    let seen = pool.conntrack(packet.slot)
    guard seen.index.isNone, seen.info == .none || seen.info == .new else { return .accept }
    reapUnconfirmed()
    guard packet.hasTransport, let tuple = tuple(of: packet) else { return .accept }
    if tuple.isICMP, tuple.inverted == nil {
      conntrackError(packet, tuple)
      return .accept
    }
    for _ in 0..<2 {
      guard let link = findOrMake(tuple, packet, isProxied: seen.info == .new) else { return .drop }
      let index = link.index
      let info: ConntrackInfo
      if link.direction == .reply {
        info = .establishedReply
      } else if conntracks[index].status.contains(.seenReply) {
        info = .established
      } else {
        info = conntracks[index].status.contains(.expected) ? .related : .new
      }
      switch track(packet, index, link.direction) {
      case .accept, .ignore: break
      case .kill: retire(index)
      case .reopen:
        removeConntrack(index)
        continue
      case .invalid:
        namespaces[packet.namespace].conntrack.statistics.invalid &+= 1
        if !conntracks[index].status.contains(.confirmed) { reapUnconfirmed() }
        return .accept
      }
      if info == .establishedReply, !conntracks[index].status.contains(.seenReply) {
        conntracks[index].status.insert(.seenReply)
        note(.reply, of: index)
      }
      pool.setConntrack(ConntrackReference(index: index, info: info), of: packet.slot)
      return .accept
    }
    return .drop
  }

  private mutating func findOrMake(
    _ tuple: ConntrackTuple, _ packet: NftPacket, isProxied: Bool
  ) -> ConntrackTable.Link? {
    if let link = namespaces[packet.namespace].conntrack.table.find(tuple, in: conntracks) { return link }
    guard let reply = tuple.inverted else { return nil }
    if namespaces[packet.namespace].conntrack.table.count
      >= namespaces[packet.namespace].conntrack.usual.maximum,
      !dropEarly(in: packet.namespace)
    {
      namespaces[packet.namespace].conntrack.statistics.drop &+= 1
      return nil
    }
    let id = namespaces[packet.namespace].conntrack.nextID
    namespaces[packet.namespace].conntrack.nextID &+= 1
    var entry = ConntrackEntry(namespace: packet.namespace, original: tuple, reply: reply, id: id)
    entry.isWatched = namespaces[packet.namespace].conntrack.isWatched
    entry.countsPackets = namespaces[packet.namespace].conntrack.usual.counts
    entry.synproxy.isOn = isProxied
    guard let index = conntracks.insert(entry) else { return nil }
    unconfirmed = index
    fulfil(index, in: packet.namespace)
    return ConntrackTable.Link(index, .original)
  }

  /// Makes room by ending a connection that nobody has answered well (early_drop).
  private mutating func dropEarly(in namespace: NamespaceIndex) -> Bool {
    for _ in 0..<64 {
      guard conntracks.end > 0 else { return false }
      conntrackCursor = (conntrackCursor + 1) % UInt32(conntracks.end)
      let index = ConntrackIndex(conntrackCursor)
      guard conntracks.contains(index), conntracks[index].namespace == namespace,
        conntracks[index].status.contains(.confirmed),
        conntracks[index].status.isDisjoint(with: [.assured, .offload])
      else { continue }
      namespaces[namespace].conntrack.statistics.earlyDrop &+= 1
      removeConntrack(index)
      return true
    }
    return false
  }

  // MARK: Reading packets

  /// A packet's tuple (nf_ct_get_tuple); nil when its headers are cut short.
  func tuple(of packet: NftPacket) -> ConntrackTuple? {
    tuple(
      network: pool.bytes(packet.slot, from: packet.networkHeader), transport: packet.transport,
      proto: packet.proto, isIPv6: packet.version == 6, zone: pool.conntrack(packet.slot).zone)
  }

  private func tuple(
    network: PacketBytes, transport offset: Int, proto: UInt8, isIPv6: Bool, zone: UInt16
  ) -> ConntrackTuple? {
    var tuple = ConntrackTuple()
    tuple.isIPv6 = isIPv6
    tuple.zone = zone
    tuple.proto = proto
    if isIPv6 {
      guard network.count >= 40 else { return nil }
      tuple.source = UInt128(network.u64(8)) << 64 | UInt128(network.u64(16))
      tuple.destination = UInt128(network.u64(24)) << 64 | UInt128(network.u64(32))
    } else {
      guard network.count >= IPv4Header.length else { return nil }
      tuple.source = UInt128(network.u32(IPv4Header.source))
      tuple.destination = UInt128(network.u32(IPv4Header.destination))
    }
    guard offset <= network.count else { return nil }
    let bytes = network.dropFirst(offset)
    switch (proto, isIPv6) {
    case (6, _), (17, _), (33, _), (132, _), (136, _):
      guard bytes.count >= 4 else { return nil }
      tuple.sourcePort = bytes.u16(0)
      tuple.destinationPort = bytes.u16(2)
    case (1, false), (58, true):
      guard bytes.count >= 8 else { return nil }
      tuple.sourcePort = bytes.u16(4)
      tuple.destinationPort = bytes.u16(0)
    default: break
    }
    return tuple
  }

  // MARK: Protocols

  private mutating func track(
    _ packet: NftPacket, _ index: ConntrackIndex, _ direction: ConntrackDirection
  ) -> TCPTrackerVerdict {
    let isConfirmed = conntracks[index].status.contains(.confirmed)
    let verifies =
      packet.hook == .prerouting && namespaces[packet.namespace].conntrack.usual.verifies
    var timeout: Int64?
    switch packet.proto {
    case 6:
      let settings = settings(of: index, packet.namespace)
      let bytes = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
      let length = packet.length(in: pool) - packet.transport
      guard var segment = TrackedSegment(bytes, length: length) else { return .invalid }
      if conntracks[index].status.contains(.sequenceAdjusted) {
        // What is acknowledged is the changed text (nf_ct_seq_offset).
        let offset = conntracks[index].adjustment(direction.other).offset(of: segment.acknowledgement &- 1)
        segment.acknowledgement &-= offset
        segment.highestAcknowledged &-= offset
      }
      guard !verifies || hasRightChecksum(packet) else { return .invalid }
      if !isConfirmed {
        guard conntracks[index].tcp.begin(segment) else { return .invalid }
        if segment.kind != .syn, !settings.isOn(.loose) { return .invalid }
      }
      let before = (state: conntracks[index].tcp.state, status: conntracks[index].status)
      let outcome = conntracks[index].track(segment, direction, settings)
      if conntracks[index].tcp.state != before.state || !isConfirmed { note(.protocolState, of: index) }
      if conntracks[index].status != before.status { note(.assured, of: index) }
      // What ends a connection is counted too (nf_ct_kill_acct).
      if outcome.verdict == .kill { count(packet, index, direction) }
      guard outcome.verdict == .accept || outcome.verdict == .ignore else { return outcome.verdict }
      timeout = outcome.timeout
      if timeout == nil, !isConfirmed { timeout = settings.time(.synSent) }
    case 17, 136:
      guard !verifies || hasRightChecksum(packet) else { return .invalid }
      let isStream = trackDatagram(index, isConfirmed)
      if conntracks[index].timeouts == .max {
        let usual = namespaces[packet.namespace].conntrack.usual
        timeout = isStream ? usual.udpStream : usual.udp
      } else {
        timeout = settings(of: index, packet.namespace).time(isStream ? .udpStream : .udp)
      }
    case 1, 58:
      guard !verifies || hasRightChecksum(packet) else { return .invalid }
      if !isConfirmed, !beginsICMP(conntracks[index].original) { return .invalid }
      let usual = namespaces[packet.namespace].conntrack.usual
      timeout = packet.proto == 1 ? usual.icmp : usual.icmpv6
    default: timeout = namespaces[packet.namespace].conntrack.usual.generic
    }
    count(packet, index, direction)
    if let timeout, !conntracks[index].status.contains(.fixedTimeout) { refresh(index, timeout, isConfirmed) }
    return .accept
  }

  /// nf_ct_acct_update.
  @inline(__always)
  private mutating func count(
    _ packet: NftPacket, _ index: ConntrackIndex, _ direction: ConntrackDirection
  ) {
    guard conntracks[index].countsPackets else { return }
    let place = Int(direction.rawValue)
    conntracks[index].packets[place] &+= 1
    conntracks[index].bytes[place] &+= UInt64(packet.length(in: pool))
  }

  /// Only requests begin an exchange.
  private func beginsICMP(_ tuple: ConntrackTuple) -> Bool {
    let type = UInt8(tuple.destinationPort >> 8)
    return tuple.isIPv6 ? type == 128 || type == 139 : [8, 13, 15, 17].contains(type)
  }

  /// The namespace's settings, with the times that a rule has given the connection.
  private func settings(of index: ConntrackIndex, _ namespace: NamespaceIndex) -> ConntrackSettings {
    var settings = namespaces[namespace].conntrack.settings
    if conntracks[index].timeouts != .max,
      let times = namespaces[namespace].nftables.program.timeouts[conntracks[index].timeouts]
    {
      settings.take(times)
    }
    return settings
  }

  /// Whether a datagram is of a stream: both have sent for a while.
  private mutating func trackDatagram(_ index: ConntrackIndex, _ isConfirmed: Bool) -> Bool {
    if !isConfirmed { conntracks[index].streamTime = cpu.now + 2_000_000_000 }
    guard conntracks[index].status.contains(.seenReply), cpu.now > conntracks[index].streamTime else {
      return false
    }
    if !conntracks[index].status.contains(.assured) {
      conntracks[index].status.insert(.assured)
      note(.assured, of: index)
    }
    return true
  }

  /// nf_ct_refresh.
  mutating func refresh(_ index: ConntrackIndex, _ timeout: Int64, _ isConfirmed: Bool) {
    guard isConfirmed else {
      conntracks[index].timeout = timeout
      return
    }
    let deadline = cpu.now + timeout
    let isSooner = deadline < conntracks[index].timeout
    conntracks[index].timeout = deadline
    // A later deadline is noticed when the old one comes.
    if isSooner { armConntrack(index) }
  }

  mutating func armConntrack(_ index: ConntrackIndex) {
    cpu.wheel.cancel(&conntracks[index].timer)
    conntracks[index].timer = cpu.wheel.arm(
      TimerEvent(kind: .conntrack, index: index.rawValue), at: conntracks[index].timeout)
  }

  /// An entry's time may be over.
  mutating func conntrackTimer(_ index: ConntrackIndex) {
    guard conntracks.contains(index) else { return }
    conntracks[index].timer = .none
    if conntracks[index].status.contains(.offload) { keepOffloaded(index) }
    if cpu.now >= conntracks[index].timeout { removeConntrack(index) } else { armConntrack(index) }
  }

  /// Whether the transport's checksum is right, or known to be (nf_checksum).
  func hasRightChecksum(_ packet: NftPacket) -> Bool {
    guard pool[packet.slot].checksumState == .none else { return true }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let length = packet.length(in: pool) - packet.transport
    let start = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset) + packet.transport
    guard length >= 0, start >= 0 else { return false }
    var initial: UInt64 = 0
    if packet.version == 6 {
      initial = network.dropFirst(8).prefix(32).sum(UInt64(UInt16(packet.proto).bigEndian))
      initial &+= UInt64(UInt16(truncatingIfNeeded: length).bigEndian)
    } else if packet.proto != 1 {
      initial = network.dropFirst(12).prefix(8).sum(UInt64(UInt16(packet.proto).bigEndian))
      initial &+= UInt64(UInt16(truncatingIfNeeded: length).bigEndian)
      if packet.proto == 17, network.dropFirst(packet.transport).count >= 8,
        network.u16(packet.transport + 6) == 0
      {
        return true
      }
    }
    return foldChecksum(pool.sum(packet.slot, from: start, count: length, initial)) == .max
  }

  // MARK: Errors about connections

  /// An ICMP error belongs to the connection whose packet it quotes (nf_conntrack_inet_error).
  private mutating func conntrackError(_ packet: NftPacket, _ outer: ConntrackTuple) {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let type = UInt8(outer.destinationPort >> 8)
    let isError = packet.version == 6 ? type < 128 && type > 0 : [3, 4, 5, 11, 12].contains(type)
    guard isError else {
      // Neighbour discovery and its kin are nobody's connection (nf_conntrack_icmpv6_error).
      if packet.version == 6, (130...136).contains(type) || type == 143 {
        pool.setConntrack(.untracked, of: packet.slot)
      }
      return
    }
    let quoted = packet.transport + 8
    guard quoted <= network.count,
      let inner = NftPacket.inner(network.dropFirst(quoted), isIPv6: packet.version == 6),
      hasRightChecksum(packet),
      let tuple = tuple(
        network: network.dropFirst(quoted), transport: inner.transport, proto: inner.proto,
        isIPv6: packet.version == 6, zone: outer.zone),
      let inverted = tuple.inverted,
      let link = namespaces[packet.namespace].conntrack.table.find(inverted, in: conntracks)
    else {
      namespaces[packet.namespace].conntrack.statistics.icmpError &+= 1
      return
    }
    // The error goes to who sent the quoted packet, or it is about somebody else.
    let destination = conntracks[link.index].tuple(link.direction).destination
    guard destination == outer.destination else { return }
    let info: ConntrackInfo = link.direction == .original ? .related : .relatedReply
    pool.setConntrack(ConntrackReference(index: link.index, info: info), of: packet.slot)
  }

  /// What this host tells about a packet belongs to the packet's connection, confirmed or not, and is translated as that
  /// is (nf_ct_attach).
  mutating func attachConntrack(of slot: Slot, to answer: Slot) {
    let reference = pool.conntrack(slot)
    guard conntracks.contains(reference.index) else { return }
    let info: ConntrackInfo = reference.info.direction == .original ? .relatedReply : .related
    pool.setConntrack(ConntrackReference(index: reference.index, info: info), of: answer)
  }

  // MARK: Confirmation and end

  /// Lets an entry count, now that its first packet has got through (__nf_conntrack_confirm).
  mutating func conntrackConfirm(_ packet: NftPacket) -> NetfilterVerdict {
    let reference = pool.conntrack(packet.slot)
    let index = reference.index
    guard !index.isNone, conntracks.contains(index) else { return .accept }
    if conntracks[index].helper != .none, !help(packet, index, reference.info) { return .drop }
    if conntracks[index].status.contains(.sequenceAdjusted), !devices[packet.device].isLoopback,
      !adjustSequence(packet, index, reference.info)
    {
      return .drop
    }
    guard conntracks[index].status.isDisjoint(with: [.confirmed, .dying]),
      reference.info == .new || reference.info == .related
    else {
      if conntracks[index].isWatched { tellConntrackEvents(index) }
      return .accept
    }
    let namespace = packet.namespace
    guard
      namespaces[namespace].conntrack.table.find(conntracks[index].original, in: conntracks) == nil,
      namespaces[namespace].conntrack.table.find(conntracks[index].reply, in: conntracks) == nil
    else {
      namespaces[namespace].conntrack.statistics.insertFailed &+= 1
      return .drop
    }
    conntracks[index].timeout += cpu.now
    conntracks[index].status.insert(.confirmed)
    unconfirmed = .none
    namespaces[namespace].conntrack.table.insert(index, in: &conntracks)
    armConntrack(index)
    if conntracks[index].isWatched {
      if conntracks[index].helper != .none { note(.helper, of: index) }
      note(conntracks[index].status.contains(.expected) ? .related : .new, of: index)
      tellConntrackEvents(index)
    }
    return .accept
  }

  /// Takes an entry out of the table; for the packet that ends it it is still there.
  private mutating func retire(_ index: ConntrackIndex) {
    if conntracks[index].status.contains(.confirmed) {
      cpu.wheel.cancel(&conntracks[index].timer)
      tellConntrackEnd(index)
      namespaces[conntracks[index].namespace].conntrack.table.remove(index, in: &conntracks)
      conntracks[index].status.remove(.confirmed)
    }
    conntracks[index].status.insert(.dying)
    unconfirmed = index
  }

  /// An entry whose packet did not get through, or that has ended, goes with its packet.
  mutating func reapUnconfirmed() {
    guard !unconfirmed.isNone else { return }
    if conntracks.contains(unconfirmed) {
      namespaces[conntracks[unconfirmed].namespace].conntrack.expectations.forget(conntracks[unconfirmed].id)
      conntracks.remove(unconfirmed)
    }
    unconfirmed = .none
  }

  /// While another packet is sent in between, the entry of the one that is on its way is nobody's to end.
  mutating func suspendUnconfirmed() -> ConntrackIndex {
    defer { unconfirmed = .none }
    return unconfirmed
  }

  mutating func resumeUnconfirmed(_ outer: ConntrackIndex) {
    reapUnconfirmed()
    unconfirmed = outer
  }

  /// Ends a connection.
  mutating func removeConntrack(_ index: ConntrackIndex) {
    guard conntracks.contains(index) else { return }
    if index == unconfirmed { unconfirmed = .none }
    cpu.wheel.cancel(&conntracks[index].timer)
    let namespace = conntracks[index].namespace
    namespaces[namespace].conntrack.expectations.forget(conntracks[index].id)
    if conntracks[index].status.contains(.confirmed) {
      tellConntrackEnd(index)
      namespaces[namespace].conntrack.table.remove(index, in: &conntracks)
    }
    conntracks.remove(index)
  }

  /// Ends all connections of a namespace.
  mutating func removeConntracks(of namespace: NamespaceIndex) {
    removeFlows(of: namespace)
    for index in namespaces[namespace].conntrack.table.all(in: conntracks) { removeConntrack(index) }
    reapUnconfirmed()
  }
}
