// SPDX-License-Identifier: GPL-2.0-or-later

// What a kernel does not know of a lab, found out by doing all of the lab to a kernel that is thrown away afterwards. For
// kernels of our own, of which one more costs nothing: no second list says what they can do.

import Glibc
public import LabCore
import NetTypes
import Nftables
import Rtnetlink

/// A lab made on an empty kernel only to see what the kernel says.
public struct Rehearsal<Kernel: LabKernel> {
  /// Something that the kernel does not know.
  public struct Refusal: Sendable {
    /// The first object that needs it.
    public var path: StatePath
    public var error: TransportError
  }

  private let kernel: Kernel
  private let ownership: Ownership
  private var refusals: [Refusal] = []
  private var known: Set<TransportError> = []

  /// - Parameter kernel: an empty one, which is of no use afterwards.
  public init(of lab: LabName, on kernel: Kernel) {
    self.kernel = kernel
    ownership = Ownership(lab: lab)
  }

  /// What the kernel does not know of the lab's own namespaces, each kind of refusal once. Of namespaces that differ in
  /// their addresses only, one speaks for all. What it refuses for another
  /// reason is the plan's mistake or the user's, and is found when the change is made.
  public mutating func run(_ state: LabState) -> [Refusal] {
    let spaces = state.namespaces.filter { $0.id != .host }
    do throws(NamespaceFailure) {
      try kernel.makeNamespaces(
        spaces.map { NewNamespace(id: $0.id, marks: ownership.marks(for: $0.id)) })
    } catch {
      refuse(StatePath(error.namespace), error.error)
      return refusals
    }
    var changes: [Change] = []
    var shapes: Set<NamespaceState> = []
    for space in spaces where shapes.insert(space.shape).inserted {
      checkTables(of: space)
      for object in space.objects.dropFirst() {
        let path = object.path(in: space.id)
        guard !path.isNftables else { continue }
        changes.append(Change(path: path, operation: .create, before: nil, after: object, reason: ""))
      }
    }
    carryOut(BatchOrder.sorted(changes))
    return refusals
  }

  private mutating func refuse(_ path: StatePath, _ error: TransportError) {
    let isUnknown =
      [EOPNOTSUPP, EPROTONOSUPPORT, EAFNOSUPPORT].contains(error.errno)
      || error.errno == ENOENT && path.kind == .sysctl
    guard isUnknown, known.insert(error).inserted else { return }
    refusals.append(Refusal(path: path, error: error))
  }

  private mutating func checkTables(of space: NamespaceState) {
    for table in space.tables {
      do throws(TransportError) {
        let channel = try kernel.channel(to: space.id)
        do throws(NftRefusal) { try channel.commit(table.creation, dryRun: true) } catch { throw error.error }
      } catch {
        refuse(StatePath(space.id, .nftTable, key: [table.key.description]), error)
      }
    }
  }

  private mutating func carryOut(_ changes: [Change]) {
    var encoder = BatchEncoder(
      changes, ownership: ownership, tables: [:], source: KernelSource(kernel: kernel))
    for (position, change) in changes.enumerated() {
      if case .link(let link) = change.after, case .tuntap(let device) = link.kind {
        run(encoder.takeRounds(), changes)
        attempt(change) { (channel) throws(TransportError) in try channel.makeTunTap(link.name, device) }
        encoder.tables[change.path.namespace] = nil
      }
      // What stands on something that was refused has no message; the refusal has been noted.
      try? encoder.encode(position)
    }
    encoder.finish()
    run(encoder.takeRounds(), changes)
  }

  private mutating func run(_ rounds: [Round], _ changes: [Change]) {
    for round in rounds {
      for namespace in round.order {
        for step in round.steps[namespace, default: []] {
          attempt(changes[step.change]) { (channel) throws(TransportError) in
            switch step.action {
            case .message(let message):
              if let refusal = try channel.transact([message]).first ?? nil { throw refusal }
            case .sysctl(let setting): try channel.writeSysctl(setting)
            case .nftables: break
            }
          }
        }
      }
    }
  }

  private mutating func attempt(
    _ change: Change, _ body: (Kernel.Channel) throws(TransportError) -> Void
  ) {
    do throws(TransportError) {
      try body(kernel.channel(to: change.path.namespace))
    } catch {
      refuse(change.path, error)
    }
  }
}

extension NamespaceState {
  /// The namespace with everything the same that a kernel cannot care about: which addresses there are, not of what kind.
  fileprivate var shape: NamespaceState {
    var shape = self
    shape.id = .switch
    for index in links.indices {
      if case .veth = links[index].kind { shape.links[index].kind = .veth(peer: nil) }
      shape.links[index].mac = nil
      shape.links[index].index = nil
      shape.links[index].hostName = nil
    }
    for index in addresses.indices {
      shape.addresses[index].prefix = .everything(addresses[index].prefix.family)
    }
    for index in routes.indices {
      shape.routes[index].destination = .everything(routes[index].destination.family)
      for hop in routes[index].nextHops.indices {
        shape.routes[index].nextHops[hop].gateway = routes[index].nextHops[hop].gateway?.family.unspecified
      }
    }
    for index in neighbors.indices {
      shape.neighbors[index].address = neighbors[index].address.family.unspecified
      shape.neighbors[index].mac = nil
    }
    return shape
  }
}

extension IPFamily {
  fileprivate var unspecified: IPAddress { self == .ipv4 ? .v4(.any) : .v6(.any) }
}
