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
    if hasHook(.netdev, .ingress, in: namespace) {
      guard !namespaces[namespace].nftables.offloads else {
        receivePastRules(&burst, on: index)
        return
      }
      filterLink(&burst, .ingress, on: index)
    }
    receiveFiltered(&burst, on: index)
  }

  /// Takes frames that have met the rules of their device. The burst is empty afterwards.
  @inline(__always) mutating func receiveFiltered(_ burst: inout Burst, on index: DeviceIndex) {
    if devices[index].isShared {
      receiveStacked(&burst, on: index)
    } else {
      receiveOwn(&burst, on: index)
    }
  }

  /// Takes frames that are for no device that stands on this one. The burst is empty afterwards.
  @inline(__always) mutating func receiveOwn(_ burst: inout Burst, on index: DeviceIndex) {
    if devices[index].master.isNone {
      ethernetReceive(&burst, on: index)
    } else {
      bridgeReceive(&burst, on: index)
    }
  }

  // MARK: Ends

  /// Ends a packet that is not wanted, and counts why.
  mutating func drop(_ slot: Slot, _ reason: DropReason, in namespace: NamespaceIndex) {
    if namespaces.contains(namespace) { namespaces[namespace].drops[reason] &+= 1 }
    if pool[slot].isWatched, reason != .consumed { note(.dropped(reason), slot, in: namespace) }
    pool.free(slot, reason)
  }

  mutating func dropAll(_ burst: inout Burst, _ reason: DropReason, in namespace: NamespaceIndex) {
    for position in 0..<burst.count { drop(burst[position], reason, in: namespace) }
    burst.removeAll()
  }
}
