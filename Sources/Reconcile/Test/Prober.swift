// SPDX-License-Identifier: GPL-2.0-or-later

// Probes: packets from a node to an address, by sockets in nodes and nothing else, so that the code is the same on every
// datapath. A probe is one task that does one thing after the other, which virtual time needs in order to be the same
// every time.

import Glibc
public import LabCore
import NetTypes
import Synchronization

/// Sends probes in one lab.
public final class Prober: Sendable {
  let datapath: any Datapath
  let lab: LabName
  /// Tells a probe's packets from all others.
  private let count = Mutex(0)

  public init(_ datapath: any Datapath, lab: LabName) {
    self.datapath = datapath
    self.lab = lab
  }

  var clock: any LabClock { datapath.clock }

  /// Sends a probe. `watching`: looks whether it leaves as well, which costs four dumps.
  public func probe(_ request: ProbeRequest, watching: Bool = false) async -> ProbeReport {
    let link: String
    do throws(DatapathError) {
      let route = try await route(request)
      guard let device = route.link else { return ProbeReport(request, .noRoute(route.type)) }
      link = device
    } catch {
      return ProbeReport(
        request, Self.saysNoRoute(error) ? .noRoute(error.cause) : .couldNotProbe(error.description))
    }
    let before = watching ? await sent(by: link, of: request.source) : nil
    var witness: Witness?
    if let target = request.target {
      do throws(DatapathError) {
        witness = try await Witness.open(for: request, at: target, self)
      } catch {
        return ProbeReport(request, .couldNotProbe(error.description))
      }
    }
    var report: ProbeReport
    do throws(DatapathError) {
      switch request.kind {
      case .echo: report = try await echo(request, witness)
      case .datagram(let port): report = try await datagram(request, port, witness)
      case .connection(let port): report = try await connection(request, port, path: "/", witness)
      case .http(let port, let path): report = try await connection(request, port, path: path, witness)
      }
    } catch {
      report = ProbeReport(request, Self.outcome(of: error))
    }
    if report.arrivedFrom == nil { report.arrivedFrom = await witness?.arrival() }
    await witness?.close()
    report.isWatched = witness?.isWatching == true
    if let before, let after = await sent(by: link, of: request.source) { report.hasLeft = after > before }
    return report
  }

  private func route(_ request: ProbeRequest) async throws(DatapathError) -> RouteReport {
    let answer = try await datapath.inspect(
      .route(to: request.address), in: .node(request.source), of: lab)
    guard case .route(let report) = answer else { throw Self.unexpected }
    return report
  }

  /// Packets that a device has sent.
  private func sent(by link: String, of node: NodeName) async -> UInt64? {
    guard let answer = try? await datapath.inspect(.statistics, in: .node(node), of: lab),
      case .statistics(let report) = answer
    else { return nil }
    return report.links.first { $0.name == link }?.transmitted.packets
  }

  static let unexpected = DatapathError(
    .bug, operation: "look into the lab", cause: "the datapath answered what was not asked",
    remedy: "please report it")

  /// What asking for a route is answered with where there is none, or one that is unreachable, prohibited, a black hole.
  static func saysNoRoute(_ error: DatapathError) -> Bool {
    [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ESRCH].contains(error.errno ?? 0)
  }

  static let noRouteNumber = ENETUNREACH

  static func isTooLong(_ error: DatapathError) -> Bool { error.errno == EMSGSIZE }

  /// What an error of a socket in the source says about the way.
  static func outcome(of error: DatapathError) -> ProbeOutcome {
    switch error.errno {
    case ENETUNREACH: .noRoute(error.cause)
    case EHOSTUNREACH: .rejected(by: nil, "host unreachable")
    case ECONNREFUSED: .rejected(by: nil, "connection refused")
    case ECONNRESET: .rejected(by: nil, "connection reset")
    case EPERM, EACCES: .notSent(error.cause)
    case ETIMEDOUT: .noAnswer
    default: .couldNotProbe(error.description)
    }
  }

  /// Bytes that no other packet of the lab has.
  func token() -> String {
    let number = count.withLock { count in
      count += 1
      return count
    }
    let text = "netforge-probe-\(number)-"
    return text + String(repeating: "x", count: max(0, 40 - text.count))
  }

