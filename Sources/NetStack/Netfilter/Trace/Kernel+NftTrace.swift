// SPDX-License-Identifier: GPL-2.0-or-later

// Tracing of packets through rules: who is traced, and the records of it. A packet that is not costs a branch a hook and
// one a rule.

import NetTypes
public import Nftables

extension Kernel {
  /// Traces the packets of a namespace that a filter accepts, as if a rule before all others said so; nil ends it.
  public mutating func setTraced(_ filter: NftTraceFilter?, in namespace: NamespaceIndex) {
    guard namespaces.contains(namespace) else { return }
    namespaces[namespace].nftables.traced = filter
  }

  /// What traced packets met since this was last asked, the oldest first.
  public mutating func takeTraces() -> [NftTraceRecord] { nftTraces.take() }

  /// Records that nobody took in time.
  public var tracesMissed: UInt64 { nftTraces.missed }

  /// The rule that a record names, as it is now; nil when it is gone.
  public func rule(_ handle: UInt64, of chain: NftChainKey, in namespace: NamespaceIndex) -> NftRule? {
    guard namespaces.contains(namespace) else { return nil }
    return namespaces[namespace].nftables.ruleset.rule(handle, of: chain)
  }

  /// The sets that a rule of a table fills or looks objects up in, without what is in them.
  public func sets(of rule: NftRule, in table: NftTableKey, of namespace: NamespaceIndex) -> [NftSet] {
    guard namespaces.contains(namespace) else { return [] }
    return namespaces[namespace].nftables.ruleset.tables.first { $0.key == table }?.sets(of: rule) ?? []
  }

  // MARK: Who is traced

  /// `meta nftrace set`: whether the packet is traced from here on.
  mutating func setTraced(_ isTraced: Bool, _ slot: Slot) {
    guard isTraced != (pool.trace(slot) != 0) else { return }
    pool.setTrace(isTraced ? nftTraces.nextID() : 0, of: slot)
  }

  /// Whether a packet is to be traced because its namespace is told so; the number that it gets.
  mutating func beginTrace(_ packet: NftPacket) {
    guard pool.trace(packet.slot) == 0, let filter = namespaces[packet.namespace].nftables.traced,
      let flow = flow(of: packet), filter.accepts(flow, proto: packet.proto)
    else { return }
    pool.setTrace(nftTraces.nextID(), of: packet.slot)
    // What a node sends itself meets rules before its first device, which is where it would get a number.
    if !pool[packet.slot].isWatched { pool.watch(packet.slot, as: capture.nextNumber()) }
  }

  /// What NAT may change of a packet.
  func flow(of packet: NftPacket) -> NftTracedFlow? {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let source: IPAddress
    let destination: IPAddress
    switch packet.version {
    case 4:
      source = .v4(IPv4Address(rawValue: network.u32(IPv4Header.source)))
      destination = .v4(IPv4Address(rawValue: network.u32(IPv4Header.destination)))
    case 6:
      source = .v6(IPv6Address(high: network.u64(8), low: network.u64(16)))
      destination = .v6(IPv6Address(high: network.u64(24), low: network.u64(32)))
    default: return nil
    }
    var flow = NftTracedFlow(source: source, destination: destination)
    guard packet.hasTransport else { return flow }
    switch packet.proto {
    case 6, 17, 33, 132, 136:
      guard network.count >= packet.transport + 4 else { return flow }
      flow.sourcePort = network.u16(packet.transport)
      flow.destinationPort = network.u16(packet.transport + 2)
    case 1, 58:
      guard network.count >= packet.transport + 8,
        ConntrackTuple.reply(to: network.u8(packet.transport), isIPv6: packet.version == 6) != nil
      else { return flow }
      flow.sourcePort = network.u16(packet.transport + 4)
    default: break
    }
    return flow
  }

  // MARK: Records

  private mutating func record(
    _ event: NftTraceEvent, _ packet: NftPacket, writes: [NftRegisterWrite] = []
  ) {
    nftTraces.append(
      NftTraceRecord(
        time: now, namespace: packet.namespace, id: pool.trace(packet.slot),
        packet: pool[packet.slot].isWatched ? pool.watchNumber(packet.slot) : 0, hook: NftHook(packet.hook),
        event: event, mark: pool[packet.slot].mark, writes: writes))
  }

