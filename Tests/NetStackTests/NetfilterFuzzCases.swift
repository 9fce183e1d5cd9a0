// SPDX-License-Identifier: GPL-2.0-or-later

// Rulesets and packets by chance: what the rules of a case match and do, and the probes that have a good chance to be
// matched. A case follows from its number alone.

@testable import NetStack

extension NetfilterFuzzTests {
  /// A base or plain chain as nft reads it.
  struct Chain {
    var name: String
    /// Empty for a plain chain.
    var head: String
    var rules: [String]

    var text: String {
      "chain \(name) {\n" + (head.isEmpty ? "" : " \(head)\n") + rules.map { " \($0);\n" }.joined() + "}"
    }
  }

  /// One case.
  struct Case {
    var chains: [Chain]
    var probes: [Oracle.Probe]
    /// ip, or in the rounds of both families ip6 or inet.
    var family = "ip"
    var setup: OracleSetup { family == "ip" ? .ipv4 : .dual }

    static let sets = """
      set ports { type inet_service; flags interval; elements = { 53, 80-90, 2000-2001 }; }
      set hosts { type ipv4_addr; elements = { 10.0.0.9, 10.0.1.8 }; }
      set pairs { type ipv4_addr . inet_service; elements = { 10.0.1.9 . 53, 10.0.1.9 . 80, 10.0.0.1 . 99 }; }
      set dyn { type ipv4_addr; flags dynamic; }
      map marks { type inet_service : mark; elements = { 53 : 1, 80 : 2, 22 : 3 }; }
      counter c { packets 0 bytes 0; }
      """

    /// The same of IPv6.
    static let sets6 = """
      set ports { type inet_service; flags interval; elements = { 53, 80-90, 2000-2001 }; }
      set hosts6 { type ipv6_addr; elements = { 2001:db8::9, 2001:db8:1::8 }; }
      set nets6 { type ipv6_addr; flags interval; elements = { 2001:db8::/126, 2001:db8:1::8-2001:db8:1::a }; }
      set pairs6 { type ipv6_addr . inet_service; elements = { 2001:db8:1::9 . 53, 2001:db8:1::9 . 80 }; }
      set dyn6 { type ipv6_addr; flags dynamic; }
      map marks { type inet_service : mark; elements = { 53 : 1, 80 : 2, 22 : 3 }; }
      counter c { packets 0 bytes 0; }
      """

    var text: String {
      "table \(family) t {\n\(family == "ip" ? Self.sets : Self.sets6)\n"
        + chains.map(\.text).joined(separator: "\n") + "\n}"
    }
  }

  // MARK: By number

  static func makeCase(_ number: UInt64) -> Case {
    var maker = Maker(random: RandomState(seed: number &* 0x9e37_79b9 &+ 1))
    let chains = maker.chains()
    let probes = (0..<4 + maker.random.below(10)).map { _ in maker.probe() }
    return traced(Case(chains: chains, probes: probes), number)
  }

  /// A case of IPv6 or of both families; they have numbers of their own.
  static func makeDualCase(_ number: UInt64) -> Case {
    let family = number % 2 == 0 ? "inet" : "ip6"
    var maker = Maker(random: RandomState(seed: number &* 0x9e37_79b9 &+ 7), family: family)
    let chains = maker.chains()
    let probes = (0..<4 + maker.random.below(10)).map { _ in maker.probe6(chains) }
    return traced(Case(chains: chains, probes: probes, family: family), number)
  }

  /// Of three cases one is traced from its first hooks on, and one from a rule that packets may come to.
  private static func traced(_ one: Case, _ number: UInt64) -> Case {
    var random = RandomState(seed: number &* 0x9e37_79b9 &+ 11)
    var one = one
    switch random.below(3) {
    case 0:
      for hook in ["prerouting", "output"] {
        one.chains.append(
          Chain(
            name: "trace_\(hook)", head: "type filter hook \(hook) priority -350; policy accept;",
            rules: ["meta nftrace set 1"]))
      }
    case 1:
      let chain = Int(random.below(UInt64(one.chains.count)))
      let place = Int(random.below(UInt64(one.chains[chain].rules.count + 1)))
      one.chains[chain].rules.insert("meta nftrace set 1", at: place)
    default: break
    }
    return one
  }

  private struct Maker {
    var random: RandomState
    var family = "ip"

    mutating func one<Value>(of values: [Value]) -> Value {
      values[Int(random.below(UInt64(values.count)))]
    }

    mutating func chance(_ of: UInt64) -> Bool { random.below(of) == 0 }