  /// Opens a socket in a node and closes it when `body` has ended.
  func withEndpoint<Value: Sendable>(
    _ request: EndpointRequest, in node: NodeName,
    _ body: (any NodeEndpoint) async throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    try await closing(try await datapath.endpoint(request, in: node, of: lab), body)
  }

  func closing<Value: Sendable>(
    _ endpoint: any NodeEndpoint, _ body: (any NodeEndpoint) async throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    let result: Result<Value, DatapathError>
    do throws(DatapathError) { result = .success(try await body(endpoint)) } catch {
      result = .failure(error)
    }
    await endpoint.close()
    return try result.get()
  }

  // MARK: Echo

  private func echo(_ request: ProbeRequest, _ witness: Witness?) async throws(DatapathError) -> ProbeReport {
    let options = EchoOptions(
      hopLimit: request.hopLimit, source: request.sourceAddress, isWhole: request.isWhole)
    return try await withEndpoint(.echo(request.address.family, options), in: request.source) {
      (socket) async throws(DatapathError) in try await self.echo(request, witness, over: socket)
    }
  }

  private func echo(
    _ request: ProbeRequest, _ witness: Witness?, over socket: any NodeEndpoint
  ) async throws(DatapathError) -> ProbeReport {
    let payload = Array((witness?.token ?? token()).utf8) + Array(repeating: 0x78, count: request.padding)
    var report = ProbeReport(request, .noAnswer)
    for _ in 0..<max(request.tries, 1) {
      let begin = clock.now()
      do throws(DatapathError) {
        try await socket.send(payload, to: SocketEndpoint(request.address, 0))
      } catch {
        // What came back for an earlier request may be told here once more, without saying by whom.
        if case .rejected = report.outcome { continue }
        report.outcome = Self.outcome(of: error)
        guard error.errno == EHOSTUNREACH || error.errno == ENETUNREACH else { return report }
        continue
      }
      if let answer = try await answer(
        of: socket, until: begin + request.patience, matching: { $0 == payload })
      {
        if let error = answer.error {
          report.outcome = .rejected(by: answer.source.address, "\(error)")
          continue
        }
        report.time = clock.now() - begin
        report.hopLimit = answer.hopLimit
        report.outcome = .answered(from: answer.source, by: request.target?.text ?? "the host there")
        return report
      }
    }
    return report
  }

  /// The first datagram until a time that is what was sent for, or an error.
  func answer(
    of socket: any NodeEndpoint, until deadline: Instant, matching: ([UInt8]) -> Bool
  ) async throws(DatapathError) -> Datagram? {
    while true {
      do throws(DatapathError) {
        let left = max(deadline - clock.now(), .zero)
        let datagram = try await socket.receive(limit: 65_536, timeout: left)
        if datagram.error != nil || matching(datagram.bytes) { return datagram }
      } catch {
        if error.code == .timeout { return nil }
        throw error
      }
    }
  }

  // MARK: Datagrams

  private func datagram(
    _ request: ProbeRequest, _ port: Port, _ witness: Witness?
  ) async throws(DatapathError) -> ProbeReport {
    let local = SocketEndpoint(request.sourceAddress ?? .any(request.address.family), 0)
    return try await withEndpoint(.bindUDP(local), in: request.source) {
      (socket) async throws(DatapathError) in
      try await self.datagram(request, port, witness, over: socket)
    }
  }

  private func datagram(
    _ request: ProbeRequest, _ port: Port, _ witness: Witness?, over socket: any NodeEndpoint
  ) async throws(DatapathError) -> ProbeReport {
    let payload = Array((witness?.token ?? token()).utf8)
    let reply = Array("answer to ".utf8) + payload
    var report = ProbeReport(request, .noAnswer)
    for _ in 0..<max(request.tries, 1) {
      let begin = clock.now()
      let deadline = begin + request.patience
      try await socket.send(payload, to: SocketEndpoint(request.address, port))
      // Who answers is the listener or a service somewhere else; neither is known beforehand.
      var slice = Interval.milliseconds(1)
      while clock.now() < deadline {
        if let listener = witness?.listener,
          let arrived = try await answer(
            of: listener, until: clock.now() + slice, matching: { $0 == payload })
        {
          report.arrivedFrom = arrived.source.address
          try await listener.send(reply, to: arrived.source)
        }
        let until = witness?.listener == nil ? deadline : min(clock.now() + slice, deadline)
        if let answer = try await answer(
          of: socket, until: until, matching: { $0 == reply || $0 == payload })
        {
          report.time = clock.now() - begin
          report.outcome = .answered(
            from: answer.source,
            by: answer.bytes == reply ? request.target?.text ?? "the host there" : "an echo service")
          return report
        }
        slice = min(slice + slice, .milliseconds(50))
      }
    }
    return report
  }

