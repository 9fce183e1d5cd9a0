// SPDX-License-Identifier: GPL-2.0-or-later

// A ping socket (socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP); net/ipv4/ping.c): an identifier of its own, requests out,
// replies and errors about them in. Verbs never wait.

public import NetTypes

/// The place of an echo endpoint in the kernel's table.
public typealias EchoIndex = TableIndex<EchoEndpoint>

/// An endpoint that pings.
public struct EchoEndpoint: ~Copyable {
  /// Events that are kept until they are read.
  static let limit = 1024

  let namespace: NamespaceIndex
  let identifier: UInt16
  var events: [EchoEvent] = []
  /// Events that came when there were too many already.
  var missed: UInt64 = 0

  init(namespace: NamespaceIndex, identifier: UInt16) {
    self.namespace = namespace
    self.identifier = identifier
  }
}

/// What comes back from a request.
public struct EchoEvent: Hashable, Sendable {
  /// A reply, or an ICMP error with its type and code.
  public enum Kind: Hashable, Sendable {
    case reply
    case error(type: UInt8, code: UInt8)
  }

  /// What it is.
  public var kind: Kind
  /// Who sent it.
  public var source: IPv4Address
  /// The sequence number of the request.
  public var sequence: UInt16
  /// The TTL with which it arrived.
  public var ttl: UInt8
  /// Bytes of echoed data.
  public var length: Int
  /// When it came.
  public var time: Instant
}

/// A request's particulars.
public struct EchoRequest: Hashable, Sendable {
  /// Whom to ask.
  public var destination: IPv4Address
  /// The sequence number.
  public var sequence: UInt16
  /// Bytes of data; their values count up from zero.
  public var length: Int
  /// Nil: the namespace's default.
  public var ttl: UInt8?
  /// Whether no router may cut it to pieces.
  public var dontFragment: Bool

  /// 56 bytes as `ping` sends them.
  public init(
    to destination: IPv4Address, sequence: UInt16, length: Int = 56, ttl: UInt8? = nil,
    dontFragment: Bool = false
  ) {
    self.destination = destination
    self.sequence = sequence
    self.length = length
    self.ttl = ttl
    self.dontFragment = dontFragment
  }
}

extension Kernel {
  /// Makes an endpoint. Its identifier is the given one, or a free one by chance.
  public mutating func openEcho(
    in namespace: NamespaceIndex, identifier wanted: UInt16? = nil
  ) throws(KernelError) -> EchoIndex {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    var identifier = wanted ?? UInt16(truncatingIfNeeded: cpu.random.next())
    if wanted != nil {
      guard echo(identifier, in: namespace) == nil else { throw KernelError(98) }
    } else {
      var tries = 0
      while echo(identifier, in: namespace) != nil {
        identifier &+= 1
        tries += 1
        guard tries <= Int(UInt16.max) else { throw KernelError(98) }
      }
    }
    guard let index = echoes.insert(EchoEndpoint(namespace: namespace, identifier: identifier)) else {
      throw .noBuffers
    }
    namespaces[namespace].echoes.append(index)
    return index
  }

  /// Ends an endpoint; what it has not read is lost.
  public mutating func closeEcho(_ index: EchoIndex) {
    guard echoes.contains(index) else { return }
    let namespace = echoes[index].namespace
    namespaces[namespace].echoes.removeAll { $0 == index }
    echoes.remove(index)
  }

  /// Sends a request.
  public mutating func sendEcho(_ request: EchoRequest, by index: EchoIndex) throws(KernelError) {
    guard echoes.contains(index) else { throw KernelError(9) }
    guard request.length >= 0, request.length <= 65507 else { throw .messageTooLong }
    let namespace = echoes[index].namespace
    let slot = pool.allocate(length: 8 + request.length)
    guard slot != .none else { throw .noBuffers }
    let bytes = pool.bytes(slot)
    bytes.set(0, u8: ICMPType.echo.rawValue)
    bytes.set(1, u8: 0)
    bytes.set(2, u16: 0)
    bytes.set(4, u16: echoes[index].identifier)
    bytes.set(6, u16: request.sequence)
    var next: UInt8 = 0
    pool.forEachPiece(of: slot, from: 8, count: request.length) { piece in
      for offset in 0..<piece.count {
        piece.set(offset, u8: next)
        next &+= 1
      }
    }
    bytes.set(2, u16: pool.checksum(slot, from: 0))
    // Errors about it are for this namespace, whichever device it leaves by.
    pool[slot].device = loopback(of: namespace).rawValue
    namespaces[namespace].snmp[.icmpOutMsgs] &+= 1
    namespaces[namespace].snmp[.icmpOutEchos] &+= 1
    let datagram = IPv4Datagram(
      destination: request.destination.rawValue, proto: 1, ttl: request.ttl,
      dontFragment: request.dontFragment)
    if let error = ipv4Send(slot, datagram, in: namespace) { throw error }
  }

  /// The oldest event that has not been read.
  public mutating func receiveEcho(_ index: EchoIndex) -> EchoEvent? {
    guard echoes.contains(index), !echoes[index].events.isEmpty else { return nil }
    return echoes[index].events.removeFirst()
  }

  private func echo(_ identifier: UInt16, in namespace: NamespaceIndex) -> EchoIndex? {
    namespaces[namespace].echoes.first { echoes[$0].identifier == identifier }
  }

  private mutating func append(_ event: EchoEvent, to index: EchoIndex) {
    guard echoes[index].events.count < EchoEndpoint.limit else {
      echoes[index].missed &+= 1
      return
    }
    echoes[index].events.append(event)
  }

  /// A reply for whoever asked.
  mutating func echoDeliver(_ slot: Slot, in namespace: NamespaceIndex) {
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    guard let index = echo(bytes.u16(4), in: namespace) else {
      drop(slot, .noSocket, in: namespace)
      return
    }
    append(
      EchoEvent(
        kind: .reply, source: IPv4Address(rawValue: header.u32(IPv4Header.source)), sequence: bytes.u16(6),
        ttl: header.u8(IPv4Header.ttl),
        length: pool.length(slot, fromHeader: pool[slot].transportHeader) - 8, time: now), to: index)
    pool.free(slot, .consumed)
  }

  /// An error about a request, which it quotes, for whoever made the request.
  mutating func echoError(_ slot: Slot, in namespace: NamespaceIndex) {
    // The two headers of the quote, as long as they can be, and what tells whose it is.
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    guard pool.mayPull(slot, min(Int(pool[slot].length), offset + 8 + 60 + 8)) else {
      drop(slot, .noMemory, in: namespace)
      return
    }
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let quote = bytes.dropFirst(8)
    guard quote.count >= IPv4Header.length, quote.u8(0) >> 4 == 4,
      quote.ipv4HeaderLength >= IPv4Header.length,
      quote.count >= quote.ipv4HeaderLength + 8
    else {
      namespaces[namespace].snmp[.icmpInErrors] &+= 1
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    let request = quote.dropFirst(quote.ipv4HeaderLength)
    guard quote.u8(IPv4Header.proto) == 1, request.u8(0) == ICMPType.echo.rawValue,
      let index = echo(request.u16(4), in: namespace)
    else {
      drop(slot, .noSocket, in: namespace)
      return
    }
    append(
      EchoEvent(
        kind: .error(type: bytes.u8(0), code: bytes.u8(1)),
        source: IPv4Address(rawValue: header.u32(IPv4Header.source)), sequence: request.u16(6),
        ttl: header.u8(IPv4Header.ttl), length: request.count - 8, time: now), to: index)
    pool.free(slot, .consumed)
  }
}
