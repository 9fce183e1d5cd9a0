// SPDX-License-Identifier: GPL-2.0-or-later

public import LabCore
public import NetTypes

/// What is remembered of a lab as it was last applied. The state itself is not: the rendered topology and the
/// allocations make it again.
public struct LabRecord: Hashable, Codable, Sendable {
  public var datapath: DatapathKind
  /// Sorted.
  public var namespaces: [NamespaceID]
  /// The topology file as the user named it; nil for standard input.
  public var topologyFile: String?
  /// Seconds since 1970 of the last `up` that changed something.
  public var time: Int64

  public init(datapath: DatapathKind, namespaces: [NamespaceID], topologyFile: String?, time: Int64) {
    self.datapath = datapath
    self.namespaces = namespaces
    self.topologyFile = topologyFile
    self.time = time
  }
}

/// What an `up` found before its first change: where a rollback goes back to.
public struct Journal: Hashable, Codable, Sendable {
  /// The namespaces that the plan touches, those that were not there included; sorted.
  public var touched: [NamespaceID]
  /// Those of them that were there, as they were, with the unmarked objects that stand on desired keys.
  public var before: LabState
  /// The recorded host settings as they were.
  public var hostSettings: [String: String]
  /// Who is at work.
  public var processID: Int32

  public init(touched: [NamespaceID], before: LabState, hostSettings: [String: String], processID: Int32) {
    self.touched = touched.sorted()
    self.before = before
    self.hostSettings = hostSettings
    self.processID = processID
  }

  /// This with what a later `up` touches besides: the older state is the one to go back to.
  func extended(by later: Journal) -> Journal {
    let known = Set(touched)
    let added = later.before.namespaces.filter { !known.contains($0.id) }
    return Journal(
      touched: touched + later.touched.filter { !known.contains($0) },
      before: LabState(lab: before.lab, namespaces: before.namespaces + added), hostSettings: hostSettings,
      processID: later.processID)
  }
}

/// What a lab was given once and keeps, so that inserting a node renumbers nobody.
public struct Allocations: Hashable, Codable, Sendable {
  /// Addresses taken from a subnet because none was written, by `node/interface`, in the order of the subnets.
  public var addresses: [String: [IPPrefix]]
  /// Indexes of devices, by namespace and device name.
  public var indexes: [String: [String: UInt32]]

  public init(addresses: [String: [IPPrefix]] = [:], indexes: [String: [String: UInt32]] = [:]) {
    self.addresses = addresses
    self.indexes = indexes
  }
}
