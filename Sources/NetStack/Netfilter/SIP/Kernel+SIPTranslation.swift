// SPDX-License-Identifier: GPL-2.0-or-later

// SIP through a translation (net/netfilter/nf_nat_sip.c): what a message says of the connection's own addresses is
// written as the other side has to see it, in headers and in the session's description, and what is expected is expected
// at the translated address.

import NetTypes
import Nftables

extension Kernel {
  /// Translates a message's headers (nf_nat_sip).
  mutating func translateSIP(_ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    if let asked = message.requestPeer { guard map(asked, party, &message) else { return false } }
    guard translateVia(party, &message) else { return false }
    var position = SIPMessage.Position()
    while let contact = message.nextPeer(.contact, &position) {
      guard map(contact, party, &message) else { return false }
    }
    for header in [SIPHeader.from, .to] {
      if let peer = message.firstPeer(header) { guard map(peer, party, &message) else { return false } }
    }
    return true
  }

  /// An address and port of the connection's as the other side sees them; others stay (map_addr).
  private func map(_ peer: SIPMessage.Peer, _ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    let own = conntracks[party.index].tuple(party.direction)
    let other = conntracks[party.index].tuple(party.direction.other)
    let (address, port): (UInt128, UInt16)
    if (peer.address, peer.port) == (own.source, own.sourcePort) {
      (address, port) = (other.destination, other.destinationPort)
    } else if (peer.address, peer.port) == (own.destination, own.destinationPort) {
      (address, port) = (other.source, forcedSIPPort(party.index) ?? other.sourcePort)
    } else {
      return true
    }
    if (peer.address, peer.port) == (address, port) { return true }
    return message.replace(peer.match, by: message.text(address, port: port))
  }

  /// The topmost Via, when it is of this connection, and its parameters maddr, received (RFC 3261) and rport (RFC 3581).
  private func translateVia(_ party: SIPParty, _ message: inout SIPMessage) -> Bool {
    let own = conntracks[party.index].tuple(party.direction)
    let other = conntracks[party.index].tuple(party.direction.other)
    guard let via = message.firstPeer(own.proto == 6 ? .viaTCP : .viaUDP),
      (via.address, via.port)
        == (message.isRequest ? (own.source, own.sourcePort) : (own.destination, own.destinationPort))
    else { return true }
    let before = message.count
    guard map(via, party, &message) else { return false }
    let end = via.match.upperBound + message.count - before
    if let found = message.addressParameter(Array("maddr=".utf8), from: end, isBracketed: true),
      found.address == own.source, found.address != other.destination
    {
      let text = message.text(other.destination, isBracketed: true)
      guard message.replace(found.match, by: text) else { return false }
    }
    if let found = message.addressParameter(Array("received=".utf8), from: end, isBracketed: false),
      found.address == own.destination, found.address != other.source
    {
      guard message.replace(found.match, by: message.text(other.source, isBracketed: false)) else {
        return false
      }
    }
    if let found = message.numberParameter(Array("rport=".utf8), from: end), found.value >= 1024,
      found.value == UInt32(own.destinationPort), found.value != UInt32(other.sourcePort)
    {
      guard message.replace(found.match, by: Array("\(other.sourcePort)".utf8)) else { return false }
    }
    return true
  }

  /// Answers go to the port that a telephone has named. Of TCP Linux would write this over a sequence number.
  mutating func forceSIPPort(_ party: SIPParty) -> Bool {
    guard party.direction == .reply, !conntracks[party.index].status.isDisjoint(with: .nat),
      let port = forcedSIPPort(party.index)
    else { return true }
    guard pool.makeWritable(party.packet.slot) else { return false }
    let packet = party.packet
    pool.bytes(packet.slot, from: packet.networkHeader).set(packet.transport + 2, u16: port)
    sumText(packet)
    return true
  }

  // MARK: What is expected

  /// A call at the translated address (nf_nat_sip_expect).
  mutating func expectTranslated(
    _ party: SIPParty, _ message: inout SIPMessage, _ wanted: ConntrackExpectation, _ match: Range<Int>
  ) -> Bool {
    let own = conntracks[party.index].tuple(party.direction)
    let other = conntracks[party.index].tuple(party.direction.other)
    var expectation = hidden(wanted, party)
    // Where it is asked from it is asked back, if that is free.
    let isOwn = wanted.tuple.destinationPort == forcedSIPPort(party.index) ?? own.sourcePort
    guard
      let port = expectAtFreePort(
        expectation, from: isOwn ? other.destinationPort : wanted.tuple.destinationPort)
    else { return false }
    expectation.tuple.destinationPort = port
    guard expectation.isHidden else { return true }
    if message.replace(match, by: message.text(expectation.tuple.destination, port: port)) { return true }
    unexpect(expectation)
    return false
  }

