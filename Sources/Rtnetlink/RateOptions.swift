// SPDX-License-Identifier: GPL-2.0-or-later

// The two shapers: tbf, one token bucket (net/sched/sch_tbf.c), and htb, a tree of them (net/sched/sch_htb.c).
// Rates are bytes per second. Rate tables are not sent: kernels since 3.9 compute, and need them only from tools that
// leave the link layer open.

import CLinux

/// The settings of a token bucket filter.
public struct TBFOptions: Hashable, Sendable {
  /// Bytes per second.
  public var rate: UInt64
  /// The bucket's size in bytes, at least the link's MTU and its header.
  public var burst: UInt32
  /// The most bytes that may wait.
  public var limit: UInt32
  /// Bytes per second at which a burst goes out; nil for no limit.
  public var peakRate: UInt64?
  /// The peak bucket's size in bytes.
  public var peakBurst: UInt32?

  public init(rate: UInt64, burst: UInt32, limit: UInt32, peakRate: UInt64? = nil, peakBurst: UInt32? = nil) {
    self.rate = rate
    self.burst = burst
    self.limit = limit
    self.peakRate = peakRate
    self.peakBurst = peakBurst
  }

  func encode(into writer: inout NetlinkWriter) {
    var parameters = tc_tbf_qopt()
    parameters.rate = tc_ratespec(bytesPerSecond: rate)
    parameters.peakrate = tc_ratespec(bytesPerSecond: peakRate ?? 0)
    parameters.limit = limit
    parameters.buffer = RateTime.ticks(bytes: UInt64(burst), rate: rate)
    if let peakRate, let peakBurst {
      parameters.mtu = RateTime.ticks(bytes: UInt64(peakBurst), rate: peakRate)
    }
    writer.structure(TCA_TBF_PARMS, parameters)
    writer.u32(TCA_TBF_BURST, burst)
    if rate > UInt64(UInt32.max) { writer.u64(TCA_TBF_RATE64, rate) }
    if let peakRate {
      if peakRate > UInt64(UInt32.max) { writer.u64(TCA_TBF_PRATE64, peakRate) }
      writer.u32(TCA_TBF_PBURST, peakBurst)
    }
  }

  /// The kernel tells buckets as the time that they take, so `burst` may come back a byte off.
  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    self.init(rate: 0, burst: 0, limit: 0)
    var reader = content
    var parameters = tc_tbf_qopt()
    var bucket: UInt32?
    var peakBucket: UInt32?
    var wideRate: UInt64?
    var widePeak: UInt64?
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_TBF_PARMS: parameters = try attribute.structure(tc_tbf_qopt.self)
      case TCA_TBF_BURST: bucket = try attribute.u32()
      case TCA_TBF_PBURST: peakBucket = try attribute.u32()
      case TCA_TBF_RATE64: wideRate = try attribute.u64()
      case TCA_TBF_PRATE64: widePeak = try attribute.u64()
      default: break
      }
    }
    rate = wideRate ?? UInt64(parameters.rate.rate)
    limit = parameters.limit
    burst = bucket ?? RateTime.bytes(ticks: parameters.buffer, rate: rate)
    let peak = widePeak ?? UInt64(parameters.peakrate.rate)
    guard peak > 0 else { return }
    peakRate = peak
    peakBurst = peakBucket ?? RateTime.bytes(ticks: parameters.mtu, rate: peak)
  }
}

/// The settings of an htb qdisc.
public struct HTBOptions: Hashable, Sendable {
  /// The minor number of the class for what no filter sorts.
  public var defaultClass: UInt32
  public var rateToQuantum: UInt32 = 10
  public var directQueueLength: UInt32?
  /// Told by the kernel: packets that went by without a class.
  public var directPackets: UInt32 = 0

  public init(defaultClass: UInt32 = 0) { self.defaultClass = defaultClass }

  func encode(into writer: inout NetlinkWriter) {
    writer.structure(
      TCA_HTB_INIT,
      tc_htb_glob(
        version: 3, rate2quantum: rateToQuantum, defcls: defaultClass, debug: 0, direct_pkts: directPackets))
    writer.u32(TCA_HTB_DIRECT_QLEN, directQueueLength)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    self.init()
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_HTB_INIT:
        let value = try attribute.structure(tc_htb_glob.self)
        defaultClass = value.defcls
        rateToQuantum = value.rate2quantum
        directPackets = value.direct_pkts
      case TCA_HTB_DIRECT_QLEN: directQueueLength = try attribute.u32()
      default: break
      }
    }
  }
}

