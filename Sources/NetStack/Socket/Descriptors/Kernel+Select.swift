// SPDX-License-Identifier: GPL-2.0-or-later

// poll and select (fs/select.c). Neither waits: `awaitAny` has a record made when one of the descriptors has news, by an
// instance of epoll that lives as long as the wait.

/// A descriptor, what is asked about it, and the answer (struct pollfd).
public struct PollEntry: Hashable, Sendable {
  /// Below zero: it is passed over.
  public var descriptor: Int32
  /// Errors and hang-ups are told unasked.
  public var events: Readiness
  /// What was found.
  public var result: Readiness = []

  /// A question.
  public init(_ descriptor: Int32, _ events: Readiness) {
    self.descriptor = descriptor
    self.events = events
  }
}

/// Descriptors by number (fd_set).
public struct DescriptorSet: Hashable, Sendable, ExpressibleByArrayLiteral {
  private var words: [UInt64] = []

  /// Those given.
  public init(arrayLiteral elements: Int32...) { for number in elements { insert(number) } }

  /// Puts one in; numbers below zero are none.
  public mutating func insert(_ number: Int32) {
    guard number >= 0 else { return }
    while words.count <= Int(number) >> 6 { words.append(0) }
    words[Int(number) >> 6] |= 1 << UInt64(number & 63)
  }

  /// Whether one is in it.
  public func contains(_ number: Int32) -> Bool {
    number >= 0 && Int(number) >> 6 < words.count && words[Int(number) >> 6] >> UInt64(number & 63) & 1 == 1
  }
}

extension Kernel {
  /// `poll` that does not wait: how many entries have an answer. EINVAL: more entries than descriptors may be.
  public mutating func poll(_ entries: inout [PollEntry], of process: ProcessIndex) throws(KernelError) -> Int
  {
    guard processes.contains(process) else { throw .noSuchProcess }
    guard entries.count <= processes[process].limit else { throw .invalidArgument }
    settleWriters()
    var count = 0
    for place in entries.indices {
      entries[place].result = []
      guard entries[place].descriptor >= 0 else { continue }
      entries[place].result = pollFile(entries[place].descriptor, entries[place].events, of: process)
      if !entries[place].result.isEmpty { count += 1 }
    }
    return count
  }

  private mutating func pollFile(
    _ number: Int32, _ events: Readiness, of process: ProcessIndex
  ) -> Readiness {
    guard let file = processes[process].file(number) else { return .invalid }
    switch files[file].kind {
    case .socket(let socket): return readiness(of: socket, for: events.union(.always))
    case .epoll(let epoll): return readiness(of: epoll).intersection(events)
    }
  }

  /// What a socket is ready for of `events`; whoever asks in vain for room is told when there is some (SOCK_NOSPACE).
  mutating func readiness(of socket: SocketIndex, for events: Readiness) -> Readiness {
    let ready = readiness(of: socket)
    if events.contains(.out), !ready.contains(.out), isOpen(socket) { awaitRoom(socket) }
    return ready.intersection(events)
  }

  /// `select` that does not wait: of the descriptors below `count` each set keeps those that are ready; the answer is how
  /// many there are in all. EBADF: one of them is none.
  public mutating func select(
    below count: Int32, read: inout DescriptorSet, write: inout DescriptorSet, except: inout DescriptorSet,
    of process: ProcessIndex
  ) throws(KernelError) -> Int {
    guard processes.contains(process) else { throw .noSuchProcess }
    guard count >= 0 else { throw .invalidArgument }
    settleWriters()
    var (readable, writable, exceptional) = (DescriptorSet(), DescriptorSet(), DescriptorSet())
    var total = 0
    let most = min(count, Int32(clamping: processes[process].limit))
    for number in 0..<most
    where read.contains(number) || write.contains(number) || except.contains(number) {
      guard processes[process].file(number) != nil else { throw .badDescriptor }
      // POLLIN_SET, POLLOUT_SET, POLLEX_SET.
      let ready = pollFile(number, [.in, .readNormal, .out, .writeNormal, .priority], of: process)
      if read.contains(number), !ready.isDisjoint(with: [.in, .readNormal, .hangUp, .error]) {
        readable.insert(number)
        total += 1
      }
      if write.contains(number), !ready.isDisjoint(with: [.out, .writeNormal, .error]) {
        writable.insert(number)
        total += 1
      }
      if except.contains(number), ready.contains(.priority) {
        exceptional.insert(number)
        total += 1
      }
    }
    (read, write, except) = (readable, writable, exceptional)
    return total
  }

  /// Has a record made, with this token, once one of the entries has an answer, or at once; `endAwait` ends the wait
  /// whatever has come of it.
  public mutating func awaitAny(
    _ entries: [PollEntry], token: UInt64, of process: ProcessIndex
  ) throws(KernelError) -> PollWait {
    guard processes.contains(process) else { throw .noSuchProcess }
    guard let epoll = epolls.insert(Epoll(isWait: true)) else { throw .noSpace }
    do throws(KernelError) {
      for (place, entry) in entries.enumerated() where entry.descriptor >= 0 {
        let file = try file(entry.descriptor, of: process)
        // The same descriptor may stand in several places.
        try watch(
          EpollItem(
            epoll: epoll, key: Epoll.Key(file: file, number: Int32(place)), target: files[file].kind,
            event: EpollEvent(entry.events), mode: []))
      }
    } catch {
      endEpoll(epoll)
      throw error
    }
    beginAwait(epoll, token)
    return PollWait(epoll: epoll)
  }

  /// Ends a wait.
  public mutating func endAwait(_ wait: PollWait) {
    if epolls.contains(wait.epoll) { endEpoll(wait.epoll) }
  }
}

/// A wait that has begun.
public struct PollWait: Hashable, Sendable {
  let epoll: EpollIndex
}
