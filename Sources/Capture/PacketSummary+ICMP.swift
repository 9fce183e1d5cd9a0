// SPDX-License-Identifier: GPL-2.0-or-later

// ICMP (RFC 792, RFC 1191) and ICMPv6 (RFC 4443, RFC 4861, RFC 3810) in a line.

import NetTypes

extension PacketSummary {
  func icmp(_ view: PacketView, _ length: Int) -> String {
    guard let type = view.u8(0), let code = view.u8(1) else { return "[|icmp]" }
    let tail = ", length \(length)"
    // What the error is about, as it was sent.
    let about = view.from(8)
    let destination = about.ipv4(16)?.description ?? "?"
    switch (type, code) {
    case (8, _), (0, _):
      guard let identifier = view.u16(4), let sequence = view.u16(6) else { return "[|icmp]" }
      return "ICMP echo \(type == 8 ? "request" : "reply"), id \(identifier), seq \(sequence)" + tail
    case (3, 0): return "ICMP net \(destination) unreachable" + tail
    case (3, 1): return "ICMP host \(destination) unreachable" + tail
    case (3, 2):
      return "ICMP \(destination) protocol \(about.u8(9) ?? 0) unreachable" + tail
    case (3, 3):
      let number = about.u8(9) ?? 0
      let port = about.u16(Int(about.u8(0) ?? 0x45) % 16 * 4 + 2) ?? 0
      return "ICMP \(destination) \(Self.name(ofProtocol: number)) port \(port) unreachable" + tail
    case (3, 4): return "ICMP \(destination) unreachable - need to frag (mtu \(view.u16(6) ?? 0))" + tail
    case (3, 9): return "ICMP net \(destination) unreachable - admin prohibited" + tail
    case (3, 10): return "ICMP host \(destination) unreachable - admin prohibited" + tail
    case (3, 13): return "ICMP host \(destination) unreachable - admin prohibited filter" + tail
    case (3, _): return "ICMP \(destination) unreachable - #\(code)" + tail
    case (5, _):
      let what = ["net", "host", "tos-net", "tos-host"]
      let gateway = view.ipv4(4)?.description ?? "?"
      let name = what.indices.contains(Int(code)) ? what[Int(code)] : "#\(code)"
      return "ICMP redirect \(destination) to \(name) \(gateway)" + tail
    case (11, 0): return "ICMP time exceeded in-transit" + tail
    case (11, 1): return "ICMP ip reassembly time exceeded" + tail
    case (12, _): return "ICMP parameter problem - octet \(view.u8(4) ?? 0)" + tail
    default: return "ICMP type-#\(type)" + tail
    }
  }

  func icmpv6(_ view: PacketView, _ length: Int) -> String {
    guard let type = view.u8(0), let code = view.u8(1) else { return "[|icmp6]" }
    let tail = ", length \(length)"
    let about = view.from(8)
    let destination = about.ipv6(24)?.description ?? "?"
    switch (type, code) {
    case (128, _), (129, _):
      guard let identifier = view.u16(4), let sequence = view.u16(6) else { return "[|icmp6]" }
      return "ICMP6, echo \(type == 128 ? "request" : "reply"), id \(identifier), seq \(sequence)" + tail
    case (1, 0): return "ICMP6, destination unreachable, unreachable route \(destination)" + tail
    case (1, 1): return "ICMP6, destination unreachable,  unreachable prohibited \(destination)" + tail
    case (1, 3): return "ICMP6, destination unreachable, unreachable address \(destination)" + tail
    case (1, 4):
      let number = about.u8(6) ?? 0
      return "ICMP6, destination unreachable, unreachable port, \(destination) "
        + "\(Self.name(ofProtocol: number)) port \(about.u16(42) ?? 0)" + tail
    case (1, _): return "ICMP6, destination unreachable, unreachable code-#\(code)" + tail
    case (2, _): return "ICMP6, packet too big, mtu \(view.u32(4) ?? 0)" + tail
    case (3, 0): return "ICMP6, time exceeded in-transit for \(destination)" + tail
    case (3, 1): return "ICMP6, ip reassembly time exceeded" + tail
    case (130, _): return "ICMP6, multicast listener query" + tail
    case (133, _): return "ICMP6, router solicitation" + tail
    case (134, _): return "ICMP6, router advertisement" + tail
    case (135, _):
      return "ICMP6, neighbor solicitation, who has \(view.ipv6(8)?.description ?? "?")" + tail
    case (136, _):
      return "ICMP6, neighbor advertisement, tgt is \(view.ipv6(8)?.description ?? "?")" + tail
    case (143, _):
      return "ICMP6, multicast listener report v2, \(view.u16(6) ?? 0) group record(s)" + tail
    default: return "ICMP6, type-#\(type)" + tail
    }
  }
}
