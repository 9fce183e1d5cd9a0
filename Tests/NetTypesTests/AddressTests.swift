// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Testing

@Suite("Addresses")
struct AddressTests {
  @Test(
    "IPv6 text is read and printed as RFC 5952 asks",
    arguments: [
      ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:db8::1", "2001:db8::1"),
      ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
      ("::ffff:10.0.0.1", "::ffff:10.0.0.1"), ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
      ("fe80::1:2:3:4", "fe80::1:2:3:4"), ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"),
      ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
      ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
    ])
  func ipv6(text: String, printed: String) {
    #expect(IPv6Address(text)?.description == printed)
    #expect(IPv6Address(text).flatMap { IPv6Address(bytes: $0.bytes) } == IPv6Address(text))
  }

  @Test(
    "What inet_pton refuses is refused",
    arguments: [
      "", ":", ":::", "1", "1:2", "::1::", "1::2::3", "12345::", "g::", "1:2:3:4:5:6:7:8:9", ":1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:", "::1.2.3", "1.2.3.4::", "+1::", "-1::", "::1%eth0", "1:2:3:4:5:6:7:8::", ":1", "1:",
    ])
  func ipv6Refused(text: String) { #expect(IPv6Address(text) == nil) }

  @Test(
    "IPv4 wants four plain octets",
    arguments: [
      "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1..2.3", "1.2.3.4 ", "+1.2.3.4", "a.b.c.d",
      ".1.2.3", "1.2.3.", "1.2.3.4.", "00.1.2.3", "1.2.3.1000", "1.2.3.99999999999999999999", "1.2.3.４",
    ])
  func ipv4Refused(text: String) { #expect(IPv4Address(text) == nil) }

  @Test("A prefix knows its network, its last address and what it contains")
  func prefixes() throws {
    let lan = try #require(IPPrefix("10.0.1.5/24"))
    #expect(lan.network.description == "10.0.1.0/24")
    #expect(lan.last.description == "10.0.1.255")
    #expect(lan.contains(try #require(IPAddress("10.0.1.200"))))
    #expect(!lan.contains(try #require(IPAddress("10.0.2.1"))))
    let v6 = try #require(IPPrefix("2001:db8:0:1::5/64"))
    #expect(v6.network.description == "2001:db8:0:1::/64")
    #expect(v6.last.description == "2001:db8:0:1:ffff:ffff:ffff:ffff")
    #expect(
      try #require(IPPrefix("2001:db8::/33")).last.description == "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff")
    #expect(IPPrefix.everything(.ipv6).contains(v6))
    #expect(IPPrefix.everything(.ipv4).last.description == "255.255.255.255")
    #expect(IPPrefix("10.0.0.0/33") == nil)
    #expect(IPPrefix("10.0.0.0/") == nil)
    #expect(IPPrefix("10.0.0.1")?.length == 32)
  }

  @Test("A MAC address is six pairs of digits")
  func mac() {
    #expect(MACAddress("02:00:5e:10:00:ff")?.description == "02:00:5e:10:00:ff")
    #expect(MACAddress("02-00-5E-10-00-FF")?.rawValue == 0x0200_5e10_00ff)
    for bad in ["", "02:00", "02:00:5e:10:00:fg", "2:0:5e:10:0:ff", "02:00:5e:10:00:ff:01"] {
      #expect(MACAddress(bad) == nil)
    }
  }

  @Test("A device's name is what dev_valid_name takes")
  func interfaceName() {
    #expect(InterfaceName("eth0.10")?.text == "eth0.10")
    for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteencharslong"] { #expect(InterfaceName(bad) == nil) }
    #expect(InterfaceName("fifteencharslon") != nil)
  }

  @Test("A length of time prints in its largest unit, exactly")
  func interval() {
    #expect(Interval.milliseconds(20).description == "20ms")
    #expect(Interval.milliseconds(1500).description == "1.5s")
    #expect(Interval.microseconds(250).description == "250us")
    #expect(Interval(nanoseconds: 1_000_001).description == "1.000001ms")
    #expect(Interval.zero.description == "0s")
  }
}