  /// Notes what an instruction that was done has left in registers.
  @inline(never)
  mutating func traceWrite(
    _ instruction: NftInstruction, _ registers: NftRegisters, _ namespace: NamespaceIndex
  ) {
    var length = Int(instruction.length)
    switch instruction.operation {
    case .payload, .meta, .ct, .fib, .rt, .socket, .mask, .shiftLeft, .shiftRight, .byteorder, .load: break
    case .exthdr: if instruction.b == 1 { length = 1 }
    case .numgen, .hash: length = 4
    case .lookup where instruction.flags & 2 != 0:
      length = namespaces[namespace].nftables.program.sets[TableIndex(instruction.a)].valueWords * 4
    default: return
    }
    let first = Int(instruction.destination)
    let words = (first..<first + (length + 3) / 4).map { registers[$0] }
    nftTraces.append(NftRegisterWrite(word: first, bytes: NftRegisters.bytes(words, length)))
  }

  /// Tells of the packet with the first that is told of a base chain, or of one that it leads to.
  private mutating func tracePacket(_ packet: inout NftPacket, in chain: NftChainKey) {
    guard !packet.isShown else { return }
    packet.isShown = true
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let linkHeader = pool[packet.slot].linkHeader
    let hasLink =
      devices.contains(packet.input) && devices[packet.input].hardwareType == 1
      && linkHeader &+ UInt16(EthernetHeader.length) == packet.networkHeader
    var traced = NftTracedPacket(
      input: name(packet.input), output: name(packet.output),
      link: hasLink
        ? pool.bytes(packet.slot, from: linkHeader).prefix(EthernetHeader.length).array : [],
      network: network.prefix(min(network.count, 40)).array, transport: [],
      etherType: pool[packet.slot].etherType, proto: packet.proto)
    if packet.version != 0, packet.hasTransport, packet.transport <= network.count {
      traced.network = network.prefix(min(packet.transport, 40)).array
      let rest = network.dropFirst(packet.transport)
      traced.transport = rest.prefix(min(rest.count, 20)).array
    }
    let reference = pool.conntrack(packet.slot)
    if conntracks.contains(reference.index) {
      let state =
        switch reference.info {
        case .established, .establishedReply: "established"
        case .related, .relatedReply: "related"
        default: "new"
        }
      traced.connection = NftTracedPacket.Connection(
        id: conntracks[reference.index].id, state: state, isReply: reference.info.direction == .reply)
    }
    record(.packet(chain, traced), packet)
  }

  private func name(_ device: DeviceIndex) -> String {
    devices.contains(device) ? devices[device].name.text : ""
  }

  /// A rule, by the place of its first instruction, let the packet pass or decided.
  @inline(never)
  mutating func traceRule(_ place: Int, _ verdict: NftVerdictCode, _ packet: inout NftPacket) {
    let namespace = packet.namespace
    let number = Int(namespaces[namespace].nftables.program[place].b)
    let rule = namespaces[namespace].nftables.program.ruleNames[number]
    let target = namespaces[namespace].nftables.program.chainNames[verdict.chain]?.chain
    tracePacket(&packet, in: rule.chain)
    let known: NftVerdict = NftVerdict(code: verdict.code, chain: target) ?? .other(verdict.code)
    record(.rule(rule.chain, handle: rule.handle, known), packet, writes: nftTraces.writes)
  }

  /// No rule of a base chain decided.
  @inline(never) mutating func tracePolicy(_ policy: Int32, _ packet: inout NftPacket, _ start: Int) {
    guard let chain = namespaces[packet.namespace].nftables.program.chainNames[UInt32(start)] else { return }
    tracePacket(&packet, in: chain)
    record(.policy(chain, policy == 0 ? .drop : .accept), packet)
  }

  /// NAT has rewritten a packet, which was `before`.
  mutating func traceTranslation(_ packet: NftPacket, from before: NftTracedFlow) {
    guard let after = flow(of: packet), after != before else { return }
    record(.translation(from: before, to: after), packet)
  }
}

extension NftHook {
  init(_ hook: NetfilterHook) {
    switch hook {
    case .prerouting: self = .prerouting
    case .input: self = .input
    case .forward: self = .forward
    case .output: self = .output
    case .postrouting: self = .postrouting
    case .ingress: self = .ingress
    case .egress: self = .egress
    }
  }
}
