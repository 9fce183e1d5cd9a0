// SPDX-License-Identifier: GPL-2.0-or-later

// Probes of several connections or flows at a time: one that others come and go beside, and several from one source port.
// One task does it all, one thing after the other, as virtual time needs it.

import Glibc
import LabCore
import NetTypes

extension Prober {
  // MARK: One connection

  /// Asks a web server so many times on one connection; before each request `between` is done. The servers' names as the
  /// answers have them, and what ended it where it ended too early.
  func conversation(
    _ request: ProbeRequest, _ port: Port, path: String, requests: Int, between: () async -> Void
  ) async throws(DatapathError) -> (servers: [String?], end: String?) {
    let target = SocketEndpoint(request.address, port)
    let socket = try await datapath.endpoint(
      .connectTCP(to: target, from: request.sourceEndpoint, timeout: request.patience), in: request.source,
      of: lab)
    return try await closing(socket) { (socket) async throws(DatapathError) in
      var servers: [String?] = []
      for number in 1...requests {
        await between()
        let question = HTTPExchange.request(
          path: path, host: "\(target)", token: self.token(), isLast: number == requests)
        do throws(DatapathError) {
          try await socket.send(question, to: nil)
          let answer = try await self.answer(to: question, over: socket, request.patience)
          guard let parsed = HTTPExchange.parse(answer) else {
            return (
              servers,
              answer.isEmpty ? "no answer to request \(number)" : "request \(number) got no HTTP answer"
            )
          }
          servers.append(HTTPExchange.name(in: parsed.body))
        } catch {
          return (servers, "request \(number): \(Self.outcome(of: error))")
        }
      }
      return (servers, nil)
    }
  }

  // MARK: One source port

  /// What came of several flows from one source port to one place.
  struct SharedPort {
    /// In the order of the requests.
    var outcomes: [ProbeOutcome]
    /// As what each was seen at the target, where netforge itself listened.
    var seen: [SocketEndpoint?]

    init(count: Int) {
      outcomes = Array(repeating: .noAnswer, count: count)
      seen = Array(repeating: nil, count: count)
    }
  }

  /// Sends from one port of each source to the same target. None is answered before all have arrived, or the patience
  /// ends, so that what translates on the way has to tell them apart.
  func sharePort(_ requests: [ProbeRequest], from own: Port) async throws(DatapathError) -> SharedPort {
    guard let first = requests.first else { return SharedPort(count: 0) }
    var sockets: [any NodeEndpoint] = []
    var listener: (any NodeEndpoint)?
    let result: Result<SharedPort, DatapathError>
    do throws(DatapathError) {
      switch first.kind {
      case .connection(let port):
        listener = try await listen(.listenTCP(SocketEndpoint(first.address, port)), in: first.target)
        var shared = SharedPort(count: requests.count)
        var open: [(index: Int, socket: any NodeEndpoint)] = []
        for (index, request) in requests.enumerated() {
          let wanted = EndpointRequest.connectTCP(
            to: SocketEndpoint(request.address, port),
            from: SocketEndpoint(.any(request.address.family), own),
            timeout: request.patience)
          do throws(DatapathError) {
            let socket = try await connect(wanted, in: request.source, tries: request.tries)
            sockets.append(socket)
            open.append((index, socket))
          } catch {
            shared.outcomes[index] = Self.outcome(of: error)
          }
        }
        try await talk(open, port, requests, listener, &shared)
        result = .success(shared)
      case .datagram(let port):
        listener = try await listen(.bindUDP(SocketEndpoint(first.address, port)), in: first.target)
        for request in requests {
          let wanted = EndpointRequest.bindUDP(SocketEndpoint(.any(request.address.family), own))
          sockets.append(try await datapath.endpoint(wanted, in: request.source, of: lab))
        }
        result = .success(try await exchange(sockets, port, requests, listener))
      case .echo, .http: throw Self.unexpected
      }
    } catch {
      result = .failure(error)
    }
    for socket in sockets { await socket.close() }
    await listener?.close()
    return try result.get()
  }

  /// Tries again where a neighbour did not answer, which on bad wires says little.
  private func connect(
    _ request: EndpointRequest, in node: NodeName, tries: Int
  ) async throws(DatapathError) -> any NodeEndpoint {
    for _ in 1..<max(tries, 1) {
      do throws(DatapathError) { return try await datapath.endpoint(request, in: node, of: lab) } catch {
        guard error.errno == EHOSTUNREACH else { throw error }
      }
    }
    return try await datapath.endpoint(request, in: node, of: lab)
  }

