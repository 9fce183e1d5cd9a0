// SPDX-License-Identifier: GPL-2.0-or-later

// What changes in an emulated lab, for as long as somebody follows it: the kernel notes it, and after each turn its
// thread hands it on.

public import LabCore
import LinuxObjects
import NetStack

extension EmulatedDatapath {
  public func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream {
    // A follower that does not keep up is told by a gap, as a monitor's full buffer tells it.
    let (stream, continuation) = AsyncStream<ChangeEvent>.makeStream(
      bufferingPolicy: .bufferingOldest(65_536))
    var followed: [(thread: KernelThread, number: UInt64)] = []
    for thread in threads {
      let number = try await perform(on: lab, by: thread, "follow lab '\(lab)'") {
        (kernel) throws(DatapathError) in
        do throws(TransportError) { return try kernel.follow { continuation.yield($0) } } catch {
          throw DatapathError(.bug, operation: "follow lab '\(lab)'", cause: error.cause)
        }
      }
      followed.append((thread, number))
    }
    let all = followed
    continuation.onTermination = { _ in
      for (thread, number) in all { thread.submit { $0.unfollow(number) } }
    }
    return ChangeStream(stream)
  }
}

/// Everybody who follows the changes of one kernel.
struct Followers {
  fileprivate var handlers: [UInt64: (ChangeEvent) -> Void] = [:]
  fileprivate var last: UInt64 = 0
  fileprivate var reader = ChangeReader()

  var isEmpty: Bool { handlers.isEmpty }
}

extension EmulatedKernel {
  /// Calls `handler` with every change from now on; the answer is the number to end it by.
  func follow(_ handler: @escaping (ChangeEvent) -> Void) throws(TransportError) -> UInt64 {
    if followers.isEmpty {
      followers.reader = ChangeReader()
      for (id, index) in namespaces {
        for link in try channel(to: id).links() { followers.reader.learn(link, in: id) }
        stack.setWatched(true, index)
      }
    }
    followers.last += 1
    followers.handlers[followers.last] = handler
    return followers.last
  }

  func unfollow(_ number: UInt64) {
    followers.handlers[number] = nil
    guard followers.isEmpty else { return }
    for index in namespaces.values { stack.setWatched(false, index) }
    _ = stack.takeNotifications()
  }

  /// Hands on what has changed.
  func tellFollowers() {
    guard !followers.isEmpty else { return }
    let (records, hasMissed) = stack.takeNotifications()
    guard hasMissed || !records.isEmpty else { return }
    let ids = Dictionary(namespaces.map { ($0.value, $0.key) }, uniquingKeysWith: { first, _ in first })
    var events = records.compactMap { record in
      ids[record.namespace].flatMap { followers.reader.event(of: record.message, in: $0) }
    }
    if hasMissed { events += namespaces.keys.sorted().map(ChangeReader.gap) }
    for handler in followers.handlers.values { for event in events { handler(event) } }
  }
}
