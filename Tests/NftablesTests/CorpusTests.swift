// SPDX-License-Identifier: GPL-2.0-or-later

// A corpus of rules over all families: each selector in each form that its values can have, in each family that has it.
// Each is compiled, written as text, given to nft, and nft's bytecode is laid beside ours; so the compiler and the text
// are held to nft at once. Where ours differs, `differences` says how and why, and nothing may stand there in vain.

import Foundation
import NetTypes
import Testing

@testable import Nftables

@Suite("Corpus", .enabled(if: nftIsUsable, "nft -c is not usable here"))
struct CorpusTests {
  /// A rule of a family.
  struct Entry {
    var family: NftFamily
    var base: NftBaseChain
    var rule: NftRule
    var text: String

    /// What can be loaded with one script.
    var group: String { "\(family.rawValue) \(base.type.rawValue) \(base.hook.rawValue)" }
  }

  /// Why a rule's bytecode is not nft's, by the beginning of its text behind the family.
  static let differences: [(prefix: String, reason: String)] = [
    ("ip hdrlength {", "nft ends no interval at what the field's four bits cannot say"),
    ("tcp reserved {", "the same"), ("frag reserved2 {", "the same of two bits"),
    ("icmp id", "nft looks at echoes only, ours at whatever message has an identifier there"),
    ("icmp sequence", "the same"), ("icmp gateway", "the same of redirects"),
    ("icmpv6 id", "the same"), ("icmpv6 sequence", "the same"), ("icmpv6 mtu", "the same"),
    ("srh sid[1] 2001:db8::/32", "nft loads no more bytes than it compares"),
    ("srh sid[2] 2001:db8::/32", "the same"),
    (
      "bridge ip option",
      "nft asks the frame's type for what is inside, ours what is inside, behind a tag too"
    ),
    ("ip meta protocol ip", "nft leaves out what is always so in the family"),
    ("bridge icmp", "of a frame with a tag nft looks at the tag for what is inside, ours behind it"),
    ("bridge igmp", "the same"), ("bridge exthdr", "the same"), ("bridge frag", "the same"),
    ("bridge hbh", "the same"), ("bridge dst", "the same"), ("bridge srh", "the same"),
    ("bridge mh", "the same"),
  ]

  /// In the words of libnftnl 1.2.4, which has none for these.
  private static func spoken(_ line: String) -> String {
    line.replacingOccurrences(of: "exthdr load sctp ", with: "exthdr load ")
      .replacingOccurrences(of: "ct load id ", with: "ct load unknown ")
  }

  // MARK: Making rules

