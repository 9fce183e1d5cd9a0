// SPDX-License-Identifier: GPL-2.0-or-later

// A channel of LinuxObjects into one namespace of the host's kernel. Messages go through a socket that stays open;
// settings and devices made by ioctl need the thread itself in the namespace.

import Glibc
import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import SystemPackage

/// A namespace that is held open, and the socket into it.
struct OpenNamespace: Sendable {
  let namespace: KernelNamespace
  let socket: NetlinkSocket
}

/// A channel into an open namespace. Of use only on the thread of its visitor.
final class HostChannel: Transport {
  let open: OpenNamespace
  private let kernel: HostThread
  /// For a namespace that was made just now: what it began with.
  private let initial: InitialSettings?

  init(_ open: OpenNamespace, _ kernel: HostThread, initial: InitialSettings? = nil) {
    self.open = open
    self.kernel = kernel
    self.initial = initial
  }

  var handle: Int32 { open.namespace.descriptor.rawValue }

  func transact(_ messages: [NetlinkMessage]) throws(TransportError) -> [TransportError?] {
    do throws(NetlinkError) {
      return try open.socket.transact(messages).map { $0.error.map { TransportError($0) } }
    } catch {
      throw TransportError(error)
    }
  }

  func dump(_ request: NetlinkMessage) throws(TransportError) -> [NetlinkMessage] {
    do throws(NetlinkError) { return try open.socket.dump(request) } catch { throw TransportError(error) }
  }

  func ask(_ request: NetlinkMessage) throws(TransportError) -> NetlinkMessage {
    do throws(NetlinkError) {
      let outcome = try open.socket.transact([request])[0]
      if let error = outcome.error { throw error }
      guard let answer = outcome.answers.first else { throw NetlinkError(.noAnswer, "asking the kernel") }
      return answer
    } catch {
      throw TransportError(error)
    }
  }

  /// The kernel's number of the namespace.
  func cookie() throws(TransportError) -> UInt64 {
    do throws(NetlinkError) { return try open.socket.namespaceCookie() } catch { throw TransportError(error) }
  }

  /// A file of /proc/net, as this namespace has it.
  func readNetworkFile(_ name: String) throws(TransportError) -> String {
    try kernel.enter(open.namespace)
    do throws(NetlinkError) { return try kernel.visitor.readNetworkFile(name) } catch {
      throw TransportError(error)
    }
  }

  /// The sockets of one family and protocol; none where the kernel was built without telling them.
  func sockets(_ family: IPFamily, protocol number: UInt8) throws(TransportError) -> [SocketDiagnosis] {
    try kernel.enter(open.namespace)
    do throws(NetlinkError) {
      let socket = try NetlinkSocket(.socketDiagnosis, label: open.namespace.label)
      return try socket.dump(SocketDiagnosis.dump(family, protocol: number)).map {
        (message) throws(NetlinkError) in
        do throws(NetlinkDecodingError) { return try SocketDiagnosis(message) } catch {
          throw NetlinkError(.malformedAnswer, "reading sockets", detail: error.description)
        }
      }
    } catch {
      if error.errno == .noSuchFileOrDirectory { return [] }
      throw TransportError(error)
    }
  }

  // MARK: Settings

  func readSysctl(_ name: String) throws(TransportError) -> String? {
    try kernel.enter(open.namespace)
    do throws(NetlinkError) {
      return try kernel.visitor.readSysctl(name)
    } catch {
      if error.errno == .noSuchFileOrDirectory { return nil }
      throw TransportError(error)
    }
  }

  func writeSysctl(_ setting: SysctlState) throws(TransportError) {
    try kernel.refuse(.sysctl(setting.name, namespace: open.namespace.label))
    try kernel.enter(open.namespace)
    let read = { () throws(TransportError) in try self.readSysctl(setting.name) }
    if let initial, try initial.has(setting, in: open.namespace, reading: read) { return }
    do throws(NetlinkError) { try kernel.visitor.writeSysctl(setting.name, setting.value) } catch {
      // Some settings may be read but not written in a namespace: what has the value already needs no writing.
      if let value = try? readSysctl(setting.name), SysctlState.normalized(value) == setting.value { return }
      throw TransportError(error)
    }
  }

