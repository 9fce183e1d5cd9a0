// SPDX-License-Identifier: GPL-2.0-or-later

// The connections of a namespace for whoever asks: what ctnetlink dumps.

public import NetTypes

extension Kernel {
  /// The connections of a namespace, the oldest first.
  public func connections(in namespace: NamespaceIndex) -> [ConntrackListing] {
    guard namespaces.contains(namespace) else { return [] }
    return namespaces[namespace].conntrack.table.all(in: conntracks).map { index in
      let isIPv6 = conntracks[index].original.isIPv6
      return ConntrackListing(
        id: conntracks[index].id, isIPv6: isIPv6, proto: conntracks[index].original.proto,
        timeout: max(conntracks[index].timeout - cpu.now, 0) / 1_000_000_000,
        state: conntracks[index].original.proto == 6 ? conntracks[index].tcp.state.name : nil,
        original: ConntrackListing.Tuple(conntracks[index].original),
        reply: ConntrackListing.Tuple(conntracks[index].reply), status: conntracks[index].status.rawValue,
        mark: conntracks[index].mark, zone: conntracks[index].original.zone)
    }
  }

  /// Ends the connections that `isGone` says; how many there were.
  public mutating func removeConnections(
    in namespace: NamespaceIndex, where isGone: (ConntrackListing) -> Bool
  ) -> Int {
    guard namespaces.contains(namespace) else { return 0 }
    let gone = Set(connections(in: namespace).filter(isGone).map(\.id))
    for index in namespaces[namespace].conntrack.table.all(in: conntracks)
    where gone.contains(conntracks[index].id) {
      removeConntrack(index)
    }
    return gone.count
  }

  /// What connection tracking has counted in a namespace.
  public func conntrackStatistics(of namespace: NamespaceIndex) -> ConntrackStatistics {
    namespaces.contains(namespace) ? namespaces[namespace].conntrack.statistics : ConntrackStatistics()
  }
}

extension ConntrackListing.Tuple {
  init(_ tuple: ConntrackTuple) {
    func text(_ address: UInt128) -> String {
      tuple.isIPv6
        ? IPv6Address(
          high: UInt64(truncatingIfNeeded: address >> 64), low: UInt64(truncatingIfNeeded: address)
        ).description
        : IPv4Address(rawValue: UInt32(truncatingIfNeeded: address)).description
    }
    self.init(
      source: text(tuple.source), destination: text(tuple.destination), sourcePort: tuple.sourcePort,
      destinationPort: tuple.destinationPort)
  }
}
