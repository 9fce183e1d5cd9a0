// SPDX-License-Identifier: GPL-2.0-or-later

// The compiler against nft itself: the same rule, ours and nft's bytecode side by side.

import NetTypes
import Testing

@testable import Nftables

/// A rule, and how nft's language says it.
struct Sample: CustomTestStringConvertible, Sendable {
  var family: NftFamily
  var base: NftBaseChain
  var nft: String
  var statements: [Statement]

  init(
    _ family: NftFamily, _ nft: String, _ statements: [Statement],
    _ base: NftBaseChain = NftBaseChain(hook: .input)
  ) {
    self.family = family
    self.nft = nft
    self.statements = statements
    self.base = base
  }

  var testDescription: String { "\(family.rawValue) \(nft)" }

  /// The rule in a table of its own, with a plain chain `other`.
  var table: Ruleset.Table {
    Ruleset.Table(
      family: family, name: "t",
      chains: [
        Ruleset.Chain(name: "c", base: base, rules: [Rule(statements)]), Ruleset.Chain(name: "other"),
      ])
  }
}

private func port(_ numbers: Port...) -> [FieldValue] { numbers.map { .value($0.nftData) } }
private func ip(_ text: String) -> FieldValue { IPPrefix(text).map { FieldValue($0) } ?? .value([]) }
private func prefix(_ text: String) -> IPPrefix { IPPrefix(text) ?? .everything(.ipv4) }
private func address(_ text: String) -> IPAddress { IPAddress(text) ?? .any(.ipv4) }
private func v4(_ text: String) -> IPv4Address { IPv4Address(text) ?? .any }
private func interface(_ text: String) -> InterfacePattern {
  InterfacePattern(text) ?? InterfacePattern(.loopback)
}
private func selector(_ name: String) -> Selector { Selector(named: name) ?? .symhash(modulus: 1) }
private let dstnat = NftBaseChain(type: .nat, hook: .prerouting, priority: -100)
private let srcnat = NftBaseChain(type: .nat, hook: .postrouting, priority: 100)
private let bridgeInput = NftBaseChain(hook: .input, priority: -200)

