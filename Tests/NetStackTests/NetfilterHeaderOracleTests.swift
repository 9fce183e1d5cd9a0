// SPDX-License-Identifier: GPL-2.0-or-later

// What rules read from options, extension headers and chunks, with the host's kernel as judge.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Rules about options, extension headers and chunks beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterHeaderOracleTests {
  typealias Six = Netfilter6OracleTests

  /// Compares what each rule counts.
  private func compare(_ rules: [String], _ probes: [NetfilterOracleTests.Probe]) throws {
    let chain = rules.map { "\($0) counter" }.joined(separator: "; ")
    let table = "table inet t {\nchain f { type filter hook forward priority 0; \(chain) }\n}"
    let router = try KernelOracleTests.Router(.dual)
    try NetfilterOracleTests.prepare(router)
    _ = try router.answers(to: nil, wait: .seconds(2))
    for difference in try NetfilterOracleTests.differences(table, probes, router, .dual) {
      Issue.record("\(difference)")
    }
  }

  @Test("Options of TCP")
  func tcpOptions() throws {
    let sack: [UInt8] = [1, 1, 5, 18, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 1, 8]
    let options: [[UInt8]] = [
      [], sack, [5, 10] + [UInt8](repeating: 7, count: 8) + [0, 0], [30, 4, 0x10, 0], [30, 4, 0x01, 0x10],
      [34, 2, 1, 1], [34, 8, 1, 2, 3, 4, 5, 6], [19, 18] + [UInt8](repeating: 1, count: 16) + [1, 0],
      [200, 4, 0, 5], [200, 8, 0, 5], [3, 3, 7, 0], [4, 2, 5, 10], [1, 1, 1, 2],
    ]
    try compare(
      [
        "tcp option sack left 5", "tcp option sack right > 8", "tcp option sack1 left 256",
        "tcp option sack1 right 264", "tcp option sack2 left 0", "tcp option sack length 18",
        "tcp option mptcp exists", "tcp option mptcp subtype 1", "tcp option mptcp subtype != 0",
        "tcp option fastopen exists", "tcp option fastopen length 2", "tcp option md5sig exists",
        "tcp option 200 exists", "tcp option @200,16,16 5", "tcp option eol exists", "tcp option nop exists",
        "tcp option window length 3", "tcp option window count 7", "tcp option sack-perm exists",
        "tcp reserved 0",
      ],
      options.enumerated().map { number, options in
        Six.tcp(Six.client, UInt16(3000 + number), Six.server, 80, 2, seq: 1, options: options)
      })
  }

  @Test("Extension headers of IPv6")
  func extensionHeaders() throws {
    let data: [UInt8] = [0x03, 0xe8, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]
    let segments: [UInt8] =
      [2, 4, 0, 0, 3, 0, 7] + [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
    let headers: [[(UInt8, [UInt8])]] = [
      [], [(60, [0, 1, 4, 0, 0, 0, 0])], [(0, [0, 1, 4, 0, 0, 0, 0])],
      [(0, [0, 1, 4, 0, 0, 0, 0]), (60, [0, 1, 4, 0, 0, 0, 0])], [(43, segments)],
      // Pieces: in the middle, the first, the last; behind one stands what looks like another header.
      [(44, [17, 0, 0, 9, 0, 0, 0, 9])], [(44, [17, 0, 0, 1, 0, 0, 0, 9])],
      [(44, [17, 0, 0xff, 0xf8, 0, 0, 0, 9])],
      [(44, [60, 0, 0, 0, 0, 0, 0, 9]), (60, [0, 1, 4, 0, 0, 0, 0])],
      [(44, [60, 0, 8, 0, 0, 0, 0, 9]), (60, [0, 1, 4, 0, 0, 0, 0])],
      [(135, [0, 5, 0, 0x12, 0x34, 0, 0])], [(60, [0, 1, 4, 0, 0, 0, 0]), (135, [0, 1, 9, 0, 0, 0, 0])],
    ]
    try compare(
      [
        "hbh nexthdr udp", "hbh hdrlength 0", "dst nexthdr udp", "exthdr dst exists", "rt nexthdr udp",
        "rt hdrlength 2", "rt type 4", "srh last-entry 0", "srh flags 3", "srh tag 7",
        "srh sid[1] 2001:db8::1", "exthdr frag exists", "frag frag-off 1", "frag frag-off > 100",
        "frag more-fragments 1", "frag reserved2 0", "frag id 9", "exthdr mh exists",
        "mh type binding-update",
        "mh checksum 0x1234", "mh hdrlength 0", "ip6 flowlabel 0",
      ],
      headers.map {
        Six.packet(17, Six.client, Six.server, data, checksum: nil, face: 0, headers: $0)
      })
  }

  @Test("Chunks of SCTP")
  func chunks() throws {
    let header: [UInt8] = [0x0b, 0xb8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0]
    let data: [UInt8] = [0, 3, 0, 17, 0, 0, 0, 9, 0, 2, 0, 5, 0, 0, 0, 46, 65, 0, 0, 0]
    let initiation: [UInt8] = [1, 0, 0, 20, 0, 0, 0, 8, 0, 1, 0, 0, 0, 3, 0, 4, 0, 0, 0, 1]
    let packets: [[UInt8]] = [
      [], data, initiation, [10, 0, 0, 6, 1, 2, 0, 0] + data, [4, 0, 0, 4] + [4, 0, 0, 4] + initiation,
      // Lengths that say nothing, too little, and more than there is.
      [4, 0, 0, 0] + data, [4, 0, 0, 1] + data, [0, 3, 0, 200, 0, 0, 0, 9], [0, 3, 0, 6, 0, 0, 0, 9],
      [193, 0, 0, 8, 0, 0, 0, 7], [0, 3],
    ]
    try compare(
      [
        "sctp chunk data exists", "sctp chunk data missing", "sctp chunk init exists",
        "sctp chunk data flags 3", "sctp chunk data length > 10", "sctp chunk data tsn 9",
        "sctp chunk data stream 2", "sctp chunk data ssn 5", "sctp chunk data ppid 46",
        "sctp chunk init init-tag 8", "sctp chunk init a-rwnd 65536",
        "sctp chunk init num-outbound-streams 3",
        "sctp chunk init initial-tsn 1", "sctp chunk cookie-echo type 10", "sctp chunk asconf seqno 7",
        "sctp chunk heartbeat exists", "sctp vtag 1",
      ],
      packets.map { Six.packet(132, Six.client, Six.server, header + $0, checksum: nil, face: 0) })
  }
}
