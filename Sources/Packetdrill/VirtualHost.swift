// SPDX-License-Identifier: GPL-2.0-or-later

// The host that packetdrill tests: one emulated kernel with a tun device whose far side is packetdrill, in virtual time.
//
// Time goes on where packetdrill lets it (usleep, the wait for a packet), from event to event. Calls that wait are made
// in a second thread: before time passes each of them has looked again, and who is done has told its time. A call of the
// thread that lets time pass, should it wait, lets it pass itself.

import Glibc
import NetStack
import NetTypes
import Rtnetlink

/// The emulated kernel behind packetdrill's table of calls.
final class VirtualHost: @unchecked Sendable {
  let monitor = Monitor()
  var kernel: Kernel
  let namespace: NamespaceIndex
  let process: ProcessIndex
  /// Every device, socket and timer of the kernel has been told this time.
  private(set) var now: Instant
  private let device: DeviceIndex
  /// What has left the device and was not asked for yet.
  private var sent: [(packet: [UInt8], time: Instant)] = []
  private var nextDeadline: Instant?
  var settings = HostSettings()
  var pipes: [Int32: Pipe] = [:]
  var streams: [Int32: StreamOptions] = [:]

  /// The thread that lets time pass: the one that packetdrill plays its script in.
  private let driver = pthread_self()
  /// Callers that wait, and until when; how often they were told to look again; how many of them have not yet.
  private var waiters: [Instant] = []
  private var round = 0
  private var yetToLook = 0
  /// Callers that have returned and not asked for the time yet, which packetdrill holds for the time of their return.
  private var returning = 0

  /// The descriptors of the emulated process begin here, so that none of them is one of the host's.
  static let firstDescriptor: Int32 = 1 << 16
  /// The clock begins so far from nothing that no protocol takes its first time for none.
  private static let start = Instant(nanoseconds: 1_000_000_000_000)
  /// 2026-01-01, in nanoseconds since 1970.
  static let epoch: Int64 = 1_767_225_600_000_000_000

  init(_ options: HostOptions) throws {
    var kernelOptions = Kernel.Options(seed: 1, pool: .init(packets: 8192))
    kernelOptions.epoch = Self.epoch
    var kernel = Kernel(kernelOptions, now: Self.start)
    namespace = try kernel.makeNamespace()
    process = try kernel.makeProcess(in: namespace)
    device = try options.configure(&kernel, namespace)
    self.kernel = kernel
    now = Self.start
    settings.begin()
    settle()
  }

  /// What the time of day is, in microseconds.
  var timeOfDay: Int64 { microseconds(now) }

  private func microseconds(_ time: Instant) -> Int64 { (Self.epoch + time.nanoseconds) / 1000 }

  // MARK: Time

  /// Has the kernel do what is due, and takes what it sends.
  func settle() {
    var isDone = false
    while !isDone {
      let result = kernel.poll(now: now)
      nextDeadline = result.nextDeadline
      isDone = !result.hasMore
      while let packet = kernel.takeFrame(from: device) {
        sent.append((packet, now))
        isDone = false
      }
    }
  }

  /// Lets time pass up to `end`, as far as the next event. False: `end` is reached and all is done.
  private func step(to end: Instant) -> Bool {
    var next = end
    for deadline in waiters + (nextDeadline.map { [$0] } ?? []) { next = min(next, deadline) }
    guard next < end || now < end else { return false }
    now = max(now, next)
    settle()
    serve()
    return true
  }

  /// Lets time pass up to `end`.
  func advance(to end: Instant) {
    serve()
    while step(to: end) {}
  }

  /// Lets a moment pass: who looks at the clock until it is late enough shall not look for ever.
  func look() -> Int64 {
    if returning > 0, !isDriver {
      returning -= 1
      monitor.wakeAll()
    } else {
      advance(to: now + .microseconds(1))
    }
    return timeOfDay
  }

  // MARK: Waiting

  private var isDriver: Bool { pthread_equal(driver, pthread_self()) != 0 }

  /// Has everybody who waits look again, and who is done return.
  func serve() {
    guard isDriver, !waiters.isEmpty || returning > 0 else { return }
    round += 1
    yetToLook = waiters.count
    monitor.wakeAll()
    while yetToLook > 0 { monitor.wait() }
    while returning > 0 {
      // A caller that never asks for the time is not waited for.
      if !monitor.waitBriefly() { returning = 0 }
    }
  }

  /// Tries a call until it has an answer; nil: `end` came before it.
  func waiting<Value>(
    until end: Instant = Instant(nanoseconds: .max), _ attempt: () throws(CallFailure) -> Value?
  ) throws(CallFailure) -> Value? {
    if let value = try attempt() { return value }
    if isDriver {
      while now < end {
        // Nothing will ever happen again: what waits would wait for ever.
        guard nextDeadline != nil || end.nanoseconds < .max else { throw CallFailure(EDEADLK) }
        _ = step(to: end)
        if let value = try attempt() { return value }
      }
      return nil
    }
    waiters.append(end)
    var seen = round
    defer {
      if let place = waiters.firstIndex(of: end) { waiters.remove(at: place) }
      yetToLook -= 1
      returning += 1
      monitor.wakeAll()
    }
    while true {
      while round == seen { monitor.wait() }
      seen = round
      if let value = try attempt() { return value }
      if now >= end { return nil }
      settle()
      yetToLook -= 1
      monitor.wakeAll()
    }
  }

  // MARK: The device's far side

  /// A packet comes in.
  func inject(_ packet: [UInt8]) {
    _ = kernel.inject(packet, into: device)
    settle()
    serve()
  }

  /// The next packet that leaves, and when it left in microseconds since 1970; nil: none leaves within `limit`.
  func nextPacket(within limit: Interval) -> (packet: [UInt8], time: Int64)? {
    let end = now + limit
    serve()
    while sent.isEmpty {
      guard step(to: end) else { return nil }
    }
    let first = sent.removeFirst()
    return (first.packet, microseconds(first.time))
  }
}
