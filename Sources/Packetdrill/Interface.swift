// SPDX-License-Identifier: GPL-2.0-or-later

// The table of calls that packetdrill is given. Each takes the lock, has the emulated kernel follow the host's settings,
// does what is asked, lets the kernel do what follows from it, and tells errors as the C library does.

public import CPacketdrill
import Glibc
import NetStack
import NetTypes

/// Fills in packetdrill's table; `flags` is its `--so_flags`, see `HostOptions`.
@c(packetdrill_interface_init)
public func makeInterface(
  _ flags: UnsafePointer<CChar>?, _ table: UnsafeMutablePointer<nf_packetdrill_table>
) {
  let host: VirtualHost
  do {
    host = try VirtualHost(HostOptions(flags.map { String(cString: $0) } ?? ""))
  } catch {
    complain("the emulated host cannot be set up: \(error)")
    exit(1)
  }
  var calls = nf_packetdrill_table()
  calls.context = Unmanaged.passRetained(host).toOpaque()
  calls.end = { if let context = $0 { Unmanaged<VirtualHost>.fromOpaque(context).release() } }
  addSockets(&calls)
  addMessages(&calls)
  addPolling(&calls)
  addDevice(&calls)
  nf_packetdrill_interpose(VirtualHost.firstDescriptor, calls)
  table.pointee = calls
}

/// One call.
private func call<Value: FixedWidthInteger>(
  _ context: UnsafeMutableRawPointer?, _ body: (VirtualHost) throws(CallFailure) -> Value
) -> Value {
  guard let context else { return 0 }
  let host = Unmanaged<VirtualHost>.fromOpaque(context).takeUnretainedValue()
  host.monitor.enter()
  defer { host.monitor.leave() }
  host.settings.follow(&host.kernel, host.namespace)
  do throws(CallFailure) {
    let value = try body(host)
    host.settle()
    host.serve()
    return value
  } catch {
    host.settle()
    host.serve()
    errno = error.errno
    return ~0
  }
}

/// The same of a call that is about time alone.
private func timeCall(_ context: UnsafeMutableRawPointer?, _ body: (VirtualHost) -> Int32) -> Int32 {
  guard let context else { return 0 }
  let host = Unmanaged<VirtualHost>.fromOpaque(context).takeUnretainedValue()
  host.monitor.enter()
  defer { host.monitor.leave() }
  return body(host)
}

private func addSockets(_ calls: inout nf_packetdrill_table) {
  calls.socket = { context, domain, type, proto in
    call(context) { (host) throws(CallFailure) in try host.makeSocket(domain, type, proto) }
  }
  calls.bind = { context, descriptor, name, length in
    call(context) { (host) throws(CallFailure) in try host.bind(descriptor, name, length) }
  }
  calls.listen = { context, descriptor, backlog in
    call(context) { (host) throws(CallFailure) in try host.listen(descriptor, backlog) }
  }
  calls.accept = { context, descriptor, name, length in
    call(context) { (host) throws(CallFailure) in try host.accept(descriptor, name, length) }
  }
  calls.connect = { context, descriptor, name, length in
    call(context) { (host) throws(CallFailure) in try host.connect(descriptor, name, length) }
  }
  calls.fcntl = { context, descriptor, command, argument in
    call(context) { (host) throws(CallFailure) in try host.fcntl(descriptor, command, argument) }
  }
  calls.ioctl = { context, descriptor, request, argument in
    call(context) { (host) throws(CallFailure) in try host.ioctl(descriptor, request, argument) }
  }
  calls.close = { context, descriptor in
    call(context) { (host) throws(CallFailure) in try host.close(descriptor) }
  }
  calls.shutdown = { context, descriptor, how in
    call(context) { (host) throws(CallFailure) in try host.shutdown(descriptor, how) }
  }
  calls.getsockopt = { context, descriptor, level, name, value, length in
    call(context) { (host) throws(CallFailure) in
      try host.getOption(descriptor, level, name, value, length)
    }
  }
  calls.setsockopt = { context, descriptor, level, name, value, length in
    call(context) { (host) throws(CallFailure) in
      try host.setOption(descriptor, level, name, value, length)
    }
  }
}