    /// A match; `tracks`: connections are known where it stands.
    mutating func match(_ hook: String, tracks: Bool) -> String {
      var plain = [
        "ip saddr 10.0.0.9", "ip daddr 10.0.1.0/24", "ip saddr != 10.0.0.0/28", "ip daddr 10.0.1.8-10.0.1.9",
        "ip protocol udp", "ip protocol { icmp, tcp }", "ip ttl < 33", "ip ttl 32-33", "ip length > 32",
        "ip id 4660", "ip dscp cs0", "ip dscp != cs1", "ip frag-off & 0x1fff != 0", "ip version 4",
        "ip hdrlength 5",
        "udp dport 53", "udp dport { 53, 80, 1000-2000 }", "udp sport 1000-1001", "udp length > 12",
        "tcp dport != 22", "tcp flags syn", "tcp flags & (syn|ack) == syn", "tcp flags ! syn",
        "tcp sequence 1-100", "tcp window 8192", "tcp option maxseg size > 1000", "tcp option maxseg exists",
        "th dport 53", "meta l4proto { tcp, udp } th dport @ports", "icmp type echo-request", "icmp id 42",
        "meta l4proto udp", "meta l4proto != tcp", "meta length 30-48", "meta length != 40",
        "meta mark 1", "meta mark & 3 == 1", "meta mark != 0", "meta pkttype host", "meta protocol ip",
        "@nh,64,8 33", "@th,16,16 53", "@nh,96,32 0x0a000009", "udp dport @ports", "ip saddr @hosts",
        "ip saddr != @hosts", "ip daddr . udp dport @pairs",
        "ip daddr . tcp dport { 10.0.1.9 . 80, 10.0.1.9 . 22 }",
        "numgen inc mod 3 0", "numgen inc mod 2 offset 5 6", "jhash ip saddr . ip daddr mod 7 seed 0x5 < 4",
        "fib saddr type unicast", "fib daddr type local", "fib daddr type { local, broadcast }",
        "limit rate 2/hour burst 2 packets", "limit rate over 2/hour burst 3 packets", "quota over 100 bytes",
        "quota until 200 bytes", "ip daddr 10.0.1.9 ip protocol tcp",
        "udp sport . udp dport { 1000 . 53, 1001 . 80 }",
      ]
      let connections = [
        "ct state new", "ct state established", "ct state new,related", "ct state invalid", "ct state != new",
        "ct direction original", "ct status seen-reply", "ct status ! seen-reply", "ct mark 0", "ct mark 3",
        "ct original ip saddr 10.0.0.9", "ct reply ip saddr 10.0.1.0/24", "ct protocol udp",
        "ct l3proto ipv4",
        "meta l4proto udp ct original proto-dst 53", "ct count over 3", "ct count 4", "ct zone 0",
      ]
      if family != "ip" { plain = Self.common + Self.plain6 + (family == "inet" ? Self.plainBoth : []) }
      var devices: [String] = []
      if hook != "output" { devices += ["iifname \"t0\"", "iifname != \"t1\"", "iifname \"t*\""] }
      if hook != "input", hook != "prerouting" { devices += ["oifname \"t1\"", "oifname != \"t0\""] }
      switch random.below(tracks ? 6 : 5) {
      case 5:
        return one(
          of: family == "ip"
            ? connections
            : connections.filter { !$0.contains("10.0") && !$0.contains("l3proto") } + Self.connections6)
      case 4: return one(of: devices)
      default: return one(of: plain)
      }
    }

    /// What a rule does; `plain` chains there are to go to.
    mutating func statement(_ hook: String, type: String, tracks: Bool, _ plain: [String]) -> String {
      if type == "nat", family != "ip", !chance(3) { return one(of: translations6(hook)) }
      if type == "nat", !chance(3) {
        if hook == "postrouting" {
          return one(of: ["masquerade", "snat to 10.0.1.77", "snat to 10.0.1.1", "snat to 10.0.1.77:4000"])
        }
        return one(of: ["dnat to 10.0.1.8", "dnat to 10.0.1.9:53", "redirect to :99", "dnat to 10.0.1.8:80"])
      }
      var choices = [
        "counter", "counter drop", "counter accept", "counter return", "counter meta mark set 1",
        "counter meta mark set meta mark | 2", "counter meta mark set udp dport map @marks",
        "counter ip dscp set cs1", "counter ip ttl set 7", "counter name c", "counter continue",
        "add @dyn { ip saddr } counter", "update @dyn { ip daddr } counter",
        "counter tcp option maxseg size set 600",
        "counter udp dport set 5353", "counter ip daddr set 10.0.1.8", "counter tcp dport set 8080",
        "udp dport vmap { 53 : drop, 80 : accept }", "log prefix \"seen\" counter", "counter ip id set 7",
      ]
      if family != "ip" {
        choices = choices.filter {
          !$0.contains(" ip ") && !$0.contains("ip saddr") && !$0.contains("ip daddr")
        }
        choices += Self.statements6
      }
      if !plain.isEmpty {
        choices += plain.flatMap {
          [
            "counter jump \($0)", "counter goto \($0)",
            "\(family == "ip" ? "ip protocol" : "meta l4proto") vmap { udp : jump \($0), tcp : drop }",
          ]
        }
      }
      if hook == "forward" || hook == "input" {
        choices += [
          "counter reject", "counter reject with tcp reset",
          family == "ip"
            ? "counter reject with icmp type host-prohibited"
            : family == "ip6"
              ? "counter reject with icmpv6 type admin-prohibited" : "counter reject with icmpx no-route",
        ]
      }
      if tracks {
        choices += [
          "counter ct mark set 3", "counter ct mark set meta mark", "counter meta mark set ct mark",
        ]
      }
      return one(of: choices)
    }

