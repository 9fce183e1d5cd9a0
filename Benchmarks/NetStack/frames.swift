// SPDX-License-Identifier: GPL-2.0-or-later

// What goes through the emulated kernel and the host's alike: the same frames, the same routes.

import NetTypes
import Rtnetlink

/// Frames of 64 bytes (60 without the checksum that a wire adds) from many sources to many destinations, round and round.
struct Frames {
  var frames: [[UInt8]]
  private var next = 0

  init(frames: [[UInt8]]) { self.frames = frames }

  mutating func take() -> [UInt8] {
    next = next + 1 == frames.count ? 0 : next + 1
    return frames[next]
  }
}

private func mac(_ side: UInt8, _ number: Int) -> [UInt8] {
  [2, 0, 0, side, UInt8(number >> 8), UInt8(number & 255)]
}

/// An EtherType that nobody looks into (IEEE 802, local experimental): a host with br_netfilter takes apart what says that
/// it is IPv4, and drops what is not.
private let experimental: [UInt8] = [0x88, 0xb5]

/// By which a bridge learns of 1,000 hosts behind its second port.
func bridgeTeachers() -> [[UInt8]] {
  (0..<1000).map { mac(0, 0) + mac(2, $0) + experimental + [UInt8](repeating: 0, count: 46) }
}

/// To those hosts from 1,000 others.
func bridgeFrames() -> [[UInt8]] {
  (0..<4096).map {
    mac(2, ($0 * 7919) % 1000) + mac(1, ($0 * 104_729) % 1000) + experimental
      + [UInt8](repeating: 0, count: 46)
  }
}

/// Sixteen neighbours by a router's second device, and 1,000 routes by them.
func forwardingRequests(right: Int32) -> [NetlinkMessage] {
  var requests: [NetlinkMessage] = []
  for hop in 2..<18 {
    var neighbor = NeighborMessage(family: .ipv4, index: right)
    neighbor.destination = IPAddress("10.0.2.\(hop)")
    neighbor.macAddress = MACAddress(rawValue: 0x0200_0000_0100 + UInt64(hop))
    neighbor.state = .permanent
    requests.append(neighbor.request(.create))
  }
  for number in 0..<1000 {
    var route = RouteMessage(family: .ipv4)
    route.destination = IPPrefix("20.\(number / 250).\(number % 250).0/24")
    route.gateway = IPAddress("10.0.2.\(2 + number % 16)")
    route.type = .unicast
    route.table = RouteMessage.mainTable
    requests.append(route.request(.create))
  }
  return requests
}

/// Datagrams of 4,096 flows to all of those routes.
func forwardingFrames() -> [[UInt8]] {
  (0..<4096).map { number in
    let network = (number * 7919) % 1000
    var header: [UInt8] = [0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 1, UInt8(2 + number % 200)]
    header += [20, UInt8(network / 250), UInt8(network % 250), UInt8(number & 255)]
    var sum: UInt32 = 0
    for place in stride(from: 0, to: 20, by: 2) {
      sum += UInt32(header[place]) << 8 | UInt32(header[place + 1])
    }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    header[10] = UInt8(~sum >> 8 & 255)
    header[11] = UInt8(~sum & 255)
    return [2, 0, 0, 0, 0, 1] + [2, 0, 0, 0, 0, 9] + [8, 0] + header + [UInt8](repeating: 0, count: 26)
  }
}
