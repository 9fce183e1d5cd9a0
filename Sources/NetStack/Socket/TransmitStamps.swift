// SPDX-License-Identifier: GPL-2.0-or-later

// SO_TIMESTAMPING of what a stream sends (Documentation/networking/timestamping.rst; tcp_tx_timestamp, __skb_tstamp_tx,
// tcp_ack_tstamp): when the last byte of a write came to the device's queue, left it, and was acknowledged, told in the
// error queue. Times of what is received come with each message anyway; datagrams' are not there.

import NetTypes

/// SOF_TIMESTAMPING_*.
public struct Timestamping: OptionSet, Hashable, Sendable {
  /// The kernel's bits.
  public let rawValue: UInt32

  /// From the kernel's bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// When it is handed to the device.
  public static let sent = Timestamping(rawValue: 1 << 1)
  /// Times are told.
  public static let software = Timestamping(rawValue: 1 << 4)
  /// Bytes are counted from when this was asked for.
  public static let numbered = Timestamping(rawValue: 1 << 7)
  /// When it comes to the device's queue.
  public static let scheduled = Timestamping(rawValue: 1 << 8)
  /// When it is acknowledged.
  public static let acknowledged = Timestamping(rawValue: 1 << 9)
  /// Without the packet itself.
  public static let timeOnly = Timestamping(rawValue: 1 << 11)

  static let stamps: Timestamping = [.sent, .scheduled, .acknowledged]
  static let all: Timestamping = [.sent, .software, .numbered, .scheduled, .acknowledged, .timeOnly]
}

/// What has happened to a write's last byte (SCM_TSTAMP_*).
enum TransmitEvent: UInt32 {
  case sent, scheduled, acknowledged

  var option: Timestamping {
    switch self {
    case .sent: .sent
    case .scheduled: .scheduled
    case .acknowledged: .acknowledged
    }
  }
}

/// A write's last byte that is yet to be told of.
struct TransmitStamp {
  /// Its sequence number.
  let byte: UInt32
  /// What is yet to happen.
  var awaited: Timestamping
  /// The packet that it went in.
  var packet: [UInt8] = []
}

extension Kernel {
  /// Asks for times. EINVAL: bytes cannot be counted before there are any; EOPNOTSUPP: not of what is sent by a stream.
  mutating func setTimestamping(_ options: Timestamping, on index: SocketIndex) throws(KernelError) {
    guard options.isSubset(of: .all), sockets[index].kind.isStream else {
      throw .notSupported("only what a stream sends is stamped, by software")
    }
    let tcp = sockets[index].tcp
    if options.contains(.numbered), !sockets[index].options.timestamping.contains(.numbered) {
      guard tcps[tcp].state != .close, tcps[tcp].state != .listen else { throw .invalidArgument }
      tcps[tcp].stampOrigin = tcps[tcp].sendUnacknowledged
    }
    let had = !sockets[index].options.timestamping.isDisjoint(with: .stamps)
    sockets[index].options.timestamping = options
    stampedSockets += (options.isDisjoint(with: .stamps) ? 0 : 1) - (had ? 1 : 0)
  }

  /// A socket that asked for times goes.
  mutating func endTimestamping(_ index: SocketIndex) {
    if !sockets[index].options.timestamping.isDisjoint(with: .stamps) { stampedSockets -= 1 }
    sockets[index].options.timestamping = []
  }

  /// A write has ended: its last byte is watched, if it is yet to be sent.
  mutating func tcpStampWrite(_ index: TCPIndex) {
    let wanted = sockets[tcps[index].socket].options.timestamping.intersection(.stamps)
    guard !wanted.isEmpty, tcps[index].writeQueue.last != nil, tcps[index].stamps.count < Socket.errorLimit
    else {
      return
    }
    tcps[index].stamps.append(TransmitStamp(byte: tcps[index].writeEnd &- 1, awaited: wanted))
  }

  /// Packets come to a device's queue, or leave it; some may be of sockets that asked for times.
  mutating func stamp(_ burst: borrowing Burst, _ event: TransmitEvent) {
    for position in 0..<burst.count {
      let slot = burst[position]
      guard let owner = pool.sender(of: slot) else { continue }
      let socket = SocketIndex(owner)
      guard sockets.contains(socket), !sockets[socket].tcp.isNone, !tcps[sockets[socket].tcp].stamps.isEmpty
      else {
        continue
      }
      var packet: [UInt8] = []
      pool.forEachPiece(of: slot, from: 0, count: Int(pool[slot].length)) { $0.append(to: &packet) }
      let start = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
      guard packet.count >= start + TCPHeader.length else { continue }
      let first = packet[start + TCPHeader.sequence..<start + TCPHeader.sequence + 4].reduce(UInt32(0)) {
        $0 << 8 | UInt32($1)
      }
      let length = packet.count - start - Int(packet[start + TCPHeader.dataOffset] >> 4) * 4
      let index = sockets[socket].tcp
      for place in tcps[index].stamps.indices
      where tcps[index].stamps[place].byte &- first < UInt32(max(length, 0)) {
        tcps[index].stamps[place].packet = packet
        tell(event, ofStampAt: place, index)
      }
    }
  }

  /// Bytes up to SND.UNA have been acknowledged.
  mutating func tcpStampAcknowledged(_ index: TCPIndex) {
    while let first = tcps[index].stamps.first, isBefore(first.byte, tcps[index].sendUnacknowledged) {
      tell(.acknowledged, ofStampAt: 0, index)
      tcps[index].stamps.removeFirst()
    }
  }

  private mutating func tell(_ event: TransmitEvent, ofStampAt place: Int, _ index: TCPIndex) {
    let socket = tcps[index].socket
    let stamp = tcps[index].stamps[place]
    guard stamp.awaited.contains(event.option) else { return }
    tcps[index].stamps[place].awaited.remove(event.option)
    let options = sockets[socket].options.timestamping
    guard !options.isEmpty, sockets[socket].errorQueue.count < Socket.errorLimit,
      let peer = sockets[socket].peer
    else { return }
    var report = SocketErrorReport(
      errno: KernelError.noMessage.errno, origin: .timestamping, type: 0, code: 0,
      information: event.rawValue,
      offender: nil, destination: peer.told(to: sockets[socket].kind.family),
      payload: options.contains(.timeOnly) ? [] : stamp.packet, time: now)
    if options.contains(.numbered) { report.data = stamp.byte &- tcps[index].stampOrigin }
    sockets[socket].errorQueue.append(report)
    notify(socket, .error)
  }
}
