// SPDX-License-Identifier: GPL-2.0-or-later

// A SIP message as Linux's helper reads it (net/netfilter/nf_conntrack_sip.c; RFC 3261, and RFC 4566 for what stands
// behind its headers): it looks for the few fields that name addresses, and takes the rest as it comes. Places count from
// the message's first byte; what is asked for beyond its end is not there.
//
//    REGISTER sip:10.0.1.9 SIP/2.0 ⏎ Via: SIP/2.0/UDP 10.0.0.9:5060 ⏎ Contact: <sip:me@10.0.0.9:5060>;expires=60 ⏎ ⏎
//                 └ request address       address and port ┘                       └ address ┘     parameter ┘

import NetTypes

/// The text of a message, which may be one of several that one segment carries.
struct SIPMessage {
  /// SIP_PORT.
  static let usualPort: UInt16 = 5060
  /// Less than that says nothing ("SIP/2.0 200").
  static let shortest = 11

  /// All that the packet carries.
  private(set) var text: [UInt8]
  /// Where the message begins in it, and how long it is.
  private(set) var start = 0
  var count: Int
  /// How long the text may become.
  let limit: Int
  let isIPv6: Bool
  private(set) var isChanged = false

  init(_ text: [UInt8], isIPv6: Bool, limit: Int = 65535) {
    self.text = text
    self.isIPv6 = isIPv6
    self.limit = limit
    count = text.count
  }

  /// Goes on behind this message, of whose text the last is left.
  mutating func advance() {
    start += count
    count = text.count - start
  }

  /// Writes other text where some was found. False: it would become too long.
  mutating func replace(_ match: Range<Int>, by new: [UInt8]) -> Bool {
    guard text.count - match.count + new.count <= limit else { return false }
    text.replaceSubrange(start + match.lowerBound..<start + match.upperBound, with: new)
    count += new.count - match.count
    isChanged = true
    return true
  }

  // MARK: Bytes

  private func byte(_ place: Int) -> UInt8? { place < count ? text[start + place] : nil }

  private func isEnd(_ place: Int) -> Bool { byte(place) == 0x0d || byte(place) == 0x0a }

  private func isBlank(_ place: Int) -> Bool { byte(place) == 0x20 || byte(place) == 0x09 }

  /// Letters of Latin-1, as the kernel's isalpha has them.
  func isLetter(_ place: Int) -> Bool {
    guard let byte = byte(place) else { return false }
    return switch byte {
    case 0x41...0x5a, 0x61...0x7a: true
    case 0xc0...0xff: byte != 0xd7 && byte != 0xf7
    default: false
    }
  }

  private func isDigit(_ place: Int) -> Bool { byte(place).map { (0x30...0x39).contains($0) } ?? false }

