// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel says has changed in a lab, for all its namespaces by one socket.

public import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Rtnetlink
import Synchronization
import SystemPackage

extension KernelDatapath {
  public func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream {
    let start = try await perform(on: lab, "follow lab '\(lab)'") { (kernel) throws(DatapathError) in
      try ChangeFollower.start(kernel)
    }
    return ChangeStream(start.stream())
  }
}

/// Turns the monitor's events into a lab's.
final class ChangeFollower: Sendable {
  private let monitor: NetlinkMonitor
  /// The lab's namespaces by their names.
  private let namespaces: [String: NamespaceID]
  private let reader: Mutex<ChangeReader>

  private init(
    _ monitor: NetlinkMonitor, _ namespaces: [String: NamespaceID], _ reader: ChangeReader
  ) {
    self.monitor = monitor
    self.namespaces = namespaces
    self.reader = Mutex(reader)
  }

  static func start(_ kernel: HostKernel) throws(DatapathError) -> ChangeFollower {
    var survey = Survey(kernel, scope: Scope(), addressesAreMarked: true)
    let ids = try survey.run().owned.namespaces.map(\.id).filter { $0 != .host }
    // A monitor hears its own namespace without a number; the host's is the one to stand in.
    do throws(TransportError) { try kernel.thread.enter(kernel.host) } catch {
      throw DatapathError(.unavailable, operation: "follow lab '\(kernel.lab)'", cause: error.cause)
    }
    do throws(NetlinkError) {
      let monitor = try NetlinkMonitor(groups: NetlinkMonitor.allGroups + [.qdisc])
      var names: [String: NamespaceID] = [:]
      var reader = ChangeReader()
      for id in ids {
        guard let open = kernel.session.namespaces[id] else { continue }
        try monitor.watch(open.namespace)
        names[open.namespace.label] = id
        for link in try open.socket.dump(LinkMessage.dump(extended: .skipStatistics), as: LinkMessage.self) {
          reader.learn(link, in: id)
        }
      }
      return ChangeFollower(monitor, names, reader)
    } catch {
      throw DatapathError(
        .unavailable, operation: "follow lab '\(kernel.lab)'", errno: error.errno?.rawValue,
        cause: TransportError(error).cause)
    }
  }

  func stream() -> AsyncStream<ChangeEvent> {
    AsyncStream(bufferingPolicy: .bufferingOldest(65_536)) { continuation in
      let task = Task {
        for await event in monitor.events {
          for change in changes(of: event) { continuation.yield(change) }
        }
        continuation.finish()
      }
      continuation.onTermination = { _ in
        task.cancel()
        self.monitor.stop()
      }
    }
  }

  private func changes(of event: NetlinkEvent) -> [ChangeEvent] {
    switch event {
    case .gap: return namespaces.values.sorted().map(ChangeReader.gap)
    case .message(let message, let name):
      guard let namespace = name.flatMap({ namespaces[$0] }) else { return [] }
      return reader.withLock { $0.event(of: message, in: namespace) }.map { [$0] } ?? []
    }
  }
}
