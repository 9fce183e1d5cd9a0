// SPDX-License-Identifier: GPL-2.0-or-later

// SIP's helper (net/netfilter/nf_conntrack_sip.c): who registers is expected to be called where it says, and of who calls
// or is called the streams that the session's description names. The module's parameters stand as Linux has them: calls
// come from the registrar alone (sip_direct_signalling), streams go between those that signal (sip_direct_media).
//
//    REGISTER ─▶ a call is expected, and not yet taken       ◀─ 200: it may come, as long as it says
//    INVITE, 1xx, 2xx, ACK, PRACK, UPDATE with SDP: RTP and RTCP are expected      BYE, an error: no more

import NetTypes

/// Whose message a helper reads.
struct SIPParty {
  let packet: NftPacket
  let index: ConntrackIndex
  let direction: ConntrackDirection
}

extension Kernel {
  /// How long a connection lasts after a message (SIP_TIMEOUT), in nanoseconds.
  private static let sipTimeout: Int64 = 3_600_000_000_000

  /// sip_help_udp, sip_help_tcp. False: the packet is dropped.
  mutating func helpSIP(_ packet: NftPacket, _ index: ConntrackIndex, _ info: ConntrackInfo) -> Bool {
    let isTCP = packet.proto == 6
    guard !isTCP || info == .established || info == .establishedReply else { return true }
    let transport = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    guard transport.count >= (isTCP ? 20 : 8) else { return true }
    let payload = packet.transport + (isTCP ? Int(transport.u8(12) >> 4) * 4 : 8)
    guard payload < packet.length(in: pool) else { return true }
    if !conntracks[index].status.contains(.fixedTimeout) {
      refresh(index, Self.sipTimeout, conntracks[index].status.contains(.confirmed))
    }
    let start = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset)
    guard packet.length(in: pool) - payload >= SIPMessage.shortest else { return true }
    var message = SIPMessage(
      pool.copyBytes(of: packet.slot, from: start + payload), isIPv6: packet.version == 6,
      limit: 65535 - payload)
    let party = SIPParty(packet: packet, index: index, direction: info.direction)
    let sequence = isTCP ? transport.u32(4) : 0
    guard isTCP ? helpSIPStream(party, &message, sequence) : helpSIPMessage(party, &message) else {
      return false
    }
    if message.isChanged { guard replaceText(packet, from: payload, by: message.text) else { return false } }
    return packet.proto == 6 || forceSIPPort(party)
  }

  /// Reads one message after the other of a segment, as long as they are whole.
  private mutating func helpSIPStream(
    _ party: SIPParty, _ message: inout SIPMessage, _ sequence: UInt32
  ) -> Bool {
    var difference: Int16 = 0
    while let length = message.number(.contentLength), length.end > length.match.lowerBound,
      Int(length.value) <= message.count, let end = message.endOfHeaders(from: length.end)
    {
      let original = end + Int(length.value)
      // What was changed before stays changed, but the numbers behind it are not corrected.
      guard original <= message.count else { return true }
      message.count = original
      guard helpSIPMessage(party, &message) else { return false }
      difference &+= Int16(truncatingIfNeeded: message.count - original)
      message.advance()
    }
    if !conntracks[party.index].status.isDisjoint(with: .nat) {
      adjust(party.index, party.direction, by: Int(difference), at: sequence)
    }
    return true
  }

  /// process_sip_msg.
  private mutating func helpSIPMessage(_ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    guard message.isAnswer ? answerSIP(party, &message) : requestSIP(party, &message) else { return false }
    return conntracks[party.index].status.isDisjoint(with: .nat) || translateSIP(party, &message)
  }

  private func dialog(of index: ConntrackIndex) -> SIPDialog {
    namespaces[conntracks[index].namespace].conntrack.expectations[dialog: conntracks[index].id]
  }

  private mutating func change(_ index: ConntrackIndex, _ body: (inout SIPDialog) -> Void) {
    var dialog = dialog(of: index)
    body(&dialog)
    namespaces[conntracks[index].namespace].conntrack.expectations[dialog: conntracks[index].id] = dialog
  }

  /// The port that answers go to whatever port the requests come from; nil: the one that they come from.
  func forcedSIPPort(_ index: ConntrackIndex) -> UInt16? {
    let port = dialog(of: index).forcedPort
    return port == 0 ? nil : port
  }

  private mutating func flushSIP(_ index: ConntrackIndex, media: Bool) {
    namespaces[conntracks[index].namespace].conntrack.expectations.flush(conntracks[index].id, media: media)
  }

  // MARK: Requests and answers

  /// process_sip_request.
  private mutating func requestSIP(_ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    // Some telephones ask from another port than the one that they listen at.
    let own = conntracks[party.index].tuple(party.direction)
    if let via = message.firstPeer(.viaUDP), via.address == own.source, via.port != own.sourcePort {
      change(party.index) { $0.forcedPort = via.port }
    }
    guard let method = SIPMethod.allCases.first(where: { message.asks(for: $0) }) else { return true }
    guard let number = message.number(.sequence), number.end > number.match.lowerBound else { return false }
    switch method {
    case .invite:
      flushSIP(party.index, media: true)
      guard describe(party, &message) else { return false }
      change(party.index) { $0.invitation = number.value }
      return true
    case .update, .acknowledge, .provisional: return describe(party, &message)
    case .bye:
      flushSIP(party.index, media: true)
      return true
    case .register: return expectCall(party, &message, number.value)
    }
  }

  /// process_sip_response.
  private mutating func answerSIP(_ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    guard message.count >= SIPMessage.shortest else { return true }
    let code = message.number(at: 8).value
    guard code != 0, let number = message.number(.sequence), number.end > number.match.lowerBound else {
      return false
    }
    let method = SIPMethod.allCases.first {
      $0.isAnswered && message.has($0.word, at: number.match.upperBound + 1)
    }
    switch method {
    case .invite, .update, .provisional:
      if (100...299).contains(code) { return describe(party, &message) }
      if dialog(of: party.index).invitation == number.value { flushSIP(party.index, media: true) }
      return true
    case .register: return confirmCall(party, message, code, number.value)
    case .acknowledge, .bye, nil: return true
    }
  }

  // MARK: Registrations

  /// REGISTER: a call is expected where the contact says, and not taken before the registrar has agreed
  /// (process_register_request).
  private mutating func expectCall(
    _ party: SIPParty, _ message: inout SIPMessage, _ number: UInt32
  ) -> Bool {
    let index = party.index
    let own = conntracks[index].tuple(party.direction)
    guard !conntracks[index].status.contains(.expected) else { return true }
    var seconds = message.number(.expires)?.value ?? 0
    // Nobody is registered for another.
    guard let contact = message.firstPeer(.contact), contact.address == own.source,
      message.admits(transport: own.proto, from: contact.match.upperBound)
    else { return true }
    if let named = message.numberParameter(Array("expires=".utf8), from: contact.match.upperBound) {
      guard !named.match.isEmpty else { return false }
      seconds = named.value
    }
    if seconds > 0 {
      var tuple = conntracks[index].tuple(party.direction.other)
      tuple.sourcePort = 0
      tuple.destination = contact.address
      tuple.destinationPort = contact.port
      var expectation = expectation(tuple, of: index)
      expectation.helper = conntracks[index].helper
      expectation.isPermanent = true
      expectation.isInactive = true
      guard
        conntracks[index].status.isDisjoint(with: .nat)
          ? expect(expectation) == .done
          : expectTranslated(party, &message, expectation, contact.match)
      else { return false }
    }
    change(index) { $0.registration = number }
    return true
  }

  /// The registrar's answer: calls may come as long as it says, or no more (process_register_response).
  private mutating func confirmCall(
    _ party: SIPParty, _ message: SIPMessage, _ code: UInt32, _ number: UInt32
  ) -> Bool {
    let index = party.index
    guard dialog(of: index).registration == number, !(100...199).contains(code) else { return true }
    guard (200...299).contains(code) else {
      flushSIP(index, media: false)
      return true
    }
    let own = conntracks[index].tuple(party.direction)
    let usual = message.number(.expires)?.value ?? 0
    var position = SIPMessage.Position()
    while let contact = message.nextPeer(.contact, &position) {
      guard contact.address == own.destination,
        message.admits(transport: own.proto, from: contact.match.upperBound)
      else { continue }
      var seconds = usual
      if let named = message.numberParameter(Array("expires=".utf8), from: contact.match.upperBound) {
        guard !named.match.isEmpty else { return false }
        seconds = named.value
      }
      guard seconds > 0 else { break }
      let isKnown = namespaces[conntracks[index].namespace].conntrack.expectations.refresh(
        conntracks[index].id, to: contact.address, port: contact.port, proto: own.proto,
        until: cpu.now + Int64(seconds) * 1_000_000_000, now: cpu.now)
      if isKnown { return true }
    }
    flushSIP(index, media: false)
    return true
  }

  // MARK: Sessions

  /// Expects the streams that a session's description names (process_sdp).
  private mutating func describe(_ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    guard let session = message.description(.version, from: 0).value?.lowerBound else { return true }
    let usual = message.connection(from: session)
    var target = usual
    var place = session
    var streams = 0
    let isTranslated = !conntracks[party.index].status.isDisjoint(with: .nat)
    while streams < SIPMessage.media.count, let media = message.description(.media, from: place).value {
      place = media.lowerBound
      guard
        let kind = SIPMessage.media.first(where: {
          media.count >= $0.word.count && message.has($0.word, at: place, isExact: true)
        })
      else {
        place = media.upperBound
        continue
      }
      place += kind.word.count
      let port = message.number(at: place).value
      // A stream that is off.
      guard port != 0 else { continue }
      let own = message.connection(from: place)
      guard (1024...65535).contains(port), var address = own ?? usual,
        expectStreams(party, &message, &address, UInt16(port), kind.kind, place..<media.upperBound)
      else { return false }
      target = address
      if own != nil, isTranslated {
        guard changeDescription(party, &message, .connection, from: place, to: address) == true,
          correctLength(&message)
        else { return false }
      }
      streams += 1
    }
    guard isTranslated, let target else { return true }
    return translateSession(party, &message, session, target)
  }

  /// RTP at an even port and RTCP behind it (set_expected_rtp_rtcp). The address becomes the one that others are told.
  private mutating func expectStreams(
    _ party: SIPParty, _ message: inout SIPMessage, _ address: inout UInt128, _ port: UInt16,
    _ kind: ConntrackExpectation.Kind, _ match: Range<Int>
  ) -> Bool {
    let index = party.index
    guard address == conntracks[index].tuple(party.direction).source else { return true }
    var tuple = conntracks[index].tuple(party.direction.other)
    tuple.proto = 17
    tuple.sourcePort = 0
    tuple.destination = address
    tuple.destinationPort = port
    let isTranslated = !conntracks[index].status.isDisjoint(with: .nat)
    // What another call has told of the same stream: behind the same translation the two reach each other directly.
    var isDirect = false
    var isKnown = false
    let namespace = conntracks[index].namespace
    while !isKnown,
      let other = namespaces[namespace].conntrack.expectations.find(tuple, now: cpu.now),
      other.masterID != conntracks[index].id, other.expectedBy == .sip, other.kind == kind,
      conntracks[other.master].original.proto == conntracks[index].original.proto
    {
      if !isDirect, isTranslated, other.isHidden {
        address = other.savedAddress
        tuple.destination = other.savedAddress
        tuple.destinationPort = other.savedPort
        isDirect = true
      } else {
        isKnown = true
      }
    }
    tuple.destination = address
    tuple.destinationPort &= ~1
    if isDirect { guard changePort(&message, match, to: tuple.destinationPort) else { return false } }
    guard !isKnown else { return true }
    var control = tuple
    control.destinationPort += 1
    var (rtp, rtcp) = (expectation(tuple, of: index), expectation(control, of: index))
    rtp.kind = kind
    rtcp.kind = kind
    if isTranslated, !isDirect {
      return expectTranslated(party, &message, rtp, rtcp, match, &address)
    }
    // The same streams may have been told of as others, or in another call.
    let first = expect(rtp, isShared: true)
    guard first == .done || first == .already else { return false }
    let second = expect(rtcp, isShared: true)
    guard second != .done, second != .already else { return true }
    if first == .done { unexpect(rtp) }
    return false
  }

  mutating func unexpect(_ expectation: ConntrackExpectation) {
    namespaces[conntracks[expectation.master].namespace].conntrack.expectations.remove(expectation)
  }
}

extension SIPMessage {
  /// Streams that are expected, by the word that their line begins with (sdp_media_types).
  static let media: [(word: [UInt8], kind: ConntrackExpectation.Kind)] = [
    (Array("audio ".utf8), .audio), (Array("video ".utf8), .video), (Array("image ".utf8), .image),
  ]

  func asks(for method: SIPMethod) -> Bool {
    let word = method.word
    return has(word + [0x20], at: 0) && isLetter(word.count + 1)
  }

  /// Where the body begins: behind the next empty line, whose end may stand at once.
  func endOfHeaders(from place: Int) -> Int? {
    (place..<max(place, count)).first { has([0x0d, 0x0a, 0x0d, 0x0a], at: $0) }.map { $0 + 4 }
  }
}
