// SPDX-License-Identifier: GPL-2.0-or-later

// `up` and `down` over the model kernel, with every change failing once and the process dying before every batch.

import Glibc
import LabCore
import NetTypes
import Reconcile
import Synchronization
import Testing

/// A folder of labs that is removed with its last user.
final class TemporaryFolders: Sendable {
  let folders: LabFolders

  init() throws {
    var template = Array("/tmp/reconcile-tests.XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    folders = LabFolders(root: path)
  }

  deinit {
    for folder in folders.list() { try? folder.remove() }
    rmdir(folders.root)
  }
}

@Suite("Reconciler")
struct ReconcilerTests {
  static let description = Reconciler.Description(datapath: .kernel, topology: Array("{}".utf8))

  static func reconciler(_ datapath: ModelDatapath, _ labs: TemporaryFolders, _ lab: LabName) throws
    -> Reconciler
  {
    var reconciler = Reconciler(datapath: datapath, folder: try labs.folders.make(lab))
    reconciler.deadline = .milliseconds(50)
    return reconciler
  }

  static func up(_ desired: LabState, _ datapath: ModelDatapath, _ labs: TemporaryFolders) async throws
    -> Plan
  {
    let reconciler = try reconciler(datapath, labs, desired.lab)
    return try await reconciler.up(desired, as: description, holding: try reconciler.folder.lock())
  }

  static func equal(_ kernel: ModelKernel, _ desired: LabState) -> Bool {
    Planner().plan(desired, from: PlannerPropertyTests.observe(kernel, for: desired)).isEmpty
  }

  @Test("A second up changes nothing and down leaves nothing", arguments: 0..<10 as Range<UInt64>)
  func life(seed: UInt64) async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    let before = datapath.kernel
    var draw = RandomLab(seed: seed)
    let desired = draw.draw()
    _ = try await Self.up(desired, datapath, labs)
    #expect(try await Self.up(desired, datapath, labs).isEmpty)
    let next = draw.draw()
    _ = try await Self.up(next, datapath, labs)
    #expect(Self.equal(datapath.kernel, next))
    let reconciler = try Self.reconciler(datapath, labs, desired.lab)
    try await reconciler.down(holding: try reconciler.folder.lock())
    var after = datapath.kernel
    // A setting that was read as 0 before is written as 0.
    let settings = after.namespaces[.host]?.sysctls ?? [:]
    after.namespaces[.host]?.sysctls = settings.filter { $0.value != "0" }
    #expect(after == before)
    #expect(labs.folders.list().isEmpty)
  }