  /// Nil where somebody else holds the port, or the address is nobody's.
  private func listen(
    _ request: EndpointRequest, in node: NodeName?
  ) async throws(DatapathError) -> (any NodeEndpoint)? {
    guard let node else { return nil }
    do throws(DatapathError) { return try await datapath.endpoint(request, in: node, of: lab) } catch {
      guard error.errno == EADDRINUSE else { throw error }
      return nil
    }
  }

  /// Has each connection asked and answered, the last one first.
  private func talk(
    _ open: [(index: Int, socket: any NodeEndpoint)], _ port: Port, _ requests: [ProbeRequest],
    _ listener: (any NodeEndpoint)?, _ shared: inout SharedPort
  ) async throws(DatapathError) {
    var accepted: [any NodeEndpoint] = []
    var result: Result<Void, DatapathError> = .success(())
    do throws(DatapathError) {
      var questions: [(index: Int, bytes: [UInt8])] = []
      for (index, socket) in open.reversed() {
        let target = SocketEndpoint(requests[index].address, port)
        let question = HTTPExchange.request(path: "/", host: "\(target)", token: token())
        questions.append((index, question))
        try await socket.send(question, to: nil)
      }
      if let listener {
        for _ in open {
          let next = try await listener.accept(timeout: requests[0].patience)
          accepted.append(next.connection)
          // Whose connection it is, what it asks says.
          let asked = try await next.connection.receive(limit: 65_536, timeout: requests[0].patience).bytes
          if let index = questions.first(where: { $0.bytes == asked })?.index {
            shared.seen[index] = next.peer
          }
          try await next.connection.send(HTTPExchange.answer(of: asked), to: nil)
        }
      }
      for (index, question) in questions {
        guard let socket = open.first(where: { $0.index == index })?.socket else { continue }
        let target = SocketEndpoint(requests[index].address, port)
        let answer = try await answer(to: question, over: socket, requests[index].patience)
        // Netforge's own listener gives back what it was asked: nobody else's question.
        let isOwn = listener == nil ? !answer.isEmpty : answer.suffix(question.count) == question[...]
        shared.outcomes[index] =
          isOwn
          ? .answered(from: target, by: requests[index].target?.text ?? "the host there")
          : .connected(to: target)
      }
    } catch {
      result = .failure(error)
    }
    for connection in accepted { await connection.close() }
    try result.get()
  }

  private func exchange(
    _ sockets: [any NodeEndpoint], _ port: Port, _ requests: [ProbeRequest], _ listener: (any NodeEndpoint)?
  ) async throws(DatapathError) -> SharedPort {
    var shared = SharedPort(count: requests.count)
    let payloads = requests.map { _ in Array(token().utf8) }
    let replies = payloads.map { Array("answer to ".utf8) + $0 }
    var waiting = Array(requests.indices)
    for _ in 0..<max(requests[0].tries, 1) where !waiting.isEmpty {
      for index in waiting {
        try await sockets[index].send(payloads[index], to: SocketEndpoint(requests[index].address, port))
      }
      if let listener {
        let end = clock.now() + requests[0].patience
        var here: [(index: Int, source: SocketEndpoint)] = []
        while here.count < waiting.count, clock.now() < end,
          let arrived = try await answer(of: listener, until: end, matching: { payloads.contains($0) }),
          let index = payloads.firstIndex(of: arrived.bytes)
        {
          shared.seen[index] = arrived.source
          if !here.contains(where: { $0.index == index }) { here.append((index, arrived.source)) }
        }
        for (index, source) in here.reversed() { try await listener.send(replies[index], to: source) }
      }
      for index in waiting {
        let answer = try await answer(
          of: sockets[index], until: clock.now() + requests[index].patience,
          matching: { $0 == replies[index] || $0 == payloads[index] })
        guard let answer else { continue }
        if let error = answer.error {
          shared.outcomes[index] = .rejected(by: answer.source.address, "\(error)")
        } else {
          shared.outcomes[index] = .answered(
            from: answer.source, by: requests[index].target?.text ?? "the host there")
        }
      }
      waiting.removeAll { index in if case .answered = shared.outcomes[index] { true } else { false } }
    }
    return shared
  }
}
