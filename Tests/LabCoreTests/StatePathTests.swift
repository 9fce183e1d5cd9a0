// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Testing

@Suite("State paths")
struct StatePathTests {
  @Test(
    "A path prints as a pointer and is read back",
    arguments: [
      "/host", "/switch/links/lan", "/nodes/web1/links/eth0/mtu", "/nodes/gw/routes/10.0.0.0~124 table 100",
      "/nodes/gw/addresses/eth0/10.0.1.1~124/scope", "/nodes/gw/sysctls/net~1ipv4~1ip_forward",
      "/nodes/gw/nft-rules/inet netforge-shop/forward/a~0b",
    ])
  func roundTrip(text: String) throws {
    #expect(try #require(StatePath(text)).description == text)
  }

  @Test(
    "What is no path is refused",
    arguments: [
      "", "host", "/nodes", "/nodes/UPPER", "/nodes/a/links", "/nodes/a/x/y", "/switch/links/a/b/c",
    ])
  func refused(text: String) { #expect(StatePath(text) == nil) }

  @Test("A name is looked for along its parents")
  func locations() throws {
    var map = SourceMap()
    let link = try #require(StatePath("/nodes/web1/links/eth0"))
    map.record(link, at: SourceLocation(file: "t.swift", line: 7))
    let address = try #require(StatePath("/nodes/web1/addresses/eth0/10.0.0.1~124"))
    #expect(map.location(of: address)?.line == 7)
    #expect(map.location(of: link.attribute(.mtu))?.line == 7)
    #expect(map.location(of: try #require(StatePath("/nodes/web2/links/eth0"))) == nil)
  }

  @Test(
    "Names follow the rule",
    arguments: [
      ("web1", true), ("0a", true), ("-a", false), ("a--b", false), ("A", false), ("", false), ("a_b", false),
    ])
  func names(text: String, isValid: Bool) { #expect((LabName(text) != nil) == isValid) }
}
