// SPDX-License-Identifier: GPL-2.0-or-later

// How one thread has the kernels of all CPUs to itself for a while: the others hand theirs over and wait. Only the first
// CPU's thread asks for that, one piece of work at a time, so that nobody waits for who waits for them.

import CLinux
import Glibc
import LabCore
import Synchronization

/// Where threads hand their kernels over.
final class Standstill: Sendable {
  /// A kernel, touched by the thread that it was handed to until that lets go.
  private struct Held: @unchecked Sendable { let kernel: EmulatedKernel }

  private let held = Mutex<[Held]>([])
  /// Counts who stands still.
  private let standing: Int32
  /// By CPU: that it may go on. Each has its own, so that none goes on in another's place.
  private let released: [Int32]

  init(cpus: Int) throws(DatapathError) {
    standing = eventfd(0, Int32(EFD_CLOEXEC | EFD_SEMAPHORE))
    released = (0..<cpus).map { _ in eventfd(0, Int32(EFD_CLOEXEC | EFD_SEMAPHORE)) }
    guard standing >= 0, released.allSatisfy({ $0 >= 0 }) else {
      throw DatapathError(
        .unavailable, operation: "start the emulated kernel", errno: errno, cause: "no eventfd is to be had")
    }
  }

  deinit {
    for descriptor in [standing] + released where descriptor >= 0 { close(descriptor) }
  }

  /// On a CPU's thread: hands its kernel over, and returns when it has it back.
  func stand(_ kernel: EmulatedKernel) {
    held.withLock { $0.append(Held(kernel: kernel)) }
    Self.give(to: standing)
    Self.take(from: released[kernel.cpu])
  }

  /// On the first CPU's thread: does something with its own kernel and those of `others`, in the CPUs' order.
  func with<Value>(
    _ own: EmulatedKernel, _ others: [KernelThread], _ body: ([EmulatedKernel]) -> Value
  ) -> Value {
    guard !others.isEmpty else { return body([own]) }
    for other in others { other.submit { kernel in self.stand(kernel) } }
    for _ in others { Self.take(from: standing) }
    let kernels = held.withLock { held in
      defer { held = [] }
      return held
    }
    defer { for other in kernels { Self.give(to: released[other.kernel.cpu]) } }
    return body([own] + kernels.map(\.kernel).sorted { $0.cpu < $1.cpu })
  }

  private static func give(to counter: Int32) {
    var one: UInt64 = 1
    _ = write(counter, &one, MemoryLayout.size(ofValue: one))
  }

  /// Waits until there is one to take.
  private static func take(from counter: Int32) {
    var count: UInt64 = 0
    while read(counter, &count, MemoryLayout.size(ofValue: count)) < 0, errno == EINTR {}
  }
}