let samples: [Sample] = [
  Sample(
    .ip, "oifname eth0 masquerade", [.match(.is(.outputInterface, interface("eth0"))), .masquerade()], srcnat),
  Sample(
    .ip, "oifname eth0 meta l4proto tcp masquerade to :1024-65535 random,persistent",
    [
      .match(.is(.outputInterface, interface("eth0"))), .match(.is(.transportProtocol, .tcp)),
      .masquerade(ports: PortRange(1024, 65535), flags: [.random, .persistent]),
    ], srcnat),
  Sample(
    .ip, "tcp dport 80 dnat to 10.0.0.2:8080",
    [
      .match(.is(.tcpDestination, 80)),
      .translate(Translation(.destination, to: .address(address("10.0.0.2"), ports: PortRange(8080)))),
    ], dstnat),
  Sample(
    .ip, "dnat ip to tcp dport map { 80 : 10.0.0.2 . 8080, 443 : 10.0.0.3 . 8443 }",
    [
      .translate(
        Translation(
          .destination,
          to: .map(
            [Field<Port>.tcpDestination.selector],
            [
              .init(key: port(80), address: address("10.0.0.2"), port: 8080),
              .init(key: port(443), address: address("10.0.0.3"), port: 8443),
            ])))
    ], dstnat),
  Sample(
    .ip, "ip saddr 10.0.0.0/8 meta l4proto tcp snat to 192.0.2.1-192.0.2.9:1000-2000 fully-random",
    [
      .match(.source(in: [prefix("10.0.0.0/8")])), .match(.is(.transportProtocol, .tcp)),
      .translate(
        Translation(
          .source, to: .address(address("192.0.2.1"), address("192.0.2.9"), ports: PortRange(1000, 2000)),
          flags: .fullyRandom)),
    ], srcnat),
  Sample(
    .ip, "tcp dport 80 redirect to :3128",
    [.match(.is(.tcpDestination, 80)), .redirect(ports: PortRange(3128))], dstnat),
  Sample(
    .inet, "ip protocol tcp dnat ip to 10.0.0.2",
    [
      .match(Match(selector("ip protocol"), .equal, [.value([6])])),
      .translate(Translation(.destination, to: .address(address("10.0.0.2")))),
    ], dstnat),
  Sample(
    .inet, "ip6 daddr 2001:db8::1 tcp dport 80 dnat ip6 to [2001:db8::2]:8080",
    [
      .match(.destination(in: [prefix("2001:db8::1")])), .match(.is(.tcpDestination, 80)),
      .translate(Translation(.destination, to: .address(address("2001:db8::2"), ports: PortRange(8080)))),
    ], dstnat),
  Sample(
    .ip, "dnat to numgen inc mod 2 map { 0 : 10.0.0.2, 1 : 10.0.0.3 }",
    [
      .translate(
        .balanced(.destination, over: [(address("10.0.0.2"), nil), (address("10.0.0.3"), nil)]))
    ], dstnat),
  Sample(
    .ip, "dnat to jhash ip saddr . tcp sport mod 2 seed 0xdeadbeef map { 0 : 10.0.0.2, 1 : 10.0.0.3 }",
    [
      .translate(
        .balanced(
          .destination, over: [(address("10.0.0.2"), nil), (address("10.0.0.3"), nil)],
          by: .jhash([selector("ip saddr"), selector("tcp sport")], modulus: 2, seed: 0xdead_beef)))
    ], dstnat),
  Sample(
    .ip, "ct state established,related accept",
    [.match(.is(.conntrackState, [.established, .related])), .verdict(.accept)]),
  Sample(
    .ip, "ct state ! established accept",
    [.match(.isNot(.conntrackState, .established)), .verdict(.accept)]),
  Sample(
    .ip, "ct state vmap { established : accept, related : accept, invalid : drop }",
    [
      .verdictMap(
        [selector("ct state")],
        .entries([
          .init(key: [.value(ConntrackState.established.nftData)], verdict: .accept),
          .init(key: [.value(ConntrackState.related.nftData)], verdict: .accept),
          .init(key: [.value(ConntrackState.invalid.nftData)], verdict: .drop),
        ]))
    ]),
  Sample(
    .ip, "iifname { eth0, eth1 } accept",
    [.match(.isOne(of: [interface("eth0"), interface("eth1")], .inputInterface)), .verdict(.accept)]),
  Sample(
    .ip, "iifname \"eth*\" accept", [.match(.is(.inputInterface, interface("eth*"))), .verdict(.accept)]),
  Sample(
    .ip, "iifname != \"eth*\" accept",
    [.match(.isNot(.inputInterface, interface("eth*"))), .verdict(.accept)]),
  Sample(
    .ip, "iifname { \"eth*\", \"lo\" } accept",
    [.match(.isOne(of: [interface("eth*"), interface("lo")], .inputInterface)), .verdict(.accept)]),
  Sample(
    .ip, "ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 80 } accept",
    [
      .match(
        Match(
          selectors: [selector("ip saddr"), selector("tcp dport")],
          operand: .elements([[ip("10.0.0.1"), port(22)[0]], [ip("10.0.0.2"), port(80)[0]]]))),
      .verdict(.accept),
    ]),
  Sample(
    .ip, "ip saddr . tcp dport { 10.0.0.0/24 . 22, 10.0.1.0-10.0.1.9 . 80-90 } accept",
    [
      .match(
        Match(
          selectors: [selector("ip saddr"), selector("tcp dport")],
          operand: .elements([
            [ip("10.0.0.0/24"), port(22)[0]],
            [.range([10, 0, 1, 0], [10, 0, 1, 9]), .range(Port(80).nftData, Port(90).nftData)],
          ]))), .verdict(.accept),
    ]),
  Sample(
    .ip, "meta iifname . ip saddr { lo . 127.0.0.1 } accept",
    [
      .match(
        Match(
          selectors: [selector("iifname"), selector("ip saddr")],
          operand: .elements([[.value(interface("lo").nftData), ip("127.0.0.1")]]))), .verdict(.accept),
    ]),
  Sample(
    .ip, "tcp dport vmap { 22 : accept, 80 : jump other, 443 : goto other }",
    [
      .verdictMap(
        [selector("tcp dport")],
        .entries([
          .init(key: port(22), verdict: .accept), .init(key: port(80), verdict: .jump("other")),
          .init(key: port(443), verdict: .goto("other")),
        ]))
    ]),
  Sample(
    .ip, "tcp dport { 22, 80, 1000-2000 } accept",
    [
      .match(
        Match(selector("tcp dport"), .equal, port(22, 80) + [.range(Port(1000).nftData, Port(2000).nftData)])),
      .verdict(.accept),
    ]),
  Sample(
    .ip, "tcp dport 1000-2000 accept", [.match(.isIn(.tcpDestination, 1000...2000)), .verdict(.accept)]),
  Sample(
    .ip, "ip saddr != 10.0.0.1-10.0.0.9 accept",
    [.match(Match.isIn(.ipSource, v4("10.0.0.1")...v4("10.0.0.9")).negated), .verdict(.accept)]),
  Sample(
    .ip, "limit rate 10/second burst 20 packets accept",
    [.limit(NftLimit(rate: 10, unitSeconds: 1, burst: 20)), .verdict(.accept)]),
  Sample(
    .ip, "limit rate over 1 mbytes/second drop",
    [.limit(NftLimit(rate: 1_048_576, unitSeconds: 1, countsBytes: true, isInverted: true)), .verdict(.drop)]),
  Sample(.ip, "tcp dport 22 reject with tcp reset", [.match(.is(.tcpDestination, 22)), .reject(.tcpReset)]),
  Sample(.ip, "reject", [.reject(.standard)]),
  Sample(.inet, "reject", [.reject(.standard)]),
  Sample(.inet, "reject with icmpx admin-prohibited", [.reject(.icmpx(3))]),
  Sample(.inet, "reject with icmp host-prohibited", [.reject(.icmp(10))]),
  Sample(.ip, "icmp type echo-request accept", [.match(.is(.icmpType, .echoRequest)), .verdict(.accept)]),
  Sample(
    .inet, "icmp type echo-request icmp code 0",
    [.match(.is(.icmpType, .echoRequest)), .match(Match(selector("icmp code"), .equal, [.value([0])]))]),
  Sample(
    .inet, "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
    [
      .match(.isOne(of: [.routerAdvertisement, .neighborSolicitation, .neighborAdvertisement], .icmpv6Type)),
      .verdict(.accept),
    ]),
  Sample(
    .ip, "log prefix \"drop: \" level warn flags all drop",
    [.log(NftLog(prefix: "drop: ", level: 4, flags: 0x2f)), .verdict(.drop)]),
  Sample(.ip, "counter accept", [.counter, .verdict(.accept)]),
  Sample(
    .ip, "quota over 25 mbytes drop",
    [.quota(NftQuota(bytes: 26_214_400, isInverted: true)), .verdict(.drop)]),
  Sample(
    .ip, "ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept",
    [.match(.source(in: [prefix("10.0.0.0/8"), prefix("192.168.0.0/16")])), .verdict(.accept)]),
  Sample(
    .ip, "ip saddr 10.0.0.0/8 accept", [.match(.source(in: [prefix("10.0.0.0/8")])), .verdict(.accept)]),
  Sample(
    .ip, "ip saddr 10.1.0.0/20 accept", [.match(.source(in: [prefix("10.1.0.0/20")])), .verdict(.accept)]),
  Sample(
    .ip, "ip daddr 0.0.0.0/0 accept", [.match(.destination(in: [prefix("0.0.0.0/0")])), .verdict(.accept)]),
  Sample(
    .ip6, "ip6 saddr 2001:db8::/32 accept",
    [.match(.source(in: [prefix("2001:db8::/32")])), .verdict(.accept)]),
  Sample(
    .ip6, "ip6 saddr 2001:db8::/33 accept",
    [.match(.source(in: [prefix("2001:db8::/33")])), .verdict(.accept)]),
  Sample(
    .ip, "ip saddr 10.0.0.1-10.0.0.9 accept",
    [.match(.isIn(.ipSource, v4("10.0.0.1")...v4("10.0.0.9"))), .verdict(.accept)]),
  Sample(.ip, "meta mark set 0x1", [.setMark(.value(1))], NftBaseChain(hook: .prerouting, priority: -150)),
  Sample(.ip, "meta mark set meta mark and 0xff or 0x100", [.setMark(.bits(mask: 0xff, flip: 0x100))]),
  Sample(.ip, "ct mark set meta mark", [.setConntrackMark(.other)]),
  Sample(.ip, "meta mark set ct mark", [.setMark(.other)]),
  Sample(.ip, "ct status dnat accept", [.match(.is(.conntrackStatus, .destinationNAT)), .verdict(.accept)]),
  Sample(
    .ip, "ct original ip daddr 10.0.0.1 accept",
    [.match(.is(.originalDestination, v4("10.0.0.1"))), .verdict(.accept)]),
  Sample(
    .ip, "ct direction original accept", [.match(.is(.conntrackDirection, .original)), .verdict(.accept)]),
  Sample(.ip, "notrack", [.notrack], NftBaseChain(hook: .prerouting, priority: -300)),
  Sample(
    .inet, "tcp dport 80 tproxy ip to 127.0.0.1:3129 meta mark set 1 accept",
    [
      .match(.is(.tcpDestination, 80)), .tproxy(address("127.0.0.1"), port: 3129), .setMark(.value(1)),
      .verdict(.accept),
    ], NftBaseChain(hook: .prerouting, priority: -150)),
  Sample(
    .ip, "socket transparent 1 accept",
    [.match(Match(selector("socket transparent"), .equal, [.value([1])])), .verdict(.accept)]),
  Sample(
    .ip, "fib daddr type local accept", [.match(.is(.destinationRouteType, .local)), .verdict(.accept)]),
  Sample(
    .ip, "fib saddr . iif oif 0 drop",
    [.match(Match(selector("fib saddr . iif oif"), .equal, [.value([0, 0, 0, 0])])), .verdict(.drop)]),
  Sample(
    .ip, "meta length 100-200 accept",
    [.match(.isIn(.length, PacketLength(rawValue: 100)...PacketLength(rawValue: 200))), .verdict(.accept)]),
  Sample(
    .ip, "meta mark { 1-5, 9 } accept",
    [
      .match(
        Match(
          selector("meta mark"), .equal,
          [
            .range(PacketMark(rawValue: 1).nftData, PacketMark(rawValue: 5).nftData),
            .value(PacketMark(rawValue: 9).nftData),
          ])), .verdict(.accept),
    ]),
  Sample(
    .ip, "numgen random mod 100 < 50 accept",
    [
      .match(Match(.numgen(random: true, modulus: 100), .less, [.value(NftData(host: 50, width: 4))])),
      .verdict(.accept),
    ]),
  Sample(.ip, "tcp flags syn accept", [.match(.is(.tcpFlags, .syn)), .verdict(.accept)]),
  Sample(
    .ip, "tcp flags & (syn|ack) == syn accept",
    [.match(.masked(.tcpFlags, [.syn, .ack], is: .syn)), .verdict(.accept)]),
  Sample(
    .ip, "tcp flags syn tcp option maxseg size set rt mtu",
    [.match(.is(.tcpFlags, .syn)), .clampMSS(nil)], NftBaseChain(hook: .forward)),
  Sample(
    .ip, "ip dscp 10 accept", [.match(Match(selector("ip dscp"), .equal, [.value([10])])), .verdict(.accept)]),
  Sample(
    .ip, "ip dscp { 1, 2 } accept",
    [.match(Match(selector("ip dscp"), .equal, [.value([1]), .value([2])])), .verdict(.accept)]),
  Sample(.ip, "ip ttl < 5 drop", [.match(Match(selector("ip ttl"), .less, [.value([5])])), .verdict(.drop)]),
  Sample(
    .ip, "ct count over 10 drop", [.connections(NftConnlimit(count: 10, isInverted: true)), .verdict(.drop)]),
  Sample(
    .ip, "ip saddr 10.0.0.1 ip daddr 10.0.0.2 tcp sport 1 tcp dport 2 accept",
    [
      .match(.is(.ipSource, v4("10.0.0.1"))), .match(.is(.ipDestination, v4("10.0.0.2"))),
      .match(.is(.tcpSource, 1)), .match(.is(.tcpDestination, 2)), .verdict(.accept),
    ]),
  Sample(
    .ip6, "exthdr frag exists drop",
    [.match(Match(selector("exthdr frag"), .equal, [.value([1])])), .verdict(.drop)]),
  Sample(
    .inet, "ether saddr 00:11:22:33:44:55 accept",
    [.match(.is(.etherSource, MACAddress(rawValue: 0x0011_2233_4455))), .verdict(.accept)]),
  Sample(
    .bridge, "ether saddr 00:11:22:33:44:55 accept",
    [.match(.is(.etherSource, MACAddress(rawValue: 0x0011_2233_4455))), .verdict(.accept)], bridgeInput),
  Sample(
    .bridge, "vlan id 100 ip saddr 10.0.0.1 accept",
    [
      .match(Match(selector("vlan id"), .equal, [.value([0, 100])])), .match(.is(.ipSource, v4("10.0.0.1"))),
      .verdict(.accept),
    ], bridgeInput),
  Sample(
    .bridge, "ip saddr 10.0.0.1 accept", [.match(.is(.ipSource, v4("10.0.0.1"))), .verdict(.accept)],
    bridgeInput),
  Sample(
    .netdev, "ip saddr 10.0.0.1 drop", [.match(.is(.ipSource, v4("10.0.0.1"))), .verdict(.drop)],
    NftBaseChain(hook: .ingress, devices: ["lo"])),
  Sample(
    .arp, "arp saddr ip 10.0.0.1 drop", [.match(.is(.arpSource, v4("10.0.0.1"))), .verdict(.drop)],
    NftBaseChain(hook: .input)),
  Sample(
    .arp, "arp operation request drop",
    [.match(Match(selector("arp operation"), .equal, [.value([0, 1])])), .verdict(.drop)],
    NftBaseChain(hook: .input)),
  Sample(
    .inet, "meta l4proto { tcp, udp } th dport 53 accept",
    [
      .match(.isOne(of: [.tcp, .udp], .transportProtocol)), .match(.is(.transportDestination, 53)),
      .verdict(.accept),
    ]),
  Sample(
    .inet, "ip protocol tcp tcp dport 80 accept",
    [
      .match(Match(selector("ip protocol"), .equal, [.value([6])])), .match(.is(.tcpDestination, 80)),
      .verdict(.accept),
    ]),
  Sample(
    .inet, "tcp dport { 80, 443 } ip saddr 10.0.0.0/8 accept",
    [
      .match(.isOne(of: [80, 443], .tcpDestination)), .match(.source(in: [prefix("10.0.0.0/8")])),
      .verdict(.accept),
    ]),
  Sample(
    .inet, "ip saddr . meta mark { 10.0.0.0/8 . 5 } accept",
    [
      .match(
        Match(
          selectors: [selector("ip saddr"), selector("meta mark")],
          operand: .elements([[ip("10.0.0.0/8"), .value(PacketMark(rawValue: 5).nftData)]]))),
      .verdict(.accept),
    ]),
  Sample(
    .inet, "ip saddr . meta mark { 10.0.0.1 . 5-10 } accept",
    [
      .match(
        Match(
          selectors: [selector("ip saddr"), selector("meta mark")],
          operand: .elements([
            [ip("10.0.0.1"), .range(PacketMark(rawValue: 5).nftData, PacketMark(rawValue: 10).nftData)]
          ]))), .verdict(.accept),
    ]),
  Sample(
    .inet, "meta skuid 1000 accept",
    [.match(.is(.socketUser, UserIdentifier(rawValue: 1000))), .verdict(.accept)], NftBaseChain(hook: .output)
  ),
  Sample(.inet, "meta pkttype broadcast drop", [.match(.is(.packetType, .broadcast)), .verdict(.drop)]),
]

