// SPDX-License-Identifier: GPL-2.0-or-later

// A thread that goes from one network namespace to another: a namespace belongs to a thread, and Swift's own threads
// are shared by all tasks and must never leave theirs. Going somewhere takes 2 to 20 µs, so that one thread serves
// hundreds of namespaces. After each piece of work it is back where it started.

import CLinux
import Glibc
import Synchronization

/// A thread that does work in network namespaces, one piece after the other. Work must not hand work to its own thread
/// and wait for it: that would wait for ever.
public final class NamespaceThread: Sendable {
  private let queue: WorkQueue

  /// Starts the thread. Its home is the namespace of the calling thread.
  /// - Throws: also when the thread could never come home: without root, the process must have a network namespace
  ///   of its own user namespace.
  public init() throws(NetlinkError) {
    queue = try WorkQueue(home: KernelNamespace.current(label: "home"))
    try queue.start()
    do throws(NetlinkError) {
      try perform { (visitor) throws(NetlinkError) in try visitor.enterHome() }
    } catch {
      queue.stop()
      throw error
    }
  }

  deinit { queue.stop() }

  /// Does a piece of work and waits for it.
  public func perform<Result: Sendable>(
    _ body: @Sendable @escaping (NamespaceVisitor) throws(NetlinkError) -> Result
  ) throws(NetlinkError) -> Result {
    try begin(body).wait()
  }

  /// Begins a piece of work, for whoever has something to do meanwhile.
  public func begin<Result: Sendable>(
    _ body: @Sendable @escaping (NamespaceVisitor) throws(NetlinkError) -> Result
  ) -> PendingWork<Result> {
    let pending = PendingWork<Result>()
    queue.submit { visitor in
      do throws(NetlinkError) {
        pending.finish(.success(try body(visitor)))
      } catch {
        pending.finish(.failure(error))
      }
    }
    return pending
  }

  /// Does a piece of work while the task waits and no thread does.
  public func perform<Result: Sendable>(
    _ body: @Sendable @escaping (NamespaceVisitor) throws(NetlinkError) -> Result
  ) async throws(NetlinkError) -> Result {
    let result: Swift.Result<Result, NetlinkError> = await withCheckedContinuation { continuation in
      queue.submit { visitor in
        do throws(NetlinkError) {
          continuation.resume(returning: .success(try body(visitor)))
        } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
    return try result.get()
  }
}

/// A piece of work that a thread was given, and its result once there is one.
public final class PendingWork<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, NetlinkError>?>(nil)
  private let signal = Signal()

  fileprivate func finish(_ value: Result<Value, NetlinkError>) {
    result.withLock { $0 = value }
    signal.raise()
  }

  /// Waits until the work is done. To be called once.
  public func wait() throws(NetlinkError) -> Value {
    while true {
      signal.wait()
      if let value = result.withLock({ $0 }) { return try value.get() }
    }
  }
}

/// A semaphore of the C library, which must not move.
private final class Signal: @unchecked Sendable {
  private let semaphore: UnsafeMutablePointer<sem_t>

  init() {
    semaphore = .allocate(capacity: 1)
    semaphore.initialize(to: sem_t())
    sem_init(semaphore, 0, 0)
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  func raise() { sem_post(semaphore) }

  func wait() {
    while sem_wait(semaphore) != 0 {}  // EINTR
  }
}

/// The work of one thread.
private final class WorkQueue: Sendable {
  typealias Work = @Sendable (NamespaceVisitor) -> Void

  private let home: KernelNamespace
  private let pending = Mutex<(work: [Work], stopped: Bool)>(([], false))
  private let signal = Signal()

  init(home: KernelNamespace) { self.home = home }

  func start() throws(NetlinkError) {
    var thread = pthread_t()
    let context = Unmanaged.passRetained(self)
    let result = pthread_create(&thread, nil, workQueueEntry, context.toOpaque())
    guard result == 0 else {
      context.release()
      throw .system("starting a namespace thread", -result)
    }
    pthread_detach(thread)
  }

  func submit(_ work: @escaping Work) {
    pending.withLock { $0.work.append(work) }
    signal.raise()
  }

  func stop() {
    pending.withLock { $0.stopped = true }
    signal.raise()
  }

  /// Until stopped; what was submitted before is done.
  func run() {
    let visitor = NamespaceVisitor(home: home)
    while true {
      signal.wait()
      let (batch, stopped) = pending.withLock { pending in
        defer { pending.work.removeAll() }
        return (pending.work, pending.stopped)
      }
      for work in batch {
        work(visitor)
        visitor.goHome()
      }
      if stopped { return }
    }
  }
}

/// The thread's entry; the retained queue is its own from here on.
private nonisolated func workQueueEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  Unmanaged<WorkQueue>.fromOpaque(context).takeRetainedValue().run()
  return nil
}
