// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Capture
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge trace FROM TO`.
struct Trace: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Send a packet and tell its whole way: devices, bridges, rules, NAT, and where it ended.",
    discussion: """
      TO is a node, node:interface, or an address. The words behind say what packet: netforge trace web1 db tcp dport \
      5432; tcp and udp with dport and sport, icmp (the default), ttl, size. Exit code 1 when it was not delivered. With \
      --compare the same packet goes through two kernels, and what differs is told: exit code 1.
      """)

  @Argument(help: "The node that sends.")
  var from: String

  @Argument(help: "A node, node:interface, or an address.")
  var to: String

  @Argument(help: ArgumentHelp("What packet.", valueName: "tcp dport 443"))
  var words: [String] = []

  @OptionGroup var selection: LabOptions

  @Option(help: ArgumentHelp("How long to wait for the packet and an answer.", valueName: "1s"))
  var wait = TimeArgument(.seconds(1))

  @Option(help: ArgumentHelp("Two datapaths; the lab's own, and emulated.", valueName: "kernel,emulated"))
  var compare: String?

  @OptionGroup var output: OutputOptions

  func run() async throws {
    let kind = try ProbeWords(words)
    let live = try await LiveLab.open(selection)
    let source = try live.topology.node(named: from).name
    let target = try NodeAddresses(live.resolution.state).resolve(to, from: source, in: live.topology).address
    let request = TraceRequest(
      node: source, probe: try await kind.probe(from: source, to: target, live),
      points: live.points.all.map { CapturePoint($0.link, name: $0.name, linkType: live.linkType(of: $0)) },
      wait: wait.interval)
    guard let compare else { return try await show(live, request) }
    try await show(live, request, twin: try await twin(of: live, compare))
  }

  private func show(_ live: LiveLab, _ request: TraceRequest) async throws {
    let story = live.story(request, try await live.lab.datapath.trace(request, of: live.lab.name))
    try output.print(Document(live, live.lab.kind, from, to, story)) { story.text }
    if case .dropped = story.verdict { throw ExitCode(1) }
  }

  // MARK: Two kernels

  private func show(_ live: LiveLab, _ request: TraceRequest, twin: LabUnderTest) async throws {
    let own = live.story(request, try await live.lab.datapath.trace(request, of: live.lab.name))
    let other = live.story(request, try await twin.datapath.trace(request, of: twin.name))
    let difference = own.difference(from: other)
    let comparison = Comparison(
      stories: [
        Document(live, live.lab.kind, from, to, own), Document(live, .emulated, from, to, other),
      ], differences: difference)
    try output.print(comparison) {
      difference.isEmpty
        ? own.text + "\nthe emulated kernel does the same"
        : own.text + "\nthe emulated kernel does otherwise (- \(live.lab.kind.rawValue), + emulated):\n"
          + difference.joined(separator: "\n")
    }
    if !difference.isEmpty { throw ExitCode(1) }
  }

  /// The same lab in an emulated kernel of this process, for as long as the comparison takes.
  private func twin(of live: LiveLab, _ compare: String) async throws -> LabUnderTest {
    let kinds = compare.split(separator: ",").map(String.init)
    guard kinds.count == 2, kinds.contains(live.lab.kind.rawValue), kinds.contains("emulated"),
      live.lab.kind != .emulated
    else {
      throw Failure(
        .usage,
        "--compare takes the lab's own datapath and emulated; this lab is on the \(live.lab.kind.rawValue) one"
          + (live.lab.kind == .emulated ? ": bring it up on another first" : ""))
    }
    var bed = TestBed(.emulated)
    bed.isRealTime = true
    return try await bed.bringUp(try Declarations(json: live.rendered)).lab
  }

  // MARK: Documents

  struct Step: Encodable {
    var place: String
    var kind: String
    var detail: String
    /// Since the packet was first seen at a device; nil where that is not told.
    var nanoseconds: Int64?
    /// `topology.swift:23`.
    var location: String?
  }

  struct Answer: Encodable {
    var kind: String
    var from: String
    var nanoseconds: Int64
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var datapath: String
    var from: String
    var to: String
    var steps: [Step]
    var delivered: Bool
    /// Where it was delivered, or dropped.
    var place: String
    /// Why it was dropped.
    var reason: String?
    var answer: Answer?
    /// What this kernel does not tell.
    var untold: [String]

    init(_ live: LiveLab, _ kind: DatapathKind, _ from: String, _ to: String, _ story: TraceStory) {
      lab = live.lab.name.text
      datapath = kind.rawValue
      (self.from, self.to) = (from, to)
      steps = story.steps.map {
        Step(
          place: $0.place, kind: $0.kind.rawValue, detail: $0.text, nanoseconds: $0.after?.nanoseconds,
          location: $0.location?.description)
      }
      switch story.verdict {
      case .delivered(let place): (delivered, self.place) = (true, place)
      case .dropped(let place, let reason): (delivered, self.place, self.reason) = (false, place, reason)
      }
      answer = story.answer.map { Answer(kind: $0.kind, from: $0.from, nanoseconds: $0.after.nanoseconds) }
      untold = story.untold
    }
  }

  struct Comparison: Encodable {
    var schemaVersion = 1
    var stories: [Document]
    /// `-` of the first alone, `+` of the second alone.
    var differences: [String]
  }
}

extension LiveLab {
  fileprivate func story(_ request: TraceRequest, _ report: TraceReport) -> TraceStory {
    TraceStory(request, report, resolution, points)
  }
}

extension TraceStory {
  fileprivate var text: String {
    var table = Table("AFTER", "PLACE", "STEP", "DETAIL")
    for step in steps {
      table.add(
        step.after?.description ?? "", step.place, step.kind.rawValue,
        step.text + (step.location.map { " (\($0))" } ?? ""))
    }
    var lines = [table.text]
    switch verdict {
    case .delivered(let place): lines.append("delivered to \(place)")
    case .dropped(let place, let reason): lines.append("dropped at \(place): \(reason)")
    }
    if let answer { lines.append("answered by \(answer.from) after \(answer.after): \(answer.kind)") }
    for line in untold { lines.append("not told by this kernel: \(line)") }
    return lines.joined(separator: "\n")
  }
}

/// The words that say what packet is meant.
private struct ProbeWords {
  private var proto = "icmp"
  private var numbers: [String: Int] = [:]

  init(_ words: [String]) throws {
    var rest = words[...]
    if let first = rest.first, ["icmp", "tcp", "udp"].contains(first) {
      proto = first
      rest.removeFirst()
    }
    let limits = ["dport": 1...65535, "sport": 1...65535, "ttl": 1...255, "size": 8...1400]
    while let name = rest.popFirst() {
      guard let limit = limits[name] else {
        throw Failure(
          .usage, "'\(name)' is no word for a packet; there are tcp, udp, icmp, dport, sport, ttl, size")
      }
      guard let number = rest.popFirst().flatMap({ Int($0) }), limit.contains(number) else {
        throw Failure(.usage, "\(name) takes a number of \(limit.lowerBound) to \(limit.upperBound)")
      }
      numbers[name] = number
    }
    let hasPorts = numbers["dport"] != nil || numbers["sport"] != nil
    guard proto != "icmp" || !hasPorts else { throw Failure(.usage, "icmp has no ports; say tcp or udp") }
    guard proto == "icmp" || numbers["dport"] != nil else { throw Failure(.usage, "\(proto) needs a dport") }
  }

  /// The packet, from the address that the node would send it from.
  func probe(from node: NodeName, to target: IPAddress, _ live: LiveLab) async throws -> ProbePacket {
    let answer = try await live.lab.datapath.inspect(.route(to: target), in: .node(node), of: live.lab.name)
    guard case .route(let route) = answer else { throw Failure.unexpectedAnswer }
    guard let source = route.source else {
      throw Failure(.failed, "node '\(node)' has no address to send to \(target) from")
    }
    let mark = UInt64.random(in: 1 ... .max)
    // Of the dynamic ports, as a socket would take one.
    let sport = UInt16(numbers["sport"] ?? 32_768 + Int(mark % 28_000))
    let dport = UInt16(numbers["dport"] ?? 0)
    let transport: ProbePacket.Transport =
      switch proto {
      case "tcp": .tcp(source: sport, destination: dport)
      case "udp": .udp(source: sport, destination: dport)
      default: .icmp
      }
    return ProbePacket(
      from: source, to: target, transport, hopLimit: UInt8(numbers["ttl"] ?? 64),
      payloadLength: numbers["size"] ?? 56, mark: mark)
  }
}
