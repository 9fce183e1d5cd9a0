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
  /// their addresses only, one speaks for all, and so does one of the plain ports of a switch. What it refuses for another
  /// reason is the plan's mistake or the user's, and is found when the change is made.
  public mutating func run(_ state: LabState) -> [Refusal] {
    var shapes: Set<NamespaceState> = []
    var last: NamespaceState?
    let spaces = state.namespaces.filter { space in
      guard space.id != .host else { return false }
      let shape = space.shape
      // Most are like the one before them, which is seen at less cost.
      if shape == last { return false }
      last = shape
      return shapes.insert(shape).inserted
    }
    var changes: [Change] = []
    var needed = Set(spaces.map(\.id))
    for space in spaces {
      let spokenOf = space.linksSpokenOf
      var ports: Set<LinkState> = []
      for object in space.objects.dropFirst() {
        let path = object.path(in: space.id)
        guard !path.isNftables else { continue }
        if case .link(let link) = object {
          if case .veth = link.kind, !spokenOf.contains(link.name), !ports.insert(link.shape).inserted {
            continue
          }
          needed.formUnion(link.otherNamespaces)
        }
        changes.append(Change(path: path, operation: .create, before: nil, after: object, reason: ""))
      }
    }
    let made = state.namespaces.map(\.id).filter { $0 != .host && needed.contains($0) }
    do throws(NamespaceFailure) {
      try kernel.makeNamespaces(made.map { NewNamespace(id: $0, marks: ownership.marks(for: $0)) })
    } catch {
      refuse(StatePath(error.namespace), error.error)
      return refusals
    }
    for space in spaces { checkTables(of: space) }
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
        do throws(NftRefusal) {
          try channel.commit(table.sample.creation, dryRun: true)
        } catch {
          throw error.error
        }
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
        attempt(change) { (channel) throws(TransportError) in
          try channel.makeTunTap(link.name, index: link.index, device)
        }
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
      shape.links[index] = links[index].shape
      shape.links[index].name = links[index].name
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

extension NamespaceState {
  /// The devices that other objects stand on.
  fileprivate var linksSpokenOf: Set<InterfaceName> {
    var names = Set(links.compactMap(\.master))
    for link in links { if case .vlan(let vlan) = link.kind { names.insert(vlan.parent) } }
    names.formUnion(addresses.map(\.link))
    names.formUnion(routes.flatMap { $0.nextHops.compactMap(\.link) })
    names.formUnion(neighbors.map(\.link))
    names.formUnion(fdb.map(\.link))
    names.formUnion(qdiscs.map(\.link))
    return names
  }
}

extension LinkState {
  /// The device with everything the same that a kernel cannot care about.
  fileprivate var shape: LinkState {
    var shape = self
    shape.name = .loopback
    if case .veth = kind { shape.kind = .veth(peer: nil) }
    shape.mac = nil
    shape.index = nil
    shape.hostName = nil
    return shape
  }

  /// The namespaces that making it takes besides its own.
  fileprivate var otherNamespaces: [NamespaceID] {
    switch kind {
    case .veth(let peer): peer.map { [$0.namespace] } ?? []
    case .macvlan(let macvlan): macvlan.parent.map { [$0.namespace] } ?? []
    default: []
    }
  }
}

extension IPFamily {
  fileprivate var unspecified: IPAddress { self == .ipv4 ? .v4(.any) : .v6(.any) }
}
