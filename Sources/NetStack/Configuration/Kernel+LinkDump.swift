// SPDX-License-Identifier: GPL-2.0-or-later

// Links as a dump shows them (net/core/rtnetlink.c, rtnl_fill_ifinfo), and what `ip -s link` asks.

import NetTypes
import Rtnetlink

extension Kernel {
  func links(_ filter: LinkMessage, all: Bool, in namespace: NamespaceIndex) throws(KernelError)
    -> [NetlinkMessage]
  {
    guard all else {
      let found =
        filter.index > 0
        ? device(ifindex: filter.index, in: namespace)
        : (filter.name ?? filter.alternativeNames.first).flatMap { device($0, in: namespace) }
      guard let found else { throw .noSuchDevice }
      return [message(found, filter).message(.newLink, [])]
    }
    if filter.family == .bridge,
      filter.extended?.isDisjoint(with: [.bridgeVLANs, .bridgeVLANRanges]) == false
    {
      return vlans(in: namespace)
    }
    return namespaces[namespace].devices.filter { index in
      if let master = filter.master, master > 0 {
        let bridge = devices[index].master
        guard !bridge.isNone, devices[bridges[bridge].device].ifindex == master else { return false }
      }
      if let kind = filter.kind?.name, kind != kindName(index) { return false }
      // The bridge family lists ports and bridges only.
      if filter.family == .bridge, devices[index].master.isNone, kindName(index) != "bridge" { return false }
      return true
    }.map { message($0, filter).message(.newLink, []) }
  }

  func kindName(_ index: DeviceIndex) -> String? {
    switch devices[index].kind {
    case .loopback: nil
    case .nic(let nic): nics[nic].tunTap == nil ? nil : "tun"
    case .veth, .crossing: "veth"
    case .bridge: "bridge"
    case .dummy: "dummy"
    case .vlan: "vlan"
    case .macvlan: "macvlan"
    case .vxlan: "vxlan"
    }
  }

  func message(_ index: DeviceIndex, _ filter: LinkMessage) -> LinkMessage {
    var link = LinkMessage(index: devices[index].ifindex, name: devices[index].name.text)
    let carrier = hasCarrier(index)
    link.family = filter.family
    link.deviceType = devices[index].hardwareType
    link.flags = LinkFlags(rawValue: devices[index].flags.rawValue)
    if carrier { link.flags.formUnion([.running, .lowerUp]) }
    if !isLinkless(index) {
      link.macAddress = MACAddress(rawValue: devices[index].mac)
      link.broadcast = devices[index].isLoopback ? MACAddress.zero.bytes : MACAddress.broadcast.bytes
    }
    link.mtu = UInt32(devices[index].mtu)
    link.minimumMTU = UInt32(devices[index].smallestMTU)
    let most = devices[index].largestMTU
    link.maximumMTU = most > Device.maximumMTU ? 0 : UInt32(most)
    link.transmitQueueLength = devices[index].queueLength
    let queues = nic(index).map { nics[$0].queues.count } ?? 1
    link.transmitQueues = UInt32(queues)
    link.receiveQueues = UInt32(queues)
    link.group = devices[index].group
    link.promiscuity = devices[index].master.isNone ? 0 : 1
    link.carrier = carrier || devices[index].isLoopback
    link.lowerIndex = lowerIndex(index)
    link.qdisc = queueName(of: index)
    link.alias = devices[index].alias
    link.alternativeNames = devices[index].alternativeNames
    if hasIPv6(index) {
      let mode = devices[index].settings.ipv6[.addressGeneration]
      link.addressGeneration = AddressGeneration(rawValue: UInt8(clamping: mode))
    }
    link.operationalState = operationalState(index, carrier)
    if filter.extended?.contains(.skipStatistics) != true { link.statistics = statistics(index) }
    switch devices[index].kind {
    case .loopback: break
    case .crossing(let crossing):
      link.kind = .veth(peer: nil)
      let other = 1 - crossings[crossing].side
      link.linkNamespaceID = crossings[crossing].link.namespace(of: other)
    case .nic(let nic):
      if let tunTap = nics[nic].tunTap {
        link.kind = .tun(Self.options(tunTap, isAttached: nics[nic].hasLink))
      }
    case .veth(let peer):
      link.kind = .veth(peer: nil)
      if devices.contains(peer), devices[peer].namespace != devices[index].namespace {
        link.linkNamespaceID = Self.descriptor(of: devices[peer].namespace, cpu: options.cpu)
      }
    case .bridge(let bridge): link.kind = .bridge(options(bridge))
    case .dummy: link.kind = .dummy
    case .vlan, .macvlan: link.kind = stackedKind(index)
    case .vxlan(let vxlan): link.kind = .vxlan(vxlanOptions(vxlan))
    }
    if let lower = lower(of: index) {
      link.lowerIndex = devices[lower].ifindex
      if devices[lower].namespace != devices[index].namespace {
        link.linkNamespaceID = Self.descriptor(of: devices[lower].namespace, cpu: options.cpu)
      }
    }
    if !devices[index].master.isNone {
      link.master = devices[bridges[devices[index].master].device].ifindex
      link.port = .bridge(options(port: index))
    }
    return link
  }

