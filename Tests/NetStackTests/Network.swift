// SPDX-License-Identifier: GPL-2.0-or-later

// What tests build networks with: the messages that `ip` would send.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

func v4(_ text: String) -> IPv4Address { IPv4Address(text) ?? .any }
func prefix(_ text: String) -> IPPrefix { IPPrefix(text) ?? .everything(.ipv4) }

extension Kernel {
  init(seed: UInt64 = 1, burst: Int = 64, groupsRules: Bool = true) {
    var options = Options(seed: seed, burst: burst, pool: .init(packets: 4096, largeBlocks: 64))
    options.groupsRules = groupsRules
    self.init(options, now: Instant(nanoseconds: 0))
  }

  func ifindex(_ name: String, _ namespace: NamespaceIndex) -> Int32 {
    device(name, in: namespace).map { devices[$0].ifindex } ?? -1
  }

  func find(_ name: String, _ namespace: NamespaceIndex) throws -> DeviceIndex {
    guard let found = device(name, in: namespace) else { throw KernelError.noSuchDevice }
    return found
  }

  /// `unshare -n`, with lo up. Without IPv6 nothing is sent unasked.
  mutating func node(ipv6: Bool = false) throws -> NamespaceIndex {
    let namespace = try makeNamespace()
    if !ipv6 { try setSysctl("net/ipv6/conf/all/disable_ipv6", to: "1", in: namespace) }
    try set("lo", up: true, in: namespace)
    try setSysctl("net/ipv4/ping_group_range", to: "0 2147483647", in: namespace)
    return namespace
  }

  /// `ip link add A type veth peer name B netns …`, both up.
  mutating func veth(
    _ a: String, _ first: NamespaceIndex, _ b: String, _ second: NamespaceIndex, up: Bool = true
  ) throws {
    var peer = LinkMessage(name: b)
    peer.namespaceDescriptor = Self.descriptor(of: second)
    var link = LinkMessage(name: a)
    link.kind = .veth(peer: peer)
    try perform(link.request(.create), in: first)
    if up {
      try set(a, up: true, in: first)
      try set(b, up: true, in: second)
    }
  }

  mutating func bridge(_ name: String, _ namespace: NamespaceIndex, ageing: UInt32? = nil) throws {
    var link = LinkMessage(name: name)
    var options = BridgeOptions()
    options.ageingTime = ageing
    link.kind = .bridge(options)
    link.set(.up, true)
    try perform(link.request(.create), in: namespace)
  }

  mutating func set(_ name: String, up: Bool, in namespace: NamespaceIndex) throws {
    try change(name, namespace) { $0.set(.up, up) }
  }

  mutating func change(
    _ name: String, _ namespace: NamespaceIndex, _ body: (inout LinkMessage) -> Void
  ) throws {
    var link = LinkMessage(index: ifindex(name, namespace))
    body(&link)
    try perform(link.request(.change), in: namespace)
  }

  mutating func join(_ name: String, _ bridge: String, _ namespace: NamespaceIndex) throws {
    let master = ifindex(bridge, namespace)
    try change(name, namespace) { $0.master = master }
  }

  mutating func address(_ text: String, _ name: String, _ namespace: NamespaceIndex) throws {
    try perform(AddressMessage(prefix(text), index: ifindex(name, namespace)).request(.create), in: namespace)
  }

  mutating func route(_ text: String, via gateway: String, _ namespace: NamespaceIndex) throws {
    var route = RouteMessage(family: .ipv4)
    route.destination = text == "default" ? nil : prefix(text)
    route.gateway = .v4(v4(gateway))
    route.table = RouteMessage.mainTable
    route.protocolNumber = .static
    route.type = .unicast
    try perform(route.request(.create), in: namespace)
  }

  mutating func captureAll() {
    for device in devices.indices { setCapture(true, on: device) }
  }

  func counted(_ namespace: NamespaceIndex) -> SNMPCounters { counters(of: namespace) ?? SNMPCounters() }

  func statistics(_ name: String, _ namespace: NamespaceIndex) -> InterfaceStatistics {
    device(name, in: namespace).flatMap { statistics(of: $0) } ?? InterfaceStatistics()
  }

  func neighborState(_ address: String, _ name: String, _ namespace: NamespaceIndex) -> NeighborStates? {
    guard let device = device(name, in: namespace) else { return nil }
    let index = namespaces[namespace].neighbors.find(device, v4(address).rawValue)
    return index.isNone ? nil : neighbors[index].state
  }
}
