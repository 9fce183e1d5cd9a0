// SPDX-License-Identifier: GPL-2.0-or-later

// Receive-side scaling as NICs do it (Microsoft, "RSS Hashing Functions"): Toeplitz's hash over addresses and, where
// the packet is whole and the transport has them, ports; its low bits choose an entry of the indirection table, and
// that a queue. The same dissection serves the choice of a queue for sending (skb_tx_hash).

/// Which fields a hash is over (`ethtool -N … rx-flow-hash`: `sd` or `sdfn`).
public struct HashFields: OptionSet, Hashable, Sendable {
  /// One bit a protocol whose ports count; addresses always do.
  public let rawValue: UInt8

  /// From bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// TCP over IPv4.
  public static let tcp4 = HashFields(rawValue: 1)
  /// UDP over IPv4: not by default, since fragments of a datagram have no ports.
  public static let udp4 = HashFields(rawValue: 2)
  /// TCP over IPv6.
  public static let tcp6 = HashFields(rawValue: 4)
  /// UDP over IPv6.
  public static let udp6 = HashFields(rawValue: 8)
}

/// A NIC's choice of queues.
struct ReceiveSideScaling {
  /// Entries of the indirection table.
  static let indirectionSize = 128
  /// The key that Microsoft's document verifies implementations with, and that most drivers begin with.
  static let standardKey: [UInt8] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca,
    0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7,
    0x3b,
    0xbe, 0xac, 0x01, 0xfa,
  ]
  /// Bytes of a key: the longest input, two IPv6 addresses and two ports, and 32 bits.
  static let keyLength = 40

  private(set) var key = standardKey
  /// For each half byte of the input what each of its values adds to the hash.
  private var contributions: [UInt32] = []
  private(set) var indirection: [UInt8]
  var fields: HashFields = [.tcp4, .tcp6]

  init(queues: Int) {
    indirection = (0..<Self.indirectionSize).map { UInt8($0 % queues) }
    setKey(key)
  }

  mutating func setIndirection(_ table: [UInt8]) { indirection = table }

  mutating func setKey(_ key: [UInt8]) {
    self.key = key
    /// 32 bits of the key from a bit on.
    func window(_ bit: Int) -> UInt32 {
      var word: UInt64 = 0
      for byte in 0..<8 where bit / 8 + byte < key.count {
        word |= UInt64(key[bit / 8 + byte]) << UInt64(56 - 8 * byte)
      }
      return UInt32(truncatingIfNeeded: (word << UInt64(bit % 8)) >> 32)
    }
    contributions = (0..<(Self.keyLength - 4) * 2 * 16).map { place in
      var sum: UInt32 = 0
      for bit in 0..<4 where place % 16 & (8 >> bit) != 0 { sum ^= window(place / 16 * 4 + bit) }
      return sum
    }
  }

  @inline(__always) private func add(_ bytes: PacketBytes, at place: Int, _ hash: inout UInt32) {
    for offset in 0..<bytes.count {
      let byte = Int(bytes.u8(offset))
      let base = (place &+ offset) &* 32
      hash ^= contributions[base &+ byte &>> 4] ^ contributions[base &+ 16 &+ byte & 15]
    }
  }

  /// Toeplitz's hash of two ranges of bytes, one behind the other, together at most 36.
  func hash(_ addresses: PacketBytes, _ ports: PacketBytes) -> UInt32 {
    var hash: UInt32 = 0
    add(addresses, at: 0, &hash)
    add(ports, at: addresses.count, &hash)
    return hash
  }

  /// The hash of a frame; nil for what is not IP.
  func hash(of frame: PacketBytes) -> UInt32? {
    guard let flow = TransportOffsets(of: frame) else { return nil }
    var ports = frame.dropFirst(flow.addresses).prefix(0)
    if flow.isWhole, let field = flow.hashField, fields.contains(field), frame.count >= flow.transport + 4 {
      ports = frame.dropFirst(flow.transport).prefix(4)
    }
    return hash(frame.dropFirst(flow.addresses).prefix(flow.isIPv6 ? 32 : 8), ports)
  }

  /// The queue of a frame with a hash.
  func queue(_ hash: UInt32) -> Int { Int(indirection[Int(hash & UInt32(Self.indirectionSize - 1))]) }
}

/// Where in a frame a NIC's parser finds what it needs. It looks behind one VLAN tag, and does not follow IPv6's
/// extension headers.
struct TransportOffsets {
  let isIPv6: Bool
  /// Where the source address begins; the destination's follows.
  let addresses: Int
  let proto: UInt8
  let transport: Int
  /// Where the IP packet ends, behind which padding may stand.
  let end: Int
  /// Not a fragment.
  let isWhole: Bool

  init?(of frame: PacketBytes) {
    guard frame.count >= EthernetHeader.length else { return nil }
    var offset = EthernetHeader.length
    var type = frame.u16(EthernetHeader.type)
    if type == 0x8100, frame.count >= offset + 4 {
      type = frame.u16(offset + 2)
      offset += 4
    }
    switch type {
    case 0x0800:
      guard frame.count >= offset + IPv4Header.length else { return nil }
      let header = frame.dropFirst(offset)
      let length = header.ipv4HeaderLength
      let total = Int(header.u16(IPv4Header.totalLength))
      guard header.u8(0) >> 4 == 4, length >= IPv4Header.length, total >= length, total <= header.count else {
        return nil
      }
      isIPv6 = false
      addresses = offset + IPv4Header.source
      proto = header.u8(IPv4Header.proto)
      transport = offset + length
      end = offset + total
      isWhole = header.u16(IPv4Header.fragment) & (IPv4Header.moreFragments | IPv4Header.offsetMask) == 0
    case 0x86dd:
      guard frame.count >= offset + 40 else { return nil }
      let header = frame.dropFirst(offset)
      let total = 40 + Int(header.u16(4))
      guard header.u8(0) >> 4 == 6, total <= header.count else { return nil }
      isIPv6 = true
      addresses = offset + 8
      proto = header.u8(6)
      transport = offset + 40
      end = offset + total
      isWhole = true
    default: return nil
    }
  }

  var hashField: HashFields? {
    switch proto {
    case 6: isIPv6 ? .tcp6 : .tcp4
    case 17: isIPv6 ? .udp6 : .udp4
    default: nil
    }
  }

  /// Whether the checksum of a whole TCP segment or UDP datagram is right; nil where a NIC cannot tell.
  func isChecksumGood(in frame: PacketBytes) -> Bool? {
    guard isWhole, proto == 6 || proto == 17 else { return nil }
    let length = end - transport
    guard length >= (proto == 6 ? 20 : 8) else { return nil }
    let segment = frame.dropFirst(transport).prefix(length)
    if proto == 17, segment.u16(6) == 0 { return nil }
    let pseudo = UInt16(foldChecksum(UInt64(proto) + UInt64(length))).bigEndian
    let sum = frame.dropFirst(addresses).prefix(isIPv6 ? 32 : 8).sum(UInt64(pseudo))
    return foldChecksum(segment.sum(sum)) == .max
  }
}
