// SPDX-License-Identifier: GPL-2.0-or-later

// Packet sockets (net/packet/af_packet.c): frames as devices see them. Those for every protocol see a frame before any
// bridge takes it, and what this host sends as well; those for one protocol see what comes to the host.

import NetTypes

extension Kernel {
  mutating func hookPacketSocket(_ index: SocketIndex) {
    let namespace = sockets[index].namespace
    if sockets[index].link.proto == PacketAddress.everyProtocol {
      namespaces[namespace].sockets.taps.append(index)
    } else if sockets[index].link.proto != 0 {
      namespaces[namespace].sockets.linkProtocols.append(index)
    }
  }

  mutating func unhookPacketSocket(_ index: SocketIndex) {
    let namespace = sockets[index].namespace
    namespaces[namespace].sockets.taps.removeAll { $0 == index }
    namespaces[namespace].sockets.linkProtocols.removeAll { $0 == index }
  }

  /// Binds a packet socket to a device (0: all) and a protocol (0: the one it has). ENODEV: no such device.
  public mutating func bind(_ index: SocketIndex, to link: PacketAddress) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    guard case .packet = sockets[index].kind else { throw .invalidArgument }
    if link.ifindex != 0 {
      guard let device = device(ifindex: link.ifindex, in: sockets[index].namespace) else {
        throw .noSuchDevice
      }
      if !devices[device].isUp { sockets[index].error = KernelError.networkDown.errno }
    }
    unhookPacketSocket(index)
    sockets[index].link.ifindex = link.ifindex
    if link.proto != 0 { sockets[index].link.proto = link.proto }
    hookPacketSocket(index)
  }

  // MARK: Receiving

  /// Shows frames that came in by a device, or leave by it, to the sockets that see every frame (dev_queue_xmit_nit).
  /// The frames begin with their link headers.
  @inline(never)
  mutating func tap(_ burst: borrowing Burst, on device: DeviceIndex, isOutgoing: Bool) {
    let namespace = devices[device].namespace
    for position in 0..<burst.count {
      let slot = burst[position]
      for place in 0..<namespaces[namespace].sockets.taps.count {
        let index = namespaces[namespace].sockets.taps[place]
        guard isWatching(index, device), pool.sender(of: slot) != index.rawValue else { continue }
        let copy = pool.clone(slot)
        guard copy != .none else {
          sockets[index].drops &+= 1
          continue
        }
        classify(copy, on: device, isOutgoing: isOutgoing)
        packetEnqueue(copy, on: index, namespace)
      }
    }
  }

  /// The marks that whoever shows a frame needs, and that the way up sets later.
  private mutating func classify(_ slot: Slot, on device: DeviceIndex, isOutgoing: Bool) {
    let start = pool[slot].dataOffset
    pool[slot].linkHeader = start
    pool[slot].networkHeader = start &+ UInt16(EthernetHeader.length)
    pool[slot].device = device.rawValue
    pool[slot].timestamp = cpu.now
    let bytes = pool.bytes(slot)
    guard bytes.count >= EthernetHeader.length else { return }
    pool[slot].etherType = bytes.u16(EthernetHeader.type)
    let destination = bytes.u48(EthernetHeader.destination)
    if isOutgoing {
      pool[slot].packetType = .outgoing
    } else if destination == devices[device].mac {
      pool[slot].packetType = .host
    } else if EthernetHeader.isMulticast(destination) {
      pool[slot].packetType = destination == EthernetHeader.broadcast ? .broadcast : .multicast
    } else {
      pool[slot].packetType = .otherHost
    }
  }

  /// Shows a frame that has come to the host to the sockets for its protocol; its link header has been pulled.
  @inline(never)
  mutating func showProtocol(_ slot: Slot, on device: DeviceIndex) {
    let namespace = devices[device].namespace
    for place in 0..<namespaces[namespace].sockets.linkProtocols.count {
      let index = namespaces[namespace].sockets.linkProtocols[place]
      guard isWatching(index, device), sockets[index].link.proto == pool[slot].etherType else { continue }
      let copy = pool.clone(slot)
      guard copy != .none else {
        sockets[index].drops &+= 1
        continue
      }
      _ = pool.push(copy, EthernetHeader.length)
      pool[copy].timestamp = cpu.now
      packetEnqueue(copy, on: index, namespace)
    }
  }

  private func isWatching(_ index: SocketIndex, _ device: DeviceIndex) -> Bool {
    let ifindex = sockets[index].link.ifindex
    return ifindex == 0 || ifindex == devices[device].ifindex
  }

  private mutating func packetEnqueue(_ slot: Slot, on index: SocketIndex, _ namespace: NamespaceIndex) {
    if !enqueueReceived(slot, on: index) { drop(slot, .socketReceiveBuffer, in: namespace) }
  }

  /// Who sent a frame to whom, as recvfrom tells it.
  func packetAddress(_ slot: Slot, _ ifindex: Int32) -> PacketAddress {
    let bytes = pool.bytes(slot, from: pool[slot].linkHeader)
    return PacketAddress(
      ifindex: ifindex, proto: pool[slot].etherType, mac: bytes.u48(EthernetHeader.source),
      type: pool[slot].packetType.rawValue)
  }

  // MARK: Sending

  /// Sends a frame by a device; a cooked socket's has its link header made from `link` (packet_snd). ENXIO: no such
  /// device; ENETDOWN: it is down; EMSGSIZE: longer than its MTU.
  public mutating func send(
    _ data: borrowing RawSpan, on index: SocketIndex, to link: PacketAddress
  ) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    try packetSend(data, on: index, to: link)
  }

  mutating func packetSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to link: PacketAddress?
  ) throws(KernelError) {
    guard case .packet(_, let isCooked) = sockets[index].kind else { throw .invalidArgument }
    let namespace = sockets[index].namespace
    let ifindex = link?.ifindex ?? sockets[index].link.ifindex
    guard let device = device(ifindex: ifindex, in: namespace) else { throw .noSuchDeviceOrAddress }
    guard devices[device].isUp else { throw .networkDown }
    let header = EthernetHeader.length
    guard isCooked || data.byteCount >= header else { throw .invalidArgument }
    guard data.byteCount <= devices[device].mtu + (isCooked ? 0 : header) else { throw .messageTooLong }
    try checkSendRoom(index)
    let length = data.byteCount + (isCooked ? header : 0)
    let slot = pool.allocate(length: length)
    guard slot != .none else { throw .noBuffers }
    pool.store(data, in: slot, at: length - data.byteCount)
    if isCooked {
      let bytes = pool.bytes(slot)
      let proto = link.map(\.proto) ?? sockets[index].link.proto
      bytes.set(EthernetHeader.destination, u48: link?.mac ?? 0)
      bytes.set(EthernetHeader.source, u48: devices[device].mac)
      bytes.set(EthernetHeader.type, u16: proto)
    }
    pool[slot].networkHeader = pool[slot].dataOffset &+ UInt16(header)
    pool[slot].mark = sockets[index].options.mark
    pool[slot].priority = sockets[index].options.priority
    pool.charge(slot, to: index.rawValue)
    transmit(slot, by: device)
  }
}
