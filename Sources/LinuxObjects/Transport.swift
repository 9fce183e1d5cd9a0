// SPDX-License-Identifier: GPL-2.0-or-later

// What carries the words of this module to a kernel, be it Linux or one of our own: a channel into one namespace, and
// the kernel that has the channels. Everything else in here is without input and output.

public import LabCore
public import NetTypes
public import Nftables
public import Rtnetlink

/// A configuration channel into one network namespace.
public protocol Transport: SendableMetatype {
  /// Hands the messages over in one go, to take effect in their order. What became of each: nil when it was done. A
  /// refused message does not stop those behind it.
  /// - Throws: when it is not known what became of them.
  func transact(_ messages: [NetlinkMessage]) throws(TransportError) -> [TransportError?]
  /// All answers to a dump, of one point in time.
  func dump(_ request: NetlinkMessage) throws(TransportError) -> [NetlinkMessage]

  /// The answer to a question about one object.
  func ask(_ request: NetlinkMessage) throws(TransportError) -> NetlinkMessage

  /// The value of a setting, named as in `SysctlState`; nil when the kernel has none of that name.
  func readSysctl(_ name: String) throws(TransportError) -> String?
  func writeSysctl(_ setting: SysctlState) throws(TransportError)

  /// Makes a persistent tun or tap device. `index`: its number; nil for the next that is free.
  func makeTunTap(_ name: InterfaceName, index: UInt32?, _ device: TunTapState) throws(TransportError)

  /// Carries out the changes as one transaction, all of them or none; or only asks whether it could be done.
  func commit(_ changes: [NftChange], dryRun: Bool) throws(NftRefusal)
  /// The tables that `wanted` names, those that are there, with the handles of their rules.
  func nftables(_ wanted: [NftTableKey]?) throws(TransportError) -> NftObservation

  /// The namespace as messages in other channels name it (IFLA_NET_NS_FD).
  var handle: Int32 { get }
}

/// A kernel that a lab stands in.
public protocol LabKernel: SendableMetatype {
  associatedtype Channel: Transport

  /// The channel into a namespace of the lab.
  func channel(to namespace: NamespaceID) throws(TransportError) -> Channel
  /// A channel into an empty namespace that goes with the channel.
  func scratch() throws(TransportError) -> Channel
  /// Does the same in several namespaces, none of which relies on another: in their order, or at the same time. After a
  /// failure no more are begun; of several failures, that of the first namespace is thrown.
  func withChannels<Failure: Error>(
    to namespaces: [NamespaceID],
    _ body: @Sendable @escaping (NamespaceID, Channel) throws(Failure) -> Void,
    unreachable: @Sendable @escaping (NamespaceID, TransportError) -> Failure
  ) throws(Failure)
  /// Makes namespaces, each with the messages carried out in it before anybody can see it.
  func makeNamespaces(_ namespaces: [NewNamespace]) throws(NamespaceFailure)
  /// Takes namespaces away with all that is in them.
  func removeNamespaces(_ namespaces: [NamespaceID]) throws(NamespaceFailure)
}

extension LabKernel {
  public func withChannels<Failure: Error>(
    to namespaces: [NamespaceID],
    _ body: @Sendable @escaping (NamespaceID, Channel) throws(Failure) -> Void,
    unreachable: @Sendable @escaping (NamespaceID, TransportError) -> Failure
  ) throws(Failure) {
    for namespace in namespaces {
      let channel: Channel
      do throws(TransportError) { channel = try self.channel(to: namespace) } catch {
        throw unreachable(namespace, error)
      }
      try body(namespace, channel)
    }
  }
}

/// A namespace to be made.
public struct NewNamespace: Sendable {
  public var id: NamespaceID
  /// What marks it as the lab's.
  public var marks: [NetlinkMessage]

  public init(id: NamespaceID, marks: [NetlinkMessage]) {
    self.id = id
    self.marks = marks
  }
}

/// Why a request failed.
public struct TransportError: Error, Hashable, Sendable {
  /// The error's number; 0 when there is none, as with an answer that does not hold together.
  public var errno: Int32
  /// The kernel's own words, or ours when it never got there.
  public var text: String?

  public init(errno: Int32, text: String? = nil) {
    self.errno = errno
    self.text = text
  }
}

/// Why a namespace could not be made or removed.
public struct NamespaceFailure: Error, Hashable, Sendable {
  public var namespace: NamespaceID
  public var error: TransportError

  public init(namespace: NamespaceID, error: TransportError) {
    self.namespace = namespace
    self.error = error
  }
}

/// Why a transaction of nftables was not carried out.
public struct NftRefusal: Error, Hashable, Sendable {
  /// The first change that was refused; nil when it was the transaction as a whole.
  public var index: Int?
  public var error: TransportError

  public init(index: Int?, error: TransportError) {
    self.index = index
    self.error = error
  }
}