  private static func options(_ tunTap: TunTap, isAttached: Bool) -> TunOptions {
    var options = TunOptions()
    options.type = tunTap.isTap ? 2 : 1
    options.owner = tunTap.owner
    options.group = tunTap.group
    options.packetInformation = false
    options.virtioHeader = false
    options.persistent = true
    options.multiQueue = tunTap.isMultiQueue
    if tunTap.isMultiQueue {
      options.queues = isAttached ? 1 : 0
      options.disabledQueues = 0
    }
    return options
  }

  private func operationalState(_ index: DeviceIndex, _ carrier: Bool) -> OperationalState {
    guard devices[index].isUp else { return .down }
    switch devices[index].kind {
    case .loopback, .dummy, .vxlan: return .unknown
    case .vlan, .macvlan: return carrier ? .up : .lowerLayerDown
    case .veth, .crossing, .bridge, .nic: break
    }
    if carrier { return .up }
    guard let lower = lowerIndex(index), lower != devices[index].ifindex,
      let below = device(ifindex: lower, in: devices[index].namespace)
    else { return .down }
    // The kernel looks for the other end's number in this end's namespace, wherever that end is (default_operstate).
    return hasCarrier(below) ? .down : .lowerLayerDown
  }

  /// The number of the other end of a pair (dev_get_iflink).
  private func lowerIndex(_ index: DeviceIndex) -> Int32? {
    switch devices[index].kind {
    case .veth(let peer): devices.contains(peer) ? devices[peer].ifindex : nil
    case .crossing(let crossing): crossings[crossing].link.ifindex(of: 1 - crossings[crossing].side)
    case .loopback, .bridge, .nic, .dummy, .vlan, .macvlan, .vxlan: nil
    }
  }

  private func statistics(_ index: DeviceIndex) -> LinkStatistics {
    let own = devices[index].statistics
    var link = LinkStatistics()
    link.receivedPackets = own.rxPackets
    link.receivedBytes = own.rxBytes
    link.receiveErrors = own.rxErrors
    link.receiveDropped = own.rxDropped
    link.receiveMissed = own.rxMissed
    if let nic = nic(index) {
      link.receiveLengthErrors = nics[nic].errors.tooLong + nics[nic].errors.tooShort
    }
    link.multicast = own.multicast
    link.transmittedPackets = own.txPackets
    link.transmittedBytes = own.txBytes
    link.transmitErrors = own.txErrors
    link.transmitDropped = own.txDropped
    return link
  }

  // MARK: What is counted

  /// A device's counters.
  public func statistics(of index: DeviceIndex) -> InterfaceStatistics? {
    devices.contains(index) ? devices[index].statistics : nil
  }

  /// A namespace's counters, as nstat names them.
  public func counters(of namespace: NamespaceIndex) -> SNMPCounters? {
    namespaces.contains(namespace) ? namespaces[namespace].snmp : nil
  }

  /// Why packets ended in a namespace.
  public func drops(of namespace: NamespaceIndex) -> DropCounters? {
    namespaces.contains(namespace) ? namespaces[namespace].drops : nil
  }
}
