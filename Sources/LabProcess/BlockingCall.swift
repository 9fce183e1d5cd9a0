// SPDX-License-Identifier: GPL-2.0-or-later

// Calls that block get a thread of their own: those of Swift's pool are few and must not wait for a kernel or for
// whoever reads a pipe.

import Glibc

/// Work for one thread.
private final class BlockingWork: Sendable {
  let body: @Sendable () -> Void
  init(_ body: @Sendable @escaping () -> Void) { self.body = body }
}

/// Runs `body` on a thread that ends with it, while the task waits. Runs it at once when no thread is to be had.
public func blocking<Value: Sendable>(_ body: @Sendable @escaping () -> Value) async -> Value {
  await withCheckedContinuation { continuation in
    let work = Unmanaged.passRetained(BlockingWork { continuation.resume(returning: body()) })
    var thread = pthread_t()
    if pthread_create(&thread, nil, blockingWorkEntry, work.toOpaque()) == 0 {
      pthread_detach(thread)
    } else {
      work.takeRetainedValue().body()
    }
  }
}

/// The thread's entry; the retained work is its own from here on.
private nonisolated func blockingWorkEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  Unmanaged<BlockingWork>.fromOpaque(context).takeRetainedValue().body()
  return nil
}
