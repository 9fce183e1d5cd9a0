// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets come, get names and peers, and end. Descriptors are the emulated process's, counted from `firstDescriptor`.

import Glibc
import NetStack
import NetTypes

extension VirtualHost {
  /// The emulated process's own number of a descriptor. EBADF: none of ours.
  func number(_ descriptor: Int32) throws(CallFailure) -> Int32 {
    guard descriptor >= Self.firstDescriptor else { throw CallFailure(EBADF) }
    return descriptor - Self.firstDescriptor
  }

  func socket(_ descriptor: Int32) throws(CallFailure) -> SocketIndex {
    let number = try number(descriptor)
    return try checked { (kernel) throws(KernelError) in try kernel.socket(number, of: process) }
  }

  /// Does something with the kernel; its errors are the call's.
  func checked<Value>(
    _ body: (inout Kernel) throws(KernelError) -> Value
  ) throws(CallFailure) -> Value {
    do throws(KernelError) {
      return try body(&kernel)
    } catch {
      throw CallFailure(error)
    }
  }

  /// The same of a verb that may have to wait: nil for EAGAIN.
  func attempt<Value>(
    _ body: (inout Kernel) throws(KernelError) -> Value
  ) throws(CallFailure) -> Value? {
    do throws(KernelError) {
      return try body(&kernel)
    } catch {
      if error.errno == EAGAIN { return nil }
      throw CallFailure(error)
    }
  }

  func isNonBlocking(_ descriptor: Int32) throws(CallFailure) -> Bool {
    let number = try number(descriptor)
    let flags = try checked { (kernel) throws(KernelError) in try kernel.flags(of: number, of: process) }
    return flags.contains(.nonBlocking)
  }

  // MARK: Calls

  func makeSocket(_ domain: Int32, _ type: Int32, _ proto: Int32) throws(CallFailure) -> Int32 {
    let family: IPFamily
    switch domain {
    case AF_INET: family = .ipv4
    case AF_INET6: family = .ipv6
    default: throw CallFailure(EAFNOSUPPORT)
    }
    let kind: SocketKind
    switch (type & 0xf, proto) {
    case (1, 0), (1, 6): kind = .tcp(family)
    case (2, 0), (2, 17): kind = .udp(family)
    case (2, 1) where family == .ipv4, (2, 58) where family == .ipv6: kind = .ping(family)
    case (3, 1...255): kind = .raw(family, UInt8(proto))
    case (1...3, _): throw CallFailure(EPROTONOSUPPORT)
    default: throw CallFailure(ESOCKTNOSUPPORT)
    }
    let flags: DescriptorFlags = type & O_NONBLOCK != 0 ? .nonBlocking : []
    let number = try checked { (kernel) throws(KernelError) in
      try kernel.socket(kind, flags: flags, of: process)
    }
    return number + Self.firstDescriptor
  }

  func bind(
    _ descriptor: Int32, _ name: UnsafeRawPointer?, _ length: UInt32
  ) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    let name = try SocketAddress(name, length)
    try checked { (kernel) throws(KernelError) in try kernel.bind(socket, to: name) }
    return 0
  }

  func listen(_ descriptor: Int32, _ backlog: Int32) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    try checked { (kernel) throws(KernelError) in try kernel.listen(socket, backlog: Int(backlog)) }
    return 0
  }

  func accept(
    _ descriptor: Int32, _ name: UnsafeMutableRawPointer?, _ length: UnsafeMutablePointer<UInt32>?
  ) throws(CallFailure) -> Int32 {
    let number = try number(descriptor)
    let end: Instant = try isNonBlocking(descriptor) ? now : Instant(nanoseconds: .max)
    let accepted = try waiting(until: end) { () throws(CallFailure) in
      try attempt { (kernel) throws(KernelError) in try kernel.accept(number, of: process) }
    }
    guard let accepted else { throw .wouldBlock }
    let result = accepted + Self.firstDescriptor
    let socket = try socket(result)
    if let peer = try? kernel.peerName(of: socket) { peer.write(to: name, length) }
    streams[result] = streams[descriptor]
    return result
  }

  func connect(
    _ descriptor: Int32, _ name: UnsafeRawPointer?, _ length: UInt32
  ) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    let peer = try SocketAddress(name, length)
    let isNonBlocking = try isNonBlocking(descriptor)
    var isAsked = false
    _ = try waiting { () throws(CallFailure) -> Bool? in
      // Once asked for, it is looked at when it stands or has failed.
      if isAsked, kernel.readiness(of: socket).isDisjoint(with: [.out, .error, .hangUp]) { return nil }
      do throws(KernelError) {
        try kernel.connect(socket, to: peer)
        return true
      } catch {
        let isUnderWay = error.errno == EINPROGRESS || isAsked && error.errno == EALREADY
        guard isUnderWay, !isNonBlocking else { throw CallFailure(error) }
        isAsked = true
        settle()
        return nil
      }
    }
    return 0
  }

  func shutdown(_ descriptor: Int32, _ how: Int32) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    guard (0...2).contains(how) else { throw .invalid }
    try checked { (kernel) throws(KernelError) in
      try kernel.shutdown(socket, [.receive, .send, .both][Int(how)])
    }
    return 0
  }

  func close(_ descriptor: Int32) throws(CallFailure) -> Int32 {
    if closePipe(descriptor) { return 0 }
    let number = try number(descriptor)
    try checked { (kernel) throws(KernelError) in try kernel.close(number, of: process) }
    streams[descriptor] = nil
    return 0
  }

  func fcntl(_ descriptor: Int32, _ command: Int32, _ argument: Int) throws(CallFailure) -> Int32 {
    let number = try number(descriptor)
    let flags = try checked { (kernel) throws(KernelError) in try kernel.flags(of: number, of: process) }
    switch command {
    case F_GETFL: return O_RDWR | (flags.contains(.nonBlocking) ? O_NONBLOCK : 0)
    case F_SETFL:
      let isOn = argument & Int(O_NONBLOCK) != 0
      try checked { (kernel) throws(KernelError) in
        try kernel.setNonBlocking(isOn, number, of: process)
      }
      return 0
    case F_GETFD: return flags.contains(.closeOnExec) ? FD_CLOEXEC : 0
    case F_SETFD:
      try checked { (kernel) throws(KernelError) in
        try kernel.setCloseOnExec(argument & Int(FD_CLOEXEC) != 0, number, of: process)
      }
      return 0
    default: throw .invalid
    }
  }

  /// SIOCINQ, SIOCOUTQ, SIOCOUTQNSD.
  func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: Int) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    guard let place = UnsafeMutablePointer<Int32>(bitPattern: argument) else { throw .badAddress }
    let queues = try checked { (kernel) throws(KernelError) in try kernel.queues(of: socket) }
    switch request {
    case 0x541b: place.pointee = Int32(clamping: queues.received)
    case 0x5411: place.pointee = Int32(clamping: queues.unacknowledged)
    case 0x894b: place.pointee = Int32(clamping: queues.unsent)
    default: throw CallFailure(ENOTTY)
    }
    return 0
  }
}
