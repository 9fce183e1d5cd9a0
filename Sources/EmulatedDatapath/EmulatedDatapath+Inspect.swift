// SPDX-License-Identifier: GPL-2.0-or-later

// What the emulated kernel knows and counts: the dumps that the host's kernel has too, and what only a kernel of our own
// can tell, why packets ended and where all of them are.

public import LabCore
import LinuxObjects
import NetStack
import NetTypes

extension EmulatedDatapath {
  public func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer {
    try await perform(on: lab, in: namespace, "look into \(namespace)") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        let inspector = try Inspector(kernel.channel(to: namespace))
        switch question {
        case .neighbors: return .neighbors(try inspector.neighbors())
        case .forwardingEntries: return .forwardingEntries(try inspector.forwardingEntries())
        case .route(let address): return .route(try inspector.route(to: address))
        case .sockets: return .sockets(try kernel.socketReports(of: namespace, inspector))
        case .statistics: return .statistics(try kernel.statistics(of: namespace, inspector))
        case .connections(let filter): return .connections(try kernel.connections(in: namespace, filter))
        case .forget(let filter):
          return .connections(try kernel.connections(in: namespace, filter, isForgotten: true))
        case .identity:
          return .identity(inspector.identity(cookie: try kernel.cookie(of: namespace)))
        }
      } catch {
        throw DatapathError(
          .refused, operation: "look into the network", path: StatePath(namespace),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
  }
}

extension EmulatedKernel {
  fileprivate func statistics(
    of namespace: NamespaceID, _ inspector: Inspector<EmulatedChannel>
  ) throws(TransportError) -> StatisticsReport {
    let index = try index(of: namespace)
    let counters = stack.counters(of: index) ?? SNMPCounters()
    let accounting = stack.accounting
    let softnet = stack.softnet
    return StatisticsReport(
      links: inspector.linkStatistics { name in
        // Only a device with rings has more to tell.
        guard let device = self.stack.device(name, in: index),
          let lines = try? self.stack.deviceStatistics(of: device)
        else { return [] }
        return lines.map { StatisticsReport.Counter($0.name, $0.value) }
      },
      counters: SNMPCounter.allCases.filter { counters[$0] > 0 }.map {
        StatisticsReport.Counter($0.name, counters[$0])
      },
      drops: Self.counters(stack.drops(of: index) ?? DropCounters()),
      softnet: [
        [
          StatisticsReport.Counter("processed", softnet.processed),
          StatisticsReport.Counter("time_squeeze", softnet.timeSqueeze),
          StatisticsReport.Counter("polls", softnet.polls),
          StatisticsReport.Counter("interrupts", softnet.interrupts),
        ]
      ],
      accounting: StatisticsReport.Accounting(
        allocated: accounting.allocated, freed: accounting.freed, held: accounting.held,
        failures: accounting.failures, isClosed: accounting.isClosed,
        ends: Self.counters(accounting.reasons)))
  }

  private static func counters(_ drops: DropCounters) -> [StatisticsReport.Counter] {
    drops.nonZero.map { StatisticsReport.Counter($0.reason.name, $0.count) }
  }
}
