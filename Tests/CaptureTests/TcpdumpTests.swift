// SPDX-License-Identifier: GPL-2.0-or-later

// tcpdump as the judge: packets that scapy makes, told by both, and filters that both apply.

import CLinux
import Capture
import Foundation
import Testing

@Suite("Beside tcpdump", .enabled(if: Tcpdump.isThere, "needs python3 with scapy, and tcpdump"))
struct TcpdumpTests {
  @Test("Packets are told in tcpdump's words")
  func words() throws {
    let packets = try Tcpdump.packets()
    #expect(packets.count > 50)
    let theirs = try Tcpdump.lines(packets)
    var summary = PacketSummary()
    for (packet, line) in zip(packets, theirs) { #expect(summary.describe(packet, .ethernet) == line) }
    #expect(theirs.count == packets.count)
  }

  @Test(
    "Filters take the packets that tcpdump takes",
    arguments: [
      "tcp", "udp port 5000", "icmp or icmp6", "host 10.0.0.2", "not ip6",
      "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
      "ip[8] < 5", "portrange 4000-6000", "arp", "ether src 02:00:00:00:00:01 and ip6", "greater 100",
      "net 10.0.0.0/30",
      "vlan 10 and icmp", "ip6 host fe80::1", "ip[6:2] & 0x1fff != 0",
      "icmp[icmptype] = icmp-echo and less 60",
      "len % 3 = 1",
    ])
  func filters(expression: String) throws {
    let packets = try Tcpdump.packets()
    var program = [nf_filter_instruction](repeating: nf_filter_instruction(), count: PacketFilter.limit)
    var error = [CChar](repeating: 0, count: 256)
    let count = nf_pcap_compile(expression, 1, 262_144, &program, Int32(program.count), &error, error.count)
    if count == -ENOSYS { try Test.cancel("no libpcap") }
    try #require(count > 0, "\(error)")
    let filter = PacketFilter(
      program[..<Int(count)].map {
        PacketFilter.Instruction(code: $0.code, jumpTrue: $0.jump_true, jumpFalse: $0.jump_false, k: $0.k)
      })
    let taken = packets.filter { filter.matches($0.bytes) }
    #expect(!taken.isEmpty && taken.count < packets.count)
    #expect(try Tcpdump.lines(packets, expression).count == taken.count)
  }

  @Test("An expression that is none is refused with libpcap's words")
  func refused() {
    var program = [nf_filter_instruction](repeating: nf_filter_instruction(), count: 8)
    var error = [CChar](repeating: 0, count: 256)
    let count = nf_pcap_compile("tcp prot 80", 1, 262_144, &program, 8, &error, error.count)
    guard count != -ENOSYS else { return }
    #expect(count == -EINVAL && error[0] != 0)
    let long = (0..<30).map { "port \(5000 + 2 * $0)" }.joined(separator: " or ")
    #expect(nf_pcap_compile(long, 1, 262_144, &program, 8, &error, error.count) == -E2BIG)
  }
}

private enum Tcpdump {
  static let isThere: Bool = {
    (try? run(["python3", "-c", "import scapy.all"]).status) == 0
      && (try? run(["tcpdump", "--version"]).status) == 0
  }()

