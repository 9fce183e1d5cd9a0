// SPDX-License-Identifier: GPL-2.0-or-later

// Values that a rule puts into the packet or what belongs to it: `meta mark set`, `ip ttl set`, `tcp option maxseg size
// set`. What the kernel sums by words is written by words: the rest of one is loaded and put back.

import NetTypes

extension RuleCompiler {
  mutating func store(_ selector: Selector, _ source: ValueSource) throws(Fault) {
    canMerge = false
    switch selector.load {
    case .meta(let key):
      guard Self.settable.contains(key) else { throw Fault("\(selector.name) cannot be set") }
      try place(source, as: selector.type)
      emit(.metaSet(NftMetaSet(key: key, source: .r1)))
    case .ct(let key, let direction):
      guard [.mark, .labels, .zone, .eventMask, .secmark].contains(key) else {
        throw Fault("\(selector.name) cannot be set")
      }
      guard family != .netdev, family != .arp else {
        throw Fault("\(selector.name): there is no connection tracking in the \(family.rawValue) family")
      }
      try place(source, as: selector.type)
      emit(.ctSet(NftCtSet(key: key, direction: direction, source: .r1)))
    case .payload(let base, let bit, let width):
      try require(selector.requirement)
      try write(selector, source, base, bit, width)
    case .exthdr(.tcpOption, let type, let bit, let width, presence: false) where selector.window == nil:
      try place(source, as: selector.type)
      emit(
        .exthdrWrite(
          NftExthdrWrite(operation: .tcpOption, type: type, offset: bit / 8, length: width / 8, source: .r1)))
    default: throw Fault("\(selector.name) cannot be set")
    }
  }

  private static let settable: Set<NftMetaKey> = [.mark, .priority, .nftrace, .packetType, .securityMark]

  /// Brings what is to be stored into the first register.
  private mutating func place(_ source: ValueSource, as type: NftDataType) throws(Fault) {
    switch source {
    case .value(let data):
      guard data.count == type.size else {
        throw Fault("a value of \(data.count) bytes for a \(type.name)")
      }
      emit(.immediate(.data(data, in: .r1)))
    case .selector(let other): try place(other, as: type)
    case .bits(let other, let mask, let flip):
      guard mask.count == type.size, flip.count == type.size else { throw Fault("the mask does not fit") }
      try place(other, as: type)
      emit(
        .bitwise(
          NftBitwise(
            source: .r1, destination: .r1, length: UInt32(mask.count), operation: .mask(mask, flip: flip))))
    case .map(let selectors, let entries):
      guard !selectors.isEmpty, !entries.isEmpty else { throw Fault("a map without a selector or entries") }
      var builder = SetBuilder(types: selectors.map(\.type), windows: selectors.map(\.window))
      for entry in entries {
        guard entry.value.count == type.size else {
          throw Fault("a value of \(entry.value.count) bytes for a \(type.name)")
        }
        try builder.add(entry.key, value: .data(entry.value))
      }
      try lookup(selectors, builder, data: .value([type]))
    case .namedMap(let selectors, let name):
      try lookup(selectors, named: name, data: .value([type]))
    }
  }

  private mutating func place(_ other: Selector, as type: NftDataType) throws(Fault) {
    try requireAll([other])
    try place(other, as: type, word: 0)
  }

  /// The same into the register at a word, where what it presumes is settled.
  mutating func place(_ other: Selector, as type: NftDataType, word: Int) throws(Fault) {
    guard other.type.size == type.size, other.window == nil else {
      throw Fault("\(other.name) does not fit where a \(type.name) is stored")
    }
    let loaded = try load(other, word: word)
    guard type.size > 1, other.type.isHostOrder != type.isHostOrder else { return }
    emit(
      .byteorder(
        NftByteorder(
          source: loaded.register, destination: loaded.register, toNetwork: other.type.isHostOrder,
          length: UInt32(loaded.bytes), size: UInt32(loaded.bytes))))
  }

  private mutating func write(
    _ selector: Selector, _ source: ValueSource, _ base: NftPayloadBase, _ bit: UInt32, _ width: UInt32
  ) throws(Fault) {
    var first = bit / 8
    var end = (bit + width + 7) / 8
    let checksum = self.checksum(of: selector, base)
    // A byte of what is summed is written with its neighbour.
    if checksum.type != 0 {
      first &= ~1
      end += end & 1
    }
    let length = end - first
    let shift = end * 8 - bit - width
    if shift == 0, length * 8 == width {
      try place(source, as: selector.type)
    } else {
      guard case .value(let data) = source, length <= 8, selector.type.size <= 8, width < 64,
        data.count == selector.type.size, data.bigEndianValue < 1 << UInt64(width)
      else { throw Fault("\(selector.name) takes a constant of \(width) bits") }
      let bits = ((1 << UInt64(width)) - 1 as UInt64) << UInt64(shift)
      emit(.payload(NftPayload(base: base, offset: first, length: length, destination: .r1)))
      emit(
        .bitwise(
          NftBitwise(
            source: .r1, destination: .r1, length: length,
            operation: .mask(
              NftData(bigEndian: ~bits, width: Int(length)),
              flip: NftData(bigEndian: data.bigEndianValue << UInt64(shift), width: Int(length))))))
    }
    emit(
      .payloadWrite(
        NftPayloadWrite(
          base: base, offset: first, length: length, source: .r1, checksumType: checksum.type,
          checksumOffset: checksum.offset, checksumFlags: checksum.coversPseudoHeader ? 1 : 0)))
  }

  /// Which checksum covers a field: the header's own, and for addresses the transport's as well.
  private func checksum(
    of selector: Selector, _ base: NftPayloadBase
  ) -> (type: UInt32, offset: UInt32, coversPseudoHeader: Bool) {
    let isAddress = selector.name.hasSuffix("saddr") || selector.name.hasSuffix("daddr")
    switch (base, selector.requirement) {
    case (.network, .network(.ipv4)): return (1, 10, isAddress)
    case (.network, .network(.ipv6)): return (0, 0, isAddress)
    case (.transport, .transport(.tcp)): return (1, 16, false)
    case (.transport, .transport(.udp)), (.transport, .transport(.udplite)): return (1, 6, false)
    case (.transport, .transport(.sctp)): return (2, 8, false)
    case (.transport, .familyTransport): return (1, 2, false)
    default: return (0, 0, false)
    }
  }
}
