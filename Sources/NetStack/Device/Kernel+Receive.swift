// SPDX-License-Identifier: GPL-2.0-or-later

// From a device's ring to whoever wants the frame: counted, captured, then to the bridge that the device is a port
// of, or to the host (net/core/dev.c, __netif_receive_skb_core).

extension Kernel {
  /// Takes frames that came in by a device. The burst is empty afterwards.
  mutating func receive(_ burst: inout Burst, on index: DeviceIndex) {
    var bytes = 0
    for position in 0..<burst.count { bytes &+= Int(pool[burst[position]].length) }
    devices[index].statistics.rxPackets &+= UInt64(burst.count)
    devices[index].statistics.rxBytes &+= UInt64(bytes)
    if devices[index].isCaptured { record(burst, on: index, .received) }
    let namespace = devices[index].namespace
    if !namespaces[namespace].sockets.taps.isEmpty { tap(burst, on: index, isOutgoing: false) }
    guard devices[index].isUp else {
      dropAll(&burst, .deviceReady, in: devices[index].namespace)
      return
    }
    if devices[index].master.isNone {
      ethernetReceive(&burst, on: index)
    } else {
      bridgeReceive(&burst, on: index)
    }
  }

  /// Hands a frame to an outside face, as if its wire had brought it. Frames that are too short, too long or come to
  /// a full ring are counted as the device's; false tells that it was not taken.
  @discardableResult
  public mutating func inject(_ frame: RawSpan, into index: DeviceIndex) -> Bool {
    guard devices.contains(index), case .outside = devices[index].kind, devices[index].isUp else {
      return false
    }
    guard frame.byteCount >= EthernetHeader.length, frame.byteCount <= BufferPool.maximumLength else {
      devices[index].statistics.rxErrors &+= 1
      return false
    }
    let slot = pool.allocate(length: frame.byteCount)
    guard slot != .none else {
      devices[index].statistics.rxDropped &+= 1
      return false
    }
    pool.store(frame, in: slot)
    pool[slot].timestamp = cpu.now
    guard devices[index].ring.push(slot) else {
      devices[index].statistics.rxDropped &+= 1
      drop(slot, .fullRing, in: devices[index].namespace)
      return false
    }
    frameArrived(index)
    return true
  }

  /// Hands a frame to an outside face.
  @discardableResult
  public mutating func inject(_ frame: [UInt8], into index: DeviceIndex) -> Bool {
    unsafe frame.withUnsafeBytes { unsafe inject(RawSpan(_unsafeBytes: $0), into: index) }
  }

  /// Takes the next frame that an outside face has sent; nil when there is none.
  public mutating func takeFrame<Result>(from index: DeviceIndex, _ body: (RawSpan) -> Result) -> Result? {
    guard devices.contains(index), let value = devices[index].outbound.pop() else { return nil }
    let slot = Slot(index: value)
    let result = pool.withWhole(slot, body)
    pool.free(slot, .consumed)
    return result
  }

  /// Takes the next frame that an outside face has sent.
  public mutating func takeFrame(from index: DeviceIndex) -> [UInt8]? {
    takeFrame(from: index) { span in unsafe span.withUnsafeBytes { unsafe [UInt8]($0) } }
  }

  // MARK: Ends

  /// Ends a packet that is not wanted, and counts why.
  mutating func drop(_ slot: Slot, _ reason: DropReason, in namespace: NamespaceIndex) {
    if namespaces.contains(namespace) { namespaces[namespace].drops[reason] &+= 1 }
    pool.free(slot, reason)
  }

  mutating func dropAll(_ burst: inout Burst, _ reason: DropReason, in namespace: NamespaceIndex) {
    for position in 0..<burst.count { drop(burst[position], reason, in: namespace) }
    burst.removeAll()
  }
}
