// SPDX-License-Identifier: GPL-2.0-or-later

// A CPU's kernel of our own with its part of a lab in it: the stack, and the names of its namespaces. Only the thread that
// runs it may touch it, or whoever that thread has handed it to.

import Glibc
import LabCore
import LinuxObjects
import NetStack
import NetTypes
import Nftables
import Rtnetlink

final class EmulatedKernel {
  let lab: LabName
  let cpu: Int
  /// Where the lab's namespaces are, those of other CPUs included.
  let placement: Placement
  var stack: Kernel
  /// What /run/netns is to the host's kernel.
  private(set) var namespaces: [NamespaceID: NamespaceIndex] = [:]
  /// How many namespaces were ever made, and which of them those are that are there.
  private var made: UInt64 = 0
  private var cookies: [NamespaceID: UInt64] = [:]
  /// The devices of the lab as they were last seen or made.
  var tables: [NamespaceID: LinkTable] = [:]
  var waiters = Waiters()
  var followers = Followers()
  var captures = Captures()
  /// What the time of day is when this kernel's clock stands at nothing; 0 where its time is its own.
  var epoch: Int64 = 0
  var connectionFollowers = ConnectionFollowers()
  var edges = HostEdges()
  /// How many tasks use the lab: whoever made it, and who entered since.
  var participants = 1

  /// Whether nobody is at work, so that only time brings something new.
  var allTasksWait: Bool { waiters.tasks >= participants }

  init(lab: LabName, _ options: Kernel.Options, _ placement: Placement = Placement(), now: Instant) {
    self.lab = lab
    self.placement = placement
    cpu = options.cpu
    stack = Kernel(options, now: now)
  }

  func index(of namespace: NamespaceID) throws(TransportError) -> NamespaceIndex {
    if let index = namespaces[namespace] { return index }
    throw TransportError(
      errno: ENOENT,
      text: namespace == .host
        ? "an emulated lab has no way into the host's network" : "the lab has no namespace \(namespace)")
  }

  /// A number that no other namespace of the lab has had: that of the CPU above, that of the namespace below.
  func cookie(of namespace: NamespaceID) throws(TransportError) -> UInt64 {
    _ = try index(of: namespace)
    return UInt64(truncatingIfNeeded: cpu) << 48 | (cookies[namespace] ?? 0)
  }

  func channel(to namespace: NamespaceID) throws(TransportError) -> EmulatedChannel {
    EmulatedChannel(kernel: self, namespace: try index(of: namespace), machine: nil)
  }

  func scratch() throws(TransportError) -> EmulatedChannel {
    // A namespace of its own is what an empty kernel is; nothing of it stays.
    let kernel = EmulatedKernel(lab: lab, .throwaway, now: stack.now)
    do throws(KernelError) {
      return EmulatedChannel(
        kernel: kernel, namespace: try kernel.stack.makeNamespace(), machine: nil)
    } catch {
      throw TransportError(error)
    }
  }

  func make(_ new: NewNamespace) throws(TransportError) {
    let index: NamespaceIndex
    do throws(KernelError) { index = try stack.makeNamespace() } catch { throw TransportError(error) }
    let refusals = try EmulatedChannel(kernel: self, namespace: index, machine: nil).transact(
      new.marks)
    if let refusal = refusals.compactMap({ $0 }).first {
      stack.removeNamespace(index)
      throw refusal
    }
    namespaces[new.id] = index
    made += 1
    cookies[new.id] = made
    if !followers.isEmpty { stack.setWatched(true, index) }
  }

  func remove(_ id: NamespaceID) {
    removeEdges { $0.link.namespace == id }
    cookies[id] = nil
    if let index = namespaces.removeValue(forKey: id) { remove(index) }
  }

  private func remove(_ index: NamespaceIndex) {
    for socket in stack.sockets(in: index) { closeSocket(socket.socket) }
    stack.removeNamespace(index)
  }

  /// Takes the lab away.
  func removeAll() {
    removeEdges { _ in true }
    for id in namespaces.keys.sorted() {
      if let index = namespaces[id] { remove(index) }
    }
    namespaces = [:]
    cookies = [:]
  }
}

extension Kernel.Options {
  /// For a kernel that is only asked what it knows: no packet ever runs in it.
  static let throwaway = Kernel.Options(seed: 0, pool: .init(packets: 64, largeBlocks: 1))
}

/// A channel into a namespace of an emulated kernel. Of use only on the kernel's thread.
struct EmulatedChannel: Transport {
  let kernel: EmulatedKernel
  let namespace: NamespaceIndex
  /// All CPUs, where the lab as a whole is worked on.
  let machine: EmulatedMachine?

  var handle: Int32 { Kernel.descriptor(of: namespace, cpu: kernel.cpu) }

  func transact(_ messages: [NetlinkMessage]) throws(TransportError) -> [TransportError?] {
    messages.map { message in
      do throws(KernelError) {
        if let machine {
          try machine.perform(message, in: namespace, of: kernel.cpu)
        } else {
          try kernel.stack.perform(message, in: namespace)
        }
        return nil
      } catch {
        return TransportError(error)
      }
    }
  }

  func dump(_ request: NetlinkMessage) throws(TransportError) -> [NetlinkMessage] {
    do throws(KernelError) {
      return try kernel.stack.dump(request, in: namespace)
    } catch {
      throw TransportError(error)
    }
  }

  func ask(_ request: NetlinkMessage) throws(TransportError) -> NetlinkMessage {
    guard let answer = try dump(request).first else { throw TransportError(errno: ENOENT) }
    return answer
  }

  // MARK: Settings

  func readSysctl(_ name: String) throws(TransportError) -> String? {
    kernel.stack.sysctl(name, in: namespace)
  }

  func writeSysctl(_ setting: SysctlState) throws(TransportError) {
    do throws(KernelError) {
      try kernel.stack.setSysctl(setting.name, to: setting.value, in: namespace)
    } catch {
      guard error.errno == ENOENT else { throw TransportError(error) }
      throw TransportError(
        errno: ENOENT, text: "the emulated kernel has no setting \(setting.name)")
    }
  }

  func makeTunTap(
    _ name: InterfaceName, index: UInt32?, _ device: TunTapState
  ) throws(TransportError) {
    let options = TunTap(
      isTap: device.mode == .tap, owner: device.owner, group: device.group, isMultiQueue: device.multiQueue)
    do throws(KernelError) {
      _ = try kernel.stack.makeTunTap(name, in: namespace, options, number: Int32(clamping: index ?? 0))
    } catch {
      throw TransportError(error)
    }
  }

  // MARK: nftables

  func commit(_ changes: [NftChange], dryRun: Bool) throws(NftRefusal) {
    do throws(NftTransactionError) {
      try kernel.stack.commit(changes, dryRun: dryRun, in: namespace)
    } catch {
      throw NftRefusal(index: error.index, error: TransportError(error.error))
    }
  }

  func nftables(_ wanted: [NftTableKey]?) throws(TransportError) -> NftObservation {
    kernel.stack.nftables(wanted, in: namespace)
  }
}

extension TransportError {
  init(_ error: KernelError) { self.init(errno: error.errno, text: error.message) }
}
