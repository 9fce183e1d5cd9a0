// SPDX-License-Identifier: GPL-2.0-or-later

// Helpers read connections whose protocol says where others will come from: TFTP's answers from a port of their own
// (nf_conntrack_tftp.c, nf_nat_tftp.c), FTP's data connections as a command or an answer names them
// (nf_conntrack_ftp.c), and what rules expect (nft_ct.c). Of a translated connection the address and port that FTP names
// are written anew (nf_nat_ftp.c). SIP stands in files of its own.

import NetTypes
import Nftables

extension Kernel {
  /// `ct helper set`: while nobody else knows the connection yet (nft_ct_helper_obj_eval).
  mutating func giveHelper(_ instruction: NftInstruction, _ packet: NftPacket) {
    let index = pool.conntrack(packet.slot).index
    guard conntracks.contains(index), !conntracks[index].status.contains(.confirmed),
      conntracks[index].original.proto == instruction.flags, conntracks[index].helper == .none,
      let helper = ConntrackHelper(rawValue: UInt8(truncatingIfNeeded: instruction.b)),
      instruction.c == 0 || (instruction.c == 10) == conntracks[index].original.isIPv6
    else { return }
    conntracks[index].helper = helper
    conntracks[index].status.insert(.helped)
  }

  /// What a connection was expected by makes it related, and gives it its master's mark and translation (init_conntrack).
  mutating func fulfil(_ index: ConntrackIndex, in namespace: NamespaceIndex) {
    guard !namespaces[namespace].conntrack.expectations.isEmpty else { return }
    var expectations = ConntrackExpectations()
    swap(&expectations, &namespaces[namespace].conntrack.expectations)
    let taken = expectations.take(conntracks[index].original, now: cpu.now) { expectation in
      conntracks.contains(expectation.master) && conntracks[expectation.master].id == expectation.masterID
        && conntracks[expectation.master].status.contains(.confirmed)
    }
    swap(&expectations, &namespaces[namespace].conntrack.expectations)
    guard let expectation = taken else { return }
    let master = expectation.master
    conntracks[index].status.insert(.expected)
    conntracks[index].expectedBy = conntracks[master].helper
    conntracks[index].mark = conntracks[master].mark
    conntracks[index].helper = expectation.helper
    guard let direction = expectation.translated else { return }
    guard expectation.expectedBy != .sip else {
      translateExpectedBySIP(index, expectation, direction)
      return
    }
    // nf_nat_follow_master: from where the master sends to, to where it was sent from.
    let other = conntracks[master].tuple(direction.other)
    var range = NATRange()
    range.flags = .mapAddresses
    range.minimum = other.destination
    range.maximum = other.destination
    setUpTranslation(index, range, .source)
    range.flags = [.mapAddresses, .portSpecified]
    range.minimum = other.source
    range.maximum = other.source
    range.minimumPort = expectation.savedPort
    range.maximumPort = expectation.savedPort
    setUpTranslation(index, range, .destination)
  }

  /// Has a connection's helper read a packet before it leaves (nf_confirm). False: it is dropped.
  mutating func help(_ packet: NftPacket, _ index: ConntrackIndex, _ info: ConntrackInfo) -> Bool {
    guard info != .relatedReply, packet.hasTransport else { return true }
    switch conntracks[index].helper {
    case .none: return true
    case .tftp: return helpTFTP(packet, index)
    case .ftp: return helpFTP(packet, index, info)
    case .sip: return helpSIP(packet, index, info)
    }
  }

  /// nf_ct_expect_init.
  func expectation(_ tuple: ConntrackTuple, of index: ConntrackIndex) -> ConntrackExpectation {
    ConntrackExpectation(
      master: index, masterID: conntracks[index].id, tuple: tuple, expectedBy: conntracks[index].helper,
      deadline: cpu.now)
  }

  /// nf_ct_expect_related: a helper's policy says how many, and for how long.
  mutating func expect(
    _ expectation: ConntrackExpectation, isShared: Bool = false
  ) -> ConntrackExpectations.Outcome {
    var expectation = expectation
    let index = expectation.master
    var limit: Int?
    if conntracks[index].helper != .none {
      let policy = conntracks[index].helper.policy(expectation.kind)
      limit = policy.limit
      expectation.deadline = cpu.now + policy.patience
    }
    return namespaces[conntracks[index].namespace].conntrack.expectations.expect(
      expectation, limit: limit, isShared: isShared, now: cpu.now)
  }

  /// Expects it at a port, or at one by chance that nobody else expects it at (nf_nat_exp_find_port). Nil: there is none.
  mutating func expectAtFreePort(_ expectation: ConntrackExpectation, from port: UInt16) -> UInt16? {
    var expectation = expectation
    expectation.tuple.destinationPort = port
    var outcome = expect(expectation)
    var attempts = min(65535 - Int(port), 128)
    while outcome == .busy, attempts > 0 {
      attempts -= 1
      expectation.tuple.destinationPort = port &+ UInt16(cpu.random.below(UInt64(65535 - port)))
      outcome = expect(expectation)
    }
    return outcome == .done ? expectation.tuple.destinationPort : nil
  }

