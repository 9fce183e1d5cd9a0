// SPDX-License-Identifier: GPL-2.0-or-later

// Epoll's instances and what they watch (fs/eventpoll.c): sockets, or other instances. An item stands in two lists: that of
// what it watches, which news goes along, those of exclusive ones last; and its instance's, once there may be something to
// tell.

/// The place of an instance in the kernel's table.
typealias EpollIndex = TableIndex<Epoll>
/// The place of what an instance watches.
typealias EpollItemIndex = TableIndex<EpollItem>

/// What is asked about a descriptor, or told of it (struct epoll_event).
public struct EpollEvent: Hashable, Sendable {
  /// What it is ready for.
  public var events: Readiness
  /// Whatever the caller wants to know it by.
  public var data: UInt64

  /// Of both.
  public init(_ events: Readiness, data: UInt64 = 0) {
    self.events = events
    self.data = data
  }
}

/// How a descriptor is watched.
public struct EpollMode: OptionSet, Hashable, Sendable {
  /// One bit a mode.
  public let rawValue: UInt8

  /// From bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// EPOLLET: told once for each time that something happens.
  public static let edge = EpollMode(rawValue: 1)
  /// EPOLLONESHOT: told once, until it is asked for again.
  public static let oneShot = EpollMode(rawValue: 2)
  /// EPOLLEXCLUSIVE: of several instances not all are woken.
  public static let exclusive = EpollMode(rawValue: 4)
}

/// An instance.
struct Epoll: ~Copyable {
  /// An open file under a number: what was duplicated is watched by each number.
  struct Key: Hashable {
    var file: FileIndex
    var number: Int32
  }

  var items: [Key: EpollItemIndex] = [:]
  /// Items that there may be something to tell of, in order of their news.
  var firstReady = EpollItemIndex.none
  var lastReady = EpollItemIndex.none
  var readyCount = 0
  /// Whoever waits for news of it, and the instances that watch it.
  var token: UInt64?
  var watchers = EpollItemIndex.none
  /// It lives as long as a call that waits, and has no descriptor.
  let isWait: Bool
  /// When it was looked at for loops last, and how many instances stand below or above it (loop_check_gen,
  /// loop_check_depth).
  var check: UInt64 = 0
  var checkedDepth = 0

  init(isWait: Bool = false) { self.isWait = isWait }
}

/// A descriptor that an instance watches.
struct EpollItem {
  let epoll: EpollIndex
  let key: Epoll.Key
  let target: OpenFile.Kind
  var event: EpollEvent
  var mode: EpollMode
  /// It was told once and is not asked for again yet.
  var isDisabled = false
  var isReady = false
  var nextReady = EpollItemIndex.none
  var previousReady = EpollItemIndex.none
  /// In the list of what it watches.
  var next = EpollItemIndex.none
  var previous = EpollItemIndex.none
}
