// SPDX-License-Identifier: GPL-2.0-or-later

// A macvlan device (drivers/net/macvlan.c): an address of its own on a wire that it shares. In bridge mode siblings
// reach each other directly, in vepa mode by the switch outside, in private mode not at all; a passthrough has the
// device below to itself.

import Rtnetlink

/// What a macvlan has beside what all devices have.
struct Macvlan: ~Copyable {
  let lower: DeviceIndex
  var mode: MacvlanMode
  /// MACVLAN_FLAG_NOPROMISC.
  var leavesPromiscuity: Bool

  init(lower: DeviceIndex, mode: MacvlanMode, leavesPromiscuity: Bool) {
    self.lower = lower
    self.mode = mode
    self.leavesPromiscuity = leavesPromiscuity
  }
}

extension Kernel {
  private func mode(_ device: DeviceIndex) -> MacvlanMode? {
    guard case .macvlan(let macvlan) = devices[device].kind else { return nil }
    return macvlans[macvlan].mode
  }

  /// Whether a device belongs to one passthrough alone.
  func isPassthrough(_ lower: DeviceIndex) -> Bool {
    devices[lower].uppers.allMacvlans.contains { mode($0) == .passthrough }
  }

  /// Which macvlan takes a frame to one address (macvlan_handle_frame).
  func macvlanReceiver(_ destination: UInt64, on lower: DeviceIndex) -> DeviceIndex? {
    if let found = devices[lower].uppers.macvlan(destination) { return found }
    return devices[lower].uppers.allMacvlans.first.flatMap { mode($0) == .passthrough ? $0 : nil }
  }

  /// Copies of a group's frame that came in from outside (macvlan_multicast_rx).
  mutating func macvlanFlood(_ slot: Slot, on lower: DeviceIndex) {
    let source = devices[lower].uppers.macvlan(pool.bytes(slot).u48(EthernetHeader.source))
    for device in devices[lower].uppers.allMacvlans where device != source && devices[device].isUp {
      guard let mode = mode(device) else { continue }
      if let source {
        switch self.mode(source) {
        // The switch outside has sent it back: all who did not have it on the way out.
        case .vepa: guard mode == .vepa || mode == .bridge else { continue }
        case .bridge: guard mode == .vepa else { continue }
        default: continue
        }
      }
      let copy = pool.clone(slot)
      guard copy != .none else {
        devices[device].statistics.rxDropped &+= 1
        continue
      }
      var burst = Burst(copy)
      receive(&burst, on: device)
    }
    // A private device's own frame that comes back is its own (macvlan_broadcast_one).
    guard let source, let mode = mode(source), mode == .isolated || mode == .passthrough,
      devices[source].isUp
    else { return }
    let copy = pool.clone(slot)
    guard copy != .none else { return }
    var burst = Burst(copy)
    receive(&burst, on: source)
  }

  /// Sends frames by the device below; in bridge mode those for siblings to them (macvlan_queue_xmit).
  mutating func macvlanTransmit(_ burst: inout Burst, by index: DeviceIndex, _ macvlan: TableIndex<Macvlan>) {
    let lower = macvlans[macvlan].lower
    devices[index].statistics.txPackets &+= UInt64(burst.count)
    devices[index].statistics.txBytes &+= totalBytes(burst)
    guard macvlans[macvlan].mode == .bridge else {
      transmit(&burst, by: lower)
      return
    }
    var run = Burst()
    for position in 0..<burst.count {
      let slot = burst[position]
      let bytes = pool.bytes(slot)
      let destination =
        bytes.count >= EthernetHeader.length
        ? bytes.u48(EthernetHeader.destination) : EthernetHeader.broadcast
      guard EthernetHeader.isMulticast(destination) else {
        if let sibling = devices[lower].uppers.macvlan(destination), mode(sibling) == .bridge {
          hand(slot, to: sibling, from: index)
        } else {
          run.append(slot)
        }
        continue
      }
      for sibling in devices[lower].uppers.allMacvlans
      where sibling != index && mode(sibling) == .bridge && devices[sibling].isUp {
        let copy = pool.clone(slot)
        guard copy != .none else {
          devices[sibling].statistics.rxDropped &+= 1
          continue
        }
        hand(copy, to: sibling, from: index)
      }
      run.append(slot)
    }
    burst.removeAll()
    if !run.isEmpty { transmit(&run, by: lower) }
  }

  /// Puts a frame into a sibling's ring (dev_forward_skb): it is received on a turn of its own, so that an answer does
  /// not begin within the question.
  private mutating func hand(_ slot: Slot, to sibling: DeviceIndex, from index: DeviceIndex) {
    if devices[sibling].namespace != devices[index].namespace { pool[slot].mark = 0 }
    pool[slot].flags = []
    guard devices[sibling].isUp, devices[sibling].ring.push(slot) else {
      devices[sibling].statistics.rxDropped &+= 1
      drop(slot, .fullRing, in: devices[sibling].namespace)
      return
    }
    schedule(sibling)
  }
}
