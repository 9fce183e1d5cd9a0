// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Foundation
import LabCore
import NetTypes
import Seeds
import Spawn
import SystemPackage
import Testing

@testable import LabProcess

@Suite(
  "Services", .timeLimit(.minutes(10)), .enabled(if: TestHost.isRoot, "needs root"),
  .enabled(if: TestHost.has("ip"), "needs ip"))
struct ServiceTests {
  static let location = SourceLocation(file: "topology.swift", line: 12)

  static func open(_ kind: NodeService.Kind, port: NetTypes.Port, in lab: TestLab) throws
    -> NodeServiceListener
  {
    let node = lab.nodes[0]
    let netns = try LabSupervisor.openNamespace(
      NodeEntry.path(of: node, in: lab.name), node: node, lab: lab.name)
    return try NodeServiceListener(
      NodeService(kind: kind, port: port, location: location), node: node, lab: lab.name,
      netns: netns.descriptor,
      reactor: try TestHost.reactor.get())
  }

  static func inside(_ lab: TestLab, _ arguments: [String], input: String = "") async throws -> String {
    let words = ["ip", "netns", "exec", lab.netns(lab.nodes[0])] + arguments
    return try await TestHost.run(words, input: input).output
  }

  @Test(
    "curl is answered on IPv4 and IPv6, twice over one connection",
    .enabled(if: TestHost.has("curl"), "needs curl"))
  func http() async throws {
    let lab = try await TestLab("web")
    let listener = try Self.open(.http, port: 80, in: lab)
    defer { listener.close() }
    for host in ["127.0.0.1", "[::1]"] {
      let text = try await Self.inside(
        lab,
        ["curl", "-sS", "-w", "%{http_code} %{num_connects}\n", "http://\(host)/", "http://\(host)/x/y?z"])
      #expect(text == "web in lab \(lab.name)\n200 1\nweb in lab \(lab.name)\n200 0\n")
    }
    let head = try await Self.inside(lab, ["curl", "-sSI", "http://127.0.0.1/"])
    #expect(head.hasPrefix("HTTP/1.1 200 OK\r\n") && head.hasSuffix("\r\n\r\n"))
    let post = try await Self.inside(
      lab, ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-d", "some data", "http://127.0.0.1/"])
    #expect(post == "405")
  }

  @Test("Fifty clients at a time are all answered", .enabled(if: TestHost.has("curl"), "needs curl"))
  func many() async throws {
    let lab = try await TestLab("web")
    let listener = try Self.open(.http, port: 8080, in: lab)
    defer { listener.close() }
    let script = "for i in $(seq 50); do curl -s http://127.0.0.1:8080/ & done; wait"
    #expect(try await Self.inside(lab, ["sh", "-c", script]).split(separator: "\n").count == 50)
  }

  @Test(
    "echo gives back and discard does not, on TCP and UDP, IPv4 and IPv6",
    .enabled(if: TestHost.has("ncat", "bash"), "needs ncat and bash"), arguments: [true, false])
  func echo(answers: Bool) async throws {
    let lab = try await TestLab("db")
    let listener = try Self.open(answers ? .echo : .discard, port: 7, in: lab)
    defer { listener.close() }
    for host in ["127.0.0.1", "::1"] {
      let stream = try await Self.inside(lab, ["ncat", "-w", "2", host, "7"], input: "over tcp\n")
      #expect(stream == (answers ? "over tcp\n" : ""))
      #expect(try await Self.datagram("over udp", to: host, in: lab) == (answers ? "over udp\n" : ""))
    }
  }

  @Test(
    "A megabyte comes back whole", .enabled(if: TestHost.has("ncat", "sha256sum"), "needs ncat and sha256sum")
  )
  func megabyte() async throws {
    let lab = try await TestLab("db")
    let listener = try Self.open(.echo, port: 7, in: lab)
    defer { listener.close() }
    let script =
      "head -c 1000000 /dev/urandom > \(lab.folder.path)/a; ncat 127.0.0.1 7 < \(lab.folder.path)/a | cmp - \(lab.folder.path)/a && echo same"
    #expect(try await Self.inside(lab, ["sh", "-c", script]) == "same\n")
  }

  /// What comes back within a second to the connected socket that bash makes.
  static func datagram(_ text: String, to host: String, in lab: TestLab) async throws -> String {
    let script = "exec 3<>/dev/udp/\(host)/7; echo \(text) >&3; timeout 1 head -n 1 <&3"
    return try await inside(lab, ["bash", "-c", script])
  }

  @Test(
    "Datagrams are answered from the address that they were sent to",
    .enabled(if: TestHost.has("bash"), "needs bash"))
  func source() async throws {
    let lab = try await TestLab("db")
    _ = try await Self.inside(lab, ["ip", "address", "add", "10.7.0.1/32", "dev", "lo"])
    _ = try await Self.inside(lab, ["ip", "address", "add", "10.7.0.2/32", "dev", "lo"])
    let listener = try Self.open(.echo, port: 7, in: lab)
    defer { listener.close() }
    // A connected socket takes no answer from another address.
    #expect(try await Self.datagram("x", to: "10.7.0.2", in: lab) == "x\n")
  }

  @Test(
    "A port in use is an error with the line, and leaves nothing open",
    .enabled(if: TestHost.has("ss"), "needs ss"))
  func portInUse() async throws {
    let lab = try await TestLab("web")
    let first = try Self.open(.echo, port: 80, in: lab)
    let error = #expect(throws: DatapathError.self) { try Self.open(.http, port: 80, in: lab) }
    #expect(error?.errno == EADDRINUSE)
    let text = error.map { "\($0)" } ?? ""
    #expect(
      text.contains("topology.swift:12") && text.contains("node 'web'") && text.contains("another port"),
      "\(text)")
    first.close()
    #expect(try await Self.inside(lab, ["ss", "-Hlntu"]) == "")
  }

