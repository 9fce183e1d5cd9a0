// SPDX-License-Identifier: GPL-2.0-or-later

// VLAN and macvlan devices by message: made on another device, changed, and told (net/8021q/vlan_netlink.c, vlan.c;
// drivers/net/macvlan.c).

import NetTypes
import Rtnetlink

extension Kernel {
  // MARK: VLAN

  /// VLAN_FLAG_REORDER_HDR, with which every VLAN device begins.
  private static let reorderHeader: UInt32 = 1

  private func checkVLAN(_ options: VLANOptions) throws(KernelError) {
    if let type = options.etherType, type != VLANTag.customer, type != VLANTag.service {
      throw KernelError(93, "8021q: Invalid VLAN protocol")
    }
    if let identifier = options.identifier, identifier >= VLANTag.identifierMask {
      throw KernelError(34, "8021q: Invalid VLAN id")
    }
    guard let flags = options.flags else { return }
    let mask = options.flagsMask ?? .max
    guard mask & flags & ~0x1f == 0 else { throw .invalid("8021q: Invalid VLAN flags") }
    guard flags & mask & ~Self.reorderHeader == 0 else {
      throw .notSupported("a VLAN of the emulated kernel has no GVRP, MVRP, loose or bridge binding")
    }
    guard mask & Self.reorderHeader == 0 || flags & Self.reorderHeader != 0 else {
      throw .notSupported("a VLAN of the emulated kernel shows no tags to those who capture on it")
    }
  }

  mutating func createVLAN(
    _ message: LinkMessage, _ options: VLANOptions, below asking: NamespaceIndex, in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    try checkVLAN(options)
    guard let identifier = options.identifier else { throw .invalid("8021q: VLAN id not specified") }
    guard let ifindex = message.lowerIndex else { throw .invalid("8021q: link not specified") }
    guard let lower = device(ifindex: ifindex, in: asking) else {
      throw KernelError(19, "8021q: link does not exist")
    }
    guard !devices[lower].isLoopback else { throw KernelError(95, "8021q: VLANs not supported on device") }
    guard !isLinkless(lower) else { throw .notSupported("a tun of the emulated kernel carries no VLANs") }
    let type = options.etherType ?? VLANTag.customer
    guard devices[lower].uppers.vlan(type, identifier) == nil else {
      throw KernelError(17, "8021q: VLAN device already exists")
    }
    if let mtu = message.mtu, Int(mtu) > devices[lower].mtu { throw .invalidArgument }
    try checkStack(on: lower)
    let name = try newName(message.name, prefix: "vlan", in: namespace)
    let own = VLANDevice(lower: lower, etherType: type, identifier: identifier)
    guard let vlan = vlans.insert(own) else { throw .noBuffers }
    let index: DeviceIndex
    do throws(KernelError) {
      index = try insertDevice(
        .vlan(vlan), in: namespace, name: name, index: message.index, mac: message.macAddress?.rawValue)
    } catch {
      vlans.remove(vlan)
      throw error
    }
    if message.macAddress == nil { devices[index].mac = devices[lower].mac }
    devices[index].mtu = devices[lower].mtu
    devices[lower].uppers.insert(vlan: index, type, identifier)
    applyPriorities(options, to: vlan)
    return index
  }

  mutating func changeVLAN(_ vlan: TableIndex<VLANDevice>, _ options: VLANOptions) throws(KernelError) {
    try checkVLAN(options)
    applyPriorities(options, to: vlan)
  }

  private mutating func applyPriorities(_ options: VLANOptions, to vlan: TableIndex<VLANDevice>) {
    for mapping in options.ingressPriorities { vlans[vlan].ingress[Int(mapping.from & 7)] = mapping.to }
    for mapping in options.egressPriorities {
      let tag = UInt16(mapping.to & 7) << 13
      vlans[vlan].egress.removeAll { $0.priority == mapping.from }
      vlans[vlan].egress.append((mapping.from, tag))
      vlans[vlan].egress.sort { $0.priority < $1.priority }
    }
  }

  private func options(_ vlan: TableIndex<VLANDevice>) -> VLANOptions {
    var options = VLANOptions()
    options.identifier = vlans[vlan].identifier
    options.etherType = vlans[vlan].etherType
    options.flags = Self.reorderHeader
    options.flagsMask = .max
    for tag in 0..<8 where vlans[vlan].ingress[tag] != 0 {
      options.ingressPriorities.append(VLANPriority(from: UInt32(tag), to: vlans[vlan].ingress[tag]))
    }
    for entry in vlans[vlan].egress where entry.tag != 0 {
      options.egressPriorities.append(VLANPriority(from: entry.priority, to: UInt32(entry.tag >> 13)))
    }
    return options
  }

  // MARK: macvlan