  /// `ct expectation set`: while nobody else knows the connection yet (nft_ct_expect_obj_eval). What stands there as
  /// milliseconds Linux takes for seconds.
  mutating func expectByRule(_ instruction: NftInstruction, _ packet: NftPacket) -> NftVerdictCode {
    let reference = pool.conntrack(packet.slot)
    let index = reference.index
    guard conntracks.contains(index), !conntracks[index].status.contains(.confirmed),
      let wanted = namespaces[packet.namespace].nftables.program.expectations[instruction.a],
      namespaces[packet.namespace].conntrack.expectations.count(of: conntracks[index].id, .plain)
        < Int(wanted.size)
    else { return .break }
    var tuple = conntracks[index].tuple(reference.info.direction.other)
    tuple.proto = wanted.transport
    tuple.sourcePort = 0
    tuple.destinationPort = wanted.destinationPort
    var expectation = expectation(tuple, of: index)
    expectation.deadline = cpu.now + Int64(wanted.timeout) * 1_000_000_000
    return expect(expectation) == .done ? .continue : .drop
  }

  /// A request to read or write is answered from another port.
  private mutating func helpTFTP(_ packet: NftPacket, _ index: ConntrackIndex) -> Bool {
    let message = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport + 8)
    guard message.count >= 2, message.u16(0) == 1 || message.u16(0) == 2 else { return true }
    var tuple = conntracks[index].reply
    tuple.sourcePort = 0
    var expectation = expectation(tuple, of: index)
    if !conntracks[index].status.isDisjoint(with: .nat) {
      expectation.savedPort = conntracks[index].original.sourcePort
      expectation.translated = .reply
    }
    return expect(expectation) == .done
  }

  private mutating func helpFTP(
    _ packet: NftPacket, _ index: ConntrackIndex, _ info: ConntrackInfo
  ) -> Bool {
    guard info == .established || info == .establishedReply else { return true }
    let direction = info.direction
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    guard segment.count >= 20 else { return true }
    let offset = Int(segment.u8(12) >> 4) * 4
    // A line that is not in the first piece of the packet's bytes is none that a helper reads.
    guard offset >= 20, offset < segment.count else { return true }
    let line = segment.dropFirst(offset)
    let sequence = segment.u32(4)
    let namespace = conntracks[index].namespace
    let id = conntracks[index].id
    let end = sequence &+ UInt32(line.count)
    let endsLine = line.u8(line.count - 1) == 0x0a
    var isAllowed = true
    if namespaces[namespace].conntrack.expectations.beginsLine(sequence, of: id, direction) {
      switch FTPLine.read(line, direction, isIPv6: conntracks[index].original.isIPv6) {
      case .nothing: break
      // Half of a command would be expected of the wrong port (nf_ct_helper_log).
      case .partial: return false
      case .port(let named):
        let (port, address) = (named.port, named.address)
        let own = conntracks[index].tuple(direction).source
        // Who names another's address is not believed (`loose`).
        if let address, address != own { break }
        var tuple = conntracks[index].tuple(direction.other)
        tuple.sourcePort = 0
        tuple.destinationPort = port
        isAllowed =
          conntracks[index].status.isDisjoint(with: .nat)
          ? expect(expectation(tuple, of: index)) == .done
          : translate(named, tuple, packet, index, direction)
      }
    }
    if endsLine { namespaces[namespace].conntrack.expectations.noteLine(end, of: id, direction) }
    return isAllowed
  }

  /// Writes the address that others see, and a port that nobody else expects, into a line, and expects that
  /// (nf_nat_ftp).
  private mutating func translate(
    _ named: FTPLine.Port, _ wanted: ConntrackTuple, _ packet: NftPacket, _ index: ConntrackIndex,
    _ direction: ConntrackDirection
  ) -> Bool {
    var expectation = expectation(wanted, of: index)
    expectation.savedPort = named.port
    expectation.translated = direction.other
    guard let port = expectAtFreePort(expectation, from: named.port) else { return false }
    let text = named.text(address: wanted.destination, port: port, isIPv6: wanted.isIPv6)
    guard !mangle(packet, index, direction, named.match, text) else { return true }
    namespaces[conntracks[index].namespace].conntrack.expectations.forget(conntracks[index].id)
    return false
  }
}

/// A command or an answer of FTP that names a port (RFC 959, RFC 2428).
enum FTPLine: Equatable {
  case nothing
  /// It begins as one, and is not whole.
  case partial
  case port(Port)

  /// A port, and the address that is named with it.
  struct Port: Equatable {
    enum Form: Equatable {
      /// `10,0,0,1,4,1`
      case numbers
      /// `|1|10.0.0.1|1025|`
      case command
      /// `|||1025|`
      case answer
    }

    var port: UInt16
    var address: UInt128?
    /// Where that stands in the line.
    var match: Range<Int>
    var form: Form

