// SPDX-License-Identifier: GPL-2.0-or-later

// Helpers read connections whose protocol says where others will come from: TFTP's answers from a port of their own
// (nf_conntrack_tftp.c, nf_nat_tftp.c), FTP's data connections as a command or an answer names them
// (nf_conntrack_ftp.c). What FTP says is not rewritten: of a translated control connection nothing is expected.

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
    guard !namespaces[namespace].conntrack.expectations.isEmpty,
      let expectation = namespaces[namespace].conntrack.expectations.take(
        conntracks[index].original, now: cpu.now)
    else { return }
    let master = expectation.master
    guard conntracks.contains(master), conntracks[master].id == expectation.masterID else { return }
    conntracks[index].status.insert(.expected)
    conntracks[index].expectedBy = conntracks[master].helper
    conntracks[index].mark = conntracks[master].mark
    guard let direction = expectation.translated else { return }
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
    }
  }

  private mutating func expect(
    _ tuple: ConntrackTuple, of index: ConntrackIndex, savedPort: UInt16 = 0,
    translated: ConntrackDirection? = nil
  ) -> Bool {
    let expectation = ConntrackExpectation(
      master: index, masterID: conntracks[index].id, tuple: tuple, savedPort: savedPort,
      translated: translated, deadline: cpu.now + ConntrackHelper.patience)
    return namespaces[conntracks[index].namespace].conntrack.expectations.expect(expectation, now: cpu.now)
  }

  /// A request to read or write is answered from another port.
  private mutating func helpTFTP(_ packet: NftPacket, _ index: ConntrackIndex) -> Bool {
    let message = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport + 8)
    guard message.count >= 2, message.u16(0) == 1 || message.u16(0) == 2 else { return true }
    var tuple = conntracks[index].reply
    tuple.sourcePort = 0
    let isTranslated = !conntracks[index].status.isDisjoint(with: .nat)
    return expect(
      tuple, of: index, savedPort: conntracks[index].original.sourcePort,
      translated: isTranslated ? .reply : nil)
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
    var isAllowed = true
    if namespaces[namespace].conntrack.expectations.beginsLine(sequence, of: id, direction) {
      switch FTPLine.read(line, direction, isIPv6: conntracks[index].original.isIPv6) {
      case .nothing: break
      // Half of a command would be expected of the wrong port (nf_ct_helper_log).
      case .partial: return false
      case .port(let port, let address):
        guard conntracks[index].status.isDisjoint(with: .nat) else { break }
        let own = conntracks[index].tuple(direction).source
        // Who names another's address is not believed (`loose`).
        if let address, address != own { break }
        var tuple = conntracks[index].tuple(direction.other)
        tuple.sourcePort = 0
        tuple.destinationPort = port
        isAllowed = expect(tuple, of: index)
      }
    }
    if line.u8(line.count - 1) == 0x0a {
      namespaces[namespace].conntrack.expectations.noteLine(
        sequence &+ UInt32(line.count), of: id, direction)
    }
    return isAllowed
  }
}

/// A command or an answer of FTP that names a port (RFC 959, RFC 2428).
enum FTPLine: Equatable {
  case nothing
  /// It begins as one, and is not whole.
  case partial
  /// A port, and the address that is named with it.
  case port(UInt16, UInt128?)

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
      return found ?? .partial
    }
    return .nothing
  }

  private static func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }

  /// `10,0,0,1,4,1`, ended by a byte, or by whatever is no digit when that is 0. How large the numbers are nobody asks
  /// (try_number, try_rfc959).
  private static func numbers(_ bytes: PacketBytes, _ end: UInt8) -> FTPLine? {
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
        return .port(UInt16(truncatingIfNeeded: values[4] << 8 | values[5]), UInt128(address))
      }
    }
    return nil
  }

  /// `|1|10.0.0.1|1025|`, or in answers `|||1025|`.
  private static func extended(_ bytes: PacketBytes, isCommand: Bool, _ end: UInt8, _ isIPv6: Bool)
    -> FTPLine?
  {
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
    return .port(UInt16(port), address)
  }
}