private func addMessages(_ calls: inout nf_packetdrill_table) {
  calls.read = { context, descriptor, start, count in
    call(context) { (host) throws(CallFailure) in try host.receive(descriptor, Buffers(start, count), 0) }
  }
  calls.readv = { context, descriptor, vector, count in
    call(context) { (host) throws(CallFailure) in
      try host.receive(descriptor, Buffers(vector, pieces: Int(count)), 0)
    }
  }
  calls.recv = { context, descriptor, start, count, flags in
    call(context) { (host) throws(CallFailure) in try host.receive(descriptor, Buffers(start, count), flags) }
  }
  calls.recvfrom = { context, descriptor, start, count, flags, name, length in
    call(context) { (host) throws(CallFailure) in
      try host.receive(descriptor, Buffers(start, count), flags, name, length)
    }
  }
  calls.recvmsg = { context, descriptor, header, flags in
    call(context) { (host) throws(CallFailure) in try host.receiveMessage(descriptor, header, flags) }
  }
  calls.write = { context, descriptor, start, count in
    call(context) { (host) throws(CallFailure) in try host.send(descriptor, Buffers(start, count)) }
  }
  calls.writev = { context, descriptor, vector, count in
    call(context) { (host) throws(CallFailure) in
      try host.send(descriptor, Buffers(vector, pieces: Int(count)))
    }
  }
  calls.send = { context, descriptor, start, count, flags in
    call(context) { (host) throws(CallFailure) in try host.send(descriptor, Buffers(start, count), flags) }
  }
  calls.sendto = { context, descriptor, start, count, flags, name, length in
    call(context) { (host) throws(CallFailure) in
      try host.send(descriptor, Buffers(start, count), flags, name, length)
    }
  }
  calls.sendmsg = { context, descriptor, header, flags in
    call(context) { (host) throws(CallFailure) in try host.sendMessage(descriptor, header, flags) }
  }
  calls.pipe = { context, ends in
    call(context) { (host) throws(CallFailure) in try host.makePipe(ends) }
  }
  calls.splice = { context, from, _, into, _, count, _ in
    call(context) { (host) throws(CallFailure) in Int32(clamping: try host.splice(from, into, count)) }
  }
}

private func addPolling(_ calls: inout nf_packetdrill_table) {
  calls.poll = { context, list, count, timeout in
    call(context) { (host) throws(CallFailure) in try host.poll(list, Int(count), timeout) }
  }
  calls.epoll_create = { context, size in
    call(context) { (host) throws(CallFailure) in try host.makeEpoll(size) }
  }
  calls.epoll_ctl = { context, instance, operation, descriptor, event in
    call(context) { (host) throws(CallFailure) in
      try host.changeEpoll(instance, operation, descriptor, event)
    }
  }
  calls.epoll_wait = { context, instance, events, most, timeout in
    call(context) { (host) throws(CallFailure) in try host.awaitEpoll(instance, events, most, timeout) }
  }
}

private func addDevice(_ calls: inout nf_packetdrill_table) {
  calls.netdev_send = { context, start, count in
    call(context) { (host) throws(CallFailure) in
      host.inject([UInt8](UnsafeRawBufferPointer(start: start, count: count)))
      return 0
    }
  }
  calls.netdev_receive = { context, start, count, time in
    call(context) { (host) throws(CallFailure) in
      guard let start, let count, let time else { throw .badAddress }
      // Nothing that a script waits for comes later than this; no bytes end it with an error.
      guard let next = host.nextPacket(within: .seconds(600)) else {
        count.pointee = 0
        return 0
      }
      let length = min(count.pointee, next.packet.count)
      start.copyMemory(from: next.packet, byteCount: length)
      count.pointee = length
      time.pointee = next.time
      return 0
    }
  }
  calls.usleep = { context, microseconds in
    timeCall(context) { host in
      host.advance(to: host.now + .microseconds(Int64(microseconds)))
      return 0
    }
  }
  calls.gettimeofday = { context, place, _ in
    timeCall(context) { host in
      let time = host.look()
      place?.storeBytes(of: time / 1_000_000, as: Int64.self)
      place?.storeBytes(of: time % 1_000_000, toByteOffset: 8, as: Int64.self)
      return 0
    }
  }
}
