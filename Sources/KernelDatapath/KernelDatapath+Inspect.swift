// SPDX-License-Identifier: GPL-2.0-or-later

// What the host's kernel knows and counts in a namespace: rtnetlink's dumps, and what stands below /proc/net.

public import LabCore
import LinuxObjects
import NetTypes
import Netlink

extension KernelDatapath {
  public func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer {
    try await perform(on: lab, "look into \(namespace)") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        let channel = try kernel.channel(to: namespace)
        let inspector = try Inspector(channel)
        switch question {
        case .neighbors: return .neighbors(try inspector.neighbors())
        case .forwardingEntries: return .forwardingEntries(try inspector.forwardingEntries())
        case .route(let address): return .route(try inspector.route(to: address))
        case .sockets: return .sockets(try channel.socketReports(inspector))
        case .connections(let filter): return .connections(try channel.connections(filter))
        case .forget(let filter): return .connections(try channel.connections(filter, isForgotten: true))
        case .identity: return .identity(inspector.identity(cookie: try channel.cookie()))
        case .statistics:
          let tables = try ["snmp", "netstat"].map { (name) throws(TransportError) in
            try ProcNet.table(channel.readNetworkFile(name))
          }
          let six = try ProcNet.lines(channel.readNetworkFile("snmp6"))
          return .statistics(
            StatisticsReport(
              links: inspector.linkStatistics(),
              counters: (tables.flatMap { $0 } + six).filter { $0.value > 0 },
              drops: nil, softnet: ProcNet.softnet(try channel.readNetworkFile("softnet_stat")),
              accounting: nil))
        }
      } catch {
        throw DatapathError(
          .refused, operation: "look into the network", path: StatePath(namespace),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
  }
}

/// The text files below /proc/net.
enum ProcNet {
  /// `Ip: A B` above `Ip: 1 2`, as snmp and netstat have them; nstat joins group and name.
  static func table(_ text: String) -> [StatisticsReport.Counter] {
    let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
    return stride(from: 0, to: lines.count - 1, by: 2).flatMap { place in
      let group = lines[place].first?.dropLast() ?? ""
      return zip(lines[place], lines[place + 1]).dropFirst().compactMap { name, value in
        UInt64(value).map { StatisticsReport.Counter("\(group)\(name)", $0) }
      }
    }
  }

  /// A name and a number a line.
  static func lines(_ text: String) -> [StatisticsReport.Counter] {
    text.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words.count == 2, let value = UInt64(words[1]) else { return nil }
      return StatisticsReport.Counter(String(words[0]), value)
    }
  }

  /// A line a CPU in hexadecimal: processed, dropped, time_squeeze.
  static func softnet(_ text: String) -> [[StatisticsReport.Counter]] {
    text.split(separator: "\n").map { line in
      let values = line.split(separator: " ").map { UInt64($0, radix: 16) ?? 0 }
      return zip(["processed", "dropped", "time_squeeze"], values).map { StatisticsReport.Counter($0, $1) }
    }
  }
}
