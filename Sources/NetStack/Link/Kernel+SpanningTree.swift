// SPDX-License-Identifier: GPL-2.0-or-later

// The spanning tree of 802.1D, 1998, as Linux keeps it (net/bridge/br_stp.c, br_stp_if.c, br_stp_timer.c): which
// bridge is the root, which port leads there, which ports serve their links, and the way of a port from blocking to
// forwarding. A bridge that runs no spanning tree takes the same way with a delay of nothing.

extension Kernel {
  // MARK: Selection

  private func isDesignated(_ port: DeviceIndex, _ bridge: BridgeIndex) -> Bool {
    devices[port].tree.designatedBridge == bridges[bridge].tree.identifier
      && devices[port].tree.designatedPort == devices[port].tree.identifier
  }

  private mutating func becomeDesignated(_ port: DeviceIndex, _ bridge: BridgeIndex) {
    devices[port].tree.designatedRoot = bridges[bridge].tree.root
    devices[port].tree.designatedCost = bridges[bridge].tree.rootPathCost
    devices[port].tree.designatedBridge = bridges[bridge].tree.identifier
    devices[port].tree.designatedPort = devices[port].tree.identifier
  }

  /// What decides between two ways to the root, in order (br_should_become_root_port).
  private func rootPriority(_ port: DeviceIndex) -> (UInt64, UInt32, UInt64, UInt16, UInt16) {
    let tree = devices[port].tree
    return (
      tree.designatedRoot, tree.designatedCost &+ tree.cost, tree.designatedBridge, tree.designatedPort,
      tree.identifier
    )
  }

