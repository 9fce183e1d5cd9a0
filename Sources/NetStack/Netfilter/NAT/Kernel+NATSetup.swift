// SPDX-License-Identifier: GPL-2.0-or-later

// Which translation a connection gets (net/netfilter/nf_nat_core.c): the kernel's order of attempts, so that what it
// would choose is chosen here, but for what is left to chance.

import Nftables

extension Kernel {
  /// Ports tried one after the other before the search begins elsewhere (NF_NAT_MAX_ATTEMPTS).
  private static let attempts = 128

  /// Gives a connection that is not confirmed its translation (nf_nat_setup_info).
  mutating func setUpTranslation(
    _ index: ConntrackIndex, _ range: NATRange, _ manipulation: NATManipulation
  ) {
    guard !conntracks[index].status.contains(.confirmed),
      !conntracks[index].status.contains(manipulation.doneBit),
      let current = conntracks[index].reply.inverted
    else { return }
    let new = uniqueTuple(current, range, manipulation, index)
    if new != current, let reply = new.inverted {
      conntracks[index].reply = reply
      conntracks[index].status.insert(manipulation.bit)
    }
    conntracks[index].status.insert(manipulation.doneBit)
  }

  /// get_unique_tuple.
  private mutating func uniqueTuple(
    _ original: ConntrackTuple, _ range: NATRange, _ manipulation: NATManipulation, _ index: ConntrackIndex
  ) -> ConntrackTuple {
    if manipulation == .source, !range.isRandom {
      if original.isWithin(range, .source) {
        if !isUsed(original, index) { return original }
      } else if let known = mappingOfSameSource(original, range, index), !isUsed(known, index) {
        return known
      }
    }
    var tuple = original
    chooseAddress(&tuple, range, manipulation)
    if !range.isRandom {
      if range.flags.contains(.portSpecified) {
        if tuple.isPortWithin(range, manipulation),
          range.minimumPort == range.maximumPort || !isUsed(tuple, index)
        {
          return tuple
        }
      } else if !isUsed(tuple, index) {
        return tuple
      }
    }
    choosePort(&tuple, range, manipulation, index)
    return tuple
  }

  /// Whether another connection's answers look the same (nf_nat_used_tuple).
  private func isUsed(_ tuple: ConntrackTuple, _ index: ConntrackIndex) -> Bool {
    guard let reply = tuple.inverted else { return false }
    let namespace = conntracks[index].namespace
    guard let link = namespaces[namespace].conntrack.table.find(reply, in: conntracks) else { return false }
    return link.index != index
  }

  /// What another connection from the same address and port got, if it is in the range (find_appropriate_src).
  private func mappingOfSameSource(
    _ original: ConntrackTuple, _ range: NATRange, _ index: ConntrackIndex
  ) -> ConntrackTuple? {
    let namespace = conntracks[index].namespace
    for other in namespaces[namespace].conntrack.table.sameSource(original, in: conntracks) {
      guard let mapped = conntracks[other].reply.inverted else { continue }
      var candidate = original
      candidate.source = mapped.source
      candidate.sourcePort = mapped.sourcePort
      if candidate.isWithin(range, .source) { return candidate }
    }
    return nil
  }

  /// find_best_ips_proto.
  private func chooseAddress(
    _ tuple: inout ConntrackTuple, _ range: NATRange, _ manipulation: NATManipulation
  ) {
    guard range.flags.contains(.mapAddresses) else { return }
    var chosen = range.minimum
    if range.minimum != range.maximum {
      chosen = spread(tuple, range)
    }
    if manipulation == .source { tuple.source = chosen } else { tuple.destination = chosen }
  }

  /// Spreads sources over a range, word by word, as the kernel's hash does.
  private func spread(_ tuple: ConntrackTuple, _ range: NATRange) -> UInt128 {
    let count = tuple.isIPv6 ? 4 : 1
    func word(_ address: UInt128, _ position: Int) -> UInt32 {
      guard tuple.isIPv6 else { return position == 0 ? UInt32(truncatingIfNeeded: address) : 0 }
      return UInt32(truncatingIfNeeded: address >> (96 - 32 * position))
    }
    let isPersistent = range.flags.contains(.persistent)
    let seed = isPersistent ? 0 : word(tuple.destination, count - 1).byteSwapped ^ UInt32(tuple.zone)
    var hash = JenkinsHash.hash((0..<4).map { word(tuple.source, $0).byteSwapped }, seed: seed)
    var isFull = false
    var result: UInt128 = 0
    for position in 0..<count {
      var low: UInt32 = 0
      var distance: UInt32 = .max
      if !isFull {
        low = word(range.minimum, position)
        distance = word(range.maximum, position) &- low &+ 1
      }
      let chosen = low &+ JenkinsHash.scale(hash, distance)
      result = result << 32 | UInt128(chosen)
      if chosen != word(range.maximum, position) { isFull = true }
      if !isPersistent { hash ^= word(tuple.destination, position).byteSwapped }
    }
    return result
  }

  /// nf_nat_l4proto_unique_tuple.
  private mutating func choosePort(
    _ tuple: inout ConntrackTuple, _ range: NATRange, _ manipulation: NATManipulation, _ index: ConntrackIndex
  ) {
    let isSource = manipulation == .source || tuple.isICMP
    let current = Int(isSource ? tuple.sourcePort : tuple.destinationPort)
    let low: Int
    let size: Int
    switch tuple.proto {
    case 6, 17, 33, 132, 136, 1, 58:
      if range.flags.contains(.portSpecified) {
        low = Int(min(range.minimumPort, range.maximumPort))
        size = Int(max(range.minimumPort, range.maximumPort)) - low + 1
      } else if tuple.isICMP {
        low = 0
        size = 65536
      } else {
        // A destination keeps its port; a source keeps its class (RFC 4787 REQ-3 has them as 0 to 1023 and above).
        guard manipulation == .source else { return }
        switch current {
        case ..<512: (low, size) = (1, 511)
        case ..<1024: (low, size) = (600, 424)
        default: (low, size) = (1024, 64512)
        }
      }
    default: return
    }
    var offset = 0
    if range.isRandom || manipulation == .source { offset = Int(cpu.random.below(65536)) }
    var rounds = min(size, Self.attempts)
    while true {
      for _ in 0..<rounds {
        let port = UInt16(truncatingIfNeeded: low + offset % size)
        offset += 1
        if isSource { tuple.sourcePort = port } else { tuple.destinationPort = port }
        if !isUsed(tuple, index) { return }
      }
      guard rounds < size, rounds >= 16 else { return }
      rounds /= 2
      offset = Int(cpu.random.below(65536))
    }
  }
}
