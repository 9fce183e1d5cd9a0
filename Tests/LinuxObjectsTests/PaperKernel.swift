// SPDX-License-Identifier: GPL-2.0-or-later

// A kernel on paper: it writes down what it is told, refuses what it is asked to refuse, and shows the objects that
// messages would have made. Enough to see what a plan becomes where the host's kernel lacks the module.

import LabCore
import NetTypes
import Nftables
import Rtnetlink

@testable import LinuxObjects

final class PaperKernel: LabKernel {
  var channels: [NamespaceID: PaperChannel] = [:]
  /// What happened, in order.
  var log: [String] = []

  func channel(to namespace: NamespaceID) throws(TransportError) -> PaperChannel {
    if let known = channels[namespace] { return known }
    let channel = PaperChannel(namespace, self, handle: Int32(100 + channels.count))
    channels[namespace] = channel
    return channel
  }

  func scratch() throws(TransportError) -> PaperChannel { PaperChannel(.switch, self, handle: 99) }

  func makeNamespaces(_ namespaces: [NewNamespace]) throws(NamespaceFailure) {
    log += namespaces.map { "make \($0.id)" }
  }

  func removeNamespaces(_ namespaces: [NamespaceID]) throws(NamespaceFailure) {
    log += namespaces.map { "remove \($0)" }
  }
}

final class PaperChannel: Transport {
  let namespace: NamespaceID
  let handle: Int32
  private unowned let kernel: PaperKernel
  var messages: [NetlinkMessage] = []
  var transactions: [[NftChange]] = []
  var observation = NftObservation()
  /// The error that a message of a type gets.
  var refusals: [MessageType: TransportError] = [:]

  init(_ namespace: NamespaceID, _ kernel: PaperKernel, handle: Int32) {
    self.namespace = namespace
    self.kernel = kernel
    self.handle = handle
  }

  func transact(_ messages: [NetlinkMessage]) throws(TransportError) -> [TransportError?] {
    kernel.log.append("\(namespace): \(messages.map(\.type.description).joined(separator: " "))")
    self.messages += messages
    return messages.map { refusals[$0.type] }
  }

  func dump(_ request: NetlinkMessage) throws(TransportError) -> [NetlinkMessage] { [] }
  func ask(_ request: NetlinkMessage) throws(TransportError) -> NetlinkMessage { request }
  func readSysctl(_ name: String) throws(TransportError) -> String? { nil }

  func writeSysctl(_ setting: SysctlState) throws(TransportError) {
    kernel.log.append("\(namespace): \(setting.name) = \(setting.value)")
  }

  func makeTunTap(_ name: InterfaceName, index: UInt32?, _ device: TunTapState) throws(TransportError) {
    kernel.log.append("\(namespace): \(device.mode) \(name)")
  }

  func commit(_ changes: [NftChange], dryRun: Bool) throws(NftRefusal) {
    kernel.log.append("\(namespace): \(dryRun ? "check" : "commit") \(changes.count)")
    if !dryRun { transactions.append(changes) }
  }

  func nftables(_ wanted: [NftTableKey]?) throws(TransportError) -> NftObservation { observation }

  /// The state that these messages would have made, for kinds whose dumps look like their requests.
  func mirror(_ decoder: StateDecoder) throws -> NamespaceState {
    var dump = NamespaceDump()
    for message in messages {
      switch message.type {
      case .newLink where message.flags.contains(.create): dump.links.append(try LinkMessage(message))
      case .newAddress: dump.addresses.append(try AddressMessage(message))
      case .newRoute: dump.routes.append(try RouteMessage(message))
      case .newRule: dump.rules.append(try RuleMessage(message))
      case .newQdisc:
        var qdisc = try QdiscMessage(message)
        qdisc.handle = QdiscHandle(major: 0x8001)
        dump.qdiscs.append(qdisc)
      default: break
      }
    }
    let read = ReadNamespace(id: namespace, dump: dump)
    return decoder.decode(read, among: ReadNames([read], host: [])).owned
  }
}
