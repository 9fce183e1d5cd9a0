// SPDX-License-Identifier: GPL-2.0-or-later

// What is measured on a way through the network: its hops, the largest packet, what it carries and what it loses.

import Glibc
import LabCore
import NetTypes
import Synchronization
import TopologyModel

extension Examination {
  typealias Target = Topology.Expectation.Target

  // MARK: Hops

  func path(_ flow: Flow, _ hops: [Target]) async -> Finding {
    guard var request = request(flow) else { return Self.noAddress }
    request.patience = .seconds(1) + slack
    var way: [String] = []
    // One more than expected, so that a longer way shows.
    for limit in 1...(hops.count + 2) {
      guard let limit = UInt8(exactly: limit) else { break }
      request.hopLimit = limit
      let report = await prober.probe(request)
      switch report.outcome {
      case .answered:
        let isRight = way.count == hops.count
        return Finding(isRight, "the way is \(Self.text(way)), then \(request.address)")
      case .rejected(let address?, let why):
        guard why == Self.timeExceeded else {
          return Finding(.fail, "behind \(Self.text(way)): \(report.text)")
        }
        way.append(book.name(of: address) ?? "\(address)")
        guard way.count <= hops.count, isMeant(hops[way.count - 1], address) else {
          return Finding(
            .fail, "hop \(way.count) is \(way.last ?? "?"), not \(Self.text(hops, way.count - 1))")
        }
      case .couldNotProbe: return Finding(.inconclusive, report.text)
      default: return Finding(.fail, "behind \(Self.text(way)): \(report.text)")
      }
    }
    return Finding(.fail, "the way is longer: \(Self.text(way)), …")
  }

  private static let timeExceeded = "\(ICMPError(type: 11, code: 0, family: .ipv4))"

  private static func text(_ way: [String]) -> String { way.isEmpty ? "direct" : way.joined(separator: ", ") }

  private static func text(_ hops: [Target], _ index: Int) -> String {
    hops.indices.contains(index) ? "\(hops[index])" : "the target"
  }

  private func isMeant(_ hop: Target, _ address: IPAddress) -> Bool {
    switch hop {
    case .address(let own): own == address
    case .node(let node): book.owner(of: address) == node
    case .device(let device): book.address(of: device.node, interface: device.device) == address
    }
  }

  // MARK: Who answers

  func spread(_ flow: Flow, _ nodes: [NodeName], _ count: Int) async -> Finding {
    var shares: [String: Int] = [:]
    for number in 1...max(count, 1) {
      guard let report = await answered(flow) else { return Self.noAddress }
      guard case .answered(_, let who) = report.outcome, report.status != nil else {
        let isUntried = if case .couldNotProbe = report.outcome { true } else { false }
        return Finding(isUntried ? .inconclusive : .fail, "connection \(number): \(report.text)")
      }
      shares[who, default: 0] += 1
    }
    let seen = shares.sorted { $0.key < $1.key }.map { "\($0.value) by \($0.key)" }.joined(separator: ", ")
    let isEven = nodes.allSatisfy { 2 * nodes.count * (shares[$0.text] ?? 0) >= count }
    let isClosed = shares.keys.allSatisfy { name in nodes.contains { $0.text == name } }
    return Finding(isEven && isClosed, "answered: \(seen)")
  }

  func stays(_ flow: Flow, _ count: Int) async -> Finding {
    guard var request = request(flow), case .http(let port, let path) = request.kind else {
      return Self.noAddress
    }
    request.patience = patience(for: request.kind)
    var beside: Set<String> = []
    let held: (servers: [String?], end: String?)
    do throws(DatapathError) {
      held = try await prober.conversation(request, port, path: path, requests: count) {
        guard let report = await answered(flow), case .answered(_, let who) = report.outcome else { return }
        beside.insert(who)
      }
    } catch {
      let outcome = Prober.outcome(of: error)
      if case .couldNotProbe = outcome { return .inconclusive(error) }
      return Finding(.fail, "\(request.address): \(outcome)")
    }
    let servers = Set(held.servers)
    let names = servers.map { $0 ?? "a web server without a name" }.sorted().joined(separator: ", ")
    if let end = held.end {
      return Finding(.fail, "\(end)" + (names.isEmpty ? "" : "; before that it was answered by \(names)"))
    }
    guard servers.count == 1 else { return Finding(.fail, "one connection was answered by \(names)") }
    guard let server = servers.first ?? nil else {
      return Finding(.inconclusive, "who answers does not say who it is; netforge's own web servers do")
    }
    guard beside.contains(where: { $0 != server }) else {
      return Finding(
        .inconclusive, "\(server) answered all other connections too: there was nowhere to move to")
    }
    return Finding(
      .pass,
      "all \(count) requests were answered by \(server); connections beside it by \(beside.sorted().joined(separator: ", "))"
    )
  }

