// SPDX-License-Identifier: GPL-2.0-or-later

// What rules cost: chains that test one field, one rule after the other and as one lookup; sets of up to a million
// elements; established connections with NAT. As root beside it what the host's kernel takes for the same rules.

import Glibc
import NetStack
import NetTypes
import Netlink
import Nftables
import Rtnetlink

/// A datagram without a checksum, of one of 4,096 flows, to a port that no rule names.
private func ruleFrame(_ number: Int) -> [UInt8] {
  var header: [UInt8] = [0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 1, UInt8(2 + number % 200)]
  header += [10, 0, 2, 2]
  var sum: UInt32 = 0
  for place in stride(from: 0, to: 20, by: 2) {
    sum += UInt32(header[place]) << 8 | UInt32(header[place + 1])
  }
  while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
  header[10] = UInt8(~sum >> 8 & 255)
  header[11] = UInt8(~sum & 255)
  let port = 20_000 + number / 200
  let link: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]
  let datagram: [UInt8] = [UInt8(port >> 8), UInt8(port & 255), 0xff, 0xff, 0, 26, 0, 0]
  return link + header + datagram + [UInt8](repeating: 0, count: 18)
}

/// The answer to a frame that came out.
private func answer(_ frame: [UInt8]) -> [UInt8] {
  var answer = frame
  for (place, from) in [(0, 6), (26, 30), (34, 36)] {
    let length = place == 0 ? 6 : from - place
    for offset in 0..<length {
      answer[place + offset] = frame[from + offset]
      answer[from + offset] = frame[place + offset]
    }
  }
  return answer
}

/// A router with a face on either side, and frames of many flows for it.
private struct Router: ~Copyable {
  var kernel: Kernel
  let node: NamespaceIndex
  var faces: [DeviceIndex] = []
  var frames: Frames

  init(groups: Bool) throws {
    var options = Kernel.Options(seed: 1)
    options.groupsRules = groups
    var kernel = Kernel(options, now: Instant(nanoseconds: 0))
    let node = try kernel.makeQuietNamespace()
    try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
    for (name, subnet) in [("left", "10.0.1.1/24"), ("right", "10.0.2.1/24")] {
      guard let valid = InterfaceName(name), let prefix = IPPrefix(subnet) else { continue }
      faces.append(try kernel.makeOutside(valid, in: node, mac: MACAddress(rawValue: 0x0200_0000_0001)))
      try kernel.set(name, node) { _ in }
      guard let index = kernel.index(of: name, in: node) else { continue }
      try kernel.perform(AddressMessage(prefix, index: index).request(.create), in: node)
    }
    var neighbor = NeighborMessage(family: .ipv4, index: kernel.index(of: "right", in: node) ?? 0)
    neighbor.destination = IPAddress("10.0.2.2")
    neighbor.macAddress = MACAddress(rawValue: 0x0200_0000_0102)
    neighbor.state = .permanent
    try kernel.perform(neighbor.request(.create), in: node)
    self.kernel = kernel
    self.node = node
    frames = Frames(frames: (0..<4096).map(ruleFrame))
  }

  mutating func commit(_ table: Ruleset.Table) throws {
    try kernel.commit(try Compiler.compile(table).creation, in: node)
  }

  /// Lets every flow begin and be answered, so that its connection is established.
  mutating func establish() {
    for number in 0..<frames.frames.count {
      kernel.inject(ruleFrame(number), into: faces[0])
      kernel.run(for: .microseconds(1))
      while let frame = kernel.takeFrame(from: faces[1]) { kernel.inject(answer(frame), into: faces[1]) }
      kernel.run(for: .microseconds(1))
      while kernel.takeFrame(from: faces[0]) != nil {}
    }
  }

  mutating func tell(_ name: String, packets: Int) {
    var taken = frames
    let spent = measure(&kernel, from: faces[0], to: faces[1], &taken, round: 256, packets: packets)
    report(name, spent, packets)
  }
}

private func table(_ chains: [Ruleset.Chain], _ sets: [SetDeclaration] = []) -> Ruleset.Table {
  Ruleset.Table(family: .ip, name: "t", chains: chains, sets: sets)
}

func rules() throws {
  for groups in [false, true] {
    for count in [0, 1, 100, 1000, 10_000] {
      var router = try Router(groups: groups)
      let rules = (0..<count).map { number in
        Rule([.match(.is(.udpDestination, UInt16(number))), .verdict(.drop)])
      }
      let base = NftBaseChain(hook: .forward)
      try router.commit(table([Ruleset.Chain(name: "c", base: base, rules: rules)]))
      router.tell(
        "\(count) rules that test a port, \(groups ? "as one lookup" : "one by one")",
        packets: groups || count <= 100 ? 256_000 : count <= 1000 ? 25_600 : 2560)
    }
  }
  for count in [1000, 100_000, 1_000_000] {
    var router = try Router(groups: true)
    let elements = (0..<UInt32(count)).map { number in
      SetDeclaration.Element(key: [.value(NftData(bigEndian: 0x1400_0000 + UInt64(number), width: 4))])
    }
    let set = SetDeclaration(name: "s", keyTypes: [.ipv4Address], elements: elements)
    let rule = Rule([.match(.isIn(.ipSource, set: "s")), .verdict(.drop)])
    try router.commit(
      table([Ruleset.Chain(name: "c", base: NftBaseChain(hook: .forward), rules: [rule])], [set]))
    router.tell("a set of \(count) addresses", packets: 256_000)
  }
  try translated()
  try hostRules()
}

