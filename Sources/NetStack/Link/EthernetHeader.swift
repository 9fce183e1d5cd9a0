// SPDX-License-Identifier: GPL-2.0-or-later

// The Ethernet header (IEEE 802.3).
//
//    0              6              12       14
//    │ destination  │ source       │ type   │ payload …

/// Offsets within an Ethernet header.
enum EthernetHeader {
  static let destination = 0
  static let source = 6
  static let type = 12
  static let length = 14

  static let broadcast: UInt64 = 0xffff_ffff_ffff
  /// 01:80:c2:00:00:0X without its last digit: what a bridge keeps on its link.
  static let linkLocalGroups: UInt64 = 0x0180_c200_000
  /// Types below are lengths of 802.3 frames.
  static let smallestType: UInt16 = 0x0600

  static func isMulticast(_ address: UInt64) -> Bool { address >> 40 & 1 == 1 }
}

extension Kernel {
  /// Sorts frames for the host by whom they mean and by protocol (eth_type_trans, __netif_receive_skb_core).
  mutating func ethernetReceive(_ burst: inout Burst, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    let own = devices[index].mac
    let isNamed = isNamedByPort(on: index)
    // Packets of one protocol, that came one after the other.
    var run = Burst()
    var runType: UInt16 = 0
    for position in 0..<burst.count {
      let slot = burst[position]
      var bytes = pool.bytes(slot)
      guard bytes.count >= EthernetHeader.length else {
        devices[index].statistics.rxErrors &+= 1
        drop(slot, .headerTruncated, in: namespace)
        continue
      }
      let destination = bytes.u48(EthernetHeader.destination)
      var type = bytes.u16(EthernetHeader.type)
      if pool[slot].vlanProtocol != 0 || type == VLANTag.customer || type == VLANTag.service {
        guard stripTag(slot, on: index) else { continue }
        bytes = pool.bytes(slot)
        type = bytes.u16(EthernetHeader.type)
      }
      pool.pull(slot, EthernetHeader.length)
      let start = pool[slot].dataOffset
      pool[slot].linkHeader = start &- UInt16(EthernetHeader.length)
      pool[slot].networkHeader = start
      pool[slot].etherType = type
      pool[slot].device = index.rawValue
      let isGroup = EthernetHeader.isMulticast(destination)
      if isGroup { devices[index].statistics.multicast &+= 1 }
      if !isNamed {
        pool[slot].packetType =
          destination == own
          ? .host : !isGroup ? .otherHost : destination == EthernetHeader.broadcast ? .broadcast : .multicast
      }
      if !namespaces[namespace].sockets.linkProtocols.isEmpty { showProtocol(slot, on: index) }
      // What is of another protocol may be answered: all that came before goes first.
      if type != runType {
        internetReceive(&run, runType, on: index)
        runType = type
      }
      if type == 0x0800 || type == 0x86dd {
        run.append(slot)
      } else if type == 0x0806 {
        arpReceive(slot, on: index)
      } else {
        devices[index].statistics.rxDropped &+= 1
        drop(slot, .unhandledProtocol, in: namespace)
      }
    }
    internetReceive(&run, runType, on: index)
    burst.removeAll()
  }

  @inline(__always)
  private mutating func internetReceive(_ run: inout Burst, _ type: UInt16, on index: DeviceIndex) {
    guard !run.isEmpty else { return }
    if type == 0x0800 { ipv4Receive(&run, on: index) } else { ipv6Receive(&run, on: index) }
  }
}
