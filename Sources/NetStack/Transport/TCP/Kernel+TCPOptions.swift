// SPDX-License-Identifier: GPL-2.0-or-later

// The options of level IPPROTO_TCP (net/ipv4/tcp.c do_tcp_setsockopt), with the kernel's ranges and errors.

extension Kernel {
  /// Changes one of TCP's options. ENOPROTOOPT: not a stream; EINVAL: not such a value; ENOENT: no such congestion
  /// control.
  mutating func setStreamOption(_ option: SocketOption, on socket: SocketIndex) throws(KernelError) {
    guard sockets[socket].kind.isStream else { throw .noSuchOption }
    let index = sockets[socket].tcp
    func checked(_ value: Int, _ range: ClosedRange<Int>) throws(KernelError) -> Int {
      guard range.contains(value) else { throw .invalidArgument }
      return value
    }
    switch option {
    case .keepAliveTime(let seconds):
      sockets[socket].options.keepAliveTime = try checked(seconds, 1...32767)
      if sockets[socket].options.keepAlive { tcpSetKeepalive(index, true) }
    case .keepAliveInterval(let seconds):
      sockets[socket].options.keepAliveInterval = try checked(seconds, 1...32767)
    case .keepAliveProbes(let count): sockets[socket].options.keepAliveProbes = try checked(count, 1...127)
    case .userTimeout(let milliseconds):
      sockets[socket].options.userTimeout = Int64(try checked(milliseconds, 0...Int(Int32.max))) * 1_000_000
    case .synRetries(let count): sockets[socket].options.synRetries = try checked(count, 1...127)
    case .linger2(let seconds):
      sockets[socket].options.linger2 = seconds == 0 ? nil : seconds < 0 ? -1 : min(seconds, 120)
    case .deferAccept(let seconds): sockets[socket].options.deferAccept = Self.retransmits(in: seconds)
    case .windowClamp(let bytes):
      if bytes == 0 {
        guard tcps[index].state == .close else { throw .invalidArgument }
        sockets[socket].options.windowClamp = 0
      } else {
        let clamp = max(bytes, SocketOptions.receiveBufferMinimum / 2)
        sockets[socket].options.windowClamp = clamp
        if tcps[index].space.clamp > 0 {
          tcps[index].space.clamp = clamp
          tcps[index].space.threshold = min(tcps[index].space.threshold, clamp)
        }
      }
    case .notSentLowWater(let bytes):
      sockets[socket].options.notSentLowWater = Int(bytes)
      if tcps[index].awaitsRoom, tcps[index].state.isSynchronized, streamIsWritable(socket) {
        notify(socket, [.out, .writeNormal])
      }
    case .congestionControl(let name):
      guard let algorithm = CongestionAlgorithm(name: name) else { throw .noSuchEntry }
      guard algorithm != tcps[index].algorithm else { return }
      tcps[index].algorithm = algorithm
      guard tcps[index].state.isSynchronized else { return }
      tcps[index].mstamp = cpu.now
      tcps[index].beginCongestionControl()
    case .maximumSegmentSize(let size):
      if size != 0 { _ = try checked(size, 88...32767) }
      tcps[index].userMSS = size
    case .quickACK(let value):
      tcps[index].isInteractive = value == 0
      guard value != 0 else { return }
      switch tcps[index].state {
      case .established, .closeWait: if tcps[index].owesACK { tcpSendACK(index) }
      default: break
      }
      if value & 1 == 0 { tcps[index].isInteractive = true }
    default: throw .noSuchOption
    }
  }

  /// TCP_MAXSEG: what was asked for, until there is a connection that has settled it; nil: it is no stream.
  public func maximumSegmentSize(of socket: SocketIndex) -> Int? {
    guard isOpen(socket), sockets[socket].kind.isStream else { return nil }
    let index = sockets[socket].tcp
    let isUnsettled = tcps[index].state == .close || tcps[index].state == .listen
    return isUnsettled && tcps[index].userMSS > 0 ? tcps[index].userMSS : tcps[index].mss
  }

  /// SO_MAX_PACING_RATE.
  mutating func tcpLimitPacing(_ index: TCPIndex, _ rate: UInt64) {
    tcps[index].maximumPacingRate = rate
    tcps[index].pacingRate = min(tcps[index].pacingRate, rate)
    if rate != .max { tcps[index].isPaced = true }
  }

  /// How many retransmissions of a SYN-ACK fill a time (secs_to_retrans).
  private static func retransmits(in seconds: Int) -> Int {
    guard seconds > 0 else { return 0 }
    var (count, period, timeout) = (1, 1, 1)
    while seconds > period, count < 255 {
      count += 1
      timeout = min(timeout << 1, 120)
      period += timeout
    }
    return count
  }
}
