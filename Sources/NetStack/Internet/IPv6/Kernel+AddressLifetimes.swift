// SPDX-License-Identifier: GPL-2.0-or-later

// How IPv6 addresses and routes age (RFC 4862 5.5.4; net/ipv6/addrconf.c, addrconf_verify_rtnl; ip6_fib.c).

import NetTypes
import Rtnetlink

extension Kernel {
  /// Sees that an address is looked at when it becomes deprecated or ends.
  mutating func armLifetime(of index: Address6Index) {
    cpu.wheel.cancel(&addresses6[index].lifetimeTimer)
    let address = addresses6[index]
    func end(_ seconds: UInt32) -> Int64 {
      seconds == AddressLifetime.forever ? .max : address.updated + Int64(seconds) * 1_000_000_000
    }
    var next = end(address.valid)
    if !address.isDeprecated { next = min(next, end(address.preferred)) }
    guard next != .max else { return }
    addresses6[index].lifetimeTimer = cpu.wheel.arm(
      TimerEvent(kind: .addressLifetime, index: index.rawValue), at: max(next, cpu.now))
  }

  /// addrconf_verify_rtnl.
  mutating func addressLifetimeTimer(_ index: Address6Index) {
    guard addresses6.contains(index) else { return }
    addresses6[index].lifetimeTimer = .none
    let address = addresses6[index]
    let age = UInt32(clamping: (cpu.now - address.updated) / 1_000_000_000)
    if address.valid != AddressLifetime.forever, age >= address.valid {
      removeAddress6(index)
      return
    }
    if address.preferred != AddressLifetime.forever, age >= address.preferred {
      addresses6[index].flags.insert(.deprecated)
    }
    armLifetime(of: index)
  }

  /// Sees that routes that end are taken away then (fib6_run_gc, here on time).
  mutating func armRouteExpiry(in namespace: NamespaceIndex) {
    cpu.wheel.cancel(&namespaces[namespace].routeExpiryTimer)
    guard let next = namespaces[namespace].routes6.routesByTable.joined().compactMap(\.expires).min() else {
      return
    }
    namespaces[namespace].routeExpiryTimer = cpu.wheel.arm(
      TimerEvent(kind: .routeExpiry, index: namespace.rawValue), at: max(next, cpu.now))
  }

  mutating func routeExpiryTimer(_ namespace: NamespaceIndex) {
    guard namespaces.contains(namespace) else { return }
    namespaces[namespace].routeExpiryTimer = .none
    let now = cpu.now
    namespaces[namespace].routes6.removeAll { ($0.expires ?? .max) <= now }
    armRouteExpiry(in: namespace)
  }
}
