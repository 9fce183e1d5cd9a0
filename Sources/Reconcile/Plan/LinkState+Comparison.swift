// SPDX-License-Identifier: GPL-2.0-or-later

// How a desired device differs from an observed one, and which of that the kernel can change in place.

import LabCore
import NetTypes

/// What stands between an observed device and the desired one.
enum LinkDifference {
  /// Attributes to change in place, in the order in which they are to be changed; none when the two agree.
  case inPlace([AttributeName])
  /// The kernel cannot change this; the device has to be made anew. The text says why.
  case replacement(String)
}

extension LinkState {
  /// What `observed` lacks to be this. Nil on this side is "as the kernel has it"; nil on the other side is what could
  /// not be seen, where the kernel does not always show it.
  func difference(from observed: LinkState) -> LinkDifference {
    var names: [AttributeName] = []
    if let reason = kindDifference(from: observed, into: &names) { return .replacement(reason) }
    if wants(mtu, observed.mtu) { names.append(.mtu) }
    if wants(mac, observed.mac) { names.append(.mac) }
    if let wanted = transmitQueueLength, let seen = observed.transmitQueueLength, wanted != seen {
      names.append(.transmitQueueLength)
    }
    if let wanted = linkLocalIPv6, let seen = observed.linkLocalIPv6, wanted != seen {
      names.append(.linkLocalIPv6)
    }
    if !alternativeNames.isEmpty, !Set(alternativeNames).isSubset(of: observed.alternativeNames) {
      names.append(.alternativeNames)
    }
    if master != observed.master { names.append(.master) }
    if master != nil {
      // A port that joins begins with the kernel's settings, whatever it had before.
      let seen = master == observed.master ? observed.port : nil
      (port ?? BridgePortState()).difference(from: seen ?? BridgePortState(), into: &names)
    }
    if isUp != observed.isUp { names.append(.up) }
    return .inPlace(names)
  }

  /// The reason why the device cannot become what is desired, or nil and the attributes of its kind that can be changed.
  private func kindDifference(from observed: LinkState, into names: inout [AttributeName]) -> String? {
    switch (kind, observed.kind) {
    case (.external, _), (.loopback, _), (.dummy, .dummy): return nil
    case (.other(let name), .other(let seen)) where name == seen: return nil
    case (.veth(let peer), .veth(let seen)):
      guard let peer, let seen, peer != seen else { return nil }
      return "its other end is \(seen.path), not \(peer.path)"
    case (.bridge(let bridge), .bridge(let seen)):
      bridge.difference(from: seen, into: &names)
      return nil
    case (.vlan(let vlan), .vlan(let seen)):
      if vlan.parent != seen.parent { return "a VLAN device keeps its parent (\(seen.parent))" }
      if vlan.id != seen.id { return "a VLAN device keeps its id (\(seen.id))" }
      return vlan.tag == seen.tag ? nil : "a VLAN device keeps its protocol"
    case (.tuntap(let device), .tuntap(let seen)):
      if let tap = device.hostTap, tap != seen.hostTap { return "it is not joined to \(tap) of the host" }
      return device == seen ? nil : "a tun or tap device keeps its mode and owner"
    case (.vxlan(let tunnel), .vxlan(let seen)): return tunnel.difference(from: seen, into: &names)
    case (.macvlan(let macvlan), .macvlan(let seen)):
      if let parent = macvlan.parent, let old = seen.parent, parent != old {
        return "a macvlan keeps its parent (\(old.name))"
      }
      guard macvlan.mode != seen.mode else { return nil }
      if macvlan.mode == .passthru || seen.mode == .passthru {
        return "a macvlan cannot change to or from passthru"
      }
      names.append(.mode)
      return nil
    default: return "a \(observed.kind.name) device cannot become \(kind.name)"
    }
  }

