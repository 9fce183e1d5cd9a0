// SPDX-License-Identifier: GPL-2.0-or-later

// What an impairment is to a kernel: netem, or tbf where there is only a rate. One way for the topology file, for
// `netforge netem` and for scripted events.

public import LabCore
import NetTypes
public import TopologyModel

extension QdiscKind {
  /// This with what `impairment` says in its place, the rest as it is; nil when nothing is impaired any more.
  /// - Parameters:
  ///   - current: what the device has now; what a kernel attaches by itself is nothing.
  ///   - seed: of the random choices, when neither says one.
  public init?(_ impairment: Topology.Impairment, over current: QdiscKind? = nil, seed: UInt64) {
    var netem: NetemState
    var limit = impairment.limit
    switch current {
    case .netem(let state):
      netem = state
      // A limit that was asked for stays, one that follows from the rest follows the rest.
      if limit == nil, state.limit != state.roomForDelay { limit = Int(state.limit) }
    case .tokenBucket(let bucket):
      netem = NetemState(rate: bucket.rate)
      let ownLimit = TokenBucketState(rate: bucket.rate, packets: nil).limit
      if limit == nil, bucket.limit != ownLimit {
        limit = Int((bucket.limit - min(bucket.limit, bucket.burst)) / 1514)
      }
    case .other, nil: netem = NetemState()
    }
    netem.overlay(impairment)
    guard netem.impairsSomething else { return nil }
    if netem.impairsRateOnly {
      self = .tokenBucket(TokenBucketState(rate: netem.rate, packets: limit))
      return
    }
    netem.seed = impairment.seed ?? netem.seed ?? seed
    netem.limit = limit.map { UInt32(clamping: $0) } ?? netem.roomForDelay
    self = .netem(netem)
  }

  /// What would make no sense of it; nil when it is well.
  public var complaint: String? {
    guard case .netem(let netem) = self else { return nil }
    if netem.reorder > 0, netem.delay == .zero {
      return "packets can overtake others only where those are delayed; give a delay with reorder"
    }
    if netem.jitter > netem.delay {
      return "jitter of \(netem.jitter) is more than the delay of \(netem.delay); "
        + "packets cannot arrive before they were sent"
    }
    return nil
  }
}

extension NetemState {
  /// Takes over what `impairment` says.
  fileprivate mutating func overlay(_ impairment: Topology.Impairment) {
    if let delay = impairment.delay { self.delay = delay }
    if let jitter = impairment.jitter { self.jitter = jitter }
    if let loss = impairment.loss { self.loss = Self.share(loss) }
    if let duplicate = impairment.duplicate { self.duplicate = Self.share(duplicate) }
    if let corrupt = impairment.corrupt { self.corrupt = Self.share(corrupt) }
    if let reorder = impairment.reorder {
      self.reorder = Self.share(reorder)
      // Without a gap the kernel reorders nothing.
      gap = reorder > 0 ? 1 : 0
    }
    if let rate = impairment.rate { self.rate = rate == 0 ? 0 : UInt64(clamping: max(1, rate / 8)) }
  }

  /// Per cent in the kernel's fixed point.
  static func share(_ percent: Double) -> UInt32 {
    guard percent > 0 else { return 0 }
    return percent >= 100 ? .max : UInt32((percent / 100 * Double(UInt32.max)).rounded())
  }

  fileprivate var impairsSomething: Bool { rate > 0 || !impairsRateOnly }

  fileprivate var impairsRateOnly: Bool {
    delay == .zero && jitter == .zero && loss == 0 && duplicate == 0 && reorder == 0 && corrupt == 0
  }

  /// Room for what is under way: the packets of twice the delay at the rate, or at 1 Gbit/s without one; at least the
  /// kernel's 1000.
  fileprivate var roomForDelay: UInt32 {
    let seconds = Double(delay.nanoseconds + jitter.nanoseconds) / 1e9
    let packets = 2 * seconds * Double(rate > 0 ? rate : 125_000_000) / 1500
    return UInt32(min(max(packets.rounded(.up), 1000), 1_000_000))
  }
}

extension TokenBucketState {
  /// A burst of 10 ms, at least what segmentation offload hands over at once; 50 ms more may wait.
  init(rate: UInt64, packets: Int?) {
    let burst = UInt32(clamping: max(rate / 100, 65_536))
    let waiting = packets.map { UInt64(clamping: $0) * 1514 } ?? max(rate / 20, 15_140)
    self.init(rate: rate, burst: burst, limit: UInt32(clamping: UInt64(burst) + waiting))
  }
}

extension QdiscKind {
  /// As `netforge netem show` and pictures tell it: `20ms ±5ms, loss 0.5%, 100mbit`.
  public var words: String {
    switch self {
    case .netem(let netem):
      var parts: [String] = []
      if netem.delay > .zero || netem.jitter > .zero {
        parts.append("delay \(netem.delay)" + (netem.jitter > .zero ? " ±\(netem.jitter)" : ""))
      }
      for (name, share) in [
        ("loss", netem.loss), ("duplicate", netem.duplicate), ("reorder", netem.reorder),
        ("corrupt", netem.corrupt),
      ] where share > 0 {
        parts.append("\(name) \(Self.percent(share))%")
      }
      if netem.rate > 0 { parts.append("rate \(Self.bits(netem.rate))") }
      return parts.joined(separator: ", ")
    case .tokenBucket(let bucket): return "rate \(Self.bits(bucket.rate))"
    case .other(let name): return name
    }
  }

  /// To a thousandth of a per cent, without zeros that say nothing.
  private static func percent(_ share: UInt32) -> String {
    let thousandths = (UInt64(share) * 100_000 + UInt64(UInt32.max) / 2) / UInt64(UInt32.max)
    var digits = String(thousandths % 1000 + 1000).dropFirst()
    while digits.last == "0" { digits = digits.dropLast() }
    return "\(thousandths / 1000)" + (digits.isEmpty ? "" : ".\(digits)")
  }

  /// Bytes a second as bits a second, in the largest unit that is exact.
  private static func bits(_ bytes: UInt64) -> String {
    let bits = bytes.multipliedReportingOverflow(by: 8).partialValue
    let units: [(UInt64, String)] = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1000, "kbit")]
    for (unit, name) in units where bits >= unit && bits % unit == 0 { return "\(bits / unit)\(name)" }
    return "\(bits)bit"
  }
}
