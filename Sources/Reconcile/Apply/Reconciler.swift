// SPDX-License-Identifier: GPL-2.0-or-later

// The way of `netforge up` and `netforge down` once the desired state is known: limitations, observation, plan, journal,
// batches, verification, record; and back by the same planner when something fails.

import Glibc
public import LabCore
public import NetTypes
import TopologyModel

/// Makes one lab as desired, on a datapath that it does not know.
public struct Reconciler: Sendable {
  /// What `up` does at the moment.
  public enum Stage: Hashable, Sendable {
    case limitations, observe, plan, journal
    /// A batch of the plan: its title and how many changes it has.
    case apply(String, Int)
    case verify, record, rollBack
  }

  /// What is known of the lab besides its state, and recorded with it.
  public struct Description: Sendable {
    public var datapath: DatapathKind
    public var sources: SourceMap
    public var allocations: Allocations
    /// Those that the lab's folder has; nil when it has none.
    public var previousAllocations: Allocations?
    /// The rendered topology.
    public var topology: [UInt8]
    public var topologyFile: String?

    public init(
      datapath: DatapathKind, sources: SourceMap = SourceMap(), allocations: Allocations = Allocations(),
      previousAllocations: Allocations? = nil, topology: [UInt8] = [], topologyFile: String? = nil
    ) {
      self.datapath = datapath
      self.sources = sources
      self.allocations = allocations
      self.previousAllocations = previousAllocations
      self.topology = topology
      self.topologyFile = topologyFile
    }
  }

  public let datapath: any Datapath
  public let folder: LabFolder
  /// What shall run in the lab, for the datapath to say whether it can.
  public var runtime: LabRuntime
  /// How long the kernel may take to settle after the last change.
  public var deadline: Interval = .seconds(10)
  /// How many times a plan that did not hold is made and applied again.
  public var corrections = 3
  public var progress: @Sendable (Stage) -> Void = { _ in }

  public init(datapath: any Datapath, folder: LabFolder, runtime: LabRuntime? = nil) {
    self.datapath = datapath
    self.folder = folder
    self.runtime = runtime ?? LabRuntime(lab: folder.lab)
  }

  // MARK: Plan

  /// What `up` would do. Changes nothing.
  public func plan(
    _ desired: LabState, sources: SourceMap = SourceMap(), recreating: Set<NamespaceID> = []
  ) async throws(ReconcileError) -> Plan {
    try await prepare(desired, sources: sources, recreating: recreating).plan
  }

  private struct Preparation {
    var observation: Observation
    /// What is desired, with what goes back because the topology does not say it any more.
    var target: LabState
    var plan: Plan
    var hostSettings: [String: String]
    var journal: Journal?
    var record: LabRecord?
  }

  private func prepare(
    _ desired: LabState, sources: SourceMap, recreating: Set<NamespaceID>
  ) async throws(ReconcileError) -> Preparation {
    let (settings, journal, record) = try reading { folder throws(LabFolderError) in
      (try folder.hostSettings(), try folder.journal(), try folder.record())
    }
    progress(.limitations)
    // Neither relies on the other, and both take their time; limitations are what is told first.
    async let answer = limitations(for: desired)
    let preparation = await look(
      desired, sources: sources, recreating: recreating, settings: settings, journal: journal, record: record)
    let limitations = try await answer.get()
    guard limitations.isEmpty else { throw .limitations(limitations, sources) }
    return try preparation.get()
  }

  private func limitations(for desired: LabState) async -> Result<[Limitation], ReconcileError> {
    do throws(DatapathError) {
      return .success(try await datapath.limitations(for: desired, running: runtime))
    } catch {
      return .failure(.datapath(error))
    }
  }

  /// Observes, and plans from what was seen.
  private func look(
    _ desired: LabState, sources: SourceMap, recreating: Set<NamespaceID>, settings: [String: String],
    journal: Journal?, record: LabRecord?
  ) async -> Result<Preparation, ReconcileError> {
    progress(.observe)
    let dropped = DroppedSettings(since: record, in: desired, recreated: recreating)
    var observation: Observation
    do throws(DatapathError) {
      observation = try await self.observation(
        of: desired, record: record, dropped: dropped, settings: settings)
    } catch {
      return .failure(.datapath(error))
    }
    if observation.hidesAgeing, let applied = appliedState() { observation.fillHidden(from: applied) }
    let target = dropped.restored(desired, after: observation)
    guard observation.foreign.isEmpty else { return .failure(.foreign(observation.foreign, sources)) }
    progress(.plan)
    let plan = Planner(hostSettings: settings, recreated: recreating).plan(target, from: observation)
    return .success(
      Preparation(
        observation: observation, target: target, plan: plan, hostSettings: settings, journal: journal,
        record: record))
  }

