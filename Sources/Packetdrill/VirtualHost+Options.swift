// SPDX-License-Identifier: GPL-2.0-or-later

// getsockopt and setsockopt by the kernel's numbers.

import Glibc
import NetStack
import NetTypes

/// A level and a name on it.
private enum OptionName {
  static let socket: Int32 = 1
  static let ip: Int32 = 0
  static let ipv6: Int32 = 41
  static let tcp: Int32 = 6
}

extension VirtualHost {
  // MARK: Setting

  func setOption(
    _ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeRawPointer?, _ length: UInt32
  ) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    let bytes = UnsafeRawBufferPointer(start: value, count: value == nil ? 0 : Int(length))
    if level == OptionName.tcp, name == 13 {
      let text = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      try set(.congestionControl(text), socket)
      return 0
    }
    guard value != nil else { throw .badAddress }
    // Options of IP may be a byte.
    let isByte = level == OptionName.ip && (1..<4).contains(bytes.count)
    guard isByte || bytes.count >= 4 else { throw .invalid }
    let number = isByte ? Int32(bytes[0]) : bytes.loadUnaligned(as: Int32.self)
    switch (level, name) {
    case (OptionName.tcp, 36):
      guard (0...1).contains(number) else { throw .invalid }
      streams[descriptor, default: StreamOptions()].tellsQueue = number == 1
    case (OptionName.socket, 13):
      guard bytes.count >= 8 else { throw .invalid }
      let seconds = bytes.loadUnaligned(fromByteOffset: 4, as: Int32.self)
      try set(.linger(number == 0 ? nil : Int(seconds)), socket)
    case (OptionName.socket, 37):
      try set(.timestamping(Timestamping(rawValue: UInt32(bitPattern: number))), socket)
    case (OptionName.socket, 47):
      let rate =
        bytes.count >= 8 ? bytes.loadUnaligned(as: UInt64.self) : UInt64(UInt32(bitPattern: number))
      try set(.maximumPacingRate(rate == UInt64(UInt32.max) ? .max : rate), socket)
    default:
      guard let option = Self.option(level, name, number) else { throw CallFailure(ENOPROTOOPT) }
      try set(option, socket)
    }
    return 0
  }

  private func set(_ option: SocketOption, _ socket: SocketIndex) throws(CallFailure) {
    try checked { (kernel) throws(KernelError) in try kernel.setOption(option, on: socket) }
  }

  /// The option that is a number.
  private static func option(_ level: Int32, _ name: Int32, _ value: Int32) -> SocketOption? {
    let number = Int(value)
    let isOn = value != 0
    switch (level, name) {
    case (OptionName.socket, 2): return .reuseAddress(isOn)
    case (OptionName.socket, 6): return .broadcast(isOn)
    case (OptionName.socket, 7): return .sendBuffer(number)
    case (OptionName.socket, 8): return .receiveBuffer(number)
    case (OptionName.socket, 9): return .keepAlive(isOn)
    case (OptionName.socket, 10): return .urgentInline(isOn)
    case (OptionName.socket, 12): return .priority(UInt32(bitPattern: value))
    case (OptionName.socket, 15): return .reusePort(isOn)
    case (OptionName.socket, 36): return .mark(UInt32(bitPattern: value))
    case (OptionName.ip, 1), (OptionName.ipv6, 67): return .typeOfService(UInt8(truncatingIfNeeded: value))
    case (OptionName.ip, 2), (OptionName.ipv6, 16): return .ttl(value == -1 ? nil : number)
    case (OptionName.ip, 10), (OptionName.ipv6, 23):
      return PathMTUDiscovery(rawValue: UInt8(truncatingIfNeeded: value)).map { .pathMTUDiscovery($0) }
    case (OptionName.ip, 11), (OptionName.ipv6, 25): return .receiveErrors(isOn)
    case (OptionName.ip, 15), (OptionName.ipv6, 78): return .freeBind(isOn)
    case (OptionName.ip, 19), (OptionName.ipv6, 75): return .transparent(isOn)
    case (OptionName.ipv6, 26): return .v6Only(isOn)
    case (OptionName.tcp, _): return streamOption(name, value)
    default: return nil
    }
  }

  private static func streamOption(_ name: Int32, _ value: Int32) -> SocketOption? {
    let number = Int(value)
    switch name {
    case 1: return .noDelay(value != 0)
    case 2: return .maximumSegmentSize(number)
    case 3: return .cork(value != 0)
    case 4: return .keepAliveTime(number)
    case 5: return .keepAliveInterval(number)
    case 6: return .keepAliveProbes(number)
    case 7: return .synRetries(number)
    case 8: return .linger2(number)
    case 9: return .deferAccept(number)
    case 10: return .windowClamp(number)
    case 12: return .quickACK(number)
    case 18: return .userTimeout(number)
    case 25: return .notSentLowWater(UInt32(bitPattern: value))
    default: return nil
    }
  }

  // MARK: Getting

  func getOption(
    _ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeMutableRawPointer?,
    _ length: UnsafeMutablePointer<UInt32>?
  ) throws(CallFailure) -> Int32 {
    let socket = try socket(descriptor)
    guard let value, let length else { throw .badAddress }
    guard length.pointee <= Int32.max else { throw .invalid }
    let bytes = try option(level, name, socket, descriptor)
    let count = min(bytes.count, Int(length.pointee))
    value.copyMemory(from: bytes, byteCount: count)
    length.pointee = UInt32(count)
    return 0
  }

  private func option(
    _ level: Int32, _ name: Int32, _ socket: SocketIndex, _ descriptor: Int32
  ) throws(CallFailure) -> [UInt8] {
    guard let options = kernel.options(of: socket) else { throw CallFailure(EBADF) }
    var layout = Layout()
    switch (level, name) {
    case (OptionName.socket, 4): layout.add(kernel.takeError(of: socket))
    case (OptionName.socket, 13):
      layout.add(Int32(options.linger == nil ? 0 : 1))
      layout.add(Int32(clamping: options.linger ?? 0))
    case (OptionName.socket, 55):
      // SO_MEMINFO; what is reserved, waits for the owner or serves options is not counted by the emulated kernel.
      guard let summary = kernel.sockets(in: namespace).first(where: { $0.socket == socket }) else { break }
      let queued = try checked { (kernel) throws(KernelError) in try kernel.queues(of: socket).unacknowledged
      }
      let amounts = [
        summary.receiveMemory, options.receiveBuffer, summary.sendMemory, options.sendBuffer, 0, queued, 0, 0,
        Int(summary.drops),
      ]
      for amount in amounts { layout.add(UInt32(clamping: amount)) }
    case (OptionName.tcp, _):
      guard let information = kernel.information(of: socket) else { throw CallFailure(ENOPROTOOPT) }
      switch name {
      case 2: layout.add(Int32(clamping: kernel.maximumSegmentSize(of: socket) ?? 0))
      case 11: return information.layout
      // TCP_CC_INFO: Reno and CUBIC tell nothing of themselves, what BBR knows is not told here.
      case 26 where information.congestionControl != .bbr: return []
      case 13:
        let text = Array(information.congestionControl.name.utf8)
        return text + [UInt8](repeating: 0, count: 16 - text.count)
      case 36: layout.add(Int32(streams[descriptor]?.tellsQueue == true ? 1 : 0))
      default: layout.add(try Self.streamNumber(name, options))
      }
    default: layout.add(try Self.number(level, name, options))
    }
    return layout.bytes
  }

  private static func number(
    _ level: Int32, _ name: Int32, _ options: SocketOptions
  ) throws(CallFailure) -> Int32 {
    let isOn = { (value: Bool) -> Int32 in value ? 1 : 0 }
    switch (level, name) {
    case (OptionName.socket, 2): return isOn(options.reuseAddress)
    case (OptionName.socket, 6): return isOn(options.broadcast)
    case (OptionName.socket, 7): return Int32(clamping: options.sendBuffer)
    case (OptionName.socket, 8): return Int32(clamping: options.receiveBuffer)
    case (OptionName.socket, 9): return isOn(options.keepAlive)
    case (OptionName.socket, 10): return isOn(options.urgentInline)
    case (OptionName.socket, 12): return Int32(bitPattern: options.priority)
    case (OptionName.socket, 15): return isOn(options.reusePort)
    case (OptionName.socket, 36): return Int32(bitPattern: options.mark)
    case (OptionName.ip, 1), (OptionName.ipv6, 67): return Int32(options.typeOfService)
    case (OptionName.ip, 2), (OptionName.ipv6, 16): return Int32(options.ttl ?? 64)
    case (OptionName.ip, 10), (OptionName.ipv6, 23): return Int32(options.pathMTUDiscovery.rawValue)
    case (OptionName.ip, 11), (OptionName.ipv6, 25): return isOn(options.receiveErrors)
    case (OptionName.ip, 15), (OptionName.ipv6, 78): return isOn(options.freeBind)
    case (OptionName.ip, 19), (OptionName.ipv6, 75): return isOn(options.transparent)
    case (OptionName.ipv6, 26): return isOn(options.isV6Only)
    default: throw CallFailure(ENOPROTOOPT)
    }
  }

  private static func streamNumber(_ name: Int32, _ options: SocketOptions) throws(CallFailure) -> Int32 {
    switch name {
    case 1: options.noDelay ? 1 : 0
    case 3: options.isCorked ? 1 : 0
    case 4: Int32(clamping: options.keepAliveTime ?? 7200)
    case 5: Int32(clamping: options.keepAliveInterval ?? 75)
    case 6: Int32(clamping: options.keepAliveProbes ?? 9)
    case 7: Int32(clamping: options.synRetries ?? 6)
    case 10: Int32(clamping: options.windowClamp)
    case 18: Int32(clamping: options.userTimeout / 1_000_000)
    case 25: Int32(truncatingIfNeeded: options.notSentLowWater)
    default: throw CallFailure(ENOPROTOOPT)
    }
  }
}
