// SPDX-License-Identifier: GPL-2.0-or-later

// Frames of a namespace that has flowtables. Each is decided upon before the next is looked at, since a packet may put its
// connection past the rules, or end that; those that go past the rules one after the other leave together.

extension Kernel {
  /// Takes frames that came in by a device. The burst is empty afterwards.
  @inline(never) mutating func receivePastRules(_ burst: inout Burst, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    for position in 0..<burst.count {
      let slot = burst[position]
      if pool.bytes(slot).count >= EthernetHeader.length {
        placeHeaders(slot)
        guard netfilter(slot, .netdev, .ingress, in: index, out: .none, namespace) else { continue }
      }
      var single = Burst(slot)
      receiveFiltered(&single, on: index)
    }
    flushOutgoing()
    burst.removeAll()
  }
}