  @Test("When a change fails, the lab is as it was", arguments: 0..<4 as Range<UInt64>)
  func rollback(seed: UInt64) async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    var draw = RandomLab(seed: seed)
    _ = try await Self.up(draw.draw(), datapath, labs)
    let next = draw.draw()
    let before = datapath.kernel
    let reconciler = try Self.reconciler(datapath, labs, next.lab)
    let count = try await reconciler.plan(next).changes.count
    for failing in 0..<count {
      datapath.state.withLock {
        $0.kernel = before
        $0.changes = 0
        $0.failingChange = failing
      }
      do {
        _ = try await Self.up(next, datapath, labs)
        Issue.record("change \(failing) did not fail")
      } catch let error as ReconcileError {
        guard case .failed(let failure) = error, case .rolledBack = failure.aftermath else {
          Issue.record("seed \(seed), change \(failing): \(error)")
          return
        }
      }
      let was = Self.observed(before, next)
      let left = Planner().plan(was, from: PlannerPropertyTests.observe(datapath.kernel, for: was)).text()
      let isBack = Self.observed(datapath.kernel, next) == was
      #expect(isBack, "seed \(seed), change \(failing): \(left)")
      #expect(try reconciler.folder.journal() == nil)
    }
  }

  /// All that can come back: indexes only as far as nothing new has taken them, addresses of the two families apart.
  static func observed(_ kernel: ModelKernel, _ scope: LabState) -> LabState {
    var state = PlannerPropertyTests.observe(kernel, for: scope).owned
    for index in state.namespaces.indices {
      let isV4 = { (address: AddressState) in address.prefix.family == .ipv4 }
      state.namespaces[index].addresses =
        state.namespaces[index].addresses.filter(isV4)
        + state.namespaces[index].addresses.filter { !isV4($0) }
      for link in state.namespaces[index].links.indices { state.namespaces[index].links[link].index = nil }
      state.namespaces[index].sort()
    }
    return state
  }

  @Test("An up that nobody waits for ends with its batch and keeps the journal, and the next one goes on")
  func abandoned() async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    var draw = RandomLab(seed: 3)
    let desired = draw.draw()
    var reconciler = try Self.reconciler(datapath, labs, desired.lab)
    let applied = Mutex(0)
    reconciler.progress = { stage in
      guard case .apply = stage else { return }
      applied.withLock { $0 += 1 }
      withUnsafeCurrentTask { $0?.cancel() }
    }
    let worker = reconciler
    // In a task of its own, which is cancelled.
    let error = await #expect(throws: ReconcileError.self) {
      try await Task {
        try await worker.up(desired, as: Self.description, holding: try worker.folder.lock())
      }.value
    }
    guard case .abandoned? = error else {
      Issue.record("\(error as Any)")
      return
    }
    let count = applied.withLock { $0 }
    #expect(count == 1)
    #expect(try reconciler.folder.journal() != nil)
    #expect(!Self.equal(datapath.kernel, desired))
    _ = try await Self.up(desired, datapath, labs)
    #expect(Self.equal(datapath.kernel, desired))
    #expect(try reconciler.folder.journal() == nil)
  }

  @Test("A first up that fails leaves nothing", arguments: 0..<2 as Range<UInt64>)
  func firstFailure(seed: UInt64) async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    var draw = RandomLab(seed: seed)
    let desired = draw.draw()
    let count = try await Self.reconciler(datapath, labs, desired.lab).plan(desired).changes.count
    for failing in 0..<count {
      datapath.state.withLock {
        $0.changes = 0
        $0.failingChange = failing
      }
      await #expect(throws: ReconcileError.self) { _ = try await Self.up(desired, datapath, labs) }
      #expect(datapath.kernel.namespaces.keys.sorted() == [.host], "seed \(seed), change \(failing)")
      let folder = try labs.folders.make(desired.lab)
      #expect(try folder.journal() == nil && folder.record() == nil && folder.hostSettings().isEmpty)
    }
  }

  @Test("Death before any batch is mended by the next up, or by down", arguments: 0..<5 as Range<UInt64>)
  func death(seed: UInt64) async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    var draw = RandomLab(seed: seed)
    _ = try await Self.up(draw.draw(), datapath, labs)
    let next = draw.draw()
    let before = datapath.kernel
    let batches = try await Self.reconciler(datapath, labs, next.lab).plan(next).batches.count
    for batch in 0..<batches {
      datapath.state.withLock {
        $0.kernel = before
        $0.batches = 0
        $0.deathBefore = batch
      }
      await #expect(throws: ReconcileError.self) { _ = try await Self.up(next, datapath, labs) }
      let folder = try #require(try labs.folders.find(next.lab))
      #expect(try folder.journal() != nil)
      datapath.state.withLock { $0.deathBefore = nil }
      _ = try await Self.up(next, datapath, labs)
      #expect(Self.equal(datapath.kernel, next), "seed \(seed), batch \(batch)")
      #expect(try folder.journal() == nil)
    }
    // And down, after the last of them.
    datapath.state.withLock {
      $0.kernel = before
      $0.batches = 0
      $0.deathBefore = batches / 2
    }
    if batches > 0 {
      await #expect(throws: ReconcileError.self) { _ = try await Self.up(next, datapath, labs) }
    }
    datapath.state.withLock { $0.deathBefore = nil }
    let reconciler = try Self.reconciler(datapath, labs, next.lab)
    try await reconciler.down(holding: try reconciler.folder.lock())
    #expect(datapath.kernel.namespaces.keys.sorted() == [.host])
  }

  @Test("Foreign objects and limitations stop an up before any change")
  func refusals() async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    var draw = RandomLab(seed: 1)
    let desired = draw.draw()
    let id = try #require(desired.namespaces.last?.id)
    datapath.state.withLock { $0.foreign = [ForeignObject(path: StatePath(id), detail: "of lab 'other'")] }
    await #expect(throws: ReconcileError.self) { _ = try await Self.up(desired, datapath, labs) }
    datapath.state.withLock {
      $0.foreign = []
      $0.limitations = [Limitation(path: nil, cause: "no netem", remedy: "load it")]
    }
    await #expect(throws: ReconcileError.self) { _ = try await Self.up(desired, datapath, labs) }
    #expect(datapath.kernel == ModelKernel())
  }

  @Test("A torn journal is an error that says what to do, and down still works")
  func tornJournal() async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    var draw = RandomLab(seed: 2)
    let desired = draw.draw()
    _ = try await Self.up(desired, datapath, labs)
    let folder = try #require(try labs.folders.find(desired.lab))
    try folder.setJournal(Journal(touched: [.switch], before: desired, hostSettings: [:], processID: 1))
    truncate(folder.path + "/journal", 200)
    let before = datapath.kernel
    do {
      _ = try await Self.up(draw.draw(), datapath, labs)
      Issue.record("a torn journal was taken")
    } catch let error as ReconcileError {
      #expect(error.description.contains("damaged"))
      #expect(error.description.contains("netforge down --name"))
    }
    #expect(datapath.kernel == before)
    let reconciler = try Self.reconciler(datapath, labs, desired.lab)
    try await reconciler.down(holding: try reconciler.folder.lock())
    #expect(labs.folders.list().isEmpty)
  }
}
