// SPDX-License-Identifier: GPL-2.0-or-later

// The client's side of iperf3's protocol over TCP (LabProcess/IperfServer has the other, and the picture of it), by sockets
// in a node: so it needs no program there and works on every datapath, and against iperf3 itself where programs run.

import FoundationEssentials
import LabCore
import LabProcess
import NetTypes
import Synchronization

/// One test from a node to a server.
struct IperfClient: Sendable {
  var datapath: any Datapath
  var lab: LabName
  var node: NodeName
  var server: SocketEndpoint
  var duration: Interval
  var streams: Int
  /// The server sends.
  var isReverse: Bool

  /// What came of it.
  struct Outcome: Sendable {
    /// Bytes of each second.
    var intervals: [UInt64]
    /// As either end has counted, stream by stream.
    var sent: [UInt64]
    var received: [UInt64]
    var time: Interval
    /// Of the sender in the node; nil when the server sends.
    var retransmits: Int64?
  }

  private static let chunk = 131_072
  private static let patience = Interval.seconds(10)

  func run() async throws -> Outcome {
    let cookie = Self.cookie()
    let control = ControlConnection(try await connect())
    try await control.send(cookie)
    try await control.expect(.parameterExchange)
    try await control.send(document: Parameters(time: duration, parallel: streams, reverse: isReverse))
    try await control.expect(.createStreams)
    var connections: [any NodeEndpoint] = []
    for _ in 0..<streams {
      let connection = try await connect()
      try await connection.send(cookie, to: nil)
      connections.append(connection)
    }
    try await control.expect(.testStart)
    try await control.expect(.testRunning)
    let load = Load(streams: streams)
    let clock = datapath.clock
    let begin = clock.now()
    let time = try await carry(connections, load, until: begin + duration) - begin
    let retransmits = isReverse ? nil : await self.retransmits(of: connections)
    try await control.send([IperfState.testEnd.rawValue])
    // A server that sends has more on its way until it hears that.
    let drain = isReverse ? Task { await Self.drain(connections) } : nil
    try await control.expect(.exchangeResults)
    let own = load.bytes
    try await control.send(
      document: IperfResults(
        bytes: own, retransmits: retransmits, seconds: Double(time.nanoseconds) / 1e9))
    let theirs = try await control.results()
    try await control.expect(.displayResults)
    try await control.send([IperfState.done.rawValue])
    drain?.cancel()
    for connection in connections { await connection.close() }
    await control.close()
    return Outcome(
      intervals: load.intervals, sent: isReverse ? theirs : own, received: isReverse ? own : theirs,
      time: time,
      retransmits: retransmits)
  }

  private func connect() async throws(DatapathError) -> any NodeEndpoint {
    try await datapath.endpoint(
      .connectTCP(to: server, from: nil, timeout: Self.patience), in: node, of: lab)
  }

  /// 36 letters and a zero, as iperf3 makes them.
  private static func cookie() -> [UInt8] {
    let letters = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
    return (0..<36).map { _ in letters[Int.random(in: 0..<letters.count)] } + [0]
  }

  // MARK: Load

  /// Sends or receives on all streams; when the last has ended.
  private func carry(
    _ connections: [any NodeEndpoint], _ load: Load, until end: Instant
  ) async throws -> Instant {
    let (clock, isReverse) = (datapath.clock, isReverse)
    let begin = clock.now()
    return try await withThrowingTaskGroup(of: Void.self) { group in
      for (place, connection) in connections.enumerated() {
        group.addTask {
          let payload = [UInt8](repeating: 0x6e, count: Self.chunk)
          while clock.now() < end {
            if isReverse {
              do throws(DatapathError) {
                let bytes = try await connection.receive(limit: Self.chunk, timeout: end - clock.now()).bytes
                if bytes.isEmpty { return }
                load.count(bytes.count, on: place, at: clock.now() - begin)
              } catch {
                guard error.code == .timeout else { throw error }
              }
            } else {
              try await connection.send(payload, to: nil)
              load.count(payload.count, on: place, at: clock.now() - begin)
            }
          }
        }
      }
      try await group.waitForAll()
      return clock.now()
    }
  }

