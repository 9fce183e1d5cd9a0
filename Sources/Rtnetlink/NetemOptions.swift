// SPDX-License-Identifier: GPL-2.0-or-later

// The settings of netem, the network emulator (`struct tc_netem_qopt` and TCA_NETEM_*; net/sched/sch_netem.c).
// Probabilities and correlations are fractions of UInt32.max, as the kernel compares them with its random numbers.

import CLinux

/// The settings of a netem qdisc.
public struct NetemOptions: Hashable, Sendable {
  /// Settings that a message may leave out. What a change leaves out stays as it was.
  public struct Omissions: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Those of delay, loss and duplication.
    public static let correlations = Omissions(rawValue: 1)
    public static let reorder = Omissions(rawValue: 2)
    public static let corrupt = Omissions(rawValue: 4)
  }

  /// Nanoseconds.
  public var latency: Int64 = 0
  /// Nanoseconds.
  public var jitter: Int64 = 0
  /// The most packets that may wait; `tc` sends 1000.
  public var limit: UInt32 = 1000
  public var loss: UInt32 = 0
  /// Reordering: the distance of packets that go out at once.
  public var gap: UInt32 = 0
  public var duplicate: UInt32 = 0
  public var delayCorrelation: UInt32 = 0
  public var lossCorrelation: UInt32 = 0
  public var duplicateCorrelation: UInt32 = 0
  public var reorder: UInt32 = 0
  public var reorderCorrelation: UInt32 = 0
  public var corrupt: UInt32 = 0
  public var corruptCorrelation: UInt32 = 0
  /// Nil leaves what is there; the kernel tells a rate of zero for none, and takes it so.
  public var rate: NetemRate?
  public var lossModel: NetemLossModel?
  /// Mark packets (ECN) in the place of dropping them. Nil leaves what is there, and is the kernel's word for no.
  public var explicitCongestion: Bool?
  /// Of the random numbers; kernel 6.6 and newer. Nil lets them go on.
  public var seed: UInt64?
  /// A table of the delay's distribution, in 1/8192 of the jitter; the kernel never tells it. Empty leaves what is there.
  public var distribution: [Int16] = []
  /// Nil leaves what is there; the kernel tells none as nil.
  public var slot: NetemSlot?
  /// A table of the distribution of the times between slots, as that of the delay.
  public var slotDistribution: [Int16] = []
  public var omitted: Omissions = []

  public init() {}

  /// A probability of 0 to 1 as the kernel takes it; outside of that, the nearer end.
  public static func probability(_ fraction: Double) -> UInt32 {
    guard fraction > 0 else { return 0 }
    guard fraction < 1 else { return .max }
    return UInt32(exactly: (fraction * Double(UInt32.max)).rounded()) ?? .max
  }

  func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      tc_netem_qopt(
        latency: PacketSchedulerTicks.clamping(nanoseconds: latency), limit: limit, loss: loss, gap: gap,
        duplicate: duplicate, jitter: PacketSchedulerTicks.clamping(nanoseconds: jitter)))
    writer.i64(TCA_NETEM_LATENCY64, latency)
    writer.i64(TCA_NETEM_JITTER64, jitter)
    if !omitted.contains(.correlations) {
      writer.structure(
        TCA_NETEM_CORR,
        tc_netem_corr(
          delay_corr: delayCorrelation, loss_corr: lossCorrelation, dup_corr: duplicateCorrelation))
    }
    if !omitted.contains(.reorder) {
      writer.structure(
        TCA_NETEM_REORDER, tc_netem_reorder(probability: reorder, correlation: reorderCorrelation))
    }
    if !omitted.contains(.corrupt) {
      writer.structure(
        TCA_NETEM_CORRUPT, tc_netem_corrupt(probability: corrupt, correlation: corruptCorrelation))
    }
    if let rate {
      if rate.bytesPerSecond > UInt64(UInt32.max) { writer.u64(TCA_NETEM_RATE64, rate.bytesPerSecond) }
      writer.structure(
        TCA_NETEM_RATE,
        tc_netem_rate(
          rate: UInt32(clamping: rate.bytesPerSecond), packet_overhead: rate.packetOverhead,
          cell_size: rate.cellSize, cell_overhead: rate.cellOverhead))
    }
    if let lossModel { writer.nest(TCA_NETEM_LOSS) { lossModel.encode(into: &$0) } }
    if let explicitCongestion { writer.u32(TCA_NETEM_ECN, explicitCongestion ? 1 : 0) }
    if let slot { writer.structure(TCA_NETEM_SLOT, slot.encoded) }
    if let seed { writer.u64(NF_TCA_NETEM_PRNG_SEED, seed) }
    for (type, table) in [(TCA_NETEM_DELAY_DIST, distribution), (TCA_NETEM_SLOT_DIST, slotDistribution)]
    where !table.isEmpty {
      table.withUnsafeBytes { writer.bytes(type, $0) }
    }
  }

  init(parsing options: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(options)
    let header = try reader.fixed(tc_netem_qopt.self)
    latency = PacketSchedulerTicks.nanoseconds(header.latency)
    jitter = PacketSchedulerTicks.nanoseconds(header.jitter)
    limit = header.limit
    loss = header.loss
    gap = header.gap
    duplicate = header.duplicate
    omitted = [.correlations, .reorder, .corrupt]
    var wideRate: UInt64?
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_NETEM_LATENCY64: latency = try attribute.i64()
      case TCA_NETEM_JITTER64: jitter = try attribute.i64()
      case TCA_NETEM_CORR:
        let value = try attribute.structure(tc_netem_corr.self)
        delayCorrelation = value.delay_corr
        lossCorrelation = value.loss_corr
        duplicateCorrelation = value.dup_corr
        omitted.remove(.correlations)
      case TCA_NETEM_REORDER:
        let value = try attribute.structure(tc_netem_reorder.self)
        reorder = value.probability
        reorderCorrelation = value.correlation
        omitted.remove(.reorder)
      case TCA_NETEM_CORRUPT:
        let value = try attribute.structure(tc_netem_corrupt.self)
        corrupt = value.probability
        corruptCorrelation = value.correlation
        omitted.remove(.corrupt)
      case TCA_NETEM_RATE:
        let value = try attribute.structure(tc_netem_rate.self)
        rate = NetemRate(
          bytesPerSecond: UInt64(value.rate), packetOverhead: value.packet_overhead,
          cellSize: value.cell_size,
          cellOverhead: value.cell_overhead)
      case TCA_NETEM_RATE64: wideRate = try attribute.u64()
      case TCA_NETEM_LOSS: lossModel = try NetemLossModel(parsing: attribute.content)
      case TCA_NETEM_ECN: explicitCongestion = try attribute.u32() != 0
      case NF_TCA_NETEM_PRNG_SEED: seed = try attribute.u64()
      case TCA_NETEM_DELAY_DIST: distribution = try attribute.distribution()
      case TCA_NETEM_SLOT: slot = NetemSlot(try attribute.structure(tc_netem_slot.self))
      case TCA_NETEM_SLOT_DIST: slotDistribution = try attribute.distribution()
      default: break
      }
    }
    if let wideRate, let narrow = rate { rate?.bytesPerSecond = max(narrow.bytesPerSecond, wideRate) }
  }
}

