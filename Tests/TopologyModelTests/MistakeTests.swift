// SPDX-License-Identifier: GPL-2.0-or-later

// Every mistake gets its message, with the line it stands on.

import Testing

@testable import TopologyModel

/// A file with one mistake, and what is said about it.
struct Mistake: CustomTestStringConvertible, Sendable {
  var name: String
  var text: String
  /// What the one complaint says: its line, and parts of it.
  var line: Int
  var parts: [String]

  init(_ name: String, _ text: String, line: Int, _ parts: String...) {
    self.name = name
    self.text = text
    self.line = line
    self.parts = parts
  }

  var testDescription: String { name }
}

/// A bridge, and a node on it.
private func onLAN(_ items: String...) -> String {
  lines(
    head(), bridge("lan", "10.0.0.0/24"),
    #"{"kind":"router","name":"gw","body":[\#(([interface("eth0", on: "lan", "10.0.0.1/24")] + items).joined(separator: ","))],@}"#
  )
}

@Suite("A mistake in a topology")
struct MistakeTests {
  static let names = [
    Mistake("no topology", bridge("lan"), line: 1, "there is no topology", "Topology("),
    Mistake("two topologies", lines(head("a"), head("b")), line: 2, "'b'", "has one already, 'a' (line 1)"),
    Mistake("a bad lab name", head("My Lab"), line: 1, "topology 'My Lab'", "'my-lab' would do"),
    Mistake(
      "a name with two hyphens", lines(head(), node("a--b")), line: 2, "node 'a--b'", "'--'", "'a-b' would do"
    ),
    Mistake(
      "a name too long", lines(head(), node(String(repeating: "a", count: 32))), line: 2, "longer than 31"),
    Mistake("an empty name", lines(head(), bridge("")), line: 2, "bridge ''", "is empty"),
    Mistake(
      "one name twice", lines(head(), node("a"), node("a")), line: 3, "node 'a'",
      "taken by the node at topology.swift:2"),
    Mistake(
      "a node called as a bridge", lines(head(), bridge("a"), node("a")), line: 3, "taken by the bridge",
      "share one name space"),
    Mistake("a reserved name", lines(head(), node("localhost")), line: 2, "reserved"),
    Mistake(
      "a bad label", lines(head(), #"{"kind":"node","name":"a","labels":{"a=b":"c"},@}"#), line: 2,
      "label 'a=b'"),
  ]

  static let devices = [
    Mistake(
      "an unknown bridge", lines(head(), bridge("lan"), node("a", interface("e", on: "lna"))), line: 3,
      "no bridge 'lna'", "did you mean 'lan'?"),
    Mistake(
      "an interface on a node", lines(head(), node("b"), node("a", interface("e", on: "b"))), line: 3,
      "'b' is a node, not a bridge", "lab.link"),
    Mistake(
      "no peer", lines(head(), node("a", interface("eth0"))), line: 2,
      "interface 'eth0' of node 'a' has no peer", "lab.link(a[\"eth0\"]"),
    Mistake(
      "one device name twice", onLAN(item("dummy", #""name":"eth0""#)), line: 3,
      "the name is taken by the one at topology.swift:3"),
    Mistake("lo as an interface", onLAN(item("dummy", #""name":"lo""#)), line: 3, "Loopback(address:)"),
    Mistake("a reserved device name", onLAN(item("dummy", #""name":"all""#)), line: 3, "reserves the name"),
    Mistake("a device name with a slash", onLAN(item("dummy", #""name":"a/b""#)), line: 3, "without '/'"),
    Mistake(
      "an MTU out of range", lines(head(), bridge("lan", options: #""mtu":67,"#)), line: 2,
      "bridge 'lan': MTU 67", "68...65535"),
    Mistake("an interface's MTU", onLAN(item("dummy", #""name":"d","mtu":70000"#)), line: 3, "MTU 70000"),
    Mistake(
      "an MTU too small for IPv6", onLAN(item("dummy", #""name":"d","addresses":["fd00::1/64"],"mtu":1000"#)),
      line: 3, "IPv6 needs an MTU of 1280"),
    Mistake(
      "a MAC that is none", onLAN(item("dummy", #""name":"d","mac":"02:00"# + #"""#)), line: 3,
      "'02:00' is not a MAC address"),
    Mistake(
      "a group's MAC", onLAN(item("dummy", #""name":"d","mac":"01:00:5e:00:00:01""#)), line: 3,
      "a group's address"),
    Mistake(
      "a zero MAC", onLAN(item("dummy", #""name":"d","mac":"00:00:00:00:00:00""#)), line: 3, "all zero"),
    Mistake(
      "one MAC twice",
      onLAN(
        item("dummy", #""name":"d","mac":"02:00:00:00:00:01""#),
        item("dummy", #""name":"e","mac":"02:00:00:00:00:01""#)), line: 3, "is that of interface 'd'"),
    Mistake(
      "a VLAN id", onLAN(item("vlan", #""name":"v","on":"eth0","id":4095"#)), line: 3, "VLAN 4095", "1...4094"
    ),
    Mistake(
      "one VLAN twice",
      onLAN(item("vlan", #""name":"v","on":"eth0","id":5"#), item("vlan", #""name":"w","on":"eth0","id":5"#)),
      line: 3, "VLAN 5 of 'eth0' is taken"),
    Mistake(
      "a VLAN on nothing", onLAN(item("vlan", #""name":"v","on":"eht0","id":5"#)), line: 3,
      "no interface 'eht0'", "did you mean 'eth0'?"),
    Mistake(
      "a VLAN on itself", onLAN(item("vlan", #""name":"v","on":"v","id":5"#)), line: 3, "stands on itself"),
    Mistake(
      "a VLAN on lo", onLAN(#"{"kind":"loopback",@}"#, item("vlan", #""name":"v","on":"lo","id":5"#)),
      line: 3, "no Ethernet frames"),
    Mistake("a VXLAN id", onLAN(item("vxlan", #""name":"v","id":0"#)), line: 3, "id 0", "1...16777215"),
    Mistake(
      "a VXLAN of two families",
      onLAN(item("vxlan", #""name":"v","id":1,"remote":"10.0.0.2","local":"fd00::1""#)), line: 3,
      "different families"),
    Mistake(
      "a VXLAN group without a device", onLAN(item("vxlan", #""name":"v","id":1,"remote":"239.0.0.1""#)),
      line: 3, "on: \"eth0\""),
    Mistake(
      "one VXLAN id twice", onLAN(item("vxlan", #""name":"v","id":1"#), item("vxlan", #""name":"w","id":1"#)),
      line: 3, "id 1 on port 4789 is taken"),
    Mistake(
      "a macvlan mode", onLAN(item("macvlan", #""name":"m","on":"eth0","mode":"bridged""#)), line: 3,
      "'bridged' is none of private"),
    Mistake(
      "an uplink without a device", onLAN(item("uplink", #""name":"u","way":{"via":"move"}"#)), line: 3,
      "which device of the host"),
    Mistake(
      "an uplink of no kind", onLAN(item("uplink", #""name":"u","way":{"via":"wifi"}"#)), line: 3,
      "'wifi' is none of veth"),
    Mistake("a tap's owner", onLAN(item("tap", #""name":"t","owner":-1"#)), line: 3, "owner -1"),
    Mistake(
      "port options without a bridge",
      lines(
        head(), node("a", interface("e", more: #""port":{"isolated":true},"#)), node("b", interface("e")),
        link("a", "e", "b", "e")), line: 2, "port options belong to a port of a bridge"),
    Mistake(
      "a port's VLAN without filtering",
      lines(head(), bridge("lan"), node("a", interface("e", on: "lan", more: #""port":{"access":10},"#))),
      line: 3, "vlanFiltering: true"),
    Mistake(
      "a port that is access and trunk",
      lines(
        head(), bridge("lan", options: #""vlanFiltering":true,"#),
        node("a", interface("e", on: "lan", more: #""port":{"access":10,"trunk":[20]},"#))), line: 3,
      "either access or trunk"),
    Mistake(
      "a port's VLAN out of range",
      lines(
        head(), bridge("lan", options: #""vlanFiltering":true,"#),
        node("a", interface("e", on: "lan", more: #""port":{"trunk":[0]},"#))), line: 3, "VLAN 0"),
    Mistake(
      "a bridge's port that is not there",
      onLAN(item("bridge", #""name":"br0","ports":[{"name":"eth9",@}]"#)), line: 3, "no interface 'eth9'"),
    Mistake(
      "a port of two bridges",
      onLAN(
        item("dummy", #""name":"d""#), item("bridge", #""name":"br0","ports":[{"name":"d",@}]"#),
        item("bridge", #""name":"br1","ports":[{"name":"d",@}]"#)), line: 3, "is a port of 'br0' already"),
    Mistake(
      "a tun as a port",
      onLAN(item("tun", #""name":"t""#), item("bridge", #""name":"br0","ports":[{"name":"t",@}]"#)), line: 3,
      "'t' cannot be a port"),
    Mistake(
      "a bridge's ageing", lines(head(), bridge("lan", options: #""ageingNanoseconds":-1,"#)), line: 2,
      "ageing"),
    Mistake(
      "a bridge's priority", lines(head(), bridge("lan", options: #""priority":65536,"#)), line: 2,
      "priority 65536"),
  ]

  static let addresses = [
    Mistake(
      "an address that is none", onLAN(item("dummy", #""name":"d","addresses":["10.0.0.300/24"]"#)), line: 3,
      "'10.0.0.300/24' is not an address"),
    Mistake(
      "an address without length", onLAN(item("dummy", #""name":"d","addresses":["192.0.2.1"]"#)), line: 3,
      "write the prefix length of 192.0.2.1", "192.0.2.1/24"),
    Mistake(
      "a multicast address", onLAN(item("dummy", #""name":"d","addresses":["224.0.0.1/24"]"#)), line: 3,
      "multicast group"),
    Mistake(
      "a network's name", onLAN(item("dummy", #""name":"d","addresses":["192.0.2.0/24"]"#)), line: 3,
      "the name of the network 192.0.2.0/24"),
    Mistake(
      "a broadcast address", onLAN(item("dummy", #""name":"d","addresses":["192.0.2.255/24"]"#)), line: 3,
      "broadcast address of 192.0.2.0/24"),
    Mistake(
      "a loopback address elsewhere", onLAN(item("dummy", #""name":"d","addresses":["127.0.0.2/8"]"#)),
      line: 3, "belongs to Loopback"),
    Mistake(
      "an address outside the subnet",
      lines(head(), bridge("lan", "10.0.0.0/24"), node("a", interface("e", on: "lan", "10.0.1.1/24"))),
      line: 3, "10.0.1.1/24 is not in the subnet 10.0.0.0/24"),
    Mistake(
      "an address of another length",
      lines(head(), bridge("lan", "10.0.0.0/24"), node("a", interface("e", on: "lan", "10.0.0.1/16"))),
      line: 3, "write 10.0.0.1/24"),
    Mistake(
      "one address twice on a bridge",
      lines(
        head(), bridge("lan", "10.0.0.0/24"), node("a", interface("e", on: "lan", "10.0.0.1/24")),
        node("b", interface("e", on: "lan", "10.0.0.1/24"))), line: 4, "10.0.0.1 is the address of a[\"e\"]",
      "topology.swift:3"),
    Mistake(
      "one address twice on a link",
      lines(
        head(), node("a", interface("e", "10.0.0.1/24")), node("b", interface("e", "10.0.0.1/24")),
        link("a", "e", "b", "e")), line: 3, "10.0.0.1 is the address of a[\"e\"]"),
    Mistake(
      "one address twice in a node", onLAN(item("dummy", #""name":"d","addresses":["10.0.0.1/32"]"#)),
      line: 3, "10.0.0.1 is an address of 'eth0' already"),
    Mistake(
      "one network on two segments", onLAN(item("dummy", #""name":"d","addresses":["10.0.0.9/24"]"#)),
      line: 3, "its network 10.0.0.0/24 is that of 'eth0' too"),
    Mistake(
      "a subnet that is none", lines(head(), bridge("lan", "10.0.0/24")), line: 2,
      "'10.0.0/24' is not an IPv4 or IPv6 prefix"),
    Mistake(
      "a subnet with host bits", lines(head(), bridge("lan", "10.0.0.1/24")), line: 2,
      "did you mean '10.0.0.0/24'?"),
    Mistake(
      "a multicast subnet", lines(head(), bridge("lan", "224.0.0.0/24")), line: 2,
      "not one that hosts can have"),
    Mistake(
      "overlapping subnets", lines(head(), bridge("lan", "10.0.0.0/24"), bridge("dmz", "10.0.0.0/16")),
      line: 3, "bridge 'dmz': subnet 10.0.0.0/16 overlaps 10.0.0.0/24 of bridge 'lan' (topology.swift:2)"),
    Mistake(
      "no room",
      lines(
        head(), bridge("lan", "10.0.0.0/30"), node("a", interface("e", on: "lan")),
        node("b", interface("e", on: "lan")), node("c", interface("e", on: "lan"))), line: 5,
      "interface 'e' of node 'c'", "no free address is left in 10.0.0.0/30"),
    Mistake(
      "a further address on nothing", onLAN(item("address", #""address":"10.0.0.9/32","on":"eth1""#)),
      line: 3, "did you mean 'eth0'?"),
    Mistake(
      "a peer of another family",
      onLAN(item("address", #""address":"10.9.0.9/32","on":"eth0","peer":"fd00::1""#)), line: 3,
      "another family"),
    Mistake(
      "internet over IPv6",
      lines(head(), #"{"kind":"internet","name":"internet","via":"host","subnet":"fd00::/64",@}"#), line: 2,
      "should be IPv4"),
    Mistake(
      "internet twice",
      lines(
        head(), #"{"kind":"internet","name":"i","via":"host",@}"#,
        #"{"kind":"internet","name":"j","via":"host",@}"#), line: 3, "has one already"),
    Mistake(
      "internet by an unknown way", lines(head(), #"{"kind":"internet","name":"i","via":"hosst",@}"#),
      line: 2, "did you mean 'host'?"),
  ]

  private static let pair = lines(
    head(), node("a", interface("e", "10.0.0.1/24"), interface("f", "10.0.1.1/24")),
    node("b", interface("e", "10.0.0.2/24")),
    node("c", interface("e", "10.0.1.2/24")), link("a", "e", "b", "e"), link("a", "f", "c", "e"))

  static let links = [
    Mistake(
      "an interface of two links", lines(pair, node("d", interface("e")), link("a", "e", "d", "e")), line: 8,
      "a[\"e\"] is joined to b[\"e\"] already (topology.swift:5)"),
    Mistake(
      "a link to oneself", lines(pair, link("a", "e", "a", "e")), line: 7, "cannot be joined to itself"),
    Mistake(
      "a link to an unknown node", lines(pair, link("a", "e", "bb", "e")), line: 7, "no node 'bb'",
      "did you mean 'b'?"),
    Mistake(
      "a link to an unknown interface", lines(pair, link("a", "e", "b", "eth7")), line: 7,
      "node 'b' has no interface 'eth7'; it has e"),
    Mistake(
      "a link to an interface on a bridge",
      lines(
        head(), bridge("lan"), node("a", interface("e", on: "lan")), node("b", interface("e")),
        link("a", "e", "b", "e")), line: 5, "is on bridge 'lan'"),
    Mistake(
      "a link to a bridge device",
      lines(pair, node("d", item("bridge", #""name":"br0""#)), link("d", "br0", "a", "e")), line: 8,
      "is no Interface"),
    Mistake(
      "a link to a bridge", lines(pair, bridge("lan"), link("lan", "e", "a", "e")), line: 8,
      "'lan' is a bridge, not a node"),
    Mistake(
      "a rate out of range",
      lines(
        pair,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"rateBitsPerSecond":0},@}"#
      ), line: 7, "rate of 0"),
    Mistake(
      "a loss out of range",
      lines(
        pair,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"lossPercent":100.5},@}"#
      ), line: 7, "loss of 100.5 per cent"),
    Mistake(
      "a negative delay",
      lines(
        pair,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"delayNanoseconds":-1},@}"#
      ), line: 7, "delay"),
    Mistake(
      "jitter without delay",
      lines(
        pair,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"jitterNanoseconds":1000},@}"#
      ), line: 7, "jitter of 1us is more than the delay"),
    Mistake(
      "reorder without delay",
      lines(
        pair,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"reorderPercent":1},@}"#
      ), line: 7, "give a delay with reorder"),
    Mistake(
      "a limit of nothing",
      lines(
        pair, #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"limit":0},@}"#),
      line: 7, "limit 0"),
    Mistake(
      "impaired twice",
      lines(
        pair,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"lossPercent":1},@}"#,
        #"{"kind":"impairment","interface":{"node":"a","interface":"e"},"impairment":{"lossPercent":2},@}"#),
      line: 8, "is impaired already (topology.swift:7)"),
  ]

  private static func routed(_ item: String) -> String {
    lines(
      head(), bridge("lan", "10.0.0.0/24"), bridge("lan2", "10.0.2.0/24"),
      router("gw", interface("e", on: "lan", "10.0.0.1/24"), interface("f", on: "lan2", "10.0.2.1/24")),
      router("far", interface("e", on: "lan2", "10.0.2.2/24")),
      router("two", interface("e", on: "lan", "10.0.0.5/24"), interface("f", on: "lan", "10.0.0.6/24")),
      node("a", interface("e", on: "lan", "10.0.0.9/24"), item))
  }

  static let routing = [
    Mistake(
      "a destination that is none", routed(route("10.0.0.0/33", via: #"{"node":"gw"}"#)), line: 7,
      "'10.0.0.0/33'"),
    Mistake(
      "a destination with host bits", routed(route("10.9.0.1/16", via: #"{"node":"gw"}"#)), line: 7,
      "did you mean '10.9.0.0/16'?"),
    Mistake(
      "an unknown gateway node", routed(route("default", via: #"{"node":"gww"}"#)), line: 7,
      "default route: there is no node 'gww'; did you mean 'gw'?"),
    Mistake(
      "a gateway out of reach", routed(route("default", via: #"{"node":"far"}"#)), line: 7,
      "node 'far' has no address on a subnet of 'a' (10.0.0.0/24)"),
    Mistake(
      "an ambiguous gateway", routed(route("default", via: #"{"node":"two"}"#)), line: 7, "several addresses",
      "10.0.0.5 (two[\"e\"]), 10.0.0.6 (two[\"f\"])"),
    Mistake(
      "an unknown interface as gateway", routed(route("default", via: #"{"node":"gw","interface":"g"}"#)),
      line: 7, "node 'gw' has no interface 'g'"),
    Mistake(
      "oneself as gateway", routed(route("default", via: #"{"node":"a"}"#)), line: 7, "its own gateway"),
    Mistake(
      "one's own address as gateway", routed(route("default", via: #"{"address":"10.0.0.9"}"#)), line: 7,
      "the node's own address"),
    Mistake(
      "a gateway on no subnet", routed(route("default", via: #"{"address":"192.0.2.1"}"#)), line: 7,
      "gateway 192.0.2.1 is on no subnet of the node (10.0.0.0/24)"),
    Mistake(
      "a gateway of another family", routed(route("10.9.0.0/16", via: #"{"address":"fd00::1"}"#)), line: 7,
      "another family"),
    Mistake(
      "a gateway with a length", routed(route("default", via: #"{"address":"10.0.0.1/24"}"#)), line: 7,
      "leave the prefix length out"),
    Mistake(
      "a link-local gateway", routed(route("::/0", via: #"{"address":"fe80::1"}"#)), line: 7,
      "say on which interface"),
    Mistake(
      "a route without a way out", routed(item("route", #""destination":"default""#)), line: 7, "no way out"),
    Mistake(
      "a blackhole with a gateway",
      routed(
        item("route", #""destination":"10.9.0.0/16","type":"blackhole","via":[{"address":"10.0.0.1"}]"#)),
      line: 7, "blackhole has no gateway"),
    Mistake(
      "a route's type", routed(item("route", #""destination":"10.9.0.0/16","type":"blackhol""#)), line: 7,
      "did you mean 'blackhole'?"),
    Mistake(
      "table 0", routed(item("route", #""destination":"default","via":[{"node":"gw"}],"table":0"#)), line: 7,
      "table 0"),
    Mistake(
      "table 255", routed(item("route", #""destination":"default","via":[{"node":"gw"}],"table":255"#)),
      line: 7, "the kernel's own"),
    Mistake(
      "a negative metric",
      routed(item("route", #""destination":"default","via":[{"node":"gw"}],"metric":-1"#)), line: 7,
      "metric -1"),
    Mistake("a weight", routed(route("default", via: #"{"node":"gw","weight":257}"#)), line: 7, "weight 257"),
    Mistake(
      "a source that is not one's own",
      routed(item("route", #""destination":"default","via":[{"node":"gw"}],"source":"10.0.0.77""#)), line: 7,
      "source 10.0.0.77", "it has 10.0.0.9"),
    Mistake(
      "one route twice",
      lines(
        head(), bridge("lan", "10.0.0.0/24"),
        node(
          "a", interface("e", on: "lan", "10.0.0.9/24"), route("default", via: #"{"address":"10.0.0.1"}"#),
          route("0.0.0.0/0", via: #"{"address":"10.0.0.2"}"#))), line: 3, "stands there already", "via: ["),
    Mistake(
      "internet without an uplink",
      lines(
        head(), #"{"kind":"internet","name":"internet","via":"host",@}"#, bridge("lan", "10.0.0.0/24"),
        node("a", interface("e", on: "lan"), route("default", via: #"{"internet":"internet"}"#))), line: 4,
      "no interface on the lab's internet"),
    Mistake(
      "a policy rule with nothing", routed(item("policyRule", #""priority":5"#)), line: 7,
      "either a table or an action"),
    Mistake(
      "a policy rule's action", routed(item("policyRule", #""action":"dorp""#)), line: 7,
      "'dorp' is none of blackhole"),
    Mistake(
      "a policy rule's priority", routed(item("policyRule", #""table":5,"priority":40000"#)), line: 7,
      "priority 40000", "1...32765"),
    Mistake(
      "a policy rule of two families",
      routed(item("policyRule", #""table":5,"source":"10.0.0.0/8","destination":"fd00::/8""#)), line: 7,
      "different families"),
    Mistake(
      "a policy rule's interface", routed(item("policyRule", #""table":5,"from":"eth9""#)), line: 7,
      "no interface 'eth9'"),
    Mistake(
      "a mask without a mark", routed(item("policyRule", #""table":5,"mask":1"#)), line: 7,
      "a mask needs a mark"),
    Mistake(
      "one policy rule twice",
      routed(
        item("policyRule", #""table":5,"priority":9"#) + "," + item("policyRule", #""table":6,"priority":9"#)),
      line: 7, "same priority and selector"),
    Mistake(
      "a neighbour's address",
      routed(item("neighbor", #""address":"10.0.0.x","mac":"02:00:00:00:00:01","on":"e""#)), line: 7,
      "'10.0.0.x' is not an IPv4 or IPv6 address"),
    Mistake(
      "a neighbour's MAC", routed(item("neighbor", #""address":"10.0.0.7","mac":"0","on":"e""#)), line: 7,
      "'0' is not a MAC address"),
    Mistake(
      "a neighbour twice",
      routed(
        item("neighbor", #""address":"10.0.0.7","mac":"02:00:00:00:00:01","on":"e""#) + ","
          + item("neighbor", #""address":"10.0.0.7","mac":"02:00:00:00:00:02","on":"e""#)), line: 7,
      "stands there already"),
    Mistake(
      "a forwarding entry on no port", routed(item("fdbEntry", #""mac":"02:00:00:00:00:01","on":"e""#)),
      line: 7, "neither a bridge, nor a port"),
    Mistake(
      "a remote end without a tunnel",
      routed(
        item("dummy", #""name":"d""#) + "," + item("bridge", #""name":"br0","ports":[{"name":"d",@}]"#) + ","
          + item("fdbEntry", #""mac":"02:00:00:00:00:01","on":"d","remote":"10.0.0.1""#)), line: 7,
      "only a vxlan device has remote ends"),
    Mistake(
      "a sysctl of the machine", routed(item("sysctl", #""name":"vm.overcommit.memory","value":"1""#)),
      line: 7, "the whole machine's"),
    Mistake(
      "a sysctl's path", routed(item("sysctl", #""name":"net..x","value":"1""#)), line: 7, "a path such as"),
    Mistake(
      "a sysctl's interface", routed(item("sysctl", #""name":"net.ipv4.conf.eth9.rp_filter","value":"1""#)),
      line: 7, "no interface 'eth9'"),
    Mistake(
      "a sysctl's value", routed(item("sysctl", #""name":"net.ipv4.tcp_syncookies","value":"""#)), line: 7,
      "one line of text"),
    Mistake(
      "one sysctl twice",
      routed(
        item("sysctl", #""name":"net.ipv4.tcp_syncookies","value":"1""#) + ","
          + item("sysctl", #""name":"net/ipv4/tcp_syncookies","value":"0""#)), line: 7, "set already"),
  ]

  private static func firewall(_ rules: String, sets: String = "", hook: String? = nil) -> String {
    onLAN(
      item("dummy", #""name":"wan""#),
      item(
        "firewall",
        #""policy":"drop",\#(hook.map { "\"hook\":\"\($0)\"," } ?? "")"sets":[\#(sets)],"rules":[\#(rules)]"#)
    )
  }

  static let translation = [
    Mistake(
      "masquerade by an unknown interface", onLAN(item("masquerade", #""out":"wna""#)), line: 3,
      "Masquerade: out: node 'gw' has no interface 'wna'"),
    Mistake(
      "masquerade in a node",
      lines(
        head(), bridge("lan", "10.0.0.0/24"),
        node("a", interface("e", on: "lan"), item("masquerade", #""out":"e""#))), line: 3, "does not forward",
      "lab.router(\"a\")"),
    Mistake(
      "masquerade of nobody", onLAN(item("masquerade", #""source":["10.0.0.1/8"]"#)), line: 3,
      "did you mean '10.0.0.0/8'?"),
    Mistake(
      "masquerade by a port",
      onLAN(
        item("dummy", #""name":"d""#), item("bridge", #""name":"br0","ports":[{"name":"d",@}]"#),
        item("masquerade", #""out":"d""#)), line: 3, "'d' is a port of 'br0'"),
    Mistake(
      "masquerade twice", onLAN(item("masquerade", #""out":"eth0""#), item("masquerade", #""out":"eth0""#)),
      line: 3, "would never be reached"),
    Mistake(
      "source NAT to a name", onLAN(item("sourceNAT", #""to":"web""#)), line: 3,
      "'web' is not an address or a range"),
    Mistake(
      "source NAT over families", onLAN(item("sourceNAT", #""to":"192.0.2.1","source":["fd00::/64"]"#)),
      line: 3, "different families"),
    Mistake(
      "source NAT's ports", onLAN(item("sourceNAT", #""to":"192.0.2.1","ports":"70000""#)), line: 3,
      "port 70000"),
    Mistake(
      "publish to nobody", onLAN(item("publish", #""transport":"tcp","ports":"80","hosts":["10.0.0.99"]"#)),
      line: 3, "no interface of the lab has the address 10.0.0.99"),
    Mistake(
      "publish without a host", onLAN(item("publish", #""transport":"tcp","ports":"80""#)), line: 3,
      "no host to publish to"),
    Mistake(
      "publish by an unknown transport",
      onLAN(item("publish", #""transport":"tpc","ports":"80","hosts":["10.0.0.1"]"#)), line: 3,
      "did you mean 'tcp'?"),
    Mistake(
      "publish a port of none",
      onLAN(item("publish", #""transport":"tcp","ports":"0","hosts":["10.0.0.1"]"#)), line: 3, "port 0",
      "1...65535"),
    Mistake(
      "publish to a port of none",
      onLAN(item("publish", #""transport":"tcp","ports":"80","hosts":["10.0.0.1"],"port":65536"#)), line: 3,
      "port 65536"),
    Mistake(
      "publish over families",
      onLAN(item("publish", #""transport":"tcp","ports":"80","hosts":["10.0.0.1"],"address":"fd00::1""#)),
      line: 3, "different families"),
    Mistake(
      "publish one port twice",
      onLAN(
        item("publish", #""transport":"tcp","ports":"80","hosts":["10.0.0.1"]"#),
        item("publish", #""transport":"tcp","ports":"70-90","hosts":["10.0.0.1"]"#)), line: 3,
      "would never be reached"),
    Mistake(
      "redirect to a port of none", onLAN(item("redirect", #""transport":"tcp","ports":"80","port":-1"#)),
      line: 3, "port -1"),
    Mistake("a policy", onLAN(item("firewall", #""policy":"dorp""#)), line: 3, "did you mean 'drop'?"),
    Mistake(
      "a hook", onLAN(item("firewall", #""policy":"drop","hook":"prerouting""#)), line: 3,
      "'prerouting' is none of input, forward, output"),
    Mistake(
      "two firewalls on a hook",
      onLAN(item("firewall", #""policy":"drop""#), item("firewall", #""policy":"drop""#)), line: 3,
      "put the rules of a hook together"),
    Mistake(
      "a forward chain in a node",
      lines(
        head(), bridge("lan", "10.0.0.0/24"),
        node("a", interface("e", on: "lan"), item("firewall", #""policy":"drop","hook":"forward""#))),
      line: 3, "does not forward"),
    Mistake(
      "a set that no rule uses", firewall("", sets: #"{"name":"admins","elements":["10.0.0.1"],@}"#), line: 3,
      "no rule uses the set 'admins'"),
    Mistake(
      "an unknown set", firewall(#"{"action":"accept","sourceSet":"admin",@}"#), line: 3, "no set 'admin'"),
    Mistake(
      "an empty set", firewall(#"{"action":"accept","sourceSet":"a",@}"#, sets: #"{"name":"a",@}"#), line: 3,
      "set 'a' is empty"),
    Mistake(
      "a set's name",
      firewall(
        #"{"action":"accept","sourceSet":"a b",@}"#, sets: #"{"name":"a b","elements":["10.0.0.1"],@}"#),
      line: 3, "set 'a b' should be called by"),
    Mistake(
      "an overlapping set",
      firewall(
        #"{"action":"accept","sourceSet":"a",@}"#,
        sets: #"{"name":"a","elements":["10.0.0.0/24","10.0.0.7"],@}"#), line: 3, "holds 10.0.0.7 twice"),
    Mistake(
      "a rule's interface", firewall(#"{"action":"accept","from":"eth1",@}"#), line: 3,
      "Accept: from: node 'gw' has no interface 'eth1'; did you mean 'eth0'?"),
    Mistake("a rule's action", firewall(#"{"action":"allow",@}"#), line: 3, "'allow' is none of accept"),
    Mistake(
      "a rule's address", firewall(#"{"action":"drop","destination":["10.0.0.256"],@}"#), line: 3,
      "Drop: destination '10.0.0.256'"),
    Mistake(
      "a rule of two families",
      firewall(#"{"action":"drop","source":["10.0.0.1"],"destination":["fd00::1"],@}"#), line: 3,
      "no packet has both"),
    Mistake(
      "an outgoing interface at input", firewall(#"{"action":"drop","to":"eth0",@}"#, hook: "input"), line: 3,
      "leaves by no interface"),
    Mistake(
      "an incoming interface at output", firewall(#"{"action":"drop","from":"eth0",@}"#, hook: "output"),
      line: 3, "came in by no interface"),
    Mistake(
      "a match's port", firewall(#"{"action":"accept","matches":["tcp 65536"],@}"#), line: 3, "port 65536"),
    Mistake(
      "a match's state", firewall(#"{"action":"accept","matches":["state establishd"],@}"#), line: 3,
      "did you mean 'established'?"),
    Mistake(
      "a match of no kind", firewall(#"{"action":"accept","matches":["moon full"],@}"#), line: 3,
      "'moon full' is no match"),
    Mistake(
      "a reset of what is not TCP",
      firewall(#"{"action":"reject","with":"tcpReset","matches":["udp 53"],@}"#), line: 3,
      "only TCP is answered with a reset"),
    Mistake(
      "a limit of nothing", firewall(#"{"action":"accept","matches":["limit 0/second"],@}"#), line: 3,
      "limit 0"),
    Mistake(
      "two limits", firewall(#"{"action":"accept","matches":["limit 1/second","limit 1/hour"],@}"#), line: 3,
      "a rule has one limit"),
    Mistake("a log prefix", firewall(#"{"action":"drop","log":"a\nb",@}"#), line: 3, "the log's prefix"),
  ]

  private static func table(_ chains: String, sets: String = "", family: String = "inet") -> String {
    onLAN(item("table", #""name":"t","family":"\#(family)","sets":[\#(sets)],"chains":[\#(chains)]"#))
  }
  private static func chain(_ statements: String, hook: String = "forward", type: String = "filter") -> String
  {
    #"{"name":"c","type":"\#(type)","hook":"\#(hook)","rules":[{"statements":[\#(statements)],@}],@}"#
  }
  private static let accept = #"{"kind":"verdict","verdict":"accept"}"#

  static let tables = [
    Mistake("a table's family", table("", family: "ipx"), line: 3, "'ipx' is none of ip, ip6"),
    Mistake(
      "a table of ours", onLAN(item("table", #""name":"netforge-x","family":"ip""#)), line: 3,
      "kept for what the short form makes"),
    Mistake(
      "one table twice",
      onLAN(item("table", #""name":"t","family":"ip""#), item("table", #""name":"t","family":"ip""#)),
      line: 3, "there is one of family ip"),
    Mistake(
      "a chain twice", table(chain(accept) + "," + chain(accept)), line: 3, "chain 'c' is declared twice"),
    Mistake(
      "a hook that the family has not", table(chain(accept, hook: "forward"), family: "netdev"), line: 3,
      "family netdev has no hook forward; it has ingress, egress"),
    Mistake(
      "nat at forward", table(chain(accept, hook: "forward", type: "nat")), line: 3, "nat chains hang at"),
    Mistake(
      "reroute at input", table(chain(accept, hook: "input", type: "route")), line: 3, "hangs at output"),
    Mistake(
      "ingress without a device", table(chain(accept, hook: "ingress"), family: "netdev"), line: 3,
      "say which (device:)"),
    Mistake(
      "a chain's device", table(#"{"name":"c","hook":"ingress","device":"eth9",@}"#, family: "netdev"),
      line: 3, "no interface 'eth9'"),
    Mistake(
      "a priority before conntrack",
      table(#"{"name":"c","type":"nat","hook":"prerouting","priority":-300,@}"#), line: 3,
      "before connection tracking"),
    Mistake(
      "an unknown selector",
      table(chain(#"{"kind":"match","selectors":["ip sadr"],"is":"equal","values":[["10.0.0.1"]]}"#)),
      line: 3, "no selector 'ip sadr'; did you mean 'ip saddr'?"),
    Mistake(
      "a value of another type",
      table(chain(#"{"kind":"match","selectors":["tcp dport"],"is":"equal","values":[["10.0.0.1"]]}"#)),
      line: 3, "tcp dport: '10.0.0.1' is no inet_service"),
    Mistake(
      "a value out of range",
      table(chain(#"{"kind":"match","selectors":["tcp dport"],"is":"equal","values":[["65536"]]}"#)), line: 3,
      "65536 is out of range"),
    Mistake(
      "IPv6 where IPv4 belongs",
      table(chain(#"{"kind":"match","selectors":["ip saddr"],"is":"equal","values":[["fd00::1"]]}"#)),
      line: 3, "should be IPv4"),
    Mistake(
      "a field that the family has not",
      table(
        chain(#"{"kind":"match","selectors":["ip6 saddr"],"is":"equal","values":[["fd00::1"]]}"#),
        family: "ip"), line: 3, "never holds in family ip"),
    Mistake(
      "an interface that is not there",
      table(chain(#"{"kind":"match","selectors":["meta iifname"],"is":"equal","values":[["eth9"]]}"#)),
      line: 3, "no interface 'eth9'"),
    Mistake(
      "an order among several",
      table(chain(#"{"kind":"match","selectors":["ip ttl"],"is":"less","values":[["1"],["2"]]}"#)), line: 3,
      "compare with one value"),
    Mistake(
      "an unknown set of a table",
      table(chain(#"{"kind":"match","selectors":["ip saddr"],"is":"equal","set":"s"}"#)), line: 3,
      "no set 's'"),
    Mistake(
      "a set of another type",
      table(
        chain(#"{"kind":"match","selectors":["ip saddr"],"is":"equal","set":"s"}"#),
        sets: #"{"name":"s","key":["inet_service"],@}"#), line: 3, "holds inet_service, not ipv4_addr"),
    Mistake(
      "an interval in a plain set",
      table("", sets: #"{"name":"s","key":["ipv4_addr"],"elements":[{"key":["10.0.0.0/8"]}],@}"#), line: 3,
      "interval: true"),
    Mistake(
      "an element twice",
      table("", sets: #"{"name":"s","key":["inet_service"],"elements":[{"key":["1"]},{"key":["1"]}],@}"#),
      line: 3, "stands in it twice"),
    Mistake(
      "an element of two parts",
      table("", sets: #"{"name":"s","key":["inet_service"],"elements":[{"key":["1","2"]}],@}"#), line: 3,
      "2 values stand where 1 should"),
    Mistake(
      "an unknown chain", table(chain(#"{"kind":"verdict","verdict":"jump d"}"#)), line: 3, "no chain 'd'"),
    Mistake(
      "a jump to a base chain", table(chain(#"{"kind":"verdict","verdict":"jump c"}"#)), line: 3, "has a hook"
    ),
    Mistake(
      "a loop of jumps",
      table(
        #"{"name":"a","rules":[{"statements":[{"kind":"verdict","verdict":"jump b"}],@}],@},{"name":"b","rules":[{"statements":[{"kind":"verdict","verdict":"goto a"}],@}],@}"#
      ), line: 3, "round for ever"),
    Mistake(
      "a verdict that is none", table(chain(#"{"kind":"verdict","verdict":"maybe"}"#)), line: 3,
      "'maybe' is no verdict"),
    Mistake(
      "a statement after the verdict", table(chain(accept + #",{"kind":"counter"}"#)), line: 3,
      "never reached"),
    Mistake("an empty rule", table(chain("")), line: 3, "a rule says nothing"),
    Mistake(
      "NAT in a filter chain", table(chain(#"{"kind":"masquerade"}"#, hook: "postrouting")), line: 3,
      "masquerade stands in a nat chain at postrouting only"),
    Mistake(
      "destination NAT at postrouting",
      table(chain(#"{"kind":"destinationNAT","address":"10.0.0.1"}"#, hook: "postrouting", type: "nat")),
      line: 3, "at prerouting or output only"),
    Mistake(
      "NAT into another family",
      table(
        chain(#"{"kind":"destinationNAT","address":"fd00::1"}"#, hook: "prerouting", type: "nat"),
        family: "ip"), line: 3, "does not belong into a table of family ip"),
    Mistake(
      "reject at postrouting", table(chain(#"{"kind":"reject"}"#, hook: "postrouting")), line: 3,
      "not at postrouting"),
    Mistake(
      "an update of a fixed set",
      table(
        chain(#"{"kind":"updateSet","set":"s","selectors":["ip saddr"]}"#),
        sets: #"{"name":"s","key":["ipv4_addr"],@}"#), line: 3, "dynamic: true"),
    Mistake(
      "NoTrack after conntrack", table(chain(#"{"kind":"noTrack"}"#, hook: "prerouting")), line: 3,
      "priority .raw"),
  ]

  static let programs = [
    Mistake(
      "a service's port", onLAN(item("service", #""service":"http","port":0"#)), line: 3, "port 0",
      "1...65535"),
    Mistake(
      "an unknown service", onLAN(item("service", #""service":"htpp","port":80"#)), line: 3,
      "did you mean 'http'?"),
    Mistake(
      "two services on a port",
      onLAN(item("service", #""service":"http","port":80"#), item("service", #""service":"echo","port":80"#)),
      line: 3, "port 80 is taken"),
    Mistake("an empty command", onLAN(#"{"kind":"run",@}"#), line: 3, "Run: there is no command"),
    Mistake(
      "a program's restart", onLAN(item("run", #""command":["a"],"restart":"sometimes""#)), line: 3,
      "'sometimes' is none of never"),
    Mistake("a relative file", onLAN(item("file", #""path":"motd","text":"x""#)), line: 3, "absolute path"),
    Mistake(
      "a file with ..", onLAN(item("file", #""path":"/etc/../motd","text":"x""#)), line: 3,
      "without '.', '..'"),
    Mistake("a file in /proc", onLAN(item("file", #""path":"/proc/x","text":"x""#)), line: 3, "use Sysctl"),
    Mistake(
      "one file twice",
      onLAN(item("file", #""path":"/a","text":"x""#), item("file", #""path":"/a","text":"y""#)), line: 3,
      "declared twice"),
    Mistake(
      "a variable's name", onLAN(item("env", #""name":"1A","value":"x""#)), line: 3,
      "environment variable '1A'"),
    Mistake(
      "one variable twice",
      onLAN(item("env", #""name":"A","value":"x""#), item("env", #""name":"A","value":"y""#)), line: 3,
      "set twice"),
  ]

  private static func expecting(_ fields: String) -> String {
    lines(pair, #"{"kind":"expectation",\#(fields),@}"#)
  }

  static let expectations = [
    Mistake(
      "an unknown target", expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"bb"}"#),
      line: 7, "no node 'bb'"),
    Mistake(
      "an unknown target interface",
      expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"b","interface":"f"}"#), line: 7,
      "no interface 'f'"),
    Mistake(
      "an address as source",
      expecting(#""what":"reaches","source":{"address":"10.0.0.1"},"target":{"node":"b"}"#), line: 7,
      "packets are sent by a node"),
    Mistake(
      "oneself as target", expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"a"}"#),
      line: 7, "both source and target"),
    Mistake(
      "nobody as target",
      expecting(#""what":"reaches","source":{"node":"a"},"target":{"address":"0.0.0.0"}"#), line: 7,
      "nobody's address"),
    Mistake(
      "a target without an address",
      lines(
        head(), bridge("lan"), node("a", interface("e", on: "lan")), node("b"),
        #"{"kind":"expectation","what":"reaches","source":{"node":"a"},"target":{"node":"b"},@}"#), line: 5,
      "node 'b' has no address"),
    Mistake(
      "a probe's port",
      expecting(
        #""what":"reaches","source":{"node":"a"},"target":{"node":"b"},"probe":{"transport":"tcp","port":0}"#),
      line: 7, "port 0"),
    Mistake(
      "an expectation of no kind", expecting(#""what":"reachs","source":{"node":"a"},"target":{"node":"b"}"#),
      line: 7, "did you mean 'reaches'?"),
    Mistake(
      "appearsTo without an address",
      expecting(#""what":"appearsTo","source":{"node":"a"},"target":{"node":"b"}"#), line: 7, "needs 'as'"),
    Mistake(
      "a key of another expectation",
      expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"b"},"mtu":1400"#), line: 7,
      "'mtu' does not belong to it"),
    Mistake(
      "a TTL of a connection",
      expecting(
        #""what":"reaches","source":{"node":"a"},"target":{"node":"b"},"ttl":64,"probe":{"transport":"tcp","port":80}"#
      ), line: 7, "only an answer to a ping"),
    Mistake(
      "bounds the wrong way round",
      expecting(#""what":"loss","source":{"node":"a"},"target":{"node":"b"},"minimum":5,"maximum":1"#),
      line: 7, "both in this order"),
    Mistake(
      "a mesh of one", expecting(#""what":"mesh","groups":[["a"]]"#), line: 7, "two nodes or more"),
    Mistake(
      "a group without the other", expecting(#""what":"isolated","groups":[["a","b"]]"#), line: 7,
      "two groups or more"),
    Mistake(
      "an unknown scenario",
      expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"b"},"scenario":"cut""#), line: 7,
      "no scenario 'cut'"),
    Mistake(
      "a scenario in which nothing happens", lines(pair, #"{"kind":"scenario","name":"cut",@}"#), line: 7,
      "nothing happens"),
    Mistake(
      "a flap without a time",
      lines(
        pair,
        #"{"kind":"scenario","name":"cut","actions":[{"action":"flap","interface":{"node":"a","interface":"e"}}],@}"#
      ), line: 7, "for how long"),
    Mistake(
      "appearsTo an address",
      expecting(#""what":"appearsTo","as":"10.0.0.1","source":{"node":"a"},"target":{"address":"10.0.0.2"}"#),
      line: 7, "only a node can say"),
    Mistake(
      "a negative time",
      expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"b"},"withinNanoseconds":-5"#),
      line: 7, "within"),
    Mistake(
      "a contradiction",
      lines(
        expecting(#""what":"reaches","source":{"node":"a"},"target":{"node":"b"}"#),
        #"{"kind":"expectation","what":"cannotReach","source":{"node":"a"},"target":{"node":"b"},@}"#),
      line: 8, "the opposite of the one at topology.swift:7"),
    Mistake(
      "an event's time",
      lines(pair, #"{"kind":"event","atNanoseconds":-1,"actions":[{"action":"restart","node":"a"}],@}"#),
      line: 7, "event: time"),
    Mistake(
      "an event without action", lines(pair, #"{"kind":"event","atNanoseconds":1,@}"#), line: 7,
      "nothing happens"),
    Mistake(
      "an event of no kind",
      lines(pair, #"{"kind":"event","atNanoseconds":1,"actions":[{"action":"explode"}],@}"#), line: 7,
      "it is none of linkDown"),
    Mistake(
      "an event's interface",
      lines(
        pair,
        #"{"kind":"event","atNanoseconds":1,"actions":[{"action":"linkDown","interface":{"node":"a","interface":"x"}}],@}"#
      ), line: 7, "no interface 'x'"),
  ]

  @Test(
    "is one complaint, at its line, that says what would mend it",
    arguments: names + devices + addresses + links + routing + translation + tables + programs + expectations)
  func complaint(mistake: Mistake) throws {
    let found = complaints(mistake.text)
    try #require(found.count == 1, "\(found)")
    #expect(found[0].hasPrefix("topology.swift:\(mistake.line): error: "), "\(found[0])")
    for part in mistake.parts { #expect(found[0].contains(part), "\(found[0])") }
    #expect(!found[0].contains("\n"))
  }

  @Test("is shown with all others in one run, sorted by line")
  func several() {
    let found = complaints(
      lines(
        head("Lab"), bridge("lan", "10.0.0.0/33"),
        node("a", interface("e", on: "wan"), interface("f", on: "lan", "x")),
        link("a", "g", "b", "e")))
    #expect(
      found.map { $0.prefix { $0 != " " } } == [
        "topology.swift:1:", "topology.swift:2:", "topology.swift:3:", "topology.swift:3:",
        "topology.swift:4:",
        "topology.swift:4:",
      ])
  }

  @Test("that a bridge has more than 1,023 ports is found at the first that is too many")
  func ports() {
    let nodes = (1...1025).map { node("n\($0)", interface("e", on: "lan")) }
    let found = complaints(([head(), bridge("lan")] + nodes).joined(separator: "\n"))
    #expect(found.count == 1)
    #expect(
      found.first?.hasPrefix(
        "topology.swift:1026: error: interface 'e' of node 'n1024': bridge 'lan' has 1023 ports already")
        == true)
  }
}
