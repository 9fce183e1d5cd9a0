// SPDX-License-Identifier: GPL-2.0-or-later

public import LabCore
public import NetTypes

/// What is remembered of a lab as it was last applied. The state itself is not: the rendered topology and the
/// allocations make it again.
public struct LabRecord: Hashable, Codable, Sendable {
  public var datapath: DatapathKind
  /// Sorted.
  public var namespaces: [NamespaceID]
  /// Names of settings beyond `NamespaceDefaults`, by namespace; sorted.
  public var settings: [String: [String]]
  /// The topology file as the user named it; nil for standard input.
  public var topologyFile: String?
  /// Seconds since 1970 of the last `up` that changed something.
  public var time: Int64

  public init(datapath: DatapathKind, state: LabState, topologyFile: String?, time: Int64) {
    self.datapath = datapath
    namespaces = state.namespaces.map(\.id)
    settings = [:]
    for space in state.namespaces {
      let known = Self.defaultSettings(of: space.id)
      let own = space.sysctls.map(\.name).filter { !known.contains($0) }
      if !own.isEmpty { settings[space.id.description] = own }
    }
    self.topologyFile = topologyFile
    self.time = time
  }
}

extension LabRecord {
  /// The settings that a namespace may have by default.
  private static func defaultSettings(of id: NamespaceID) -> Set<String> {
    switch id {
    case .host: []
    case .switch: switchDefaults
    case .node: nodeDefaults
    }
  }

  private static let switchDefaults = Set(NamespaceDefaults.sysctls(for: .switch, ipv6: true).map(\.name))
  private static let nodeDefaults = Set(NamespaceDefaults.sysctls(for: .router, ipv6: true).map(\.name))

  /// Adds the settings that the lab has had so far: what a rollback has to know, all of them of namespaces that go.
  func widen(_ scope: inout Scope) {
    for id in namespaces {
      var names = scope.sysctls[id] == nil ? Self.defaultSettings(of: id) : []
      names.formUnion(settings[id.description] ?? [])
      scope.sysctls[id, default: []].formUnion(names)
      scope.claims.insert(StatePath(id))
    }
  }
}

extension LabRecord {
  /// Settings that the lab has been given beyond the defaults and that `desired` does not name any more, of namespaces
  /// that stay and are not the host's, whose settings are recorded with their values.
  func droppedSettings(_ desired: LabState) -> [NamespaceID: [String]] {
    var result: [NamespaceID: [String]] = [:]
    guard !settings.isEmpty else { return result }
    for space in desired.namespaces where space.id != .host {
      let dropped = (settings[space.id.description] ?? []).filter { name in
        !space.sysctls.contains { $0.name == name }
      }
      if !dropped.isEmpty { result[space.id] = dropped }
    }
    return result
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
