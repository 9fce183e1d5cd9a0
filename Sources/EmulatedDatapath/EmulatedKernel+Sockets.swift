// SPDX-License-Identifier: GPL-2.0-or-later

// The sockets of a namespace of the emulated kernel, as every datapath reports them.

import LabCore
import LinuxObjects
import NetStack
import NetTypes

extension EmulatedKernel {
  /// UDP, TCP and raw sockets, IPv4 before IPv6, as the host's kernel is asked for them.
  func socketReports(
    of namespace: NamespaceID, _ inspector: Inspector<EmulatedChannel>
  ) throws(TransportError) -> [SocketReport] {
    let reports = stack.sockets(in: try index(of: namespace)).compactMap { socket in
      SocketReport(socket, inspector).map { (order: Self.order(of: socket.kind), report: $0) }
    }
    return (0..<6).flatMap { order in reports.filter { $0.order == order }.map(\.report) }
  }

  private static func order(of kind: SocketKind) -> Int {
    switch kind {
    case .udp(let family): family == .ipv4 ? 0 : 1
    case .tcp(let family): family == .ipv4 ? 2 : 3
    case .raw(let family, _): family == .ipv4 ? 4 : 5
    case .ping, .packet: 6
    }
  }
}

extension SocketReport {
  /// Nil for kinds that a list of these protocols does not have.
  fileprivate init?(_ socket: SocketSummary, _ inspector: Inspector<EmulatedChannel>) {
    let kind: Kind
    let family: IPFamily
    switch socket.kind {
    case .udp(let version): (kind, family) = (.udp, version)
    case .tcp(let version): (kind, family) = (.tcp, version)
    case .raw(let version, _): (kind, family) = (.raw, version)
    case .ping, .packet: return nil
    }
    let device = socket.options.device != 0 ? socket.options.device : socket.local.scope
    let state = socket.state?.rawValue ?? (socket.peer == nil ? TCPState.close : .established).rawValue
    self.init(
      kind: kind, state: Self.word(forState: state) ?? "UNKNOWN",
      receiveQueue: UInt32(clamping: socket.receiveQueue), sendQueue: UInt32(clamping: socket.sendQueue),
      local: Name(
        socket.local.address, socket.local.port, link: device == 0 ? nil : inspector.name(device)),
      peer: Name(socket.peer?.address ?? .any(family), socket.peer?.port ?? 0), user: socket.user,
      isV6Only: socket.options.isV6Only,
      memory: Memory(
        received: UInt32(clamping: socket.receiveMemory),
        receiveLimit: UInt32(clamping: socket.options.receiveBuffer),
        sent: UInt32(clamping: socket.sendMemory), sendLimit: UInt32(clamping: socket.options.sendBuffer),
        drops: UInt32(clamping: socket.drops)))
  }
}