    mutating func rules(_ hook: String, type: String, tracks: Bool, _ plain: [String]) -> [String] {
      (0..<1 + random.below(5)).map { _ in
        var parts = (0..<random.below(3)).map { _ in match(hook, tracks: tracks) }
        let statement = statement(hook, type: type, tracks: tracks, plain)
        // A statement of one protocol wants to know that it is one.
        let transport = family == "ip" ? "ip protocol" : "meta l4proto"
        if statement.contains("tcp ") { parts.insert("\(transport) tcp", at: 0) }
        if statement.contains("udp dport set") || statement.contains("]:") {
          parts.insert("\(transport) udp", at: 0)
        }
        return (parts + [statement]).joined(separator: " ")
      }
    }

    mutating func chains() -> [Chain] {
      var chains = (0..<random.below(3)).map { number in
        // Plain chains do not jump, so that none goes in a circle; and fit every hook.
        Chain(
          name: "p\(number)", head: "",
          rules: rules("any", type: "filter", tracks: false, []).map {
            $0.replacing("iifname", with: "meta iifname").replacing("oifname", with: "meta oifname")
          })
      }
      let plain = chains.map(\.name)
      let heads: [(hook: String, type: String, priority: Int)] = [
        ("prerouting", "filter", -300), ("prerouting", "filter", -150), ("prerouting", "nat", -100),
        ("input", "filter", 0), ("forward", "filter", 0), ("forward", "filter", 5), ("output", "filter", 0),
        ("postrouting", "filter", 0), ("postrouting", "nat", 100),
      ]
      for number in 0...random.below(3) {
        let head = one(of: heads)
        let policy = chance(4) && head.type == "filter" && head.hook != "output" ? "drop" : "accept"
        chains.append(
          Chain(
            name: "c\(number)",
            head: "type \(head.type) hook \(head.hook) priority \(head.priority); policy \(policy);",
            rules: rules(
              head.hook, type: head.type, tracks: head.priority > -200, head.type == "nat" ? [] : plain)))
      }
      return chains
    }

    private static let common = [
      "udp dport 53", "udp dport { 53, 80, 1000-2000 }", "udp sport 1000-1001", "udp length > 12",
      "tcp dport != 22", "tcp flags syn", "tcp flags & (syn|ack) == syn", "tcp sequence 1-100",
      "tcp option maxseg exists", "th dport 53", "meta l4proto { tcp, udp } th dport @ports",
      "meta l4proto udp",
      "meta l4proto != tcp", "meta length 50-68", "meta mark 1", "meta mark & 3 == 1", "meta pkttype host",
      "@th,16,16 53", "udp dport @ports", "numgen inc mod 3 0", "limit rate 2/hour burst 2 packets",
      "quota over 100 bytes", "udp sport . udp dport { 1000 . 53, 1001 . 80 }",
    ]
    private static let plain6 = [
      "ip6 saddr 2001:db8::9", "ip6 daddr 2001:db8:1::/64", "ip6 saddr != 2001:db8::/124",
      "ip6 daddr 2001:db8:1::8-2001:db8:1::9", "ip6 nexthdr udp", "ip6 nexthdr { icmpv6, tcp }",
      "ip6 hoplimit < 33", "ip6 hoplimit 32-33", "ip6 length > 12", "ip6 version 6", "ip6 dscp cs0",
      "ip6 saddr @hosts6", "ip6 daddr @nets6", "ip6 saddr != @nets6", "ip6 daddr . udp dport @pairs6",
      "icmpv6 type echo-request", "icmpv6 id 42", "@nh,48,8 17", "exthdr hbh missing",
      "jhash ip6 saddr . ip6 daddr mod 7 seed 0x5 < 4", "ip6 daddr . tcp dport { 2001:db8:1::9 . 80 }",
      "fib daddr type local", "fib saddr type unicast",
    ]
    private static let plainBoth = [
      "meta nfproto ipv6", "meta nfproto ipv4", "ip saddr 10.0.0.9", "ip daddr 10.0.1.0/24",
      "meta protocol ip6",
      "ip ttl < 33", "icmp type echo-request",
    ]
    private static let connections6 = [
      "ct original ip6 saddr 2001:db8::9", "ct reply ip6 saddr 2001:db8:1::/64", "ct l3proto ipv6",
    ]
    private static let statements6 = [
      "counter ip6 hoplimit set 7", "counter ip6 daddr set 2001:db8:1::8", "counter ip6 dscp set cs1",
      "add @dyn6 { ip6 saddr } counter", "update @dyn6 { ip6 daddr } counter",
    ]