  private static func drain(_ connections: [any NodeEndpoint]) async {
    for connection in connections {
      while !Task.isCancelled,
        let bytes = try? await connection.receive(limit: chunk, timeout: .milliseconds(500)).bytes,
        !bytes.isEmpty
      {}
    }
  }

  /// What the node's kernel says that it has sent again.
  private func retransmits(of connections: [any NodeEndpoint]) async -> Int64? {
    guard case .sockets(let sockets)? = try? await datapath.inspect(.sockets, in: .node(node), of: lab) else {
      return nil
    }
    var total: Int64 = 0
    for connection in connections {
      guard let local = try? await connection.localEndpoint() else { return nil }
      let own = sockets.first {
        $0.local.port == local.port && $0.local.address == local.address && $0.peer.port == server.port
      }
      total += Int64(own?.tcp?.totalRetransmissions ?? 0)
    }
    return total
  }

  /// Counts what streams carry.
  private final class Load: Sendable {
    private let state: Mutex<(bytes: [UInt64], intervals: [UInt64])>

    init(streams: Int) { state = Mutex(([UInt64](repeating: 0, count: streams), [])) }

    func count(_ bytes: Int, on stream: Int, at time: Interval) {
      let second = Int(max(time.nanoseconds, 0) / 1_000_000_000)
      state.withLock { state in
        state.bytes[stream] += UInt64(bytes)
        while state.intervals.count <= second { state.intervals.append(0) }
        state.intervals[second] += UInt64(bytes)
      }
    }

    var bytes: [UInt64] { state.withLock(\.bytes) }
    var intervals: [UInt64] { state.withLock(\.intervals) }
  }

  // MARK: What is said

  private struct Parameters: Encodable {
    var tcp = true
    var omit = 0
    var time: Int
    var num = 0
    var blockcount = 0
    var parallel: Int
    var reverse: Bool?
    var len = IperfClient.chunk
    var pacingTimer = 1000
    var clientVersion = "3.12"

    init(time: Interval, parallel: Int, reverse: Bool) {
      self.time = max(1, Int(time.nanoseconds / 1_000_000_000))
      self.parallel = parallel
      self.reverse = reverse ? true : nil
    }
  }

  /// The connection of states and documents.
  private final class ControlConnection {
    private let connection: any NodeEndpoint
    private var input: [UInt8] = []

    init(_ connection: any NodeEndpoint) { self.connection = connection }

    func send(_ bytes: [UInt8]) async throws { try await connection.send(bytes, to: nil) }

    func send(document: some Encodable) async throws { try await send(IperfDocument.bytes(of: document)) }

    private func take(_ count: Int) async throws -> [UInt8] {
      while input.count < count {
        let bytes = try await connection.receive(limit: 65_536, timeout: IperfClient.patience).bytes
        guard !bytes.isEmpty else { throw Failure(.failed, "the iperf3 server has ended the test") }
        input += bytes
      }
      defer { input.removeFirst(count) }
      return Array(input[..<count])
    }

    /// The next state; another than that one is a failure.
    func expect(_ wanted: IperfState) async throws {
      let byte = try await take(1)[0]
      guard byte != wanted.rawValue else { return }
      switch IperfState(rawValue: byte) {
      case .accessDenied: throw Failure(.failed, "the iperf3 server is busy with another test")
      case .serverError:
        let numbers = try await take(8)
        let code = numbers[..<4].reduce(0) { $0 << 8 | Int($1) }
        throw Failure(.failed, "the iperf3 server refuses the test (its error \(code))")
      case .serverTerminate: throw Failure(.failed, "the iperf3 server has ended the test")
      default:
        throw Failure(.failed, "what answers there speaks no iperf3: \(byte) instead of \(wanted.rawValue)")
      }
    }

    /// Bytes of each stream as the server has them.
    func results() async throws -> [UInt64] {
      struct Document: Decodable {
        struct Stream: Decodable { var bytes: UInt64 }
        var streams: [Stream]
      }
      let length = try await take(4).reduce(0) { $0 << 8 | Int($1) }
      guard length <= IperfDocument.limit,
        let document = try? JSONDecoder().decode(Document.self, from: Data(try await take(length)))
      else { throw Failure(.failed, "the iperf3 server's results cannot be read") }
      return document.streams.map(\.bytes)
    }

    func close() async { await connection.close() }
  }
}
