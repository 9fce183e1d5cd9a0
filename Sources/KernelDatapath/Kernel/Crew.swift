// SPDX-License-Identifier: GPL-2.0-or-later

// The threads of a datapath that go into namespaces. One leads and does each piece of work; where the work is the same
// for many namespaces, the others take part: making a namespace or reading one keeps a processor busy in the kernel,
// and little of that is under a lock that all namespaces share.

import Glibc
import LinuxObjects
import Netlink
import Synchronization

/// The threads that visit namespaces.
final class Crew: Sendable {
  let lead: NamespaceThread
  private let directory: NamespaceDirectory
  private let faults: FaultInjector?
  private let others: [NamespaceThread]

  /// Beyond this the locks that namespaces share are what everybody waits for.
  private static let largest = 4
  /// Fewer visits than this are over before another thread has begun.
  private static let worthSharing = 8

  init(directory: NamespaceDirectory, faults: FaultInjector?) throws(NetlinkError) {
    self.directory = directory
    self.faults = faults
    lead = try NamespaceThread()
    let processors = min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), Self.largest)
    // A thread that cannot be had is done without.
    others = (1..<max(1, processors)).compactMap { _ in try? NamespaceThread() }
  }

  func hostThread(_ visitor: NamespaceVisitor) -> HostThread {
    HostThread(visitor, directory: directory, faults: faults)
  }

  /// What became of work on many items.
  struct Outcome<Value: Sendable, Failure: Error>: Sendable {
    /// By the item's position; nil where the work did not get to it, or failed.
    var values: [Value?]
    /// The failure of the first item that failed.
    var failure: Failure?
  }

  /// Does the same with every item, on as many threads as are of use, and returns when all are done. After a failure
  /// no more items are begun. To be called on the lead's thread, with its own `thread`.
  func share<Item: Sendable, Value: Sendable, Failure: Error>(
    _ items: [Item], with thread: HostThread,
    _ body: @Sendable @escaping (Item, HostThread) throws(Failure) -> Value
  ) -> Outcome<Value, Failure> {
    let round = SharedRound(items, body)
    let pending = (items.count < Self.worthSharing ? [] : others).map { helper in
      helper.begin { visitor in round.takePart(self.hostThread(visitor)) }
    }
    var parts = [round.takePart(thread)]
    // A helper's work throws nothing; if its thread could not even begin, the others have done its part.
    for work in pending { if let part = try? work.wait() { parts.append(part) } }
    return round.outcome(of: parts)
  }
}

/// One sharing out of items: whoever is free takes the next.
private final class SharedRound<Item: Sendable, Value: Sendable, Failure: Error>: Sendable {
  typealias Part = [(position: Int, result: Result<Value, Failure>)]

  private let items: [Item]
  private let body: @Sendable (Item, HostThread) throws(Failure) -> Value
  private let next = Atomic<Int>(0)

  init(_ items: [Item], _ body: @Sendable @escaping (Item, HostThread) throws(Failure) -> Value) {
    self.items = items
    self.body = body
  }

  func takePart(_ thread: HostThread) -> Part {
    var part: Part = []
    while true {
      let position = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard position < items.count else { return part }
      do throws(Failure) {
        part.append((position, .success(try body(items[position], thread))))
      } catch {
        part.append((position, .failure(error)))
        next.store(items.count, ordering: .relaxed)
      }
    }
  }

  func outcome(of parts: [Part]) -> Crew.Outcome<Value, Failure> {
    var outcome = Crew.Outcome<Value, Failure>(values: Array(repeating: nil, count: items.count))
    var first = items.count
    for (position, result) in parts.joined() {
      switch result {
      case .success(let value): outcome.values[position] = value
      case .failure(let error) where position < first:
        first = position
        outcome.failure = error
      case .failure: break
      }
    }
    return outcome
  }
}
