// SPDX-License-Identifier: GPL-2.0-or-later

// Named stateful objects that rules refer to.

/// A named counter, quota, limit or connection limit.
public struct NftObject: Hashable, Comparable, Codable, Sendable {
  public var name: String
  public var state: State
  public var comment: String?

  public enum State: Hashable, Codable, Sendable {
    case counter(NftCounter)
    case quota(NftQuota)
    case limit(NftLimit)
    case connlimit(NftConnlimit)
    /// NFT_OBJECT_* of a kind that this library does not read.
    case unknown(UInt32)
  }

  public init(name: String, state: State, comment: String? = nil) {
    self.name = name
    self.state = state
    self.comment = comment
  }

  /// NFT_OBJECT_*.
  public var type: UInt32 {
    switch state {
    case .counter: 1
    case .quota: 2
    case .limit: 4
    case .connlimit: 5
    case .unknown(let type): type
    }
  }

  /// Without counts.
  public var normalized: NftObject {
    var object = self
    switch state {
    case .counter: object.state = .counter(NftCounter())
    case .quota(var quota):
      quota.consumed = 0
      object.state = .quota(quota)
    case .limit(let limit): object.state = .limit(limit.normalized)
    case .connlimit, .unknown: break
    }
    return object
  }

  public static func < (a: Self, b: Self) -> Bool { (a.type, a.name) < (b.type, b.name) }
}
