// SPDX-License-Identifier: GPL-2.0-or-later

// A flowtable: connections that rules have put into it go past the rules, from the ingress of its devices straight to
// where they leave (nf_flow_table_core.c).

/// Where established connections go past the rules.
public struct NftFlowtable: Hashable, Comparable, Codable, Sendable {
  public var name: String
  /// Where among what hangs at the ingress of its devices; lower runs earlier.
  public var priority: Int32
  /// Sorted.
  public var devices: [String]
  /// Whether what goes past is counted with its connection (NFT_FLOWTABLE_COUNTER).
  public var counts: Bool

  public init(name: String, priority: Int32 = 0, devices: [String] = [], counts: Bool = false) {
    self.name = name
    self.priority = priority
    self.devices = devices.sorted()
    self.counts = counts
  }

  public static func < (a: Self, b: Self) -> Bool { a.name < b.name }
}
