// SPDX-License-Identifier: GPL-2.0-or-later

// Links by message (net/core/rtnetlink.c): making, changing and removing devices.

import NetTypes
import Rtnetlink

extension Kernel {
  // MARK: Devices

  /// Puts a device into a namespace. Number 0 takes the next free one.
  mutating func insertDevice(
    _ kind: Device.Kind, in namespace: NamespaceIndex, name: InterfaceName, index: Int32, mac: UInt64?
  ) throws(KernelError) -> DeviceIndex {
    guard device(name.text, in: namespace) == nil else { throw .exists }
    if index > 0, device(ifindex: index, in: namespace) != nil { throw .busy }
    let ifindex = index > 0 ? index : try freeIfindex(in: namespace)
    let address = mac ?? (cpu.random.next() >> 16 & ~0x0100_0000_0000 | 0x0200_0000_0000)
    let device = Device(
      kind: kind, namespace: namespace, ifindex: ifindex, name: name, mac: address, macIsSet: mac != nil)
    guard let place = devices.insert(device) else { throw .noBuffers }
    enlist(place)
    inheritSettings(place)
    beginIPv6(place)
    return place
  }

  /// The next number that no device of a namespace has (dev_index_reserve).
  mutating func freeIfindex(in namespace: NamespaceIndex) throws(KernelError) -> Int32 {
    var ifindex = namespaces[namespace].nextIfindex
    while device(ifindex: ifindex, in: namespace) != nil { ifindex += 1 }
    guard ifindex < Int32.max else { throw .noBuffers }
    namespaces[namespace].nextIfindex = ifindex + 1
    return ifindex
  }

  /// Lets a namespace know a device, which then is found by its number and its names.
  mutating func enlist(_ index: DeviceIndex) {
    let namespace = devices[index].namespace
    let ifindex = devices[index].ifindex
    var (place, end) = (0, namespaces[namespace].devices.count)
    while place < end {
      let middle = (place + end) / 2
      if devices[namespaces[namespace].devices[middle]].ifindex < ifindex {
        place = middle + 1
      } else {
        end = middle
      }
    }
    namespaces[namespace].devices.insert(index, at: place)
    namespaces[namespace].deviceNumbers[ifindex] = index
    namespaces[namespace].deviceNames[devices[index].name.text] = index
  }

  mutating func delist(_ index: DeviceIndex) {
    let namespace = devices[index].namespace
    namespaces[namespace].devices.removeAll { $0 == index }
    namespaces[namespace].deviceNumbers[devices[index].ifindex] = nil
    namespaces[namespace].deviceNames[devices[index].name.text] = nil
    for name in devices[index].alternativeNames { namespaces[namespace].deviceNames[name] = nil }
  }

  /// Takes a device away, with its addresses, routes, neighbours, and the other end of a pair.
  mutating func removeDevice(_ index: DeviceIndex) {
    guard devices.contains(index) else { return }
    removeStack(on: index)
    forgetConfiguration(of: index)
    leaveStack(index)
    var peer = DeviceIndex.none
    switch devices[index].kind {
    case .veth(let other): peer = other
    case .bridge(let bridge) where bridges.contains(bridge):
      while let port = bridges[bridge].ports.last { leaveBridge(port) }
      cpu.wheel.cancel(&bridges[bridge].ageTimer)
      stopTimers(of: bridge)
      bridges.remove(bridge)
    case .nic(let nic): if nics.contains(nic) { nics.remove(nic) }
    case .crossing(let crossing): removeCrossing(crossing)
    case .vxlan(let vxlan): removeVXLAN(vxlan)
    case .loopback, .bridge, .dummy, .vlan, .macvlan: break
    }
    if !devices[index].qdisc.isNone { destroyQdisc(devices[index].qdisc) }
    cpu.pollList.remove(index.rawValue)
    cpu.interrupts.remove(index.rawValue)
    delist(index)
    devices.remove(index)
    if devices.contains(peer) { removeDevice(peer) }
  }

  /// Takes a device out of use: down, without addresses, routes, neighbours, and out of its bridge.
  mutating func forgetConfiguration(of index: DeviceIndex) {
    let namespace = devices[index].namespace
    setUp(index, false)
    notifyLink(index, isGone: true)
    stopIPv6(index, forGood: true)
    let before = derivedRoutes(of: index)
    devices[index].addresses = []
    for route in before { namespaces[namespace].routes.remove(route) }
    forgetRoutes(of: index)
    endFragments(of: index)
    refreshLocalAddresses(of: namespace)
    if !devices[index].master.isNone { leaveBridge(index) }
  }

