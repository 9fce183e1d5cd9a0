// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// The queueing discipline at a device's root. Keyed by device and parent (always `root` today).
public struct QdiscState: Hashable, Codable, Sendable {
  public var link: InterfaceName
  public var kind: QdiscKind

  public init(link: InterfaceName, kind: QdiscKind) {
    self.link = link
    self.kind = kind
  }
}

public enum QdiscKind: Hashable, Codable, Sendable {
  case netem(NetemState)
  case tokenBucket(TokenBucketState)
  /// A kind of which netforge knows only the kernel's name.
  case other(String)

  /// The kernel's name of the kind (TCA_KIND).
  public var name: String {
    switch self {
    case .netem: "netem"
    case .tokenBucket: "tbf"
    case .other(let name): name
    }
  }
}

/// netem(8). Probabilities are in the kernel's fixed point: `UInt32.max` is always.
public struct NetemState: Hashable, Codable, Sendable {
  public var delay: Interval
  public var jitter: Interval
  public var delayCorrelation: UInt32
  public var loss: UInt32
  public var lossCorrelation: UInt32
  public var duplicate: UInt32
  public var duplicateCorrelation: UInt32
  public var reorder: UInt32
  public var reorderCorrelation: UInt32
  /// Every how many packets one is reordered; 0 for never by count.
  public var gap: UInt32
  public var corrupt: UInt32
  public var corruptCorrelation: UInt32
  /// Bytes a second; 0 for no limit.
  public var rate: UInt64
  /// Packets.
  public var limit: UInt32
  /// Nil leaves the choice to the kernel, and runs differ.
  public var seed: UInt64?

  public init(
    delay: Interval = .zero, jitter: Interval = .zero, delayCorrelation: UInt32 = 0, loss: UInt32 = 0,
    lossCorrelation: UInt32 = 0, duplicate: UInt32 = 0, duplicateCorrelation: UInt32 = 0, reorder: UInt32 = 0,
    reorderCorrelation: UInt32 = 0, gap: UInt32 = 0, corrupt: UInt32 = 0, corruptCorrelation: UInt32 = 0,
    rate: UInt64 = 0, limit: UInt32 = 1000, seed: UInt64? = nil
  ) {
    self.delay = delay
    self.jitter = jitter
    self.delayCorrelation = delayCorrelation
    self.loss = loss
    self.lossCorrelation = lossCorrelation
    self.duplicate = duplicate
    self.duplicateCorrelation = duplicateCorrelation
    self.reorder = reorder
    self.reorderCorrelation = reorderCorrelation
    self.gap = gap
    self.corrupt = corrupt
    self.corruptCorrelation = corruptCorrelation
    self.rate = rate
    self.limit = limit
    self.seed = seed
  }
}

/// tbf(8).
public struct TokenBucketState: Hashable, Codable, Sendable {
  /// Bytes a second.
  public var rate: UInt64
  /// Bytes.
  public var burst: UInt32
  /// Bytes that may wait.
  public var limit: UInt32

  public init(rate: UInt64, burst: UInt32, limit: UInt32) {
    self.rate = rate
    self.burst = burst
    self.limit = limit
  }
}

extension QdiscState {
  public var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.kind, .text(kind.name))
    switch kind {
    case .netem(let netem): netem.describe(into: &list)
    case .tokenBucket(let bucket):
      list.add(AttributeName("rate"), number: bucket.rate)
      list.add(AttributeName("burst"), number: bucket.burst)
      list.add(AttributeName("limit"), number: bucket.limit)
    case .other: break
    }
    return list.attributes
  }
}

extension NetemState {
  func describe(into list: inout AttributeList) {
    list.add(AttributeName("delay"), text: delay)
    list.add(AttributeName("jitter"), text: jitter)
    for (name, value) in [
      ("delay-correlation", delayCorrelation), ("loss", loss), ("loss-correlation", lossCorrelation),
      ("duplicate", duplicate), ("duplicate-correlation", duplicateCorrelation), ("reorder", reorder),
      ("reorder-correlation", reorderCorrelation), ("gap", gap), ("corrupt", corrupt),
      ("corrupt-correlation", corruptCorrelation), ("limit", limit),
    ] {
      list.add(AttributeName(name), number: value)
    }
    list.add(AttributeName("rate"), number: rate)
    list.add(AttributeName("seed"), number: seed)
  }
}
