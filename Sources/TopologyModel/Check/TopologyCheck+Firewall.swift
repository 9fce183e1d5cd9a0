// SPDX-License-Identifier: GPL-2.0-or-later

// NAT and firewall in the short form.

import LabCore
import NetTypes

extension TopologyCheck {
  // MARK: NAT

  mutating func translations(_ items: [Reader], of node: Int) {
    for item in items {
      guard ["masquerade", "sourceNAT", "publish", "redirect"].contains(item.kind) else { continue }
      guard let kind = translation(item, of: node) else { continue }
      if let first = nodes[node].translations.first(where: { Self.collide($0.kind, kind) }) {
        fail(
          "node '\(nodes[node].name)': \(item.kind) says what the line at \(first.location) says for the same packets; the second would never be reached",
          at: item.location)
        continue
      }
      nodes[node].translations.append(Topology.Translation(kind: kind, location: item.location))
    }
  }

  private mutating func translation(_ item: Reader, of node: Int) -> Topology.Translation.Kind? {
    let owner = "node '\(nodes[node].name)'"
    switch item.kind {
    case "masquerade":
      let who = "\(owner): Masquerade"
      guard forwards(node, who, at: item.location, why: "there is nothing to masquerade"),
        let out = optionalDevice(item, "out", of: node, who), let source = source(item, who),
        let flags = translationFlags(item, who, at: item.location)
      else { return nil }
      return .masquerade(out: out, source: source, flags: flags)
    case "sourceNAT":
      let who = "\(owner): SourceNAT"
      guard let to = range(item.required("to"), "\(who): to", at: item.location),
        let out = optionalDevice(item, "out", of: node, who), let source = source(item, who),
        let flags = translationFlags(item, who, at: item.location)
      else { return nil }
      if let source, !families(of: source, sets: [:]).contains(to.lowerBound.family) {
        fail("\(who): \(item.required("to")) and its source are of different families", at: item.location)
        return nil
      }
      var ports: ClosedRange<Port>?
      if let text = item.text("ports") {
        guard let known = self.ports(text, who, at: item.location) else { return nil }
        ports = known
      }
      return .sourceNAT(to: to, ports: ports, out: out, source: source, flags: flags)
    case "publish": return publish(item, of: node, "\(owner): Publish")
    default:
      let who = "\(owner): Redirect"
      guard let transport: Topology.Transport = choice(item.required("transport"), who, at: item.location),
        let ports = ports(item.required("ports"), who, at: item.location),
        let on = optionalDevice(item, "on", of: node, who),
        let port = item.integer("port").flatMap({ port($0, who, at: item.location) })
      else { return nil }
      return .redirect(transport: transport, ports: ports, on: on, port: port)
    }
  }

  /// How a translation chooses; nil after a complaint.
  mutating func translationFlags(
    _ item: Reader, _ who: String, at location: SourceLocation
  ) -> [Topology.TranslationFlag]? {
    var flags: [Topology.TranslationFlag] = []
    for word in item.texts("flags") {
      guard word != "fullCone" else {
        fail(
          "\(who): no kernel's rules can let whoever sends to a mapping in (RFC 4787, endpoint-independent filtering), so NAT(.fullCone) cannot be made; NAT(.home) is what routers at home do",
          at: location)
        return nil
      }
      guard let flag: Topology.TranslationFlag = choice(word, "\(who): flags", at: location) else {
        return nil
      }
      flags.append(flag)
    }
    return flags
  }

  private mutating func publish(_ item: Reader, of node: Int, _ who: String) -> Topology.Translation.Kind? {
    guard let transport: Topology.Transport = choice(item.required("transport"), who, at: item.location),
      let ports = ports(item.required("ports"), who, at: item.location),
      let on = optionalDevice(item, "on", of: node, who)
    else { return nil }
    let hosts = item.texts("hosts").compactMap { self.address($0, "\(who): host", at: item.location) }
    guard hosts.count == item.texts("hosts").count else { return nil }
    guard let first = hosts.first, hosts.allSatisfy({ $0.family == first.family }) else {
      fail(
        "\(who): \(hosts.isEmpty ? "there is no host to publish to" : "its hosts are of different families")",
        at: item.location)
      return nil
    }
    var port: Port?
    if let value = item.integer("port") {
      guard let known = self.port(value, who, at: item.location) else { return nil }
      port = known
    }
    var address: IPAddress?
    if let text = item.text("address") {
      guard let known = self.address(text, "\(who): address", at: item.location) else { return nil }
      guard known.family == first.family else {
        fail("\(who): address \(known) and host \(first) are of different families", at: item.location)
        return nil
      }
      address = known
    }
    // With a way out of the lab a host may be anywhere.
    if internet == nil,
      !nodes.contains(where: { $0.devices.contains { if case .uplink = $0.kind { true } else { false } } })
    {
      for host in hosts where !writtenAddresses.contains(host) {
        fail(
          "\(who): no interface of the lab has the address \(host); give one that address: Interface(…, address: \"\(host)/…\")",
          at: item.location)
        return nil
      }
    }
    let own = nodes[node].devices.flatMap { $0.addresses.map(\.prefix.address) }
    if !hosts.allSatisfy(own.contains),
      !forwards(node, who, at: item.location, why: "what it is sent for others ends in it")
    {
      return nil
    }
    return .publish(transport: transport, ports: ports, on: on, address: address, hosts: hosts, port: port)
  }

