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
  ) throws(KernelError) -> (EpollIndex, Epoll.Key, SocketIndex) {
    let own = try file(instance, of: process)
    let file = try file(number, of: process)
    guard own != file else { throw .invalidArgument }
    let epoll = try epoll(instance, of: process)
    guard case .socket(let socket) = files[file].kind else {
      throw .notSupported("an epoll instance cannot watch another one here")
    }
    return (epoll, Epoll.Key(file: file, number: number), socket)
  }

  /// EPOLL_CTL_ADD. EEXIST: it is watched already; EINVAL: an exclusive one may not be told once only.
  public mutating func addToEpoll(
    _ instance: Int32, _ number: Int32, _ event: EpollEvent, _ mode: EpollMode = [], of process: ProcessIndex
  ) throws(KernelError) {
    let (epoll, key, socket) = try target(number, in: instance, of: process)
    guard !mode.isSuperset(of: [.exclusive, .oneShot]),
      !mode.contains(.exclusive) || event.events.subtracting(Self.exclusiveEvents).isEmpty
    else { throw .invalidArgument }
    guard epolls[epoll].items[key] == nil else { throw .exists }
    try watch(EpollItem(epoll: epoll, key: key, socket: socket, event: event, mode: mode))
  }

  /// EPOLLEXCLUSIVE_OK_BITS.
  private static let exclusiveEvents: Readiness = [.in, .out, .error, .hangUp]

  /// Begins to watch.
  mutating func watch(_ item: EpollItem) throws(KernelError) {
    var item = item
    item.event.events.formUnion(.always)
    guard let index = epollItems.insert(item) else { throw .noSpace }
    epolls[item.epoll].items[item.key] = index
    link(index)
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
    var index = sockets[socket].watchers
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

  private mutating func wake(_ epoll: EpollIndex) {
    guard let token = epolls[epoll].token else { return }
    epolls[epoll].token = nil
    cpu.epollWakeups.append(token)
  }

  /// What is to be told of an item now (ep_item_poll).
  private mutating func currentEvents(_ index: EpollItemIndex) -> Readiness {
    guard !epollItems[index].isDisabled else { return [] }
    return readiness(of: epollItems[index].socket, for: epollItems[index].event.events)
  }

  /// An item that is new, or asks for something else: what there is already is told.
  private mutating func settle(_ index: EpollItemIndex) {
    guard !currentEvents(index).isEmpty else { return }
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
    let socket = epollItems[index].socket
    let first = sockets[socket].watchers
    guard epollItems[index].mode.contains(.exclusive), !first.isNone else {
      epollItems[index].next = first
      if !first.isNone { epollItems[first].previous = index }
      sockets[socket].watchers = index
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
      sockets[item.socket].watchers = item.next
    } else {
      epollItems[item.previous].next = item.next
    }
    if !item.next.isNone { epollItems[item.next].previous = item.previous }
    epolls[item.epoll].items[item.key] = nil
    epollItems.remove(index)
  }

  /// An open file has gone: nobody watches it any more (eventpoll_release).
  mutating func removeWatchers(of socket: SocketIndex) {
    while !sockets[socket].watchers.isNone { removeItem(sockets[socket].watchers) }
  }

  mutating func endEpoll(_ epoll: EpollIndex) {
    for index in epolls[epoll].items.values.sorted(by: { $0.rawValue < $1.rawValue }) { removeItem(index) }
    epolls.remove(epoll)
  }
}