  /// This device with one attribute taken from `other`.
  func taking(_ name: AttributeName, from other: LinkState) -> LinkState {
    var result = self
    switch name {
    case .mtu: result.mtu = other.mtu
    case .mac: result.mac = other.mac
    case .transmitQueueLength: result.transmitQueueLength = other.transmitQueueLength
    case .linkLocalIPv6: result.linkLocalIPv6 = other.linkLocalIPv6
    case .alternativeNames:
      result.alternativeNames += other.alternativeNames.filter { !alternativeNames.contains($0) }
    case .up: result.isUp = other.isUp
    case .master:
      result.master = other.master
      result.port = other.master == nil ? nil : BridgePortState()
    case _ where BridgePortState.attributeNames.contains(name):
      // What nothing asks for goes back to the kernel's default.
      let source = other.port.flatMap { $0.has(name) ? $0 : nil } ?? .kernelDefault
      result.port = (result.port ?? BridgePortState()).taking(name, from: source)
    default:
      switch (result.kind, other.kind) {
      case (.bridge(let bridge), .bridge(let wanted)):
        result.kind = .bridge(bridge.taking(name, from: wanted))
      case (.vxlan(let tunnel), .vxlan(let wanted)): result.kind = .vxlan(tunnel.taking(name, from: wanted))
      case (.macvlan(var macvlan), .macvlan(let wanted)):
        macvlan.mode = wanted.mode
        result.kind = .macvlan(macvlan)
      default: break
      }
    }
    return result
  }

  /// The devices of the same namespace that this one stands on.
  var lowerLink: InterfaceName? {
    switch kind {
    case .vlan(let vlan): vlan.parent
    case .vxlan(let tunnel): tunnel.underlay
    case .loopback, .veth, .bridge, .dummy, .tuntap, .macvlan, .external, .other: nil
    }
  }
}

private func wants<Value: Equatable>(_ desired: Value?, _ observed: Value?) -> Bool {
  desired != nil && desired != observed
}

extension BridgeState {
  /// What a bridge begins with, as far as a topology can change it (br_device.c).
  static let kernelDefault = BridgeState(
    stp: false, ageingTime: 30_000, priority: 32_768, vlanFiltering: false)

  /// What is to be changed. An option that nothing asks for goes back to the kernel's default, so that taking a line
  /// out of a topology undoes it; it need not be sent when a bridge is made, which a kernel without VLANs would refuse.
  func difference(from observed: BridgeState, into names: inout [AttributeName]) {
    let defaults = Self.kernelDefault
    if (stp ?? defaults.stp) != (observed.stp ?? defaults.stp) { names.append(.stp) }
    if wants(forwardDelay, observed.forwardDelay) { names.append(.forwardDelay) }
    if wants(helloTime, observed.helloTime) { names.append(.helloTime) }
    if wants(maxAge, observed.maxAge) { names.append(.maxAge) }
    // Nil on the other side: the kernel hides it while the topology changes.
    if let seen = observed.ageingTime, (ageingTime ?? defaults.ageingTime) != seen {
      names.append(.ageingTime)
    }
    if (priority ?? defaults.priority) != (observed.priority ?? defaults.priority) { names.append(.priority) }
    if (vlanFiltering ?? defaults.vlanFiltering) != (observed.vlanFiltering ?? defaults.vlanFiltering) {
      names.append(.vlanFiltering)
    }
    if wants(defaultPVID, observed.defaultPVID) { names.append(.defaultPVID) }
    if wants(multicastSnooping, observed.multicastSnooping) { names.append(.multicastSnooping) }
  }

  func taking(_ name: AttributeName, from other: BridgeState) -> BridgeState {
    var result = self
    switch name {
    case .stp: result.stp = other.stp ?? Self.kernelDefault.stp
    case .forwardDelay: result.forwardDelay = other.forwardDelay
    case .helloTime: result.helloTime = other.helloTime
    case .maxAge: result.maxAge = other.maxAge
    case .ageingTime: result.ageingTime = other.ageingTime ?? Self.kernelDefault.ageingTime
    case .priority: result.priority = other.priority ?? Self.kernelDefault.priority
    case .vlanFiltering: result.vlanFiltering = other.vlanFiltering ?? Self.kernelDefault.vlanFiltering
    case .defaultPVID: result.defaultPVID = other.defaultPVID
    case .multicastSnooping: result.multicastSnooping = other.multicastSnooping
    default: break
    }
    return result
  }
}

extension BridgePortState {
  /// What a port has that nobody has configured (br_if.c, new_nbp). Cost and priority depend on the device.
  static let kernelDefault = BridgePortState(
    isolated: false, hairpin: false, learning: true, flood: true, multicastFlood: true, guardBPDU: false,
    fastLeave: false, vlans: [PortVLAN(id: 1, isPVID: true, isUntagged: true)])