  private static func collide(_ a: Topology.Translation.Kind, _ b: Topology.Translation.Kind) -> Bool {
    switch (a, b) {
    case (.publish(let t1, let p1, let on1, let a1, _, _), .publish(let t2, let p2, let on2, let a2, _, _)):
      t1 == t2 && p1.overlaps(p2) && on1 == on2 && a1 == a2
    case (.redirect(let t1, let p1, let on1, _), .redirect(let t2, let p2, let on2, _)):
      t1 == t2 && p1.overlaps(p2) && on1 == on2
    case (.masquerade(let out1, let s1, _), .masquerade(let out2, let s2, _)): out1 == out2 && s1 == s2
    default: false
    }
  }

  /// Whether a node passes packets on. Complains when it does not.
  private mutating func forwards(_ node: Int, _ who: String, at location: SourceLocation, why: String) -> Bool
  {
    let isForwarding =
      nodes[node].kind == .router
      || nodes[node].sysctls.contains { $0.name.hasSuffix("forward") || $0.name.hasSuffix("/forwarding") }
    if !isForwarding {
      fail(
        "\(who): the node does not forward, so \(why); make it a router: lab.router(\"\(nodes[node].name)\")",
        at: location)
    }
    return isForwarding
  }

  /// A device that a key names. The outer nil is a complaint, the inner one that the key is not there.
  private mutating func optionalDevice(_ item: Reader, _ key: String, of node: Int, _ who: String) -> String??
  {
    guard let name = item.text(key) else { return .some(nil) }
    guard let device = device(name, of: node, "\(who): \(key)", at: item.location) else { return nil }
    if let master = device.master {
      fail(
        "\(who): \(key): '\(name)' is a port of '\(master)', by which its packets come and go; write '\(master)'",
        at: item.location)
      return nil
    }
    return .some(device.name)
  }

  private mutating func source(_ item: Reader, _ who: String) -> Topology.AddressMatch?? {
    let texts = item.texts("source")
    guard !texts.isEmpty else { return .some(nil) }
    let ranges = texts.compactMap { addressRange($0, "\(who): source", at: item.location) }
    return ranges.count == texts.count ? .some(.ranges(ranges)) : nil
  }

  /// The families that a match holds addresses of.
  private func families(of match: Topology.AddressMatch, sets: [String: Topology.AddressSet]) -> Set<IPFamily>
  {
    switch match {
    case .ranges(let ranges): Set(ranges.map(\.family))
    case .set(let name): Set(sets[name]?.ranges.map(\.family) ?? IPFamily.allCases)
    }
  }

  // MARK: Firewall

  mutating func firewall(_ item: Reader, of node: Int) {
    let owner = "node '\(nodes[node].name)'"
    guard
      let policy: Topology.Firewall.Policy = choice(
        item.required("policy"), "\(owner): Firewall: policy", at: item.location)
    else { return }
    var hook = nodes[node].kind == .router ? Topology.Firewall.Hook.forward : .input
    if let text = item.text("hook") {
      guard let choice: Topology.Firewall.Hook = choice(text, "\(owner): Firewall: on", at: item.location)
      else { return }
      hook = choice
    }
    let who = "\(owner): Firewall on \(hook.rawValue)"
    if let first = nodes[node].firewalls.first(where: { $0.hook == hook }) {
      fail("\(who): there is one at \(first.location); put the rules of a hook together", at: item.location)
      return
    }
    if hook == .forward, !forwards(node, who, at: item.location, why: "its rules would see no packet") {
      return
    }
    var firewall = Topology.Firewall(hook: hook, policy: policy, location: item.location)
    var sets: [String: Topology.AddressSet] = [:]
    for reader in item.objects("sets") {
      guard let set = addressSet(reader, who) else { continue }
      if let first = sets[set.name] {
        fail("\(who): set '\(set.name)' is declared twice (\(first.location))", at: set.location)
        continue
      }
      sets[set.name] = set
      firewall.sets.append(set)
    }
    // Sets that were refused are known all the same, so that their use is not called unknown.
    let known = Set(item.objects("sets").map { $0.required("name") })
    var used: Set<String> = []
    for reader in item.objects("rules") {
      for key in ["sourceSet", "destinationSet"] { if let name = reader.text(key) { used.insert(name) } }
      if let rule = rule(reader, of: node, hook: hook, sets: sets, known: known, who) {
        firewall.rules.append(rule)
      }
    }
    for set in firewall.sets where !used.contains(set.name) {
      fail(
        "\(who): no rule uses the set '\(set.name)'; use it (source: or destination:) or take it out",
        at: set.location)
    }
    nodes[node].firewalls.append(firewall)
  }

