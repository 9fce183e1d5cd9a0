// SPDX-License-Identifier: GPL-2.0-or-later

// A connected socket of the host for tasks: who has to wait is resumed by the reactor.

import Glibc
import Synchronization

/// One reader and one writer at a time.
final class HostStream: Sendable {
  private struct State {
    /// -1 when it is closed.
    var socket: Int32
    var reader: CheckedContinuation<Void, Never>?
    var writer: CheckedContinuation<Void, Never>?

    /// What to wait for.
    var interest: UInt32 {
      (reader == nil ? 0 : Reactor.readable) | (writer == nil ? 0 : Reactor.writable)
    }
  }

  private let reactor: Reactor
  private let state: Mutex<State>

  /// Takes over a non-blocking socket.
  init(_ socket: Int32, _ reactor: Reactor) {
    self.reactor = reactor
    state = Mutex(State(socket: socket))
    reactor.add(socket, 0) { [weak self] events in self?.wake(events) }
  }

  deinit { close() }

  private func wake(_ events: UInt32) {
    // Errors and hang-ups are for both.
    let isEnd = events & ~(Reactor.readable | Reactor.writable) != 0
    let (reader, writer) = state.withLock { state in
      let reader = isEnd || events & Reactor.readable != 0 ? state.reader : nil
      let writer = isEnd || events & Reactor.writable != 0 ? state.writer : nil
      if reader != nil { state.reader = nil }
      if writer != nil { state.writer = nil }
      if state.socket >= 0 {
        // Nobody waits for a hang-up, which is told without being asked for: it would be told for ever.
        if isEnd && reader == nil && writer == nil {
          reactor.remove(state.socket)
        } else {
          reactor.change(state.socket, state.interest)
        }
      }
      return (reader, writer)
    }
    reader?.resume()
    writer?.resume()
  }

  private func wait(for place: WritableKeyPath<State, CheckedContinuation<Void, Never>?>) async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        guard state.socket >= 0 else { return false }
        state[keyPath: place] = continuation
        reactor.change(state.socket, state.interest)
        return true
      }
      if !isOpen { continuation.resume() }
    }
  }

  /// What is there, at least a byte. Nil: the other end has ended, or the connection has failed.
  func read(limit: Int) async -> [UInt8]? {
    while true {
      var count = 0
      var number: Int32 = 0
      let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
        count = state.withLock { recv($0.socket, buffer.baseAddress, buffer.count, 0) }
        number = errno
        initialized = max(count, 0)
      }
      if count > 0 { return bytes }
      guard count < 0, number == EAGAIN || number == EINTR else { return nil }
      await wait(for: \.reader)
    }
  }

  /// Hands all over. False: nobody takes it any more.
  func write(_ bytes: [UInt8]) async -> Bool {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes { rest in
        state.withLock {
          send($0.socket, rest.baseAddress, rest.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
        }
      }
      if count >= 0 {
        sent += count
        continue
      }
      guard errno == EAGAIN || errno == EINTR else { return false }
      await wait(for: \.writer)
    }
    return true
  }

  /// Ends one direction, or both, which wakes who waits.
  func shutdown(_ how: Int) {
    state.withLock { state in
      if state.socket >= 0 { _ = Glibc.shutdown(state.socket, Int32(how)) }
    }
  }

  func close() {
    let waiting = state.withLock { state in
      defer { state = State(socket: -1) }
      if state.socket >= 0 {
        reactor.remove(state.socket)
        Glibc.close(state.socket)
      }
      return (state.reader, state.writer)
    }
    waiting.0?.resume()
    waiting.1?.resume()
  }
}
