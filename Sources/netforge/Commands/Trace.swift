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

  @Flag(help: "Show what each rule writes to registers (emulated).")
  var registers = false

  @OptionGroup var output: OutputOptions

  func run() async throws {
    let words = try PacketWords(words)
    let live = try await LiveLab.open(selection)
    let source = try live.topology.node(named: from).name
    let target = try NodeAddresses(live.resolution.state).resolve(to, from: source, in: live.topology).address
    let packet = words.packet(from: source, to: target, wait: wait.interval)
    let tracer = PacketTracer(live.lab.datapath, lab: live.lab.name, live.resolution, live.points)
    guard let compare else {
      let story = try await tracer.story(of: packet)
      try output.print(document(live, live.lab.kind, story)) { story.text(registers: registers) }
      if registers, live.lab.kind != .emulated {
        Terminal.say("not told by this kernel: what rules write to registers")
      }
      if case .dropped = story.verdict { throw ExitCode(1) }
      return
    }
    let twin = try await twin(of: live, compare)
    let own = try await tracer.story(of: packet)
    let other = try await PacketTracer(twin.datapath, lab: twin.name, live.resolution, live.points)
      .story(of: packet)
    let difference = own.difference(from: other)
    let comparison = Comparison(
      stories: [document(live, live.lab.kind, own), document(live, .emulated, other)],
      differences: difference)
    try output.print(comparison) {
      difference.isEmpty
        ? own.text() + "\nthe emulated kernel does the same"
        : own.text() + "\nthe emulated kernel does otherwise (- \(live.lab.kind.rawValue), + emulated):\n"
          + difference.joined(separator: "\n")
    }
    if !difference.isEmpty { throw ExitCode(1) }
  }

  private func document(_ live: LiveLab, _ kind: DatapathKind, _ story: TraceStory) -> Document {
    Document(
      lab: live.lab.name.text, datapath: kind.rawValue, from: from, to: to, story: TraceDocument(story))
  }

  // MARK: Two kernels

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

  /// The story's keys stand beside its own.
  struct Document: Encodable {
    var lab: String
    var datapath: String
    var from: String
    var to: String
    var story: TraceDocument

    private enum Keys: CodingKey { case schemaVersion, lab, datapath, from, to }

    func encode(to encoder: any Encoder) throws {
      try story.encode(to: encoder)
      var container = encoder.container(keyedBy: Keys.self)
      try container.encode(1, forKey: .schemaVersion)
      try container.encode(lab, forKey: .lab)
      try container.encode(datapath, forKey: .datapath)
      try container.encode(from, forKey: .from)
      try container.encode(to, forKey: .to)
    }
  }

  struct Comparison: Encodable {
    var schemaVersion = 1
    var stories: [Document]
    /// `-` of the first alone, `+` of the second alone.
    var differences: [String]
  }
}

extension TraceStory {
  /// The steps in columns; on request with what rules have written to registers.
  func table(registers: Bool = false) -> Table {
    var table = Table("AFTER", "PLACE", "STEP", "DETAIL")
    for step in steps {
      table.add(
        step.after?.description ?? "", step.place, step.kind.rawValue,
        step.text + (step.location.map { " (\($0))" } ?? ""))
      for write in registers ? step.writes : [] { table.add("", "", "", "  \(write)") }
    }
    return table
  }

  fileprivate func text(registers: Bool = false) -> String {
    var lines = [table(registers: registers).text, end]
    for line in untold { lines.append("not told by this kernel: \(line)") }
    return lines.joined(separator: "\n")
  }
}

/// The words that say what packet is meant.
private struct PacketWords {
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

  func packet(from node: NodeName, to target: IPAddress, wait: Interval) -> TracedPacket {
    let port = Port(numbers["dport"] ?? 0)
    let kind: TracedPacket.Kind =
      switch proto {
      case "tcp": .connection(port)
      case "udp": .datagram(port)
      default: .echo
      }
    var packet = TracedPacket(from: node, to: target, kind, mark: UInt64.random(in: 1 ... .max))
    packet.sourcePort = numbers["sport"].map { Port($0) }
    if let limit = numbers["ttl"] { packet.hopLimit = UInt8(limit) }
    if let size = numbers["size"] { packet.payloadLength = size }
    packet.wait = wait
    return packet
  }
}
