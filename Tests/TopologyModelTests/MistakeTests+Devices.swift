// SPDX-License-Identifier: GPL-2.0-or-later

// What can be wrong with names, devices and addresses.

extension MistakeTests {
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
      "a tap without a name", onLAN(item("uplink", #""name":"u","way":{"via":"tap"}"#)), line: 3,
      "which device of the host"),
    Mistake(
      "a tap joined twice",
      onLAN(
        item("uplink", #""name":"u","way":{"via":"tap","host":"tap0"}"#),
        item("uplink", #""name":"v","way":{"via":"tap","host":"tap0"}"#)), line: 3,
      "'tap0' is joined to interface 'u' of node"),
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
}