@Suite("Bytecode")
struct BytecodeTests {
  @Test(
    "is what nft emits for the same rule", .enabled(if: nftIsUsable, "nft -c is not usable here"),
    arguments: samples)
  func matchesNft(_ sample: Sample) throws {
    let table = try Compiler.compile(sample.table)
    let rule = try #require(table.chain("c")?.rules.first)
    let theirs = nftListing(sample)
    #expect(Self.listing(of: rule) == theirs)
  }

  /// A rule's elements and expressions.
  static func listing(of rule: NftRule) -> [String] {
    var ours: [String] = []
    for expression in rule.expressions {
      if case .lookup(let lookup) = expression, case .anonymous(let set) = lookup.set {
        ours.append(contentsOf: listing(set))
      }
    }
    return ours + rule.expressions.map(line)
  }

  /// An expression as nft's debug output writes it.
  private static func line(_ expression: NftExpression) -> String {
    guard case .lookup(let lookup) = expression, case .anonymous(let set) = lookup.set else {
      return "\(expression)"
    }
    let name = set.isMap ? "__map%d" : "__set%d"
    return "lookup reg \(lookup.source) set \(name)" + (lookup.destination.map { " dreg \($0)" } ?? "")
      + (lookup.isInverted ? " 0x1" : "")
  }

