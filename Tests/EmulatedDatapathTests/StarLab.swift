// SPDX-License-Identifier: GPL-2.0-or-later

// A lab to put into the emulated kernel: nodes on one bridge.

import EmulatedDatapath
import Foundation
import LabCore
public import NetTypes
import Reconcile
import SystemPackage
import Testing

/// An emulated lab and its folder, which goes with it.
final class StarLab {
  let name: LabName
  let datapath: EmulatedDatapath
  let folder: LabFolder
  private let root: String

  init(_ name: String, time: EmulatedDatapath.TimeKind = .real, cpus: Int = 1) throws {
    self.name = try #require(LabName(name))
    datapath = try EmulatedDatapath(lab: self.name, time: time, cpus: cpus)
    root = FileManager.default.temporaryDirectory.appending(path: "netforge-star-\(UUID().uuidString)").path()
    folder = try LabFolders(root: root).make(self.name)
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  /// Makes the lab as `state` says, by way of `datapath`.
  @discardableResult
  func up(_ state: LabState, by datapath: (any Datapath)? = nil) async throws -> Plan {
    var reconciler = Reconciler(datapath: datapath ?? self.datapath, folder: folder)
    reconciler.deadline = .milliseconds(200)
    return try await reconciler.up(
      state, as: Reconciler.Description(datapath: .emulated), holding: folder.lock(), confirm: { _ in true })
  }

  func plan(_ state: LabState) async throws -> Plan {
    try await Reconciler(datapath: datapath, folder: folder).plan(state)
  }

  func observe(_ state: LabState) async throws -> LabState {
    try await datapath.observe(name, scope: Scope(covering: [state])).owned
  }

  /// 10.77.0.1 and on, on a bridge `lan`.
  func star(nodes: Int, mtu: UInt32 = 1400) throws -> LabState {
    let bridge = LinkState(name: "lan", kind: .bridge(BridgeState(stp: false)), index: 2)
    var fabric = NamespaceState(
      id: .switch, links: [bridge], sysctls: NamespaceDefaults.sysctls(for: .switch, ipv6: false))
    var spaces: [NamespaceState] = []
    for number in 0..<nodes {
      let id = NamespaceID.node(try #require(NodeName("n\(number)")))
      let port = try #require(InterfaceName("p\(number)"))
      fabric.links.append(
        LinkState(
          name: port, kind: .veth(peer: LinkReference(id, "eth0")), index: UInt32(3 + number), mtu: mtu,
          master: "lan", port: BridgePortState()))
      let address = IPAddress.v4(IPv4Address(rawValue: 0x0a4d_0001 + UInt32(number)))
      spaces.append(
        NamespaceState(
          id: id,
          links: [
            LinkState(
              name: "eth0", kind: .veth(peer: LinkReference(.switch, port)), index: 2,
              mac: MACAddress(rawValue: 0x02_00_00_00_00_01 + UInt64(number)), mtu: mtu)
          ],
          addresses: [AddressState(link: "eth0", prefix: try #require(IPPrefix(address, length: 16)))],
          sysctls: NamespaceDefaults.sysctls(for: .node, ipv6: false)))
    }
    fabric.sort()
    return LabState(lab: name, namespaces: [fabric] + spaces)
  }
}

extension InterfaceName: ExpressibleByStringLiteral {
  /// For names that a test writes down.
  public init(stringLiteral text: String) { self = InterfaceName(text) ?? .loopback }
}