  @Test(
    "chargen says RFC 864's lines without end, and one line for a datagram",
    .enabled(if: TestHost.has("bash"), "needs bash"))
  func chargen() async throws {
    let lab = try await TestLab("db")
    let listener = try Self.open(.chargen, port: 7, in: lab)
    defer { listener.close() }
    let lines = try await Self.inside(lab, ["bash", "-c", "head -n 5000 < /dev/tcp/127.0.0.1/7"])
      .split(separator: "\r\n")
    #expect(lines.count == 5000)
    let ring = (0x20...0x7e).map { Character(Unicode.Scalar(UInt8($0))) }
    let wrong = lines.enumerated().first { place, line in
      line != String((0..<72).map { ring[(place + $0) % 95] })
    }
    #expect(wrong == nil)
    let answer = try await Self.datagram("x", to: "::1", in: lab)
    #expect(answer == String(ring[..<72]) + "\r\n")
  }

  @Test(
    "iperf3 measures against the service, both ways, in several streams, one test after the other",
    .enabled(if: TestHost.has("iperf3"), "needs iperf3"),
    arguments: [[], ["-R"], ["-P", "3"], ["-R", "-P", "3", "-6"], ["-n", "1M"]])
  func iperf(options: [String]) async throws {
    let lab = try await TestLab("db")
    let listener = try Self.open(.iperf, port: 5201, in: lab)
    defer { listener.close() }
    let host = options.contains("-6") ? "::1" : "127.0.0.1"
    for _ in 0..<2 {
      let length = options.contains("-n") ? [] : ["-t", "1"]
      let text = try await Self.inside(lab, ["iperf3", "-c", host, "-J"] + length + options)
      let report = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
      #expect(report["error"] == nil, "\(text)")
      let end = try #require(report["end"] as? [String: Any])
      let streams = try #require(end["streams"] as? [[String: Any]])
      #expect(streams.count == (options.contains("-P") ? 3 : 1))
      for side in ["sum_sent", "sum_received"] {
        let sum = try #require(end[side] as? [String: Any])
        #expect(sum["bytes"] as? Double ?? 0 >= 1_000_000, "\(side): \(sum)")
      }
    }
  }

  @Test(
    "What the service cannot measure is refused in iperf3's words, and the next test is served",
    .enabled(if: TestHost.has("iperf3"), "needs iperf3"))
  func iperfRefusals() async throws {
    let lab = try await TestLab("db")
    let listener = try Self.open(.iperf, port: 5201, in: lab)
    defer { listener.close() }
    for options in [["-u"], ["--bidir"]] {
      let text = try await Self.inside(lab, ["iperf3", "-c", "127.0.0.1", "-t", "1", "-J"] + options)
      #expect(text.contains("not implemented"), "\(text)")
    }
    let text = try await Self.inside(lab, ["iperf3", "-c", "127.0.0.1", "-n", "1M", "-J"])
    #expect(!text.contains("\"error\""), "\(text)")
  }

