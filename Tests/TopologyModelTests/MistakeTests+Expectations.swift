// SPDX-License-Identifier: GPL-2.0-or-later

// What can be wrong with programs, services, expectations and events.

extension MistakeTests {
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

  static let wholes = [
    Mistake("differences without a number", expecting(#""what":"differences""#), line: 7, "it needs 'count'"),
    Mistake(
      "what stays when nothing has happened", expecting(#""what":"keeps","groups":[["a"]]"#), line: 7,
      "say it of a scenario"),
    Mistake(
      "nobody who stays", expecting(#""what":"keeps","groups":[],"atNanoseconds":5"#), line: 7,
      "it names no node"),
    Mistake(
      "a stranger who stays", expecting(#""what":"keeps","groups":[["zz"]],"atNanoseconds":5"#), line: 7,
      "no node 'zz'"),
    Mistake(
      "the end of the lab while it is up", expecting(#""what":"cleanDown","atNanoseconds":5"#), line: 7,
      "when the lab is taken down"),
    Mistake(
      "an address without its length", acting(#""action":"removeAddress",\#(onA),"address":"10.0.0.1""#),
      line: 7, "write the prefix length"),
    Mistake(
      "a group as an address", acting(#""action":"addAddress",\#(onA),"address":"224.0.0.1/24""#), line: 7,
      "is a multicast group"),
    Mistake(
      "a route to nowhere", acting(#""action":"removeRoute","node":"a""#), line: 7,
      "it names a node and a destination"),
    Mistake(
      "a route without a gateway", acting(#""action":"setRoute","node":"a","destination":"10.0.0.0/8""#),
      line: 7, "it needs 'via'"),
    Mistake(
      "a gateway of the other family",
      acting(#""action":"setRoute","node":"a","destination":"10.0.0.0/8","via":"fd00::1""#), line: 7,
      "no gateway to 10.0.0.0/8"),
  ]

  private static let onA = #""interface":{"node":"a","interface":"e"}"#

  private static func acting(_ fields: String) -> String {
    lines(pair, #"{"kind":"scenario","name":"s","actions":[{\#(fields)}],@}"#)
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
      "a connection that stays, without a web server",
      expecting(
        #""what":"stays","source":{"node":"a"},"target":{"node":"b"},"probe":{"transport":"tcp","port":80}"#),
      line: 7, "it takes http"),
    Mistake(
      "a source port of one node",
      expecting(
        #""what":"samePort","groups":[["a"]],"target":{"node":"b"},"probe":{"transport":"udp","port":53},"sourcePort":5"#
      ), line: 7, "two nodes or more"),
    Mistake(
      "a source port of pings",
      expecting(#""what":"samePort","groups":[["a","b"]],"target":{"address":"10.0.0.9"},"sourcePort":5"#),
      line: 7, "tcp or udp"),
    Mistake(
      "no source port", expecting(#""what":"samePort","groups":[["a","b"]],"target":{"address":"10.0.0.9"}"#),
      line: 7, "needs 'sourcePort'"),
    Mistake(
      "a source port to oneself",
      expecting(
        #""what":"samePort","groups":[["a","b"]],"target":{"node":"b"},"probe":{"transport":"udp","port":53},"sourcePort":5"#
      ), line: 7, "both source and target"),
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
}
