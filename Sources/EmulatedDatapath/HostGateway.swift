// SPDX-License-Identifier: GPL-2.0-or-later

// An emulated lab's internet without privilege: nodes' connections end in sockets of the host. A namespace of the lab's own
// kernel stands in for the host's; every address outside is its own, so that it speaks with the nodes in the place of
// whoever is outside, while a socket of the host speaks with them. What begins a flow is held until that socket
// says that the other end is there, so a port that is closed outside is closed to the node: a SYN until the host has
// connected, an echo request until the host has its answer. A SYN that was refused is let through to nobody's port.
//
//   node ── lab.internet's bridge ── tap ──[ HostGateway ]── tap of the stand-in: sockets ──[ HostFlow ]── the host's sockets

import CLinux
import Glibc
import LabCore
import LinuxObjects
import NetStack
import NetTypes

/// The wire between a lab and its stand-in for the host. Sendable because only the kernel's thread touches what is in it.
final class HostGateway: @unchecked Sendable {
  /// Flows at a time; a new one takes the place of a datagram's flow that has been silent for longest, or is not let in.
  static let flowLimit = 1024
  /// How long a flow without a connection may be silent before another takes its place.
  private static let silence = Interval.seconds(30)

  /// The stand-in's device.
  let device: DeviceIndex
  private let namespace: NamespaceIndex
  /// What nodes have addresses of; nothing is let through before it is known.
  var subnet: IPPrefix?
  private let epoll: Int32
  private var flows: [HostFlow.Key: HostFlow] = [:]
  private var byDescriptor: [Int32: HostFlow] = [:]
  /// Where the stand-in listens, and how many flows need it.
  private var listeners: [HostFlow.End: (socket: SocketIndex, uses: Int)] = [:]
  /// Flows with more to carry than one turn takes.
  private var busy: [HostFlow] = []
  private var events = [epoll_event](repeating: epoll_event(), count: 64)
  /// What is received.
  private var scratch = [UInt8](repeating: 0, count: HostFlow.chunk)

  init(_ device: DeviceIndex, in namespace: NamespaceIndex) throws(TransportError) {
    self.device = device
    self.namespace = namespace
    epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard epoll >= 0 else { throw TransportError(errno: errno) }
  }

  deinit { close(epoll) }

  /// What tells that the host's sockets have news.
  var descriptor: Int32 { epoll }

  // MARK: Frames of the lab

  /// Whether a frame goes on to the stand-in now. What begins a flow is kept until it may, or for good.
  func admits(_ frame: ArraySlice<UInt8>, _ kernel: EmulatedKernel) -> Bool {
    guard let packet = OutgoingPacket(frame) else { return true }
    guard let subnet else { return false }
    guard !subnet.contains(.v4(packet.key.outside.address)), packet.key.outside.address.isElsewhere else {
      return true
    }
    guard let flow = flows[packet.key] else { return begin(packet, frame, kernel) }
    flow.lastMoved = kernel.stack.now
    switch flow.key.kind {
    case .stream: return flow.held.isEmpty
    case .datagram: return true
    case .echo:
      ask(packet, frame, by: flow)
      return false
    }
  }

  private func begin(
    _ packet: OutgoingPacket, _ frame: ArraySlice<UInt8>, _ kernel: EmulatedKernel
  ) -> Bool {
    // The rest of a connection that is no more: the stand-in resets it.
    if packet.key.kind == .stream, !packet.beginsConnection { return true }
    guard makeRoom(kernel), let flow = HostFlow(packet.key, now: kernel.stack.now) else { return false }
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
    event.data.fd = flow.descriptor
    guard epoll_ctl(epoll, EPOLL_CTL_ADD, flow.descriptor, &event) == 0 else { return false }
    flows[packet.key] = flow
    byDescriptor[flow.descriptor] = flow
    switch packet.key.kind {
    case .stream: flow.held = [(0, Array(frame))]
    case .datagram:
      guard bind(flow, kernel) else {
        end(flow, kernel)
        return false
      }
      return true
    case .echo: ask(packet, frame, by: flow)
    }
    return false
  }

  /// Whether there may be one more flow.
  private func makeRoom(_ kernel: EmulatedKernel) -> Bool {
    guard flows.count >= Self.flowLimit else { return true }
    let silent = flows.values.filter { !$0.isConnected && kernel.stack.now - $0.lastMoved > Self.silence }
    guard
      let oldest = silent.min(by: { ($0.lastMoved, $0.descriptor) < ($1.lastMoved, $1.descriptor) })
    else { return false }
    end(oldest, kernel)
    return true
  }

  /// Has the host send an echo request, and keeps the node's until it is answered.
  private func ask(_ packet: OutgoingPacket, _ frame: ArraySlice<UInt8>, by flow: HostFlow) {
    guard flow.send(echo: frame.dropFirst(packet.payload)) else { return }
    if flow.held.count >= HostFlow.heldLimit { flow.held.removeFirst() }
    flow.held.append((packet.sequence, Array(frame)))
  }

  // MARK: News of the host's sockets

