// SPDX-License-Identifier: GPL-2.0-or-later

// Linux is the judge: the same frames go into a router of the host's kernel (two taps in a namespace of its own) and
// into an emulated one with the same addresses, and what comes out must be the same but for the identification of
// new datagrams, which both choose as they like.

import Glibc
import NetTypes
import Testing

@testable import NetStack

@Suite(
  "Beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct KernelOracleTests {
  static let macs: [[UInt8]] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 2, 1]]
  static let sender: [UInt8] = [2, 0, 0, 0, 9, 9]

  // MARK: Probes

  static func checksum(_ bytes: some Collection<UInt8>) -> [UInt8] {
    var total: UInt32 = 0
    for (place, byte) in bytes.enumerated() { total += UInt32(byte) << (place % 2 == 0 ? 8 : 0) }
    while total > 0xffff { total = total & 0xffff + total >> 16 }
    return [UInt8(~total >> 8 & 255), UInt8(~total & 255)]
  }

  struct IP {
    var source: [UInt8] = [10, 0, 0, 9]
    var destination: [UInt8] = [10, 0, 0, 1]
    var proto: UInt8 = 1
    var ttl: UInt8 = 33
    var tos: UInt8 = 0
    var fragment: UInt16 = 0
    var options: [UInt8] = []
    var payload: [UInt8] = KernelOracleTests.echo(56)
    var link: [UInt8] = KernelOracleTests.macs[0]
    var extra: Int = 0
    var breaksChecksum = false
    var version: UInt8 = 4

    var frame: [UInt8] {
      let total = 20 + options.count + payload.count + extra
      var header: [UInt8] = [
        version << 4 | UInt8(5 + options.count / 4), tos, UInt8(total >> 8), UInt8(total & 255),
      ]
      header +=
        [0x12, 0x34, UInt8(fragment >> 8), UInt8(fragment & 255), ttl, proto, 0, 0] + source + destination
        + options
      let sum = KernelOracleTests.checksum(header)
      header[10] = sum[0] ^ (breaksChecksum ? 1 : 0)
      header[11] = sum[1]
      return link + KernelOracleTests.sender + [8, 0] + header + payload
    }
  }

  static func echo(_ length: Int, type: UInt8 = 8, code: UInt8 = 0) -> [UInt8] {
    var message: [UInt8] = [type, code, 0, 0, 0, 42, 0, 7] + (0..<length).map { UInt8($0 & 255) }
    let sum = checksum(message)
    message[2] = sum[0]
    message[3] = sum[1]
    return message
  }

  static func arp(
    _ operation: UInt8, sender: [UInt8], target: [UInt8], to link: [UInt8] = [255, 255, 255, 255, 255, 255]
  ) -> [UInt8] {
    link + Self.sender + [8, 6, 0, 1, 8, 0, 6, 4, 0, operation] + Self.sender + sender + [0, 0, 0, 0, 0, 0]
      + target
  }

  static let probes: [(String, [UInt8])] = {
    let udp: [UInt8] = [0x30, 0x39, 0, 99, 0, 12, 0, 0, 1, 2, 3, 4]
    let broadcast: [UInt8] = [255, 255, 255, 255, 255, 255]
    let far: [UInt8] = [10, 0, 1, 9]
    let ownError = IP(destination: [10, 0, 0, 1], payload: echo(28, type: 3, code: 1)).frame
    var badEcho = echo(20)
    badEcho[9] ^= 1
    return [
      ("ARP request", arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 1])),
      ("ARP request, unicast", arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 1], to: macs[0])),
      ("ARP request for the other side's address", arp(1, sender: [10, 0, 0, 9], target: [10, 0, 1, 1])),
      ("ARP request for a stranger", arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 77])),
      ("ARP probe", arp(1, sender: [0, 0, 0, 0], target: [10, 0, 0, 1])),
      (
        "ARP request to another card",
        arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 1], to: [2, 0, 0, 0, 7, 7])
      ),
      ("ARP request from one of our addresses", arp(1, sender: [10, 0, 1, 1], target: [10, 0, 0, 1])),
      ("ARP request of a multicast address", arp(1, sender: [10, 0, 0, 9], target: [224, 0, 0, 1])),
      ("ARP request of a loopback address", arp(1, sender: [10, 0, 0, 9], target: [127, 0, 0, 1])),
      ("echo", IP().frame),
      ("echo with a type of service", IP(tos: 0xb8).frame),
      ("echo that must not be cut", IP(fragment: 0x4000).frame),
      ("echo without data", IP(payload: echo(0)).frame),
      ("echo of odd length", IP(payload: echo(33)).frame),
      ("echo to the other side's address", IP(destination: [10, 0, 1, 1]).frame),
      ("echo with padding behind it", IP(payload: echo(4)).frame + [UInt8](repeating: 9, count: 14)),
      ("echo with a bad ICMP checksum", IP(payload: badEcho).frame),
      ("echo with a bad IP checksum", IP(breaksChecksum: true).frame),
      ("echo that claims more than there is", IP(extra: 8).frame),
      ("IP version 5", IP(version: 5).frame),
      ("echo to another card", IP(link: [2, 0, 0, 0, 7, 7]).frame),
      ("echo to the subnet's broadcast address", IP(destination: [10, 0, 0, 255], link: broadcast).frame),
      ("echo to all", IP(destination: [255, 255, 255, 255], link: broadcast).frame),
      ("echo to all systems", IP(destination: [224, 0, 0, 1], link: [1, 0, 0x5e, 0, 0, 1]).frame),
      ("echo reply nobody asked for", IP(payload: echo(8, type: 0)).frame),
      ("an ICMP error", ownError),
      ("echo from our own address", IP(source: [10, 0, 1, 1]).frame),
      ("echo from a loopback address", IP(source: [127, 0, 0, 1]).frame),
      ("echo to a loopback address", IP(destination: [127, 0, 0, 1]).frame),
      ("echo from a group", IP(source: [224, 0, 0, 9]).frame),
      ("echo from the broadcast address", IP(source: [255, 255, 255, 255]).frame),
      ("echo from network zero", IP(source: [0, 0, 0, 9]).frame),
      ("echo with options that do nothing", IP(options: [1, 1, 1, 0]).frame),
      ("UDP to a closed port", IP(proto: 17, payload: udp).frame),
      (
        "UDP to a closed port, broadcast",
        IP(destination: [10, 0, 0, 255], proto: 17, payload: udp, link: broadcast).frame
      ),
      ("UDP that claims more than there is", IP(proto: 17, payload: [0, 1, 0, 2, 0, 99, 0, 0]).frame),
      (
        "UDP with a bad checksum", IP(proto: 17, payload: [0x30, 0x39, 0, 99, 0, 12, 1, 1, 1, 2, 3, 4]).frame
      ),
      ("a protocol that nobody speaks", IP(proto: 200, payload: udp).frame),
      ("forwarded", IP(destination: far).frame),
      ("forwarded by a route", IP(destination: [10, 2, 3, 4], tos: 0x10).frame),
      ("forwarded UDP", IP(destination: far, proto: 17, payload: udp).frame),
      ("forwarded with options that do nothing", IP(destination: far, options: [1, 1, 1, 0]).frame),
      ("forwarded with its last hop", IP(destination: far, ttl: 2).frame),
      ("time exceeded", IP(destination: far, ttl: 1).frame),
      ("time exceeded at zero", IP(destination: far, ttl: 0).frame),
      ("echo for us at TTL 1", IP(ttl: 1).frame),
      ("time exceeded for a later fragment", IP(destination: far, ttl: 1, fragment: 0x0003).frame),
      ("time exceeded for an ICMP error", IP(destination: far, ttl: 1, payload: echo(28, type: 3)).frame),
      ("too big, and not to be cut", IP(destination: far, fragment: 0x4000, payload: echo(1000)).frame),
      ("too big, cut", IP(destination: far, payload: echo(1000)).frame),
      ("a fragment cut again", IP(destination: far, fragment: 0x2002, payload: echo(992)).frame),
      ("no route", IP(destination: [192, 0, 2, 1]).frame),
      ("a black hole", IP(destination: [10, 3, 0, 1]).frame),
      ("an unreachable route", IP(destination: [10, 4, 0, 1]).frame),
      ("a prohibiting route", IP(destination: [10, 5, 0, 1]).frame),
      ("no route, of a stranger's", IP(source: [198, 51, 100, 1], destination: [192, 0, 2, 1]).frame),
      ("no route, a long packet", IP(destination: [192, 0, 2, 1], payload: echo(900)).frame),
      ("echo to a prefix that is this host's by a route", IP(destination: [10, 6, 0, 9]).frame),
      (
        "UDP to a closed port of an address that is this host's by a route",
        IP(destination: [10, 6, 0, 9], proto: 17, payload: udp).frame
      ),
      ("forwarded as broadcast", IP(destination: far, link: broadcast).frame),
      ("forwarded to the far broadcast address", IP(destination: [10, 0, 1, 255]).frame),
      ("to network zero", IP(destination: [0, 0, 0, 1]).frame),
      ("to class E", IP(destination: [240, 0, 0, 1]).frame),
      ("an unknown EtherType", macs[0] + sender + [0x88, 0xb5] + [UInt8](repeating: 1, count: 46)),
    ]
  }()

  /// Frames without what both sides choose freely: the identification of datagrams that are not the probe's own.
  static func normal(_ frames: [[UInt8]]) -> [[UInt8]] {
    frames.map { frame in
      var frame = frame
      guard frame.count >= 34, frame[12] == 8, frame[13] == 0, frame[18..<20] != [0x12, 0x34] else {
        return frame
      }
      #expect(checksum(frame[14..<14 + Int(frame[14] & 15) * 4]) == [0, 0])
      for place in [18, 19, 24, 25] { frame[place] = 0 }
      return frame
    }
  }

  @Test("A router answers every probe as the kernel's does")
  func probes() throws {
    var twins = try Twins()
    for (name, frame) in Self.probes { try twins.compare(name, frame) }
    #expect(twins.emulated.kernel.accounting.isClosed)
  }
}
