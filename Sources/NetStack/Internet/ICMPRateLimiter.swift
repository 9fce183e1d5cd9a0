// SPDX-License-Identifier: GPL-2.0-or-later

// How many errors a host sends (RFC 1812 4.3.2.8; net/ipv4/icmp.c, inetpeer.c): a bucket for all, and one for each
// destination. Those of destinations stand in a fixed table, where a newcomer takes the place of whom it collides
// with, and begins with a full bucket as any host does that has not been heard of for a minute.

/// The buckets of one namespace.
@safe struct ICMPRateLimiter: ~Copyable {
  private struct Peer: BitwiseCopyable {
    var address: UInt128
    var last: Int64
    var tokens: Int64
    /// Redirects that have not been heeded.
    var redirects: UInt8 = 0
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

  /// Whether a sender may be told of a better way: nine times, each time after twice the time, and anew when he has
  /// been silent for 20 s (ip_rt_send_redirect).
  mutating func allowRedirect(_ address: UInt32, now: Int64) -> Bool {
    let address = UInt128(address)
    let place = place(address)
    guard let base = unsafe peers else { return false }
    let load: Int64 = 20_000_000
    var peer = unsafe base[place]
    if peer.address != address { peer = Peer(address: address, last: now - 60_000_000_000, tokens: 0) }
    if now > peer.last + load << 10 {
      peer.tokens = 0
      peer.redirects = 0
    }
    let mayTry = peer.redirects < 9
    let allowed = mayTry && (peer.redirects == 0 || now > peer.last + load << Int64(peer.redirects))
    if allowed { peer.redirects += 1 }
    if allowed || !mayTry { peer.last = now }
    unsafe base[place] = peer
    return allowed
  }

  /// Where a destination's bucket stands.
  private mutating func place(_ address: UInt128) -> Int {
    if unsafe peers == nil {
      let fresh = UnsafeMutablePointer<Peer>.allocate(capacity: Self.peerCount)
      unsafe fresh.initialize(repeating: Peer(address: 0, last: 0, tokens: 0), count: Self.peerCount)
      unsafe peers = fresh
    }
    let folded = UInt64(truncatingIfNeeded: address ^ address >> 64)
    let mixed = (folded ^ seed) &* 0x9e37_79b9_7f4a_7c15
    return Int(mixed >> 56)
  }

  /// Takes one from a destination's bucket, which fills by one each `interval` and holds `burst`.
  mutating func allow(
    _ address: some InternetAddress, now: Int64, interval: Int64, burst: Int64 = 6
  ) -> Bool {
    let address = UInt128(truncatingIfNeeded: address)
    let place = place(address)
    guard let base = unsafe peers else { return false }
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
