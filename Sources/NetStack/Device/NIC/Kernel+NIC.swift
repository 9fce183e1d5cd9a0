// SPDX-License-Identifier: GPL-2.0-or-later

// A NIC's two sides. The device: frames of the wire are written into posted blocks, what was posted to send is read,
// completions are written, interrupts are moderated. The driver, as Linux's are (drivers/net/ethernet/intel/igb is a
// plain one): blocks are posted when the device comes up, the first completion interrupts and masks, NAPI reads
// completions, builds sk_buffs around the blocks and posts fresh ones, until nothing is left and the interrupt is
// unmasked.

public import NetTypes

/// An interrupt's number: a device, and which of its queues.
struct Vector: Hashable, BitwiseCopyable {
  /// Devices have 22 bits; the first queue has its device's number.
  var rawValue: UInt32
  static let deviceLimit = 1 << 22

  init(rawValue: UInt32) { self.rawValue = rawValue }

  init(_ device: DeviceIndex, _ queue: Int) {
    rawValue = device.rawValue | UInt32(queue) << 22
  }

  @inline(__always) var device: DeviceIndex { DeviceIndex(rawValue & 0x3f_ffff) }
  @inline(__always) var queue: QueueIndex { QueueIndex(rawValue >> 22) }
}

typealias QueueIndex = TableIndex<QueuePair>

extension Kernel {
  /// Makes a NIC whose wire ends outside the kernel, with as many queue pairs as asked for. `number`: its ifindex; 0 for
  /// the next that is free.
  public mutating func makeOutside(
    _ name: InterfaceName, in namespace: NamespaceIndex, mac: MACAddress? = nil, queues: Int = 1,
    number: Int32 = 0
  ) throws(KernelError) -> DeviceIndex {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    guard (1...NIC.maximumQueues).contains(queues) else { throw .invalidArgument }
    let index = try insertDevice(.nic(.none), in: namespace, name: name, index: number, mac: mac?.rawValue)
    guard let nic = nics.insert(NIC(device: index, queues: queues)) else {
      removeDevice(index)
      throw .noBuffers
    }
    devices[index].kind = .nic(nic)
    return index
  }

  func nic(_ index: DeviceIndex) -> NICIndex? {
    guard devices.contains(index), case .nic(let nic) = devices[index].kind else { return nil }
    return nic
  }

  // MARK: The device

  /// Hands a frame to a NIC as its wire does. Frames that are too short or too long, and those for which no block is
  /// posted, are counted as the device's; false tells that it was not taken.
  @discardableResult
  public mutating func inject(_ frame: RawSpan, into index: DeviceIndex) -> Bool {
    guard let nic = nic(index), devices[index].isUp, nics[nic].hasLink else { return false }
    return unsafe frame.withUnsafeBytes { bytes in
      guard let frame = unsafe PacketBytes(reading: bytes) else { return false }
      return nics[nic].isLinkless ? receivePacket(frame, nic, index) : receive(frame, nic, index)
    }
  }

  /// A packet without a link header gets the one that it has inside (tun_get_user).
  private mutating func receivePacket(_ packet: PacketBytes, _ nic: NICIndex, _ index: DeviceIndex) -> Bool {
    var frame = [UInt8](repeating: 0, count: EthernetHeader.length)
    switch packet.count > 0 ? packet.u8(0) >> 4 : 0 {
    case 4: frame[EthernetHeader.type] = 8
    case 6:
      frame[EthernetHeader.type] = 0x86
      frame[EthernetHeader.type + 1] = 0xdd
    default:
      devices[index].statistics.rxDropped &+= 1
      return false
    }
    frame += packet.array
    return unsafe frame.withUnsafeBytes { bytes in
      guard let whole = unsafe PacketBytes(reading: bytes) else { return false }
      return receive(whole, nic, index)
    }
  }

  /// Hands a frame to a NIC as its wire does.
  @discardableResult
  public mutating func inject(_ frame: [UInt8], into index: DeviceIndex) -> Bool {
    unsafe frame.withUnsafeBytes { unsafe inject(RawSpan(_unsafeBytes: $0), into: index) }
  }

