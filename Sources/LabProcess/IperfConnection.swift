// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes

/// One connection to an iperf3 server: the control connection of a test, or one of its streams.
struct IperfConnection: ServiceBehavior {
  /// The longest test that iperf3 knows is a day, in which the control connection is silent.
  let idleLimit = 86_400
  private let server: IperfServer
  private var step = Step.cookie

  private enum Step {
    case cookie
    case stream(Int)
    case parameters, running, results, display
    case refused
  }

  init(_ server: IperfServer) { self.server = server }

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8], now: Instant) -> Bool {
    while true {
      switch step {
      case .cookie:
        guard input.count >= IperfServer.cookieLength else { return false }
        let cookie = Array(input.prefix(IperfServer.cookieLength))
        input.removeFirst(IperfServer.cookieLength)
        switch server.join(cookie, now: now) {
        case .control: step = .parameters
        case .stream(let place): step = .stream(place)
        case .stranger:
          step = .refused
          output.append(IperfState.accessDenied.rawValue)
          return true
        }
      case .stream(let place):
        server.count(input.count, on: place)
        input = []
        return false
      case .parameters:
        switch takeDocument(&input) {
        case .partial: return false
        case .tooLong: return refuse(.badMessage, &output)
        case .whole(let document):
          if let refusal = server.accept(document) { return refuse(refusal, &output) }
          step = .running
        }
      case .running:
        guard let byte = input.first else { return false }
        input.removeFirst()
        guard byte == IperfState.testEnd.rawValue else { return true }
        server.stop(now: now)
        step = .results
      case .results:
        switch takeDocument(&input) {
        case .partial: return false
        case .tooLong: return true
        case .whole:
          server.exchangeResults()
          step = .display
        }
      case .display, .refused:
        // IPERF_DONE, or whatever else: there is nothing more to say.
        let isOver = !input.isEmpty
        input = []
        return isOver
      }
    }
  }

  private enum Document { case whole([UInt8]), partial, tooLong }

  /// A length and as many bytes.
  private func takeDocument(_ input: inout [UInt8]) -> Document {
    guard input.count >= 4 else { return .partial }
    let length = input.prefix(4).reduce(0) { $0 << 8 | Int($1) }
    guard length <= IperfDocument.limit else { return .tooLong }
    guard input.count >= 4 + length else { return .partial }
    let document = Array(input[4..<4 + length])
    input.removeFirst(4 + length)
    return .whole(document)
  }

  /// SERVER_ERROR with iperf3's number of the error and the system's.
  private func refuse(_ refusal: IperfServer.Refusal, _ output: inout [UInt8]) -> Bool {
    output.append(IperfState.serverError.rawValue)
    output += IperfDocument.bytes(refusal.rawValue) + IperfDocument.bytes(0)
    return true
  }

  mutating func produce(into output: inout [UInt8]) {
    switch step {
    case .stream(let place):
      let length = server.load(on: place)
      if length > 0 { output += [UInt8](repeating: 0, count: length) }
    case .parameters, .running, .results, .display: output += server.takeWords()
    case .cookie, .refused: break
    }
  }

  mutating func end() {
    switch step {
    case .parameters, .running, .results, .display: server.endTest()
    case .cookie, .stream, .refused: break
    }
  }
}
