// SPDX-License-Identifier: GPL-2.0-or-later

// epoll_create, epoll_ctl, epoll_wait (fs/eventpoll.c). As all verbs they never wait: `awaitEpoll` has a record made, with
// the caller's token, when there is something to tell.

extension Kernel {
  // MARK: Verbs

  /// `epoll_create1`.
  public mutating func makeEpoll(
    flags: DescriptorFlags = [], of process: ProcessIndex
  ) throws(KernelError) -> Int32 {
    guard let epoll = epolls.insert(Epoll()) else { throw .tooManyFiles }
    do throws(KernelError) {
      return try open(.epoll(epoll), flags.subtracting(.nonBlocking), of: process)
    } catch {
      epolls.remove(epoll)
      throw error
    }
  }

  private func epoll(_ number: Int32, of process: ProcessIndex) throws(KernelError) -> EpollIndex {
    guard case .epoll(let epoll) = files[try file(number, of: process)].kind else { throw .invalidArgument }
    return epoll
  }

  private func target(
    _ number: Int32, in instance: Int32, of process: ProcessIndex
  ) throws(KernelError) -> (EpollIndex, Epoll.Key, OpenFile.Kind) {
    let own = try file(instance, of: process)
    let file = try file(number, of: process)
    guard own != file else { throw .invalidArgument }
    let epoll = try epoll(instance, of: process)
    return (epoll, Epoll.Key(file: file, number: number), files[file].kind)
  }

  /// EPOLL_CTL_ADD. EEXIST: it is watched already; EINVAL: an exclusive one may not be told once only, nor be an instance,
  /// or its news would take too many ways; ELOOP: instances would watch each other, or stand too deep in one another.
  public mutating func addToEpoll(
    _ instance: Int32, _ number: Int32, _ event: EpollEvent, _ mode: EpollMode = [], of process: ProcessIndex
  ) throws(KernelError) {
    let (epoll, key, target) = try target(number, in: instance, of: process)
    guard !mode.isSuperset(of: [.exclusive, .oneShot]),
      !mode.contains(.exclusive) || event.events.subtracting(Self.exclusiveEvents).isEmpty
    else { throw .invalidArgument }
    var isNested = !epolls[epoll].watchers.isNone
    if case .epoll(let other) = target {
      guard !mode.contains(.exclusive) else { throw .invalidArgument }
      guard mayNest(other, in: epoll) else { throw .loop }
      isNested = true
    }
    guard epolls[epoll].items[key] == nil else { throw .exists }
    try watch(
      EpollItem(epoll: epoll, key: key, target: target, event: event, mode: mode), isNested: isNested)
  }

  /// EPOLLEXCLUSIVE_OK_BITS.
  private static let exclusiveEvents: Readiness = [.in, .out, .error, .hangUp]

  /// Begins to watch.
  mutating func watch(_ item: EpollItem, isNested: Bool = false) throws(KernelError) {
    var item = item
    item.event.events.formUnion(.always)
    guard let index = epollItems.insert(item) else { throw .noSpace }
    epolls[item.epoll].items[item.key] = index
    link(index)
    if isNested, hasTooManyWays(item.target) {
      removeItem(index)
      throw .invalidArgument
    }
    settle(index)
  }

  /// EPOLL_CTL_MOD. ENOENT: it is not watched; EINVAL: it is, or is to be, exclusive.
  public mutating func changeInEpoll(
    _ instance: Int32, _ number: Int32, _ event: EpollEvent, _ mode: EpollMode = [], of process: ProcessIndex
  ) throws(KernelError) {
    let (epoll, key, _) = try target(number, in: instance, of: process)
    guard !mode.contains(.exclusive) else { throw .invalidArgument }
    guard let index = epolls[epoll].items[key] else { throw .noSuchEntry }
    guard !epollItems[index].mode.contains(.exclusive) else { throw .invalidArgument }
    epollItems[index].event = EpollEvent(event.events.union(.always), data: event.data)
    epollItems[index].mode = mode
    epollItems[index].isDisabled = false
    settle(index)
  }

