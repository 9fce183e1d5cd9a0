// SPDX-License-Identifier: GPL-2.0-or-later

// What one CPU has of its own: the devices to poll, interrupts that wait, timers, chance, and the time that its driver
// last told. A lab on several CPUs is several of these, each with the shards (a node, or one bridge) placed on it.

import NetTypes

/// One CPU's state.
struct CPU: ~Copyable {
  private let passing = PassedByAddress()
  /// Devices whose NAPI polls, in order.
  var pollList: SlotRing
  /// Devices that have interrupted and have not been handled.
  var interrupts: SlotRing
  /// Packets that this host sent to itself among others, on their way up again (netif_rx).
  var backlog: SlotRing
  /// Sockets with news for whoever drives the kernel; each stands here once at most.
  var wakeups: SlotRing
  /// Tokens of those that instances of epoll have news for.
  var epollWakeups: [UInt64] = []
  /// What the poll that is under way has joined so far.
  var joining = GROList()
  var wheel: TimerWheel
  var heap = PreciseHeap()
  var random: RandomState
  /// Nanoseconds.
  var now: Int64
  /// Other CPUs that this turn has called, a bit each.
  var rung: UInt64 = 0
  /// Tunnels that a packet on its way down is in.
  var tunnelDepth = 0
  var statistics = SoftnetStatistics()

  init(seed: UInt64, now: Instant) {
    pollList = SlotRing(limit: 1 << 24)
    interrupts = SlotRing(limit: 1 << 24)
    backlog = SlotRing(limit: 1000)
    wakeups = SlotRing(limit: 1 << 24)
    wheel = TimerWheel(now: now.nanoseconds)
    random = RandomState(seed: seed)
    self.now = now.nanoseconds
  }

  var nextDeadline: Int64? {
    switch (wheel.nextDeadline, heap.nextDeadline) {
    case (let tick?, let precise?): min(tick, precise)
    case (let tick?, nil): tick
    case (nil, let precise): precise
    }
  }

  var hasWork: Bool { !pollList.isEmpty || !interrupts.isEmpty || !backlog.isEmpty }
}

/// A CPU's line of `/proc/net/softnet_stat`.
public struct SoftnetStatistics: Hashable, Sendable {
  /// Packets polled.
  public var processed: UInt64 = 0
  /// How often the budget of one round ended before the work.
  public var timeSqueeze: UInt64 = 0
  /// Polls of a device.
  public var polls: UInt64 = 0
  /// Interrupts handled.
  public var interrupts: UInt64 = 0
  /// Segments that packets were cut into.
  public var segmented: UInt64 = 0
  /// Segments that were joined to the one before them.
  public var joined: UInt64 = 0

  /// All zero.
  public init() {}
}
