// SPDX-License-Identifier: GPL-2.0-or-later

// Devices change in place, one attribute at a time, and go in bulk: a single deletion costs as much as a whole group's.

import LabCore
import NetTypes
import Rtnetlink

extension BatchEncoder {
  mutating func updateLink(
    _ before: LinkState, _ after: LinkState, _ attribute: AttributeName?, in namespace: NamespaceID
  ) throws(EncodingFailure) {
    guard let attribute else { throw .impossible("an update of a device that names no attribute") }
    let index = try index(of: after.name, in: namespace)
    var message = LinkMessage(index: index)
    switch attribute {
    case .mtu: message.mtu = after.mtu
    case .mac: message.macAddress = after.mac
    case .transmitQueueLength: message.transmitQueueLength = after.transmitQueueLength
    case .up: message.set(.up, after.isUp)
    case .master:
      message.master = 0
      if let master = after.master { message.master = try self.index(of: master, in: namespace) }
    case .linkLocalIPv6:
      guard let linkLocal = after.linkLocalIPv6 else { return }
      emit(LinkMessage.addressGeneration(linkLocal, index: index), in: namespace, "configure IPv6 of")
      return
    case .alternativeNames:
      let added = after.alternativeNames.filter { !before.alternativeNames.contains($0) }
      let removed = before.alternativeNames.filter { !after.alternativeNames.contains($0) }
      if !added.isEmpty { emit(LinkMessage.addAlternativeNames(added, index: index), in: namespace, "name") }
      if !removed.isEmpty {
        emit(LinkMessage.removeAlternativeNames(removed, index: index), in: namespace, "name")
      }
      return
    case .portVLANs:
      changeVLANs(of: index, from: before.port?.vlans ?? [], to: after.port?.vlans ?? [], in: namespace)
      return
    case _ where Self.portAttributes.contains(attribute):
      guard let port = after.port else {
        throw .impossible("a port option of a device that is no bridge port")
      }
      let options = BridgePortOptions(port.only(attribute))
      emit(LinkMessage.port(options, index: index), in: namespace, "configure the bridge port")
      return
    default:
      emit(LinkMessage.change(try changedKind(after, attribute), index: index), in: namespace, "configure")
      return
    }
    emit(message.request(.change), in: namespace, "configure")
  }

  private static var portAttributes: Set<AttributeName> {
    [
      .portIsolated, .portHairpin, .portLearning, .portFlood, .portMulticastFlood, .portGuard, .portFastLeave,
      .portCost, .portPriority,
    ]
  }

  /// The settings of a device's kind, of which one has changed.
  private func changedKind(
    _ link: LinkState, _ attribute: AttributeName
  ) throws(EncodingFailure) -> Rtnetlink.LinkKind {
    switch link.kind {
    case .bridge(let bridge): return .bridge(BridgeOptions(bridge.only(attribute)))
    case .macvlan(let macvlan) where attribute == .mode:
      var options = MacvlanOptions()
      options.mode = MacvlanMode(macvlan.mode)
      return .macvlan(options)
    case .vxlan(let tunnel) where [.local, .remote, .learning, .ttl].contains(attribute):
      var options = VXLANOptions()
      let all = VXLANOptions(tunnel)
      switch attribute {
      case .local: options.local = all.local
      case .remote: options.remote = all.remote
      case .learning: options.learning = all.learning
      default: options.timeToLive = all.timeToLive ?? 0
      }
      // The kernel looks the tunnel up by its id and refuses another.
      options.identifier = tunnel.id
      return .vxlan(options)
    default:
      throw .impossible("the \(attribute.rawValue) of a \(link.kind.name) device cannot be changed")
    }
  }

  /// Takes a port out of VLANs and puts it into others.
  mutating func changeVLANs(
    of index: Int32, from before: [PortVLAN], to after: [PortVLAN], in namespace: NamespaceID
  ) {
    let removed = before.filter { old in !after.contains { $0.id == old.id } }
    let added = after.filter { !before.contains($0) }
    if !removed.isEmpty {
      let message = BridgeVLANMessage(index: index, vlans: removed.map { BridgeVLAN($0.id) })
      emit(message.deleteRequest, in: namespace, "set the VLANs of")
    }
    if !added.isEmpty {
      let vlans = added.sorted().map { vlan in
        var flags: BridgeVLAN.Flags = []
        if vlan.isPVID { flags.insert(.pvid) }
        if vlan.isUntagged { flags.insert(.untagged) }
        return BridgeVLAN(vlan.id, flags)
      }
      emit(BridgeVLANMessage(index: index, vlans: vlans).addRequest, in: namespace, "set the VLANs of")
    }
  }

  // MARK: Deletion

  mutating func removeLink(_ link: LinkState, in namespace: NamespaceID, atOnce: Bool) throws(EncodingFailure)
  {
    let reference = LinkReference(namespace, link.name)
    guard gone.remove(reference) == nil else { return }
    switch link.kind {
    case .loopback: return
    case .external:
      try moveOut(link, from: namespace)
      return
    default: break
    }
    let index = try index(of: link.name, in: namespace)
    tables[namespace]?.remove(link.name)
    if case .veth(let peer?) = link.kind {
      gone.insert(peer)
      tables[peer.namespace]?.remove(peer.name)
    }
    if atOnce {
      emit(LinkMessage(index: index).request(.delete), in: namespace, "delete")
      if case .veth(let peer?) = link.kind {
        gone.remove(peer)
        follow(peer.namespace, after: namespace)
      }
    } else {
      doomedLinks[namespace, default: []].append((index, current))
    }
  }

  /// A device of the host goes back to where it came from.
  private mutating func moveOut(_ link: LinkState, from namespace: NamespaceID) throws(EncodingFailure) {
    guard namespace != .host else { return }
    var message = LinkMessage(index: try index(of: link.name, in: namespace))
    if let origin = link.hostName { message.alternativeNames = [Ownership.originPrefix + origin.text] }
    for step in Ownership.giving(back: message, to: try handle(of: .host)) {
      emit(step, in: namespace, "give back")
    }
    tables[namespace]?.release(link.name)
    tables[.host] = nil
  }
}

extension LabCore.BridgePortState {
  /// The one option that an attribute names.
  func only(_ attribute: AttributeName) -> LabCore.BridgePortState {
    var result = LabCore.BridgePortState()
    switch attribute {
    case .portIsolated: result.isolated = isolated
    case .portHairpin: result.hairpin = hairpin
    case .portLearning: result.learning = learning
    case .portFlood: result.flood = flood
    case .portMulticastFlood: result.multicastFlood = multicastFlood
    case .portGuard: result.guardBPDU = guardBPDU
    case .portFastLeave: result.fastLeave = fastLeave
    case .portCost: result.cost = cost
    case .portPriority: result.priority = priority
    default: break
    }
    return result
  }
}

extension BridgeState {
  /// The one setting that an attribute names.
  func only(_ attribute: AttributeName) -> BridgeState {
    var result = BridgeState()
    switch attribute {
    case .stp: result.stp = stp
    case .forwardDelay: result.forwardDelay = forwardDelay
    case .helloTime: result.helloTime = helloTime
    case .maxAge: result.maxAge = maxAge
    case .ageingTime: result.ageingTime = ageingTime
    case .priority: result.priority = priority
    case .vlanFiltering: result.vlanFiltering = vlanFiltering
    case .defaultPVID: result.defaultPVID = defaultPVID
    case .multicastSnooping: result.multicastSnooping = multicastSnooping
    default: break
    }
    return result
  }
}
