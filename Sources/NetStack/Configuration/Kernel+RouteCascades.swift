// SPDX-License-Identifier: GPL-2.0-or-later

// What becomes of routes when devices do: the same for both families (net/ipv4/fib_semantics.c, fib_sync_down_dev,
// fib_sync_down_addr, fib_sync_up; net/ipv6/route.c, rt6_sync_down_dev, rt6_sync_up).

import NetTypes
import Rtnetlink

extension Kernel {
  /// Works out what a next hop's device makes of it.
  func refreshState<Address>(_ hop: inout RouteHop<Address>) {
    guard devices.contains(hop.device) else { return }
    hop.isLinkDown = !hasCarrier(hop.device)
    let ignores =
      Address.family == .ipv4
      ? devices[hop.device].ipv4.ignoreRoutesWithLinkDown
      : devices[hop.device].settings.ipv6[.ignoreRoutesWithLinkDown] != 0
    hop.isIgnored = hop.isLinkDown && ignores
  }

  /// A device is up or down, has got or lost its carrier, or has other settings: its next hops live, rest or die, and
  /// routes that have none left go.
  mutating func syncRoutes(of device: DeviceIndex) {
    sync(UInt32.self, device)
    sync(UInt128.self, device)
  }

  private mutating func sync<Address: InternetAddress>(_: Address.Type, _ device: DeviceIndex) {
    let namespace = devices[device].namespace
    let isUp = devices[device].isUp
    var fresh = RouteHop<Address>(device: device)
    refreshState(&fresh)
    Address.withRoutes(of: &namespaces[namespace]) { base in
      base.changeAll { route in
        guard route.uses(device) else { return .same }
        // What is local stays when its device goes down, and needs no carrier (fib6_ifdown).
        let isHere =
          Address.family == .ipv4
          ? route.scope == .host && route.type == .local : route.type == .local || route.type == .anycast
        var isChanged = false
        for index in route.hops.indices where route.hops[index].device == device {
          var hop = route.hops[index]
          hop.isLinkDown = fresh.isLinkDown && !isHere
          hop.isIgnored = fresh.isIgnored && !isHere
          hop.isDead = !isUp && !isHere
          isChanged = isChanged || hop != route.hops[index]
          route.hops[index] = hop
        }
        guard isChanged else { return .same }
        return route.hops.allSatisfy(\.isDead) ? .gone : .changed
      }
    }
  }

  /// A device has lost its last IPv4 address, and IPv4 with it: all next hops by it die, those of what is local too, and
  /// its neighbours are forgotten (fib_disable_ip). The next address brings back what routes of several ways have kept.
  mutating func disableIPv4(on device: DeviceIndex) {
    namespaces[devices[device].namespace].routes.changeAll { route in
      guard route.uses(device) else { return .same }
      for index in route.hops.indices where route.hops[index].device == device {
        route.hops[index].isDead = true
        route.hops[index].isLinkDown = true
      }
      return route.hops.allSatisfy(\.isDead) ? .gone : .changed
    }
    removeNeighbors(of: device, family: .ipv4)
  }

  /// A device is going: so does every next hop by it, and routes that have none left.
  mutating func forgetRoutes(of device: DeviceIndex) {
    forget(UInt32.self, device)
    forget(UInt128.self, device)
  }

  private mutating func forget<Address: InternetAddress>(_: Address.Type, _ device: DeviceIndex) {
    let namespace = devices[device].namespace
    Address.withRoutes(of: &namespaces[namespace]) { base in
      base.changeAll { route in
        guard route.uses(device) else { return .same }
        // IPv4 gives up a route of which one next hop has gone for good.
        guard Address.family == .ipv6 else { return .gone }
        route.hops.removeAll { $0.device == device }
        return route.hops.isEmpty ? .gone : .changed
      }
    }
  }

  /// Keeps the addresses that the next hops of a route of several speak from (fib_info_update_nhc_saddr).
  mutating func refreshHopSources(in namespace: NamespaceIndex) {
    guard
      namespaces[namespace].routes.routesByTable.contains(where: { $0.contains { $0.hops.count > 1 } })
    else { return }
    var sources: [Route<UInt32>: [UInt32]] = [:]
    for route in namespaces[namespace].routes.routesByTable.joined() where route.hops.count > 1 {
      sources[route] = route.hops.map {
        selectSource($0.gateway, on: $0.device, scope: route.scope.rawValue)
      }
    }
    namespaces[namespace].routes.changeAll { route in
      guard let sources = sources[route], sources != route.hops.map(\.source) else { return .same }
      for index in route.hops.indices { route.hops[index].source = sources[index] }
      return .changed
    }
  }
}
