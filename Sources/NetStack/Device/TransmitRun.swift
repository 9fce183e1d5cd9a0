// SPDX-License-Identifier: GPL-2.0-or-later

// Packets that were passed on one after the other and leave by one device together. Whatever else is sent lets them go
// first, so that no device's sequence of frames changes; and the stage that has put them here, at its end.

/// Packets on their way out by one device.
struct TransmitRun: ~Copyable {
  var packets = Burst()
  var device = DeviceIndex.none
}

extension Kernel {
  /// Sends a packet, which has its link header, with those before it.
  @inline(__always) mutating func transmitLater(_ slot: Slot, by device: DeviceIndex) {
    if outgoing.device != device || outgoing.packets.isFull { flushOutgoing() }
    outgoing.device = device
    outgoing.packets.append(slot)
  }

  /// Lets go what waits to leave.
  @inline(__always) mutating func flushOutgoing() {
    if !outgoing.packets.isEmpty { sendOutgoing() }
  }

  @inline(never) private mutating func sendOutgoing() {
    var run = TransmitRun()
    swap(&run, &outgoing)
    transmit(&run.packets, by: run.device)
  }
}