  /// What nft takes as the name of a set or chain.
  static func isIdentifier(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(0x30...0x39).contains(first), (1...127).contains(name.utf8.count)
    else { return false }
    return first != 0x2d && name.utf8.allSatisfy { isWordByte($0) || $0 == 0x2d || $0 == 0x2e }
  }

  private mutating func addressSet(_ reader: Reader, _ who: String) -> Topology.AddressSet? {
    let name = reader.required("name")
    guard Self.isIdentifier(name) else {
      fail(
        "\(who): set '\(name)' should be called by letters, digits, '_', '-' and '.', a letter first",
        at: reader.location)
      return nil
    }
    let ranges = reader.texts("elements").compactMap {
      addressRange($0, "\(who): set '\(name)':", at: reader.location)
    }
    guard ranges.count == reader.texts("elements").count else { return nil }
    guard !ranges.isEmpty else {
      fail("\(who): set '\(name)' is empty; nothing would match it", at: reader.location)
      return nil
    }
    let bounds = ranges.map(\.bounds).sorted { $0.lowerBound < $1.lowerBound }
    for (a, b) in zip(bounds, bounds.dropFirst()) where a.upperBound >= b.lowerBound {
      fail(
        "\(who): set '\(name)' holds \(b.lowerBound) twice; its elements must not overlap",
        at: reader.location)
      return nil
    }
    return Topology.AddressSet(name: name, ranges: ranges, location: reader.location)
  }

  private mutating func rule(
    _ reader: Reader, of node: Int, hook: Topology.Firewall.Hook, sets: [String: Topology.AddressSet],
    known: Set<String>, _ owner: String
  ) -> Topology.FirewallRule? {
    let word = reader.required("action")
    let who = "\(owner): \(word.prefix(1).uppercased() + word.dropFirst())"
    let location = reader.location
    let matches = reader.texts("matches").compactMap { match($0, who, at: location) }
    guard matches.count == reader.texts("matches").count else { return nil }
    let action: Topology.FirewallRule.Action
    switch word {
    case "accept": action = .accept
    case "drop": action = .drop
    case "log": action = .proceed
    case "reject":
      var rejection = Topology.Rejection.portUnreachable
      if let text = reader.text("with") {
        guard let choice: Topology.Rejection = choice(text, "\(who): with", at: location) else { return nil }
        rejection = choice
      }
      let services = matches.filter(\.isService)
      if rejection == .tcpReset, services.isEmpty || !services.allSatisfy(\.isTCP) {
        fail(
          "\(who): only TCP is answered with a reset; let the rule match TCP only (.tcp(…) or .anyTCP)",
          at: location)
        return nil
      }
      action = .reject(rejection)
    default:
      fail("\(who): '\(word)' is none of accept, drop, reject, log", at: location)
      return nil
    }
    if reader.text("with") != nil, word != "reject" {
      fail("\(who): only Reject answers (with:)", at: location)
      return nil
    }
    if matches.count(where: { if case .limit = $0 { true } else { false } }) > 1 {
      fail("\(who): a rule has one limit", at: location)
      return nil
    }
    if hook == .output, reader.text("from") != nil {
      fail(
        "\(who): what the node sends itself came in by no interface; take from: out, or put the rule on .forward",
        at: location)
      return nil
    }
    if hook == .input, reader.text("to") != nil {
      fail(
        "\(who): what is for the node itself leaves by no interface; take to: out, or put the rule on .forward",
        at: location)
      return nil
    }
    guard let from = optionalDevice(reader, "from", of: node, who),
      let to = optionalDevice(reader, "to", of: node, who),
      let source = addresses(reader, "source", sets: sets, known: known, who),
      let destination = addresses(reader, "destination", sets: sets, known: known, who)
    else { return nil }
    if let source, let destination,
      families(of: source, sets: sets).isDisjoint(with: families(of: destination, sets: sets))
    {
      fail("\(who): its source and destination are of different families; no packet has both", at: location)
      return nil
    }
    let log = reader.text("log")
    if let log, !Self.isLogPrefix(log) {
      fail("\(who): the log's prefix should be one line of at most 127 characters", at: location)
      return nil
    }
    return Topology.FirewallRule(
      action: action, matches: matches, from: from, to: to, source: source, destination: destination,
      log: log,
      location: location)
  }

