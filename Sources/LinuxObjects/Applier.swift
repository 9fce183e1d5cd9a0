// SPDX-License-Identifier: GPL-2.0-or-later

// Carries out the batches of a plan on a kernel: namespaces in bulk, then the rounds of messages that the encoder makes
// of the changes. Stops at the first error and names its object; what came before it stays.

public import LabCore
import NetTypes
import Nftables
public import Rtnetlink

/// Applies batches to one lab. It remembers the devices that it has made, from batch to batch.
public struct Applier<Kernel: LabKernel> {
  public let lab: LabName
  private let kernel: Kernel
  private let ownership: Ownership
  private var tables: [NamespaceID: LinkTable] = [:]

  public init(lab: LabName, kernel: Kernel) {
    self.lab = lab
    self.kernel = kernel
    ownership = Ownership(lab: lab)
  }

  /// Takes over what an observation saw, so that names need not be looked up again.
  public mutating func learn(_ tables: [NamespaceID: LinkTable]) { self.tables = tables }

  /// The devices as they are known after what was applied.
  public var known: [NamespaceID: LinkTable] { tables }

  /// Carries out a batch. After an error nothing that was known of devices is trusted any more.
  public mutating func apply(_ batch: Plan.Batch) throws(DatapathError) {
    let changes = BatchOrder.sorted(batch.changes)
    do throws(DatapathError) {
      try validate(changes)
      try makeNamespaces(changes)
      try configure(changes)
      try removeNamespaces(changes)
    } catch {
      tables = [:]
      throw error
    }
  }

  // MARK: Namespaces

  private mutating func makeNamespaces(_ changes: [Change]) throws(DatapathError) {
    let creations = Self.namespaceChanges(.create, changes)
    guard !creations.isEmpty else { return }
    let new = creations.map {
      NewNamespace(id: $0.path.namespace, marks: ownership.marks(for: $0.path.namespace))
    }
    do throws(NamespaceFailure) {
      try kernel.makeNamespaces(new)
    } catch {
      throw failure(error, creations, "create")
    }
    for namespace in new { tables[namespace.id] = LinkTable() }
  }

  private mutating func removeNamespaces(_ changes: [Change]) throws(DatapathError) {
    let deletions = Self.namespaceChanges(.delete, changes)
    guard !deletions.isEmpty else { return }
    do throws(NamespaceFailure) {
      try kernel.removeNamespaces(deletions.map(\.path.namespace))
    } catch {
      throw failure(error, deletions, "remove")
    }
    // Pairs have gone from other namespaces too.
    tables = [:]
  }

  /// By their places: a change is large, and nearly all of them are others.
  private static func namespaceChanges(_ operation: Change.Operation, _ changes: [Change]) -> [Change] {
    changes.indices.filter {
      changes[$0].path.kind == .namespace && changes[$0].operation == operation
        && changes[$0].path.namespace != .host
    }.map { changes[$0] }
  }

  private func failure(_ failure: NamespaceFailure, _ changes: [Change], _ verb: StaticString)
    -> DatapathError
  {
    guard let change = changes.first(where: { $0.path.namespace == failure.namespace }) ?? changes.first
    else {
      return DatapathError(.bug, operation: "\(verb) a network namespace", cause: failure.error.cause)
    }
    return DatapathError(failure.error, doing: verb, change: change)
  }

  // MARK: Messages

  private mutating func configure(_ changes: [Change]) throws(DatapathError) {
    var encoder = BatchEncoder(
      changes, ownership: ownership, tables: tables, source: KernelSource(kernel: kernel))
    for position in changes.indices {
      if changes[position].path.kind == .link, let device = Self.tunTap(changes[position]),
        !encoder.doomedNamespaces.contains(changes[position].path.namespace)
      {
        // Made by ioctl: what comes before it must be done, its number is looked up.
        try run(encoder.takeRounds(), changes)
        try makeTunTap(device, changes[position], &encoder)
      }
      do throws(EncodingFailure) { try encoder.encode(position) } catch {
        if case .missingLink = error, changes[position].operation == .delete { continue }
        throw Self.error(error, changes[position])
      }
    }
    encoder.finish()
    try run(encoder.takeRounds(), changes)
    tables = encoder.tables
  }

  private static func tunTap(_ change: Change) -> LinkState? {
    guard change.operation == .create || change.operation == .replace, case .link(let link) = change.after,
      case .tuntap = link.kind
    else { return nil }
    return link
  }

  private func makeTunTap(
    _ link: LinkState, _ change: Change, _ encoder: inout BatchEncoder<KernelSource<Kernel>>
  ) throws(DatapathError) {
    guard case .tuntap(let device) = link.kind else { return }
    let namespace = change.path.namespace
    do throws(TransportError) {
      let channel = try kernel.channel(to: namespace)
      if change.operation == .replace {
        let old = LinkMessage(name: link.name.text)
        if let refusal = try channel.transact([old.request(.delete)])[0] { throw refusal }
      }
      try channel.makeTunTap(link.name, index: link.index, device)
    } catch {
      throw DatapathError(error, doing: "create", change: change)
    }
    encoder.tables[namespace] = nil
  }

  private static func error(_ failure: EncodingFailure, _ change: Change) -> DatapathError {
    switch failure {
    case .transport(let error): DatapathError(error, doing: "prepare", change: change)
    case .missingLink(let link, let namespace):
      DatapathError(
        .notFound, operation: "\(change.operation.rawValue) \(change.path.noun)", path: change.path,
        cause: "device \(link) is not in \(namespace)",
        remedy: "run 'netforge up' again: it was removed by hand")
    case .impossible(let reason):
      DatapathError(
        .bug, operation: "\(change.operation.rawValue) \(change.path.noun)", path: change.path, cause: reason,
        remedy: "please report it")
    }
  }