  /// The state that was last applied, made again from what the folder has of it.
  private func appliedState() -> LabState? {
    guard let rendered = try? folder.topology(), let declarations = try? Declarations(json: rendered),
      let topology = try? Topology(declarations)
    else { return nil }
    let allocations = (try? folder.allocations()) ?? Allocations()
    return try? Resolver(previous: allocations).resolve(topology).state
  }

  private func observation(
    of desired: LabState, record: LabRecord? = nil, dropped: DroppedSettings? = nil,
    settings: [String: String]
  ) async throws(DatapathError) -> Observation {
    var scope = Scope(covering: [desired])
    record?.widen(&scope)
    dropped?.ask(&scope, desired: desired)
    if !settings.isEmpty { scope.sysctls[.host, default: []].formUnion(settings.keys) }
    return try await datapath.observe(desired.lab, scope: scope)
  }

  // MARK: Up

  /// Makes the lab as desired and returns the plan that was carried out. `confirm` is asked only when the plan is
  /// disruptive. When something fails, the lab goes back to what it was, and the error says how far that came. When the
  /// task is cancelled, the work ends with the batch that is under way, as it would with the process.
  public func up(
    _ desired: LabState, as description: Description, recreating: Set<NamespaceID> = [],
    holding lock: LabLock,
    confirm: @Sendable (Plan) async -> Bool = { _ in true }
  ) async throws(ReconcileError) -> Plan {
    let prepared = try await prepare(desired, sources: description.sources, recreating: recreating)
    guard !Task.isCancelled else { throw .abandoned(desired.lab) }
    if prepared.plan.isEmpty {
      // Another lab may have set what this one relies on as well.
      _ = try recordHostSettings(prepared, desired: desired)
      if prepared.journal != nil {
        try writing { folder throws(LabFolderError) in try folder.setJournal(nil) }
      }
      try record(
        description, try drafts(of: desired, as: description, since: prepared.record, changed: false).get())
      return prepared.plan
    }
    if prepared.plan.isDisruptive, await !confirm(prepared.plan) { throw .declined(prepared.plan) }
    progress(.journal)
    let journal = try writeJournal(prepared, desired: desired)
    let settings = try recordHostSettings(prepared, desired: desired)
    // Worked out while the datapath is at work, written when the lab stands.
    async let entries = drafts(of: desired, as: description, since: prepared.record, changed: true)
    var stage = "observe"
    do throws(DatapathError) {
      for batch in prepared.plan.batches {
        try Self.goOn()
        stage = batch.title
        progress(.apply(batch.title, batch.changes.count))
        try await datapath.apply(batch, to: desired.lab)
      }
      stage = "verify"
      progress(.verify)
      try await settle(prepared.target, settings: settings)
    } catch {
      guard !Task.isCancelled else { throw .abandoned(desired.lab) }
      progress(.rollBack)
      let aftermath = await rollBack(to: journal, settings: settings)
      throw .failed(
        ApplyFailure(
          stage: stage, cause: error, location: error.path.flatMap { description.sources.location(of: $0) },
          aftermath: aftermath))
    }
    progress(.record)
    try record(description, try await entries.get())
    let kept = settings.filter { setting in
      desired[.host]?.sysctls.contains { $0.name == setting.key } ?? false
    }
    try writing { folder throws(LabFolderError) in
      if kept != prepared.hostSettings || kept != settings { try folder.setHostSettings(kept) }
      try folder.setJournal(nil)
    }
    return prepared.plan
  }

  /// Ends the work that nobody waits for.
  private static func goOn() throws(DatapathError) {
    guard !Task.isCancelled else {
      throw DatapathError(.unavailable, operation: "go on", cause: "whoever asked for it has gone")
    }
  }

  private func writeJournal(_ prepared: Preparation, desired: LabState) throws(ReconcileError) -> Journal {
    let before = prepared.observation.merged(for: desired)
    var touched: Set<NamespaceID> = []
    for batch in prepared.plan.batches {
      // Those of one namespace stand together.
      var last: NamespaceID?
      for change in batch.changes.indices where batch.changes[change].path.namespace != last {
        last = batch.changes[change].path.namespace
        touched.insert(batch.changes[change].path.namespace)
      }
    }
    // What hangs on devices of a touched namespace elsewhere may go with them.
    for space in before where touched.contains(space.id) {
      for link in space.links {
        if case .veth(let peer?) = link.kind { touched.insert(peer.namespace) }
      }
    }
    var journal = Journal(
      touched: Array(touched),
      before: LabState(lab: desired.lab, namespaces: before.filter { touched.contains($0.id) }),
      hostSettings: prepared.hostSettings, processID: getpid())
    if let left = prepared.journal { journal = left.extended(by: journal) }
    let written = journal
    try writing { folder throws(LabFolderError) in try folder.setJournal(written) }
    return journal
  }

