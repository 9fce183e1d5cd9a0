// SPDX-License-Identifier: GPL-2.0-or-later

// What a topology holds once it is checked.

import LabCore
import NetTypes
import Testing

@testable import TopologyModel

@Suite("A checked topology")
struct TopologyTests {
  private func reference(_ node: String, _ device: String) throws -> Topology.DeviceReference {
    Topology.DeviceReference(try #require(NodeName(node)), device)
  }

  @Test("gives an address the length of its subnet, and leaves what was left out to the resolver")
  func addresses() throws {
    let lab = try topology(
      lines(
        head(), bridge("lan", "10.0.0.0/24", "fd00::/64"), node("a", interface("e", on: "lan", "10.0.0.7")),
        node("b", interface("e", on: "lan"))))
    #expect(lab.nodes[0].devices[0].addresses.map(\.prefix) == [IPPrefix("10.0.0.7/24")])
    #expect(lab.nodes[0].devices[0].allocatesFrom.isEmpty)
    #expect(lab.nodes[1].devices[0].addresses.isEmpty)
    #expect(lab.nodes[1].devices[0].allocatesFrom == [IPPrefix("10.0.0.0/24"), IPPrefix("fd00::/64")])
  }

  @Test("hands a link's MTU and a bridge's to the interfaces that say none, and joins the ends")
  func links() throws {
    let lab = try topology(
      lines(
        head(), bridge("lan", options: #""mtu":9000,"#), node("a", interface("e"), interface("l", on: "lan")),
        node("b", interface("e", more: #""mtu":1300,"#)),
        #"{"kind":"link","a":{"node":"a","interface":"e"},"b":{"node":"b","interface":"e"},"mtu":1400,@}"#))
    #expect(lab.nodes[0].devices.map(\.mtu) == [1400, 9000])
    #expect(lab.nodes[1].devices[0].mtu == 1300)
    #expect(lab.nodes[0].devices[0].kind == .interface(.peer(try reference("b", "e"))))
    #expect(lab.nodes[1].devices[0].kind == .interface(.peer(try reference("a", "e"))))
  }

  @Test("keeps ports of a node's bridge under their master, without an address of their own")
  func ports() throws {
    let lab = try topology(
      lines(
        head(), bridge("lan", "10.0.0.0/24"),
        node(
          "a", interface("e", on: "lan"),
          item("bridge", #""name":"br0","vlanFiltering":true,"ports":[{"name":"e",@}]"#))))
    let device = lab.nodes[0].devices[0]
    #expect(device.master == "br0")
    #expect(device.allocatesFrom.isEmpty)
  }

  @Test("resolves gateways that are nodes with the addresses it is given")
  func gateways() throws {
    let lab = try topology(
      lines(
        head(), bridge("lan", "10.0.0.0/24", "fd00::/64"), router("gw", interface("e", on: "lan")),
        node("a", interface("e", on: "lan"), route("default", via: #"{"node":"gw"}"#))))
    var book = lab.writtenAddresses
    book[try reference("gw", "e")] = [IPPrefix("10.0.0.1/24"), IPPrefix("fd00::1/64")].compactMap { $0 }
    book[try reference("a", "e")] = [IPPrefix("10.0.0.2/24"), IPPrefix("fd00::2/64")].compactMap { $0 }
    let (all, errors) = lab.routes(addresses: book)
    #expect(errors.isEmpty && all.count == 2 && all[0].isEmpty)
    let routes = try #require(all.last)
    #expect(routes.map(\.destination) == [.everything(.ipv4), .everything(.ipv6)])
    #expect(routes.map { $0.nextHops[0].gateway } == [IPAddress("10.0.0.1"), IPAddress("fd00::1")])
    #expect(routes.allSatisfy { $0.nextHops[0].device == "e" })
  }

  @Test("says who stands in the way where a gateway cannot be resolved after allocation")
  func unresolved() throws {
    let lab = try topology(
      lines(
        head(), bridge("lan", "10.0.0.0/24"), router("gw", interface("e", on: "lan")),
        node("a", interface("e", on: "lan"), route("default", via: #"{"node":"gw"}"#))))
    let (routes, errors) = lab.routes(addresses: lab.writtenAddresses)
    #expect(routes == [[], []])
    #expect(
      errors.map(\.description) == [
        "topology.swift:4: error: node 'a': default route: node 'gw' has no address on a subnet of 'a', which has no addresses; write the gateway's address, or join the two by a bridge or a link"
      ])
  }

  @Test("allows one address on two segments, and two VLANs of a filtering bridge are two")
  func segments() throws {
    let access = { (vlan: Int) in #""port":{"access":\#(vlan)},"# }
    _ = try topology(
      lines(
        head(), bridge("fabric", options: #""vlanFiltering":true,"#),
        node("a", interface("e", on: "fabric", "10.0.0.1/24", more: access(10))),
        node("b", interface("e", on: "fabric", "10.0.0.1/24", more: access(20)))))
    let trunk = lines(
      head(), bridge("fabric", options: #""vlanFiltering":true,"#),
      node("a", interface("e", on: "fabric", "10.0.0.1/24", more: access(10))),
      node(
        "r", interface("t", on: "fabric", more: #""port":{"trunk":[10]},"#),
        item("vlan", #""name":"t.10","on":"t","id":10,"addresses":["10.0.0.1/24"]"#)))
    #expect(
      complaints(trunk).first?.contains("10.0.0.1 is the address of a[\"e\"] on the same segment") == true)
  }

  @Test("has an internet of its own block when none is written")
  func internet() throws {
    let lab = try topology(
      lines(
        head(), #"{"kind":"internet","name":"internet","via":"host",@}"#,
        router("gw", interface("wan0", on: "internet"), route("default", via: #"{"internet":"internet"}"#))))
    let internet = try #require(lab.internet)
    #expect(IPPrefix("100.64.0.0/10")?.contains(internet.subnet) == true)
    #expect(internet.subnet.length == 24)
    #expect(lab.nodes[0].devices[0].allocatesFrom == [internet.subnet])
    #expect(internet.gateway == internet.subnet.address.advanced(by: 1))
  }

  @Test("reads sysctl names as sysctl(8) does")
  func sysctls() {
    #expect(TopologyCheck.sysctlPath("net.ipv4.ip_forward") == "net/ipv4/ip_forward")
    #expect(TopologyCheck.sysctlPath("net/ipv4/conf/eth0.10/rp_filter") == "net/ipv4/conf/eth0.10/rp_filter")
    #expect(TopologyCheck.sysctlPath("net.ipv4.conf.eth0/10.rp_filter") == "net/ipv4/conf/eth0.10/rp_filter")
  }

  @Test("of 2,000 nodes is one like any other", .timeLimit(.minutes(10)))
  func many() throws {
    var text = [
      head(), bridge("one", "10.0.0.0/16"), bridge("two", "10.1.0.0/16"),
      router("gw", interface("a", on: "one", "10.0.0.1/16"), interface("b", on: "two", "10.1.0.1/16")),
    ]
    for number in 0..<2000 {
      let side = number % 2 == 0 ? "one" : "two"
      let address = "10.\(number % 2).\(1 + number / 250).\(1 + number % 250)/16"
      // A bridge has 1,023 ports; the rest hang on links of their own.
      if number < 1900 {
        text.append(
          node(
            "n\(number)", interface("eth0", on: side, address), route("default", via: #"{"node":"gw"}"#),
            item("service", #""service":"http","port":80"#)))
      } else {
        text.append(node("n\(number)", interface("eth0", "172.16.\(number - 1900).\(1 + number % 2)/24")))
        if number % 2 == 1 { text.append(link("n\(number - 1)", "eth0", "n\(number)", "eth0")) }
      }
    }
    // The two ends of a link are in one network.
    let document = text.joined(separator: "\n")
      .replacing(/172\.16\.(\d+)\.2\/24/) { "172.16.\((Int($0.output.1) ?? 1) - 1).2/24" }
    #expect(try topology(document).nodes.count == 2001)
  }
}
