// SPDX-License-Identifier: GPL-2.0-or-later

// What log_martians tells of packets whose addresses cannot be (net/ipv4/route.c, ip_handle_martian_source): one line each
// among the records of the kernel's log, where rules log too.

import NetTypes

extension Kernel {
  /// Tells of a packet that was dropped for its addresses.
  @inline(never)
  mutating func logMartian(_ reason: DropReason, _ flow: Flow<UInt32>, _ slot: Slot, on index: DeviceIndex) {
    let isSource: Bool
    switch reason {
    case .ipInvalidSource, .ipLocalSource, .ipReversePathFilter: isSource = true
    case .ipLocalNet: isSource = IPv4Header.isLoopback(flow.source)
    case .ipInvalidDestination where !IPv4Header.isMulticast(flow.destination): isSource = false
    default: return
    }
    let addresses = "\(IPv4Address(rawValue: flow.destination)) from \(IPv4Address(rawValue: flow.source))"
    log(
      isSource
        ? "martian source \(addresses), on dev \(devices[index].name.text)"
        : "martian destination \(addresses), dev \(devices[index].name.text)",
      slot, on: index)
  }

  /// Writes a line about a packet that came in into the log.
  mutating func log(_ line: String, _ slot: Slot, on index: DeviceIndex) {
    let bytes = pool.bytes(slot)
    nftLogs.append(
      NftLogRecord(
        time: now, namespace: devices[index].namespace, prefix: line, input: devices[index].name.text,
        output: "", packet: bytes.prefix(min(bytes.count, 128)).array))
  }
}
