// SPDX-License-Identifier: GPL-2.0-or-later

// What of a node's frame says which flow it is of (RFC 791, 792, 768, 9293), as far as a gateway by sockets has to know.

import NetTypes

/// An IPv4 packet of a node that could begin a flow, in its frame.
struct OutgoingPacket {
  let key: HostFlow.Key
  /// Of an echo request.
  let sequence: UInt16
  /// A SYN and nothing else.
  let beginsConnection: Bool
  /// Where in the frame the transport's header is.
  let payload: Int

  /// Nil for what is none, which the stand-in itself has to make something of.
  init?(_ frame: ArraySlice<UInt8>) {
    let start = frame.startIndex
    func u8(_ offset: Int) -> UInt8 { frame[start + offset] }
    func u16(_ offset: Int) -> UInt16 { UInt16(u8(offset)) << 8 | UInt16(u8(offset + 1)) }
    func u32(_ offset: Int) -> UInt32 { UInt32(u16(offset)) << 16 | UInt32(u16(offset + 2)) }
    guard frame.count >= 34, u16(12) == 0x0800, u8(14) >> 4 == 4 else { return nil }
    let header = Int(u8(14) & 15) * 4
    let transport = 14 + header
    // Later fragments follow their first.
    guard header >= 20, frame.count >= transport + 8, u16(20) & 0x1fff == 0 else { return nil }
    let (source, destination) = (IPv4Address(rawValue: u32(26)), IPv4Address(rawValue: u32(30)))
    let kind: HostFlow.Kind
    var ports = (u16(transport), u16(transport + 2))
    var (sequence, beginsConnection): (UInt16, Bool) = (0, false)
    switch u8(23) {
    case 1:
      guard u8(transport) == 8 else { return nil }
      kind = .echo
      ports = (u16(transport + 4), 0)
      sequence = u16(transport + 6)
    case 6:
      guard frame.count >= transport + 20 else { return nil }
      kind = .stream
      beginsConnection = u8(transport + 13) & 0x17 == 0x02
    case 17: kind = .datagram
    default: return nil
    }
    key = HostFlow.Key(
      kind: kind, node: .init(address: source, port: ports.0),
      outside: .init(address: destination, port: ports.1))
    self.sequence = sequence
    self.beginsConnection = beginsConnection
    payload = transport
  }
}
