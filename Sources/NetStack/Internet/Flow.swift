// SPDX-License-Identifier: GPL-2.0-or-later

// What a route is chosen by (`struct flowi4`, `struct flowi6`). The destination alone decides, unless policy rules,
// routes with a type of service or several next hops ask for more. Users' numbers are not here: nobody in the
// emulated kernel has one.

/// What is known of a packet, or of a whole flow, when its way is looked up.
struct Flow<Address: InternetAddress>: BitwiseCopyable {
  var destination: Address
  var source: Address = 0
  /// The source may be nobody's here (FLOWI_FLAG_ANYSRC).
  var isFromAnywhere = false
  var mark: UInt32 = 0
  /// The device that it came in by; the loopback device for what this host sends.
  var inputDevice = DeviceIndex.none
  /// The device that it must leave by.
  var outputDevice = DeviceIndex.none
  /// Its DSCP, and the two bits of ECN clear.
  var typeOfService: UInt8 = 0
  var proto: UInt8 = 0
  var sourcePort: UInt16 = 0
  var destinationPort: UInt16 = 0
  /// IPv6: what the first of several next hops' selection mixes in.
  var flowLabel: UInt32 = 0
  /// Routes of a wider scope do not count.
  var scope: UInt8 = 0
  /// Whether a next hop without a carrier counts (FIB_LOOKUP_IGNORE_LINKSTATE).
  var ignoresLinkState = false
}