extension NetlinkAttribute {
  fileprivate func distribution() throws(NetlinkDecodingError) -> [Int16] {
    guard value.count >= 2 else { throw wrongLength }
    return value.withUnsafeBytes { bytes in
      (0..<bytes.count / 2).map { bytes.loadUnaligned(fromByteOffset: 2 * $0, as: Int16.self) }
    }
  }
}

/// A rate that netem delays packets by.
public struct NetemRate: Hashable, Sendable {
  public var bytesPerSecond: UInt64
  /// Bytes that each packet counts more, or less.
  public var packetOverhead: Int32
  public var cellSize: UInt32
  public var cellOverhead: Int32

  public init(
    bytesPerSecond: UInt64, packetOverhead: Int32 = 0, cellSize: UInt32 = 0, cellOverhead: Int32 = 0
  ) {
    self.bytesPerSecond = bytesPerSecond
    self.packetOverhead = packetOverhead
    self.cellSize = cellSize
    self.cellOverhead = cellOverhead
  }
}

/// Times at which packets may leave, as a medium that is shared has them (`slot`).
public struct NetemSlot: Hashable, Sendable {
  /// Nanoseconds between the openings of two slots, at least and at most.
  public var minimumDelay: Int64
  public var maximumDelay: Int64
  /// How much may leave in one slot; 0 for no limit.
  public var packets: Int32
  public var bytes: Int32
  /// Nanoseconds, with a table of their distribution in the place of the least and the most.
  public var distributedDelay: Int64
  public var distributedJitter: Int64