  /// EPOLL_CTL_DEL. ENOENT: it is not watched.
  public mutating func removeFromEpoll(
    _ instance: Int32, _ number: Int32, of process: ProcessIndex
  ) throws(KernelError) {
    let (epoll, key, _) = try target(number, in: instance, of: process)
    guard let index = epolls[epoll].items[key] else { throw .noSuchEntry }
    removeItem(index)
  }

  /// `epoll_wait` that does not wait: what there is to tell, at most `most`.
  public mutating func takeEpoll(
    _ instance: Int32, most: Int, of process: ProcessIndex
  ) throws(KernelError) -> [EpollEvent] {
    guard most > 0 else { throw .invalidArgument }
    let epoll = try epoll(instance, of: process)
    settleWriters()
    var events: [EpollEvent] = []
    for _ in 0..<epolls[epoll].readyCount where events.count < most {
      let index = epolls[epoll].firstReady
      takeReady(index)
      let ready = currentEvents(index)
      guard !ready.isEmpty else { continue }
      events.append(EpollEvent(ready, data: epollItems[index].event.data))
      if epollItems[index].mode.contains(.oneShot) {
        epollItems[index].isDisabled = true
      } else if !epollItems[index].mode.contains(.edge) {
        // It is looked at again the next time.
        addReady(index)
      }
    }
    return events
  }

  /// Has a record made, with this token, once there is something to tell, or at once. Another waiter's place is taken.
  public mutating func awaitEpoll(
    _ instance: Int32, token: UInt64, of process: ProcessIndex
  ) throws(KernelError) {
    beginAwait(try epoll(instance, of: process), token)
  }

  mutating func beginAwait(_ epoll: EpollIndex, _ token: UInt64) {
    epolls[epoll].token = token
    var index = epolls[epoll].firstReady
    while !index.isNone {
      if !currentEvents(index).isEmpty {
        wake(epoll)
        return
      }
      index = epollItems[index].nextReady
    }
  }

  /// The tokens of those whose instances have something to tell, in the order of the news. They wait no more.
  public mutating func takeEpollWakeups() -> [UInt64] {
    settleWriters()
    defer { cpu.epollWakeups = [] }
    return cpu.epollWakeups
  }

  // MARK: News

  /// Something has happened to a socket that is watched (ep_poll_callback).
  mutating func wakeWatchers(of socket: SocketIndex, _ what: Readiness) {
    wakeWatchers(from: sockets[socket].watchers, what)
  }

  private mutating func wakeWatchers(from first: EpollItemIndex, _ what: Readiness) {
    var index = first
    // What ends is told to all, as a change of state is (sock_def_wakeup).
    let isForAll = !what.isDisjoint(with: [.hangUp, .readHangUp])
    while !index.isNone {
      let next = epollItems[index].next
      if !epollItems[index].isDisabled,
        what.isEmpty || !what.isDisjoint(with: epollItems[index].event.events)
      {
        addReady(index)
        let epoll = epollItems[index].epoll
        let isAwaited = epolls[epoll].token != nil
        wake(epoll)
        if epollItems[index].mode.contains(.exclusive), isAwaited, !isForAll,
          takes(what, epollItems[index].event.events)
        {
          return
        }
      }
      index = next
    }
  }

  /// Whether news is used up by an exclusive watcher.
  private func takes(_ what: Readiness, _ events: Readiness) -> Bool {
    switch (what.contains(.in), what.contains(.out)) {
    case (true, false): events.contains(.in)
    case (false, true): events.contains(.out)
    case (false, false): true
    case (true, true): false
    }
  }

  /// An instance may have something to tell: to who waits for it, and to those that watch it (ep_poll_safewake).
  private mutating func wake(_ epoll: EpollIndex) {
    if let token = epolls[epoll].token {
      epolls[epoll].token = nil
      cpu.epollWakeups.append(token)
    }
    if !epolls[epoll].watchers.isNone { wakeWatchers(from: epolls[epoll].watchers, .in) }
  }

