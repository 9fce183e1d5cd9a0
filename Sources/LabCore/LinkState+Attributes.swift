// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes

extension AttributeName {
  public static let kind = AttributeName("kind")
  public static let mac = AttributeName("mac")
  public static let mtu = AttributeName("mtu")
  public static let up = AttributeName("up")
  public static let master = AttributeName("master")
  public static let transmitQueueLength = AttributeName("txqlen")
  public static let alternativeNames = AttributeName("altnames")
  public static let linkLocalIPv6 = AttributeName("link-local-ipv6")
  public static let peer = AttributeName("peer")
  public static let parent = AttributeName("parent")
  public static let id = AttributeName("id")
  public static let tag = AttributeName("protocol")
  public static let mode = AttributeName("mode")
  public static let owner = AttributeName("owner")
  public static let group = AttributeName("group")
  public static let multiQueue = AttributeName("multi-queue")
  public static let hostTap = AttributeName("host-tap")
  public static let local = AttributeName("local")
  public static let remote = AttributeName("remote")
  public static let underlay = AttributeName("underlay")
  public static let port = AttributeName("port")
  public static let learning = AttributeName("learning")
  public static let ttl = AttributeName("ttl")
  public static let stp = AttributeName("stp")
  public static let forwardDelay = AttributeName("forward-delay")
  public static let helloTime = AttributeName("hello-time")
  public static let maxAge = AttributeName("max-age")
  public static let ageingTime = AttributeName("ageing-time")
  public static let priority = AttributeName("priority")
  public static let vlanFiltering = AttributeName("vlan-filtering")
  public static let defaultPVID = AttributeName("default-pvid")
  public static let multicastSnooping = AttributeName("multicast-snooping")
  public static let portIsolated = AttributeName("port-isolated")
  public static let portHairpin = AttributeName("port-hairpin")
  public static let portLearning = AttributeName("port-learning")
  public static let portFlood = AttributeName("port-flood")
  public static let portMulticastFlood = AttributeName("port-multicast-flood")
  public static let portGuard = AttributeName("port-guard")
  public static let portFastLeave = AttributeName("port-fast-leave")
  public static let portCost = AttributeName("port-cost")
  public static let portPriority = AttributeName("port-priority")
  public static let portVLANs = AttributeName("port-vlans")
}

extension LinkState {
  /// The attributes that are compared and shown; `index` is neither.
  public var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.kind, .text(kind.name))
    switch kind {
    case .loopback, .dummy, .external, .other: break
    case .veth(let peer): list.add(.peer, text: peer?.path)
    case .bridge(let bridge): bridge.describe(into: &list)
    case .vlan(let vlan):
      list.add(.parent, text: vlan.parent)
      list.add(.id, number: vlan.id)
      list.add(.tag, .text("0x" + String(vlan.tag.rawValue, radix: 16)))
    case .tuntap(let device):
      list.add(.mode, .text(device.mode.rawValue))
      list.add(.owner, number: device.owner)
      list.add(.group, number: device.group)
      list.add(.multiQueue, flag: device.multiQueue)
      list.add(.hostTap, text: device.hostTap)
    case .vxlan(let tunnel): tunnel.describe(into: &list)
    case .macvlan(let macvlan):
      list.add(.parent, text: macvlan.parent?.path)
      list.add(.mode, .text(macvlan.mode.rawValue))
    }
    list.add(.mac, text: mac)
    list.add(.mtu, number: mtu)
    list.add(.up, flag: isUp)
    list.add(.master, .text(master?.text ?? "none"))
    list.add(.transmitQueueLength, number: transmitQueueLength)
    list.add(.linkLocalIPv6, flag: linkLocalIPv6)
    if !alternativeNames.isEmpty {
      list.add(.alternativeNames, .list(alternativeNames.sorted().map { .text($0) }))
    }
    port?.describe(into: &list)
    return list.attributes
  }
}

extension BridgeState {
  func describe(into list: inout AttributeList) {
    list.add(.stp, flag: stp)
    list.add(.forwardDelay, number: forwardDelay)
    list.add(.helloTime, number: helloTime)
    list.add(.maxAge, number: maxAge)
    list.add(.ageingTime, number: ageingTime)
    list.add(.priority, number: priority)
    list.add(.vlanFiltering, flag: vlanFiltering)
    list.add(.defaultPVID, number: defaultPVID)
    list.add(.multicastSnooping, flag: multicastSnooping)
  }
}

extension BridgePortState {
  func describe(into list: inout AttributeList) {
    list.add(.portIsolated, flag: isolated)
    list.add(.portHairpin, flag: hairpin)
    list.add(.portLearning, flag: learning)
    list.add(.portFlood, flag: flood)
    list.add(.portMulticastFlood, flag: multicastFlood)
    list.add(.portGuard, flag: guardBPDU)
    list.add(.portFastLeave, flag: fastLeave)
    list.add(.portCost, number: cost)
    list.add(.portPriority, number: priority)
    list.add(.portVLANs, vlans.map { .list($0.sorted().map { .text($0.description) }) })
  }
}

extension PortVLAN: CustomStringConvertible {
  public var description: String { "\(id)" + (isPVID ? " pvid" : "") + (isUntagged ? " untagged" : "") }
}

extension VXLANState {
  func describe(into list: inout AttributeList) {
    list.add(.id, number: id)
    list.add(.local, text: local)
    list.add(.remote, text: remote)
    list.add(.underlay, text: underlay)
    list.add(.port, number: port)
    list.add(.learning, flag: learning)
    list.add(.ttl, number: ttl)
  }
}
