// SPDX-License-Identifier: GPL-2.0-or-later

// What a socket is ready for, with the bits of epoll, and how whoever drives the kernel hears of it: a record for each
// socket with news since the last record was taken, never more than one a socket.

/// What a socket is ready for (`EPOLL*`).
public struct Readiness: OptionSet, Hashable, Sendable, BitwiseCopyable {
  /// The kernel's bits.
  public var rawValue: UInt32

  /// From the kernel's bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Receiving would not block.
  public static let `in` = Readiness(rawValue: 0x001)
  /// There is urgent data.
  public static let priority = Readiness(rawValue: 0x002)
  /// Sending would not block.
  public static let out = Readiness(rawValue: 0x004)
  /// There is an error to be asked for.
  public static let error = Readiness(rawValue: 0x008)
  /// Neither direction carries anything any more.
  public static let hangUp = Readiness(rawValue: 0x010)
  /// There is no such descriptor; only `poll` tells this.
  public static let invalid = Readiness(rawValue: 0x020)
  /// As `in`.
  public static let readNormal = Readiness(rawValue: 0x040)
  /// As `out`.
  public static let writeNormal = Readiness(rawValue: 0x100)
  /// As `out`, on datagram sockets.
  public static let writeBand = Readiness(rawValue: 0x200)
  /// The other end sends nothing any more.
  public static let readHangUp = Readiness(rawValue: 0x2000)

  static let readable: Readiness = [.in, .readNormal]
  static let writable: Readiness = [.out, .writeNormal, .writeBand]
  /// What is always told.
  static let always: Readiness = [.error, .hangUp]
}

/// News about a socket.
public struct Wakeup: Hashable, Sendable {
  /// Which one.
  public var socket: SocketIndex
  /// What the waiter gave when it began to wait.
  public var token: UInt64
  /// What it is ready for now.
  public var readiness: Readiness
  /// How often something has happened to it; it counts on with every event, also those of one record.
  public var sequence: UInt32
}

/// A socket's waiter.
struct SocketWait {
  /// Nil: nobody waits.
  var token: UInt64?
  var interest: Readiness = []
  /// It stands in the CPU's ring.
  var isPosted = false
  var sequence: UInt32 = 0
}

extension Kernel {
  /// What a socket is ready for now (datagram_poll, tcp_poll).
  public func readiness(of index: SocketIndex) -> Readiness {
    guard isOpen(index) else { return .always }
    if sockets[index].kind.isStream { return streamReadiness(of: index) }
    var ready: Readiness = []
    if sockets[index].error != 0 || !sockets[index].errorQueue.isEmpty { ready.insert(.error) }
    if sockets[index].shutdown.contains(.receive) { ready.formUnion([.readHangUp, .in, .readNormal]) }
    if sockets[index].shutdown == .both { ready.insert(.hangUp) }
    if sockets[index].receiveQueue.count > 0 { ready.formUnion(.readable) }
    if isWritable(index) { ready.formUnion(.writable) }
    return ready
  }

  /// sock_writeable: less than half of the send buffer is taken.
  func isWritable(_ index: SocketIndex) -> Bool {
    pool.writers.charged(to: index.rawValue) < sockets[index].options.sendBuffer / 2
  }

  /// Begins to wait for any of `interest`, or changes what is waited for; errors and hang-ups are always told. What the
  /// socket is ready for already is told at once, after that every event is, until `cancelWait`.
  public mutating func wait(for interest: Readiness, on index: SocketIndex, token: UInt64) {
    guard isOpen(index) else { return }
    sockets[index].wait.token = token
    sockets[index].wait.interest = interest
    let ready = readiness(of: index)
    if interest.contains(.out), !ready.contains(.out) { awaitRoom(index) }
    if !ready.isDisjoint(with: interest.union(.always)) { post(index) }
  }

  /// Ends the wait that began with `token`; nothing happens when another one has taken its place.
  public mutating func cancelWait(_ token: UInt64, on index: SocketIndex) {
    guard isOpen(index), sockets[index].wait.token == token else { return }
    sockets[index].wait.token = nil
    sockets[index].wait.interest = []
    unpost(index)
  }

  /// The sockets with news since this was last asked, in the order of their first news.
  public mutating func takeWakeups() -> [Wakeup] {
    settleWriters()
    var wakeups: [Wakeup] = []
    while let value = cpu.wakeups.pop() {
      let index = SocketIndex(value)
      sockets[index].wait.isPosted = false
      guard let token = sockets[index].wait.token else { continue }
      wakeups.append(
        Wakeup(
          socket: index, token: token, readiness: readiness(of: index),
          sequence: sockets[index].wait.sequence))
    }
    return wakeups
  }

  /// Something has happened to a socket (sk_data_ready, sk_write_space, sk_error_report, sk_state_change).
  mutating func notify(_ index: SocketIndex, _ what: Readiness) {
    sockets[index].wait.sequence &+= 1
    let interest = sockets[index].wait.interest.union(.always)
    if sockets[index].wait.token != nil, !what.isDisjoint(with: interest) { post(index) }
    if !sockets[index].watchers.isNone { wakeWatchers(of: index, what) }
  }

  private mutating func post(_ index: SocketIndex) {
    guard !sockets[index].wait.isPosted else { return }
    sockets[index].wait.isPosted = cpu.wakeups.push(index.rawValue)
  }

  mutating func unpost(_ index: SocketIndex) {
    guard sockets[index].wait.isPosted else { return }
    sockets[index].wait.isPosted = false
    cpu.wakeups.remove(index.rawValue)
  }

  /// A sender found no room: it is told when there is half of it again (SOCK_NOSPACE, sock_def_write_space).
  mutating func awaitRoom(_ index: SocketIndex) {
    guard !sockets[index].kind.isStream else {
      tcps[sockets[index].tcp].awaitsRoom = true
      return
    }
    pool.writers.await(index.rawValue, max(sockets[index].options.sendBuffer / 2 - 1, 0))
  }

  /// Tells those that wait for room that they have it, and ends closed sockets whose last packet has gone.
  mutating func settleWriters() {
    while let value = pool.writers.released.pop() {
      let index = SocketIndex(value)
      guard sockets.contains(index) else { continue }
      if !sockets[index].tcp.isNone {
        // What waited for its packets to leave goes on (tcp_tsq_handler).
        if tcps[sockets[index].tcp].state.isSynchronized { tcpGoOn(sockets[index].tcp) }
      } else if sockets[index].isClosed, sockets[index].timeWait.isNone {
        if pool.writers.charged(to: value) == 0 { forgetSocket(index) }
      } else {
        notify(index, .writable)
      }
    }
  }
}
