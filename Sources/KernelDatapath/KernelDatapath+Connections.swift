// SPDX-License-Identifier: GPL-2.0-or-later

// The connections that the host's kernel tracks in a namespace, by ctnetlink.

public import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage

extension HostChannel {
  /// The connections that a filter accepts, in order; `isForgotten` ends them.
  func connections(
    _ filter: ConnectionFilter, isForgotten: Bool = false
  ) throws(TransportError) -> [ConnectionReport] {
    let socket = try socket(.netfilter)
    do throws(NetlinkError) {
      var found: [(message: ConntrackMessage, report: ConnectionReport)] = []
      for answer in try socket.dump(ConntrackMessage.dump()) {
        do throws(NetlinkDecodingError) {
          guard let message = try ConntrackMessage(answer) else { continue }
          let report = ConnectionReport(message)
          if filter.accepts(report) { found.append((message, report)) }
        } catch {
          throw NetlinkError(.malformedAnswer, "listing connections", detail: error.description)
        }
      }
      if isForgotten {
        for outcome in try socket.transact(found.map(\.message.deletion)) {
          // One that has ended meanwhile is as wanted.
          if let error = outcome.error, error.errno != .noSuchFileOrDirectory { throw error }
        }
      }
      return found.map(\.report).sorted(by: ConnectionReport.precedes)
    } catch {
      throw TransportError(error)
    }
  }
}

extension KernelDatapath {
  public func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent> {
    let monitor = try await perform(on: lab, "follow the connections of \(namespace)") {
      (kernel) throws(DatapathError) in
      do throws(TransportError) {
        let channel = try kernel.channel(to: namespace)
        return try channel.conntrackMonitor()
      } catch {
        throw DatapathError(
          .unavailable, operation: "follow the connections", path: StatePath(namespace),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
    return AsyncStream(bufferingPolicy: .bufferingOldest(65_536)) { continuation in
      let task = Task {
        for await event in monitor.events {
          switch event {
          case .gap: continuation.yield(ConnectionEvent(.gap, nil))
          case .message(let message, _):
            guard let connection = try? ConntrackMessage(message) else { continue }
            let kind: ConnectionEvent.Kind =
              message.type == ConntrackMessage.deleteType
              ? .destroy : message.flags.contains(.create) ? .new : .update
            continuation.yield(ConnectionEvent(kind, ConnectionReport(connection)))
          }
        }
        continuation.finish()
      }
      continuation.onTermination = { _ in
        task.cancel()
        monitor.stop()
      }
    }
  }
}

extension ConnectionReport {
  init(_ message: ConntrackMessage) {
    self.init(
      id: message.id, protocolNumber: message.original.protocolNumber,
      original: Direction(message.original, message.originalCounters),
      reply: Direction(message.reply, message.replyCounters))
    timeout = message.timeout
    state = message.stateName
    isReplied = message.status.contains(.seenReply)
    isAssured = message.status.contains(.assured)
    isOffloaded = message.status.contains(.offload)
    mark = message.mark
    zone = message.zone
    helper = message.helper
    uses = message.uses
  }
}

extension ConnectionReport.Direction {
  fileprivate init(_ tuple: ConntrackMessage.Tuple, _ counters: ConntrackMessage.Counters?) {
    self.init(source: tuple.source, destination: tuple.destination)
    sourcePort = tuple.sourcePort
    destinationPort = tuple.destinationPort
    type = tuple.icmpType
    code = tuple.icmpCode
    id = tuple.icmpID
    packets = counters?.packets
    bytes = counters?.bytes
  }
}
