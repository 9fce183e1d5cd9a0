// SPDX-License-Identifier: GPL-2.0-or-later

// Urgent data as Linux has it (RFC 9293 3.8.5, RFC 6093; net/ipv4/tcp_input.c tcp_urg, tcp_check_urg): one byte stands apart
// from the stream, unless SO_OOBINLINE leaves it where it is; reading stops before its place.

/// What is known of the other end's urgent byte (tp->urg_data, urg_seq).
struct UrgentData {
  enum State {
    case none
    /// It has been announced.
    case announced
    case here(UInt8)
    case read
  }
  var state = State.none
  /// Its sequence number.
  var sequence: UInt32 = 0

  var isNone: Bool { if case .none = state { true } else { false } }
  var isHere: Bool { if case .here = state { true } else { false } }
}

extension Kernel {
  /// Reads a segment's urgent pointer, and the byte if it is in it. The segment's headers have been pulled.
  mutating func tcpReadUrgent(_ index: TCPIndex, _ segment: TCPSegment) {
    if segment.flags.contains(.urg) { tcpAnnounceUrgent(index, segment) }
    guard case .announced = tcps[index].urgent.state else { return }
    let start = segment.flags.contains(.syn) ? segment.sequence &+ 1 : segment.sequence
    let offset = Int(Int32(bitPattern: tcps[index].urgent.sequence &- start))
    guard offset >= 0, offset < segment.length else { return }
    var byte: UInt8 = 0
    pool.forEachPiece(of: segment.slot, from: offset, count: 1) { byte = $0.u8(0) }
    tcps[index].urgent.state = .here(byte)
    notify(tcps[index].socket, .priority)
  }

  /// tcp_check_urg.
  private mutating func tcpAnnounceUrgent(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    var pointer = UInt32(segment.urgent)
    // The pointer is behind the byte, whatever RFC 1122 says.
    if pointer > 0, !namespaces[namespace].tcp.isOn(.standardUrgent) { pointer -= 1 }
    let place = segment.sequence &+ pointer
    let urgent = tcps[index].urgent
    guard !isAfter(tcps[index].copied, place), !isBefore(place, tcps[index].receiveNext),
      urgent.isNone || isAfter(place, urgent.sequence)
    else { return }
    notify(tcps[index].socket, .priority)
    // An old urgent byte that nobody has read is passed over.
    if !urgent.isNone, urgent.sequence == tcps[index].copied,
      !sockets[tcps[index].socket].options.urgentInline, tcps[index].copied != tcps[index].receiveNext
    {
      tcpTake(index, 1)
    }
    tcps[index].urgent = UrgentData(state: .announced, sequence: place)
  }

  /// Gives out the urgent byte (tcp_recv_urg). EINVAL: there is none apart from the stream; EAGAIN: it has not come yet.
  mutating func tcpReceiveUrgent(
    _ socket: SocketIndex, into buffer: inout [UInt8], limit: Int, isPeek: Bool
  ) throws(KernelError) -> Int {
    let index = sockets[socket].tcp
    buffer.removeAll(keepingCapacity: true)
    guard tcps[index].state != .listen else { throw .notConnected }
    if sockets[socket].options.urgentInline { throw .invalidArgument }
    switch tcps[index].urgent.state {
    case .none, .read: throw .invalidArgument
    case .here(let byte):
      if !isPeek { tcps[index].urgent.state = .read }
      if limit > 0 { buffer.append(byte) }
      return 1
    case .announced:
      if tcps[index].state == .close {
        if !tcps[index].isDone { throw .notConnected }
        return 0
      }
      if sockets[socket].shutdown.contains(.receive) { return 0 }
      throw .wouldBlock
    }
  }

  /// Whether the next byte to read is where urgent data was announced (SIOCATMARK). EINVAL: not a stream, or it listens.
  public func isAtMark(_ socket: SocketIndex) throws(KernelError) -> Bool {
    guard isOpen(socket) else { throw .badDescriptor }
    guard sockets[socket].kind.isStream else { throw .invalidArgument }
    let index = sockets[socket].tcp
    return !tcps[index].urgent.isNone && tcps[index].urgent.sequence == tcps[index].copied
  }
}