  /// Streams at the translated address, at a pair of ports that nobody else expects them at (nf_nat_sdp_media).
  mutating func expectTranslated(
    _ party: SIPParty, _ message: inout SIPMessage, _ first: ConntrackExpectation,
    _ second: ConntrackExpectation, _ match: Range<Int>, _ address: inout UInt128
  ) -> Bool {
    var (rtp, rtcp) = (hidden(first, party), hidden(second, party))
    address = rtp.tuple.destination
    var isExpected = false
    while !isExpected {
      switch expect(rtp, isShared: true) {
      case .done:
        let outcome = expect(rtcp, isShared: true)
        isExpected = outcome == .done
        if !isExpected { unexpect(rtp) }
        if outcome == .already || outcome == .tooMany { return false }
      case .busy: break
      case .already, .tooMany: return false
      }
      guard !isExpected else { break }
      guard rtp.tuple.destinationPort < 65534 else { return false }
      rtp.tuple.destinationPort += 2
      rtcp.tuple.destinationPort += 2
    }
    guard rtp.tuple.destinationPort != rtp.savedPort else { return true }
    if changePort(&message, match, to: rtp.tuple.destinationPort) { return true }
    unexpect(rtp)
    unexpect(rtcp)
    return false
  }

  /// The same at the address that the other side sees.
  private func hidden(_ wanted: ConntrackExpectation, _ party: SIPParty) -> ConntrackExpectation {
    let other = conntracks[party.index].tuple(party.direction.other)
    var expectation = wanted
    expectation.savedAddress = wanted.tuple.destination
    expectation.savedPort = wanted.tuple.destinationPort
    expectation.translated = party.direction.other
    if conntracks[party.index].tuple(party.direction).source != other.destination {
      expectation.tuple.destination = other.destination
    }
    return expectation
  }

  /// Gives a connection that was expected its translation (nf_nat_sip_expected): it goes to where the message has said,
  /// and its source becomes what the other stream of the call is expected at, or what its master's is.
  mutating func translateExpectedBySIP(
    _ index: ConntrackIndex, _ expectation: ConntrackExpectation, _ direction: ConntrackDirection
  ) {
    var range = NATRange()
    func aim(_ address: UInt128, _ port: UInt16?) {
      range.flags = port == nil ? .mapAddresses : [.mapAddresses, .portSpecified]
      (range.minimum, range.maximum) = (address, address)
      (range.minimumPort, range.maximumPort) = (port ?? 0, port ?? 0)
    }
    aim(expectation.savedAddress, expectation.savedPort)
    setUpTranslation(index, range, .destination)
    let original = conntracks[index].original
    let master = expectation.master
    let expectations = namespaces[conntracks[index].namespace].conntrack.expectations
    let pair = expectations.expected(of: expectation.masterID, now: cpu.now).first {
      $0.tuple.proto == original.proto
        && ($0.savedAddress, $0.savedPort) == (original.source, original.sourcePort)
    }
    if expectation.kind != .plain, let pair {
      aim(pair.tuple.destination, pair.tuple.destinationPort)
    } else if original.source == conntracks[master].tuple(direction).source {
      aim(conntracks[master].tuple(direction.other).destination, nil)
    } else {
      return
    }
    setUpTranslation(index, range, .source)
  }

  // MARK: The description of a session

  /// Another port in a media line (nf_nat_sdp_port).
  func changePort(_ message: inout SIPMessage, _ match: Range<Int>, to port: UInt16) -> Bool {
    message.replace(match, by: Array("\(port)".utf8)) && correctLength(&message)
  }

  /// Another address in a line; nil: there is none (mangle_sdp_packet).
  func changeDescription(
    _ party: SIPParty, _ message: inout SIPMessage, _ line: SDPLine, from place: Int, to address: UInt128
  ) -> Bool? {
    guard let match = message.description(line, from: place, before: .media).value else { return nil }
    return message.replace(match, by: message.text(address, isBracketed: false))
  }

  /// Owner and connection of the whole session (nf_nat_sdp_session).
  func translateSession(
    _ party: SIPParty, _ message: inout SIPMessage, _ session: Int, _ address: UInt128
  ) -> Bool {
    changeDescription(party, &message, .owner, from: session, to: address) == true
      && changeDescription(party, &message, .connection, from: session, to: address) != false
      && correctLength(&message)
  }

  /// Content-Length as the description is long now (mangle_content_len).
  func correctLength(_ message: inout SIPMessage) -> Bool {
    guard let session = message.description(.version, from: 0).value?.lowerBound,
      let match = message.header(.contentLength).value
    else { return false }
    return message.replace(match, by: Array("\(message.count - session + SDPLine.version.name.count)".utf8))
  }
}

extension SIPMessage {
  /// Whether it begins as no answer does.
  var isRequest: Bool { !has(Array("SIP/2.0".utf8), at: 0) }

  /// An address as it stands in the text (sip_sprintf_addr).
  func text(_ address: UInt128, isBracketed: Bool) -> [UInt8] {
    guard isIPv6 else { return Array("\(IPv4Address(rawValue: UInt32(truncatingIfNeeded: address)))".utf8) }
    let text = "\(IPv6Address(address))"
    return Array((isBracketed ? "[\(text)]" : text).utf8)
  }

  /// The same with a port (sip_sprintf_addr_port).
  func text(_ address: UInt128, port: UInt16) -> [UInt8] {
    text(address, isBracketed: true) + Array(":\(port)".utf8)
  }
}