  private static func listing(_ set: NftSet) -> [String] {
    let boundaries = set.kernelElements
    return boundaries.map { element in
      var text = "element \(words(element.key))"
      if let end = element.end { text += " - \(words(end))" }
      switch element.value {
      case .verdict(let verdict): text += " : \(verdict.mnemonic)"
      case .data(let data): text += " : \(words(data))"
      default: break
      }
      return text + (element.isEnd ? " END" : "")
    }.sorted()
  }

  private func nftListing(_ sample: Sample) -> [String] {
    let base = sample.base
    let device = base.devices.first.map { "device \($0) " } ?? ""
    let (output, _) = shell(
      """
      nft -c --debug=netlink 'add table \(sample.family.rawValue) t
      add chain \(sample.family.rawValue) t other
      add chain \(sample.family.rawValue) t c { type \(base.type.rawValue) hook \(base.hook.rawValue) \(device)priority \(base.priority); }
      add rule \(sample.family.rawValue) t c \(sample.nft)'
      """)
    var elements: [String] = []
    var expressions: [String] = []
    for row in output.split(separator: "\n") {
      let trimmed = row.trimmed
      if trimmed.hasPrefix("element ") {
        elements += trimmed.components(separatedBy: "[end]").compactMap(Self.element)
      } else if trimmed.hasPrefix("[ ") {
        expressions.append(Self.normal(String(trimmed.dropFirst(2).dropLast(2))))
      } else if trimmed.contains("Error:") {
        expressions.append(String(trimmed))
      }
    }
    return elements.sorted() + expressions
  }