  private mutating func selectRoot(_ bridge: BridgeIndex) {
    var best = DeviceIndex.none
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      guard devices[port].port.state != .disabled, !isDesignated(port, bridge),
        bridges[bridge].tree.identifier > devices[port].tree.designatedRoot,
        best.isNone || rootPriority(port) < rootPriority(best)
      else { continue }
      if devices[port].port.rootBlock {
        setState(port, .listening)
        armForwardDelay(port, bridge)
      } else {
        best = port
      }
    }
    if best.isNone {
      bridges[bridge].tree.rootPort = 0
      bridges[bridge].tree.root = bridges[bridge].tree.identifier
      bridges[bridge].tree.rootPathCost = 0
    } else {
      bridges[bridge].tree.rootPort = devices[best].port.number
      bridges[bridge].tree.root = devices[best].tree.designatedRoot
      bridges[bridge].tree.rootPathCost = devices[best].tree.designatedCost &+ devices[best].tree.cost
    }
  }

  private func shouldBecomeDesignated(_ port: DeviceIndex, _ bridge: BridgeIndex) -> Bool {
    let own = bridges[bridge].tree
    let tree = devices[port].tree
    if isDesignated(port, bridge) || tree.designatedRoot != own.root { return true }
    return (own.rootPathCost, own.identifier, tree.identifier)
      < (tree.designatedCost, tree.designatedBridge, tree.designatedPort)
  }

  private mutating func updateTree(_ bridge: BridgeIndex) {
    selectRoot(bridge)
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      if devices[port].port.state != .disabled, shouldBecomeDesignated(port, bridge) {
        becomeDesignated(port, bridge)
      }
    }
  }

  /// Brings every port on its way to the state that its role asks for (br_port_state_selection).
  mutating func selectStates(_ bridge: BridgeIndex) {
    var isLive = false
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      guard devices[port].port.state != .disabled else { continue }
      if devices[port].port.number == bridges[bridge].tree.rootPort {
        devices[port].tree.isPending = false
        devices[port].tree.acknowledgesChange = false
        makeForwarding(port, bridge)
      } else if isDesignated(port, bridge) {
        cpu.wheel.cancel(&devices[port].tree.messageAgeTimer)
        makeForwarding(port, bridge)
      } else {
        devices[port].tree.isPending = false
        devices[port].tree.acknowledgesChange = false
        makeBlocking(port, bridge)
      }
      if devices[port].port.state == .forwarding { isLive = true }
    }
    setCarrier(of: bridge, isLive)
  }

  private mutating func setState(_ port: DeviceIndex, _ state: BridgePort.State) {
    devices[port].port.state = state
  }

  private mutating func setCarrier(of bridge: BridgeIndex, _ isOn: Bool) {
    guard bridges[bridge].hasCarrier != isOn else { return }
    bridges[bridge].hasCarrier = isOn
    carrierChanged(bridges[bridge].device)
  }

  private mutating func makeBlocking(_ port: DeviceIndex, _ bridge: BridgeIndex) {
    let state = devices[port].port.state
    guard state != .blocking else { return }
    if state == .forwarding || state == .learning { detectTopologyChange(bridge) }
    setState(port, .blocking)
    cpu.wheel.cancel(&devices[port].tree.forwardDelayTimer)
  }

  private mutating func makeForwarding(_ port: DeviceIndex, _ bridge: BridgeIndex) {
    guard devices[port].port.state == .blocking else { return }
    let delay = bridges[bridge].tree.times.forwardDelay
    if !bridges[bridge].tree.isOn || delay == 0 {
      setState(port, .forwarding)
      detectTopologyChange(bridge)
      cpu.wheel.cancel(&devices[port].tree.forwardDelayTimer)
    } else {
      setState(port, .listening)
      armForwardDelay(port, bridge)
    }
  }

  private mutating func armForwardDelay(_ port: DeviceIndex, _ bridge: BridgeIndex) {
    let delay = bridges[bridge].tree.times.forwardDelay
    guard delay > 0 else { return }
    cpu.wheel.rearm(
      &devices[port].tree.forwardDelayTimer, TimerEvent(kind: .portForwardDelay, index: port.rawValue),
      at: cpu.now + delay)
  }

  // MARK: Topology changes

  private mutating func detectTopologyChange(_ bridge: BridgeIndex) {
    guard bridges[bridge].tree.isOn else { return }
    if bridges[bridge].tree.isRoot {
      setTopologyChange(bridge, true)
      let own = bridges[bridge].tree.ownTimes
      cpu.wheel.rearm(
        &bridges[bridge].tree.topologyChangeTimer,
        TimerEvent(kind: .bridgeTopologyChange, index: bridge.rawValue),
        at: cpu.now + own.forwardDelay + own.maximumAge)
    } else if !bridges[bridge].tree.topologyChangeDetected {
      notifyTopologyChange(bridge)
    }
    bridges[bridge].tree.topologyChangeDetected = true
  }

  /// Tells the root, again until the bridge towards it has acknowledged (br_transmit_tcn).
  private mutating func notifyTopologyChange(_ bridge: BridgeIndex) {
    let number = bridges[bridge].tree.rootPort
    if let port = bridges[bridge].ports.first(where: { devices[$0].port.number == number }) {
      sendTopologyChangeNotification(by: port, of: bridge)
    }
    cpu.wheel.rearm(
      &bridges[bridge].tree.notificationTimer, TimerEvent(kind: .bridgeNotification, index: bridge.rawValue),
      at: cpu.now + bridges[bridge].tree.ownTimes.hello)
  }

  /// While the topology changes, what was learned is believed for twice the forward delay only.
  private mutating func setTopologyChange(_ bridge: BridgeIndex, _ isOn: Bool) {
    if bridges[bridge].tree.isOn, bridges[bridge].tree.topologyChange != isOn {
      setAgeing(bridge, isOn ? 2 * bridges[bridge].tree.times.forwardDelay : bridges[bridge].ownAgeing)
    }
    bridges[bridge].tree.topologyChange = isOn
  }

  // MARK: Messages

  private mutating func generateMessages(_ bridge: BridgeIndex) {
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      if devices[port].port.state != .disabled, isDesignated(port, bridge) { sendMessage(port, bridge) }
    }
  }

  /// Says by a port what this bridge knows, but not more often than the hold time allows (br_transmit_config).
  private mutating func sendMessage(_ port: DeviceIndex, _ bridge: BridgeIndex) {
    guard devices[port].tree.holdTimer == .none else {
      devices[port].tree.isPending = true
      return
    }
    let tree = bridges[bridge].tree
    var age: Int64 = 0
    if !tree.isRoot,
      let root = bridges[bridge].ports.first(where: { devices[$0].port.number == tree.rootPort })
    {
      age = cpu.now - devices[root].tree.designatedTime + SpanningTree.messageAgeIncrement
    }
    guard age < tree.times.maximumAge else { return }
    let message = ConfigurationMessage(
      topologyChange: tree.topologyChange, acknowledgesChange: devices[port].tree.acknowledgesChange,
      root: tree.root, rootPathCost: tree.rootPathCost, bridge: tree.identifier,
      port: devices[port].tree.identifier, messageAge: age, times: tree.times)
    devices[port].tree.acknowledgesChange = false
    devices[port].tree.isPending = false
    guard tree.isOn else { return }
    sendConfiguration(message, by: port, of: bridge)
    cpu.wheel.rearm(
      &devices[port].tree.holdTimer, TimerEvent(kind: .portHold, index: port.rawValue),
      at: cpu.now + SpanningTree.holdTime)
  }

  private func supersedes(_ message: ConfigurationMessage, _ port: DeviceIndex, _ bridge: BridgeIndex) -> Bool
  {
    let tree = devices[port].tree
    let said = (message.root, message.rootPathCost, message.bridge)
    let known = (tree.designatedRoot, tree.designatedCost, tree.designatedBridge)
    if said != known { return said < known }
    return message.bridge != bridges[bridge].tree.identifier || message.port <= tree.designatedPort
  }

  /// A bridge on the port's link has said what it knows (br_received_config_bpdu).
  mutating func configurationReceived(
    _ message: ConfigurationMessage, on port: DeviceIndex, _ bridge: BridgeIndex
  ) {
    guard supersedes(message, port, bridge) else {
      if isDesignated(port, bridge) { sendMessage(port, bridge) }
      return
    }
    let wasRoot = bridges[bridge].tree.isRoot
    devices[port].tree.designatedRoot = message.root
    devices[port].tree.designatedCost = message.rootPathCost
    devices[port].tree.designatedBridge = message.bridge
    devices[port].tree.designatedPort = message.port
    devices[port].tree.designatedTime = cpu.now - message.messageAge
    cpu.wheel.rearm(
      &devices[port].tree.messageAgeTimer, TimerEvent(kind: .portMessageAge, index: port.rawValue),
      at: cpu.now + message.times.maximumAge - message.messageAge)
    updateTree(bridge)
    selectStates(bridge)
    if !bridges[bridge].tree.isRoot, wasRoot {
      cpu.wheel.cancel(&bridges[bridge].tree.helloTimer)
      if bridges[bridge].tree.topologyChangeDetected {
        cpu.wheel.cancel(&bridges[bridge].tree.topologyChangeTimer)
        notifyTopologyChange(bridge)
      }
    }
    guard devices[port].port.number == bridges[bridge].tree.rootPort else { return }
    bridges[bridge].tree.times = message.times
    setTopologyChange(bridge, message.topologyChange)
    generateMessages(bridge)
    if message.acknowledgesChange {
      bridges[bridge].tree.topologyChangeDetected = false
      cpu.wheel.cancel(&bridges[bridge].tree.notificationTimer)
    }
  }

  /// A bridge behind the port has seen the topology change (br_received_tcn_bpdu).
  mutating func notificationReceived(on port: DeviceIndex, _ bridge: BridgeIndex) {
    guard isDesignated(port, bridge) else { return }
    detectTopologyChange(bridge)
    devices[port].tree.acknowledgesChange = true
    sendMessage(port, bridge)
  }

  private mutating func becomeRoot(_ bridge: BridgeIndex) {
    bridges[bridge].tree.times = bridges[bridge].tree.ownTimes
    detectTopologyChange(bridge)
    cpu.wheel.cancel(&bridges[bridge].tree.notificationTimer)
    guard devices[bridges[bridge].device].isUp else { return }
    generateMessages(bridge)
    armHello(bridge)
  }

  /// Works out tree and states after something has changed that may make this bridge the root.
  private mutating func recompute(_ bridge: BridgeIndex, wasRoot: Bool) {
    updateTree(bridge)
    selectStates(bridge)
    if bridges[bridge].tree.isRoot, !wasRoot { becomeRoot(bridge) }
  }

  // MARK: Timers

  private mutating func armHello(_ bridge: BridgeIndex) {
    cpu.wheel.rearm(
      &bridges[bridge].tree.helloTimer, TimerEvent(kind: .bridgeHello, index: bridge.rawValue),
      at: cpu.now + bridges[bridge].tree.times.hello)
  }

  mutating func helloTimer(_ bridge: BridgeIndex) {
    bridges[bridge].tree.helloTimer = .none
    guard devices[bridges[bridge].device].isUp else { return }
    generateMessages(bridge)
    if bridges[bridge].tree.isOn { armHello(bridge) }
  }

  mutating func notificationTimer(_ bridge: BridgeIndex) {
    bridges[bridge].tree.notificationTimer = .none
    guard !bridges[bridge].tree.isRoot, devices[bridges[bridge].device].isUp else { return }
    notifyTopologyChange(bridge)
  }

  mutating func topologyChangeTimer(_ bridge: BridgeIndex) {
    bridges[bridge].tree.topologyChangeTimer = .none
    bridges[bridge].tree.topologyChangeDetected = false
    setTopologyChange(bridge, false)
  }

  /// Nothing has been heard of the root by the port for too long.
  mutating func messageAgeTimer(_ port: DeviceIndex) {
    devices[port].tree.messageAgeTimer = .none
    guard devices[port].port.state != .disabled else { return }
    let bridge = devices[port].master
    let wasRoot = bridges[bridge].tree.isRoot
    becomeDesignated(port, bridge)
    recompute(bridge, wasRoot: wasRoot)
  }

  mutating func forwardDelayTimer(_ port: DeviceIndex) {
    devices[port].tree.forwardDelayTimer = .none
    let bridge = devices[port].master
    switch devices[port].port.state {
    case .listening:
      setState(port, .learning)
      armForwardDelay(port, bridge)
    case .learning:
      setState(port, .forwarding)
      if bridges[bridge].ports.contains(where: { isDesignated($0, bridge) }) { detectTopologyChange(bridge) }
      setCarrier(of: bridge, true)
    case .disabled, .forwarding, .blocking: break
    }
  }

  mutating func holdTimer(_ port: DeviceIndex) {
    devices[port].tree.holdTimer = .none
    if devices[port].tree.isPending { sendMessage(port, devices[port].master) }
  }

  // MARK: Ports and bridges come and go

  /// A port begins at its bridge: where it stands until something is heard (br_init_port).
  mutating func enablePort(_ port: DeviceIndex) {
    let bridge = devices[port].master
    devices[port].tree.identifier = Self.portIdentifier(
      devices[port].tree.priority, devices[port].port.number)
    becomeDesignated(port, bridge)
    setState(port, .blocking)
    devices[port].tree.acknowledgesChange = false
    devices[port].tree.isPending = false
    selectStates(bridge)
  }

  /// A port that is down, or leaves, takes what was learned behind it along (br_stp_disable_port).
  mutating func disablePort(_ port: DeviceIndex) {
    let bridge = devices[port].master
    let wasRoot = bridges[bridge].tree.isRoot
    becomeDesignated(port, bridge)
    setState(port, .disabled)
    forgetGroups(of: port, bridge)
    devices[port].tree.acknowledgesChange = false
    devices[port].tree.isPending = false
    cpu.wheel.cancel(&devices[port].tree.messageAgeTimer)
    cpu.wheel.cancel(&devices[port].tree.forwardDelayTimer)
    cpu.wheel.cancel(&devices[port].tree.holdTimer)
    bridges[bridge].database.removeAll { entry in
      entry.port == port && entry.flags.isDisjoint(with: [.local, .static])
    }
    recompute(bridge, wasRoot: wasRoot)
  }

  static func portIdentifier(_ priority: UInt16, _ number: UInt16) -> UInt16 {
    priority << 10 | number & 1023
  }

  /// A port's device has changed: the port is on as long as it can carry frames (br_port_carrier_check).
  mutating func portChanged(_ port: DeviceIndex) {
    guard devices[bridges[devices[port].master].device].isUp else { return }
    let isDisabled = devices[port].port.state == .disabled
    if hasCarrier(port) {
      if isDisabled { enablePort(port) }
    } else if !isDisabled {
      disablePort(port)
    }
  }

  /// The bridge itself goes up (br_stp_enable_bridge).
  mutating func enableBridge(_ bridge: BridgeIndex) {
    if bridges[bridge].tree.isOn { armHello(bridge) }
    generateMessages(bridge)
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      if hasCarrier(port) { enablePort(port) }
    }
  }

  /// The bridge itself goes down (br_stp_disable_bridge).
  mutating func disableBridge(_ bridge: BridgeIndex) {
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      if devices[port].port.state != .disabled { disablePort(port) }
    }
    setTopologyChange(bridge, false)
    bridges[bridge].tree.topologyChangeDetected = false
    stopTimers(of: bridge)
  }

  mutating func stopTimers(of bridge: BridgeIndex) {
    cpu.wheel.cancel(&bridges[bridge].tree.helloTimer)
    cpu.wheel.cancel(&bridges[bridge].tree.topologyChangeTimer)
    cpu.wheel.cancel(&bridges[bridge].tree.notificationTimer)
    cpu.wheel.cancel(&bridges[bridge].groups.timer)
  }

  // MARK: Configuration

  /// Turns the spanning tree on or off. What blocks when it ends goes on blocking until its bridge or port comes up
  /// anew, as in Linux.
  mutating func setSpanningTree(_ bridge: BridgeIndex, _ isOn: Bool) {
    guard bridges[bridge].tree.isOn != isOn else { return }
    bridges[bridge].tree.isOn = isOn
    guard isOn else { return }
    let hundredth: Int64 = 10_000_000
    let allowed = SpanningTree.forwardDelays
    let delay = bridges[bridge].tree.ownTimes.forwardDelay
    setForwardDelay(
      bridge, min(max(delay, Int64(allowed.lowerBound) * hundredth), Int64(allowed.upperBound) * hundredth))
    if devices[bridges[bridge].device].isUp { armHello(bridge) }
    selectStates(bridge)
  }

  mutating func setForwardDelay(_ bridge: BridgeIndex, _ delay: Int64) {
    bridges[bridge].tree.ownTimes.forwardDelay = delay
    if bridges[bridge].tree.isRoot { bridges[bridge].tree.times.forwardDelay = delay }
  }

  /// A new address or priority of the bridge (br_stp_change_bridge_id, br_stp_set_bridge_priority).
  mutating func setIdentifier(_ bridge: BridgeIndex, _ identifier: UInt64) {
    let old = bridges[bridge].tree.identifier
    guard old != identifier else { return }
    let wasRoot = bridges[bridge].tree.isRoot
    bridges[bridge].tree.identifier = identifier
    for position in 0..<bridges[bridge].ports.count {
      let port = bridges[bridge].ports[position]
      if devices[port].tree.designatedBridge == old { devices[port].tree.designatedBridge = identifier }
      if devices[port].tree.designatedRoot == old { devices[port].tree.designatedRoot = identifier }
    }
    recompute(bridge, wasRoot: wasRoot)
  }

  mutating func setPriority(_ port: DeviceIndex, _ priority: UInt16) {
    let bridge = devices[port].master
    let identifier = Self.portIdentifier(priority, devices[port].port.number)
    if isDesignated(port, bridge) { devices[port].tree.designatedPort = identifier }
    devices[port].tree.identifier = identifier
    devices[port].tree.priority = priority
    if devices[port].tree.designatedBridge == bridges[bridge].tree.identifier,
      identifier < devices[port].tree.designatedPort
    {
      becomeDesignated(port, bridge)
      selectStates(bridge)
    }
  }

  mutating func setCost(_ port: DeviceIndex, _ cost: UInt32) {
    devices[port].tree.costIsSet = true
    devices[port].tree.cost = cost
    updateTree(devices[port].master)
    selectStates(devices[port].master)
  }

  /// A state that configuration asks for, which the roles may overrule at once (br_set_port_state).
  mutating func setState(of port: DeviceIndex, to state: BridgePort.State) throws(KernelError) {
    let bridge = devices[port].master
    guard !bridges[bridge].tree.isOn else { throw .busy }
    guard devices[port].isUp, hasCarrier(port) || state == .disabled else { throw .networkDown }
    setState(port, state)
    selectStates(bridge)
  }
}