  /// A packet a line, in hexadecimal.
  private static let script = """
    from scapy.all import *
    import binascii
    a, b = "10.0.0.1", "10.0.0.2"
    e = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    i = IP(src=a, dst=b)
    j = IP(src=b, dst=a)
    s = IPv6(src="fe80::1", dst="fe80::2")
    orig = bytes(IP(src=b, dst="192.168.7.9", ttl=3)/UDP(sport=4000, dport=5000)/b"hello")
    orig6 = bytes(IPv6(src="fe80::2", dst="2001:db8::7")/UDP(sport=4000, dport=5000)/b"hello")
    ts = lambda v, c: ("Timestamp", (v, c))
    P = [
      e/ARP(op=1, hwsrc="02:00:00:00:00:01", psrc=a, pdst=b), e/ARP(op=2, hwsrc="02:00:00:00:00:02", psrc=b, pdst=a),
      e/i/ICMP(id=7, seq=1)/(b"x"*56), e/j/ICMP(type=0, id=7, seq=1)/(b"x"*56), e/i/ICMP(id=7, seq=2),
      e/i/UDP(sport=4000, dport=5000)/b"hello", e/i/UDP(sport=4001, dport=5001), e/j/UDP(sport=5000, dport=4000)/(b"y"*500),
      e/i/TCP(sport=4000, dport=5000, flags="S", seq=1000, window=64240, options=[("MSS",1460),("SAckOK",b""),ts(1,0),("NOP",None),("WScale",7)]),
      e/j/TCP(sport=5000, dport=4000, flags="SA", seq=9000, ack=1001, window=65160, options=[("MSS",1460),("SAckOK",b""),ts(5,1),("NOP",None),("WScale",7)]),
      e/i/TCP(sport=4000, dport=5000, flags="A", seq=1001, ack=9001, window=502, options=[("NOP",None),("NOP",None),ts(2,5)]),
      e/i/TCP(sport=4000, dport=5000, flags="PA", seq=1001, ack=9001, window=502)/b"GET",
      e/j/TCP(sport=5000, dport=4000, flags="A", seq=9001, ack=1004, window=510, options=[("SAck",(1010,1020,1030,1044))]),
      e/j/TCP(sport=5000, dport=4000, flags="FPA", seq=9001, ack=1004, window=510)/(b"z"*100),
      e/i/TCP(sport=4000, dport=5000, flags="FA", seq=1004, ack=9102, window=502), e/j/TCP(sport=5000, dport=4000, flags="A", seq=9102, ack=1005, window=510),
      e/i/TCP(sport=4000, dport=5009, flags="S", seq=77), e/j/TCP(sport=5009, dport=4000, flags="RA", seq=0, ack=78, window=0),
      e/i/TCP(sport=4000, dport=5009, flags="R", seq=78, window=0), e/i/TCP(sport=4002, dport=5009, flags="PAUEC", seq=5, ack=6, urgptr=3)/b"abc",
      e/i/TCP(sport=4003, dport=5009, flags=0, seq=5), e/i/TCP(sport=4000, dport=5000, flags="S", seq=5000),
      e/j/TCP(sport=5000, dport=4000, flags="SA", seq=100, ack=5001), e/i/TCP(sport=4000, dport=5000, flags="A", seq=5001, ack=101),
    ]
    P += [e/i/ICMP(type=3, code=c)/orig for c in (0, 1, 2, 3, 9, 10, 13)]
    P += [e/i/ICMP(type=3, code=4, nexthopmtu=1400)/orig, e/i/ICMP(type=11, code=0)/orig, e/i/ICMP(type=11, code=1)/orig]
    P += [e/i/ICMP(type=5, code=c, gw="10.0.0.9")/orig for c in (0, 1)]
    P += [e/f for f in fragment(i/ICMP(id=7, seq=9)/(b"x"*2000), 1000)]
    P += [e/f for f in fragment(i/UDP(sport=4000, dport=5000)/(b"x"*2000), 1000)]
    P += [e/IP(src=a, dst="224.0.0.22", proto=2)/bytes.fromhex("2200f9010000000104000000e0000001")]
    P += [e/IP(src=a, dst=b, proto=253)/b"abcdef"]
    P += [
      e/s/ICMPv6EchoRequest(id=7, seq=1, data=b"x"*56), e/s/ICMPv6EchoReply(id=7, seq=1, data=b"x"*56),
      e/s/UDP(sport=4000, dport=5000)/b"hello", e/s/TCP(sport=4000, dport=5000, flags="S", seq=1),
      e/IPv6(src="fe80::1", dst="ff02::1:ff00:2")/ICMPv6ND_NS(tgt="fe80::2")/ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01"),
      e/s/ICMPv6ND_NA(tgt="fe80::1", R=0, S=1, O=1), e/IPv6(src="fe80::1", dst="ff02::2")/ICMPv6ND_RS(),
      e/s/ICMPv6PacketTooBig(mtu=1280)/orig6, e/s/ICMPv6TimeExceeded()/orig6, e/s/ICMPv6DestUnreach(code=4)/orig6,
      e/s/ICMPv6DestUnreach(code=0)/orig6, e/s/ICMPv6DestUnreach(code=1)/orig6, e/s/ICMPv6DestUnreach(code=3)/orig6,
      e/IPv6(src="fe80::1", dst="ff02::16")/IPv6ExtHdrHopByHop(options=[RouterAlert()])/ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4, dst="ff02::1:ff00:1")]),
      e/s/IPv6ExtHdrFragment(offset=0, m=1, id=5)/ICMPv6EchoRequest(id=7, seq=1, data=b"x"*56),
      e/s/IPv6ExtHdrFragment(offset=8, m=0, id=5, nh=58)/(b"x"*64),
      e/Dot1Q(vlan=10)/i/ICMP(id=7, seq=1), e/Dot1Q(vlan=20)/ARP(psrc=a, pdst=b), e/i/ICMP(type=8, id=1, seq=3)/b"q", e/IP(src=a, dst=b, ttl=3)/ICMP(id=7, seq=4),
      Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88b5)/(b"x"*50),
    ]
    for p in P: print(binascii.hexlify(bytes(p)).decode())
    """

  static func packets() throws -> [CapturedPacket] {
    try run(["python3", "-c", script]).output.split(separator: "\n").enumerated().map { number, line in
      let digits = Array(line.utf8)
      let bytes = stride(from: 0, to: digits.count - 1, by: 2).map { place in
        UInt8(String(decoding: digits[place...place + 1], as: UTF8.self), radix: 16) ?? 0
      }
      return CapturedPacket(
        interface: 0, nanoseconds: UInt64(number), direction: .received, length: bytes.count, bytes: bytes)
    }
  }

  /// What tcpdump says of each of those that its filter takes.
  static func lines(_ packets: [CapturedPacket], _ filter: String? = nil) throws -> [String] {
    var file: [UInt8] = []
    PcapngBlock.section(application: "tests").append(to: &file)
    PcapngBlock.interface(CapturedInterface(name: "eth0", snapLength: 262_144)).append(to: &file)
    for packet in packets { PcapngBlock.packet(packet).append(to: &file) }
    let path = FileManager.default.temporaryDirectory.appending(path: "eyes-\(UUID().uuidString).pcapng")
      .path()
    try Data(file).write(to: URL(filePath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let outcome = try run(["tcpdump", "-n", "-t", "-r", path] + (filter.map { [$0] } ?? []))
    return outcome.output.split(separator: "\n").filter { !$0.hasPrefix("\t") }.map {
      // Behind what it does not know it prints bytes.
      $0.hasSuffix(": ") ? String($0.dropLast(2)) : String($0)
    }
  }

  private static func run(_ command: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = command
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }
}
