// SPDX-License-Identifier: GPL-2.0-or-later

// A packet that is sent to be watched, and what a kernel tells of its way. The same for all datapaths; what one of them
// cannot tell is absent, and named.

public import Capture
public import NetTypes
public import Nftables

/// A packet to send from a node and to watch.
public struct TraceRequest: Hashable, Codable, Sendable {
  public var node: NodeName
  public var probe: ProbePacket
  /// Every device that it may come by.
  public var points: [CapturePoint]
  /// How long to wait for it, and for an answer to it.
  public var wait: Interval

  public init(node: NodeName, probe: ProbePacket, points: [CapturePoint], wait: Interval) {
    self.node = node
    self.probe = probe
    self.points = points
    self.wait = wait
  }
}

/// What became of it, as far as a kernel tells.
public struct TraceReport: Hashable, Codable, Sendable {
  /// The packet, or an answer to it, at a device.
  public struct Sighting: Hashable, Codable, Sendable {
    /// The device's place among the request's points.
    public var point: Int
    public var direction: CapturedPacket.Direction
    /// Nanoseconds of the capture's clock.
    public var time: UInt64
    public var bytes: [UInt8]

    public init(point: Int, direction: CapturedPacket.Direction, time: UInt64, bytes: [UInt8]) {
      self.point = point
      self.direction = direction
      self.time = time
      self.bytes = bytes
    }
  }

  /// What rules did to the packet at one step.
  public struct RuleStep: Hashable, Codable, Sendable {
    public var namespace: NamespaceID
    /// The same for all steps while the packet is in the namespace.
    public var visit: UInt32
    public var chain: NftChainKey
    /// `prerouting` …
    public var hook: String
    /// The rule; nil when none decided and the chain's policy did, or when it is gone.
    public var rule: NftRule?
    /// The sets that the rule fills or looks objects up in, without what is in them.
    public var sets: [NftSet]
    public var isPolicy: Bool
    public var verdict: NftVerdict
    /// What the rule has written to registers; a host's kernel does not tell.
    public var writes: [NftRegisterWrite]

    public init(
      namespace: NamespaceID, visit: UInt32, chain: NftChainKey, hook: String, rule: NftRule?,
      sets: [NftSet] = [], isPolicy: Bool, verdict: NftVerdict, writes: [NftRegisterWrite] = []
    ) {
      self.namespace = namespace
      self.visit = visit
      self.chain = chain
      self.hook = hook
      self.rule = rule
      self.sets = sets
      self.isPolicy = isPolicy
      self.verdict = verdict
      self.writes = writes
    }

    /// The rule in nft's language, without what it has counted; nil where there is none.
    public var text: String? {
      rule.map { NftText.statelessText($0, family: chain.table.family, sets: sets) }
    }
  }

  /// What else a kernel tells of the packet.
  public struct Note: Hashable, Codable, Sendable {
    public enum Kind: Hashable, Codable, Sendable {
      /// It ended, for a reason by the kernel's name.
      case dropped(String)
      /// An answer to it ended so.
      case answerDropped(String)
      /// It waits until its next hop has answered.
      case waitsForNeighbor
      /// It stands in the ring of one of the request's points: how many do with it, and how many can.
      case ring(point: Int, fill: Int, size: Int)
      /// A turn of NAPI has taken it out of that ring, as the so manyth of the turn.
      case polled(point: Int, place: Int)
    }

    public var namespace: NamespaceID
    public var kind: Kind
    /// Nanoseconds of the capture's clock, where it tells.
    public var time: UInt64?

    public init(namespace: NamespaceID, kind: Kind, time: UInt64? = nil) {
      self.namespace = namespace
      self.kind = kind
      self.time = time
    }
  }

  /// In the order of time.
  public var sightings: [Sighting]
  public var rules: [RuleStep]
  public var notes: [Note]
  /// Why packets ended while it was on its way, by the kernel's names, where the kernel does not say in which namespace.
  public var drops: [String]
  /// What this kernel does not tell, in words.
  public var untold: [String]

  public init(
    sightings: [Sighting] = [], rules: [RuleStep] = [], notes: [Note] = [], drops: [String] = [],
    untold: [String] = []
  ) {
    self.sightings = sightings
    self.rules = rules
    self.notes = notes
    self.drops = drops
    self.untold = untold
  }
}