  func samePort(_ flows: [Flow], _ port: Port) async -> Finding {
    let requests = flows.compactMap { flow in
      request(flow).map { request in
        var request = request
        request.patience = prober.clock.isVirtual ? patience(for: request.kind) : .seconds(2) + slack
        return request
      }
    }
    guard requests.count == flows.count else { return Self.noAddress }
    do throws(DatapathError) {
      let shared = try await prober.sharePort(requests, from: port)
      let bad = shared.outcomes.firstIndex { outcome in
        if case .answered = outcome { false } else { true }
      }
      if let bad {
        var finding = Finding(.fail, "\(flows[bad].source) from port \(port): \(shared.outcomes[bad])")
        if case .couldNotProbe = shared.outcomes[bad] { finding.verdict = .inconclusive }
        finding.flow = flows[bad]
        return finding
      }
      let seen = zip(flows, shared.seen).compactMap { flow, seen in
        seen.map { "\(flow.source) as \($0)" }
      }
      return Finding(
        .pass, "each is answered" + (seen.isEmpty ? "" : ", seen: " + seen.joined(separator: ", ")))
    } catch {
      let outcome = Prober.outcome(of: error)
      if case .couldNotProbe = outcome { return .inconclusive(error) }
      return Finding(.fail, "\(outcome)")
    }
  }

  // MARK: Sizes

  func pathMTU(_ flow: Flow, _ bytes: Int) async -> Finding {
    guard var request = request(flow) else { return Self.noAddress }
    request.isWhole = true
    request.tries = max(tries, 2)
    request.patience = .milliseconds(500) + slack
    let headers = (request.address.family == .ipv4 ? 20 : 40) + EchoMessage.headerLength
    /// Whether a packet of that size gets there and back.
    func passes(_ size: Int) async -> ProbeReport {
      var request = request
      // The token is 40 bytes; what is smaller than that is no path's MTU (RFC 791).
      request.padding = max(size - headers - Prober.tokenLength, 0)
      return await prober.probe(request)
    }
    let fits = await passes(bytes)
    if case .couldNotProbe(let why) = fits.outcome, !fits.isTooBig {
      return Finding(.inconclusive, "\(request.address): could not be tried: \(why)")
    }
    let next = await passes(bytes + 1)
    if fits.isAnswered, !next.isAnswered {
      return Finding(
        .pass, "\(bytes) bytes get to \(request.address) in one piece, one more does not: \(next.reason)")
    }
    // How large it is instead.
    var (low, high) = fits.isAnswered ? (bytes + 1, 65_535) : (Prober.tokenLength + headers - 1, bytes - 1)
    while low < high {
      let middle = (low + high + 1) / 2
      if await passes(middle).isAnswered { low = middle } else { high = middle - 1 }
    }
    guard low >= Prober.tokenLength + headers else {
      return Finding(.fail, "\(request.address) does not answer at all: \(fits.reason)")
    }
    let hole = fits.isAnswered || fits.outcome != .noAnswer ? "" : "; nobody says so, larger ones just vanish"
    return Finding(.fail, "the path to \(request.address) takes \(low) bytes, not \(bytes)\(hole)")
  }

  // MARK: What it carries

  func throughput(_ flow: Flow, _ bounds: Topology.Expectation.Bounds, _ time: Interval) async -> Finding {
    guard let request = request(flow), let target = request.target,
      case .connection(let port) = request.kind
    else { return Self.noAddress }
    // Where nothing limits the rate, virtual time does not pass: the bytes have to end.
    let seconds = Double(max(time.nanoseconds, 1_000_000)) / 1e9
    let most = max(bounds.minimum ?? 0, bounds.maximum ?? 0) * seconds / 8 * 1.5
    let limit = Int(min(max(most, 1_048_576), 1_073_741_824))
    do throws(DatapathError) {
      let local = SocketEndpoint(request.address, port)
      let carried = try await prober.withEndpoint(.listenTCP(local), in: target) {
        (listener) async throws(DatapathError) in
        try await prober.withEndpoint(
          .connectTCP(to: local, from: request.sourceEndpoint, timeout: .seconds(5) + slack), in: flow.source
        ) { (sender) async throws(DatapathError) in
          try await prober.carry(from: sender, to: listener, during: time, limit: limit)
        }
      }
      guard carried.time > .zero else {
        return Finding(
          bounds.maximum == nil, "\(carried.bytes) bytes took no time at all: nothing limits the rate")
      }
      let rate = Double(carried.bytes) * 8e9 / Double(carried.time.nanoseconds)
      return Finding(
        bounds.contains(rate), "\(Claim.rate(rate)): \(carried.bytes) bytes in \(carried.time.brief)")
    } catch {
      if error.errno == EADDRINUSE { return .inconclusive(error) }
      let outcome = Prober.outcome(of: error)
      if case .couldNotProbe = outcome { return .inconclusive(error) }
      return Finding(.fail, "\(request.address): \(outcome)")
    }
  }

