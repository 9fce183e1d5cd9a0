// SPDX-License-Identifier: GPL-2.0-or-later

// What `ethtool` shows and sets of a NIC, and of any device's features (net/ethtool). Changing rings or the number of
// queues stops the device for the moment, as drivers do it: what is in its rings is lost.

import NetTypes

extension Kernel {
  private func ethtool(_ index: DeviceIndex) throws(KernelError) -> NICIndex {
    guard devices.contains(index) else { throw .noSuchDevice }
    guard let nic = nic(index) else { throw .notSupported("only a NIC has rings and queues") }
    return nic
  }

  /// Stops a NIC, changes it, and starts it again if it was up.
  private mutating func restarting(_ index: DeviceIndex, _ change: (inout NIC) -> Void) throws(KernelError) {
    let nic = try ethtool(index)
    closeNIC(index)
    change(&nics[nic])
    if devices[index].isUp { openNIC(index) }
  }

  // MARK: Rings and queues

  /// `ethtool -g`: the sizes of a NIC's rings.
  public func ringSizes(of index: DeviceIndex) throws(KernelError) -> RingSizes {
    nics[try ethtool(index)].ringSizes
  }

  /// `ethtool -G`: sizes are rounded up to powers of two, as drivers round them up to what the device can.
  public mutating func setRingSizes(_ sizes: RingSizes, of index: DeviceIndex) throws(KernelError) {
    _ = try ethtool(index)
    guard RingSizes.limits.contains(sizes.receive), RingSizes.limits.contains(sizes.transmit) else {
      throw .invalidArgument
    }
    func rounded(_ size: Int) -> Int {
      var power = RingSizes.limits.lowerBound
      while power < size { power *= 2 }
      return power
    }
    var possible = RingSizes()
    possible.receive = rounded(sizes.receive)
    possible.transmit = rounded(sizes.transmit)
    try restarting(index) { nic in
      nic.ringSizes = possible
      nic.setQueues(nic.queues.count)
    }
  }

  /// `ethtool -l`: how many queue pairs a NIC has.
  public func queues(of index: DeviceIndex) throws(KernelError) -> Int {
    nics[try ethtool(index)].queues.count
  }

  /// `ethtool -L … combined`: the indirection table is as at first afterwards.
  public mutating func setQueues(_ count: Int, of index: DeviceIndex) throws(KernelError) {
    _ = try ethtool(index)
    guard (1...NIC.maximumQueues).contains(count) else { throw .invalidArgument }
    try restarting(index) { $0.setQueues(count) }
  }

  // MARK: Interrupts

  /// `ethtool -c`: when a NIC interrupts.
  public func coalescing(of index: DeviceIndex) throws(KernelError) -> Coalescing {
    nics[try ethtool(index)].coalescing
  }

  /// `ethtool -C`.
  public mutating func setCoalescing(_ coalescing: Coalescing, of index: DeviceIndex) throws(KernelError) {
    let nic = try ethtool(index)
    let delays = [coalescing.receiveDelay, coalescing.transmitDelay]
    guard delays.allSatisfy({ $0 >= .zero && $0 <= .seconds(1) }), coalescing.receiveFrames >= 0,
      coalescing.transmitFrames >= 0
    else { throw .invalidArgument }
    nics[nic].coalescing = coalescing
  }

  // MARK: Receive-side scaling

  /// `ethtool -x`: the key and the indirection table.
  public func scaling(of index: DeviceIndex) throws(KernelError) -> (key: [UInt8], indirection: [UInt8]) {
    let nic = try ethtool(index)
    return (nics[nic].scaling.key, nics[nic].scaling.indirection)
  }

  /// `ethtool -X`: 40 bytes of key, 128 entries of queues that there are; nil leaves what is.
  public mutating func setScaling(
    key: [UInt8]? = nil, indirection: [UInt8]? = nil, fields: HashFields? = nil, of index: DeviceIndex
  ) throws(KernelError) {
    let nic = try ethtool(index)
    let count = nics[nic].queues.count
    guard key?.count ?? ReceiveSideScaling.keyLength == ReceiveSideScaling.keyLength,
      indirection?.count ?? ReceiveSideScaling.indirectionSize == ReceiveSideScaling.indirectionSize,
      indirection?.allSatisfy({ $0 < count }) ?? true
    else { throw .invalidArgument }
    if let key { nics[nic].scaling.setKey(key) }
    if let indirection { nics[nic].scaling.setIndirection(indirection) }
    if let fields { nics[nic].scaling.fields = fields }
  }

  // MARK: Features and statistics

  /// `ethtool -k`: every feature by name, and whether it is on. What is not here is off and cannot be set.
  public func features(of index: DeviceIndex) throws(KernelError) -> [(
    name: String, isOn: Bool, isFixed: Bool
  )] {
    guard devices.contains(index) else { throw .noSuchDevice }
    let features = devices[index].features
    let changeable = devices[index].kind.changeableFeatures
    return DeviceFeatures.names.map {
      let isOn =
        $0.feature == .tcpSegmentation ? features.takesLarge : features.contains($0.feature)
      return ($0.name, isOn, !changeable.contains($0.feature))
    } + [("scatter-gather", true, true), ("rx-vlan-offload", false, true), ("tx-vlan-offload", false, true)]
  }

  /// `ethtool -K`.
  public mutating func setFeature(_ name: String, _ isOn: Bool, of index: DeviceIndex) throws(KernelError) {
    guard let known = try features(of: index).first(where: { $0.name == name }) else {
      throw .invalidArgument
    }
    guard let feature = DeviceFeatures.names.first(where: { $0.name == name })?.feature, !known.isFixed else {
      guard known.isOn == isOn else { throw .notSupported("Could not change any device features") }
      return
    }
    if isOn { devices[index].features.insert(feature) } else { devices[index].features.remove(feature) }
  }

  /// `ethtool -S`: a NIC's counters by igb's names; of an end of a pair how full its ring is, which a host's kernel does
  /// not tell. What a full ring did not take the other end has counted as dropped.
  public func deviceStatistics(of index: DeviceIndex) throws(KernelError) -> [(name: String, value: UInt64)] {
    guard devices.contains(index) else { throw .noSuchDevice }
    if case .veth = devices[index].kind {
      return [
        ("rx_ring_size", UInt64(devices[index].ring.limit)),
        ("rx_ring_used", UInt64(devices[index].ring.count)),
      ]
    }
    let nic = try ethtool(index)
    let link = devices[index].statistics
    var lines: [(name: String, value: UInt64)] = [
      ("rx_packets", link.rxPackets), ("tx_packets", link.txPackets), ("rx_bytes", link.rxBytes),
      ("tx_bytes", link.txBytes), ("rx_missed_errors", link.rxMissed),
      ("rx_long_length_errors", nics[nic].errors.tooLong),
      ("rx_short_length_errors", nics[nic].errors.tooShort),
    ]
    for queue in nics[nic].queues.indices {
      let own = nics[nic].queues[queue].statistics
      let number = queue.rawValue
      lines += [
        ("tx_queue_\(number)_packets", own.transmittedPackets),
        ("tx_queue_\(number)_bytes", own.transmittedBytes),
        ("tx_queue_\(number)_busy", own.busy), ("rx_queue_\(number)_packets", own.receivedPackets),
        ("rx_queue_\(number)_bytes", own.receivedBytes), ("rx_queue_\(number)_drops", own.missed),
        ("rx_queue_\(number)_csum_err", own.checksumErrors),
        ("rx_queue_\(number)_alloc_failed", own.allocationFailures),
        ("queue_\(number)_interrupts", own.interrupts),
      ]
    }
    return lines
  }
}
