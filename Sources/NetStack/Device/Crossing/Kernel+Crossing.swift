// SPDX-License-Identifier: GPL-2.0-or-later

// One end of a veth pair whose other end lives on another CPU (drivers/net/veth.c, but for how frames get across).
// What it knows of the other end it learns when its CPU answers the doorbell, so that a turn of this CPU sees one
// state of it from beginning to end.

import NetTypes
public import Rtnetlink

typealias CrossingIndex = TableIndex<Crossing>

/// One end.
struct Crossing: ~Copyable {
  let link: CrossLink
  /// 0 or 1; the other end is the other.
  let side: Int
  let device: DeviceIndex
  /// What the other end was when the doorbell was last answered.
  var peer = CrossState.absent
  /// Frames handed over, and taken over.
  var sent: UInt64 = 0
  var received: UInt64 = 0
}

extension Kernel {
  /// Makes one end of a pair across CPUs; the other is made in the same way on its own.
  public mutating func makeCrossing(
    _ message: LinkMessage, _ link: CrossLink, side: Int, in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    guard link.state(of: side) == .absent else { throw .exists }
    try checkAttributes(message)
    let name = try newName(message.name, prefix: "veth", in: namespace)
    let index = try insertDevice(
      .crossing(.none), in: namespace, name: name, index: message.index, mac: message.macAddress?.rawValue)
    guard let crossing = crossings.insert(Crossing(link: link, side: side, device: index)) else {
      removeDevice(index)
      throw .noBuffers
    }
    devices[index].kind = .crossing(crossing)
    link.attach(
      side, doorbell, crossing.rawValue,
      namespace: Machine.Namespace(cpu: options.cpu, index: namespace).descriptor,
      ifindex: devices[index].ifindex, mtu: devices[index].mtu)
    do throws(KernelError) {
      try finish(index, message)
    } catch {
      removeDevice(index)
      throw error
    }
    tellOtherEnd(crossing)
    // The other end may have been there first.
    doorbell.ring(crossing.rawValue)
    return index
  }

  /// Shows the other end what this one is now.
  mutating func tellOtherEnd(_ crossing: CrossingIndex) {
    let index = crossings[crossing].device
    let link = crossings[crossing].link
    let side = crossings[crossing].side
    link.setMTU(devices[index].mtu, of: side)
    link.setState(devices[index].isUp ? .up : .down, of: side)
    callOtherEnd(crossing)
  }

  private mutating func callOtherEnd(_ crossing: CrossingIndex) {
    guard let other = crossings[crossing].link.call(1 - crossings[crossing].side) else { return }
    cpu.rung |= 1 << UInt64(other)
  }

  /// The device goes: the other end goes too, when its CPU hears of it.
  mutating func removeCrossing(_ crossing: CrossingIndex) {
    guard crossings.contains(crossing) else { return }
    emptyCrossing(crossing)
    let link = crossings[crossing].link
    let other = 1 - crossings[crossing].side
    link.setState(.removed, of: crossings[crossing].side)
    // What was handed to an end that had gone already, without knowing it, nobody else takes out of its ring.
    if link.state(of: other) == .removed {
      crossings[crossing].received &+= UInt64(link.ring(to: other).discard())
    }
    callOtherEnd(crossing)
    retiredCrossings.sent &+= crossings[crossing].sent
    retiredCrossings.received &+= crossings[crossing].received
    crossings.remove(crossing)
  }

  /// Frames that nobody will read are lost, as those in a ring of a device that goes down.
  mutating func emptyCrossing(_ crossing: CrossingIndex) {
    let lost = crossings[crossing].link.ring(to: crossings[crossing].side).discard()
    crossings[crossing].received &+= UInt64(lost)
    devices[crossings[crossing].device].statistics.rxDropped &+= UInt64(lost)
  }

  /// Looks at every pair that has been rung for: frames are polled, changes of the other end carried out.
  mutating func answerDoorbell() {
    for number in doorbell.answer() {
      let crossing = CrossingIndex(number)
      guard crossings.contains(crossing) else { continue }
      let index = crossings[crossing].device
      let state = crossings[crossing].link.state(of: 1 - crossings[crossing].side)
      if state != crossings[crossing].peer {
        crossings[crossing].peer = state
        if state == .removed {
          removeDevice(index)
          continue
        }
        carrierChanged(index)
      }
      if crossings[crossing].link.ring(to: crossings[crossing].side).count > 0 { schedule(index) }
    }
  }

  /// Takes frames over, at most `limit` and as many as the burst has room for.
  mutating func readCrossing(_ crossing: CrossingIndex, _ limit: Int, into burst: inout Burst) {
    let ring = crossings[crossing].link.ring(to: crossings[crossing].side)
    let count = min(ring.count, limit, Burst.capacity &- burst.count)
    for _ in 0..<count {
      let slot = ring.read(into: &pool)
      if slot != .none {
        burst.append(slot)
      } else {
        devices[crossings[crossing].device].statistics.rxDropped &+= 1
      }
    }
    crossings[crossing].received &+= UInt64(count)
  }

  /// Hands frames over. The burst is empty afterwards.
  mutating func crossingTransmit(_ burst: inout Burst, by index: DeviceIndex, _ crossing: CrossingIndex) {
    let namespace = devices[index].namespace
    guard crossings[crossing].peer == .up else {
      devices[index].statistics.txDropped &+= UInt64(burst.count)
      dropAll(&burst, .deviceReady, in: namespace)
      return
    }
    let other = 1 - crossings[crossing].side
    let link = crossings[crossing].link
    let ring = link.ring(to: other)
    let most = link.mtu(of: other) &+ EthernetHeader.length &+ 4
    let room = ring.room
    var written = 0
    var bytes = 0
    for position in 0..<burst.count {
      let slot = burst[position]
      let length = Int(pool[slot].length)
      let isFitting = uncutLength(slot) <= most
      guard isFitting, written < room else {
        devices[index].statistics.txDropped &+= 1
        drop(slot, isFitting ? .fullRing : .sizeExceeded, in: namespace)
        continue
      }
      ring.write(slot, of: pool, at: written)
      written &+= 1
      bytes &+= length
      pool.free(slot, .consumed)
    }
    burst.removeAll()
    guard written > 0 else { return }
    devices[index].statistics.txPackets &+= UInt64(written)
    devices[index].statistics.txBytes &+= UInt64(bytes)
    crossings[crossing].sent &+= UInt64(written)
    ring.publish(written)
    callOtherEnd(crossing)
  }
}
