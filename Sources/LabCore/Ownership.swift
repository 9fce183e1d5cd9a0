// SPDX-License-Identifier: GPL-2.0-or-later

// How a lab's objects are told from those of others: marks on the kernel's own objects, never a name pattern.

/// The marks of one lab.
public struct Ownership: Hashable, Sendable {
  public var lab: LabName

  public init(lab: LabName) { self.lab = lab }

  /// rtm_protocol, IFA_PROTO, NDA_PROTOCOL and FRA_PROTOCOL of what netforge makes. Unassigned in iproute2's table.
  public static let routeProtocol: UInt8 = 201

  /// What the alias of every lab's `lo` begins with.
  public static let aliasPrefix = "netforge:"

  /// The alias of `lo` in a namespace of the lab, and of its devices in the host's namespace.
  public func alias(for namespace: NamespaceID) -> String { Self.aliasPrefix + "\(lab):\(namespace)" }

  /// The lab and namespace that an alias names, when it is one of ours.
  public static func parse(alias: String) -> (lab: LabName, namespace: NamespaceID)? {
    guard alias.hasPrefix(aliasPrefix) else { return nil }
    let parts = alias.dropFirst(aliasPrefix.count).split(separator: ":", maxSplits: 1)
    guard parts.count == 2, let lab = LabName(String(parts[0])), let namespace = NamespaceID(String(parts[1]))
    else {
      return nil
    }
    return (lab, namespace)
  }

  /// The altname of `lo` in a namespace of the lab.
  public func alternativeName(for namespace: NamespaceID) -> String {
    "netforge-" + (namespace.netnsName(in: lab) ?? "\(lab)--host")
  }

  /// IFLA_GROUP of the lab's devices (not of `lo`): a hash of the name, never 0, which is everybody's.
  public var linkGroup: UInt32 { max(Self.hash(lab.text, seed: 0), 1) & 0x7fff_ffff }

  /// The name of the lab's nftables table in every namespace.
  public var nftTableName: String { "\(Self.nftTablePrefix)\(lab)" }

  private static let nftTablePrefix = "netforge-"

  /// The lab whose table on the host is called so; nil when it is none's.
  public static func lab(ofTable name: String) -> LabName? {
    name.hasPrefix(nftTablePrefix) ? LabName(String(name.dropFirst(nftTablePrefix.count))) : nil
  }

  /// FNV-1a: fixed for all time, so that a lab is found again by a later version.
  public static func hash(_ text: String, seed: UInt32) -> UInt32 {
    text.utf8.reduce(2_166_136_261 ^ seed) { ($0 ^ UInt32($1)) &* 16_777_619 }
  }
}
