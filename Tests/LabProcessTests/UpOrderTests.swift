// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import LabCore
import NetTypes
import Synchronization
import SystemPackage
import Testing

@testable import LabProcess

/// What `netforge up` asks a lab process for.
@Suite("Orders to bring a lab up", .timeLimit(.minutes(10)))
struct UpOrderTests {
  static let order = UpOrder(
    topologyFile: "shop.swift", timeout: .seconds(7), isAgreed: true, wantsDocument: true)

  /// What stands for the lock.
  static let lock = Result { OwnedDescriptor(try FileDescriptor.open("/dev/null", .readWrite)) }

  @Test("It comes with its topology and the lock, what is told comes back in order, and the document at last")
  func order() async throws {
    let taken = Mutex<(UpOrder, [UInt8], LabName)?>(nil)
    let document = (0..<300_000).map { UInt8(truncatingIfNeeded: $0) }
    let server = try TestServer(bringUp: { work in
      taken.withLock { $0 = (work.order, work.topology, work.lab) }
      var information = stat()
      if fstat(work.lock.rawValue, &information) != 0 { work.tell(.notice("no lock")) }
      for number in 0..<100 { work.tell(.stage("\(number)")) }
      work.tell(.notice("going back"))
      return (.done(changes: 42), document)
    })
    let events = Mutex<[UpEvent]>([])
    let topology = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let (outcome, answer) = try await server.connect().up(
      Self.order, topology: topology, lock: try Self.lock.get().descriptor,
      follow: { event in events.withLock { $0.append(event) } })
    #expect(outcome == .done(changes: 42) && answer == document)
    let told = events.withLock { $0 }
    #expect(told == (0..<100).map { .stage("\($0)") } + [.notice("going back")])
    let seen = try #require(taken.withLock { $0 })
    #expect(seen.0 == Self.order && seen.1 == topology && seen.2 == server.lab)
  }

  @Test("Why it failed and what was disruptive arrives as it was said")
  func failures() async throws {
    let failure = UpFailure(exitCode: 69, lines: ["shop.swift:3: no", "more"], isDiagnostics: true)
    for outcome in [UpOutcome.failed(failure), .disruptive(plan: "- /nodes/web", failure)] {
      let server = try TestServer(bringUp: { _ in (outcome, []) })
      let answer = try await server.connect().up(
        Self.order, topology: [], lock: try Self.lock.get().descriptor, follow: { _ in })
      #expect(answer.outcome == outcome && answer.document.isEmpty)
    }
  }

  @Test("There is one at a time, and it is given up when its connection ends")
  func abandoned() async throws {
    let isUnderWay = Atomic(false)
    let isGivenUp = Atomic(false)
    let server = try TestServer(bringUp: { _ in
      guard !isUnderWay.exchange(true, ordering: .acquiringAndReleasing) else {
        return (.done(changes: 1), [])
      }
      try? await Task.sleep(for: TestHost.patience)
      isGivenUp.store(Task.isCancelled, ordering: .releasing)
      return (.done(changes: 0), [])
    })
    let first = try await server.connect()
    let lock = try Self.lock.get()
    let waiting = Task {
      try await first.up(Self.order, topology: [], lock: lock.descriptor, follow: { _ in })
    }
    #expect(await eventually { isUnderWay.load(ordering: .acquiring) })
    let other = try await server.connect()
    let error = await #expect(throws: DatapathError.self) {
      _ = try await other.up(Self.order, topology: [], lock: lock.descriptor, follow: { _ in })
    }
    #expect(error?.code == .refused)
    first.close()
    await #expect(throws: DatapathError.self) { _ = try await waiting.value }
    #expect(await eventually { isGivenUp.load(ordering: .acquiring) })
    #expect(
      await eventually {
        let next = try? await other.up(Self.order, topology: [], lock: lock.descriptor, follow: { _ in })
        return next?.outcome == .done(changes: 1)
      })
  }

  @Test("Without the lock there is none")
  func missingLock() async throws {
    let server = try TestServer()
    let connection = try await server.connect()
    let error = await #expect(throws: DatapathError.self) {
      _ = try await connection.request(.up(Self.order), payload: [1])
    }
    #expect(error?.code == .malformed && error?.cause.contains("descriptors") == true)
  }

  @Test(
    "The real process answers what is no topology, another lab's, or no lock with a failure, and lives",
    .enabled(if: TestHost.executable != nil, "needs the built netforge"))
  func hostile() async throws {
    let folder = TestFolder()
    let lab = TestHost.labName()
    let path = "\(folder.path)/\(lab)"
    try LabFile.makeFolder(path)
    let pid = try await ServedLabTests.start(lab, path, .emulated)
    let connection = try await LabConnection.open(folder: path, timeout: TestHost.patience)
    let own = """
      {"schemaVersion": {"major":1,"minor":0}, "declarations": [
        {"kind":"topology","name":"\(lab)","file":"a.swift","line":3}, {"kind":"node","name":"a","file":"a.swift","line":4}
      ]}
      """
    let orders = [
      ("", 65, ""), ("{", 65, ""), (String(repeating: "[", count: 100_000), 65, ""), ("null", 65, ""),
      ("\u{0}\u{1}", 65, ""), (own.replacing("}, {", with: "}, 7, {"), 65, ""),
      (own.replacing(lab.text, with: "other"), 1, "other"), (own, 1, "not the lock"),
    ]
    for (topology, code, word) in orders {
      let answer = try await connection.up(
        Self.order, topology: Array(topology.utf8), lock: try Self.lock.get().descriptor, follow: { _ in })
      guard case .failed(let failure) = answer.outcome else {
        Issue.record("\(topology.prefix(100)): \(answer.outcome)")
        continue
      }
      #expect(failure.exitCode == code && !failure.lines.isEmpty, "\(topology.prefix(100)): \(failure)")
      #expect(failure.lines.contains { $0.contains(word) } || word.isEmpty, "\(failure)")
    }
    var endless = Self.order
    endless.timeout = Interval(nanoseconds: .max)
    let answer = try await connection.up(
      endless, topology: Array(own.utf8), lock: try Self.lock.get().descriptor, follow: { _ in })
    if case .failed = answer.outcome {} else { Issue.record("\(answer.outcome)") }
    #expect(try await connection.status().pid == pid)
    try await LabProcess.end(folder: path)
    _ = waitpid(pid, nil, 0)
  }
}