  private mutating func receive(_ frame: PacketBytes, _ nic: NICIndex, _ index: DeviceIndex) -> Bool {
    guard frame.count >= EthernetHeader.length else {
      nics[nic].errors.tooShort &+= 1
      devices[index].statistics.rxErrors &+= 1
      return false
    }
    // The longest frame that the driver has told the device: a VLAN tag beyond the MTU. A tun device's program may give
    // it whatever a packet can be.
    guard
      frame.count <= devices[index].mtu + EthernetHeader.length + 4
        || nics[nic].tunTap != nil && frame.count <= 65535 + EthernetHeader.length
    else {
      nics[nic].errors.tooLong &+= 1
      devices[index].statistics.rxErrors &+= 1
      return false
    }
    var last = Completion(flags: .endOfPacket)
    var queue = QueueIndex(0)
    if nics[nic].queues.count > 1 || devices[index].features.contains(.receiveHashing),
      let hash = nics[nic].scaling.hash(of: frame)
    {
      queue = QueueIndex(UInt32(nics[nic].scaling.queue(hash)))
      if devices[index].features.contains(.receiveHashing) {
        last.hash = hash
        last.flags.insert(.isHashed)
      }
    }
    let parts = (frame.count &+ BufferPool.bufferLength &- 1) / BufferPool.bufferLength
    guard nics[nic].queues[queue].receive.posted >= parts else {
      nics[nic].queues[queue].statistics.missed &+= 1
      devices[index].statistics.rxMissed &+= 1
      return false
    }
    if devices[index].features.contains(.receiveChecksumming),
      let isGood = TransportOffsets(of: frame)?.isChecksumGood(in: frame)
    {
      if isGood {
        last.flags.insert(.checksumGood)
      } else {
        nics[nic].queues[queue].statistics.checksumErrors &+= 1
      }
    }
    var place = 0
    while place < frame.count, let block = nics[nic].queues[queue].receive.next() {
      let length = min(frame.count &- place, BufferPool.bufferLength)
      pool.bufferBytes(block).copy(from: frame.dropFirst(place).prefix(length))
      nics[nic].queues[queue].receive.complete()
      place &+= length
      var completion = place == frame.count ? last : Completion()
      completion.length = UInt16(truncatingIfNeeded: length)
      nics[nic].queues[queue].completions.write(completion)
    }
    completed(nic, Vector(index, Int(queue.rawValue)), .receive)
    return true
  }

  /// Lends the next frame that a NIC sends to its wire, with what the stack has left to the device done; nil when
  /// there is none. Queues take turns.
  public mutating func takeFrame<Result>(from index: DeviceIndex, _ body: (RawSpan) -> Result) -> Result? {
    guard let nic = nic(index), nics[nic].hasLink else { return nil }
    let count = nics[nic].queues.count
    for turn in 0..<count {
      let number = (nics[nic].nextTransmit + turn) % count
      let queue = QueueIndex(UInt32(number))
      guard let value = nics[nic].queues[queue].transmit.next() else { continue }
      nics[nic].nextTransmit = (number + 1) % count
      let header = nics[nic].isLinkless ? EthernetHeader.length : 0
      let result = pool.withWire(Slot(index: value)) { frame in
        body(frame.extracting(min(header, frame.byteCount)..<frame.byteCount))
      }
      nics[nic].queues[queue].transmit.complete()
      nics[nic].queues[queue].completions.write(Completion(flags: .transmitted))
      completed(nic, Vector(index, number), .transmit)
      return result
    }
    return nil
  }

  /// Takes the next frame that a NIC sends.
  public mutating func takeFrame(from index: DeviceIndex) -> [UInt8]? {
    takeFrame(from: index) { span in unsafe span.withUnsafeBytes { unsafe [UInt8]($0) } }
  }

  /// A completion has been written: interrupts, now or when enough have come or waited long enough.
  private mutating func completed(_ nic: NICIndex, _ vector: Vector, _ kind: CompletionKind) {
    let queue = vector.queue
    // While NAPI polls the interrupt is masked.
    guard !nics[nic].queues[queue].napi.isScheduled, !nics[nic].queues[queue].napi.hasInterrupted else {
      return
    }
    let (delay, frames) = nics[nic].coalescing.limits(kind)
    var moderation = nics[nic].queues[queue].moderation[kind.rawValue]
    moderation.waiting += 1
    guard delay > .zero, frames == 0 || moderation.waiting < frames else {
      interrupt(nic, vector)
      return
    }
    if moderation.waiting == 1 { moderation.deadline = cpu.now + delay.nanoseconds }
    armModeration(&moderation, vector, kind)
    nics[nic].queues[queue].moderation[kind.rawValue] = moderation
  }

  private mutating func armModeration(
    _ moderation: inout Moderation, _ vector: Vector, _ kind: CompletionKind
  ) {
    guard !moderation.isArmed else { return }
    moderation.isArmed = true
    cpu.heap.schedule(
      TimerEvent(kind: kind == .receive ? .receiveInterrupt : .transmitInterrupt, index: vector.rawValue),
      at: moderation.deadline)
  }

