// SPDX-License-Identifier: GPL-2.0-or-later

// A neighbour: the link address of a host on a link, how sure we are of it, and the packets that wait for it
// (net/core/neighbour.c). Neighbours of both families are the same but for who asks for them: ARP or neighbour
// discovery.

import NetTypes

/// A neighbour's state (`NUD_*`).
struct NeighborStates: OptionSet, Hashable, Sendable, BitwiseCopyable {
  /// The kernel's bits.
  var rawValue: UInt16

  /// It is being asked for.
  static let incomplete = NeighborStates(rawValue: 0x01)
  /// It has answered lately.
  static let reachable = NeighborStates(rawValue: 0x02)
  /// It is known, but perhaps no longer true.
  static let stale = NeighborStates(rawValue: 0x04)
  /// It is used; unless something confirms it soon, it is asked.
  static let delay = NeighborStates(rawValue: 0x08)
  /// It is being asked whether it still is there.
  static let probe = NeighborStates(rawValue: 0x10)
  /// It did not answer.
  static let failed = NeighborStates(rawValue: 0x20)
  /// It needs no resolution.
  static let noARP = NeighborStates(rawValue: 0x40)
  /// Configuration says so.
  static let permanent = NeighborStates(rawValue: 0x80)

  static let connected: NeighborStates = [.permanent, .noARP, .reachable]
  static let valid: NeighborStates = [.permanent, .noARP, .reachable, .probe, .stale, .delay]
  static let timed: NeighborStates = [.incomplete, .reachable, .delay, .probe]
}

typealias NeighborIndex = TableIndex<Neighbor>

/// Whom a neighbour is: an address of either family on a device.
struct NeighborKey: Hashable, BitwiseCopyable {
  let high: UInt64
  let low: UInt64
  /// The device's index twice, and one more for IPv6.
  let scope: UInt32

  @inline(__always) init(_ device: DeviceIndex, _ address: UInt32) {
    high = 0
    low = UInt64(address)
    scope = device.rawValue &<< 1
  }

  @inline(__always) init(_ device: DeviceIndex, _ address: UInt128) {
    high = UInt64(truncatingIfNeeded: address &>> 64)
    low = UInt64(truncatingIfNeeded: address)
    scope = device.rawValue &<< 1 | 1
  }

  init(_ device: DeviceIndex, _ address: IPAddress) {
    switch address {
    case .v4(let address): self.init(device, address.rawValue)
    case .v6(let address): self.init(device, UInt128(address))
    }
  }

  @inline(__always) var device: DeviceIndex { DeviceIndex(scope &>> 1) }
  @inline(__always) var isIPv6: Bool { scope & 1 == 1 }
  var family: IPFamily { isIPv6 ? .ipv6 : .ipv4 }
  var address: IPAddress {
    isIPv6
      ? .v6(IPv6Address(high: high, low: low))
      : .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: low)))
  }
  /// The address, if it is IPv4's.
  var ipv4: UInt32 { UInt32(truncatingIfNeeded: low) }
  /// The address, if it is IPv6's.
  var ipv6: UInt128 { UInt128(high) << 64 | UInt128(low) }

  /// The order of a dump.
  static func isBefore(_ a: NeighborKey, _ b: NeighborKey) -> Bool {
    (a.scope & 1, a.scope, a.high, a.low) < (b.scope & 1, b.scope, b.high, b.low)
  }
}

/// A neighbour.
struct Neighbor: ~Copyable {
  let key: NeighborKey
  /// The number of its making: who was made first is looked at first when there are too many.
  let birth: UInt64
  var state: NeighborStates = []
  var flags: NeighborFlags = []
  /// 48 bits.
  var mac: UInt64 = 0
  var probes = 0
  /// RTPROT_* of who made it.
  var origin: UInt8 = 0
  /// Nanoseconds each: last proof that it is there, last use, last change.
  var confirmed: Int64
  var used: Int64
  var updated: Int64
  var timer = TimerID.none
  /// Packets that wait, oldest first, threaded through their sk_buffs.
  var queueHead = Slot.none
  var queueTail = Slot.none
  var queueCount = 0
  /// What they hold of the pool.
  var queueBytes = 0

  init(_ key: NeighborKey, birth: UInt64, now: Int64) {
    self.key = key
    self.birth = birth
    confirmed = now
    used = now
    updated = now
  }

  var device: DeviceIndex { key.device }
  /// Whether it does not count for the limits, and is never collected (exempt_from_gc).
  var isExempt: Bool { state.contains(.permanent) || flags.contains(.externallyLearned) }

  struct NeighborFlags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// NTF_ROUTER.
    static let router = NeighborFlags(rawValue: 1)
    /// NTF_EXT_LEARNED: somebody else keeps it.
    static let externallyLearned = NeighborFlags(rawValue: 2)
    /// NTF_EXT_MANAGED: it is asked again and again, used or not.
    static let managed = NeighborFlags(rawValue: 4)
  }
}

/// The settings of `net.ipv4.neigh.<device>` or `net.ipv6.neigh.<device>`, with the kernel's defaults.
struct NeighborParameters: Hashable {
  /// Nanoseconds each.
  var baseReachableTime: Int64 = 30_000_000_000
  var retransmitTime: Int64 = 1_000_000_000
  var delayFirstProbe: Int64 = 5_000_000_000
  var staleTime: Int64 = 60_000_000_000
  var lockTime: Int64 = 1_000_000_000
  var proxyDelay: Int64 = 800_000_000
  var managedInterval: Int64 = 5_000_000_000
  var unicastProbes = 3
  var applicationProbes = 0
  var multicastProbes = 3
  var multicastReprobes = 0
  /// Answers for others that wait.
  var proxyQueueLength = 64
  /// Bytes of the pool that waiting packets may hold.
  var queueBytes = 212_992
}

/// What a namespace has for all neighbours of one family: limits, and what `ip ntable` and /proc/net/stat count.
struct NeighborFamily {
  /// Fewer are left alone; more than the second may be no longer than five seconds; the third is the limit.
  var thresholds = (128, 512, 1024)
  /// When there was no room the last time.
  var lastFlush = Int64.min
  var collectionTimer = TimerID.none
  var managedTimer = TimerID.none
  /// All of them, and those that count for the second and third threshold.
  var count = 0
  var collectable = 0
  /// How many were ever made (allocs).
  var made: UInt64 = 0
  /// Packets that a full queue of an unresolved neighbour pushed out (unresolved_discards).
  var discards: UInt64 = 0
  /// Neighbours that did not answer (res_failed).
  var failures: UInt64 = 0
  /// Neighbours for which there was no place (table_fulls).
  var overflows: UInt64 = 0
  /// How often old ones were looked for because time had come, and because room was needed.
  var periodicRuns: UInt64 = 0
  var forcedRuns: UInt64 = 0
}