  static func isLogPrefix(_ text: String) -> Bool {
    (1...127).contains(text.utf8.count) && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
  }

  private mutating func addresses(
    _ reader: Reader, _ key: String, sets: [String: Topology.AddressSet], known: Set<String>, _ who: String
  ) -> Topology.AddressMatch?? {
    let texts = reader.texts(key)
    if let name = reader.text(key + "Set") {
      guard texts.isEmpty else {
        fail("\(who): \(key) is either addresses or a set", at: reader.location)
        return nil
      }
      guard known.contains(name) else {
        fail(
          "\(who): \(key): there is no set '\(name)'\(didYouMean(name, known.sorted()))", at: reader.location)
        return nil
      }
      return .some(.set(name))
    }
    guard !texts.isEmpty else { return .some(nil) }
    let ranges = texts.compactMap { addressRange($0, "\(who): \(key)", at: reader.location) }
    return ranges.count == texts.count ? .some(.ranges(ranges)) : nil
  }

  /// A match as the language writes it: `state new`, `tcp 80`, `icmp echoRequest`, `limit 10/second burst 5`.
  private mutating func match(_ text: String, _ who: String, at location: SourceLocation) -> Topology
    .FirewallMatch?
  {
    let words = text.split(separator: " ").map(String.init)
    let argument = words.count > 1 ? words[1] : nil
    switch (words.first, argument, words.count) {
    case ("state"?, let state?, 2):
      let choice: Topology.FirewallMatch.State? = choice(state, "\(who): state", at: location)
      return choice.map { .state($0) }
    case ("tcp"?, nil, 1): return .anyPort(.tcp)
    case ("udp"?, nil, 1): return .anyPort(.udp)
    case ("tcp"?, let range?, 2): return ports(range, who, at: location).map { .transport(.tcp, $0) }
    case ("udp"?, let range?, 2): return ports(range, who, at: location).map { .transport(.udp, $0) }
    case ("icmp"?, nil, 1): return .icmp(nil)
    case ("icmp"?, let type?, 2):
      let choice: Topology.ICMPType? = choice(type, "\(who): ICMP type", at: location)
      return choice.map { .icmp($0) }
    case ("protocol"?, let number?, 2):
      guard let value = Int(number).flatMap({ inRange($0, 0...255, "\(who): protocol", at: location) }),
        let byte = UInt8(exactly: value)
      else { break }
      return .ipProtocol(IPProtocol(rawValue: byte))
    case ("mark"?, let mark?, 2):
      let numbers = mark.split(separator: "/", maxSplits: 1).map { Int($0) }
      guard let value = numbers.first.flatMap({ $0 }).flatMap(UInt32.init(exactly:)),
        let mask = numbers.count == 1
          ? UInt32.max : numbers.last.flatMap({ $0 }).flatMap(UInt32.init(exactly:))
      else { break }
      return .mark(value: value, mask: mask)
    case ("limit"?, let rate?, 2), ("limit"?, let rate?, 4):
      let parts = rate.split(separator: "/").map(String.init)
      guard parts.count == 2,
        let count = Int(parts[0]).flatMap({ inRange($0, 1...Int(UInt32.max), "\(who): limit", at: location) }
        ),
        let per: Topology.Rate.Per = choice(parts[1], "\(who): limit", at: location)
      else { break }
      var burst: UInt32?
      if words.count == 4 {
        guard words[2] == "burst",
          let value = Int(words[3]).flatMap({
            inRange($0, 1...Int(UInt32.max), "\(who): burst", at: location)
          })
        else { break }
        burst = UInt32(exactly: value)
      }
      return .limit(Topology.Rate(count: UInt64(count), per: per, burst: burst))
    default: break
    }
    // A number out of range has been complained of already; the list keeps one complaint for a line and text.
    if errors.last?.location != location {
      fail("\(who): '\(text)' is no match that a rule knows", at: location)
    }
    return nil
  }
}

extension Topology.AddressRange {
  /// The first and the last address.
  var bounds: ClosedRange<IPAddress> {
    switch self {
    case .prefix(let prefix): prefix.network.address...prefix.last
    case .range(let range): range
    }
  }
}

extension Topology.FirewallMatch {
  /// Whether it names a protocol.
  var isService: Bool {
    switch self {
    case .transport, .anyPort, .icmp, .ipProtocol: true
    case .state, .mark, .limit: false
    }
  }

  var isTCP: Bool {
    switch self {
    case .transport(.tcp, _), .anyPort(.tcp), .ipProtocol(.tcp): true
    default: false
    }
  }
}
