// SPDX-License-Identifier: GPL-2.0-or-later

// By what number a flow is given to one of several next hops (net/ipv4/route.c, fib_multipath_hash; net/ipv6/route.c,
// rt6_multipath_hash; net/core/flow_dissector.c). The number is SipHash-2-4 (Aumasson and Bernstein, 2012) over the
// kernel's `struct flow_keys` from its `basic` member on, so that with a seed of the administrator's
// (fib_multipath_hash_seed) flows go where the kernel's go:
//
//    0        4            8        16       24      28      32      36
//    │ proto  │ flow label │ vlan   │ cvlan  │ keyid │ ports │ icmp  │ source │ destination

/// How a namespace hashes flows.
struct MultipathHash: BitwiseCopyable {
  /// 0: addresses; 1: addresses, protocol and ports (fib_multipath_hash_policy).
  private(set) var policy: UInt8 = 0
  private let chance: (UInt64, UInt64)
  private var key0: UInt64
  private var key1: UInt64

  /// A key by chance.
  init(random: inout RandomState) {
    chance = (random.next(), random.next())
    (key0, key1) = chance
  }

  /// A seed other than zero takes the place of chance.
  mutating func set(policy: UInt8, seed: UInt32) {
    self.policy = policy
    let doubled = UInt64(seed) << 32 | UInt64(seed)
    (key0, key1) = seed == 0 ? chance : (doubled, doubled)
  }

  /// 31 bits. A flow and its answers have the same.
  func hash<Address: InternetAddress>(_ flow: Flow<Address>) -> Int32 {
    let isIPv6 = Address.bitWidth == 128
    var words = InlineArray<9, UInt64>(repeating: 0)
    var source = flow.source
    var destination = flow.destination
    // Addresses are put in order as the kernel compares them: as memory in IPv6, as the machine's numbers in IPv4.
    if isIPv6 ? destination < source : destination.byteSwapped < source.byteSwapped {
      swap(&source, &destination)
    }
    var ports: UInt64 = 0
    if policy == 1 {
      let low = min(flow.sourcePort.byteSwapped, flow.destinationPort.byteSwapped)
      let high = max(flow.sourcePort.byteSwapped, flow.destinationPort.byteSwapped)
      ports = UInt64(low) | UInt64(high) << 16
    }
    if policy == 1 || isIPv6 { words[0] = UInt64(flow.proto) << 16 }
    if policy == 0, isIPv6 { words[0] |= UInt64(flow.flowLabel.byteSwapped) << 32 }
    words[3] = ports << 32
    guard isIPv6 else {
      words[4] = UInt64(UInt32(truncatingIfNeeded: source.byteSwapped)) << 32
      words[5] = UInt64(UInt32(truncatingIfNeeded: destination.byteSwapped))
      return siphash(words, length: 44)
    }
    // Four words of 32 bits each, from offset 36 on.
    func part(_ address: Address, _ number: Int) -> UInt64 {
      UInt64(UInt32(truncatingIfNeeded: address >> Address(truncatingIfNeeded: 96 - 32 * number)).byteSwapped)
    }
    let parts: InlineArray<8, UInt64> = [
      part(source, 0), part(source, 1), part(source, 2), part(source, 3), part(destination, 0),
      part(destination, 1), part(destination, 2), part(destination, 3),
    ]
    words[4] = parts[0] << 32
    words[5] = parts[1] | parts[2] << 32
    words[6] = parts[3] | parts[4] << 32
    words[7] = parts[5] | parts[6] << 32
    words[8] = parts[7]
    return siphash(words, length: 68)
  }

  /// `length` is no multiple of eight: the last word is the rest, and takes the length in its highest byte.
  private func siphash(_ words: InlineArray<9, UInt64>, length: Int) -> Int32 {
    var v0 = key0 ^ 0x736f_6d65_7073_6575
    var v1 = key1 ^ 0x646f_7261_6e64_6f6d
    var v2 = key0 ^ 0x6c79_6765_6e65_7261
    var v3 = key1 ^ 0x7465_6462_7974_6573
    func rotated(_ value: UInt64, _ count: UInt64) -> UInt64 { value &<< count | value &>> (64 &- count) }
    func round() {
      v0 &+= v1
      v1 = rotated(v1, 13) ^ v0
      v0 = rotated(v0, 32)
      v2 &+= v3
      v3 = rotated(v3, 16) ^ v2
      v0 &+= v3
      v3 = rotated(v3, 21) ^ v0
      v2 &+= v1
      v1 = rotated(v1, 17) ^ v2
      v2 = rotated(v2, 32)
    }
    for index in 0...length / 8 {
      let word = index < length / 8 ? words[index] : words[index] | UInt64(length) << 56
      v3 ^= word
      round()
      round()
      v0 ^= word
    }
    v2 ^= 0xff
    for _ in 0..<4 { round() }
    let hash = UInt32(truncatingIfNeeded: v0 ^ v1 ^ v2 ^ v3)
    return Int32(bitPattern: max(hash, 1) >> 1)
  }
}
