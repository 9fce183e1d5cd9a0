// SPDX-License-Identifier: GPL-2.0-or-later

// One flow between a node and the world outside: a socket of the host, and one of the stand-in in the other end's name.
// Bytes go from either to the other as far as it takes them; what one end says is over is over at the other.

import CLinux
import Glibc
import LabCore
import LinuxObjects
import NetStack
import NetTypes

/// A connection, the datagrams between two ports, or a node's echo requests to somebody. Closed with its last reference.
final class HostFlow {
  enum Kind: Hashable { case stream, datagram, echo }

  /// An address and a port; an identifier in the place of an echo request's.
  struct End: Hashable {
    var address: IPv4Address
    var port: UInt16

    var name: SocketAddress { SocketAddress(.v4(address), port) }
  }

  /// Which flow it is.
  struct Key: Hashable {
    var kind: Kind
    var node: End
    var outside: End
  }

  /// Echo requests that wait for their answers.
  static let heldLimit = 16
  static let chunk = 64 << 10
  /// Pieces that are carried each way before others have their turn.
  private static let burst = 16

  let key: Key
  /// The host's socket.
  let descriptor: Int32
  /// The stand-in's.
  var socket: SocketIndex?
  /// Frames that the stand-in has yet to see, with the sequence numbers of echo requests.
  var held: [(sequence: UInt16, frame: [UInt8])] = []
  var isListenedFor = false
  var lastMoved: Instant
  private var toHost: [UInt8] = []
  private var toLab: [UInt8] = []
  private var hasLabEnded = false
  private var hasHostEnded = false
  /// The other end has refused at once.
  private var isRefused = false