    private func translations6(_ hook: String) -> [String] {
      let word = family == "inet" ? "ip6 " : ""
      return hook == "postrouting"
        ? [
          "masquerade", "snat \(word)to 2001:db8:1::77", "snat \(word)to 2001:db8:1::1",
          "snat \(word)to [2001:db8:1::77]:4000",
        ]
        : [
          "dnat \(word)to 2001:db8:1::8", "dnat \(word)to [2001:db8:1::9]:53", "redirect",
          "dnat \(word)to [2001:db8:1::8]:80",
        ]
    }

    /// A probe of IPv6, or with the family inet now and then of IPv4. Who nobody speaks as is not answered: he would be
    /// told of a better way, which IPv6 cannot be told not to do, and how often is a matter of time.
    mutating func probe6(_ chains: [Chain]) -> Oracle.Probe {
      guard family == "ip6" || !chance(3) else { return probe() }
      let isBack = chance(3)
      let target =
        isBack
        ? one(
          of: ["2001:db8::9", "2001:db8:1::1"]
            + (chains.contains { $0.text.contains("::77") } ? ["2001:db8:1::77"] : []))
        : one(of: ["2001:db8:1::9", "2001:db8:1::8", "2001:db8::1", "2001:db8:1::9"])
      let source = isBack ? one(of: ["2001:db8:1::9", "2001:db8:1::8"]) : "2001:db8::9"
      return packet(source, target, isBack: isBack, isIPv6: true)
    }

    mutating func probe() -> Oracle.Probe {
      let isBack = chance(3)
      let targets =
        isBack ? ["10.0.0.9", "10.0.1.1", "10.0.1.77"] : ["10.0.1.9", "10.0.1.8", "10.0.0.1", "10.0.1.9"]
      let source = isBack ? one(of: ["10.0.1.9", "10.0.1.8"]) : "10.0.0.9"
      return packet(source, one(of: targets), isBack: isBack, isIPv6: false)
    }

    private mutating func packet(
      _ source: String, _ target: String, isBack: Bool, isIPv6: Bool
    ) -> Oracle.Probe {
      typealias Frames6 = Netfilter6OracleTests
      let ports: [UInt16] = [53, 80, 22, 99, 1000, 2000, 5353]
      let face = isBack ? 1 : 0
      // Who answers, answers to what was asked from.
      let asked: UInt16 = one(of: [1000, 1001, 2000])
      let (from, to) = isBack ? (one(of: ports), asked) : (asked, one(of: ports))
      switch random.below(5) {
      case 0:
        return isIPv6
          ? Frames6.ping(source, target, face: face, type: isBack ? 129 : 128)
          : Oracle.ping(source, target, face: face, type: isBack ? 0 : 8)
      case 1, 2:
        let data = Int(random.below(60))
        let hops: UInt8 = chance(6) ? 1 : 33
        return isIPv6
          ? Frames6.udp(source, from, target, to, face: face, data: data, hopLimit: hops)
          : Oracle.udp(source, from, target, to, face: face, data: data, ttl: hops)
      default:
        let flags: UInt8 = one(of: isBack ? [0x12, 0x10, 0x14, 0x11] : [2, 2, 0x10, 0x18, 0x11, 4])
        let options: [UInt8] = flags & 2 != 0 ? [2, 4, 5, 180] : []
        let (seq, ack) = (UInt32(random.below(200)), UInt32(random.below(200)))
        let data = flags & 2 == 0 ? Int(random.below(20)) : 0
        return isIPv6
          ? Frames6.tcp(
            source, from, target, to, flags, seq: seq, ack: ack, face: face, data: data, options: options)
          : Oracle.tcp(
            source, from, target, to, flags, seq: seq, ack: ack, face: face, data: data, options: options)
      }
    }
  }
}
