// SPDX-License-Identifier: GPL-2.0-or-later

// A packet at a hook: where it is, which way it goes, and where its headers begin (struct nft_pktinfo, nf_hook_state).

import NetTypes

/// A packet as rules see it.
struct NftPacket {
  let slot: Slot
  let family: NetfilterFamily
  let hook: NetfilterHook
  let namespace: NamespaceIndex
  /// None where the hook has none.
  let input: DeviceIndex
  let output: DeviceIndex
  /// Where the network header begins, as the sk_buff counts.
  let networkHeader: UInt16
  /// 4 or 6; 0 for what is no IP packet.
  private(set) var version: UInt8 = 0
  /// Bytes from the network header to the transport's.
  private(set) var transport = 0
  private(set) var proto: UInt8 = 0
  /// Whether a trace of the base chain that it is in has told of it.
  var isShown = false
  /// Whether there is a transport header here: not in later fragments.
  private(set) var hasTransport = false

  init(
    _ slot: Slot, _ family: NetfilterFamily, _ hook: NetfilterHook, in input: DeviceIndex,
    out output: DeviceIndex, _ namespace: NamespaceIndex, _ pool: borrowing BufferPool
  ) {
    self.slot = slot
    self.family = family
    self.hook = hook
    self.namespace = namespace
    self.input = input
    self.output = output
    networkHeader = pool[slot].networkHeader
    switch family {
    case .ipv4: readIPv4(pool)
    case .ipv6: readIPv6(pool)
    case .arp: break
    case .bridge, .netdev:
      if pool[slot].etherType == 0x0800 {
        readIPv4(pool)
      } else if pool[slot].etherType == 0x86dd {
        readIPv6(pool)
      }
    }
  }

  private mutating func readIPv4(_ pool: borrowing BufferPool) {
    let bytes = pool.bytes(slot, from: networkHeader)
    guard bytes.count >= IPv4Header.length, bytes.u8(0) >> 4 == 4,
      bytes.ipv4HeaderLength >= IPv4Header.length,
      bytes.ipv4HeaderLength <= bytes.count, Int(bytes.u16(IPv4Header.totalLength)) >= bytes.ipv4HeaderLength
    else { return }
    version = 4
    transport = bytes.ipv4HeaderLength
    proto = bytes.u8(IPv4Header.proto)
    hasTransport = bytes.u16(IPv4Header.fragment) & IPv4Header.offsetMask == 0
  }

  private mutating func readIPv6(_ pool: borrowing BufferPool) {
    let bytes = pool.bytes(slot, from: networkHeader)
    guard bytes.count >= 40, bytes.u8(0) >> 4 == 6 else { return }
    version = 6
    guard let found = Self.transport(of: bytes) else { return }
    transport = found.offset
    proto = found.proto
    hasTransport = found.isFirst
  }

  /// Walks the extension headers (ipv6_find_hdr); nil when they are cut short.
  static func transport(of bytes: PacketBytes) -> (offset: Int, proto: UInt8, isFirst: Bool)? {
    var next = bytes.u8(6)
    var offset = 40
    // A chain of headers is no longer than the packet, and each has eight bytes at least.
    while true {
      switch next {
      case 0, 43, 60:
        guard offset + 8 <= bytes.count else { return nil }
        next = bytes.u8(offset)
        offset += (Int(bytes.u8(offset + 1)) + 1) * 8
      case 51:
        guard offset + 8 <= bytes.count else { return nil }
        next = bytes.u8(offset)
        offset += (Int(bytes.u8(offset + 1)) + 2) * 4
      case 44:
        guard offset + 8 <= bytes.count else { return nil }
        next = bytes.u8(offset)
        guard bytes.u16(offset + 2) & 0xfff8 == 0 else { return (offset, next, false) }
        offset += 8
      default: return offset <= bytes.count ? (offset, next, true) : nil
      }
    }
  }

  /// The headers of a packet that an ICMP error quotes; nil when it does not say enough.
  static func inner(_ bytes: PacketBytes, isIPv6: Bool) -> (transport: Int, proto: UInt8)? {
    if isIPv6 {
      guard bytes.count >= 40, bytes.u8(0) >> 4 == 6, let found = transport(of: bytes), found.isFirst else {
        return nil
      }
      return (found.offset, found.proto)
    }
    guard bytes.count >= IPv4Header.length, bytes.u8(0) >> 4 == 4,
      bytes.ipv4HeaderLength >= IPv4Header.length,
      bytes.ipv4HeaderLength <= bytes.count, bytes.u16(IPv4Header.fragment) & IPv4Header.offsetMask == 0
    else { return nil }
    return (bytes.ipv4HeaderLength, bytes.u8(IPv4Header.proto))
  }

  /// The device that it comes in or goes out by.
  var device: DeviceIndex { output.isNone ? input : output }

  var isICMP: Bool { proto == (version == 6 ? 58 : 1) }

  /// `skb->len` at this hook: from the network header on, but where a frame is ready to go, from the link header.
  func length(in pool: borrowing BufferPool) -> Int {
    hook == .egress || family == .arp && hook == .output
      ? Int(pool[slot].length) : pool.length(slot, fromHeader: networkHeader)
  }
}
