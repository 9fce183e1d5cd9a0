// SPDX-License-Identifier: GPL-2.0-or-later

// The server's side of iperf3's protocol over TCP: one control connection a test, whose single bytes are states and
// whose JSON stands behind a length of four bytes, and the streams that carry the load. All connections of a test begin
// with the same cookie of 37 bytes. Left out by name: UDP, SCTP, both directions at once.
//
//   client            server
//   cookie        ─▶
//                 ◀─  PARAM_EXCHANGE
//   parameters    ─▶
//                 ◀─  CREATE_STREAMS
//   cookie, n times, each on a connection of its own
//                 ◀─  TEST_START, TEST_RUNNING
//   … load, or with `reverse` from the server …
//   TEST_END      ─▶
//                 ◀─  EXCHANGE_RESULTS
//   results       ─▶
//                 ◀─  results, DISPLAY_RESULTS
//   IPERF_DONE    ─▶

import FoundationEssentials
import NetTypes
import Synchronization

/// The server of one node; one test at a time, as iperf3 has it.
final class IperfServer: ServiceProgram {
  static let cookieLength = 37
  /// The streams of a test.
  static let streamLimit = 128

  /// IEUNIMP and IEMESSAGE: what the client is told before the server gives up.
  enum Refusal: UInt32 {
    case notImplemented = 13
    case badMessage = 117
  }

  private let test = Mutex<Test?>(nil)
  private let hasNews = Atomic(false)

  var datagramAnswer: [UInt8]? { nil }

  func behavior() -> any ServiceBehavior { IperfConnection(self) }

  func takeNews() -> Bool { hasNews.exchange(false, ordering: .acquiringAndReleasing) }

  /// A test that goes on.
  struct Test {
    var cookie: [UInt8]
    var parameters: Parameters?
    /// Bytes of each stream.
    var streams: [UInt64] = []
    var isRunning = false
    var startedAt: Instant?
    var endedAt: Instant?
    var isTold = false
    /// What the control connection has to say.
    var words: [UInt8] = []
  }

  /// What a client asks for, of what matters here.
  struct Parameters: Decodable {
    var udp: Bool?
    var sctp: Bool?
    var bidirectional: Bool?
    var reverse: Bool?
    var parallel: Int?
    var len: Int?
  }

  // MARK: What connections tell

  enum Role { case control, stream(Int), stranger }

  /// Who has come with a cookie.
  func join(_ cookie: [UInt8], now: Instant) -> Role {
    test.withLock { test in
      guard var present = test else {
        test = Test(cookie: cookie, words: [IperfState.parameterExchange.rawValue])
        return .control
      }
      guard present.cookie == cookie, let parameters = present.parameters,
        present.streams.count < parameters.parallel ?? 1
      else { return .stranger }
      let place = present.streams.count
      present.streams.append(0)
      if present.streams.count == parameters.parallel ?? 1 {
        present.isRunning = true
        present.startedAt = now
        present.words += [IperfState.testStart.rawValue, IperfState.testRunning.rawValue]
        hasNews.store(true, ordering: .releasing)
      }
      test = present
      return .stream(place)
    }
  }

  /// The client's parameters. Nil: it may go on.
  func accept(_ document: [UInt8]) -> Refusal? {
    guard let parameters = try? JSONDecoder().decode(Parameters.self, from: Data(document)),
      (1...Self.streamLimit).contains(parameters.parallel ?? 1),
      (1...(1 << 20)).contains(parameters.len ?? 1)
    else { return .badMessage }
    if parameters.udp == true || parameters.sctp == true || parameters.bidirectional == true {
      return .notImplemented
    }
    test.withLock {
      $0?.parameters = parameters
      $0?.words.append(IperfState.createStreams.rawValue)
    }
    return nil
  }

  func count(_ bytes: Int, on stream: Int) {
    test.withLock { test in
      // What is on its way when the test ends counts as long as nobody has been told the results.
      guard test?.startedAt != nil, test?.isTold == false else { return }
      test?.streams[stream] += UInt64(bytes)
    }
  }

  /// Bytes that a stream sends next; 0: none.
  func load(on stream: Int) -> Int {
    test.withLock { test in
      guard test?.isRunning == true, test?.parameters?.reverse == true else { return 0 }
      let length = test?.parameters?.len ?? 1 << 17
      test?.streams[stream] += UInt64(length)
      return length
    }
  }

  func stop(now: Instant) {
    test.withLock {
      $0?.isRunning = false
      $0?.endedAt = now
      $0?.words.append(IperfState.exchangeResults.rawValue)
    }
    hasNews.store(true, ordering: .releasing)
  }

  /// The client has told its results; it is told ours.
  func exchangeResults() {
    test.withLock { test in
      guard let present = test else { return }
      test?.isTold = true
      let nanoseconds = (present.endedAt?.nanoseconds ?? 0) - (present.startedAt?.nanoseconds ?? 0)
      let results = IperfResults(
        bytes: present.streams, retransmits: nil, seconds: Double(nanoseconds) / 1e9)
      test?.words += IperfDocument.bytes(of: results) + [IperfState.displayResults.rawValue]
    }
  }

  /// What the control connection has to say now.
  func takeWords() -> [UInt8] {
    test.withLock { test in
      let words = test?.words ?? []
      test?.words = []
      return words
    }
  }

  /// The test is over, as it should be or not.
  func endTest() { test.withLock { $0 = nil } }
}