  private func run(_ rounds: [Round], _ changes: [Change]) throws(DatapathError) {
    for round in rounds {
      let steps = round.steps
      try kernel.withChannels(to: round.order) { (namespace, channel) throws(DatapathError) in
        try Self.run(steps[namespace, default: []], channel, changes)
      } unreachable: { namespace, error in
        DatapathError(
          .unavailable, operation: "reach a network namespace", path: StatePath(namespace),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
  }

  /// Does the steps of one namespace in their order, messages that stand together in one go.
  private static func run(
    _ steps: [Step], _ channel: Kernel.Channel, _ changes: [Change]
  ) throws(DatapathError) {
    var rest = steps[...]
    while let step = rest.first {
      switch step.action {
      case .message:
        let run = rest.prefix { if case .message = $0.action { true } else { false } }
        try send(run, channel, changes)
        rest = rest.dropFirst(run.count)
      case .sysctl(let setting):
        do throws(TransportError) { try channel.writeSysctl(setting) } catch {
          throw DatapathError(error, doing: step.verb, change: changes[step.change])
        }
        rest = rest.dropFirst()
      case .nftables:
        let run = rest.prefix { if case .nftables = $0.action { true } else { false } }
        try commit(run.map { changes[$0.change] }, channel, dryRun: false)
        rest = rest.dropFirst(run.count)
      }
    }
  }

  private static func send(
    _ steps: ArraySlice<Step>, _ channel: Kernel.Channel, _ changes: [Change]
  ) throws(DatapathError) {
    var messages: [NetlinkMessage] = []
    messages.reserveCapacity(steps.count)
    for step in steps {
      if case .message(let message) = step.action { messages.append(message) }
    }
    guard let first = steps.first else { return }
    let refusals: [TransportError?]
    do throws(TransportError) { refusals = try channel.transact(messages) } catch {
      throw DatapathError(error, doing: first.verb, change: changes[first.change])
    }
    for (step, refusal) in zip(steps, refusals) {
      guard let refusal else { continue }
      let change = changes[step.change]
      // The kernel's cascades, or another change, may have taken along what was to be deleted.
      if change.operation == .delete, refusal.meansAbsence { continue }
      throw DatapathError(refusal, doing: step.verb, change: change)
    }
  }

  // MARK: nftables

  /// Asks the kernel about every transaction of the batch before anything is changed.
  private func validate(_ changes: [Change]) throws(DatapathError) {
    var order: [NamespaceID] = []
    var parts: [NamespaceID: [Change]] = [:]
    for position in changes.indices where changes[position].path.isNftables {
      let change = changes[position]
      // A netdev table's chains name devices that the same batch may bring.
      if (change.after ?? change.before)?.tableKey?.family == .netdev { continue }
      if parts[change.path.namespace] == nil { order.append(change.path.namespace) }
      parts[change.path.namespace, default: []].append(change)
    }
    guard !order.isEmpty else { return }
    let dying = Set(Self.namespaceChanges(.delete, changes).map(\.path.namespace))
    let coming = Set(Self.namespaceChanges(.create, changes).map(\.path.namespace))
    var scratch: Kernel.Channel?
    for namespace in order where !dying.contains(namespace) {
      guard let part = parts[namespace], let first = part.first else { continue }
      let channel: Kernel.Channel
      do throws(TransportError) {
        if coming.contains(namespace) {
          if let known = scratch { channel = known } else { channel = try kernel.scratch() }
          scratch = channel
        } else {
          channel = try kernel.channel(to: namespace)
        }
      } catch {
        throw DatapathError(error, doing: "check", change: first)
      }
      try Self.commit(part, channel, dryRun: true)
    }
  }

  private static func commit(
    _ changes: [Change], _ channel: Kernel.Channel, dryRun: Bool
  ) throws(DatapathError) {
    guard let first = changes.first else { return }
    var encoder = NftEncoder(changes)
    if encoder.needsHandles {
      do throws(TransportError) {
        encoder.handles = NftRuleHandles(try channel.nftables(encoder.tables))
      } catch {
        throw DatapathError(error, doing: "read before changing it the", change: first)
      }
    }
    let transaction = encoder.transaction()
    guard !transaction.steps.isEmpty else { return }
    do throws(NftRefusal) { try channel.commit(transaction.steps, dryRun: dryRun) } catch {
      let position = error.index.flatMap {
        transaction.origins.indices.contains($0) ? transaction.origins[$0] : nil
      }
      throw DatapathError(error.error, doing: dryRun ? "check" : "change", change: changes[position ?? 0])
    }
  }
}

/// Lets an encoder look into the kernel.
struct KernelSource<Kernel: LabKernel>: EncoderSource {
  let kernel: Kernel

  func links(of namespace: NamespaceID) throws(TransportError) -> LinkTable {
    LinkTable(try kernel.channel(to: namespace).links())
  }

  func handle(of namespace: NamespaceID) throws(TransportError) -> Int32 {
    try kernel.channel(to: namespace).handle
  }
}

extension Transport {
  /// A dump of typed messages.
  func dump<Message: RtnetlinkMessage>(
    _ request: NetlinkMessage, as type: Message.Type
  ) throws(TransportError) -> [Message] {
    try dump(request).parsed()
  }

  /// The namespace's devices, without their counters.
  public func links() throws(TransportError) -> [LinkMessage] {
    try dump(LinkMessage.dump(extended: .skipStatistics), as: LinkMessage.self)
  }
}