  func loss(_ flow: Flow, _ bounds: Topology.Expectation.Bounds, _ count: Int) async -> Finding {
    guard let request = request(flow) else { return Self.noAddress }
    do throws(DatapathError) {
      let answered = try await prober.answers(request, count: count, patience: .seconds(1) + slack)
      let share = Double(count - answered) / Double(count) * 100
      return Finding(
        bounds.contains(share), "\(Claim.number(share)) % lost: \(answered) of \(count) answered")
    } catch {
      return .inconclusive(error)
    }
  }

  // MARK: Drops

  func dropped(_ flow: Flow, _ node: NodeName, _ reason: String?) async -> Finding {
    guard let request = request(flow) else { return Self.noAddress }
    do throws(DatapathError) {
      guard let before = try await drops(of: node) else {
        return try await traced(packet(of: flow, StableHash.of("\(node)/\(reason ?? "")") | 1), node, reason)
      }
      let report = await silence(request)
      let after = try await drops(of: node) ?? []
      let risen = after.compactMap { counter -> StatisticsReport.Counter? in
        let earlier = before.first { $0.name == counter.name }?.value ?? 0
        return counter.value > earlier ? StatisticsReport.Counter(counter.name, counter.value - earlier) : nil
      }
      let seen = risen.map { "\($0.value) \($0.name)" }.joined(separator: ", ")
      if case .couldNotProbe = report.outcome { return Finding(.inconclusive, report.text) }
      let wanted = reason.map(Self.plain)
      let isRight =
        risen.contains { wanted == nil || Self.plain($0.name) == wanted } && report.arrivedFrom == nil
      return Finding(
        isRight, risen.isEmpty ? "\(node) dropped nothing: \(report.text)" : "\(node) dropped: \(seen)")
    } catch {
      return .inconclusive(error)
    }
  }

  /// What a kernel without such counters tells of a packet's way.
  private func traced(
    _ packet: TracedPacket?, _ node: NodeName, _ reason: String?
  ) async throws(DatapathError) -> Finding {
    guard var packet else { return Self.noAddress }
    packet.wait = .milliseconds(400) + slack
    let tracer = PacketTracer(
      datapath, lab: lab.name, lab.resolution, LabPoints(lab.topology, lab.resolution.state))
    let story = try await tracer.story(of: packet)
    guard story.dropNode == node else { return Finding(.fail, story.end) }
    guard let reason else { return Finding(.pass, story.end) }
    guard let told = story.kernelReason else {
      if story.impliedReasons.contains(Self.plain(reason)) { return Finding(.pass, story.end) }
      return Finding(.inconclusive, "\(story.end); this kernel does not tell the reason's name")
    }
    let end = story.end.contains(told) ? story.end : "\(story.end) (\(told))"
    return Finding(Self.plain(reason) == told, end)
  }

  /// Without the kernel's prefix and case.
  private static func plain(_ reason: String) -> String {
    let word = reason.lowercased()
    let prefix = "skb_drop_reason_"
    return word.hasPrefix(prefix) ? String(word.dropFirst(prefix.count)) : word
  }

  private func drops(of node: NodeName) async throws(DatapathError) -> [StatisticsReport.Counter]? {
    let answer = try await datapath.inspect(.statistics, in: .node(node), of: lab.name)
    guard case .statistics(let report) = answer else { throw Prober.unexpected }
    return report.drops
  }
}

extension ProbeReport {
  fileprivate var isAnswered: Bool { if case .answered = outcome { true } else { false } }

  /// The source's own device refused the size.
  fileprivate var isTooBig: Bool {
    if case .couldNotProbe(let why) = outcome { why.contains("EMSGSIZE") } else { false }
  }

  fileprivate var reason: String { isTooBig ? "it is too long for the source's own link" : "\(outcome)" }
}
