// SPDX-License-Identifier: GPL-2.0-or-later

/// What a datapath found of a lab.
public struct Observation: Codable, Sendable {
  /// What carries the lab's mark, and what is of the kind that has none (sysctls in scope, qdiscs).
  public var owned: LabState
  /// Objects made by hand inside the lab's namespaces: shown, never removed, adopted when equal to a desired one.
  public var unmarked: LabState
  /// Objects of others that stand on keys the lab wants.
  public var foreign: [ForeignObject]
  /// What was asked for by `Scope.initial`, as far as it could be found out.
  public var initial: [NamespaceID: [SysctlState]]

  public init(
    owned: LabState, unmarked: LabState, foreign: [ForeignObject] = [],
    initial: [NamespaceID: [SysctlState]] = [:]
  ) {
    self.owned = owned
    self.unmarked = unmarked
    self.foreign = foreign
    self.initial = initial
  }
}

/// Something that is not the lab's, where the lab wants to put its own.
public struct ForeignObject: Hashable, Codable, Sendable {
  public var path: StatePath
  /// What stands there and whose it is: `network namespace 'shop-db' of lab 'shop2'`.
  public var detail: String

  public init(path: StatePath, detail: String) {
    self.path = path
    self.detail = detail
  }
}

/// How far `observe` looks.
public struct Scope: Codable, Sendable {
  /// The namespaces to read; nil for all that the lab has.
  public var namespaces: Set<NamespaceID>?
  /// The sysctls to read: those that the desired state or the lab's record names.
  public var sysctls: [NamespaceID: Set<String>]
  /// The keys that the lab wants: an object of others on one of them is foreign.
  public var claims: Set<StatePath>
  /// Settings whose values are asked for as they would be in a namespace made anew.
  public var initial: [NamespaceID: InitialSettingsQuestion]

  public init(
    namespaces: Set<NamespaceID>? = nil, sysctls: [NamespaceID: Set<String>] = [:],
    claims: Set<StatePath> = [], initial: [NamespaceID: InitialSettingsQuestion] = [:]
  ) {
    self.initial = initial
    self.namespaces = namespaces
    self.sysctls = sysctls
    self.claims = claims
  }

  /// All of the lab, with what `states` name: the desired state, and the recorded one if there is one.
  public init(covering states: [LabState]) {
    self.init()
    // Most namespaces have the settings of the one before them.
    var usual: (settings: [SysctlState], names: Set<String>) = ([], [])
    for state in states {
      for namespace in state.namespaces {
        if namespace.sysctls != usual.settings {
          usual = (namespace.sysctls, Set(namespace.sysctls.map(\.name)))
        }
        sysctls[namespace.id] = sysctls[namespace.id]?.union(usual.names) ?? usual.names
        claims.insert(StatePath(namespace.id))
        if namespace.id == .host { claims.formUnion(namespace.objects.map { $0.path(in: .host) }) }
      }
    }
  }
}

/// What settings a namespace would have that is made now and given `written`.
public struct InitialSettingsQuestion: Codable, Sendable {
  /// In the order of writing.
  public var written: [SysctlState]
  /// The names of the settings to read then.
  public var names: [String]

  public init(written: [SysctlState], names: [String]) {
    self.written = written
    self.names = names
  }
}
