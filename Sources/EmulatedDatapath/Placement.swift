// SPDX-License-Identifier: GPL-2.0-or-later

// Which CPU of an emulated lab a namespace stands on. The lab's own switch is on the first, nodes go round in the order in
// which they are made, so that the same plan places them the same way.

import LabCore
import Synchronization

/// The namespaces' CPUs, known to whoever looks for a namespace's thread.
final class Placement: Sendable {
  private struct State {
    var places: [NamespaceID: Int] = [:]
    var nodes = 0
  }

  let cpus: Int
  private let state = Mutex(State())

  init(cpus: Int = 1) { self.cpus = cpus }

  /// A namespace that is nowhere is looked for on the first.
  func cpu(of namespace: NamespaceID) -> Int { state.withLock { $0.places[namespace] ?? 0 } }

  /// Chooses for a namespace that is to be made.
  func place(_ namespace: NamespaceID) -> Int {
    state.withLock { state in
      var cpu = 0
      if namespace.node != nil {
        cpu = state.nodes % cpus
        state.nodes += 1
      }
      state.places[namespace] = cpu
      return cpu
    }
  }

  func forget(_ namespace: NamespaceID) { state.withLock { $0.places[namespace] = nil } }

  func forgetAll() { state.withLock { $0 = State() } }
}
