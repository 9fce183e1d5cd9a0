// SPDX-License-Identifier: GPL-2.0-or-later

// What a topology does not say any more, or the kernel does not: settings whose line was taken out go back to what a
// namespace made anew would have, and what the kernel hides for a while is taken from what was last applied.

import LabCore
import NetTypes

/// The settings that a topology has dropped since it was last applied.
struct DroppedSettings {
  /// By namespace, sorted by name.
  private let names: [NamespaceID: [String]]

  /// - Parameter recreated: namespaces that begin anew in any case.
  init(since record: LabRecord?, in desired: LabState, recreated: Set<NamespaceID>) {
    names = (record?.droppedSettings(desired) ?? [:]).filter { !recreated.contains($0.key) }
  }

  /// Adds the question what they would be in namespaces made anew.
  func ask(_ scope: inout Scope, desired: LabState) {
    for space in desired.namespaces {
      guard let names = names[space.id] else { continue }
      scope.initial[space.id] = InitialSettingsQuestion(
        written: SysctlName.ordered(space.sysctls.filter { SysctlName($0.name).link == nil }),
        names: Set(names.map(Self.origin)).sorted())
    }
  }

  /// `desired` with the values that they go back to, for those that are there.
  func restored(_ desired: LabState, after observation: Observation) -> LabState {
    guard !names.isEmpty else { return desired }
    var result = desired
    for index in result.namespaces.indices {
      let id = result.namespaces[index].id
      guard let names = names[id], let present = observation.owned[id]?.sysctls else { continue }
      for name in names where present.contains(where: { $0.name == name }) {
        let origin = Self.origin(of: name)
        guard let value = observation.initial[id]?.first(where: { $0.name == origin })?.value else {
          continue
        }
        result.namespaces[index].sysctls.append(SysctlState(name: name, value: value))
      }
      result.namespaces[index].sort()
    }
    return result
  }

  /// The setting that gives `name` its value in a namespace made anew: a device takes those of `default`, but `lo`,
  /// which is older than any setting.
  private static func origin(of name: String) -> String {
    let setting = SysctlName(name)
    guard let link = setting.link, link != .loopback else { return name }
    return name.split(separator: "/", omittingEmptySubsequences: false).enumerated()
      .map { $0.offset == 3 ? "default" : $0.element }.joined(separator: "/")
  }
}

extension Observation {
  /// Whether the kernel hides something that a topology can say.
  var hidesAgeing: Bool {
    owned.namespaces.contains { $0.links.contains(where: \.hidesAgeing) }
  }

  /// Fills in what the kernel hides from what was last applied.
  mutating func fillHidden(from applied: LabState) {
    for space in owned.namespaces.indices {
      for link in owned.namespaces[space].links.indices {
        let seen = owned.namespaces[space].links[link]
        guard seen.hidesAgeing, case .bridge(var bridge) = seen.kind,
          let old = applied[owned.namespaces[space].id]?.links.first(where: { $0.name == seen.name }),
          case .bridge(let wanted) = old.kind
        else { continue }
        bridge.ageingTime = wanted.ageingTime ?? BridgeState.kernelDefault.ageingTime
        owned.namespaces[space].links[link].kind = .bridge(bridge)
      }
    }
  }
}

extension LinkState {
  fileprivate var hidesAgeing: Bool {
    if case .bridge(let bridge) = kind { bridge.stp == true && bridge.ageingTime == nil } else { false }
  }
}