    /// The same with another address and port (nf_nat_ftp_fmt_cmd).
    func text(address: UInt128, port: UInt16, isIPv6: Bool) -> [UInt8] {
      let bytes = (0..<4).map { UInt8(truncatingIfNeeded: address >> (24 - 8 * $0)) }
      switch form {
      case .numbers:
        let all = bytes.map(String.init) + ["\(port >> 8)", "\(port & 255)"]
        return Array(all.joined(separator: ",").utf8)
      case .command where isIPv6:
        // Written out, as %pI6 is.
        let groups = (0..<8).map { group in
          let digits = String(UInt16(truncatingIfNeeded: address >> (112 - 16 * group)), radix: 16)
          return String(repeating: "0", count: 4 - digits.count) + digits
        }
        return Array("|2|\(groups.joined(separator: ":"))|\(port)|".utf8)
      case .command:
        return Array("|1|\(bytes.map(String.init).joined(separator: "."))|\(port)|".utf8)
      case .answer: return Array("|||\(port)|".utf8)
      }
    }
  }

  static func read(_ line: PacketBytes, _ direction: ConntrackDirection, isIPv6: Bool) -> FTPLine {
    let forms: [(word: StaticString, opens: UInt8, closes: UInt8, isExtended: Bool)] =
      direction == .original
      ? [("PORT", 0x20, 0x0d, false), ("EPRT", 0x20, 0x0d, true)]
      : [("227 ", 0, 0, false), ("229 ", 0x28, 0x29, true)]
    for form in forms {
      let word = form.word.utf8CodeUnitCount
      let matching = unsafe UnsafeBufferPointer(start: form.word.utf8Start, count: word)
      var same = 0
      while same < min(word, line.count), unsafe lower(line.u8(same)) == lower(matching[same]) { same += 1 }
      guard same == min(word, line.count) else { continue }
      guard line.count > word else { return .partial }
      var place = word
      if form.opens != 0 {
        while place < line.count, line.u8(place) != form.opens { place += 1 }
        place += 1
      } else {
        // What stands before the first digit is for people (try_rfc1123).
        while place < line.count, !(0x30...0x39).contains(line.u8(place)) { place += 1 }
      }
      guard place < line.count else { return .partial }
      let rest = line.dropFirst(place)
      let found =
        form.isExtended
        ? extended(rest, isCommand: direction == .original, form.closes, isIPv6)
        : numbers(rest, form.closes)
      guard var found else { return .partial }
      found.match = found.match.lowerBound + place..<found.match.upperBound + place
      return .port(found)
    }
    return .nothing
  }

  private static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }

  /// `10,0,0,1,4,1`, ended by a byte, or by whatever is no digit when that is 0. How large the numbers are nobody asks
  /// (try_number, try_rfc959).
  private static func numbers(_ bytes: PacketBytes, _ end: UInt8) -> Port? {
    var values = InlineArray<6, UInt32>(repeating: 0)
    var number = 0
    var place = 0
    while place < bytes.count {
      let byte = bytes.u8(place)
      place += 1
      if (0x30...0x39).contains(byte) {
        values[number] = values[number] &* 10 &+ UInt32(byte - 0x30)
      } else if byte == 0x2c, number < 5 {
        number += 1
      } else {
        guard number == 5, end == 0 || byte == end else { return nil }
        let address = values[0] << 24 | values[1] << 16 | values[2] << 8 | values[3]
        return Port(
          port: UInt16(truncatingIfNeeded: values[4] << 8 | values[5]), address: UInt128(address),
          match: 0..<place - 1, form: .numbers)
      }
    }
    return nil
  }

  /// `|1|10.0.0.1|1025|`, or in answers `|||1025|`.
  private static func extended(
    _ bytes: PacketBytes, isCommand: Bool, _ end: UInt8, _ isIPv6: Bool
  ) -> Port? {
    guard bytes.count > 3 else { return nil }
    let mark = bytes.u8(0)
    guard mark > 0x20, mark < 0x7f, !(0x30...0x39).contains(mark) else { return nil }
    var place = 1
    var address: UInt128?
    if isCommand {
      guard bytes.u8(1) == (isIPv6 ? 0x32 : 0x31), bytes.u8(2) == mark else { return nil }
      place = 3
      var text = ""
      while place < bytes.count, bytes.u8(place) != mark, text.utf8.count < 46 {
        text.unicodeScalars.append(Unicode.Scalar(bytes.u8(place)))
        place += 1
      }
      guard place < bytes.count, let named = IPAddress(text), (named.family == .ipv6) == isIPv6 else {
        return nil
      }
      address = named.bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
      place += 1
    } else {
      guard bytes.u8(1) == mark, bytes.u8(2) == mark else { return nil }
      place = 3
    }
    var port: UInt32 = 0
    while place < bytes.count, (0x30...0x39).contains(bytes.u8(place)) {
      port = port * 10 + UInt32(bytes.u8(place) - 0x30)
      guard port <= 0xffff else { return nil }
      place += 1
    }
    guard place < bytes.count, bytes.u8(place) == mark, port > 0 else { return nil }
    return Port(
      port: UInt16(port), address: address, match: 0..<place + 1, form: isCommand ? .command : .answer)
  }
}