  // MARK: Connections

  private func connection(
    _ request: ProbeRequest, _ port: Port, path: String, _ witness: Witness?
  ) async throws(DatapathError) -> ProbeReport {
    let target = SocketEndpoint(request.address, port)
    let begin = clock.now()
    // Long enough for a second SYN, which the kernel sends after a second.
    let patience = request.patience + .milliseconds(500)
    return try await withEndpoint(
      .connectTCP(to: target, from: request.sourceEndpoint, timeout: patience), in: request.source
    ) { (socket) async throws(DatapathError) in
      var report = ProbeReport(request, .connected(to: target))
      report.time = self.clock.now() - begin
      let question = HTTPExchange.request(
        path: path, host: "\(target)", token: witness?.token ?? self.token())
      try await socket.send(question, to: nil)
      report.arrivedFrom = await witness?.arrival()
      guard let accepted = try await self.accepted(by: witness, report.arrivedFrom != nil, patience) else {
        let answer = try await self.answer(to: question, over: socket, patience)
        report.tell(answer, of: question)
        return report
      }
      report.arrivedFrom = accepted.peer.address
      return try await self.closing(accepted.connection) { (connection) async throws(DatapathError) in
        let received = try await connection.receive(limit: 65_536, timeout: patience)
        try await connection.send(HTTPExchange.answer(of: received.bytes), to: nil)
        if try await !self.answer(to: question, over: socket, patience).isEmpty {
          report.outcome = .answered(from: target, by: request.target?.text ?? "the host there")
        }
        return report
      }
    }
  }

  /// The target's end of a connection that stands at the client already, so that at most its last ACK is on its way; nil
  /// when it leads elsewhere.
  private func accepted(
    by witness: Witness?, _ hasArrived: Bool, _ patience: Interval
  ) async throws(DatapathError) -> (connection: any NodeEndpoint, peer: SocketEndpoint)? {
    guard let witness, let listener = witness.listener else { return nil }
    if hasArrived { return try await listener.accept(timeout: patience) }
    // Where nobody sees arrivals, trying says whether it has.
    guard !witness.isWatching else { return nil }
    do throws(DatapathError) { return try await listener.accept(timeout: patience) } catch {
      if error.code == .timeout { return nil }
      throw error
    }
  }

  /// What comes back on a connection until it is whole, the other side ends, or the patience does.
  func answer(
    to question: [UInt8], over socket: any NodeEndpoint, _ patience: Interval
  ) async throws(DatapathError) -> [UInt8] {
    let deadline = clock.now() + patience
    var answer: [UInt8] = []
    while !HTTPExchange.isComplete(answer, echoing: question), clock.now() < deadline {
      do throws(DatapathError) {
        let bytes = try await socket.receive(limit: 65_536, timeout: max(deadline - clock.now(), .zero)).bytes
        if bytes.isEmpty { break }
        answer += bytes
      } catch {
        guard error.code == .timeout || error.errno == ECONNRESET else { throw error }
        break
      }
    }
    return answer
  }
}

extension ProbeReport {
  /// Makes out who answered on a connection that somebody else than the prober serves.
  fileprivate mutating func tell(_ answer: [UInt8], of question: [UInt8]) {
    guard case .connected(let target) = outcome, !answer.isEmpty else { return }
    if answer == question {
      outcome = .answered(from: target, by: "an echo service")
    } else if let parsed = HTTPExchange.parse(answer) {
      status = parsed.status
      body = parsed.body
      outcome = .answered(from: target, by: HTTPExchange.name(in: parsed.body) ?? "a web server")
    } else {
      outcome = .answered(from: target, by: "a program")
    }
  }
}
