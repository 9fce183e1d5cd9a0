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
      guard let netem = netems.insert(Netem(seed: 0)) else { throw .noBuffers }
      own = .netem(netem)
    case .other("noqueue", _): own = .noQueue
    case .other: throw KernelError(2, "Specified qdisc kind is unknown")
    case .ingress, .clsact: throw .invalidArgument
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
    guard options.distribution.count <= Netem.distributionLimit else { throw .invalidArgument }
    let duplicated = netems[netem].duplicate
    netems[netem].duplicate = options.duplicate
    do throws(KernelError) {
      try checkDuplication(with: index, in: qdiscs[index].parent)
    } catch {
      netems[netem].duplicate = duplicated
      throw error
    }
    if !options.distribution.isEmpty { netems[netem].distribution = options.distribution }
    netems[netem].latency = options.latency
    netems[netem].jitter = Int64(clamping: min(options.jitter.magnitude, UInt64(Int32.max)))
    netems[netem].loss = options.loss
    netems[netem].gap = options.gap
    netems[netem].sinceReorder = 0
    // Tools older than the probability say only every how many.
    netems[netem].reorder = options.gap != 0 && options.reorder == 0 ? .max : options.reorder
    netems[netem].corrupt = options.corrupt
    netems[netem].explicitCongestion = options.explicitCongestion
    if let rate = options.rate { netems[netem].rate = rate }
    switch options.lossModel {
    case nil: break
    case .state: netems[netem].lossState = .sentInGap
    case .gilbertElliott: netems[netem].lossState = .good
    }
    netems[netem].lossModel = options.lossModel
    qdiscs[index].limit = options.limit
    netems[netem].reseed(options.seed ?? cpu.random.next())
    func remember(_ correlation: UInt32) -> Netem.CorrelatedChance {
      Netem.CorrelatedChance(
        correlation: correlation, last: UInt32(truncatingIfNeeded: netems[netem].otherChance.next()))
    }
    netems[netem].delayChance = remember(options.delayCorrelation)
    netems[netem].lossChance = remember(options.lossCorrelation)
    netems[netem].duplicateChance = remember(options.duplicateCorrelation)
    netems[netem].reorderChance = remember(options.reorderCorrelation)
    netems[netem].corruptChance = remember(options.corruptCorrelation)
  }

  /// A copy goes in at the top, where another netem would double it again, without end (check_netem_in_tree).
  func checkDuplication(with index: QdiscIndex, in parent: QdiscIndex) throws(KernelError) {
    let device = qdiscs[index].device
    var netems = 0
    var duplicates = false
    for other in (parent.isNone ? [] : qdiscs(of: device)).filter({ $0 != index }) + [index] {
      guard case .netem(let netem) = qdiscs[other].kind else { continue }
      netems += 1
      duplicates = duplicates || self.netems[netem].duplicate > 0
    }
    guard netems < 2 || !duplicates else {
      throw .invalid("netem: cannot mix duplicating netems with other netems in tree")
    }
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
    var options = NetemOptions()
    options.latency = netems[netem].latency
    options.jitter = netems[netem].jitter
    options.limit = limit
    options.loss = netems[netem].loss
    options.gap = netems[netem].gap
    options.duplicate = netems[netem].duplicate
    options.delayCorrelation = netems[netem].delayChance.correlation
    options.lossCorrelation = netems[netem].lossChance.correlation
    options.duplicateCorrelation = netems[netem].duplicateChance.correlation
    options.reorder = netems[netem].reorder
    options.reorderCorrelation = netems[netem].reorderChance.correlation
    options.corrupt = netems[netem].corrupt
    options.corruptCorrelation = netems[netem].corruptChance.correlation
    options.rate = netems[netem].rate
    options.lossModel = netems[netem].lossModel
    options.explicitCongestion = netems[netem].explicitCongestion
    options.seed = netems[netem].seed
    return options
  }
}
