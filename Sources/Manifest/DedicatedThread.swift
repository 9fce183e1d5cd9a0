// SPDX-License-Identifier: GPL-2.0-or-later

// Work that blocks, away from the concurrency pool, whose threads are few and not to be waited with.

import Glibc

enum DedicatedThread {
  /// Runs `body` on a thread of its own.
  static func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in
      let work = Work { continuation.resume(returning: body()) }
      let context = Unmanaged.passRetained(work).toOpaque()
      var thread = pthread_t()
      var attributes = pthread_attr_t()
      pthread_attr_init(&attributes)
      pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
      pthread_attr_setstacksize(&attributes, 4 << 20)
      let code = pthread_create(&thread, &attributes, runWork, context)
      pthread_attr_destroy(&attributes)
      // Without threads to be had there is nothing better than to do it here.
      if code != 0 { Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body() }
    }
  }

  fileprivate final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
}

private func runWork(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let context { Unmanaged<DedicatedThread.Work>.fromOpaque(context).takeRetainedValue().body() }
  return nil
}
