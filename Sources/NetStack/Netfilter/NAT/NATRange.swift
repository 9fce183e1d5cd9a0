// SPDX-License-Identifier: GPL-2.0-or-later

// What a translation may choose from (struct nf_nat_range2).

import Nftables

/// Addresses and ports for a connection's source or destination.
struct NATRange {
  var flags: NftNATFlags = []
  /// In host byte order; meant when the flags say `mapAddresses`.
  var minimum: UInt128 = 0
  var maximum: UInt128 = 0
  /// Meant when the flags say `portSpecified`.
  var minimumPort: UInt16 = 0
  var maximumPort: UInt16 = 0

  /// `random` or `fully-random`: what a connection has is not kept.
  var isRandom: Bool { !flags.isDisjoint(with: [.random, .fullyRandom]) }
}

/// Which end of a connection a translation changes (enum nf_nat_manip_type).
enum NATManipulation: BitwiseCopyable {
  case source, destination

  /// What a hook changes.
  init(_ hook: NetfilterHook) {
    self = hook == .postrouting || hook == .input ? .source : .destination
  }

  var other: NATManipulation { self == .source ? .destination : .source }

  var bit: ConntrackEntry.Status { self == .source ? .sourceNAT : .destinationNAT }
  var doneBit: ConntrackEntry.Status { self == .source ? .sourceNATDone : .destinationNATDone }
}

extension ConntrackTuple {
  /// Whether what is to be changed lies in a range already (nf_in_range).
  func isWithin(_ range: NATRange, _ manipulation: NATManipulation) -> Bool {
    if range.flags.contains(.mapAddresses) {
      let address = manipulation == .source ? source : destination
      guard address >= range.minimum, address <= range.maximum else { return false }
    }
    return !range.flags.contains(.portSpecified) || isPortWithin(range, manipulation)
  }

  /// l4proto_in_range.
  func isPortWithin(_ range: NATRange, _ manipulation: NATManipulation) -> Bool {
    switch proto {
    case 6, 17, 33, 132, 136:
      let port = manipulation == .source ? sourcePort : destinationPort
      return port >= range.minimumPort && port <= range.maximumPort
    default:
      // Of echoes the identifier counts, whichever end is meant.
      return !isICMP || (sourcePort >= range.minimumPort && sourcePort <= range.maximumPort)
    }
  }
}
