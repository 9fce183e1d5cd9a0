// SPDX-License-Identifier: GPL-2.0-or-later

// What can be wrong with address translation, firewalls and tables.

extension MistakeTests {
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

  private static let counter = #"{"kind":"counter"}"#
  /// A rule's change of the set 's'.
  private static func change(_ fields: String) -> String {
    #"{"kind":"updateSet","set":"s","selectors":["ip saddr"]\#(fields.isEmpty ? "" : ",")\#(fields)}"#
  }
  /// The same in a table where 's' is dynamic.
  private static func update(_ fields: String, set: String = "") -> String {
    table(
      chain(change(fields)),
      sets: #"{"name":"s","key":["ipv4_addr"],"dynamic":true\#(set.isEmpty ? "" : ",")\#(set),@}"#)
  }

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
      "a time of day that is none",
      table(chain(#"{"kind":"match","selectors":["meta hour"],"is":"equal","values":[["24:00"]]}"#)), line: 3,
      "'24:00' is no time of day, such as 09:30"),
    Mistake(
      "a night as one range",
      table(chain(#"{"kind":"match","selectors":["meta hour"],"is":"equal","values":[["22:00-06:00"]]}"#)),
      line: 3, "22:00-06:00 ends before it begins; take what is not in between"),
    Mistake(
      "a day that the month has not",
      table(chain(#"{"kind":"match","selectors":["meta time"],"is":"less","values":[["2026-02-29"]]}"#)),
      line: 3, "'2026-02-29' is no date, such as 2026-12-24 18:00"),
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
      "a removal from a fixed set",
      table(
        chain(#"{"kind":"updateSet","operation":"remove","set":"s","selectors":["ip saddr"]}"#),
        sets: #"{"name":"s","key":["ipv4_addr"],@}"#), line: 3, "dynamic: true"),
    Mistake(
      "an operation that is none", update(#""operation":"renew""#), line: 3, "'renew' is none of add, update"),
    Mistake(
      "a timeout of a set without", update(#""timeoutNanoseconds":1000000000"#), line: 3, "give it a timeout"),
    Mistake(
      "a removal with a timeout", update(#""operation":"remove","timeoutNanoseconds":1000000000"#), line: 3,
      "needs neither a timeout"),
    Mistake(
      "three statements of an element",
      update(#""statements":[\#(counter),{"kind":"quota","count":1},\#(counter)]"#), line: 3,
      "two statements at most, not 3"),
    Mistake(
      "an element's counter by name", update(#""statements":[{"kind":"counter","name":"all"}]"#), line: 3,
      "write Counter()"),
    Mistake(
      "an element's limit of nothing", update(#""statements":[{"kind":"limit","count":0,"per":"second"}]"#),
      line: 3, "limit 0"),
    Mistake(
      "a number of connections that ages",
      update(
        #""statements":[{"kind":"connectionLimit","count":5}]"#, set: #""timeoutNanoseconds":1000000000"#),
      line: 3, "kept in a set without a timeout"),
    Mistake(
      "elements that keep what their set does not",
      update(#""statements":[{"kind":"quota","count":1}]"#, set: #""counters":true"#), line: 3,
      "keep something else at topology.swift:3"),
    Mistake(
      "elements that keep different things",
      table(
        chain(change(#""statements":[\#(counter)]"#) + "," + change("")),
        sets: #"{"name":"s","key":["ipv4_addr"],"dynamic":true,@}"#), line: 3, "give them the same everywhere"
    ),
    Mistake(
      "a set's comment", table("", sets: #"{"name":"s","key":["ipv4_addr"],"comment":"a\nb",@}"#), line: 3,
      "set 's': its comment should be one line"),
    Mistake(
      "an element's comment",
      table(
        "", sets: #"{"name":"s","key":["inet_service"],"elements":[{"key":["1"],"comment":"a\nb"}],@}"#),
      line: 3, "an element's comment should be one line"),
    Mistake(
      "an element's time",
      table(
        "",
        sets: #"{"name":"s","key":["inet_service"],"elements":[{"key":["1"],"timeoutNanoseconds":9}],@}"#),
      line: 3, "is less than a millisecond"),
    Mistake(
      "a SYN proxy at output", table(chain(#"{"kind":"synProxy"}"#, hook: "output")), line: 3,
      "stands at input or forward, not at output"),
    Mistake(
      "a SYN proxy of a bridge", table(chain(#"{"kind":"synProxy"}"#), family: "bridge"), line: 3,
      "ip, ip6 and inet, not bridge"),
    Mistake(
      "a SYN proxy's scale", table(chain(#"{"kind":"synProxy","windowScale":15}"#)), line: 3,
      "window scale 15 is out of range"),
    Mistake(
      "a SYN proxy by name at output",
      onLAN(
        item(
          "table",
          #""name":"t","family":"ip","objects":[{"kind":"synProxy","name":"p","maximumSegmentSize":1,"windowScale":1,@}],"chains":[\#(chain(#"{"kind":"object","object":"synProxy","name":"p"}"#, hook: "output"))]"#
        )), line: 3, "stands at input or forward"),
    Mistake(
      "an expectation of none",
      onLAN(
        item(
          "table",
          #""name":"t","family":"ip","objects":[{"kind":"expectation","name":"e","transport":"udp","port":1,"timeoutNanoseconds":1000000,"count":0,@}]"#
        )), line: 3, "expectation 'e': count 0 is out of range"),
    Mistake(
      "a map's element that leads nowhere", update("", set: #""data":["mark"]"#), line: 3,
      "'s' is a map; say what the element leads to, mark"),
    Mistake(
      "a set's element that leads somewhere", update(#""data":["1"]"#), line: 3,
      "elements of 's' lead to nothing"),
    Mistake(
      "a map's element of another type",
      update(#""dataSelectors":["ip daddr"]"#, set: #""data":["mark"]"#), line: 3,
      "'s' leads to mark, not to ip daddr"),
    Mistake(
      "a map's element of no value", update(#""data":["many"]"#, set: #""data":["mark"]"#), line: 3,
      "'many' is no mark"),
    Mistake(
      "a map's element that is a range", update(#""data":["1-2"]"#, set: #""data":["inet_service"]"#),
      line: 3,
      "a map leads to single values"),
    Mistake(
      "a map's element of two kinds",
      update(#""data":["1"],"dataSelectors":["meta mark"]"#, set: #""data":["mark"]"#), line: 3,
      "either to values or to what fields say"),
    Mistake(
      "a removal that says what is led to",
      update(#""operation":"remove","data":["1"]"#, set: #""data":["mark"]"#), line: 3,
      "is found by its key alone"),
    Mistake(
      "a verdict map that rules fill", update("", set: #""verdicts":true"#), line: 3,
      "rules put values into maps, and 's' leads to none"),
    Mistake(
      "a map of two kinds",
      table("", sets: #"{"name":"s","key":["mark"],"object":"limit","verdicts":true,@}"#),
      line: 3, "either to values, to verdicts or to objects"),
    Mistake(
      "a map to flowtables", table("", sets: #"{"name":"s","key":["mark"],"object":"flowtable",@}"#), line: 3,
      "leads to no flowtable"),
    Mistake(
      "a map to objects that rules fill",
      table("", sets: #"{"name":"s","key":["mark"],"object":"limit","dynamic":true,@}"#), line: 3,
      "a map to objects is not dynamic"),
    Mistake(
      "a named map to no object",
      table(
        "", sets: #"{"name":"s","key":["mark"],"object":"limit","elements":[{"key":["1"],"data":["l"]}],@}"#),
      line: 3, "set 's': there is no limit 'l'"),
    Mistake(
      "a map to objects of another kind",
      table(
        chain(#"{"kind":"objectMap","object":"quota","selectors":["tcp dport"],"map":"s"}"#),
        sets: #"{"name":"s","key":["inet_service"],"object":"limit",@}"#), line: 3,
      "'s' does not lead to objects of kind quota"),
    Mistake(
      "a map to SYN proxies at output",
      table(
        chain(
          #"{"kind":"objectMap","object":"synProxy","selectors":["tcp dport"],"map":"s"}"#, hook: "output"),
        sets: #"{"name":"s","key":["inet_service"],"object":"synProxy",@}"#), line: 3,
      "stands at input or forward"),
    Mistake(
      "a map of objects that is none",
      table(chain(#"{"kind":"objectMap","object":"limit","selectors":["tcp dport"],"map":"s"}"#)), line: 3,
      "there is no set 's'"),
    Mistake(
      "events before connection tracking",
      onLAN(
        item(
          "table",
          #""name":"t","family":"ip","chains":[{"name":"c","hook":"prerouting","priority":-300,"rules":[{"statements":[{"kind":"setField","selector":"ct event","value":"new"}],@}],@}]"#
        )), line: 3, "ct event is written behind connection tracking"),
    Mistake(
      "events of ARP",
      table(
        chain(#"{"kind":"setField","selector":"ct event","value":"new"}"#, hook: "input"), family: "arp"),
      line: 3, "ct event cannot be written in family arp"),
    Mistake(
      "events that are asked for",
      table(chain(#"{"kind":"match","selectors":["ct event"],"is":"equal","values":[["new"]]}"#)), line: 3,
      "ct event can be set, but nothing compares with it"),
    Mistake(
      "an event that is none",
      table(chain(#"{"kind":"setField","selector":"ct event","values":["new","death"]}"#)), line: 3,
      "'death' is no ct_event"),
    Mistake(
      "several values of a number",
      table(chain(#"{"kind":"setField","selector":"ip ttl","values":["1","2"]}"#)), line: 3,
      "becomes one value, not several"),
    Mistake(
      "a set of labels", table("", sets: #"{"name":"s","key":["ct_label"],@}"#), line: 3, "stand in no set"),
    Mistake(
      "a map to no object",
      table(
        chain(
          #"{"kind":"objectMap","object":"limit","selectors":["tcp dport"],"elements":[{"key":["1"],"data":["l"]}]}"#
        )), line: 3, "there is no limit 'l'"),
    Mistake(
      "a map to a counter without a name",
      table(
        chain(
          #"{"kind":"objectMap","object":"counter","selectors":["tcp dport"],"elements":[{"key":["1"],"data":[""]}]}"#
        )), line: 3, "counter '' should be called by"),
    Mistake(
      "a zone behind connection tracking",
      table(chain(#"{"kind":"setField","selector":"ct zone","value":"3"}"#)), line: 3,
      "before connection tracking (priority .raw)"),
    Mistake(
      "a packet type at forward",
      table(chain(#"{"kind":"setField","selector":"meta pkttype","value":"host"}"#)), line: 3,
      "is written at prerouting, not at forward"),
    Mistake(
      "a label out of range", table(chain(#"{"kind":"setField","selector":"ct label","value":"128"}"#)),
      line: 3, "128 is out of range; it should be 0...127"),
    Mistake(
      "bits outside of their mask",
      table(
        chain(
          #"{"kind":"match","selectors":["tcp flags"],"is":"equal","exactly":["syn","rst"],"mask":["syn"]}"#)),
      line: 3, "bits outside of the mask"),
    Mistake(
      "bits of an address",
      table(
        chain(#"{"kind":"match","selectors":["ip saddr"],"is":"equal","exactly":["10.0.0.1"],"mask":["1"]}"#)),
      line: 3, "no bits to compare"),
    Mistake(
      "bits of half a byte",
      table(chain(#"{"kind":"match","selectors":["ip ecn"],"is":"equal","exactly":["1"],"mask":["1"]}"#)),
      line: 3, "no bits to compare"),
    Mistake(
      "a number exactly",
      table(chain(#"{"kind":"match","selectors":["meta mark"],"is":"equal","exactly":["1"]}"#)), line: 3,
      "without a mask"),
    Mistake(
      "NoTrack after conntrack", table(chain(#"{"kind":"noTrack"}"#, hook: "prerouting")), line: 3,
      "priority .raw"),
  ]
}