  /// Writes down what the host's settings are before the lab changes them; those already written down stay.
  private func recordHostSettings(
    _ prepared: Preparation, desired: LabState
  ) throws(ReconcileError) -> [String: String] {
    guard let host = desired[.host], !host.sysctls.isEmpty else { return prepared.hostSettings }
    var settings = prepared.hostSettings
    let seen =
      prepared.observation.owned[.host]?.sysctls ?? prepared.observation.unmarked[.host]?.sysctls ?? []
    for sysctl in seen
    where settings[sysctl.name] == nil && host.sysctls.contains(where: { $0.name == sysctl.name }) {
      settings[sysctl.name] = sysctl.value
    }
    let all = settings
    if all != prepared.hostSettings {
      try writing { folder throws(LabFolderError) in try folder.setHostSettings(all) }
    }
    return settings
  }

  /// What is new in the lab's folder, besides the topology, when it stands as desired.
  private func drafts(
    of desired: LabState, as description: Description, since known: LabRecord?, changed: Bool
  ) -> Result<[LabFolder.Draft], ReconcileError> {
    var drafts: [LabFolder.Draft] = []
    var record = LabRecord(
      datapath: description.datapath, state: desired, topologyFile: description.topologyFile,
      time: Int64(time(nil)))
    if !changed, let known { record.time = known.time }
    do throws(LabFolderError) {
      if description.previousAllocations != description.allocations {
        drafts.append(try folder.draft(of: description.allocations))
      }
      if record != known { drafts.append(try folder.draft(of: record)) }
    } catch {
      return .failure(.folder(error))
    }
    return .success(drafts)
  }

  private func record(
    _ description: Description, _ drafts: [LabFolder.Draft]
  ) throws(ReconcileError) {
    try writing { folder throws(LabFolderError) in
      if try folder.topology() != description.topology { try folder.setTopology(description.topology) }
      for draft in drafts { try folder.write(draft) }
    }
  }

  /// Observes until nothing differs. What still differs is planned and applied again, a bounded number of times; then
  /// only watched until the deadline.
  private func settle(_ desired: LabState, settings: [String: String]) async throws(DatapathError) {
    let clock = datapath.clock
    let end = clock.now() + deadline
    var pause = Interval.milliseconds(2)
    var attempts = 0
    var previous: Plan?
    while true {
      try Self.goOn()
      let observation = try await observation(of: desired, settings: settings)
      let rest = Planner(hostSettings: settings).plan(desired, from: observation)
      if rest.isEmpty { return }
      if rest == previous, attempts < corrections {
        // It does not go away by itself.
        attempts += 1
        previous = nil
        for batch in rest.batches { try await datapath.apply(batch, to: desired.lab) }
        continue
      }
      previous = rest
      guard clock.now() < end else {
        let first = rest.changes.first
        throw DatapathError(
          .timeout, operation: "bring the lab to rest", path: first?.path,
          cause: "\(rest.summary) still after \(deadline): "
            + rest.changes.prefix(3).map { "\($0.path) (\($0.reason))" }.joined(separator: ", "),
          remedy: "something else may be changing the lab's namespaces; `netforge plan` shows what differs")
      }
      await clock.sleep(until: clock.now() + pause)
      pause = min(Interval(nanoseconds: pause.nanoseconds * 2), .milliseconds(200))
    }
  }

  // MARK: Back

