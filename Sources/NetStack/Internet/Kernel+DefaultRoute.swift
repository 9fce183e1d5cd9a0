// SPDX-License-Identifier: GPL-2.0-or-later

// Which of several default routes that are as good is taken for what this host sends: the first whose gateway is known to
// be there, or of which nothing is known; the others take their turn when theirs is not (fib_select_default).

import NetTypes
import Rtnetlink

extension Kernel {
  /// Puts the chosen route in the place of the first one.
  @inline(never)
  mutating func selectDefault(
    _ result: inout RouteResult<UInt32>, _ flow: Flow<UInt32>, in namespace: NamespaceIndex
  ) {
    // Several next hops are chosen among by their hash.
    guard let own = namespaces[namespace].routes.route(of: result), own.hops.count == 1 else { return }
    var candidates: [(route: Route<UInt32>, place: UInt32)] = []
    var (priority, tos) = (own.priority, UInt8(0))
    for (route, place) in namespaces[namespace].routes.defaults(in: result.table) {
      guard route.typeOfService == 0 || route.typeOfService == flow.typeOfService & 0x1c else { continue }
      if route.priority > priority, route.typeOfService == tos {
        if tos != 0 { continue }
        break
      }
      guard !route.hops.allSatisfy(\.isDead) else { continue }
      (priority, tos) = (route.priority, route.typeOfService)
      guard route.scope.rawValue == result.scope, route.type == .unicast, route.gateway != 0 else { continue }
      if candidates.isEmpty, place != result.route { break }
      candidates.append((route, place))
    }
    guard let first = candidates.first else { return }
    var lastResort = -1
    var chosen = -1
    if candidates.count > 1 {
      let latest = Int(first.route.hops[0].lastDefault)
      chosen =
        candidates.indices.first { order in
          isThere(candidates[order].route, order, latest, &lastResort)
        } ?? lastResort
    }
    namespaces[namespace].routes.setLastDefault(Int32(chosen), table: result.table, place: first.place)
    guard chosen > 0 else { return }
    // What was asked for and found stays as it was told (fib_result_assign).
    let (isSimple, typeOfService) = (result.isSimple, result.typeOfService)
    result = CompiledRoutes.answer(.init(route: candidates[chosen].route, place: candidates[chosen].place))
    (result.isSimple, result.typeOfService) = (isSimple, typeOfService)
  }

  /// Whether a gateway may be taken to live; otherwise perhaps that it is better than none (fib_detect_death).
  private func isThere(_ route: Route<UInt32>, _ order: Int, _ latest: Int, _ lastResort: inout Int) -> Bool {
    let neighbor = namespaces[devices[route.device].namespace].neighbors.find(route.device, route.gateway)
    guard !neighbor.isNone else { return true }
    let state = neighbors[neighbor].state
    let isValid = !state.isDisjoint(with: .valid)
    if state == .reachable || isValid && order != latest { return true }
    if isValid || lastResort < 0 && order > latest && state != .incomplete { lastResort = order }
    return false
  }
}
