// SPDX-License-Identifier: GPL-2.0-or-later

// The connections that an emulated namespace tracks: as its kernel lists them, and for as long as somebody follows them
// what becomes of each.

public import LabCore
import LinuxObjects
import NetStack
import NetTypes

extension EmulatedKernel {
  /// The connections that a filter accepts, in order; `isForgotten` ends them.
  func connections(
    in namespace: NamespaceID, _ filter: ConnectionFilter, isForgotten: Bool = false
  ) throws(TransportError) -> [ConnectionReport] {
    let index = try index(of: namespace)
    var found: [ConnectionReport] = []
    for listing in stack.connections(in: index) {
      var report = ConnectionReport(listing)
      // What nothing else holds, as the listing itself: conntrack(8) prints it.
      report.uses = 1
      report.mark = listing.mark
      if filter.accepts(report) { found.append(report) }
    }
    if isForgotten { stack.removeConnections(in: index, ids: Set(found.map(\.id))) }
    return found.sorted(by: ConnectionReport.precedes)
  }
}

extension EmulatedDatapath {
  public func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent> {
    let thread = thread(of: namespace)
    return try await perform(on: lab, by: thread, "follow the connections of \(namespace)") {
      (kernel) throws(DatapathError) in
      let (stream, continuation) = AsyncStream<ConnectionEvent>.makeStream(
        bufferingPolicy: .bufferingOldest(65_536))
      do throws(TransportError) {
        let number = try kernel.followConnections(of: namespace) { continuation.yield($0) }
        continuation.onTermination = { _ in thread.submit { $0.unfollowConnections(number) } }
      } catch {
        throw DatapathError(
          .notFound, operation: "follow the connections", path: StatePath(namespace), cause: error.cause)
      }
      return stream
    }
  }
}

/// Everybody who follows connections of one kernel.
struct ConnectionFollowers {
  fileprivate var handlers: [UInt64: (namespace: NamespaceIndex, handler: (ConnectionEvent) -> Void)] = [:]
  fileprivate var last: UInt64 = 0
}

extension EmulatedKernel {
  fileprivate func followConnections(
    of namespace: NamespaceID, _ handler: @escaping (ConnectionEvent) -> Void
  ) throws(TransportError) -> UInt64 {
    let index = try index(of: namespace)
    stack.setConnectionsWatched(true, index)
    connectionFollowers.last += 1
    connectionFollowers.handlers[connectionFollowers.last] = (index, handler)
    return connectionFollowers.last
  }

  fileprivate func unfollowConnections(_ number: UInt64) {
    guard let (index, _) = connectionFollowers.handlers.removeValue(forKey: number) else { return }
    guard !connectionFollowers.handlers.values.contains(where: { $0.namespace == index }) else { return }
    stack.setConnectionsWatched(false, index)
  }

  /// Hands on what has become of connections.
  func tellConnectionFollowers() {
    guard !connectionFollowers.handlers.isEmpty else { return }
    let (events, hasMissed) = stack.takeConnectionEvents()
    guard hasMissed || !events.isEmpty else { return }
    for (namespace, handler) in connectionFollowers.handlers.values {
      for event in events where event.namespace == namespace {
        handler(ConnectionEvent(ConnectionEvent.Kind(event.kind), ConnectionReport(event.connection)))
      }
      if hasMissed { handler(ConnectionEvent(.gap, nil)) }
    }
  }
}

extension ConnectionEvent.Kind {
  fileprivate init(_ kind: ConntrackEvent.Kind) {
    switch kind {
    case .new: self = .new
    case .update: self = .update
    case .destroy: self = .destroy
    }
  }
}

extension ConnectionReport {
  fileprivate init(_ listing: ConntrackListing) {
    self.init(
      id: listing.id, protocolNumber: listing.proto, original: Direction(listing.original, listing),
      reply: Direction(listing.reply, listing))
    timeout = listing.timeout.map { UInt32(clamping: $0) }
    state = listing.state
    isReplied = listing.status & 2 != 0
    isAssured = listing.status & 4 != 0
    mark = listing.mark == 0 ? nil : listing.mark
    zone = listing.zone == 0 ? nil : listing.zone
  }
}

extension ConnectionReport.Direction {
  fileprivate init(_ tuple: ConntrackListing.Tuple, _ listing: ConntrackListing) {
    self.init(source: tuple.source, destination: tuple.destination)
    switch listing.proto {
    case 1 where !listing.isIPv6, 58 where listing.isIPv6:
      type = UInt8(tuple.destinationPort >> 8)
      code = UInt8(tuple.destinationPort & 255)
      id = tuple.sourcePort
    case 6, 17, 33, 132, 136:
      sourcePort = tuple.sourcePort
      destinationPort = tuple.destinationPort
    default: break
    }
    packets = tuple.packets
    bytes = tuple.bytes
  }
}
