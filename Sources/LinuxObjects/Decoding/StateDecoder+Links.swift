// SPDX-License-Identifier: GPL-2.0-or-later

// Devices, with all that the kernel tells of them.

import LabCore
import NetTypes
import Rtnetlink

extension StateDecoder {
  func decodeLinks(
    _ dump: NamespaceDump, in namespace: NamespaceID, _ resolver: LinkResolver, _ result: inout Decoding
  ) {
    var vlans: [Int32: [PortVLAN]] = [:]
    for port in dump.portVLANs where !port.isBridgeItself {
      vlans[port.index, default: []] += port.vlans.flatMap { vlan in
        vlan.identifiers.map {
          PortVLAN(id: $0, isPVID: vlan.flags.contains(.pvid), isUntagged: vlan.flags.contains(.untagged))
        }
      }
    }
    for message in dump.links {
      guard let name = result.names[message.index] else { continue }
      let isLoopback = message.flags.contains(.loopback)
      let isOwned =
        result.isHost ? ownership.ownsHostDevice(message) : isLoopback || ownership.hasGroup(message)
      if isOwned { result.ownedLinks.insert(message.index) }
      var link = LinkState(name: name, kind: kind(of: message, in: namespace, resolver, result))
      link.index = UInt32(exactly: message.index)
      link.mac = isLoopback ? nil : message.macAddress
      link.mtu = message.mtu
      link.isUp = message.isUp
      link.transmitQueueLength = message.transmitQueueLength
      link.linkLocalIPv6 = message.addressGeneration.map { $0 != AddressGeneration.none }
      link.master = message.master.flatMap { $0 == 0 ? nil : result.names[$0] }
      if case .bridge(let options) = message.port {
        link.port = LabCore.BridgePortState(options, vlans: (vlans[message.index] ?? []).sorted())
      }
      if !message.alternativeNames.isEmpty {
        let marks = [ownership.alternativeName(for: namespace), ownership.hostAlternativeName(of: name)]
        link.alternativeNames = message.alternativeNames.filter {
          !marks.contains($0) && !$0.hasPrefix(Ownership.originPrefix)
        }
        link.alternativeNames.sort()
      }
      link.hostName = Ownership.origin(of: message)
      result.add(link, to: \.links, owned: isOwned)
    }
  }

  private func kind(
    of message: LinkMessage, in namespace: NamespaceID, _ resolver: LinkResolver, _ result: Decoding
  ) -> LabCore.LinkKind {
    if ownership.isBorrowed(message) { return .external }
    let lower = { resolver.device(message.lowerIndex, identifier: message.linkNamespaceID, in: namespace) }
    switch message.kind {
    case nil: return message.flags.contains(.loopback) ? .loopback : .external
    case .veth: return .veth(peer: lower())
    case .bridge(let options): return .bridge(BridgeState(options))
    case .dummy: return .dummy
    case .vlan(let options):
      guard let parent = message.lowerIndex.flatMap({ result.names[$0] }), let id = options.identifier else {
        return .other("vlan")
      }
      let tag = options.etherType.map { EtherType(rawValue: $0) } ?? .vlan
      return .vlan(VLANState(parent: parent, id: id, tag: tag))
    case .tun(let options):
      return .tuntap(
        TunTapState(
          mode: options.type == 1 ? .tun : .tap, owner: options.owner, group: options.group,
          multiQueue: options.multiQueue ?? false))
    case .vxlan(let options):
      return .vxlan(
        VXLANState(
          id: options.identifier ?? 0, local: options.local, remote: options.remote,
          underlay: options.lowerIndex.flatMap { result.names[$0] }, port: options.port ?? 0,
          learning: options.learning ?? false, ttl: options.timeToLive.flatMap { $0 == 0 ? nil : $0 }))
    case .macvlan(let options):
      return .macvlan(MacvlanState(parent: lower(), mode: MacvlanState.Mode(options.mode)))
    case .ifb, .vrf, .other: return .other(message.kind?.name ?? "")
    }
  }
}

extension BridgeState {
  init(_ options: BridgeOptions) {
    self.init(
      stp: options.stpState.map { $0 != 0 }, forwardDelay: options.forwardDelay, helloTime: options.helloTime,
      maxAge: options.maximumAge, ageingTime: options.configuredAgeingTime, priority: options.priority,
      // A kernel that cannot filter does not say so.
      vlanFiltering: options.vlanFiltering ?? false, defaultPVID: options.vlanDefaultPVID,
      multicastSnooping: options.multicastSnooping)
  }
}

extension BridgeOptions {
  /// What the bridge ages by when its topology rests. Nil while it changes: the kernel tells twice the forward delay
  /// then, give or take its rounding, and not what it goes back to.
  fileprivate var configuredAgeingTime: UInt32? {
    guard stpState == 1, topologyChange == true, let told = ageingTime, let forwardDelay else {
      return ageingTime
    }
    return abs(Int64(told) - 2 * Int64(forwardDelay)) <= 2 ? nil : told
  }
}

extension LabCore.BridgePortState {
  init(_ options: BridgePortOptions, vlans: [PortVLAN]) {
    self.init(
      isolated: options.isolated, hairpin: options.hairpin, learning: options.learning,
      flood: options.unicastFlood,
      multicastFlood: options.multicastFlood, guardBPDU: options.bpduGuard, fastLeave: options.fastLeave,
      cost: options.cost, priority: options.priority, vlans: vlans)
  }
}