  public init(
    minimumDelay: Int64 = 0, maximumDelay: Int64 = 0, packets: Int32 = 0, bytes: Int32 = 0,
    distributedDelay: Int64 = 0, distributedJitter: Int64 = 0
  ) {
    self.minimumDelay = minimumDelay
    self.maximumDelay = maximumDelay
    self.packets = packets
    self.bytes = bytes
    self.distributedDelay = distributedDelay
    self.distributedJitter = distributedJitter
  }

  var encoded: tc_netem_slot {
    tc_netem_slot(
      min_delay: minimumDelay, max_delay: maximumDelay, max_packets: packets, max_bytes: bytes,
      dist_delay: distributedDelay, dist_jitter: distributedJitter)
  }

  init(_ slot: tc_netem_slot) {
    self.init(
      minimumDelay: slot.min_delay, maximumDelay: slot.max_delay, packets: slot.max_packets,
      bytes: slot.max_bytes, distributedDelay: slot.dist_delay, distributedJitter: slot.dist_jitter)
  }
}

/// Loss with a memory.
public enum NetemLossModel: Hashable, Sendable {
  /// Four states (`loss state`).
  case state(p13: UInt32, p31: UInt32, p32: UInt32, p14: UInt32, p23: UInt32)
  /// Gilbert-Elliott (`loss gemodel`): to bad, to good, 1-h and 1-k as the kernel keeps them.
  case gilbertElliott(p: UInt32, r: UInt32, h: UInt32, k1: UInt32)

  func encode(into writer: inout NetlinkWriter) {
    switch self {
    case .state(let p13, let p31, let p32, let p14, let p23):
      writer.structure(
        Int(NETEM_LOSS_GI), tc_netem_gimodel(p13: p13, p31: p31, p32: p32, p14: p14, p23: p23))
    case .gilbertElliott(let p, let r, let h, let k1):
      writer.structure(Int(NETEM_LOSS_GE), tc_netem_gemodel(p: p, r: r, h: h, k1: k1))
    }
  }

  /// Nil when the nest names no model.
  init?(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case Int(NETEM_LOSS_GI):
        let model = try attribute.structure(tc_netem_gimodel.self)
        self = .state(p13: model.p13, p31: model.p31, p32: model.p32, p14: model.p14, p23: model.p23)
        return
      case Int(NETEM_LOSS_GE):
        let model = try attribute.structure(tc_netem_gemodel.self)
        self = .gilbertElliott(p: model.p, r: model.r, h: model.h, k1: model.k1)
        return
      default: break
      }
    }
    return nil
  }
}

/// The unit of time of the packet scheduler's older attributes: 64 ns (PSCHED_SHIFT).
enum PacketSchedulerTicks {
  static func clamping(nanoseconds: Int64) -> UInt32 { UInt32(clamping: nanoseconds >> 6) }
  static func nanoseconds(_ ticks: UInt32) -> Int64 { Int64(ticks) << 6 }
}
