// SPDX-License-Identifier: GPL-2.0-or-later

// One of several next hops of a route (`struct rtnexthop` with attributes of its own, in RTA_MULTIPATH).
//
//    0        2        3        4               8
//    | length | flags  | hops   | link          | attributes …      length counts all of it

import CLinux
public import NetTypes

/// A next hop of a multipath route.
public struct NextHop: Hashable, Sendable {
  public var outputIndex: Int32
  public var gateway: IPAddress?
  /// 1 to 256: its share of the flows.
  public var weight: UInt16
  public var flags: RouteFlags

  public init(outputIndex: Int32, gateway: IPAddress? = nil, weight: UInt16 = 1, flags: RouteFlags = []) {
    self.outputIndex = outputIndex
    self.gateway = gateway
    self.weight = weight
    self.flags = flags
  }

  func encode(into writer: inout NetlinkWriter, _ family: AddressFamily) {
    let start = writer.bytes.count
    writer.fixed(
      rtnexthop(
        rtnh_len: 0, rtnh_flags: UInt8(truncatingIfNeeded: flags.rawValue),
        rtnh_hops: UInt8(clamping: Int(weight) - 1), rtnh_ifindex: outputIndex))
    if let gateway { writer.gateway(gateway, family) }
    writer.setLength(UInt16(truncatingIfNeeded: writer.bytes.count - start), at: start)
  }

  static func list(parsing value: ArraySlice<UInt8>) throws(NetlinkDecodingError) -> [NextHop] {
    var hops: [NextHop] = []
    var rest = value
    let headerSize = MemoryLayout<rtnexthop>.size
    while !rest.isEmpty {
      guard rest.count >= headerSize else {
        throw .truncated("next hop", needed: headerSize, available: rest.count)
      }
      let header = rest.withUnsafeBytes { $0.loadUnaligned(as: rtnexthop.self) }
      let length = Int(header.rtnh_len)
      guard length >= headerSize else { throw .invalid("next hop length", value: UInt64(length)) }
      guard length <= rest.count else { throw .truncated("next hop", needed: length, available: rest.count) }
      var hop = NextHop(
        outputIndex: header.rtnh_ifindex, weight: UInt16(header.rtnh_hops) + 1,
        flags: RouteFlags(rawValue: UInt32(header.rtnh_flags)))
      var reader = AttributeReader(rest.prefix(length).dropFirst(headerSize))
      while let attribute = try reader.next() {
        switch UInt32(attribute.type) {
        case RTA_GATEWAY.rawValue: hop.gateway = try attribute.address()
        case RTA_VIA.rawValue: hop.gateway = try attribute.via()
        default: break
        }
      }
      hops.append(hop)
      rest = rest.dropFirst((length + 3) & ~3)
    }
    return hops
  }
}