  mutating func createMacvlan(
    _ message: LinkMessage, _ options: MacvlanOptions, below asking: NamespaceIndex,
    in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    guard options.flags ?? 0 & ~3 == 0 else { throw .invalidArgument }
    guard let ifindex = message.lowerIndex else { throw .invalidArgument }
    guard var lower = device(ifindex: ifindex, in: asking) else { throw .noSuchDevice }
    // On another macvlan it stands beside that one.
    if case .macvlan(let other) = devices[lower].kind { lower = macvlans[other].lower }
    if let mtu = message.mtu, Int(mtu) > devices[lower].mtu { throw .invalidArgument }
    guard !devices[lower].isLoopback, !isLinkless(lower) else { throw .invalidArgument }
    let mode = options.mode ?? .vepa
    guard mode != .source else {
      throw .notSupported("a macvlan of the emulated kernel is private, vepa, bridge or passthru")
    }
    if !devices[lower].uppers.haveMacvlans, !devices[lower].master.isNone { throw .busy }
    guard !isPassthrough(lower) else { throw .invalidArgument }
    guard mode != .passthrough || !devices[lower].uppers.haveMacvlans else { throw .invalidArgument }
    try checkStack(on: lower)
    let name = try newName(message.name, prefix: "macvlan", in: namespace)
    let own = Macvlan(lower: lower, mode: mode, leavesPromiscuity: options.flags ?? 0 & 1 != 0)
    guard let macvlan = macvlans.insert(own) else { throw .noBuffers }
    let index: DeviceIndex
    do throws(KernelError) {
      let mac = mode == .passthrough ? devices[lower].mac : message.macAddress?.rawValue
      index = try insertDevice(
        .macvlan(macvlan), in: namespace, name: name, index: message.index, mac: mac)
    } catch {
      macvlans.remove(macvlan)
      throw error
    }
    if mode == .passthrough { devices[index].macIsSet = false }
    devices[index].mtu = devices[lower].mtu
    devices[lower].uppers.insert(macvlan: index, devices[index].mac)
    return index
  }

  mutating func changeMacvlan(_ macvlan: TableIndex<Macvlan>, _ options: MacvlanOptions) throws(KernelError) {
    guard let mode = options.mode else { return }
    guard mode != .source else {
      throw .notSupported("a macvlan of the emulated kernel is private, vepa, bridge or passthru")
    }
    guard (mode == .passthrough) == (macvlans[macvlan].mode == .passthrough) else { throw .invalidArgument }
    macvlans[macvlan].mode = mode
  }

  /// A macvlan that comes up needs an address that no other on its wire has (macvlan_open).
  func checkOpen(_ index: DeviceIndex) throws(KernelError) {
    switch devices[index].kind {
    case .vlan(let vlan):
      guard devices[vlans[vlan].lower].isUp else { throw .networkDown }
    case .macvlan(let macvlan) where macvlans[macvlan].mode != .passthrough:
      let lower = macvlans[macvlan].lower
      let own = devices[index].mac
      let isTaken = devices[lower].uppers.allMacvlans.contains {
        $0 != index && devices[$0].isUp && devices[$0].mac == own
      }
      guard devices[lower].mac != own, !isTaken else { throw KernelError(98) }
    default: break
    }
  }

  /// Two on one wire cannot have one address (macvlan_sync_address).
  func checkAddress(_ index: DeviceIndex, _ mac: UInt64) throws(KernelError) {
    guard case .macvlan(let macvlan) = devices[index].kind, macvlans[macvlan].mode != .passthrough,
      devices[index].isUp
    else { return }
    let lower = macvlans[macvlan].lower
    let isTaken = devices[lower].uppers.macvlan(mac).map { $0 != index } ?? false
    guard devices[lower].mac != mac, !isTaken else { throw KernelError(98) }
  }

  // MARK: Both

  /// Changes a device's MTU with what depends on it (dev_set_mtu).
  mutating func changeMTU(_ index: DeviceIndex, _ mtu: Int) throws(KernelError) {
    switch devices[index].kind {
    case .vlan(let vlan) where mtu > devices[vlans[vlan].lower].mtu: throw KernelError(34)
    case .macvlan(let macvlan) where mtu > devices[macvlans[macvlan].lower].mtu: throw .invalidArgument
    case .vxlan(let vxlan) where !vxlans[vxlan].lower.isNone:
      guard mtu <= devices[vxlans[vxlan].lower].mtu - VXLAN.headroom else { throw .invalidArgument }
    default: break
    }
    let old = devices[index].mtu
    devices[index].mtu = mtu
    changeMTU6(index, from: old)
    if case .bridge(let bridge) = devices[index].kind { bridges[bridge].mtuIsSet = true }
    if case .crossing(let crossing) = devices[index].kind { tellOtherEnd(crossing) }
    if !devices[index].master.isNone { adjustMTU(of: devices[index].master) }
    stackFollows(index, mtu: mtu)
  }

  /// What a device that stands on another one tells of itself.
  func stackedKind(_ index: DeviceIndex) -> LinkKind? {
    switch devices[index].kind {
    case .vlan(let vlan): return .vlan(options(vlan))
    case .macvlan(let macvlan):
      var options = MacvlanOptions()
      options.mode = macvlans[macvlan].mode
      options.flags = macvlans[macvlan].leavesPromiscuity ? 1 : 0
      return .macvlan(options)
    default: return nil
    }
  }
}