  /// A socket that connects; nil where the host has none for it or knows no way.
  init?(_ key: Key, now: Instant) {
    self.key = key
    lastMoved = now
    let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor =
      switch key.kind {
      case .stream: Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | flags, 0)
      case .datagram: Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | flags, 0)
      // Where net.ipv4.ping_group_range has the user's group.
      case .echo: Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | flags, Int32(IPPROTO_ICMP))
      }
    self.descriptor = descriptor
    guard descriptor >= 0 else { return nil }
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = key.outside.port.bigEndian
    name.sin_addr.s_addr = key.outside.address.rawValue.bigEndian
    let result = withUnsafePointer(to: &name) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    // The rest is told by its readiness.
    isRefused = result != 0 && errno == ECONNREFUSED
    guard result == 0 || errno == EINPROGRESS || isRefused else { return nil }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Whether both ends of a connection have it.
  var isConnected: Bool { key.kind == .stream && socket != nil }

  /// What became of connecting: 0 when it stands, nil when it is not known yet.
  var connectionError: Int32? {
    if isRefused { return ECONNREFUSED }
    var entry = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: POLLOUT), revents: 0)
    guard poll(&entry, 1, 0) == 1 else { return nil }
    var error: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 else { return errno }
    return error
  }

  // MARK: Echo

  /// Sends an echo request with the bytes of a node's; the kernel gives it an identifier of its own.
  func send(echo message: ArraySlice<UInt8>) -> Bool {
    message.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0) } == message.count
  }

  /// The held requests that have been answered.
  func takeAnswered(_ scratch: inout [UInt8]) -> [[UInt8]] {
    var answered: [[UInt8]] = []
    for _ in 0..<Self.chunk {
      do throws(TransportError) {
        guard try receive(&scratch) else { break }
      } catch {
        // Somebody on the way has said that it cannot arrive.
        continue
      }
      guard toLab.count >= 8, toLab[0] == 0 else { continue }
      let sequence = UInt16(toLab[6]) << 8 | UInt16(toLab[7])
      guard let place = held.firstIndex(where: { $0.sequence == sequence }) else { continue }
      answered.append(held.remove(at: place).frame)
    }
    return answered
  }

  // MARK: Carrying

  enum Progress { case waits, hasMore, isOver }

  /// Carries what can be carried, both ways.
  func carry(_ kernel: EmulatedKernel, _ scratch: inout [UInt8]) -> Progress {
    guard let socket else { return .waits }
    lastMoved = kernel.stack.now
    if key.kind == .datagram { return carryDatagrams(socket, kernel, &scratch) }
    do throws(TransportError) {
      let hasMoreOut = try carryOut(socket, kernel)
      let hasMoreIn = try carryIn(socket, kernel, &scratch)
      if hasLabEnded, hasHostEnded, toHost.isEmpty, toLab.isEmpty { return .isOver }
      return hasMoreOut || hasMoreIn ? .hasMore : .waits
    } catch {
      // What was cut off is cut off: the node, or the other end, gets a reset.
      reset()
      try? kernel.stack.setOption(.linger(0), on: socket)
      return .isOver
    }
  }

  private func reset() {
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
  }

  /// Whether there may be more. Throws when either end has failed.
  private func carryOut(_ socket: SocketIndex, _ kernel: EmulatedKernel) throws(TransportError) -> Bool {
    for _ in 0..<Self.burst {
      if toHost.isEmpty {
        guard !hasLabEnded else { return false }
        do throws(KernelError) {
          _ = try kernel.stack.receive(socket, into: &toHost, limit: Self.chunk)
        } catch {
          if error.errno == EAGAIN { return false }
          throw TransportError(error)
        }
        if toHost.isEmpty {
          hasLabEnded = true
          shutdown(descriptor, Int32(SHUT_WR))
          return false
        }
      }
      let count = toHost.withUnsafeBytes { bytes in
        Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
      }
      if count < 0, errno == EAGAIN { return false }
      guard count >= 0 else { throw TransportError(errno: errno) }
      toHost.removeFirst(count)
    }
    return true
  }

  private func carryIn(
    _ socket: SocketIndex, _ kernel: EmulatedKernel, _ scratch: inout [UInt8]
  ) throws(TransportError) -> Bool {
    for _ in 0..<Self.burst {
      if toLab.isEmpty {
        guard !hasHostEnded else { return false }
        guard try receive(&scratch) else { return false }
        if toLab.isEmpty {
          hasHostEnded = true
          // A node that has reset the connection is found out by what is received.
          try? kernel.stack.shutdown(socket, .send)
          return false
        }
      }
      do throws(KernelError) {
        toLab.removeFirst(try kernel.stack.send(toLab, on: socket))
      } catch {
        if error.errno == EAGAIN { return false }
        throw TransportError(error)
      }
    }
    return true
  }

  /// Takes what the host's socket has into `toLab`; false when there is nothing yet.
  private func receive(_ scratch: inout [UInt8]) throws(TransportError) -> Bool {
    let count = scratch.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
    guard count >= 0 else {
      if errno == EAGAIN { return false }
      throw TransportError(errno: errno)
    }
    toLab = Array(scratch[..<count])
    return true
  }

  /// Datagrams that find no room are lost, as datagrams are, and errors about them nobody's business.
  private func carryDatagrams(
    _ socket: SocketIndex, _ kernel: EmulatedKernel, _ scratch: inout [UInt8]
  ) -> Progress {
    var (isOutEmpty, isInEmpty) = (false, false)
    for _ in 0..<Self.burst where !isOutEmpty || !isInEmpty {
      do throws(KernelError) {
        _ = try kernel.stack.receive(socket, into: &toHost, limit: Self.chunk)
        _ = toHost.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0) }
      } catch {
        isOutEmpty = error.errno == EAGAIN
      }
      do throws(TransportError) {
        isInEmpty = try !receive(&scratch)
        if !isInEmpty { _ = try? kernel.stack.send(toLab, on: socket) }
      } catch {
        continue
      }
    }
    toHost = []
    toLab = []
    return isOutEmpty && isInEmpty ? .waits : .hasMore
  }
}

extension HostFlow.Key {
  init?(_ kind: HostFlow.Kind, node: SocketAddress, outside: SocketAddress) {
    guard case .v4(let near) = node.address, case .v4(let far) = outside.address else { return nil }
    self.init(
      kind: kind, node: .init(address: near, port: node.port),
      outside: .init(address: far, port: outside.port))
  }
}
