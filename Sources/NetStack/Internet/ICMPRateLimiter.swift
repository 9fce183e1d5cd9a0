// SPDX-License-Identifier: GPL-2.0-or-later

// How many errors a host sends (RFC 1812 4.3.2.8; net/ipv4/icmp.c, inetpeer.c): a bucket for all, and one for each
// destination. Those of destinations stand in a fixed table, where a newcomer takes the place of whom it collides
// with, and begins with a full bucket as any host does that has not been heard of for a minute.

/// The buckets of one namespace.
@safe struct ICMPRateLimiter: ~Copyable {
  private struct Peer: BitwiseCopyable {
    var address: UInt32
    var last: Int64
    var tokens: Int64
  }

  private static let peerCount = 256
  private var peers: UnsafeMutablePointer<Peer>?
  private let seed: UInt64
  private var credit: Int64 = 0
  private var stamp: Int64 = .min

  init(seed: UInt64) { self.seed = seed | 1 }

  deinit { unsafe peers?.deallocate() }

  /// Takes one from the bucket for all.
  mutating func allowGlobally(now: Int64, perSecond: Int64, burst: Int64) -> Bool {
    let second: Int64 = 1_000_000_000
    let elapsed = stamp == .min ? second : min(now - stamp, second)
    if elapsed >= second / 50 {
      credit = min(credit + perSecond * elapsed / second, burst)
      stamp = now
    }
    guard credit > 0 else { return false }
    credit -= 1
    return true
  }

  /// Takes one from a destination's bucket, which fills by one each `interval` and holds `burst`.
  mutating func allow(_ address: UInt32, now: Int64, interval: Int64, burst: Int64 = 6) -> Bool {
    if unsafe peers == nil {
      let fresh = UnsafeMutablePointer<Peer>.allocate(capacity: Self.peerCount)
      unsafe fresh.initialize(repeating: Peer(address: 0, last: 0, tokens: 0), count: Self.peerCount)
      unsafe peers = fresh
    }
    guard let base = unsafe peers else { return false }
    let mixed = (UInt64(address) ^ seed) &* 0x9e37_79b9_7f4a_7c15
    let place = Int(mixed >> 56)
    var peer = unsafe base[place]
    if peer.address != address { peer = Peer(address: address, last: now - 60_000_000_000, tokens: 0) }
    peer.tokens = min(peer.tokens + now - peer.last, burst * interval)
    peer.last = now
    let allowed = peer.tokens >= interval
    if allowed { peer.tokens -= interval }
    unsafe base[place] = peer
    return allowed
  }
}