  /// What an instance is ready for: what it has nothing to tell of any more leaves its list (__ep_eventpoll_poll).
  mutating func readiness(of epoll: EpollIndex) -> Readiness {
    while !epolls[epoll].firstReady.isNone {
      let index = epolls[epoll].firstReady
      if !currentEvents(index).isEmpty { return [.in, .readNormal] }
      takeReady(index)
    }
    return []
  }

  /// What is to be told of an item now (ep_item_poll).
  private mutating func currentEvents(_ index: EpollItemIndex) -> Readiness {
    guard !epollItems[index].isDisabled else { return [] }
    let events = epollItems[index].event.events
    switch epollItems[index].target {
    case .socket(let socket): return readiness(of: socket, for: events)
    case .epoll(let epoll): return readiness(of: epoll).intersection(events)
    }
  }

  /// An item that is new, or asks for something else: what there is already is told, if it was not to be anyway.
  private mutating func settle(_ index: EpollItemIndex) {
    guard !currentEvents(index).isEmpty, !epollItems[index].isReady else { return }
    addReady(index)
    wake(epollItems[index].epoll)
  }

  // MARK: Lists

  private mutating func addReady(_ index: EpollItemIndex) {
    guard !epollItems[index].isReady else { return }
    let epoll = epollItems[index].epoll
    let last = epolls[epoll].lastReady
    epollItems[index].isReady = true
    epollItems[index].previousReady = last
    epollItems[index].nextReady = .none
    if last.isNone { epolls[epoll].firstReady = index } else { epollItems[last].nextReady = index }
    epolls[epoll].lastReady = index
    epolls[epoll].readyCount += 1
  }

  private mutating func takeReady(_ index: EpollItemIndex) {
    guard epollItems[index].isReady else { return }
    let epoll = epollItems[index].epoll
    let (previous, next) = (epollItems[index].previousReady, epollItems[index].nextReady)
    if previous.isNone { epolls[epoll].firstReady = next } else { epollItems[previous].nextReady = next }
    if next.isNone { epolls[epoll].lastReady = previous } else { epollItems[next].previousReady = previous }
    epollItems[index].isReady = false
    epolls[epoll].readyCount -= 1
  }

  /// Exclusive ones stand behind all others, in order of coming (add_wait_queue_exclusive); others before.
  private mutating func link(_ index: EpollItemIndex) {
    let target = epollItems[index].target
    let first = watchers(of: target)
    guard epollItems[index].mode.contains(.exclusive), !first.isNone else {
      epollItems[index].next = first
      if !first.isNone { epollItems[first].previous = index }
      setWatchers(of: target, index)
      return
    }
    var last = first
    while !epollItems[last].next.isNone { last = epollItems[last].next }
    epollItems[last].next = index
    epollItems[index].previous = last
  }

  private mutating func removeItem(_ index: EpollItemIndex) {
    takeReady(index)
    let item = epollItems[index]
    if item.previous.isNone {
      setWatchers(of: item.target, item.next)
    } else {
      epollItems[item.previous].next = item.next
    }
    if !item.next.isNone { epollItems[item.next].previous = item.previous }
    epolls[item.epoll].items[item.key] = nil
    epollItems.remove(index)
  }

  private func watchers(of target: OpenFile.Kind) -> EpollItemIndex {
    switch target {
    case .socket(let socket): sockets[socket].watchers
    case .epoll(let epoll): epolls[epoll].watchers
    }
  }

  private mutating func setWatchers(of target: OpenFile.Kind, _ first: EpollItemIndex) {
    switch target {
    case .socket(let socket): sockets[socket].watchers = first
    case .epoll(let epoll): epolls[epoll].watchers = first
    }
  }

  /// An open file has gone: nobody watches it any more (eventpoll_release).
  mutating func removeWatchers(of target: OpenFile.Kind) {
    while true {
      let first = watchers(of: target)
      guard !first.isNone else { return }
      removeItem(first)
    }
  }

  mutating func endEpoll(_ epoll: EpollIndex) {
    for index in epolls[epoll].items.values.sorted(by: { $0.rawValue < $1.rawValue }) { removeItem(index) }
    epolls.remove(epoll)
  }
}
