// SPDX-License-Identifier: GPL-2.0-or-later

// What each kind of queueing discipline does with the settings of a request, and how it tells them (the init, change
// and dump of net/sched/sch_fifo.c, sch_tbf.c, sch_htb.c and sch_netem.c).

import Rtnetlink

extension Kernel {
  func name(of index: QdiscIndex) -> String {
    switch qdiscs[index].kind {
    case .noQueue: "noqueue"
    case .pfifoFast: "pfifo_fast"
    case .pfifo: "pfifo"
    case .bfifo: "bfifo"
    case .tokenBucket: "tbf"
    case .hierarchicalTokenBucket: "htb"
    case .netem: "netem"
    }
  }

  /// Makes a qdisc that stands nowhere yet.
  mutating func insertQdisc(
    _ kind: QdiscKind, on device: DeviceIndex, handle: UInt32, place: UInt32
  ) throws(KernelError) -> QdiscIndex {
    let length = devices[device].queueLength
    let own: Qdisc.Kind
    var limit: UInt32 = 0
    switch kind {
    case .pfifo:
      own = .pfifo
      limit = length
    case .bfifo:
      own = .bfifo
      limit = UInt32(clamping: UInt64(length) * UInt64(devices[device].mtu + EthernetHeader.length))
    case .pfifoFast:
      guard length > 0 else { throw .invalidArgument }
      own = .pfifoFast
      limit = length
    case .tbf:
      let empty = TokenBucketFilter(
        rate: RateConfiguration(bytesPerSecond: 0), buffer: 0, peakBuffer: 0, longest: 0, tokens: 0,
        peakTokens: 0, checked: cpu.now)
      guard let bucket = tokenBuckets.insert(empty) else { throw .noBuffers }
      own = .tokenBucket(bucket)
    case .htb(let options):
      let empty = HierarchicalTokenBucket(
        defaultClass: options.defaultClass, rateToQuantum: options.rateToQuantum,
        directLimit: options.directQueueLength ?? max(length, 2))
      guard let tree = trees.insert(empty) else { throw .noBuffers }
      own = .hierarchicalTokenBucket(tree)
    case .netem:
      guard let netem = netems.insert(Netem(seed: cpu.random.next())) else { throw .noBuffers }
      own = .netem(netem)
    case .other("noqueue", _): own = .noQueue
    case .ingress, .clsact, .other("tbf", _), .other("htb", _), .other("netem", _): throw .invalidArgument
    case .other: throw KernelError(2, "Specified qdisc kind is unknown")
    }
    var qdisc = Qdisc(own, on: device, handle: handle, limit: limit)
    qdisc.place = place
    guard let index = qdiscs.insert(qdisc) else { throw .noBuffers }
    do throws(KernelError) {
      switch kind {
      case .tbf, .netem, .pfifo, .bfifo: try applySettings(kind, to: index)
      case .pfifoFast, .htb, .ingress, .clsact, .other: break
      }
    } catch {
      destroyQdisc(index)
      throw error
    }
    return index
  }

  mutating func applySettings(_ kind: QdiscKind, to index: QdiscIndex) throws(KernelError) {
    switch (kind, qdiscs[index].kind) {
    case (.pfifo(let limit), .pfifo), (.bfifo(let limit), .bfifo):
      if let limit { qdiscs[index].limit = limit }
    case (.tbf(let options), .tokenBucket(let bucket)): try apply(options, to: index, bucket)
    case (.netem(let options), .netem(let netem)): try apply(options, to: index, netem)
    case (.pfifoFast(let map), _) where map.isEmpty: return
    case (.other(_, let options), _) where options.isEmpty: return
    default: throw .invalid("Change operation not supported by specified qdisc")
    }
  }

  // MARK: tbf

