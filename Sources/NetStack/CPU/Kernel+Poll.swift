// SPDX-License-Identifier: GPL-2.0-or-later

// A CPU's turn: timers, interrupts, NET_RX (net/core/dev.c, net_rx_action).

public import NetTypes

/// What a turn leaves to do.
public struct PollResult: Hashable, Sendable {
  /// The budget ended before the work: call again at once.
  public var hasMore: Bool
  /// When the next timer is due, if nothing comes before it.
  public var nextDeadline: Instant?
  /// Other CPUs whose doorbells were rung, a bit each: wake their threads.
  public var called: UInt64
}

extension Kernel {
  /// NAPI's budget for one device.
  static let deviceBudget = 64
  /// The budget of one turn (net.core.netdev_budget).
  static let turnBudget = 300

  /// Runs what is due at `now`, within the budget of one turn. Time that runs backwards stands still.
  public mutating func poll(now: Instant) -> PollResult {
    cpu.now = max(cpu.now, now.nanoseconds)
    if doorbell.isRung { answerDoorbell() }
    runTimers()
    handleInterrupts()
    netReceive()
    settleWriters()
    defer { cpu.rung = 0 }
    return PollResult(
      hasMore: cpu.hasWork || doorbell.isRung,
      nextDeadline: cpu.nextDeadline.map { Instant(nanoseconds: $0) },
      called: cpu.rung)
  }

  private mutating func runTimers() {
    while let event = cpu.wheel.popDue(now: cpu.now) { handle(event) }
    while let event = cpu.heap.popDue(now: cpu.now) { handle(event) }
  }

  private mutating func handle(_ event: TimerEvent) {
    switch event.kind {
    case .neighbor: neighborTimer(TableIndex(event.index))
    case .groups: groupTimer(TableIndex(event.index))
    case .fragments: fragmentTimer(TableIndex(event.index))
    case .neighborCollection: neighborCollectionTimer(event.index)
    case .managedNeighbors: managedNeighborsTimer(event.index)
    case .delayedAnswer: delayedAnswerTimer(TableIndex(event.index))
    case .addressLifetime: addressLifetimeTimer(TableIndex(event.index))
    case .addressDetection: addressDetectionTimer(TableIndex(event.index))
    case .routeExpiry: routeExpiryTimer(TableIndex(event.index))
    case .routerSolicitation: routerSolicitationTimer(DeviceIndex(event.index))
    case .groupChanges: groupChangesTimer(DeviceIndex(event.index))
    case .groupState: groupStateTimer(DeviceIndex(event.index))
    case .groupAnswer: groupAnswerTimer(DeviceIndex(event.index))
    case .groupReport: groupReportTimer(DeviceIndex(event.index))
    case .tcpRetransmit: tcpRetransmitTimer(TableIndex(event.index))
    case .tcpDelayedACK: tcpDelayedACKTimer(TableIndex(event.index))
    case .tcpCompressedACK: tcpCompressedACKTimer(TableIndex(event.index))
    case .tcpPacing: tcpPacingTimer(TableIndex(event.index))
    case .tcpKeepalive: tcpKeepaliveTimer(TableIndex(event.index))
    case .tcpState: tcpStateTimer(TableIndex(event.index))
    case .tcpTimeWait: tcpTimeWaitTimer(TableIndex(event.index))
    case .tcpRequest: tcpRequestTimer(TableIndex(event.index))
    case .forwardingAge: forwardingAgeTimer(TableIndex(event.index))
    case .receiveInterrupt: moderationTimer(Vector(rawValue: event.index), .receive)
    case .transmitInterrupt: moderationTimer(Vector(rawValue: event.index), .transmit)
    case .refill: refillTimer(Vector(rawValue: event.index))
    case .vxlanAge: vxlanAgeTimer(TableIndex(event.index))
    case .queue: queueTimer(DeviceIndex(event.index))
    case .conntrack: conntrackTimer(TableIndex(event.index))
    case .flows: flowTimer(TableIndex(event.index))
    case .bridgeHello: helloTimer(TableIndex(event.index))
    case .bridgeNotification: notificationTimer(TableIndex(event.index))
    case .bridgeTopologyChange: topologyChangeTimer(TableIndex(event.index))
    case .portMessageAge: messageAgeTimer(TableIndex(event.index))
    case .portForwardDelay: forwardDelayTimer(TableIndex(event.index))
    case .portHold: holdTimer(TableIndex(event.index))
    case .bridgeGroups: groupsTimer(TableIndex(event.index))
    }
  }

