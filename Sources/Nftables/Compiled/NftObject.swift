// SPDX-License-Identifier: GPL-2.0-or-later

// Named stateful objects that rules refer to.

/// NFT_OBJECT_*.
public enum NftObjectKind: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case counter = 1
  case quota = 2
  case ctHelper = 3
  case limit = 4
  case connlimit = 5
  case ctTimeout = 7
  case ctExpectation = 9
  case synproxy = 10

  /// As nft's language begins a declaration.
  public var name: String {
    switch self {
    case .counter: "counter"
    case .quota: "quota"
    case .ctHelper: "ct helper"
    case .limit: "limit"
    case .connlimit: "ct count"
    case .ctTimeout: "ct timeout"
    case .ctExpectation: "ct expectation"
    case .synproxy: "synproxy"
    }
  }
}

/// A named object: a counter, quota, limit or connection limit, or what connections are given.
public struct NftObject: Hashable, Comparable, Codable, Sendable {
  public var name: String
  public var state: State
  public var comment: String?

  public enum State: Hashable, Codable, Sendable {
    case counter(NftCounter)
    case quota(NftQuota)
    case ctHelper(NftCtHelper)
    case limit(NftLimit)
    case connlimit(NftConnlimit)
    case ctTimeout(NftCtTimeout)
    case ctExpectation(NftCtExpectation)
    case synproxy(NftSynproxy)
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
    if case .unknown(let type) = state { type } else { kind?.rawValue ?? 0 }
  }

  /// Nil for a kind that this library does not read.
  public var kind: NftObjectKind? {
    switch state {
    case .counter: .counter
    case .quota: .quota
    case .ctHelper: .ctHelper
    case .limit: .limit
    case .connlimit: .connlimit
    case .ctTimeout: .ctTimeout
    case .ctExpectation: .ctExpectation
    case .synproxy: .synproxy
    case .unknown: nil
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
    case .ctHelper, .connlimit, .ctTimeout, .ctExpectation, .synproxy, .unknown: break
    }
    return object
  }

  public static func < (a: Self, b: Self) -> Bool { (a.type, a.name) < (b.type, b.name) }
}