  /// Looks after the host's sockets that have news. Whether there was anything to do.
  func takeNews(_ kernel: EmulatedKernel) -> Bool {
    let again = busy
    busy = []
    for flow in again where flows[flow.key] === flow { pump(flow, kernel) }
    let count = Int(max(epoll_wait(epoll, &events, Int32(events.count), 0), 0))
    for event in events.prefix(count) {
      guard let flow = byDescriptor[event.data.fd] else { continue }
      switch flow.key.kind {
      case .stream: attend(flow, kernel)
      case .datagram: pump(flow, kernel)
      case .echo:
        // The stand-in gives the answer, with the bytes of the request.
        for frame in flow.takeAnswered(&scratch) { kernel.stack.inject(frame, into: device) }
      }
    }
    return count > 0 || !again.isEmpty
  }

  private func attend(_ flow: HostFlow, _ kernel: EmulatedKernel) {
    guard let (_, frame) = flow.held.first else {
      if flow.socket != nil { pump(flow, kernel) }
      return
    }
    switch flow.connectionError {
    case nil: return
    case 0:
      guard listen(for: flow, kernel) else { return end(flow, kernel) }
      flow.held = []
      kernel.stack.inject(frame, into: device)
    case ECONNREFUSED?:
      end(flow, kernel)
      // Nobody listens there: the stand-in says so.
      kernel.stack.inject(frame, into: device)
    default:
      // To nobody's answer the node waits as it would outside.
      end(flow, kernel)
    }
  }

  // MARK: The stand-in's sockets

  private func listen(for flow: HostFlow, _ kernel: EmulatedKernel) -> Bool {
    let outside = flow.key.outside
    if let listener = listeners[outside] {
      listeners[outside] = (listener.socket, listener.uses + 1)
      flow.isListenedFor = true
      return true
    }
    do throws(TransportError) {
      let socket = try kernel.openSocket(.tcp(.ipv4), in: namespace) { (stack, socket) throws(KernelError) in
        try stack.setOption(.reuseAddress(true), on: socket)
        try stack.bind(socket, to: outside.name)
        try stack.listen(socket, backlog: 128)
      }
      listeners[outside] = (socket, 1)
      flow.isListenedFor = true
      kernel.wait(for: .in, on: socket, until: nil) { [weak self] kernel in
        guard let self else { return true }
        accept(from: socket, kernel)
        return listeners[outside]?.socket != socket
      } expire: { _ in
      }
      return true
    } catch {
      return false
    }
  }

  private func accept(from listener: SocketIndex, _ kernel: EmulatedKernel) {
    while true {
      do throws(KernelError) {
        let socket = try kernel.stack.accept(listener)
        do throws(KernelError) {
          let (local, peer) = (try kernel.stack.localName(of: socket), try kernel.stack.peerName(of: socket))
          if let key = HostFlow.Key(.stream, node: peer, outside: local), let flow = flows[key],
            flow.socket == nil
          {
            flow.socket = socket
            follow(flow, socket, kernel)
            continue
          }
        } catch {
          // It has ended already; likewise below, where its flow has.
        }
        kernel.stack.close(socket)
      } catch {
        guard error.errno == ECONNABORTED else { return }
      }
    }
  }

  /// A socket in the name of whoever is outside, for the datagrams of one node's port.
  private func bind(_ flow: HostFlow, _ kernel: EmulatedKernel) -> Bool {
    do throws(TransportError) {
      let socket = try kernel.openSocket(.udp(.ipv4), in: namespace) { (stack, socket) throws(KernelError) in
        try stack.setOption(.reuseAddress(true), on: socket)
        try stack.bind(socket, to: flow.key.outside.name)
        try stack.connect(socket, to: flow.key.node.name)
      }
      flow.socket = socket
      follow(flow, socket, kernel)
      return true
    } catch {
      return false
    }
  }

  private func follow(_ flow: HostFlow, _ socket: SocketIndex, _ kernel: EmulatedKernel) {
    kernel.wait(for: [.in, .out], on: socket, until: nil) { [weak self] kernel in
      guard let self else { return true }
      pump(flow, kernel)
      return flows[flow.key] !== flow
    } expire: { _ in
    }
  }

  private func pump(_ flow: HostFlow, _ kernel: EmulatedKernel) {
    switch flow.carry(kernel, &scratch) {
    case .waits: break
    case .hasMore: busy.append(flow)
    case .isOver: end(flow, kernel)
    }
  }

  private func end(_ flow: HostFlow, _ kernel: EmulatedKernel) {
    guard flows[flow.key] === flow else { return }
    flows[flow.key] = nil
    byDescriptor[flow.descriptor] = nil
    if let socket = flow.socket { kernel.closeSocket(socket) }
    guard flow.isListenedFor, let listener = listeners[flow.key.outside] else { return }
    listeners[flow.key.outside] = listener.uses > 1 ? (listener.socket, listener.uses - 1) : nil
    if listener.uses == 1 { kernel.closeSocket(listener.socket) }
  }

  /// Ends every flow: the stand-in, or the way to it, goes.
  func endAll(_ kernel: EmulatedKernel) {
    for flow in flows.values.sorted(by: { $0.descriptor < $1.descriptor }) { end(flow, kernel) }
  }
}

extension IPv4Address {
  /// An address of somebody else's: not this network, a loopback, a group or a broadcast.
  fileprivate var isElsewhere: Bool { (1..<224).contains(rawValue >> 24) && rawValue >> 24 != 127 }
}