  static func element(_ text: String) -> String? {
    let parts = text.trimmed.split(separator: ":", maxSplits: 1)
    guard parts.count == 2, parts[0].hasPrefix("element ") else { return nil }
    func word(_ text: Substring) -> String {
      text.split(separator: " ").map { $0 == "-" ? "-" : "0x" + $0 }.joined(separator: " ")
    }
    var result = "element " + word(parts[0].dropFirst("element ".count))
    var rest = parts[1].split(separator: " ")
    let flags = rest.popLast() ?? "0"
    if let first = rest.first {
      let isVerdict = ["accept", "drop", "continue", "return", "jump", "goto"].contains(first)
      result +=
        " : " + (isVerdict ? rest.joined(separator: " ") : rest.map { "0x" + $0 }.joined(separator: " "))
    }
    return result + (flags == "1" ? " END" : "")
  }

  /// libnftnl's spelling where ours differs for a reason.
  static func normal(_ line: String) -> String {
    var words = line.split(separator: " ").map(String.init)
    if words.first == "log", let index = words.firstIndex(of: "tcpseq") {
      words.replaceSubrange(index..., with: ["flags", "0x2f"])
      return words.joined(separator: " ").replacing("drop: level", with: "drop:  level")
    }
    if words.starts(with: ["ct", "load", "l3protocol"]) { words[2] = "l3proto" }
    return words.joined(separator: " ")
  }
}

extension Substring {
  var trimmed: String { String(self).trimmed }
}

extension String {
  var trimmed: String {
    var text = Substring(self)
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return String(text.drop { $0.isWhitespace })
  }

  func components(separatedBy separator: String) -> [String] {
    split(separator: separator, omittingEmptySubsequences: true).map(String.init)
  }
}
