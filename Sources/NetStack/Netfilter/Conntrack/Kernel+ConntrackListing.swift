// SPDX-License-Identifier: GPL-2.0-or-later

// The connections of a namespace for whoever asks: what ctnetlink dumps.

import NetTypes

extension Kernel {
  /// The connections of a namespace, the oldest first.
  public func connections(in namespace: NamespaceIndex) -> [ConntrackListing] {
    guard namespaces.contains(namespace) else { return [] }
    return namespaces[namespace].conntrack.table.all(in: conntracks).map { listing(of: $0) }
  }

  /// An entry as ctnetlink tells it.
  func listing(of index: ConntrackIndex) -> ConntrackListing {
    var original = ConntrackListing.Tuple(conntracks[index].original)
    var reply = ConntrackListing.Tuple(conntracks[index].reply)
    if conntracks[index].countsPackets {
      original.packets = conntracks[index].packets[0]
      original.bytes = conntracks[index].bytes[0]
      reply.packets = conntracks[index].packets[1]
      reply.bytes = conntracks[index].bytes[1]
    }
    // Of what goes past the rules neither is known (ctnetlink_dump_info).
    let isOffloaded = conntracks[index].status.contains(.offload)
    return ConntrackListing(
      id: conntracks[index].id, isIPv6: conntracks[index].original.isIPv6,
      proto: conntracks[index].original.proto,
      timeout: isOffloaded ? nil : max(conntracks[index].timeout - cpu.now, 0) / 1_000_000_000,
      state: conntracks[index].original.proto == 6 && !isOffloaded ? conntracks[index].tcp.state.name : nil,
      original: original, reply: reply, status: conntracks[index].status.rawValue,
      mark: conntracks[index].mark, zone: conntracks[index].original.zone)
  }

  /// Ends the connections of these numbers, which a listing of the namespace gave.
  public mutating func removeConnections(in namespace: NamespaceIndex, ids: Set<UInt32>) {
    guard namespaces.contains(namespace) else { return }
    for index in namespaces[namespace].conntrack.table.all(in: conntracks)
    where ids.contains(conntracks[index].id) {
      removeConntrack(index)
    }
  }

  /// What connection tracking has counted in a namespace.
  public func conntrackStatistics(of namespace: NamespaceIndex) -> ConntrackStatistics {
    namespaces.contains(namespace) ? namespaces[namespace].conntrack.statistics : ConntrackStatistics()
  }
}

extension ConntrackListing.Tuple {
  init(_ tuple: ConntrackTuple) {
    func address(_ value: UInt128) -> IPAddress {
      tuple.isIPv6
        ? .v6(
          IPv6Address(high: UInt64(truncatingIfNeeded: value >> 64), low: UInt64(truncatingIfNeeded: value)))
        : .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: value)))
    }
    self.init(
      source: address(tuple.source), destination: address(tuple.destination), sourcePort: tuple.sourcePort,
      destinationPort: tuple.destinationPort)
  }
}
