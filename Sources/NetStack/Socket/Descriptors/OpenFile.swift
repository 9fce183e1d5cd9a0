// SPDX-License-Identifier: GPL-2.0-or-later

// A process's descriptors and what they refer to (struct files_struct, struct file; fs/file.c): numbers are a process's
// own, an open file is shared by all that were duplicated from one another, also across `fork`, and with it O_NONBLOCK.
// What is behind it goes with the last of them.

/// The place of an open file in the kernel's table.
typealias FileIndex = TableIndex<OpenFile>
/// The place of a process in the kernel's table.
public typealias ProcessIndex = TableIndex<NetProcess>

/// An open file.
struct OpenFile {
  enum Kind {
    case socket(SocketIndex)
    case epoll(EpollIndex)
  }

  let kind: Kind
  /// O_NONBLOCK. Verbs never wait; whoever drives the kernel asks for it before it waits in their stead.
  var isNonBlocking: Bool
  /// Descriptors that refer to it.
  var references = 0
}

/// What a descriptor is made with.
public struct DescriptorFlags: OptionSet, Hashable, Sendable {
  /// One bit a flag.
  public let rawValue: UInt8

  /// From bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// O_NONBLOCK, SOCK_NONBLOCK: of the open file, for all its descriptors.
  public static let nonBlocking = DescriptorFlags(rawValue: 1)
  /// O_CLOEXEC: of the descriptor alone.
  public static let closeOnExec = DescriptorFlags(rawValue: 2)
}

/// A process, as far as its descriptors go.
public struct NetProcess: ~Copyable {
  struct Descriptor {
    var file = FileIndex.none
    var closesOnExec = false
  }

  let namespace: NamespaceIndex
  let credentials: SocketCredentials
  /// RLIMIT_NOFILE.
  let limit: Int
  private(set) var descriptors: [Descriptor] = []
  /// No smaller number is free (`next_fd`).
  private var lowest = 0

  init(in namespace: NamespaceIndex, _ credentials: SocketCredentials, limit: Int) {
    self.namespace = namespace
    self.credentials = credentials
    self.limit = limit
  }

  /// The open file of a descriptor; nil for a number that is none.
  func file(_ number: Int32) -> FileIndex? {
    guard number >= 0, Int(number) < descriptors.count, !descriptors[Int(number)].file.isNone else {
      return nil
    }
    return descriptors[Int(number)].file
  }

  /// The smallest number from `start` on that is free; nil: the limit is reached (alloc_fd).
  func free(from start: Int = 0) -> Int32? {
    var number = max(start, lowest)
    while number < descriptors.count, !descriptors[number].file.isNone { number += 1 }
    return number < limit ? Int32(number) : nil
  }

  /// Has a free number refer to a file, or one that is not to nothing. It is within the limit.
  mutating func set(_ number: Int32, _ file: FileIndex, closesOnExec: Bool) {
    while descriptors.count <= Int(number) { descriptors.append(Descriptor()) }
    descriptors[Int(number)] = Descriptor(file: file, closesOnExec: closesOnExec)
    if file.isNone {
      lowest = min(lowest, Int(number))
    } else if Int(number) == lowest {
      lowest += 1
    }
  }

  mutating func setCloseOnExec(_ number: Int32, _ isOn: Bool) { descriptors[Int(number)].closesOnExec = isOn }
}