  private mutating func handleInterrupts() {
    while let value = cpu.interrupts.pop() {
      let vector = Vector(rawValue: value)
      guard let nic = nic(vector.device) else { continue }
      cpu.statistics.interrupts += 1
      scheduleNIC(nic, vector)
    }
  }

  /// Puts a device that needs no interrupt on the poll list (napi_schedule).
  @inline(__always) mutating func schedule(_ index: DeviceIndex) {
    guard !devices[index].napi.isScheduled else { return }
    devices[index].napi.isScheduled = true
    _ = cpu.pollList.push(index.rawValue)
  }

  private mutating func netReceive() {
    var budget = Self.turnBudget
    while budget > 0, let value = cpu.backlog.pop() {
      budget -= 1
      let slot = Slot(index: value)
      if pool[slot].etherType == 0x86dd { ipv6ReceiveLooped(slot) } else { ipv4ReceiveLooped(slot) }
    }
    while let value = cpu.pollList.pop() {
      let vector = Vector(rawValue: value)
      let index = vector.device
      guard devices.contains(index) else { continue }
      if case .nic(let nic) = devices[index].kind {
        let (work, again) = pollNIC(nic, vector, Self.deviceBudget)
        budget -= work
        if again { _ = cpu.pollList.push(value) }
        if isSqueezed(budget) { return }
        continue
      }
      let work = pollDevice(index, Self.deviceBudget)
      budget -= work
      // The device may have gone while its packets were handled.
      if devices.contains(index) {
        if work < Self.deviceBudget, isDry(index) {
          devices[index].napi.isScheduled = false
        } else {
          _ = cpu.pollList.push(value)
        }
      }
      if isSqueezed(budget) { return }
    }
  }

  private func isDry(_ index: DeviceIndex) -> Bool {
    guard case .crossing(let crossing) = devices[index].kind else { return devices[index].ring.isEmpty }
    return crossings[crossing].link.ring(to: crossings[crossing].side).count == 0
  }

  /// Whether a turn's budget is used up, which is counted when there was more to do.
  private mutating func isSqueezed(_ budget: Int) -> Bool {
    guard budget <= 0 else { return false }
    if !cpu.pollList.isEmpty { cpu.statistics.timeSqueeze += 1 }
    return true
  }

  /// Takes up to `budget` packets from a device's ring up the stack.
  private mutating func pollDevice(_ index: DeviceIndex, _ budget: Int) -> Int {
    cpu.statistics.polls &+= 1
    var done = 0
    var burst = Burst()
    let joins = devices[index].features.contains(.genericReceive)
    while done < budget, devices.contains(index) {
      burst.removeAll()
      if case .crossing(let crossing) = devices[index].kind {
        readCrossing(crossing, min(options.burst, budget &- done), into: &burst)
      } else {
        devices[index].ring.pop(min(options.burst, budget &- done), into: &burst)
      }
      guard !burst.isEmpty else { break }
      if tellsRing(of: index) { recordPoll(burst, on: index, after: done) }
      done &+= burst.count
      if joins { groReceive(&burst, on: index) } else { receive(&burst, on: index) }
    }
    groFlush(on: index)
    cpu.statistics.processed &+= UInt64(done)
    return done
  }
}