  func makeTunTap(
    _ name: InterfaceName, index: UInt32?, _ device: TunTapState
  ) throws(TransportError) {
    try kernel.refuse(.makeTunTap(name.text, namespace: open.namespace.label))
    try kernel.enter(open.namespace)
    var tun = TunDevice(name, device.mode == .tun ? .tun : .tap)
    tun.owner = device.owner
    tun.group = device.group
    tun.multiQueue = device.multiQueue
    tun.index = index
    do throws(NetlinkError) { try kernel.visitor.makeTun(tun) } catch { throw TransportError(error) }
  }

  // MARK: nftables

  func commit(_ changes: [NftChange], dryRun: Bool) throws(NftRefusal) {
    let socket: NftablesSocket
    do throws(TransportError) {
      if !dryRun { try kernel.refuse(.nftables(changes, namespace: open.namespace.label)) }
      socket = try nftablesSocket()
    } catch {
      throw NftRefusal(index: nil, error: error)
    }
    do throws(NftablesError) {
      if dryRun { try socket.check(changes) } else { try socket.apply(changes) }
    } catch {
      throw NftRefusal(index: error.failures.first?.index, error: TransportError(error))
    }
  }

  func nftables(_ wanted: [NftTableKey]?) throws(TransportError) -> NftObservation {
    let socket = try nftablesSocket()
    do throws(NftablesError) {
      // Where nothing was ever committed, nothing is to be read.
      if try socket.generation() == Self.firstGeneration { return NftObservation() }
      return try socket.observe(only: wanted?.count == 1 ? wanted?.first : nil)
    } catch {
      throw TransportError(error)
    }
  }

  /// The ruleset's generation in a new namespace (nf_tables_init_net).
  private static let firstGeneration: UInt32 = 1

  private func nftablesSocket() throws(TransportError) -> NftablesSocket {
    try kernel.enter(open.namespace)
    do throws(NftablesError) {
      return try NftablesSocket(label: open.namespace.label)
    } catch {
      throw TransportError(error)
    }
  }

  // MARK: Connections

  /// A socket to another family of this namespace than the channel's own.
  func socket(_ family: NetlinkSocket.Family) throws(TransportError) -> NetlinkSocket {
    try kernel.enter(open.namespace)
    do throws(NetlinkError) { return try NetlinkSocket(family, label: open.namespace.label) } catch {
      throw TransportError(error)
    }
  }

  /// Hears what becomes of this namespace's connections.
  func conntrackMonitor() throws(TransportError) -> NetlinkMonitor {
    try kernel.enter(open.namespace)
    do throws(NetlinkError) {
      return try NetlinkMonitor(.netfilter, groups: NetlinkMonitor.conntrackGroups)
    } catch {
      throw TransportError(error)
    }
  }

  // MARK: Other namespaces

  /// The numbers by which this namespace knows others, for those that it knows.
  func identifiers(of others: [(id: NamespaceID, handle: Int32)]) throws(TransportError) -> [Int32:
    NamespaceID]
  {
    var result: [Int32: NamespaceID] = [:]
    do throws(NetlinkError) {
      let outcomes = try open.socket.transact(others.map { NamespaceIDMessage.query(descriptor: $0.handle) })
      for (other, outcome) in zip(others, outcomes) {
        guard let answer = outcome.answers.first, let message = try? NamespaceIDMessage(answer),
          let identifier = message.identifier, identifier >= 0
        else { continue }
        result[identifier] = other.id
      }
    } catch {
      throw TransportError(error)
    }
    return result
  }
}

extension TransportError {
  init(_ error: NetlinkError) {
    let text = error.text ?? (error.errno == nil ? error.description : nil)
    self.init(errno: error.errno?.rawValue ?? 0, text: text)
  }

  init(_ error: NftablesError) {
    if let failure = error.failures.first {
      var text = failure.reason
      if let expression = failure.expression { text += " at \(expression)" }
      self.init(errno: failure.errno.rawValue, text: text)
    } else {
      self.init(errno: error.errno?.rawValue ?? 0, text: error.text ?? error.description)
    }
  }
}
