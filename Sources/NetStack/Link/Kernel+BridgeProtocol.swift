// SPDX-License-Identifier: GPL-2.0-or-later

// Messages of the spanning tree in frames: 802.3 with a length, LLC, then the message (net/bridge/br_stp_bpdu.c,
// net/llc, net/802/stp.c).

extension Kernel {
  mutating func sendConfiguration(
    _ message: ConfigurationMessage, by port: DeviceIndex, of bridge: BridgeIndex
  ) {
    sendProtocolFrame(ConfigurationMessage.length, by: port, of: bridge) { message.write(to: $0) }
  }

  mutating func sendTopologyChangeNotification(by port: DeviceIndex, of bridge: BridgeIndex) {
    guard bridges[bridge].tree.isOn else { return }
    sendProtocolFrame(ConfigurationMessage.notificationLength, by: port, of: bridge) { bytes in
      bytes.set(0, u32: UInt32(ConfigurationMessage.notificationType))
    }
  }

  private mutating func sendProtocolFrame(
    _ length: Int, by port: DeviceIndex, of bridge: BridgeIndex, _ write: (PacketBytes) -> Void
  ) {
    let control = ConfigurationMessage.logicalLinkControl
    let whole = EthernetHeader.length + control.count + length
    let slot = pool.allocate(whole)
    guard slot != .none else { return }
    _ = pool.put(slot, whole)
    let bytes = pool.bytes(slot)
    bytes.set(EthernetHeader.destination, u48: bridges[bridge].groupAddress)
    bytes.set(EthernetHeader.source, u48: devices[port].mac)
    bytes.set(EthernetHeader.type, u16: UInt16(control.count + length))
    for (place, byte) in control.enumerated() { bytes.set(EthernetHeader.length + place, u8: byte) }
    write(bytes.dropFirst(EthernetHeader.length + control.count))
    pool[slot].priority = 7  // TC_PRIO_CONTROL
    transmit(slot, by: port)
  }

  /// Takes a frame that is to stay on its link: a message of the spanning tree is understood, all else goes to the
  /// port's own host, as if there were no bridge.
  mutating func bridgeLocal(_ slot: Slot, on port: DeviceIndex, _ bridge: BridgeIndex) {
    let bytes = pool.bytes(slot)
    let control = ConfigurationMessage.logicalLinkControl
    let start = EthernetHeader.length + control.count
    let length = Int(bytes.u16(EthernetHeader.type))
    guard length < EthernetHeader.smallestType, length >= control.count,
      bytes.count >= EthernetHeader.length + length,
      (0..<control.count).allSatisfy({ bytes.u8(EthernetHeader.length + $0) == control[$0] })
    else {
      var burst = Burst(slot)
      ethernetReceive(&burst, on: port)
      return
    }
    let message = bytes.dropFirst(start).prefix(length - control.count)
    if bytes.u48(EthernetHeader.destination) == bridges[bridge].groupAddress {
      protocolReceived(message, on: port, bridge)
    }
    drop(slot, .consumed, in: devices[port].namespace)
  }

  private mutating func protocolReceived(_ bytes: PacketBytes, on port: DeviceIndex, _ bridge: BridgeIndex) {
    guard bytes.count >= ConfigurationMessage.notificationLength, bytes.u16(0) == 0, bytes.u8(2) == 0,
      bridges[bridge].tree.isOn, devices[bridges[bridge].device].isUp, devices[port].port.state != .disabled
    else { return }
    guard !devices[port].port.bpduGuard else {
      disablePort(port)
      return
    }
    switch bytes.u8(3) {
    case 0:
      guard bytes.count >= ConfigurationMessage.length else { return }
      let message = ConfigurationMessage(parsing: bytes)
      guard message.messageAge <= message.times.maximumAge else { return }
      configurationReceived(message, on: port, bridge)
    case ConfigurationMessage.notificationType: notificationReceived(on: port, bridge)
    default: break
    }
  }
}