  /// Goes back to what the journal says, by the same planner.
  private func rollBack(to journal: Journal, settings: [String: String]) async -> ApplyFailure.Aftermath {
    let touched = Set(journal.touched)
    // Every setting that was recorded goes back, those included that the lab had not touched before.
    var target = journal.before
    for index in target.namespaces.indices where target.namespaces[index].id == .host {
      target.namespaces[index].sysctls.removeAll {
        settings[$0.name] != nil && journal.hostSettings[$0.name] == nil
      }
    }
    let planner = Planner(hostSettings: settings)
    var failure: DatapathError?
    var rest = Plan(lab: target.lab)
    for attempt in 0...corrections {
      if attempt > 1 {
        let clock = MonotonicClock()
        await clock.sleep(until: clock.now() + .milliseconds(Int64(20 * attempt)))
      }
      do throws(DatapathError) {
        var observation = try await observation(of: target, settings: settings)
        observation.owned.namespaces.removeAll { !touched.contains($0.id) }
        observation.unmarked.namespaces.removeAll { !touched.contains($0.id) }
        rest = planner.plan(target, from: observation)
        if rest.isEmpty { return finish(journal) }
        for batch in rest.batches { try await datapath.apply(batch, to: target.lab) }
        failure = nil
      } catch {
        failure = error
        if rest.isEmpty, attempt == corrections { return .unknown(error) }
      }
    }
    // The last attempt was applied but not looked at yet.
    if failure == nil {
      do throws(DatapathError) {
        var observation = try await observation(of: target, settings: settings)
        observation.owned.namespaces.removeAll { !touched.contains($0.id) }
        observation.unmarked.namespaces.removeAll { !touched.contains($0.id) }
        rest = planner.plan(target, from: observation)
        if rest.isEmpty { return finish(journal) }
      } catch {
        return .unknown(error)
      }
    }
    return .leftBehind(rest, failure)
  }

  private func finish(_ journal: Journal) -> ApplyFailure.Aftermath {
    do throws(LabFolderError) {
      try folder.setHostSettings(journal.hostSettings)
      try folder.setJournal(nil)
      // The folder is left to the caller: the lab's process may still have its socket and log in it.
      return try folder.record() == nil ? .removed : .rolledBack
    } catch {
      return .unknown(DatapathError(.refused, operation: "close the journal", cause: error.message))
    }
  }

  // MARK: Down

  /// Takes the lab away: all that is the lab's, and the host's settings back to what they were. Needs nothing of the
  /// journal, so a damaged one does not stand in the way.
  public func down(holding lock: LabLock) async throws(ReconcileError) {
    let settings = try reading { folder throws(LabFolderError) in try folder.hostSettings() }
    let own = handOver(settings)
    if !own.isEmpty {
      let observation = try await asking { () throws(DatapathError) in
        try await datapath.observe(
          folder.lab, scope: Scope(namespaces: [.host], sysctls: [.host: Set(own.keys)]))
      }
      let seen = observation.owned[.host]?.sysctls ?? observation.unmarked[.host]?.sysctls ?? []
      var changes = ChangeList()
      for sysctl in SysctlName.ordered(
        own.map { SysctlState(name: $0.key, value: $0.value) }.sorted { $0.name < $1.name })
      {
        let before = seen.first { $0.name == sysctl.name }
        guard before != sysctl else { continue }
        changes.update(
          before.map { .sysctl($0) }, to: .sysctl(sysctl), attribute: .value, in: .host,
          reason: "as it was before the lab")
      }
      if !changes.isEmpty {
        let batch = Plan.Batch(title: "restore the host's settings", changes: changes.changes)
        progress(.apply(batch.title, batch.changes.count))
        try await asking { () throws(DatapathError) in try await datapath.apply(batch, to: folder.lab) }
      }
    }
    progress(.apply("remove the lab", 1))
    try await asking { () throws(DatapathError) in try await datapath.remove(folder.lab) }
    try writing { folder throws(LabFolderError) in try folder.remove() }
  }

  /// Settings that another lab relies on too stay as they are, and that lab learns what they were at first.
  private func handOver(_ settings: [String: String]) -> [String: String] {
    guard !settings.isEmpty else { return settings }
    var own = settings
    for other in folder.siblings.list() where other.lab != folder.lab {
      guard var theirs = try? other.hostSettings() else { continue }
      let shared = own.keys.filter { theirs[$0] != nil }
      guard !shared.isEmpty else { continue }
      for name in shared { theirs[name] = own.removeValue(forKey: name) }
      try? other.setHostSettings(theirs)
    }
    return own
  }

  // MARK: Errors

  private func asking<Value>(
    _ body: () async throws(DatapathError) -> Value
  ) async throws(ReconcileError) -> Value {
    do throws(DatapathError) { return try await body() } catch { throw .datapath(error) }
  }

  private func reading<Value>(
    _ body: (LabFolder) throws(LabFolderError) -> Value
  ) throws(ReconcileError) -> Value {
    do throws(LabFolderError) { return try body(folder) } catch { throw .folder(error) }
  }

  private func writing(_ body: (LabFolder) throws(LabFolderError) -> Void) throws(ReconcileError) {
    do throws(LabFolderError) { try body(folder) } catch { throw .folder(error) }
  }
}
