// SPDX-License-Identifier: GPL-2.0-or-later

// The lab process's side of the control socket: accepts the owner's connections, and does what they ask on the hosted
// datapath and the supervisor.

import CLinux
import Glibc
import LabCore
import Logging
import Synchronization
import SystemPackage

/// Serves one lab.
final class LabServer: Sendable {
  static let connectionLimit = 64
  static let socketName = "control"

  let lab: LabName
  let kind: DatapathKind
  let cpus: Int
  let folder: String
  let log: String
  let since: Int64
  let datapath: any Datapath
  let supervisor: LabSupervisor
  let reactor: Reactor
  let logger: Logger
  /// Brings the lab up.
  private let bringUp: UpWork.Handler
  /// Called once when a client has asked for the end.
  let onShutdown: @Sendable () -> Void
  private let listener = Mutex<Int32?>(nil)
  private let connections = Atomic(0)
  private let isComingUp = Atomic(false)

  init(
    lab: LabName, kind: DatapathKind, cpus: Int = 1, folder: String, log: String, datapath: any Datapath,
    reactor: Reactor, logger: Logger, bringUp: @escaping UpWork.Handler,
    onShutdown: @escaping @Sendable () -> Void
  ) {
    self.lab = lab
    self.kind = kind
    self.cpus = cpus
    self.folder = folder
    self.log = log
    self.datapath = datapath
    self.reactor = reactor
    self.logger = logger
    self.bringUp = bringUp
    self.onShutdown = onShutdown
    supervisor = LabSupervisor(lab: lab, folder: folder, reactor: reactor, datapath: datapath)
    since = Int64(time(nil))
  }

  /// Opens the control socket in the lab's folder.
  func listen() throws(DatapathError) {
    let directory = try Self.openFolder(folder)
    let socket = nf_control_listen(directory.descriptor.rawValue, Self.socketName)
    guard socket >= 0 else {
      throw DatapathError(
        .unavailable, operation: "open the control socket \(folder)/\(Self.socketName)", errno: -socket,
        cause: "\(Errno(rawValue: -socket))")
    }
    listener.withLock { $0 = socket }
    reactor.add(socket, Reactor.readable) { _ in self.accept(from: socket) }
  }

  /// Takes no more connections.
  func close() {
    guard
      let socket = listener.withLock({ socket in
        defer { socket = nil }
        return socket
      })
    else { return }
    reactor.remove(socket)
    Glibc.close(socket)
    unlink("\(folder)/\(Self.socketName)")
  }

  static func openFolder(_ path: String) throws(DatapathError) -> OwnedDescriptor {
    let file = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard file >= 0 else {
      throw DatapathError(
        errno == ENOENT ? .notFound : .unavailable, operation: "open the lab's folder \(path)", errno: errno,
        cause: "\(Errno(rawValue: errno))")
    }
    return OwnedDescriptor(FileDescriptor(rawValue: file))
  }

  private func accept(from listener: Int32) {
    for _ in 0..<16 {
      let socket = nf_accept(listener)
      guard socket >= 0 else {
        guard [-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM].contains(socket) else { return }
        logger.warning("cannot accept a connection: \(Errno(rawValue: -socket))")
        reactor.change(listener, 0)
        reactor.after(.seconds(1)) { self.reactor.change(listener, Reactor.readable) }
        return
      }
      var pid: pid_t = 0
      var uid: uid_t = 0
      guard nf_peer(socket, &pid, &uid) == 0, uid == geteuid() else {
        turnAway(socket, pid, .permission, "the lab is another user's", "use the account that brought it up")
        continue
      }
      guard connections.load(ordering: .relaxed) < Self.connectionLimit else {
        turnAway(socket, pid, .refused, "\(Self.connectionLimit) connections are open", "try again later")
        continue
      }
      serve(FileDescriptor(rawValue: socket))
    }
  }

  /// Says to a client why nobody talks to it.
  private func turnAway(
    _ socket: Int32, _ pid: pid_t, _ code: DatapathError.Code, _ cause: String, _ remedy: String
  ) {
    logger.warning("turned away process \(pid): \(cause)")
    let error = DatapathError(
      code, operation: "talk to lab process \(getpid())", cause: cause, remedy: remedy)
    if let bytes = try? ControlCoding.encode(ControlEnvelope(id: 0, body: ControlReply.failure(error))) {
      // A new connection has room for one packet; if not, its end says enough.
      _ = nf_packet_send(socket, [0] + bytes, bytes.count + 1, nil, 0)
    }
    Glibc.close(socket)
  }

  /// Talks with one client until it goes. Takes the connected socket over.
  func serve(_ socket: FileDescriptor) {
    connections.wrappingAdd(1, ordering: .relaxed)
    let session = LabSession(self, ControlChannel(socket, on: reactor))
    Task {
      await session.run()
      self.connections.wrappingSubtract(1, ordering: .relaxed)
    }
  }

  /// Carries an order out, one at a time: who asks holds the lab's lock.
  func carryOut(_ work: UpWork) async throws(DatapathError) -> (outcome: UpOutcome, document: [UInt8]) {
    guard !isComingUp.exchange(true, ordering: .acquiringAndReleasing) else {
      throw DatapathError(
        .refused, operation: "bring lab '\(lab)' up", cause: "it is being brought up already")
    }
    defer { isComingUp.store(false, ordering: .releasing) }
    return await bringUp(work)
  }

  func status() async -> LabProcessStatus {
    LabProcessStatus(
      lab: lab, datapath: kind, cpus: cpus, pid: getpid(), since: since, log: log,
      nodes: await supervisor.status)
  }
}
