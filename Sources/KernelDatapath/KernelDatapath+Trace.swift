// SPDX-License-Identifier: GPL-2.0-or-later

// A packet's way through the host's kernel: packet sockets on every device, and in every namespace that has rules a table
// of ours that marks the packet for nf_tables to tell of (`meta nftrace set 1`). The table is the socket's
// (NFT_TABLE_F_OWNER), so that it goes with it whatever happens to this process.

import CLinux
import Capture
import Glibc
public import LabCore
import LabProcess
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import SystemPackage

extension KernelDatapath {
  public func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport {
    let preparation = try await perform(on: lab, "trace in lab '\(lab)'") {
      (kernel) throws(DatapathError) in
      var watched: [NamespaceID: WatchedNamespace] = [:]
      for id in Set(request.points.map(\.link.namespace)).sorted() {
        watched[id] = try WatchedNamespace(id, request.probe, kernel)
      }
      return (
        try request.points.map { (point) throws(DatapathError) in try Self.listen(point, kernel) }, watched
      )
    }
    let (listeners, watched) = preparation
    // The kernel begins to stamp packets some time after the first who asks for it (net_enable_timestamp): until then a
    // packet has the time at which it is read, and its steps no order.
    await clock.sleep(until: clock.now() + .milliseconds(50))
    let drops = try await perform(on: lab, "send a packet") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        try kernel.thread.enter(kernel.open(.node(request.node)).namespace)
        guard let tracepoint = DropTracepoint.own else {
          try Self.send(request.probe)
          return [String]?.none
        }
        return try tracepoint.reasons { () throws(TransportError) in try Self.send(request.probe) }
      } catch {
        throw DatapathError(
          .refused, operation: "send a packet", path: StatePath(.node(request.node)),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
    let sightings = await blocking {
      var capture = PacketCapture(
        request: CaptureRequest(points: request.points), listeners: listeners, stop: -1)
      return capture.sightings(of: request)
    }
    var report = TraceReport(
      sightings: sightings, drops: drops ?? [],
      untold: (drops == nil ? [Self.silence] : []) + [Self.waiting, Self.rings])
    for id in watched.keys.sorted() { report.rules += watched[id]?.steps() ?? [] }
    return report
  }

  private static let silence =
    "why a packet was dropped, but by rules: that takes the tracepoint skb:kfree_skb, which only root may see"
  private static let waiting = "packets that wait for their neighbour"
  private static let rings = "the rings of devices, and how NAPI empties them"

  /// Sends the packet as it is, header included (IPPROTO_RAW).
  private static func send(_ probe: ProbePacket) throws(TransportError) {
    let domain = probe.source.family == .ipv4 ? AF_INET : AF_INET6
    let socket = socket(domain, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), Int32(IPPROTO_RAW))
    guard socket >= 0 else { throw TransportError(errno: errno) }
    defer { close(socket) }
    // Whatever is known of the path's MTU: where the packet is too long is what is to be seen.
    var discovery = domain == AF_INET ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE
    let (level, name) = domain == AF_INET ? (IPPROTO_IP, IP_MTU_DISCOVER) : (IPPROTO_IPV6, IPV6_MTU_DISCOVER)
    setsockopt(
      socket, Int32(level), name, &discovery, socklen_t(MemoryLayout.size(ofValue: discovery)))
    let bytes = probe.bytes
    let sent = SocketAddress(SocketEndpoint(probe.destination, 0)).withPointer { address, length in
      sendto(socket, bytes, bytes.count, 0, address, length)
    }
    // A rule that drops it is part of its way.
    guard sent >= 0 || errno == EPERM else { throw TransportError(errno: errno) }
  }
}

/// A namespace while a packet is traced through its rules.
private struct WatchedNamespace: Sendable {
  let id: NamespaceID
  let probe: ProbePacket
  /// As they were when the trace began.
  let ruleset: NftObservation
  let traces: NftTraceSocket
  /// Keeps the table that marks the packet.
  let owner: NftablesSocket

  /// Nil where no rules are.
  init?(_ id: NamespaceID, _ probe: ProbePacket, _ kernel: HostKernel) throws(DatapathError) {
    do throws(TransportError) {
      ruleset = try kernel.channel(to: id).nftables(nil)
      guard !ruleset.tables.isEmpty else { return nil }
      try kernel.thread.enter(kernel.open(id).namespace)
      do throws(NetlinkError) {
        traces = try NftTraceSocket()
        owner = try kernel.thread.visitor.nftables()
      } catch {
        throw TransportError(error)
      }
      do throws(NftablesError) { try owner.apply(Self.marking(probe).creation) } catch {
        throw TransportError(error)
      }
    } catch {
      throw DatapathError(
        .refused, operation: "trace packets through rules", path: StatePath(id),
        errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
    }
    self.id = id
    self.probe = probe
  }

  private static let tableName = "netforge-trace"
  /// NFT_TABLE_F_OWNER.
  private static let ownerFlag: UInt32 = 2

  /// A table that has the packet traced from the first hook on.
  private static func marking(_ probe: ProbePacket) -> NftTable {
    let (offset, bytes) = probe.place
    let rule = NftRule(expressions: [
      .meta(NftMeta(key: .l4proto, destination: .r1)),
      .cmp(NftCmp(operation: .equal, source: .r1, data: NftData([probe.proto]))),
      .payload(
        NftPayload(base: .transport, offset: UInt32(offset), length: UInt32(bytes.count), destination: .r1)),
      .cmp(NftCmp(operation: .equal, source: .r1, data: NftData(bytes))),
      .immediate(.data(NftData([1]), in: .r1)),
      .metaSet(NftMetaSet(key: .nftrace, source: .r1)),
    ])
    let hooks: [NftHook] = [.prerouting, .output]
    return NftTable(
      family: .inet, name: tableName, flags: ownerFlag,
      chains: hooks.map { hook in
        // Before connection tracking and everything else.
        NftChain(name: hook.rawValue, base: NftBaseChain(hook: hook, priority: -450), rules: [rule])
      })
  }

  /// What rules did to the packet.
  func steps() -> [TraceReport.RuleStep] {
    var hooks: [UInt32: String] = [:]
    var isOurs: [UInt32: Bool] = [:]
    return traces.take().compactMap { message in
      if !message.transport.isEmpty, isOurs[message.id] != true {
        let (offset, bytes) = probe.place
        isOurs[message.id] = message.transport.dropFirst(offset).starts(with: bytes)
      }
      guard message.chain.table.name != Self.tableName, isOurs[message.id] ?? true else { return nil }
      let table = ruleset.tables.first { $0.key == message.chain.table }
      let chain = table?.chain(message.chain.chain)
      if let hook = chain?.base?.hook { hooks[message.id] = hook.rawValue }
      let hook = hooks[message.id] ?? ""
      switch message.step {
      case .rule(let handle, let verdict):
        let rule = ruleset.rule(handle, of: message.chain)
        return TraceReport.RuleStep(
          namespace: id, visit: message.id, chain: message.chain, hook: hook, rule: rule,
          sets: rule.flatMap { table?.sets(of: $0) } ?? [], isPolicy: false, verdict: verdict)
      case .end: return nil
      case .policy(let verdict):
        return TraceReport.RuleStep(
          namespace: id, visit: message.id, chain: message.chain, hook: hook, rule: nil, isPolicy: true,
          verdict: verdict)
      }
    }
  }
}