  private mutating func apply(
    _ options: TBFOptions, to index: QdiscIndex, _ bucket: TableIndex<TokenBucketFilter>
  ) throws(KernelError) {
    let rate = RateConfiguration(bytesPerSecond: options.rate)
    var longest = options.burst
    var peak: RateConfiguration?
    var peakBuffer: Int64 = 0
    if let peakRate = options.peakRate {
      // The kernel writes to its log that the peak is not above the rate, and tells the asker nothing.
      guard peakRate > options.rate else { throw .invalidArgument }
      let configuration = RateConfiguration(bytesPerSecond: peakRate)
      peakBuffer = configuration.time(options.peakBurst ?? 0)
      longest = min(longest, options.peakBurst ?? 0)
      peak = configuration
    }
    guard longest > 0 else { throw .invalidArgument }
    if tokenBuckets[bucket].child.isNone {
      if options.limit > 0 {
        let child = try insertQdisc(
          .bfifo(limit: options.limit), on: qdiscs[index].device, handle: 0,
          place: qdiscs[index].handle | 1)
        qdiscs[child].isHidden = true
        qdiscs[child].parent = index
        tokenBuckets[bucket].child = child
      }
    } else {
      // A FIFO inside, whatever it counts in, takes the new limit (fifo_set_limit).
      switch qdiscs[tokenBuckets[bucket].child].kind {
      case .pfifo, .bfifo: qdiscs[tokenBuckets[bucket].child].limit = options.limit
      default: break
      }
    }
    qdiscs[index].limit = options.limit
    tokenBuckets[bucket].rate = rate
    tokenBuckets[bucket].peak = peak
    tokenBuckets[bucket].buffer = rate.time(options.burst)
    tokenBuckets[bucket].peakBuffer = peakBuffer
    tokenBuckets[bucket].longest = longest
    tokenBuckets[bucket].tokens = tokenBuckets[bucket].buffer
    tokenBuckets[bucket].peakTokens = peakBuffer
  }

  /// The kernel keeps a bucket as time in steps of 64 ns, and tells that.
  static func told(_ buffer: Int64, _ rate: UInt64) -> UInt32 {
    let time = UInt64(clamping: SchedulerTicks.whole(min(buffer, SchedulerTicks.nanoseconds(.max))))
    let (high, low) = time.multipliedFullWidth(by: rate)
    guard high < 1_000_000_000 else { return .max }
    return UInt32(clamping: UInt64(1_000_000_000).dividingFullWidth((high, low)).quotient)
  }

  // MARK: netem

  private mutating func apply(
    _ options: NetemOptions, to index: QdiscIndex, _ netem: TableIndex<Netem>
  ) throws(KernelError) {
    guard options.distribution.count <= Netem.distributionLimit,
      options.slotDistribution.count <= Netem.distributionLimit
    else { throw .invalidArgument }
    if let slot = options.slot { try check(slot) }
    guard options.latency >= 0 else { throw .invalid("negative latency") }
    guard options.jitter >= 0 else { throw .invalid("negative jitter") }
    qdiscs[index].limit = options.limit
    netems[netem].change(options, now: cpu.now)
  }

  private func check(_ slot: NetemSlot) throws(KernelError) {
    guard slot.minimumDelay >= 0, slot.maximumDelay >= 0 else { throw .invalid("negative slot delay") }
    guard slot.minimumDelay <= slot.maximumDelay else {
      throw .invalid("slot min delay greater than max delay")
    }
    guard slot.distributedDelay >= 0, slot.distributedJitter >= 0 else {
      throw .invalid("negative dist delay")
    }
    guard slot.packets >= 0, slot.bytes >= 0 else { throw .invalid("negative slot limit") }
  }

  // MARK: Telling

  func settings(of index: QdiscIndex) -> QdiscKind {
    switch qdiscs[index].kind {
    case .noQueue: .other("noqueue", [])
    case .pfifoFast: .pfifoFast(priorityMap: (0..<16).map { Self.priorityBands[$0] })
    case .pfifo: .pfifo(limit: qdiscs[index].limit)
    case .bfifo: .bfifo(limit: qdiscs[index].limit)
    case .tokenBucket(let bucket): .tbf(settings(bucket, limit: qdiscs[index].limit))
    case .hierarchicalTokenBucket(let tree): .htb(settings(tree))
    case .netem(let netem): .netem(settings(netem, limit: qdiscs[index].limit))
    }
  }

  private func settings(_ bucket: TableIndex<TokenBucketFilter>, limit: UInt32) -> TBFOptions {
    let rate = tokenBuckets[bucket].rate.bytesPerSecond
    var options = TBFOptions(rate: rate, burst: Self.told(tokenBuckets[bucket].buffer, rate), limit: limit)
    if let peak = tokenBuckets[bucket].peak?.bytesPerSecond {
      options.peakRate = peak
      options.peakBurst = Self.told(tokenBuckets[bucket].peakBuffer, peak)
    }
    return options
  }

  private func settings(_ tree: TableIndex<HierarchicalTokenBucket>) -> HTBOptions {
    var options = HTBOptions(defaultClass: trees[tree].defaultClass)
    options.rateToQuantum = trees[tree].rateToQuantum
    options.directQueueLength = trees[tree].directLimit
    options.directPackets = UInt32(truncatingIfNeeded: trees[tree].directPackets)
    return options
  }

  private func settings(_ netem: TableIndex<Netem>, limit: UInt32) -> NetemOptions {
    var options = netems[netem].settings
    options.limit = limit
    return options
  }
}
