// SPDX-License-Identifier: GPL-2.0-or-later

// The kernels of all CPUs as the one that a lab stands in: what changes the lab as a whole, or looks at it, has them to
// itself meanwhile (`Standstill`). To `LinuxObjects` it is a kernel like the host's.

import Glibc
import LabCore
import LinuxObjects
import NetStack
import NetTypes
import Rtnetlink

final class EmulatedMachine: LabKernel {
  let lab: LabName
  let kernels: [EmulatedKernel]
  private var placement: Placement { kernels[0].placement }

  /// - Parameter kernels: one a CPU, in their order.
  init(_ kernels: [EmulatedKernel]) {
    self.kernels = kernels
    lab = kernels[0].lab
  }

  /// The devices of the lab as they were last seen or made.
  var tables: [NamespaceID: LinkTable] {
    get { kernels[0].tables }
    set { kernels[0].tables = newValue }
  }

  func kernel(of namespace: NamespaceID) -> EmulatedKernel { kernels[placement.cpu(of: namespace)] }

  func channel(to namespace: NamespaceID) throws(TransportError) -> EmulatedChannel {
    let kernel = kernel(of: namespace)
    return EmulatedChannel(kernel: kernel, namespace: try kernel.index(of: namespace), machine: self)
  }

  func scratch() throws(TransportError) -> EmulatedChannel { try kernels[0].scratch() }

  func makeNamespaces(_ new: [NewNamespace]) throws(NamespaceFailure) {
    for namespace in new {
      do throws(TransportError) {
        let known = kernels.contains { $0.namespaces[namespace.id] != nil }
        guard !known else { throw TransportError(errno: EEXIST) }
        try kernels[placement.place(namespace.id)].make(namespace)
      } catch {
        if error.errno != EEXIST { placement.forget(namespace.id) }
        throw NamespaceFailure(namespace: namespace.id, error: error)
      }
    }
  }

  func removeNamespaces(_ doomed: [NamespaceID]) throws(NamespaceFailure) {
    for id in doomed {
      kernel(of: id).remove(id)
      placement.forget(id)
    }
  }

  /// Takes the lab away.
  func removeAll() {
    for kernel in kernels { kernel.removeAll() }
    placement.forgetAll()
    tables = [:]
  }

  // MARK: Requests

  /// Carries out one request. A pair whose ends are in namespaces of two CPUs crosses.
  func perform(
    _ request: NetlinkMessage, in namespace: NamespaceIndex, of cpu: Int
  ) throws(KernelError) {
    let asking = Machine.Namespace(cpu: cpu, index: namespace)
    // One that is for a single CPU, or for none that there is, its kernel answers.
    guard kernels.count > 1, let pair = Machine.PairRequest(request, in: asking),
      pair.first.cpu != pair.second.cpu,
      kernels.indices.contains(pair.first.cpu), kernels.indices.contains(pair.second.cpu)
    else {
      return try kernels[cpu].stack.perform(request, in: namespace)
    }
    let (near, far) = (kernels[pair.first.cpu], kernels[pair.second.cpu])
    let link = CrossLink()
    _ = try far.stack.makeCrossing(pair.peer, link, side: 1, in: pair.second.index)
    do throws(KernelError) {
      _ = try near.stack.makeCrossing(pair.message, link, side: 0, in: pair.first.index)
    } catch {
      try far.stack.perform(LinkMessage(name: pair.peer.name).request(.delete), in: pair.second.index)
      throw error
    }
  }

  /// Has every end of a pair know what the other has become, as it is on one CPU.
  func settle() {
    var isSettled = kernels.count == 1
    while !isSettled {
      isSettled = true
      for kernel in kernels where kernel.stack.poll(now: kernel.stack.now).called != 0 { isSettled = false }
    }
  }

  // MARK: Looking

  /// Asks about all that is in the lab.
  func read(_ scope: Scope) throws(TransportError) -> LabReading {
    var reading = LabReading()
    // Most namespaces are asked for the same settings as the one before them.
    var settings: (wanted: Set<String>, sorted: [String]) = ([], [])
    let ids = kernels.flatMap(\.namespaces.keys).sorted()
    for id in ids { reading.identifiers[try channel(to: id).handle] = id }
    for id in ids where scope.namespaces?.contains(id) != false {
      let wanted = scope.sysctls[id] ?? []
      if wanted != settings.wanted { settings = (wanted, wanted.sorted()) }
      let channel = try channel(to: id)
      let links = try channel.links()
      let answers = try NamespaceAnswers(
        reading: channel, links: links, sysctls: settings.sorted, nftTables: nil)
      reading.namespaces.append((id, answers))
      reading.names.add(links, of: id)
    }
    // Whoever changes the lab next looks again at what it changes.
    tables = [:]
    for (id, question) in scope.initial { reading.initial[id] = try question.answer(by: scratch()) }
    return reading
  }
}