  @Test("Sockets stand in the node and nowhere else", .enabled(if: TestHost.has("ss"), "needs ss"))
  func place() async throws {
    let lab = try await TestLab("web")
    let listener = try Self.open(.echo, port: 54321, in: lab)
    defer { listener.close() }
    #expect(try await Self.inside(lab, ["ss", "-Hlntu"]).split(separator: "\n").count == 4)
    #expect(try await !TestHost.run("ss", "-Hlntu").output.contains(":54321"))
  }
}

@Suite("The HTTP responder")
struct HTTPResponderTests {
  /// What comes out when `text` comes in, in pieces of `size` bytes; and whether the connection ends.
  static func answer(_ text: String, size: Int = .max) -> (text: String, ends: Bool) {
    var responder = HTTPResponder(body: Array("body\n".utf8))
    var input: [UInt8] = []
    var output: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      input += rest.prefix(size)
      rest = rest.dropFirst(size)
      if responder.take(&input, into: &output, now: Instant(nanoseconds: 0)) {
        return (String(decoding: output, as: UTF8.self), true)
      }
    }
    return (String(decoding: output, as: UTF8.self), false)
  }

  @Test(
    "Each request has its status",
    arguments: [
      ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, false),
      ("GET http://a/b HTTP/1.1\r\nhost:a\r\n\r\n", 200, false),
      ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, false),
      ("GET / HTTP/1.1\nHost: a\n\n", 200, false),
      ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, true),
      ("GET / HTTP/1.0\r\n\r\n", 200, true),
      ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 200, false),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405, false),
      ("GET / HTTP/1.1\r\n\r\n", 400, true),
      ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, true),
      ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, true),
      ("G\u{1}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, true),
      ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, true),
      ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, true),
      ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, true),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, true),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413, true),
      ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501, true),
      ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, true),
      ("GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n", 431, true),
    ])
  func statuses(request: String, code: Int, ends: Bool) {
    for size in [Int.max, 1, 7] {
      let answer = Self.answer(request, size: size)
      #expect(answer.text.hasPrefix("HTTP/1.1 \(code) "), "\(answer.text.prefix(40))")
      #expect(answer.ends == ends)
    }
  }

  @Test("Pipelined requests are answered in order, with bodies dropped between them")
  func pipelined() {
    let request =
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for size in [Int.max, 1, 5] {
      let text = Self.answer(request, size: size).text
      #expect(
        text.components(separatedBy: "HTTP/1.1 ").dropFirst().map { $0.prefix(3) } == ["405", "200", "200"])
      #expect(text.hasSuffix("\r\n\r\nbody\n"))
      #expect(text.components(separatedBy: "body\n").count == 2, "HEAD has no body")
    }
  }

  @Test("Nothing that comes in makes it trap")
  func fuzz() {
    var generator = SplitMix(3)
    let parts = [
      "GET ", "/", " HTTP/1.1", "\r\n", "\n", "\r", "Host: a", ":", "Content-Length: ", "5", "\0", "é",
      "\r\n\r\n", " ",
    ]
    for _ in 0..<Rounds.of(200) {
      var text = ""
      for _ in 0..<Int.random(in: 0..<60, using: &generator) {
        text += parts.randomElement(using: &generator) ?? ""
      }
      _ = Self.answer(text, size: Int.random(in: 1...9, using: &generator))
    }
  }
}

@Suite("The iperf server")
struct IperfServerTests {
  @Test("Hostile control connections end and leave the server free", arguments: [Rounds.of(200)])
  func noise(rounds: Int) {
    let server = IperfServer()
    var random = SplitMix(1)
    for _ in 0..<rounds {
      var connection = server.behavior()
      var input: [UInt8] = []
      var output: [UInt8] = []
      var isOver = false
      for _ in 0..<8 where !isOver {
        let kind = random.next() % 4
        let count = Int(random.next() % 64)
        input +=
          kind == 0
          ? [0, 0, 0, 2] + Array("{}".utf8)
          : (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        if kind == 1 { input.append(4) }
        isOver = connection.take(&input, into: &output, now: Instant(nanoseconds: 0))
        connection.produce(into: &output)
      }
      connection.end()
      #expect(output.count < 1 << 20)
    }
    var connection = server.behavior()
    var input = [UInt8](repeating: 0x61, count: 37)
    var output: [UInt8] = []
    #expect(!connection.take(&input, into: &output, now: Instant(nanoseconds: 0)))
    connection.produce(into: &output)
    #expect(output == [9], "the next client is asked for its parameters")
  }
}
