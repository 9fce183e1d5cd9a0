// SPDX-License-Identifier: GPL-2.0-or-later

// poll and epoll, with their structs as they lie in memory.

import Glibc
import NetStack
import NetTypes

extension VirtualHost {
  private func end(afterMilliseconds timeout: Int32) -> Instant {
    timeout < 0 ? Instant(nanoseconds: .max) : now + .milliseconds(Int64(timeout))
  }

  func poll(
    _ list: UnsafeMutableRawPointer?, _ count: Int, _ timeout: Int32
  ) throws(CallFailure) -> Int32 {
    guard let list = list?.assumingMemoryBound(to: pollfd.self) else {
      guard count == 0 else { throw .badAddress }
      return 0
    }
    var entries: [PollEntry] = []
    for place in 0..<count {
      let number = list[place].fd < 0 ? list[place].fd : max(0, list[place].fd - Self.firstDescriptor)
      entries.append(PollEntry(number, Readiness(rawValue: UInt32(UInt16(bitPattern: list[place].events)))))
    }
    let ready = try waiting(until: end(afterMilliseconds: timeout)) { () throws(CallFailure) -> Int? in
      let ready = try checked { (kernel) throws(KernelError) in try kernel.poll(&entries, of: process) }
      return ready > 0 ? ready : nil
    }
    for place in 0..<count {
      list[place].revents = Int16(bitPattern: UInt16(truncatingIfNeeded: entries[place].result.rawValue))
    }
    return Int32(ready ?? 0)
  }

  // MARK: epoll

  func makeEpoll(_ size: Int32) throws(CallFailure) -> Int32 {
    guard size > 0 else { throw .invalid }
    let number = try checked { (kernel) throws(KernelError) in try kernel.makeEpoll(of: process) }
    return number + Self.firstDescriptor
  }

  /// struct epoll_event: packed on x86-64.
  private static var eventData: Int {
    #if arch(x86_64)
      4
    #else
      8
    #endif
  }

  func changeEpoll(
    _ instance: Int32, _ operation: Int32, _ descriptor: Int32, _ event: UnsafeMutableRawPointer?
  ) throws(CallFailure) -> Int32 {
    let instance = try number(instance)
    let number = try number(descriptor)
    if operation == 2 {
      try checked { (kernel) throws(KernelError) in
        try kernel.removeFromEpoll(instance, number, of: process)
      }
      return 0
    }
    guard let event else { throw .badAddress }
    let bits = event.loadUnaligned(as: UInt32.self)
    let data = event.loadUnaligned(fromByteOffset: Self.eventData, as: UInt64.self)
    var mode: EpollMode = []
    if bits & 1 << 31 != 0 { mode.insert(.edge) }
    if bits & 1 << 30 != 0 { mode.insert(.oneShot) }
    if bits & 1 << 28 != 0 { mode.insert(.exclusive) }
    let wanted = EpollEvent(Readiness(rawValue: bits & 0xffff), data: data)
    switch operation {
    case 1:
      try checked { (kernel) throws(KernelError) in
        try kernel.addToEpoll(instance, number, wanted, mode, of: process)
      }
    case 3:
      try checked { (kernel) throws(KernelError) in
        try kernel.changeInEpoll(instance, number, wanted, mode, of: process)
      }
    default: throw .invalid
    }
    return 0
  }

  func awaitEpoll(
    _ instance: Int32, _ events: UnsafeMutableRawPointer?, _ most: Int32, _ timeout: Int32
  ) throws(CallFailure) -> Int32 {
    let instance = try number(instance)
    guard let events else { throw .badAddress }
    let ready = try waiting(until: end(afterMilliseconds: timeout)) {
      () throws(CallFailure) -> [EpollEvent]? in
      let ready = try checked { (kernel) throws(KernelError) in
        try kernel.takeEpoll(instance, most: Int(most), of: process)
      }
      return ready.isEmpty ? nil : ready
    }
    var place = events
    for event in ready ?? [] {
      place.storeBytes(of: event.events.rawValue, as: UInt32.self)
      place.storeBytes(of: event.data, toByteOffset: Self.eventData, as: UInt64.self)
      place += Self.eventData + 8
    }
    return Int32(ready?.count ?? 0)
  }
}
