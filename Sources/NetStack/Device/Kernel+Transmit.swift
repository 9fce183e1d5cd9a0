// SPDX-License-Identifier: GPL-2.0-or-later

// From the stack to the wire (net/core/dev.c, __dev_queue_xmit, dev_hard_start_xmit; drivers/net/veth.c).

extension Kernel {
  /// Sends frames by a device. The burst is empty afterwards.
  mutating func transmit(_ burst: inout Burst, by index: DeviceIndex) {
    flushOutgoing()
    guard devices[index].isUp else {
      devices[index].statistics.txDropped &+= UInt64(burst.count)
      dropAll(&burst, .deviceReady, in: devices[index].namespace)
      return
    }
    if stampedSockets > 0 { stamp(burst, .scheduled) }
    if hasHook(.netdev, .egress, in: devices[index].namespace) { filterLink(&burst, .egress, on: index) }
    if devices[index].qdisc.isNone {
      startTransmit(&burst, by: index)
    } else {
      queueTransmit(&burst, by: index)
    }
  }

  /// Hands frames to the device, in a form that it takes. The burst is empty afterwards.
  @inline(__always) mutating func startTransmit(_ burst: inout Burst, by index: DeviceIndex) {
    if devices[index].features.takesLarge {
      hardTransmit(&burst, by: index)
    } else {
      validateTransmit(&burst, by: index)
    }
  }

  /// Hands frames to the device itself (dev_hard_start_xmit). The burst is empty afterwards.
  mutating func hardTransmit(_ burst: inout Burst, by index: DeviceIndex) {
    if devices[index].isCaptured { record(burst, on: index, .transmitted) }
    if stampedSockets > 0 { stamp(burst, .sent) }
    let namespace = devices[index].namespace
    if !namespaces[namespace].sockets.taps.isEmpty { tap(burst, on: index, isOutgoing: true) }
    switch devices[index].kind {
    case .veth(let peer): vethTransmit(&burst, by: index, to: peer)
    case .bridge(let bridge): bridgeTransmit(&burst, by: index, bridge)
    case .loopback:
      countTransmitted(burst, by: index)
      enqueue(&burst, from: index, to: index)
    case .nic(let nic): nicTransmit(&burst, by: index, nic)
    case .crossing(let crossing): crossingTransmit(&burst, by: index, crossing)
    case .dummy:
      countTransmitted(burst, by: index)
      for position in 0..<burst.count { pool.free(burst[position], .consumed) }
      burst.removeAll()
    case .vlan(let vlan): vlanTransmit(&burst, by: index, vlan)
    case .macvlan(let macvlan): macvlanTransmit(&burst, by: index, macvlan)
    case .vxlan(let vxlan): vxlanTransmit(&burst, by: index, vxlan)
    }
  }

  mutating func transmit(_ slot: Slot, by index: DeviceIndex) {
    var burst = Burst(slot)
    transmit(&burst, by: index)
  }

  /// Frames that a device can take now; those beyond wait in its queue (netif_tx_queue_stopped). A veth's ring takes
  /// what comes, and drops what does not fit.
  @inline(__always) func transmitRoom(of index: DeviceIndex) -> Int {
    switch devices[index].kind {
    case .loopback, .veth, .crossing, .bridge, .dummy, .vlan, .macvlan, .vxlan: .max
    case .nic(let nic): nics[nic].transmitRoom
    }
  }

  @inline(__always) func totalBytes(_ burst: borrowing Burst) -> UInt64 {
    var bytes = 0
    for position in 0..<burst.count { bytes &+= Int(pool[burst[position]].length) }
    return UInt64(bytes)
  }

  private mutating func countTransmitted(_ burst: borrowing Burst, by index: DeviceIndex) {
    devices[index].statistics.txPackets &+= UInt64(burst.count)
    devices[index].statistics.txBytes &+= totalBytes(burst)
  }

  private mutating func vethTransmit(_ burst: inout Burst, by index: DeviceIndex, to peer: DeviceIndex) {
    guard devices.contains(peer), devices[peer].isUp else {
      devices[index].statistics.txDropped &+= UInt64(burst.count)
      dropAll(&burst, .deviceReady, in: devices[index].namespace)
      return
    }
    // What the other end's MTU cannot hold, with room for a VLAN tag, it does not take (is_skb_forwardable).
    let most = devices[peer].mtu &+ 18
    var largest = 0
    for position in 0..<burst.count { largest = max(largest, uncutLength(burst[position])) }
    if largest > most { refuseOversized(&burst, most, by: index, to: peer) }
    enqueue(&burst, from: index, to: peer)
  }

  /// A packet's length, or nothing when it is to be cut further on, so that its length says nothing (skb_is_gso).
  @inline(__always) func uncutLength(_ slot: Slot) -> Int {
    pool[slot].gsoType == .none ? Int(pool[slot].length) : 0
  }

  @inline(never) private mutating func refuseOversized(
    _ burst: inout Burst, _ most: Int, by index: DeviceIndex, to peer: DeviceIndex
  ) {
    var fitting = Burst()
    for position in 0..<burst.count {
      let slot = burst[position]
      if uncutLength(slot) <= most {
        fitting.append(slot)
      } else {
        devices[index].statistics.txDropped &+= 1
        devices[peer].statistics.rxDropped &+= 1
        drop(slot, .sizeExceeded, in: devices[peer].namespace)
      }
    }
    burst.removeAll()
    for position in 0..<fitting.count { burst.append(fitting[position]) }
  }

  /// Puts frames into a device's ring and sees that it is polled.
  private mutating func enqueue(_ burst: inout Burst, from index: DeviceIndex, to receiver: DeviceIndex) {
    var bytes = 0
    var taken = 0
    let crosses = devices[index].namespace != devices[receiver].namespace
    while taken < burst.count {
      let slot = burst[taken]
      bytes &+= Int(pool[slot].length)
      // At the border of a namespace what rules have marked is forgotten (skb_scrub_packet).
      if crosses { pool[slot].mark = 0 }
      // Loopback keeps what tracking knows (loopback_xmit); a pair's other end begins anew (nf_reset_ct).
      pool[slot].flags.formIntersection(index == receiver ? [.charged, .tracked] : .charged)
      guard devices[receiver].ring.push(slot) else {
        bytes &-= Int(pool[slot].length)
        break
      }
      taken &+= 1
    }
    if tellsRing(of: receiver) {
      let ring = (fill: devices[receiver].ring.count, size: Int(devices[receiver].ring.limit))
      recordRing(burst, taken, on: receiver, fill: ring.fill, size: ring.size)
    }
    if index != receiver {
      devices[index].statistics.txPackets &+= UInt64(taken)
      devices[index].statistics.txBytes &+= UInt64(bytes)
    }
    if taken < burst.count {
      devices[index].statistics.txDropped &+= UInt64(burst.count &- taken)
      for position in taken..<burst.count {
        drop(burst[position], .fullRing, in: devices[receiver].namespace)
      }
    }
    burst.removeAll()
    if taken > 0 { schedule(receiver) }
  }
}