  /// Whether a word stands somewhere, in any case of its letters unless it is to be exact.
  func has(_ word: [UInt8], at place: Int, isExact: Bool = false) -> Bool {
    for (offset, wanted) in word.enumerated() {
      guard let found = byte(place + offset) else { return false }
      func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }
      guard isExact ? found == wanted : lower(found) == lower(wanted) else { return false }
    }
    return true
  }

  /// A number that fits into 32 bits, in at most eleven digits, and where it ends; else 0, and it ends where it begins
  /// (sip_strtouint).
  func number(at place: Int) -> (value: UInt32, end: Int) {
    var value: UInt64 = 0
    var end = place
    while isDigit(end), let digit = byte(end) {
      value = value * 10 + UInt64(digit - 0x30)
      guard end - place < 11, value <= UInt64(UInt32.max) else { return (0, place) }
      end += 1
    }
    return (UInt32(value), end)
  }

  private func digits(at place: Int) -> Int {
    var end = place
    while isDigit(end) { end += 1 }
    return end - place
  }

  // MARK: Addresses

  /// An address and where it ends. In headers one of IPv6 stands in brackets, `isBracketed` or not by choice elsewhere
  /// (sip_parse_addr).
  private func address(at place: Int, isBracketed: Bool, _ end: Int) -> (value: UInt128, end: Int)? {
    guard isIPv6 else { return ipv4(at: place, end) }
    let opens = place < end && byte(place) == 0x5b
    guard opens || !isBracketed, var found = ipv6(at: place + (opens ? 1 : 0), end) else { return nil }
    let closes = found.end < end && byte(found.end) == 0x5d
    guard closes || !isBracketed else { return nil }
    if closes { found.end += 1 }
    return found
  }

  /// Four numbers of any length, ended by what is no letter of a hexadecimal number (in4_pton).
  private func ipv4(at place: Int, _ end: Int) -> (value: UInt128, end: Int)? {
    var address: UInt128 = 0
    var next = place
    for part in 0..<4 {
      var value = 0
      let first = next
      while next < end, isDigit(next), let digit = byte(next) {
        value = value * 10 + Int(digit - 0x30)
        guard value <= 255 else { return nil }
        next += 1
      }
      guard next > first else { return nil }
      address = address << 8 | UInt128(value)
      guard part < 3 else { break }
      guard next < end, byte(next) == 0x2e else { return nil }
      next += 1
    }
    if next < end, let last = byte(next), last == 0x2e || Self.isHexadecimal(last) { return nil }
    return (address, next)
  }

  private func ipv6(at place: Int, _ end: Int) -> (value: UInt128, end: Int)? {
    var word = ""
    var next = place
    while next < end, let byte = byte(next), byte == 0x3a || byte == 0x2e || Self.isHexadecimal(byte) {
      // INET6_ADDRSTRLEN.
      guard next - place < 46 else { return nil }
      word.unicodeScalars.append(Unicode.Scalar(byte))
      next += 1
    }
    return IPv6Address(word).map { (UInt128($0.high) << 64 | UInt128($0.low), next) }
  }

  private static func isHexadecimal(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte & ~0x20)
  }

  /// What may stand behind an address: a port of those that anybody may use, and something behind that
  /// (sip_parse_port).
  private func port(at place: Int) -> (value: UInt16, end: Int)? {
    guard place < count else { return nil }
    guard byte(place) == 0x3a else { return (Self.usualPort, place) }
    let length = digits(at: place + 1)
    let end = place + 1 + length
    guard (1...5).contains(length), end < count, let port = UInt16(exactly: number(at: place + 1).value),
      port >= 1024
    else { return nil }
    return (port, end)
  }

  /// An address with a port, and where it stands.
  struct Peer: Equatable {
    var address: UInt128
    var port: UInt16
    var match: Range<Int>
  }

  private func peer(at place: Int) -> Peer? {
    guard let found = address(at: place, isBracketed: true, count), let port = port(at: found.end) else {
      return nil
    }
    return Peer(address: found.value, port: port.value, match: place..<port.end)
  }

  /// Where an address begins behind a user's name in a URI (skp_epaddr_len).
  private func behindUser(_ place: Int) -> Int {
    var next = place
    while next < count, byte(next) != 0x40, !isEnd(next) { next += 1 }
    return byte(next) == 0x40 ? next + 1 : place
  }

  /// Whether it begins as an answer does.
  var isAnswer: Bool { has(Self.version, at: 0) && byte(Self.version.count) == 0x20 }

  private static let version = Array("SIP/2.0".utf8)
  private static let scheme = Array("sip:".utf8)

  /// The address that a request line asks for (ct_sip_parse_request); nil when it is none, or there is no such line.
  var requestPeer: Peer? {
    guard !has(Self.version, at: 0) else { return nil }
    var place = 0
    while isLetter(place) { place += 1 }
    guard place > 0, place + 1 < count else { return nil }
    place += 1
    while place < count - Self.scheme.count {
      if isEnd(place) { return nil }
      if has(Self.scheme, at: place) {
        place += Self.scheme.count
        break
      }
      place += 1
    }
    return place < count ? peer(at: behindUser(place)) : nil
  }

  // MARK: Lines

  /// Behind a line's end, where the line goes on on the next one behind its blanks; nil: that is another line
  /// (sip_follow_continuation).
  private func continuation(of place: Int, _ end: Int) -> Int? {
    var next = place + 1
    guard next < end else { return nil }
    if byte(next - 1) == 0x0d, byte(next) == 0x0a {
      next += 1
      guard next < end else { return nil }
    }
    guard isBlank(next) else { return nil }
    while next < end, isBlank(next) { next += 1 }
    return next
  }

  /// sip_skip_whitespace.
  private func skipBlanks(_ place: Int) -> Int? {
    var next = place
    while next < count, isBlank(next) { next += 1 }
    return isEnd(next) ? continuation(of: next, count) : next
  }

  /// Where a word stands in a line and those that go on with it, before the last byte; of a line that goes on the first
  /// byte is not looked at (ct_sip_header_search).
  private func search(_ word: [UInt8], from place: Int, to end: Int) -> Int? {
    var next = place
    let limit = end - word.count
    while next < limit {
      if isEnd(next) {
        guard let behind = continuation(of: next, limit) else { return nil }
        next = behind
      } else if has(word, at: next) {
        return next
      }
      next += 1
    }
    return nil
  }

  /// Where a line begins behind the next line's end; nil: there is none any more.
  private func nextLine(from place: Int) -> Int? {
    var next = place
    while next < count, !isEnd(next) { next += 1 }
    next += 1
    guard next < count else { return nil }
    if byte(next - 1) == 0x0d, byte(next) == 0x0a { next += 1 }
    return next < count ? next : nil
  }

  /// What was found of a field.
  enum Finding: Equatable {
    case nothing
    /// It is there and cannot be read; what comes behind may be.
    case unreadable(from: Int)
    case value(Range<Int>)

    var value: Range<Int>? { if case .value(let range) = self { range } else { nil } }
  }

  // MARK: Headers

  private func value(_ header: SIPHeader, at place: Int, unreadable: Int) -> Finding {
    switch header.form {
    case .number:
      let length = digits(at: place)
      return length > 0 ? .value(place..<place + length) : .unreadable(from: unreadable)
    case .address, .uri:
      let first = header.form == .uri ? behindUser(place) : place
      return peer(at: first).map { .value($0.match) } ?? .unreadable(from: unreadable)
    }
  }

  /// The first header of a name behind a place (ct_sip_get_header).
  func header(_ header: SIPHeader, from place: Int = 0) -> Finding {
    var next = place
    while let line = nextLine(from: next) {
      next = line
      if isBlank(line) {
        next += 1
        continue
      }
      if has(header.name, at: line) {
        next += header.name.count
      } else if let compact = header.compact, line + 1 < count, has([compact], at: line), !isLetter(line + 1)
      {
        next += 1
      } else {
        next += 1
        continue
      }
      guard let colon = skipBlanks(next), byte(colon) == 0x3a, colon + 1 < count,
        let value = skipBlanks(colon + 1)
      else { return .nothing }
      guard !header.search.isEmpty else { return self.value(header, at: value, unreadable: value) }
      guard let found = search(header.search, from: value, to: count) else { return .unreadable(from: value) }
      return self.value(header, at: found + header.search.count, unreadable: value)
    }
    return .nothing
  }

  /// The next value of a header that lists several (ct_sip_next_header).
  private func next(_ header: SIPHeader, from place: Int) -> Finding {
    guard let comma = search([0x2c], from: place, to: count),
      let found = search(header.search, from: comma, to: count)
    else { return .nothing }
    let first = found + header.search.count
    return value(header, at: first, unreadable: first)
  }

  /// Where one is in the values of all headers of a name.
  struct Position {
    var place = 0
    fileprivate var isInHeader = false
  }

  /// The next value of a name's headers that can be read (ct_sip_walk_headers, ct_sip_parse_header_uri).
  func nextPeer(_ header: SIPHeader, _ position: inout Position) -> Peer? {
    var place = position.place
    if position.isInHeader {
      var finding = next(header, from: place)
      while case .unreadable(let from) = finding {
        place = from
        finding = next(header, from: place)
      }
      if let match = finding.value { return take(match, &position) }
      position.isInHeader = false
    }
    var finding = self.header(header, from: place)
    while case .unreadable(let from) = finding {
      place = from
      finding = self.header(header, from: place)
    }
    guard let match = finding.value else { return nil }
    position.isInHeader = true
    return take(match, &position)
  }

  private func take(_ match: Range<Int>, _ position: inout Position) -> Peer? {
    guard let peer = peer(at: match.lowerBound) else { return nil }
    position.place = peer.match.upperBound
    return peer
  }

  func firstPeer(_ header: SIPHeader) -> Peer? {
    var position = Position()
    return nextPeer(header, &position)
  }

  /// A header's number, where its digits stand, and where it has been read to: nowhere when it is too large.
  func number(_ header: SIPHeader) -> (value: UInt32, match: Range<Int>, end: Int)? {
    guard let match = self.header(header).value else { return nil }
    let read = number(at: match.lowerBound)
    return (read.value, match, read.end)
  }

  // MARK: Parameters

  /// Where a parameter's value begins, in the list's part that begins at a place, and where that part ends.
  private func parameter(_ name: [UInt8], from place: Int) -> (start: Int, end: Int)? {
    let end = search([0x2c], from: place, to: count) ?? count
    return search(name, from: place, to: end).map { ($0 + name.count, end) }
  }

  /// ct_sip_parse_numerical_param: nil where there is none; its match is empty where it is no number.
  func numberParameter(_ name: [UInt8], from place: Int) -> (value: UInt32, match: Range<Int>)? {
    guard let (start, _) = parameter(name, from: place) else { return nil }
    let read = number(at: start)
    return (read.value, start..<read.end)
  }

  /// ct_sip_parse_address_param.
  func addressParameter(
    _ name: [UInt8], from place: Int, isBracketed: Bool
  ) -> (address: UInt128, match: Range<Int>)? {
    guard let (start, end) = parameter(name, from: place),
      let found = address(at: start, isBracketed: isBracketed, end)
    else { return nil }
    return (found.value, start..<found.end)
  }

  /// Whether a contact wants to be asked by this protocol, or does not say by which (ct_sip_parse_transport).
  func admits(transport: UInt8, from place: Int) -> Bool {
    guard let (start, _) = parameter(Array("transport=".utf8), from: place) else { return true }
    return has(Array((transport == 6 ? "TCP" : "UDP").utf8), at: start)
  }

  // MARK: The description of a session

  /// A line of a session's description behind a place, but not behind a line of `term` (ct_sip_get_sdp_header).
  func description(_ line: SDPLine, from place: Int, before term: SDPLine? = nil) -> Finding {
    var next = place
    while let first = nextLine(from: next) {
      if let term, has(term.name, at: first) { return .nothing }
      guard has(line.name, at: first) else {
        next = first + 1
        continue
      }
      let value = first + line.name.count
      switch line {
      case .version:
        let length = digits(at: value)
        return length > 0 ? .value(value..<value + length) : .unreadable(from: value)
      case .media:
        var end = value
        while isLetter(end) { end += 1 }
        guard byte(end) == 0x20 else { return .unreadable(from: value) }
        end += 1
        return .value(value..<end + digits(at: end))
      case .owner, .connection:
        let word = Array((isIPv6 ? "IN IP6 " : "IN IP4 ").utf8)
        var place = value
        while place < count - word.count, !isEnd(place), !has(word, at: place, isExact: true) { place += 1 }
        guard place < count - word.count, !isEnd(place),
          let found = plainAddress(at: place + word.count, count)
        else { return .unreadable(from: value) }
        return .value(place + word.count..<found.end)
      }
    }
    return .nothing
  }

  private func plainAddress(at place: Int, _ end: Int) -> (value: UInt128, end: Int)? {
    isIPv6 ? ipv6(at: place, end) : ipv4(at: place, end)
  }

  /// The address of a connection line (ct_sip_parse_sdp_addr).
  func connection(from place: Int) -> UInt128? {
    guard let match = description(.connection, from: place, before: .media).value else { return nil }
    return plainAddress(at: match.lowerBound, match.upperBound)?.value
  }
}