  private mutating func emptyRings(of index: DeviceIndex) {
    while let value = devices[index].ring.pop() {
      drop(Slot(index: value), .deviceRemoved, in: devices[index].namespace)
    }
    closeNIC(index)
    if case .crossing(let crossing) = devices[index].kind { emptyCrossing(crossing) }
  }

  /// Brings a device up or down, with what the kernel does to its routes and neighbours.
  mutating func setUp(_ index: DeviceIndex, _ isUp: Bool) {
    guard devices[index].isUp != isUp else { return }
    let namespace = devices[index].namespace
    if isUp {
      devices[index].flags.insert(.up)
      openNIC(index)
      activateQueue(index)
      if devices[index].isLoopback, devices[index].addresses.isEmpty { addLoopbackAddress(index) }
      syncRoutes(of: index)
      for route in derivedRoutes(of: index) where !namespaces[namespace].routes.contains(route) {
        namespaces[namespace].routes.insert(route)
      }
      if case .bridge(let bridge) = devices[index].kind { enableBridge(bridge) }
      if devices[index].ipv4.arpNotify { announceAddresses(of: index) }
      tellOthers(of: index)
      startIPv6(index)
      groupsFollowDevice(index)
      stackFollows(index, up: true)
      return
    }
    stackFollows(index, up: false)
    devices[index].flags.remove(.up)
    endMasqueraded(by: index, in: namespace)
    tearDownFlows(of: index, in: namespace)
    syncRoutes(of: index)
    tellOthers(of: index)
    stopIPv6(index, forGood: false)
    groupsFollowDevice(index)
    removeNeighbors(of: index)
    if case .bridge(let bridge) = devices[index].kind { disableBridge(bridge) }
    if !devices[index].qdisc.isNone { resetQueue(devices[index].qdisc) }
    emptyRings(of: index)
  }

  // MARK: Requests

  mutating func changeLink(
    _ message: LinkMessage, _ flags: MessageFlags, isSet: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) {
    var found: DeviceIndex?
    if message.index > 0 {
      found = device(ifindex: message.index, in: namespace)
    } else if let name = message.name {
      found = device(name, in: namespace)
    }
    if let found {
      guard !flags.contains(.exclusive) else { throw .exists }
      guard !flags.contains(.replace) else { throw KernelError(95) }
      try modify(found, message)
      return
    }
    guard flags.contains(.create), !isSet else { throw .noSuchDevice }
    guard let kind = message.kind else { throw .notSupported("Unknown device type") }
    try createLink(message, kind, in: namespace)
  }

  private mutating func createLink(
    _ message: LinkMessage, _ kind: LinkKind, in asking: NamespaceIndex
  ) throws(KernelError) {
    var namespace = asking
    if let descriptor = message.namespaceDescriptor { namespace = try self.namespace(descriptor: descriptor) }
    let least = if case .veth = kind { 68 } else { 0 }
    try checkAttributes(message, minimumMTU: least)
    let index: DeviceIndex
    switch kind {
    case .veth(let peer): index = try createVeth(message, peer ?? LinkMessage(), in: namespace)
    case .bridge(let options): index = try createBridge(message, options, in: namespace)
    case .dummy:
      index = try insertDevice(
        .dummy, in: namespace, name: try newName(message.name, prefix: "dummy", in: namespace),
        index: message.index, mac: message.macAddress?.rawValue)
    case .vlan(let options): index = try createVLAN(message, options, below: asking, in: namespace)
    case .macvlan(let options): index = try createMacvlan(message, options, below: asking, in: namespace)
    case .vxlan(let options): index = try createVXLAN(message, options, below: asking, in: namespace)
    case .tun: throw KernelError(95, "tun/tap creation via rtnetlink is not supported.")
    default: throw .notSupported("the emulated kernel has no devices of kind \(kind.name)")
    }
    do throws(KernelError) {
      try finish(index, message)
    } catch {
      removeDevice(index)
      throw error
    }
  }

