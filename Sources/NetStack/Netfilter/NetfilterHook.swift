// SPDX-License-Identifier: GPL-2.0-or-later

// Where packets meet rules (enum nf_inet_hooks, nf_dev_hooks, NFPROTO_*). Rules of the `inet` family stand with both
// IPv4 and IPv6; packets of a family `inet` do not exist.

/// A family of packets.
enum NetfilterFamily: UInt8, CaseIterable, BitwiseCopyable {
  case ipv4, ipv6, arp, bridge, netdev

  /// NFPROTO_*, as `meta nfproto` loads it.
  var number: UInt8 {
    switch self {
    case .ipv4: 2
    case .ipv6: 10
    case .arp: 3
    case .bridge: 7
    case .netdev: 5
    }
  }
}

/// A hook of a family. ARP has input and output, a device ingress and egress, the others the first five.
enum NetfilterHook: UInt8, CaseIterable, BitwiseCopyable {
  case prerouting, input, forward, output, postrouting, ingress, egress

  static let count = 7
}

/// What became of a packet at a hook.
enum NetfilterVerdict: BitwiseCopyable {
  /// It goes on.
  case accept
  /// It is dropped; the caller frees it, with `netfilterDrop`.
  case drop
  /// It is somebody else's now.
  case stolen
}