  private mutating func interrupt(_ nic: NICIndex, _ vector: Vector) {
    let queue = vector.queue
    for kind in 0..<2 { nics[nic].queues[queue].moderation[kind].waiting = 0 }
    nics[nic].queues[queue].napi.hasInterrupted = true
    nics[nic].queues[queue].statistics.interrupts &+= 1
    _ = cpu.interrupts.push(vector.rawValue)
  }

  /// A moderation's timer: what it was armed for may have interrupted already, and more have come since.
  mutating func moderationTimer(_ vector: Vector, _ kind: CompletionKind) {
    guard let nic = nic(vector.device), nics[nic].queues.contains(vector.queue) else { return }
    var moderation = nics[nic].queues[vector.queue].moderation[kind.rawValue]
    guard moderation.isArmed else { return }
    moderation.isArmed = false
    let isDue = moderation.waiting > 0 && moderation.deadline <= cpu.now
    if moderation.waiting > 0, !isDue { armModeration(&moderation, vector, kind) }
    nics[nic].queues[vector.queue].moderation[kind.rawValue] = moderation
    if isDue { interrupt(nic, vector) }
  }

  // MARK: The driver

  /// Posts blocks to receive into (ndo_open).
  mutating func openNIC(_ index: DeviceIndex) {
    guard let nic = nic(index) else { return }
    for queue in nics[nic].queues.indices { refill(nic, Vector(index, Int(queue.rawValue))) }
  }

  /// Takes back all that the device has (ndo_stop). Frames that nobody has read are lost.
  mutating func closeNIC(_ index: DeviceIndex) {
    guard let nic = nic(index) else { return }
    for queue in nics[nic].queues.indices {
      while let block = nics[nic].queues[queue].receive.revoke() { pool.returnBuffer(block.value) }
      while let sent = nics[nic].queues[queue].transmit.revoke() {
        let slot = Slot(index: sent.value)
        if sent.isDone {
          pool.free(slot, .consumed)
        } else {
          drop(slot, .deviceReady, in: devices[index].namespace)
        }
      }
      nics[nic].queues[queue].completions.reset()
      nics[nic].queues[queue].napi = NAPI()
      for kind in 0..<2 { nics[nic].queues[queue].moderation[kind].waiting = 0 }
      let vector = Vector(index, Int(queue.rawValue)).rawValue
      cpu.pollList.remove(vector)
      cpu.interrupts.remove(vector)
    }
  }

  /// Fills the RX ring. When there is no memory for a single block, no frame can interrupt any more, and a timer tries
  /// again (virtio_net's refill_work does the same).
  private mutating func refill(_ nic: NICIndex, _ vector: Vector) {
    let queue = vector.queue
    while nics[nic].queues[queue].receive.hasRoom {
      guard let block = pool.takeBuffer() else {
        nics[nic].queues[queue].statistics.allocationFailures &+= 1
        break
      }
      _ = nics[nic].queues[queue].receive.post(block)
    }
    guard nics[nic].queues[queue].receive.posted == 0, !nics[nic].queues[queue].isRefillArmed else { return }
    nics[nic].queues[queue].isRefillArmed = true
    cpu.heap.schedule(TimerEvent(kind: .refill, index: vector.rawValue), at: cpu.now + 500_000_000)
  }

  mutating func refillTimer(_ vector: Vector) {
    guard let nic = nic(vector.device), nics[nic].queues.contains(vector.queue) else { return }
    nics[nic].queues[vector.queue].isRefillArmed = false
    if devices[vector.device].isUp { refill(nic, vector) }
  }

  /// Masks the interrupt and has the queue polled (napi_schedule).
  mutating func scheduleNIC(_ nic: NICIndex, _ vector: Vector) {
    guard nics[nic].queues.contains(vector.queue), !nics[nic].queues[vector.queue].napi.isScheduled else {
      return
    }
    nics[nic].queues[vector.queue].napi.hasInterrupted = false
    nics[nic].queues[vector.queue].napi.isScheduled = true
    _ = cpu.pollList.push(vector.rawValue)
  }