/// The settings of a class of htb.
public struct HTBClassOptions: Hashable, Sendable {
  /// Bytes per second that the class is sure of.
  public var rate: UInt64
  /// Bytes per second that it may borrow up to.
  public var ceiling: UInt64
  /// Bytes.
  public var burst: UInt32
  /// Bytes.
  public var ceilingBurst: UInt32
  /// Bytes in a turn; 0 lets the kernel compute it.
  public var quantum: UInt32 = 0
  /// 0 is served first.
  public var priority: UInt32 = 0
  /// Told by the kernel: 0 for a leaf.
  public var level: UInt32 = 0

  public init(rate: UInt64, ceiling: UInt64, burst: UInt32, ceilingBurst: UInt32) {
    self.rate = rate
    self.ceiling = ceiling
    self.burst = burst
    self.ceilingBurst = ceilingBurst
  }

  func encode(into writer: inout NetlinkWriter) {
    var parameters = tc_htb_opt()
    parameters.rate = tc_ratespec(bytesPerSecond: rate)
    parameters.ceil = tc_ratespec(bytesPerSecond: ceiling)
    parameters.buffer = RateTime.ticks(bytes: UInt64(burst), rate: rate)
    parameters.cbuffer = RateTime.ticks(bytes: UInt64(ceilingBurst), rate: ceiling)
    parameters.quantum = quantum
    parameters.prio = priority
    parameters.level = level
    writer.structure(TCA_HTB_PARMS, parameters)
    if rate > UInt64(UInt32.max) { writer.u64(TCA_HTB_RATE64, rate) }
    if ceiling > UInt64(UInt32.max) { writer.u64(TCA_HTB_CEIL64, ceiling) }
  }

  /// Buckets are told as the time that they take, so they may come back a byte off.
  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    var parameters = tc_htb_opt()
    var wideRate: UInt64?
    var wideCeiling: UInt64?
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_HTB_PARMS: parameters = try attribute.structure(tc_htb_opt.self)
      case TCA_HTB_RATE64: wideRate = try attribute.u64()
      case TCA_HTB_CEIL64: wideCeiling = try attribute.u64()
      default: break
      }
    }
    rate = wideRate ?? UInt64(parameters.rate.rate)
    ceiling = wideCeiling ?? UInt64(parameters.ceil.rate)
    burst = RateTime.bytes(ticks: parameters.buffer, rate: rate)
    ceilingBurst = RateTime.bytes(ticks: parameters.cbuffer, rate: ceiling)
    quantum = parameters.quantum
    priority = parameters.prio
    level = parameters.level
  }
}

extension tc_ratespec {
  fileprivate init(bytesPerSecond: UInt64) {
    self.init()
    rate = UInt32(clamping: bytesPerSecond)
    // Says that no rate table follows.
    linklayer = UInt8(truncatingIfNeeded: TC_LINKLAYER_ETHERNET.rawValue)
  }
}

/// The time that bytes take at a rate, in the packet scheduler's ticks of 64 ns.
enum RateTime {
  /// Rounded up, so that the bucket holds what was asked for; saturating.
  static func ticks(bytes: UInt64, rate: UInt64) -> UInt32 {
    guard rate > 0 else { return 0 }
    let (high, low) = bytes.multipliedFullWidth(by: 1_000_000_000)
    let divisor = rate.multipliedReportingOverflow(by: 64)
    guard !divisor.overflow, high < divisor.partialValue else { return divisor.overflow ? 0 : .max }
    let (quotient, remainder) = divisor.partialValue.dividingFullWidth((high, low))
    return UInt32(clamping: remainder == 0 ? quotient : quotient.addingReportingOverflow(1).partialValue)
  }

  static func bytes(ticks: UInt32, rate: UInt64) -> UInt32 {
    let (high, low) = (UInt64(ticks) * 64).multipliedFullWidth(by: rate)
    guard high < 1_000_000_000 else { return .max }
    return UInt32(clamping: UInt64(1_000_000_000).dividingFullWidth((high, low)).quotient)
  }
}
