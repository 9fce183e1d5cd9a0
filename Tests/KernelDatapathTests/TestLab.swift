// SPDX-License-Identifier: GPL-2.0-or-later

// A lab for one test: up and down without the planner, everything that a state names as creations.

import Glibc
import LabCore
public import NetTypes
import Testing

@testable import KernelDatapath

/// A lab that is removed when its test ends.
struct TestLab {
  let name: LabName
  let datapath: KernelDatapath

  static func with(
    _ name: String, faults: FaultInjector? = nil, _ body: (TestLab) async throws -> Void
  ) async throws {
    let lab = TestLab(
      name: try #require(LabName(name)), datapath: try KernelDatapath(faults: faults))
    let clean = try KernelDatapath()
    do {
      try await body(lab)
    } catch {
      try await clean.remove(lab.name)
      throw error
    }
    try await clean.remove(lab.name)
    let rest = try lab.output("ip netns list").split(separator: "\n").filter { $0.hasPrefix("\(name)-") }
    #expect(rest.isEmpty)
  }

  // MARK: Verbs

  func up(_ state: LabState) async throws {
    for batch in creation(of: state) { try await datapath.apply(batch, to: name) }
  }

  func observe(_ state: LabState) async throws -> Observation {
    try await datapath.observe(name, scope: Scope(covering: [state]))
  }

  func apply(_ changes: [Change]) async throws {
    try await datapath.apply(Plan.Batch(title: "test", changes: changes), to: name)
  }

  /// One change that makes `after` of `before`.
  func change(
    _ namespace: NamespaceID, _ before: StateObject?, _ after: StateObject?, _ attribute: AttributeName? = nil
  ) async throws {
    let path = try #require(after ?? before).path(in: namespace)
    let operation: Change.Operation = before == nil ? .create : after == nil ? .delete : .update
    try await apply([
      Change(
        path: attribute.map { path.attribute($0) } ?? path, operation: operation, before: before,
        after: after,
        reason: "test")
    ])
  }

  /// Namespaces first, then all that is in them, by kind.
  func creation(of state: LabState) -> [Plan.Batch] {
    var namespaces: [Change] = []
    var rest: [Change] = []
    for namespace in state.namespaces {
      for object in namespace.objects {
        let change = Change(
          path: object.path(in: namespace.id), operation: .create, before: nil, after: object, reason: "test")
        if case .namespace = object { namespaces.append(change) } else { rest.append(change) }
      }
    }
    namespaces.removeAll { $0.path.namespace == .host }
    return Plan(
      lab: name,
      batches: [
        Plan.Batch(title: "create namespaces", changes: namespaces),
        Plan.Batch(title: "configure", changes: rest),
      ]
    ).batches
  }

  // MARK: States

  /// Nodes on a bridge of the switch namespace.
  func star(nodes: Int) -> LabState {
    let bridge = LinkState(name: "lan", kind: .bridge(BridgeState(stp: false)), index: 2)
    var switched = NamespaceState(
      id: .switch, links: [bridge], sysctls: NamespaceDefaults.sysctls(for: .switch, ipv6: false))
    var all: [NamespaceState] = []
    for number in 0..<nodes {
      guard let node = NodeName("n\(number)") else { continue }
      let id = NamespaceID.node(node)
      let port = interface("p\(number)")
      switched.links.append(
        LinkState(
          name: port, kind: .veth(peer: LinkReference(id, "eth0")), index: UInt32(3 + number), master: "lan",
          port: BridgePortState()))
      let address = IPAddress.v4(IPv4Address(rawValue: 0x0a4d_0001 + UInt32(number)))
      let gateway = IPAddress.v4(IPv4Address(rawValue: 0x0a4d_ff01))
      var state = NamespaceState(
        id: id,
        links: [
          LinkState(
            name: "eth0", kind: .veth(peer: LinkReference(.switch, port)), index: 2,
            mac: MACAddress(rawValue: 0x02_00_00_00_00_00 + UInt64(number) + 1), mtu: 1400)
        ], sysctls: NamespaceDefaults.sysctls(for: .node, ipv6: false))
      if let prefix = IPPrefix(address, length: 16) {
        state.addresses = [AddressState(link: "eth0", prefix: prefix)]
      }
      state.routes = [
        RouteState(
          destination: .everything(.ipv4), nextHops: [RouteState.NextHop(gateway: gateway, link: "eth0")])
      ]
      all.append(state)
    }
    switched.sort()
    return LabState(lab: name, namespaces: [switched] + all)
  }

  func interface(_ name: String) -> InterfaceName { InterfaceName(name) ?? .loopback }

  /// What of `desired` is not there, or is otherwise: what a desired state leaves out is not compared.
  func differences(_ desired: LabState, _ seen: LabState) -> [String] {
    var result: [String] = []
    for namespace in desired.namespaces {
      guard let found = seen[namespace.id] else {
        result.append("\(namespace.id) is not there")
        continue
      }
      let objects = Dictionary(
        found.objects.map { ($0.path(in: namespace.id), $0) }, uniquingKeysWith: { first, _ in first })
      for object in namespace.objects {
        let path = object.path(in: namespace.id)
        guard let other = objects[path] else {
          result.append("\(path) is not there")
          continue
        }
        let values = Dictionary(
          other.attributes.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        for attribute in object.attributes where values[attribute.name] != attribute.value {
          result.append(
            "\(path) \(attribute.name.rawValue): \(values[attribute.name].map { "\($0)" } ?? "nil")")
        }
      }
      let wanted = Set(namespace.objects.map { $0.path(in: namespace.id) })
      for path in objects.keys.sorted() where !wanted.contains(path) && path.key.first != "lo" {
        result.append("\(path) was not asked for")
      }
    }
    return result
  }

  // MARK: Judges

  /// Runs a line of shell; fails the test when it does.
  func run(_ line: String) throws {
    _ = try output(line)
  }

  /// What a line of shell prints.
  func output(_ line: String) throws -> String {
    let file = try #require(popen(line + " 2>&1", "r"))
    var text: [UInt8] = []
    while true {
      let byte = fgetc(file)
      if byte == EOF { break }
      text.append(UInt8(truncatingIfNeeded: byte))
    }
    let status = pclose(file)
    let result = String(decoding: text, as: UTF8.self)
    try #require(status == 0, "\(line): \(result)")
    return result
  }
}

extension InterfaceName: ExpressibleByStringLiteral {
  public init(stringLiteral value: String) { self = InterfaceName(value) ?? .loopback }
}