  /// Takes up to `budget` frames up the stack. The answer is how many, and whether to poll again.
  mutating func pollNIC(_ nic: NICIndex, _ vector: Vector, _ budget: Int) -> (work: Int, again: Bool) {
    cpu.statistics.polls &+= 1
    var done = 0
    var burst = Burst()
    let joins = devices[vector.device].features.contains(.genericReceive)
    while done < budget {
      readCompletions(nic, vector, min(options.burst, budget &- done), &burst)
      refill(nic, vector)
      guard !burst.isEmpty else { break }
      done &+= burst.count
      if joins { groReceive(&burst, on: vector.device) } else { receive(&burst, on: vector.device) }
    }
    groFlush(on: vector.device)
    cpu.statistics.processed &+= UInt64(done)
    let again = done == budget || !nics[nic].queues[vector.queue].completions.isEmpty
    // Nothing is left: the interrupt is unmasked (napi_complete_done).
    if !again { nics[nic].queues[vector.queue].napi.isScheduled = false }
    return (done, again)
  }

  /// Gives back what was sent, and makes packets of what was received, at most `limit`.
  @inline(__always)
  private mutating func readCompletions(
    _ nic: NICIndex, _ vector: Vector, _ limit: Int, _ burst: inout Burst
  ) {
    let queue = vector.queue
    var bytes = 0
    /// A frame of several blocks, as far as it has been read.
    var head = Slot.none
    var isDamaged = false
    while burst.count < limit, let completion = nics[nic].queues[queue].completions.next() {
      guard !completion.flags.contains(.transmitted) else {
        if let value = nics[nic].queues[queue].transmit.reclaim() {
          pool.free(Slot(index: value), .consumed)
        }
        continue
      }
      guard let block = nics[nic].queues[queue].receive.reclaim() else { continue }
      let slot = pool.wrap(block, Int(completion.length))
      if slot == .none {
        pool.returnBuffer(block)
        nics[nic].queues[queue].statistics.allocationFailures &+= 1
        isDamaged = true
      } else if head == .none {
        head = slot
      } else {
        _ = pool.append(list: slot, to: head)
      }
      guard completion.flags.contains(.endOfPacket) else { continue }
      if isDamaged {
        devices[vector.device].statistics.rxDropped &+= 1
        if head != .none { drop(head, .noMemory, in: devices[vector.device].namespace) }
      } else {
        pool[head].timestamp = cpu.now
        if completion.flags.contains(.isHashed) { pool[head].hash = completion.hash }
        if completion.flags.contains(.checksumGood) { pool[head].checksumState = .unnecessary }
        bytes &+= Int(pool[head].length)
        burst.append(head)
      }
      head = .none
      isDamaged = false
    }
    nics[nic].queues[queue].statistics.receivedPackets &+= UInt64(burst.count)
    nics[nic].queues[queue].statistics.receivedBytes &+= UInt64(bytes)
    // The TX ring has room again (netif_tx_wake_queue).
    let root = devices[vector.device].qdisc
    if !root.isNone, qdiscs[root].statistics.queueLength > 0 { runQueue(of: vector.device) }
  }

  /// Posts packets to be sent (ndo_start_xmit). The burst is empty afterwards.
  mutating func nicTransmit(_ burst: inout Burst, by index: DeviceIndex, _ nic: NICIndex) {
    guard nics[nic].hasLink else {
      dropAll(&burst, .deviceReady, in: devices[index].namespace)
      return
    }
    for position in 0..<burst.count {
      let slot = burst[position]
      let queue = nics[nic].queues.count == 1 ? QueueIndex(0) : transmitQueue(slot, nic)
      let length = UInt64(pool[slot].length)
      // Who knows how long its program lets it lie (tun_net_xmit).
      if nics[nic].tunTap != nil { pool.orphan(slot) }
      if nics[nic].queues[queue].transmit.post(slot.index) {
        devices[index].statistics.txPackets &+= 1
        devices[index].statistics.txBytes &+= length
        nics[nic].queues[queue].statistics.transmittedPackets &+= 1
        nics[nic].queues[queue].statistics.transmittedBytes &+= length
      } else {
        devices[index].statistics.txDropped &+= 1
        nics[nic].queues[queue].statistics.busy &+= 1
        drop(slot, .fullRing, in: devices[index].namespace)
      }
    }
    burst.removeAll()
  }

  /// A flow's packets go by one queue (skb_tx_hash): by the hash that its receiving NIC has computed, else by ours.
  private func transmitQueue(_ slot: Slot, _ nic: NICIndex) -> QueueIndex {
    var hash = pool[slot].hash
    if hash == 0 { hash = nics[nic].scaling.hash(of: pool.bytes(slot)) ?? 0 }
    return QueueIndex(hash % UInt32(nics[nic].queues.count))
  }
}