  /// Values of a type, each within what the selector's bits can say.
  private static func values(of selector: Selector) -> [NftData] {
    let type = selector.type
    var bits = UInt32(type.size * 8)
    if let field = selector.bits { bits = min(bits, field.width) }
    func number(_ value: UInt64) -> NftData {
      type.isHostOrder ? NftData(host: value, width: type.size) : NftData(bigEndian: value, width: type.size)
    }
    switch type {
    case .ipv4Address: return ["10.0.0.1", "10.0.0.9", "192.168.7.3"].map { NftData(bytes($0)) }
    case .ipv6Address: return ["2001:db8::1", "2001:db8::9", "fd00::1"].map { NftData(bytes($0)) }
    case .etherAddress:
      return [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 1, 0]].map { NftData($0) }
    case .interfaceName:
      return ["eth0", "eth1", "wan"].map {
        NftData(Array($0.utf8) + [UInt8](repeating: 0, count: 16 - $0.utf8.count))
      }
    case .string:
      return ["ftp", "sip", "tftp"].compactMap { type.data($0) }
    case .connectionLabel: return [1, 63, 127].compactMap { type.data($0) }
    case .interfaceIndex: return [number(1)]
    case .nfproto: return [[2], [10]]
    case .etherType: return [[8, 0], [0x86, 0xdd], [8, 6]]
    case .arpOperation: return [[0, 1], [0, 2]]
    case .ipProtocol: return [[6], [17], [132]]
    case .icmpType: return [[8], [0], [3]]
    case .icmpv6Type: return [[128], [129], [1]]
    case .ctState: return [number(2), number(4), number(8)]
    case .ctStatus: return [number(4), number(2), number(0x20)]
    case .tcpFlags: return [[2], [0x10], [1]]
    case .ctDirection, .boolean: return [[0], [1]]
    case .packetType: return [[0], [1], [2]]
    case .routeType: return [number(2), number(1), number(3)]
    case .deviceType: return [number(1)]
    case .weekday: return [number(1), number(3), number(6)]
    case .date: return [0, 86_400, 1_800_000_000].map { number($0 * 1_000_000_000) }
    case .dccpType: return [[0], [2], [9]]
    case .mobilityType: return [[0], [5], [12]]
    case .igmpType: return [[0x11], [0x16], [0x22]]
    default:
      if bits == 1 { return [number(0), number(1)] }
      let most: UInt64 = bits >= 16 ? 1000 : bits >= 8 ? 40 : (1 << bits) - 1
      return [number(1), number(max(most / 2, 2)), number(most)]
    }
  }

  private static func bytes(_ text: String) -> [UInt8] { IPAddress(text)?.bytes ?? [] }

  /// What a selector is compared with: one value, another, one of several, a range, a prefix, order, a mask.
  private static func matches(_ selector: Selector) -> [Match] {
    let values = values(of: selector)
    var result = values.prefix(1).map { Match(selector, .equal, [.value($0)]) }
    result += values.prefix(1).map { Match(selector, .notEqual, [.value($0)]) }
    if values.count > 1 {
      result.append(Match(selector, .equal, values.map { .value($0) }))
      result.append(Match(selector, .notEqual, values.map { .value($0) }))
    }
    let isOrdered: Bool =
      switch selector.type {
      case .ipv4Address, .ipv6Address, .port, .mark, .userID, .groupID: true
      default: selector.type.rawValue == 4
      }
    if isOrdered, values.count > 2 {
      let low = values[0] < values[1] ? values[0] : values[1]
      let high = values[0] < values[1] ? values[1] : values[0]
      result.append(Match(selector, .equal, [.range(low, high)]))
      result.append(Match(selector, .notEqual, [.range(low, high)]))
      result.append(Match(selector, .equal, [.range(low, high), .value(values[2])]))
      for relation in [NftComparisonOperator.less, .greater, .lessOrEqual, .greaterOrEqual] {
        result.append(Match(selector, relation, [.value(high)]))
      }
    }
    for length in selector.type == .ipv4Address
      ? [8, 20, 24] : selector.type == .ipv6Address ? [32, 61] : []
    {
      let address = IPAddress(bytes: values[0].bytes).flatMap { IPPrefix($0, length: length)?.network }
      if let address { result.append(Match(selector, .equal, [FieldValue(address)])) }
    }
    return result
  }

  /// The families that a selector means something in.
  private static func families(_ selector: Selector) -> [NftFamily] {
    if selector.name.hasPrefix("ct ") || selector.name.hasPrefix("fib ") || selector.name.hasPrefix("rt ")
      || selector.name.hasPrefix("socket ")
    {
      return [selector.name.contains("ip6") ? .ip6 : .ip, .inet]
    }
    switch selector.requirement {
    case .network(.ipv4): return [.ip, .inet, .bridge, .netdev]
    case .network(.ipv6): return [.ip6, .inet, .bridge, .netdev]
    case .network(.arp): return [.arp]
    case .network: return []
    case .transport: return [.ip, .ip6, .inet, .bridge]
    case .familyTransport(_, let network): return [network == .ipv4 ? .ip : .ip6, .inet, .bridge]
    case .ethernet: return [.ip, .bridge, .netdev]
    case .vlan: return [.bridge, .netdev]
    case .nothing: return selector.name.contains("nfproto") ? [.inet] : [.ip, .inet, .netdev]
    }
  }

  private static func base(of family: NftFamily) -> NftBaseChain {
    switch family {
    case .netdev: NftBaseChain(hook: .ingress, devices: ["lo"])
    case .arp: NftBaseChain(hook: .input)
    default: NftBaseChain(hook: .forward)
    }
  }

  private static func entry(
    _ family: NftFamily, _ base: NftBaseChain, _ statements: [Statement]
  ) throws -> Entry? {
    let table = Ruleset.Table(
      family: family, name: "t",
      chains: [
        Ruleset.Chain(name: "c", base: base, rules: [Rule(statements)]), Ruleset.Chain(name: "other"),
      ])
    guard let rule = try Compiler.compile(table).chain("c")?.rules.first else { return nil }
    return Entry(family: family, base: base, rule: rule, text: NftText.text(rule, family: family))
  }

  static func entries() throws -> [Entry] {
    var entries: [Entry] = []
    for selector in Selector.all {
      for family in families(selector) {
        for match in matches(selector) {
          // nft wants to know whose ports they are.
          let guards =
            selector.name.contains("proto-") ? [Statement.match(.is(.transportProtocol, .tcp))] : []
          if let entry = try? entry(family, base(of: family), guards + [.match(match), .counter]) {
            entries.append(entry)
          }
        }
      }
    }
    return try entries + statements() + translations()
  }

  /// What rules do, but for NAT.
  private static func statements() throws -> [Entry] {
    let verdicts: [NftVerdict] = [.accept, .drop, .continue, .return, .jump("other"), .goto("other")]
    var common: [[Statement]] = verdicts.map { [.counter, .verdict($0)] }
    for unit in [1, 60, 3600, 86400, 604_800] as [UInt64] {
      for isOver in [false, true] {
        common.append([.limit(NftLimit(rate: 7, unitSeconds: unit, burst: 5, isInverted: isOver))])
        common.append([.limit(NftLimit(rate: 9, unitSeconds: unit, burst: 20, isInverted: isOver))])
        common.append([
          .limit(NftLimit(rate: 10240, unitSeconds: unit, countsBytes: true, isInverted: isOver))
        ])
      }
    }
    for bytes in [1000, 10240, 5 << 20] as [UInt64] {
      for isOver in [false, true] { common.append([.quota(NftQuota(bytes: bytes, isInverted: isOver))]) }
    }
    common += [
      [.trace], [.setMark(.value(7))], [.setMark(.bits(mask: 0xff, flip: 0x100))],
      [
        .verdictMap(
          [selector("meta mark")],
          .entries([
            .init(key: [.value(PacketMark(rawValue: 1).nftData)], verdict: .accept),
            .init(key: [.value(PacketMark(rawValue: 2).nftData)], verdict: .jump("other")),
          ]))
      ],
      [.log(NftLog(prefix: "seen"))], [.log(NftLog(group: 2))], [.log(NftLog(level: 7))],
    ]
    let internet: [[Statement]] = [
      [.reject(.tcpReset)], [.reject(.standard)], [.setConntrackMark(.value(3))], [.setConntrackMark(.other)],
      [.setMark(.other)], [.connections(NftConnlimit(count: 5))],
      [.connections(NftConnlimit(count: 5, isInverted: true))],
      [.match(.is(.tcpFlags, .syn)), .clampMSS(1200)], [.match(.is(.tcpFlags, .syn)), .clampMSS(nil)],
    ]
    let proxies: [[Statement]] = [0, 1, 2, 3, 7, 12, 15].map { flags in
      [
        .synproxy(
          NftSynproxy(
            maximumSegment: flags & 1 != 0 ? 1460 : 0, windowScale: flags & 2 != 0 ? 7 : 0, flags: flags))
      ]
    }
    var entries: [Entry] = []
    entries += try stores()
    for family in [NftFamily.ip, .ip6, .inet] {
      for statements in proxies {
        entries += try [entry(family, NftBaseChain(hook: .input), statements)].compactMap { $0 }
      }
    }
    for family in NftFamily.allCases {
      let own = family == .ip || family == .ip6 || family == .inet ? internet : []
      for statements in common + own {
        if let entry = try? entry(family, base(of: family), statements) { entries.append(entry) }
      }
    }
    for code in [0, 1, 2, 3, 9, 10, 13] as [UInt8] {
      entries += try [entry(.ip, base(of: .ip), [.reject(.icmp(code))])].compactMap { $0 }
    }
    for code in [0, 1, 3, 4, 5, 6] as [UInt8] {
      entries += try [entry(.ip6, base(of: .ip6), [.reject(.icmpv6(code))])].compactMap { $0 }
    }
    for code in 0...3 as ClosedRange<UInt8> {
      entries += try [entry(.inet, base(of: .inet), [.reject(.icmpx(code))])].compactMap { $0 }
    }
    return entries
  }

  /// What rules put into packets, and copies of them.
  private static func stores() throws -> [Entry] {
    let mark = selector("meta mark")
    let plain: [(NftFamily, Statement)] = [
      (.ip, .store(selector("ip ttl"), .value([7]))), (.ip, .store(selector("ip dscp"), .value([0x2e]))),
      (.ip, .store(selector("ip ecn"), .value([1]))), (.ip, .store(selector("ip id"), .value([0, 5]))),
      (.ip, .store(selector("ip saddr"), .value([10, 0, 0, 1]))),
      (.ip6, .store(selector("ip6 hoplimit"), .value([7]))),
      (.ip6, .store(selector("ip6 daddr"), .value(IPv6Address.loopback.nftData))),
      (.inet, .store(selector("tcp dport"), .value([0, 80]))),
      (.inet, .store(selector("udp sport"), .value([0, 53]))),
      (.inet, .store(selector("tcp window"), .value([1, 0]))),
      (.ip, .store(selector("tcp option maxseg size"), .value([4, 0xb0]))), (.ip, .removeOption(8)),
      (.bridge, .store(selector("ether daddr"), .value([2, 0, 0, 0, 0, 1]))),
      (.ip, .store(selector("meta priority"), .value(NftData(host: 0x10002, width: 4)))),
      (.ip, .store(mark, .selector(.numgen(random: true, modulus: 5)))),
      (.ip, .store(mark, .selector(.symhash(modulus: 2, offset: 3)))),
      (.ip, .store(mark, .selector(.jhash([selector("ip saddr")], modulus: 4, seed: 5, offset: 1)))),
      (
        .ip,
        .store(
          mark,
          .map(
            [selector("ip saddr")],
            [.init(key: [.value([10, 0, 0, 1])], value: PacketMark(rawValue: 1).nftData)]))
      ),
      (.ip, .store(selector("ct zone"), .value(NftData(host: 5, width: 2)))),
      (.ip, .store(selector("ct label"), .value(selector("ct label").type.data(70) ?? []))),
      (.ip, .store(selector("ct event"), .value(NftData(host: 5, width: 4)))),
      (.inet, .store(selector("ct event"), .value(NftData(host: 0x7ff, width: 4)))),
      (.ip, .match(Match(selector("tcp flags"), .equal, [.exact([2])]))),
      (.ip, .dup(to: .v4(IPv4Address(rawValue: 0x0a00_0001)), device: nil)),
      (.ip, .dup(to: .v4(IPv4Address(rawValue: 0x0a00_0001)), device: 1)),
      (.ip6, .dup(to: .v6(.loopback), device: 1)), (.netdev, .dup(to: nil, device: 1)),
      (.netdev, .fwd(device: 1, to: nil)),
      (.netdev, .fwd(device: 1, to: .v4(IPv4Address(rawValue: 0x0a00_0001)))),
      (.netdev, .fwd(device: 1, to: .v6(.loopback))),
    ]
    return try plain.compactMap { try entry($0.0, base(of: $0.0), [$0.1]) }
  }

  private static func selector(_ name: String) -> Selector { Selector(named: name) ?? .symhash(modulus: 1) }

  /// NAT: addresses, ranges, ports, flags, maps.
  private static func translations() throws -> [Entry] {
    var entries: [Entry] = []
    func add(_ family: NftFamily, _ hook: NftHook, _ statements: [Statement]) throws {
      let base = NftBaseChain(type: .nat, hook: hook, priority: hook == .prerouting ? -100 : 100)
      if let entry = try entry(family, base, statements) { entries.append(entry) }
    }
    let flags: [NftNATFlags] = [[], .random, .persistent, .fullyRandom, [.random, .persistent]]
    for family in [NftFamily.ip, .ip6, .inet] {
      let first = family == .ip6 ? "2001:db8::1" : "10.0.0.1"
      let last = family == .ip6 ? "2001:db8::9" : "10.0.0.9"
      let tcp = Statement.match(.is(.transportProtocol, .tcp))
      for flag in flags {
        try add(family, .postrouting, [.masquerade(flags: flag)])
        try add(family, .postrouting, [tcp, .masquerade(ports: PortRange(1024, 2000), flags: flag)])
        try add(family, .prerouting, [tcp, .redirect(ports: PortRange(3128), flags: flag)])
        for kind in [NftNAT.Kind.source, .destination] {
          let hook: NftHook = kind == .source ? .postrouting : .prerouting
          let one = IPAddress(first) ?? .any(.ipv4)
          let other = IPAddress(last) ?? .any(.ipv4)
          try add(family, hook, [.translate(Translation(kind, to: .address(one), flags: flag))])
          try add(family, hook, [.translate(Translation(kind, to: .address(one, other), flags: flag))])
          try add(
            family, hook,
            [tcp, .translate(Translation(kind, to: .address(one, ports: PortRange(80)), flags: flag))])
          try add(
            family, hook,
            [
              tcp,
              .translate(Translation(kind, to: .address(one, other, ports: PortRange(80, 90)), flags: flag)),
            ])
        }
      }
      try add(family, .prerouting, [.redirect()])
    }
    return entries
  }

  // MARK: nft's side

  /// What nft makes of the rules: their elements and expressions, or its complaint.
  private static func listings(_ entries: [Entry]) -> [[String]] {
    guard let family = entries.first?.family, let base = entries.first?.base else { return [] }
    let device = base.devices.first.map { "device \($0) " } ?? ""
    let chain =
      "type \(base.type.rawValue) hook \(base.hook.rawValue) \(device)priority \(base.priority);"
    var script = "add table \(family.rawValue) t\nadd chain \(family.rawValue) t other\n"
    script += "add chain \(family.rawValue) t c { \(chain) }\n"
    for entry in entries { script += "add rule \(family.rawValue) t c \(entry.text)\n" }
    let file = "/tmp/nft-corpus-\(UInt64.random(in: 0 ... .max))"
    let (output, _) = shell(
      "cat > \(file) <<'RULES'\n\(script)RULES\nnft -c --debug=netlink -f \(file); rm -f \(file)")
    var result: [[String]] = []
    var elements: [String] = []
    var current: [String]?
    for row in output.split(separator: "\n") {
      let line = row.trimmed
      if line.hasPrefix("element ") {
        elements += line.components(separatedBy: "[end]").compactMap(BytecodeTests.element)
      } else if line.hasPrefix("[ ") {
        current?.append(BytecodeTests.normal(String(line.dropFirst(2).dropLast(2))))
      } else if line.hasPrefix("\(family.rawValue) t c") {
        if let current { result.append(current) }
        current = elements.sorted()
        elements = []
      } else if line.contains("Error") {
        return [[line]]
      } else if line.hasPrefix("__set%d") || line.hasPrefix("__map%d") {
        if let done = current { result.append(done) }
        current = nil
      }
    }
    if let current { result.append(current) }
    return result
  }

  @Test("Every rule's bytecode is nft's, or the difference is on the list")
  func corpus() throws {
    let entries = try Self.entries()
    #expect(entries.count >= 400, "\(entries.count) rules")
    var used: Set<String> = []
    let groups = Dictionary(grouping: entries, by: \.group)
    for name in groups.keys.sorted() {
      let mine = groups[name] ?? []
      let family = mine[0].family
      var theirs = Self.listings(mine)
      // One that nft does not take spoils the whole: then each is asked by itself.
      if theirs.count != mine.count { theirs = mine.map { Self.listings([$0]).first ?? ["nothing"] } }
      for (entry, expected) in zip(mine, theirs) {
        let ours = BytecodeTests.listing(of: entry.rule).map(Self.spoken)
        let known = Self.differences.first {
          "\(family.rawValue) \(entry.text)".hasPrefix($0.prefix) || entry.text.hasPrefix($0.prefix)
        }
        if ours == expected { continue }
        if let known {
          used.insert(known.prefix)
        } else {
          Issue.record("\(family.rawValue) \(entry.text)\n  ours \(ours)\n  nft  \(expected)")
        }
      }
    }
    #expect(
      Self.differences.map(\.prefix).filter { !used.contains($0) } == [], "no difference stands in vain")
  }
}
