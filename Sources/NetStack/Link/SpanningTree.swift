// SPDX-License-Identifier: GPL-2.0-or-later

// What a bridge and its ports know of the spanning tree (IEEE 802.1D clause 8 as net/bridge/br_private_stp.h has it),
// and the messages that bridges tell it each other in.

/// A bridge's part in the spanning tree. Times are nanoseconds.
struct SpanningTree {
  /// How much older a root's message is when it is told on (MESSAGE_AGE_INCR).
  static let messageAgeIncrement: Int64 = 1_000_000_000 / 256
  /// Between two messages by one port (BR_HOLD_TIME).
  static let holdTime: Int64 = 1_000_000_000
  // What 802.1D allows, in hundredths of a second (BR_MIN_HELLO_TIME and its kin).
  static let forwardDelays: ClosedRange<UInt32> = 200...3000
  static let helloTimes: ClosedRange<UInt32> = 100...1000
  static let maximumAges: ClosedRange<UInt32> = 600...4000

  var isOn = false
  /// 16 bits of priority, 48 of address: compared as one number.
  var identifier: UInt64 = 32768 << 48
  var root: UInt64 = 32768 << 48
  var rootPathCost: UInt32 = 0
  /// The number of the port towards the root; 0 in the root itself.
  var rootPort: UInt16 = 0
  /// What the root says.
  var times = Times()
  /// What this bridge would say as the root.
  var ownTimes = Times()
  var topologyChange = false
  var topologyChangeDetected = false
  var helloTimer = TimerID.none
  var notificationTimer = TimerID.none
  var topologyChangeTimer = TimerID.none

  var isRoot: Bool { identifier == root }
  var priority: UInt16 { UInt16(truncatingIfNeeded: identifier >> 48) }

  struct Times {
    var maximumAge: Int64 = 20_000_000_000
    var hello: Int64 = 2_000_000_000
    var forwardDelay: Int64 = 15_000_000_000
  }
}

/// A port's part in the spanning tree.
struct SpanningTreePort {
  static let largestPriority: UInt16 = 63
  static let costs: ClosedRange<UInt32> = 1...65535

  var priority: UInt16 = 32
  /// Priority, and ten bits of the port's number.
  var identifier: UInt16 = 0
  var cost: UInt32 = 100
  /// The cost is configuration's, not the speed's.
  var costIsSet = false
  var designatedRoot: UInt64 = 0
  var designatedCost: UInt32 = 0
  var designatedBridge: UInt64 = 0
  var designatedPort: UInt16 = 0
  /// When the root would have sent what was heard last.
  var designatedTime: Int64 = 0
  var acknowledgesChange = false
  /// A message waits for the hold timer.
  var isPending = false
  var messageAgeTimer = TimerID.none
  var forwardDelayTimer = TimerID.none
  var holdTimer = TimerID.none
}

/// A configuration message (802.1D 9.3.1). Times are nanoseconds, 1/256 of a second on the wire.
///
///     0          2         3      4       5      13     17       25     27            29        31      33
///     │ protocol │ version │ type │ flags │ root │ cost │ bridge │ port │ message age │ max age │ hello │ delay │
struct ConfigurationMessage {
  static let length = 35
  static let notificationLength = 4
  static let notificationType: UInt8 = 0x80
  /// DSAP, SSAP and control field of 802.2 before a message of the spanning tree.
  static let logicalLinkControl: [UInt8] = [0x42, 0x42, 0x03]

  var topologyChange: Bool
  var acknowledgesChange: Bool
  var root: UInt64
  var rootPathCost: UInt32
  var bridge: UInt64
  var port: UInt16
  var messageAge: Int64
  var times: SpanningTree.Times

  init(
    topologyChange: Bool, acknowledgesChange: Bool, root: UInt64, rootPathCost: UInt32, bridge: UInt64,
    port: UInt16, messageAge: Int64, times: SpanningTree.Times
  ) {
    self.topologyChange = topologyChange
    self.acknowledgesChange = acknowledgesChange
    self.root = root
    self.rootPathCost = rootPathCost
    self.bridge = bridge
    self.port = port
    self.messageAge = messageAge
    self.times = times
  }

  /// Reads `length` bytes, which are there.
  init(parsing bytes: PacketBytes) {
    func time(_ offset: Int) -> Int64 { Int64(bytes.u16(offset)) * 1_000_000_000 / 256 }
    topologyChange = bytes.u8(4) & 1 != 0
    acknowledgesChange = bytes.u8(4) & 0x80 != 0
    root = bytes.u64(5)
    rootPathCost = bytes.u32(13)
    bridge = bytes.u64(17)
    port = bytes.u16(25)
    messageAge = time(27)
    times = SpanningTree.Times(maximumAge: time(29), hello: time(31), forwardDelay: time(33))
  }

  /// Writes `length` bytes, for which there is room.
  func write(to bytes: PacketBytes) {
    func ticks(_ time: Int64) -> UInt16 { UInt16(clamping: time * 256 / 1_000_000_000) }
    bytes.set(0, u32: 0)
    bytes.set(4, u8: (topologyChange ? 1 : 0) | (acknowledgesChange ? 0x80 : 0))
    bytes.set(5, u64: root)
    bytes.set(13, u32: rootPathCost)
    bytes.set(17, u64: bridge)
    bytes.set(25, u16: port)
    bytes.set(27, u16: ticks(messageAge))
    bytes.set(29, u16: ticks(times.maximumAge))
    bytes.set(31, u16: ticks(times.hello))
    bytes.set(33, u16: ticks(times.forwardDelay))
  }
}