/// Connections that have been there for a while.
func translated() throws {
  var router = try Router(groups: true)
  try router.commit(masquerading())
  router.establish()
  router.tell("established connections with masquerading, 4,096 flows", packets: 256_000)
  var short = try Router(groups: true)
  var table = masquerading()
  table.flowtables = [NftFlowtable(name: "f", devices: ["left", "right"])]
  table.chains.append(
    Ruleset.Chain(name: "f", base: NftBaseChain(hook: .forward), rules: [Rule([.addFlow("f")])]))
  try short.commit(table)
  short.establish()
  short.tell("the same past the rules, by a flowtable", packets: 256_000)
}

private func masquerading() -> Ruleset.Table {
  let base = NftBaseChain(type: .nat, hook: .postrouting, priority: 100)
  let out = InterfacePattern("right").map { [Statement.match(.is(.outputInterface, $0))] } ?? []
  return table([Ruleset.Chain(name: "c", base: base, rules: [Rule(out + [.masquerade()])])])
}

// MARK: The host's kernel

private func hostRules() throws {
  guard geteuid() == 0 else {
    print("the host's kernel beside it: skipped, needs root")
    return
  }
  let thread = try NamespaceThread()
  var plain = Int64(0)
  for count in [0, 1, 100, 1000] {
    let rules = (0..<count).map { number in
      Rule([.match(.is(.udpDestination, UInt16(number))), .verdict(.drop)])
    }
    let chain = Ruleset.Chain(name: "c", base: NftBaseChain(hook: .forward), rules: rules)
    let spent = try hostPacket(
      thread, count == 0 ? nil : table([chain]), packets: count < 1000 ? 100_000 : 20_000)
    if count == 0 { plain = spent }
    tellHost("forwarding with \(count) rules that test a port", spent, beside: plain)
  }
  let elements = (0..<UInt32(100_000)).map { number in
    SetDeclaration.Element(key: [.value(NftData(bigEndian: 0x1400_0000 + UInt64(number), width: 4))])
  }
  let set = SetDeclaration(name: "s", keyTypes: [.ipv4Address], elements: elements)
  let rule = Rule([.match(.isIn(.ipSource, set: "s")), .verdict(.drop)])
  let chain = Ruleset.Chain(name: "c", base: NftBaseChain(hook: .forward), rules: [rule])
  tellHost(
    "a set of 100000 addresses", try hostPacket(thread, table([chain], [set]), packets: 100_000),
    beside: plain)
  tellHost(
    "established connections with masquerading, 4,096 flows",
    try hostPacket(thread, masquerading(), packets: 100_000, isAnswered: true), beside: plain)
}

private func tellHost(_ name: String, _ spent: Int64, beside plain: Int64) {
  let (whole, more) = (Double(spent) / 10, Double(spent - plain) / 10)
  print("the host's kernel, \(name): \(whole) ns a packet with the call, \(more) ns more than without rules")
}

/// Tenths of nanoseconds that a packet takes through a router of the host's with these rules, the sender's call included.
private func hostPacket(
  _ thread: NamespaceThread, _ table: Ruleset.Table?, packets: Int, isAnswered: Bool = false
) throws -> Int64 {
  let router = try HostNamespace(thread, [("net/ipv4/ip_forward", "1")])
  let outside = try HostNamespace(thread)
  for (name, subnet) in [("left", "10.0.1.1/24"), ("right", "10.0.2.1/24")] {
    try router.pair(name, name, in: outside)
    try router.address(subnet, name)
  }
  try router.set("left") { $0.macAddress = MACAddress(rawValue: 0x0200_0000_0001) }
  var neighbor = NeighborMessage(family: .ipv4, index: try router.index(of: "right"))
  neighbor.destination = IPAddress("10.0.2.2")
  neighbor.macAddress = MACAddress(rawValue: 0x0200_0000_0102)
  neighbor.state = .permanent
  try router.request(neighbor.request(.create))
  if let table { try router.commit(try Compiler.compile(table).creation) }
  let descriptor = try outside.sender("left")
  defer { close(descriptor) }
  var frames = Frames(frames: (0..<4096).map(ruleFrame))
  if isAnswered {
    let far = try outside.listener("right")
    defer { close(far) }
    var buffer = [UInt8](repeating: 0, count: 256)
    for _ in 0..<4096 {
      let frame = frames.take()
      _ = frame.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      let count = recv(far, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      guard count >= 42 else { continue }
      let back = answer(Array(buffer[..<count]))
      _ = back.withUnsafeBytes { write(far, $0.baseAddress, $0.count) }
    }
  }
  return send(&frames, packets, by: descriptor) * 10 / Int64(packets)
}
