// SPDX-License-Identifier: GPL-2.0-or-later

// What can be wrong with links, routes, rules, neighbours and settings.

extension MistakeTests {
  static let pair = lines(
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
}
