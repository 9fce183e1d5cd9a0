// SPDX-License-Identifier: GPL-2.0-or-later

import Synchronization
public import SystemPackage

/// A descriptor that is closed with the last reference to it.
public final class OwnedDescriptor: Sendable {
  public let descriptor: FileDescriptor

  public init(_ descriptor: FileDescriptor) { self.descriptor = descriptor }

  // Closing is the end of it whatever the kernel says.
  deinit { try? descriptor.close() }
}

/// A descriptor that can be closed before the last reference to it is gone.
final class ClosableDescriptor: Sendable {
  let descriptor: FileDescriptor
  private let isOpen = Atomic(true)

  init(_ descriptor: FileDescriptor) { self.descriptor = descriptor }

  deinit { close() }

  func close() {
    guard isOpen.exchange(false, ordering: .acquiringAndReleasing) else { return }
    // Closing is the end of it whatever the kernel says.
    try? descriptor.close()
  }
}
