// SPDX-License-Identifier: GPL-2.0-or-later

// What a bridge and its ports have beside their devices (`struct net_bridge`, `struct net_bridge_port`).

/// The place of a bridge in the kernel's table.
typealias BridgeIndex = TableIndex<Bridge>

/// What a bridge has beside its device.
struct Bridge: ~Copyable {
  /// Ports at most (BR_MAX_PORTS, of which number 0 is none).
  static let maximumPorts = 1023

  let device: DeviceIndex
  /// In order of joining.
  var ports: [DeviceIndex] = []
  var database: ForwardingDatabase
  /// Nanoseconds that a learned address stays; shorter while the topology changes.
  var ageing: Int64 = 300_000_000_000
  /// What configuration has said of it; 300 s as the kernel has it.
  var ownAgeing: Int64 = 300_000_000_000
  /// Which of the groups 01:80:c2:00:00:0X are forwarded.
  var groupForwardMask: UInt16 = 0
  /// Where messages of the spanning tree go.
  var groupAddress: UInt64 = 0x0180_c200_0000
  var groupAddressIsSet = false
  var filtersVLANs = false
  /// The tag's: 0x8100 or 0x88a8.
  var vlanProtocol: UInt16 = 0x8100
  /// What a new port gets as its PVID; 0 for nothing.
  var defaultVLAN: UInt16 = 1
  /// A port forwards.
  var hasCarrier = false
  /// The MTU is configuration's, not the smallest of the ports'.
  var mtuIsSet = false
  /// Addresses that may be learned; 0 for as many as the database takes.
  var maximumLearned: UInt32 = 0
  var ageTimer = TimerID.none
  var tree = SpanningTree()
  var groups = MulticastGroups()
  /// Addresses that were not learned because the database was full.
  var notLearned: UInt64 = 0

  init(device: DeviceIndex, seed: UInt64) {
    self.device = device
    database = ForwardingDatabase(seed: seed)
  }

  /// How long a learned address is believed (hold_time).
  var holdTime: Int64 { tree.topologyChange ? tree.times.forwardDelay : ageing }

  var mayLearn: Bool { maximumLearned == 0 || database.learnedCount < maximumLearned }
}

/// A device's part as a bridge's port (IFLA_BRPORT_*), as packets need it.
struct BridgePort {
  /// BR_STATE_*, with the kernel's numbers.
  enum State: UInt8 { case disabled, listening, learning, forwarding, blocking }

  /// From 1; 0 for a device that is no port.
  var number: UInt16 = 0
  var state = State.disabled
  var learning = true
  var unicastFlood = true
  var multicastFlood = true
  var broadcastFlood = true
  var hairpin = false
  var isolated = false
  /// Who leaves a group behind the port is the last one.
  var fastLeave = false
  /// The port never leads to the root.
  var rootBlock = false
  /// A message of the spanning tree takes the port down.
  var bpduGuard = false
  /// As the bridge's, for what comes in by this port.
  var groupForwardMask: UInt16 = 0
}
