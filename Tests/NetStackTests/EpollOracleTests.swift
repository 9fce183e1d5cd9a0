// SPDX-License-Identifier: GPL-2.0-or-later

// Instances of epoll that watch sockets and one another: the same calls, by chance, to the host's kernel and to ours.

import Glibc
import NetTypes
import Testing

@testable import NetStack

@Suite(
  "Epoll in epoll beside the kernel",
  .enabled(if: access("/usr/bin/python3", X_OK) == 0, "needs python3"))
struct EpollOracleTests {
  /// Calls, a line each: `add I J MODE`, `mod I J MODE`, `del I J`, `take I MOST`, `close I` about instance I, `send S`,
  /// `read S` about a socket. Instances count from 0, sockets go on behind them; MODE: 1 edge, 2 oneshot.
  struct Calls {
    var instances: Int
    var sockets: Int
    var lines: [String] = []

    /// Whatever chance has it.
    init(seed: UInt64) {
      (instances, sockets) = (7, 3)
      var random = RandomState(seed: seed)
      func below(_ bound: Int) -> Int { Int(random.below(UInt64(bound))) }
      for _ in 0..<120 {
        let (first, second) = (below(instances), below(instances + sockets))
        switch below(20) {
        case 0..<8: lines.append("add \(first) \(second) \(below(4))")
        case 8: lines.append("mod \(first) \(second) \(below(4))")
        case 9: lines.append("del \(first) \(second)")
        case 10..<13: lines.append("send \(instances + below(sockets))")
        case 13: lines.append("read \(instances + below(sockets))")
        case 14 where below(4) == 0: lines.append("close \(first)")
        default: lines.append("take \(first) \(1 + below(4))")
        }
      }
    }

    /// One instance that watches a socket, and more than may be that watch the one; a row that is too long.
    init() {
      (instances, sockets) = (510, 1)
      lines = ["add 0 510 0"] + (1...502).map { "add \($0) 0 0" } + ["send 510", "take 500 1", "take 501 1"]
      lines += (503..<509).map { "add \($0 + 1) \($0) 0" } + ["add 503 508 0", "add 503 503 0"]
    }
  }

  private static let program = """
    import select, socket, sys
    lines = sys.stdin.read().split("\\n")
    instances, sockets = map(int, lines[0].split())
    eps = [select.epoll() for _ in range(instances)]
    pairs = [socket.socketpair() for _ in range(sockets)]
    numbers = [e.fileno() for e in eps] + [p[0].fileno() for p in pairs]
    ids = {number: place for place, number in enumerate(numbers)}
    def mask(word): return select.EPOLLIN | int(word) % 2 << 31 | int(word) // 2 << 30
    for line in lines[1:]:
      what, *rest = line.split()
      first = int(rest[0])
      try:
        if what == "add": eps[first].register(numbers[int(rest[1])], mask(rest[2]))
        elif what == "mod": eps[first].modify(numbers[int(rest[1])], mask(rest[2]))
        elif what == "del": eps[first].unregister(numbers[int(rest[1])])
        elif what == "close":
          eps[first].fileno()
          eps[first].close()
        elif what == "send": pairs[first - instances][1].send(b"x")
        elif what == "read":
          pairs[first - instances][0].setblocking(False)
          pairs[first - instances][0].recv(65536)
        else:
          print(*("%d:%x" % (ids[fd], events) for fd, events in eps[first].poll(0, int(rest[1]))))
          continue
        print(0)
      except OSError as error: print(error.errno)
      except ValueError: print(9)
    """

  private static func theirs(_ calls: Calls) throws -> [String] {
    let input = (["\(calls.instances) \(calls.sockets)"] + calls.lines).joined(separator: "\n")
    return try Shell.run("python3", ["-c", program], input: input).split(
      separator: "\n", omittingEmptySubsequences: false
    ).map(String.init).dropLast()
  }

  private static func ours(_ calls: Calls) throws -> [String] {
    var kernel = Kernel()
    let node = try kernel.node()
    let process = try kernel.makeProcess(in: node)
    var numbers: [Int32] = []
    for _ in 0..<calls.instances { numbers.append(try kernel.makeEpoll(of: process)) }
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: node)
    try kernel.bind(listener, to: name("127.0.0.1", 80))
    try kernel.listen(listener, backlog: 8)
    var clients: [SocketIndex] = []
    for _ in 0..<calls.sockets {
      let client = try kernel.makeSocket(.tcp(.ipv4), in: node)
      _ = failure { try kernel.connect(client, to: name("127.0.0.1", 80)) }
      kernel.run(for: .milliseconds(10))
      let server = try kernel.accept(listener)
      numbers.append(try kernel.open(.socket(server), [], of: process))
      clients.append(client)
    }
    var answers: [String] = []
    for line in calls.lines {
      let words = line.split(separator: " ")
      let rest = words.dropFirst().compactMap { Int($0) }
      let first = numbers[rest[0]]
      let mode = EpollMode(rawValue: words.count > 3 ? UInt8(rest[2]) : 0)
      var told: [EpollEvent]?
      let errno = failure {
        let event = EpollEvent(.in, data: rest.count > 1 ? UInt64(rest[1]) : 0)
        switch words[0] {
        case "add": try kernel.addToEpoll(first, numbers[rest[1]], event, mode, of: process)
        case "mod": try kernel.changeInEpoll(first, numbers[rest[1]], event, mode, of: process)
        case "del": try kernel.removeFromEpoll(first, numbers[rest[1]], of: process)
        case "close": try kernel.close(first, of: process)
        case "send": try kernel.send([120], on: clients[rest[0] - calls.instances])
        case "read":
          var bytes: [UInt8] = []
          _ = try kernel.receive(kernel.socket(first, of: process), into: &bytes, limit: 65536)
        default: told = try kernel.takeEpoll(first, most: rest[1], of: process)
        }
      }
      kernel.run(for: .milliseconds(1))
      let list = told?.map { "\($0.data):\(String($0.events.rawValue, radix: 16))" }
      answers.append(list?.joined(separator: " ") ?? "\(errno)")
    }
    kernel.endProcess(process)
    #expect(kernel.epolls.count == 0 && kernel.epollItems.count == 0)
    return answers
  }

  @Test("The same calls have the same answers", arguments: 0...60 as ClosedRange<UInt64>)
  func calls(seed: UInt64) throws {
    let calls = seed == 0 ? Calls() : Calls(seed: seed)
    let (theirs, ours) = (try Self.theirs(calls), try Self.ours(calls))
    #expect(theirs.count == calls.lines.count)
    let place = zip(theirs, ours).enumerated().first { $0.element.0 != $0.element.1 }?.offset
    let told = place.map { place in
      (0...place).map { "\(calls.lines[$0]): \(theirs[$0]) there, \(ours[$0]) here" }.joined(separator: "\n")
    }
    #expect(place == nil, "\(told ?? "")")
  }
}