  private mutating func createVeth(
    _ message: LinkMessage, _ peer: LinkMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    var other = namespace
    if let descriptor = peer.namespaceDescriptor { other = try self.namespace(descriptor: descriptor) }
    try checkAttributes(peer)
    let peerName = try newName(peer.name, prefix: "veth", in: other)
    let placeholder = DeviceIndex.none
    let second = try insertDevice(
      .veth(peer: placeholder), in: other, name: peerName, index: peer.index, mac: peer.macAddress?.rawValue)
    do throws(KernelError) {
      let name = try newName(message.name, prefix: "veth", in: namespace)
      let first = try insertDevice(
        .veth(peer: second), in: namespace, name: name, index: message.index,
        mac: message.macAddress?.rawValue)
      devices[second].kind = .veth(peer: first)
      do throws(KernelError) {
        try finish(second, peer)
      } catch {
        removeDevice(first)
        throw error
      }
      return first
    } catch {
      removeDevice(second)
      throw error
    }
  }

  func newName(
    _ wanted: String?, prefix: String, in namespace: NamespaceIndex
  ) throws(KernelError) -> InterfaceName {
    if let wanted, !wanted.isEmpty, !wanted.utf8.contains(UInt8(ascii: "%")) || !wanted.contains("%d") {
      guard let name = InterfaceName(wanted) else { throw .invalidArgument }
      guard device(wanted, in: namespace) == nil else { throw .exists }
      return name
    }
    let stem = wanted.map { String($0.prefix { $0 != "%" }) }.flatMap { $0.isEmpty ? nil : $0 } ?? prefix
    for number in 0..<32768 {
      if device("\(stem)\(number)", in: namespace) == nil, let name = InterfaceName("\(stem)\(number)") {
        return name
      }
    }
    throw KernelError(23)
  }

  /// What no device here can have.
  func checkAttributes(
    _ message: LinkMessage, minimumMTU least: Int = 68, maximumMTU most: Int = Device.maximumMTU
  ) throws(KernelError) {
    if let address = message.address {
      guard address.count == 6 else { throw .invalidArgument }
      guard let mac = MACAddress(bytes: address), !mac.isMulticast, mac != .zero else {
        throw addressNotAvailable
      }
    }
    if let mtu = message.mtu {
      guard mtu >= least else { throw .invalid("mtu less than device minimum") }
      guard mtu <= most else { throw .invalid("mtu greater than device maximum") }
    }
    guard message.xdp?.descriptor ?? -1 < 0 else { throw .notSupported("the emulated kernel has no XDP yet") }
  }

  private var addressNotAvailable: KernelError { .addressNotAvailable }

  mutating func finish(_ index: DeviceIndex, _ message: LinkMessage) throws(KernelError) {
    if let mtu = message.mtu { try changeMTU(index, Int(mtu)) }
    if let group = message.group { devices[index].group = group }
    if let length = message.transmitQueueLength { changeQueueLength(index, length) }
    // A VETH_INFO_PEER with IFF_UP set is refused by the kernel, since its other end is not registered yet.
    if let master = message.master, master > 0 { try joinBridge(index, master) }
    try applyFlags(index, message)
    if let port = message.port { try applyPort(index, port) }
  }

  private mutating func applyFlags(_ index: DeviceIndex, _ message: LinkMessage) throws(KernelError) {
    let mask = DeviceFlags(rawValue: message.changeMask.rawValue).intersection(.changeable)
    let wanted = DeviceFlags(rawValue: message.flags.rawValue)
    for flag in [DeviceFlags.noARP, .promiscuous, .allMulticast, .multicast] where mask.contains(flag) {
      if wanted.contains(flag) {
        devices[index].flags.insert(flag)
      } else {
        devices[index].flags.remove(flag)
      }
    }
    guard mask.contains(.up) else { return }
    if wanted.contains(.up), !devices[index].isUp { try checkOpen(index) }
    setUp(index, wanted.contains(.up))
  }

