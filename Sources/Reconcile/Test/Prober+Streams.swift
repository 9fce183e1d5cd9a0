// SPDX-License-Identifier: GPL-2.0-or-later

// Probes of many packets: a stream for as long as it takes, a train of echo requests.

import Glibc
import LabCore
import NetTypes
import Synchronization

/// Of two tasks that use a lab, the first to end leaves its clock; the other is then the one that was there before.
public final class FirstToEnd: Sendable {
  private let hasEnded = Atomic(false)

  public init() {}

  /// True for the first caller.
  public func claim() -> Bool { !hasEnded.exchange(true, ordering: .acquiringAndReleasing) }
}

extension Prober {
  static let tokenLength = 40
  private static let chunk = 65_536

  /// Sends on a connection for a time, but no more bytes than `limit`, and gives what has arrived: from the first byte to
  /// the last.
  func carry(
    from sender: any NodeEndpoint, to listener: any NodeEndpoint, during time: Interval, limit: Int
  ) async throws(DatapathError) -> (bytes: Int, time: Interval) {
    let accepted = try await listener.accept(timeout: .seconds(5)).connection
    return try await closing(accepted) { (receiver) async throws(DatapathError) in
      await clock.enter()
      let first = FirstToEnd()
      async let received = receive(over: receiver, patience: .seconds(10), first)
      let sent = await send(over: sender, during: time, limit: limit, first)
      // The task that waits for the other is not at work.
      let result = await received
      _ = try sent.get()
      return try result.get()
    }
  }

  private func send(
    over sender: any NodeEndpoint, during time: Interval, limit: Int, _ first: FirstToEnd
  ) async -> Result<Int, DatapathError> {
    let payload = [UInt8](repeating: 0x6e, count: Self.chunk)
    let end = clock.now() + time
    var sent = 0
    var result: Result<Int, DatapathError> = .success(0)
    do throws(DatapathError) {
      while sent < limit, clock.now() < end {
        try await sender.send(payload, to: nil)
        sent += payload.count
      }
      result = .success(sent)
    } catch {
      result = .failure(error)
    }
    await sender.close()
    if first.claim() { await clock.leave() }
    return result
  }

  private func receive(
    over receiver: any NodeEndpoint, patience: Interval, _ first: FirstToEnd
  ) async -> Result<(bytes: Int, time: Interval), DatapathError> {
    var bytes = 0
    var begin: Instant?
    var last = clock.now()
    var result: Result<(bytes: Int, time: Interval), DatapathError>
    do throws(DatapathError) {
      while true {
        let count = try await receiver.receive(limit: 1 << 20, timeout: patience).bytes.count
        if count == 0 { break }
        last = clock.now()
        // What came first had to be sent before the measuring began.
        if begin == nil { begin = last } else { bytes += count }
      }
      result = .success((bytes, last - (begin ?? last)))
    } catch {
      result = .failure(error)
    }
    if first.claim() { await clock.leave() }
    return result
  }

  /// How many of so many echo requests are answered; one is sent every 10 ms.
  func answers(_ request: ProbeRequest, count: Int, patience: Interval) async throws(DatapathError) -> Int {
    let options = EchoOptions(source: request.sourceAddress)
    return try await withEndpoint(.echo(request.address.family, options), in: request.source) {
      (socket) async throws(DatapathError) in
      let token = Array(self.token().utf8)
      var answered: Set<[UInt8]> = []
      for number in 0..<count {
        let next = clock.now() + .milliseconds(10)
        do throws(DatapathError) {
          try await socket.send(
            token + [UInt8(number >> 16), UInt8(number >> 8 & 0xff), UInt8(number & 0xff)],
            to: SocketEndpoint(request.address, 0))
        } catch {
          // An error about an earlier request; this one counts as lost.
          guard [EHOSTUNREACH, ENETUNREACH, ECONNREFUSED].contains(error.errno ?? 0) else { throw error }
        }
        try await collect(token, from: socket, until: next, into: &answered)
      }
      let end = clock.now() + patience
      while answered.count < count, clock.now() < end {
        let until = min(end, clock.now() + .milliseconds(200))
        try await collect(token, from: socket, until: until, into: &answered)
      }
      return answered.count
    }
  }

  private func collect(
    _ token: [UInt8], from socket: any NodeEndpoint, until deadline: Instant,
    into answered: inout Set<[UInt8]>
  ) async throws(DatapathError) {
    while clock.now() < deadline {
      do throws(DatapathError) {
        let datagram = try await socket.receive(limit: 2048, timeout: max(deadline - clock.now(), .zero))
        if datagram.error == nil, datagram.bytes.starts(with: token) { answered.insert(datagram.bytes) }
      } catch {
        if error.code == .timeout { return }
        throw error
      }
    }
  }
}