  /// What is to be changed. An option that nothing asks for goes back to the kernel's default, so that taking a line
  /// out of a topology undoes it.
  func difference(from observed: BridgePortState, into names: inout [AttributeName]) {
    let defaults = Self.kernelDefault
    func compare(_ name: AttributeName, _ wanted: Bool?, _ seen: Bool?, _ initial: Bool?) {
      // Not seen is what the kernel begins with.
      if (wanted ?? initial) != (seen ?? initial) { names.append(name) }
    }
    compare(.portIsolated, isolated, observed.isolated, defaults.isolated)
    compare(.portHairpin, hairpin, observed.hairpin, defaults.hairpin)
    compare(.portLearning, learning, observed.learning, defaults.learning)
    compare(.portFlood, flood, observed.flood, defaults.flood)
    compare(.portMulticastFlood, multicastFlood, observed.multicastFlood, defaults.multicastFlood)
    compare(.portGuard, guardBPDU, observed.guardBPDU, defaults.guardBPDU)
    compare(.portFastLeave, fastLeave, observed.fastLeave, defaults.fastLeave)
    if wants(cost, observed.cost) { names.append(.portCost) }
    if wants(priority, observed.priority) { names.append(.portPriority) }
    if let vlans {
      if vlans != observed.vlans { names.append(.portVLANs) }
    } else if let seen = observed.vlans, !seen.isEmpty, seen != defaults.vlans {
      // None at all is what a kernel without VLANs shows.
      names.append(.portVLANs)
    }
  }

  static let attributeNames: Set<AttributeName> = [
    .portIsolated, .portHairpin, .portLearning, .portFlood, .portMulticastFlood, .portGuard, .portFastLeave,
    .portCost,
    .portPriority, .portVLANs,
  ]

  func has(_ name: AttributeName) -> Bool {
    switch name {
    case .portIsolated: isolated != nil
    case .portHairpin: hairpin != nil
    case .portLearning: learning != nil
    case .portFlood: flood != nil
    case .portMulticastFlood: multicastFlood != nil
    case .portGuard: guardBPDU != nil
    case .portFastLeave: fastLeave != nil
    case .portCost: cost != nil
    case .portPriority: priority != nil
    case .portVLANs: vlans != nil
    default: false
    }
  }

  func taking(_ name: AttributeName, from other: BridgePortState) -> BridgePortState {
    var result = self
    switch name {
    case .portIsolated: result.isolated = other.isolated
    case .portHairpin: result.hairpin = other.hairpin
    case .portLearning: result.learning = other.learning
    case .portFlood: result.flood = other.flood
    case .portMulticastFlood: result.multicastFlood = other.multicastFlood
    case .portGuard: result.guardBPDU = other.guardBPDU
    case .portFastLeave: result.fastLeave = other.fastLeave
    case .portCost: result.cost = other.cost
    case .portPriority: result.priority = other.priority
    case .portVLANs: result.vlans = other.vlans
    default: break
    }
    return result
  }
}

extension VXLANState {
  /// The reason for a replacement, or nil and what can be changed in place (vxlan_changelink).
  func difference(from observed: VXLANState, into names: inout [AttributeName]) -> String? {
    if id != observed.id { return "a VXLAN device keeps its id (\(observed.id))" }
    if port != observed.port { return "a VXLAN device keeps its port (\(observed.port))" }
    if underlay != observed.underlay { return "a VXLAN device keeps its underlay" }
    if local?.family != observed.local?.family || remote?.family != observed.remote?.family {
      return "a VXLAN device keeps its address family"
    }
    if local != observed.local { names.append(.local) }
    if remote != observed.remote { names.append(.remote) }
    if learning != observed.learning { names.append(.learning) }
    if wants(ttl, observed.ttl) { names.append(.ttl) }
    return nil
  }

  func taking(_ name: AttributeName, from other: VXLANState) -> VXLANState {
    var result = self
    switch name {
    case .local: result.local = other.local
    case .remote: result.remote = other.remote
    case .learning: result.learning = other.learning
    case .ttl: result.ttl = other.ttl
    default: break
    }
    return result
  }
}
