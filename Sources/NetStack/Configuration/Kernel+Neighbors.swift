// SPDX-License-Identifier: GPL-2.0-or-later

// Neighbours and proxy entries of both families by message (net/core/neighbour.c: neigh_add, neigh_delete,
// neigh_dump_info, pneigh_fill_info).

import NetTypes
import Rtnetlink

extension Kernel {
  /// NTF_EXT_MANAGED, of NDA_FLAGS_EXT.
  private static let managed: UInt32 = 1

  private func subject(
    _ message: NeighborMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> NeighborKey {
    guard let family = message.family.ipFamily else { throw KernelError(97) }
    guard let address = message.destination else { throw .invalid("Network address not specified") }
    guard address.family == family else { throw .invalid("Invalid network address") }
    guard message.index != 0 else { throw .invalid("Invalid ifindex") }
    guard let index = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    return NeighborKey(index, address)
  }

  mutating func addNeighbor(
    _ message: NeighborMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let key = try subject(message, in: namespace)
    let extended = message.extendedFlags ?? 0
    if message.flags.contains(.proxy) {
      guard extended & Self.managed == 0 else { throw .invalid("Invalid NTF_* flag combination") }
      let index = makeProxy(key, in: namespace)
      guard !index.isNone else { throw .noBuffers }
      proxies[index].isRouter = message.flags.contains(.router)
      if let origin = message.protocolNumber { proxies[index].origin = origin }
      return
    }
    if let link = message.linkAddress, link.count < 6 { throw .invalid("Invalid link address") }
    let state = NeighborStates(rawValue: message.state.rawValue)
    var index = namespaces[namespace].neighbors.find(key)
    let mac = message.linkAddress.flatMap { MACAddress(bytes: $0.prefix(6)) }?.rawValue
    var news: NeighborNews = [.administrative, .override, .routerKnown]
    if message.flags.contains(.router) { news.insert(.router) }
    if index.isNone {
      guard flags.contains(.create) else { throw .noSuchEntry }
      // Without a link address only what is to be asked for can be made.
      let isAsked = message.flags.contains(.use) || extended & Self.managed != 0
      guard mac != nil || isAsked || state.isDisjoint(with: .valid) else { throw .invalidArgument }
      let isExempt = state.contains(.permanent) || message.flags.contains(.externallyLearned)
      index = makeNeighbor(key, isExempt: isExempt)
      guard !index.isNone else { throw .noBuffers }
    } else {
      guard !flags.contains(.exclusive) else { throw .exists }
      if !flags.contains(.replace) { news.subtract([.override, .routerKnown]) }
    }
    if let origin = message.protocolNumber { neighbors[index].origin = origin }
    let isExternal = message.flags.contains(.externallyLearned)
    let isManaged = extended & Self.managed != 0
    changeNeighbor(index) { neighbor in
      if isExternal {
        neighbor.flags.insert(.externallyLearned)
      } else {
        neighbor.flags.remove(.externallyLearned)
      }
      if isManaged { neighbor.flags.insert(.managed) } else { neighbor.flags.remove(.managed) }
    }
    if message.flags.contains(.use) || isManaged {
      changeNeighbor(index) { $0.state.remove(.permanent) }
      if isManaged { armManagedNeighbors(key.family, in: namespace, after: 0) } else { useNeighbor(index) }
      return
    }
    updateNeighbor(index, mac: mac, state, news)
  }

  mutating func deleteNeighbor(_ message: NeighborMessage, in namespace: NamespaceIndex) throws(KernelError) {
    let key = try subject(message, in: namespace)
    if message.flags.contains(.proxy) {
      let index = proxy(key, in: namespace)
      guard !index.isNone else { throw .noSuchEntry }
      removeProxy(index, in: namespace)
      return
    }
    let index = namespaces[namespace].neighbors.find(key)
    guard !index.isNone else { throw .noSuchEntry }
    removeNeighbor(index)
  }

  func neighborEntries(
    _ filter: NeighborMessage, all: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    guard all else { return [try neighborEntry(filter, in: namespace)] }
    let wanted = filter.outputIndex ?? filter.index
    let family = filter.family.ipFamily
    func isMeant(_ key: NeighborKey) -> Bool {
      (family == nil || key.family == family) && (wanted == 0 || devices[key.device].ifindex == wanted)
    }
    if filter.flags.contains(.proxy) {
      return namespaces[namespace].proxies.filter { isMeant(proxies[$0].key) }.map { message(proxy: $0) }
    }
    return namespaces[namespace].neighbors.sorted.filter { index in
      neighbors[index].state != [] && isMeant(neighbors[index].key)
    }.map { message(neighbor: $0) }
  }

  /// One entry by name (neigh_get).
  private func neighborEntry(
    _ filter: NeighborMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> NetlinkMessage {
    let key = try subject(filter, in: namespace)
    if filter.flags.contains(.proxy) {
      let index = proxy(key, in: namespace)
      guard !index.isNone else { throw KernelError(2, "Proxy neighbour entry not found") }
      return message(proxy: index)
    }
    let index = namespaces[namespace].neighbors.find(key)
    guard !index.isNone else { throw KernelError(2, "Neighbour entry not found") }
    return message(neighbor: index)
  }

  private func message(proxy index: ProxyIndex) -> NetlinkMessage {
    let key = proxies[index].key
    var message = NeighborMessage(
      family: AddressFamily(key.family), index: devices[key.device].ifindex)
    message.flags = .proxy
    if proxies[index].isRouter { message.flags.insert(.router) }
    message.type = .unicast
    message.destination = key.address
    if proxies[index].origin != 0 { message.protocolNumber = proxies[index].origin }
    return message.message(.newNeighbor, [])
  }

  func message(neighbor index: NeighborIndex) -> NetlinkMessage {
    let key = neighbors[index].key
    var message = NeighborMessage(
      family: AddressFamily(key.family), index: devices[key.device].ifindex)
    message.state = NeighborState(rawValue: neighbors[index].state.rawValue)
    message.type = .unicast
    message.destination = key.address
    if !neighbors[index].state.isDisjoint(with: .valid) {
      message.linkAddress = MACAddress(rawValue: neighbors[index].mac).bytes
    }
    message.probes = UInt32(neighbors[index].probes)
    let flags = neighbors[index].flags
    if flags.contains(.router) { message.flags.insert(.router) }
    if flags.contains(.externallyLearned) { message.flags.insert(.externallyLearned) }
    if flags.contains(.managed) { message.extendedFlags = Self.managed }
    if neighbors[index].origin != 0 { message.protocolNumber = neighbors[index].origin }
    func ago(_ time: Int64) -> UInt32 { UInt32(clamping: (cpu.now - time) / 10_000_000) }
    message.cacheInfo = NeighborCacheInfo(
      confirmed: ago(neighbors[index].confirmed), used: ago(neighbors[index].used),
      updated: ago(neighbors[index].updated))
    return message.message(.newNeighbor, [])
  }
}

extension AddressFamily {
  /// IPv4 or IPv6; nil for another, or none.
  var ipFamily: IPFamily? {
    switch self {
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    default: nil
    }
  }
}
