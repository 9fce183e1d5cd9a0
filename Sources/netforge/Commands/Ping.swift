// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge ping FROM TO` and `netforge ping --all`.
struct Ping: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ping",
    abstract: "Send echo requests from a node to another, or between all of them.",
    discussion: "TO is a node, node:interface, or an address. Exit code 1 when an answer is missing.")

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node that sends.")
  var from: String?

  @Argument(help: "A node, node:interface, or an address.")
  var to: String?

  @Flag(name: .shortAndLong, help: "Every node to every other.")
  var all = false

  @Option(name: .shortAndLong, help: "How many requests each.")
  var count: Int?

  @Option(help: ArgumentHelp("How long to wait for an answer.", valueName: "milliseconds"))
  var wait: Int = 1000

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard all != (from != nil && to != nil), all || to != nil, !all || from == nil else {
      throw ValidationError("say netforge ping FROM TO, or netforge ping --all")
    }
    guard (1...3_600_000).contains(wait) else {
      throw ValidationError("--wait takes 1 to 3600000 milliseconds")
    }
    guard (1...1_000_000).contains(count ?? 1) else { throw ValidationError("--count takes 1 to 1000000") }
  }

  struct Result: Encodable {
    var from: String
    var to: String
    var address: String
    var sent: Int
    var received: Int
    /// Of each answer, in milliseconds.
    var roundTrips: [Double]
    var error: String?
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var pings: [Result]
  }

  func run() async throws {
    let folder = try await selection.folder()
    let (loaded, resolution) = try folder.recordedResolution()
    let lab = try await RunningLab.open(folder)
    let book = NodeAddresses(resolution.state)
    let pairs = try pairs(in: loaded.topology, book)
    let results = try await run(pairs, in: lab)
    let document = Document(lab: lab.name.text, pings: results)
    try output.print(document) { Self.text(of: results, all: all) }
    if results.contains(where: { $0.received < $0.sent || $0.sent == 0 }) { throw ExitCode(1) }
  }

  private typealias Pair = (from: NodeName, to: String, address: IPAddress)

  private func pairs(in topology: Topology, _ book: NodeAddresses) throws -> [Pair] {
    guard let from, let to else {
      let pairs = topology.nodes.flatMap { source in
        topology.nodes.compactMap { target -> Pair? in
          guard source.name != target.name, let address = book.address(of: target.name, from: source.name)
          else { return nil }
          return (source.name, target.name.text, address)
        }
      }
      guard !pairs.isEmpty else {
        throw Failure(.failed, "lab '\(topology.name)' has no two nodes with addresses")
      }
      return pairs
    }
    let source = try topology.node(named: from).name
    let target = try book.resolve(to, from: source, in: topology)
    return [(source, target.name, target.address)]
  }

  /// Nodes send side by side, a node's own requests one after the other.
  private func run(_ pairs: [Pair], in lab: RunningLab) async throws -> [Result] {
    let groups = Dictionary(grouping: pairs.enumerated(), by: \.element.from).sorted { $0.key < $1.key }
    let requests = count ?? (all ? 1 : 4)
    let timeout = Interval.milliseconds(Int64(wait))
    let pause = all ? Interval.zero : Interval.milliseconds(200)
    return await withTaskGroup(of: [(Int, Result)].self) { tasks in
      var waiting = groups.makeIterator()
      var results: [(Int, Result)] = []
      func begin(_ group: (key: NodeName, value: [(offset: Int, element: Pair)])) {
        let pairs = group.value.map { (index: $0.offset, to: $0.element.to, address: $0.element.address) }
        tasks.addTask {
          var own: [(Int, Result)] = []
          for pair in pairs {
            let echo = Echo(lab: lab, from: group.key, to: pair.address, timeout: timeout, pause: pause)
            own.append((pair.index, await echo.run(requests, name: pair.to)))
          }
          return own
        }
      }
      for _ in 0..<32 { if let group = waiting.next() { begin(group) } }
      while let own = await tasks.next() {
        results += own
        if let group = waiting.next() { begin(group) }
      }
      return results.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }

  private static func text(of results: [Result], all: Bool) -> String {
    let failed = results.filter { $0.received < $0.sent || $0.sent == 0 }
    if all {
      let lines = failed.map { "\($0.from) -> \($0.to) (\($0.address)): \($0.error ?? "no answer")" }
      return (lines + ["\(results.count - failed.count) of \(results.count) pairs answer"]).joined(
        separator: "\n")
    }
    return results.map { result in
      let times = result.roundTrips.map { "\(($0 * 1000).rounded() / 1000) ms" }.joined(separator: ", ")
      return
        "\(result.from) -> \(result.to) (\(result.address)): \(result.received) of \(result.sent) answered"
        + (times.isEmpty ? "" : ": \(times)") + (result.error.map { "; \($0)" } ?? "")
    }.joined(separator: "\n")
  }
}

/// Echo requests from a node to an address.
private struct Echo {
  var lab: RunningLab
  var from: NodeName
  var to: IPAddress
  var timeout: Interval
  var pause: Interval

  func run(_ count: Int, name: String) async -> Ping.Result {
    var result = Ping.Result(
      from: from.text, to: name, address: to.description, sent: 0, received: 0, roundTrips: [])
    do throws(DatapathError) {
      let endpoint = try await lab.datapath.endpoint(.echo(to.family), in: from, of: lab.name)
      for number in 0..<count {
        if number > 0, pause > .zero {
          await lab.datapath.clock.sleep(until: lab.datapath.clock.now() + pause)
        }
        await once(number, over: endpoint, into: &result)
      }
      await endpoint.close()
    } catch {
      result.error = error.description
    }
    return result
  }

  /// One request; its payload tells its answer from a late one of another.
  private func once(_ number: Int, over endpoint: any NodeEndpoint, into result: inout Ping.Result) async {
    let clock = lab.datapath.clock
    let payload = (0..<56).map { UInt8(truncatingIfNeeded: $0 &+ number &* 7) }
    let begin = clock.now()
    result.sent += 1
    do throws(DatapathError) {
      try await endpoint.send(payload, to: SocketEndpoint(to, 0))
      while true {
        let left = timeout - (clock.now() - begin)
        let answer = try await endpoint.receive(limit: 2048, timeout: max(left, .milliseconds(1)))
        if let error = answer.error {
          result.error = "\(error) (from \(answer.source.address))"
          return
        }
        guard answer.bytes == payload else { continue }
        result.received += 1
        result.roundTrips.append(Double((clock.now() - begin).nanoseconds) / 1_000_000)
        return
      }
    } catch {
      result.error = error.code == .timeout ? "no answer" : error.cause
    }
  }
}