  private mutating func modify(_ index: DeviceIndex, _ message: LinkMessage) throws(KernelError) {
    var message = message
    if let descriptor = message.namespaceDescriptor {
      let target = try self.namespace(descriptor: descriptor)
      if target != devices[index].namespace {
        let number = message.newIndex ?? 0
        try moveDevice(index, to: target, as: message.name, number: number)
        message.name = nil
      }
    }
    let namespace = devices[index].namespace
    try checkAttributes(
      message, minimumMTU: devices[index].smallestMTU, maximumMTU: devices[index].largestMTU)
    if let name = message.name, message.index > 0, name != devices[index].name.text {
      guard let valid = InterfaceName(name) else { throw .invalidArgument }
      guard device(name, in: namespace) == nil else { throw .exists }
      namespaces[namespace].deviceNames[devices[index].name.text] = nil
      namespaces[namespace].deviceNames[name] = index
      devices[index].name = valid
    }
    if let mac = message.macAddress {
      guard !devices[index].isLoopback else { throw KernelError(95) }
      try checkAddress(index, mac.rawValue)
      changeMAC(index, mac.rawValue)
    }
    if let mtu = message.mtu { try changeMTU(index, Int(mtu)) }
    if let group = message.group { devices[index].group = group }
    if let length = message.transmitQueueLength { changeQueueLength(index, length) }
    if let alias = message.alias { devices[index].alias = alias.isEmpty ? nil : alias }
    if let master = message.master {
      let current = devices[index].master
      if master == 0 {
        if !current.isNone { leaveBridge(index) }
      } else {
        try joinBridge(index, master)
      }
    }
    if case .bridge(let options)? = message.kind {
      guard case .bridge(let bridge) = devices[index].kind else { throw KernelError(95) }
      try applyBridge(bridge, options)
    }
    switch (message.kind, devices[index].kind) {
    case (.vlan(let options)?, .vlan(let vlan)): try changeVLAN(vlan, options)
    case (.macvlan(let options)?, .macvlan(let macvlan)): try changeMacvlan(macvlan, options)
    case (.vxlan(let options)?, .vxlan(let vxlan)): try changeVXLAN(vxlan, options)
    case (.vlan?, _), (.macvlan?, _), (.vxlan?, _): throw KernelError(95)
    default: break
    }
    if let port = message.port { try applyPort(index, port) }
    if let generation = message.addressGeneration {
      let mode = Int32(generation.rawValue)
      guard IPv6Setting.addressGeneration.range.contains(mode) else { throw .invalidArgument }
      if let refusal = IPv6Setting.addressGeneration.refusal(of: mode) { throw .notSupported(refusal) }
      devices[index].settings.ipv6[.addressGeneration] = mode
    }
    try applyFlags(index, message)
  }

  /// `isSet` is false for an address that comes from the device below.
  mutating func changeMAC(_ index: DeviceIndex, _ mac: UInt64, isSet: Bool = true) {
    let old = devices[index].mac
    devices[index].mac = mac
    devices[index].macIsSet = isSet
    if case .macvlan(let macvlan) = devices[index].kind {
      devices[macvlans[macvlan].lower].uppers.remove(index)
      devices[macvlans[macvlan].lower].uppers.insert(macvlan: index, mac)
    }
    stackFollows(index, mac: mac)
    if !devices[index].master.isNone {
      replaceLocalEntry(of: devices[index].master, port: index, old: old, new: mac)
      chooseBridgeAddress(devices[index].master)
    } else if case .bridge(let bridge) = devices[index].kind {
      replaceLocalEntry(of: bridge, port: index, old: old, new: mac)
      addressChanged(of: bridge)
    }
    // What the neighbours know is not true any more, nor what is known of them on this link (neigh_changeaddr).
    removeNeighbors(of: index, keepingPermanent: true)
    guard devices[index].isUp else { return }
    if devices[index].ipv4.arpNotify { announceAddresses(of: index) }
    if notifiesDiscovery(index) { announceAddresses6(of: index) }
  }

  mutating func deleteLink(_ message: LinkMessage, in namespace: NamespaceIndex) throws(KernelError) {
    if message.index == 0, message.name == nil, let group = message.group {
      guard group != 0 else { throw .notPermitted }
      let members = namespaces[namespace].devices.filter { devices[$0].group == group }
      guard !members.isEmpty else { throw .noSuchDevice }
      for member in members { removeDevice(member) }
      return
    }
    let found =
      message.index > 0
      ? device(ifindex: message.index, in: namespace) : message.name.flatMap { device($0, in: namespace) }
    guard let found else { throw .noSuchDevice }
    guard !devices[found].isLoopback else { throw KernelError(95) }
    removeDevice(found)
  }

  mutating func changeAlternativeNames(
    _ message: LinkMessage, isNew: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let found =
      message.index > 0
      ? device(ifindex: message.index, in: namespace) : message.name.flatMap { device($0, in: namespace) }
    guard let found else { throw .noSuchDevice }
    for name in message.alternativeNames {
      if isNew {
        guard !name.isEmpty, name.utf8.count < 128 else { throw .invalidArgument }
        guard device(name, in: namespace) == nil else { throw .exists }
        devices[found].alternativeNames.append(name)
        namespaces[namespace].deviceNames[name] = found
      } else {
        guard devices[found].alternativeNames.contains(name) else { throw .noSuchEntry }
        devices[found].alternativeNames.removeAll { $0 == name }
        namespaces[namespace].deviceNames[name] = nil
      }
    }
  }
}
