// SPDX-License-Identifier: GPL-2.0-or-later

// The one process of a lab that outlives `up`: netforge again, in a session of its own, with the lab's log as its
// output. For a rootless lab it stands in the user namespace that holds the lab, so the lab ends with it.
//
//     <lab folder>/control       the control socket
//     <lab folder>/process.lock  locked as long as the process lives
//     <lab folder>/process.log   what it says

import CLinux
import FoundationEssentials
import Glibc
public import LabCore
import Logging
import Spawn
import Synchronization
import SystemPackage

/// A lab process: how it is started, found, and run.
public struct LabProcess: Sendable {
  /// What the starter tells the lab process.
  struct Startup: Codable, Equatable, Sendable {
    var lab: LabName
    var folder: String
    var datapath: DatapathKind
    /// Threads of an emulated kernel.
    var cpus = 1
  }

  /// Makes the datapath that the lab process hosts.
  public typealias DatapathFactory =
    @Sendable (_ lab: LabName, _ folder: String, _ kind: DatapathKind, _ cpus: Int)
    async
    throws(DatapathError) -> any Datapath

  public static let logName = "process.log"
  static let lockName = "process.lock"
  static let startLimit = Duration.seconds(30)

  private let startup: Startup
  /// Takes "ready", or the error that keeps the process from serving.
  private let ready: ClosableDescriptor

  // MARK: Starting

  /// Starts the lab process of `lab` and returns its number when it serves. `folder` is the lab's own, absolute, and
  /// there. A process that serves the lab already is an error of code `refused`. `cpus`: threads of an emulated kernel.
  public static func start(
    lab: LabName, folder: String, datapath: DatapathKind, cpus: Int = 1
  ) throws(DatapathError) -> Int32 {
    let startup = Startup(lab: lab, folder: folder, datapath: datapath, cpus: cpus)
    if !isRunning(folder: folder) {
      // Of one that was killed. Daemons of commands are part of a kernel lab's nodes; rootless nodes are gone.
      Leftovers(folder: folder).end(datapath == .kernel ? [.program] : [.program, .command])
    }
    let (request, reader, writer) = try startRequest(startup)
    let operation = "start the lab process of '\(lab)'"
    let child: ChildProcess
    do {
      child = try request.value.spawn()
    } catch {
      throw DatapathError(.unavailable, operation: operation, errno: error.errno.rawValue, cause: "\(error)")
    }
    writer.close()
    return try waitUntilReady(child, reader: reader, log: "\(folder)/\(logName)", operation: operation)
  }

  /// A request with what must stay open until it is carried out.
  struct HeldRequest {
    var value: SpawnRequest
    let held: [OwnedDescriptor]
  }

  static func startRequest(
    _ startup: Startup
  ) throws(DatapathError) -> (HeldRequest, reader: OwnedDescriptor, writer: ClosableDescriptor) {
    let operation = "start the lab process of '\(startup.lab)'"
    var file = EntryFile()
    if startup.datapath == .rootless { file.add("rootless", "1") }
    file.add("status", "4")
    file.add("startup", String(decoding: try ControlCoding.encode(startup), as: UTF8.self))
    let sealed = try file.sealed(for: operation)
    let program = try EntryFile.ownProgram(for: operation)
    let log = try NodePrograms.openLog("\(startup.folder)/\(logName)")
    let (reader, writer) = try NodeEntry.pipe(for: operation)
    var request = SpawnRequest(
      .file(program.descriptor, name: "netforge"), arguments: ["netforge", "__lab", "3"],
      environment: NodeEntry.ownEnvironment(), directory: "/",
      descriptors: [
        .init(log.descriptor, as: 1), .init(log.descriptor, as: 2), .init(sealed.descriptor, as: 3),
        .init(writer.descriptor, as: 4),
      ])
    request.session = .new
    return (HeldRequest(value: request, held: [sealed, program, log]), reader, writer)
  }

  static func waitUntilReady(
    _ child: ChildProcess, reader: OwnedDescriptor, log: String, operation: String
  ) throws(DatapathError) -> Int32 {
    let (bytes, ended) = EntryFile.readAll(reader.descriptor, timeout: startLimit)
    if bytes == Array("ready".utf8) { return child.pid }
    child.kill(SIGKILL)
    _ = try? child.wait()
    if let error = EntryFile.failure(in: bytes) { throw error }
    guard ended else {
      throw DatapathError(
        .timeout, operation: operation, cause: "it was not ready within 30 s", remedy: "see \(log)")
    }
    let lines = LabFile.lastLines(of: log)
    throw DatapathError(
      .unavailable, operation: operation,
      cause: "it ended before it was ready" + (lines.isEmpty ? "" : ": " + lines.joined(separator: " | ")),
      remedy: "see \(log)")
  }

  // MARK: Finding

  /// Whether a lab process lives for the lab in `folder`, without talking to it.
  public static func isRunning(folder: String) -> Bool {
    let file = open("\(folder)/\(lockName)", O_RDWR | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    guard flock(file, LOCK_SH | LOCK_NB) == 0 else { return errno == EWOULDBLOCK }
    return false
  }

  /// Ends the lab process of the lab in `folder`, if there is one, and what programs and commands of the lab's nodes
  /// left running, and returns when all have gone. A process that does not answer is killed. For labs that go away.
  public static func end(folder: String) async throws(DatapathError) {
    try await end(folder: folder, within: .seconds(10))
  }

  /// `limit`: for each step.
  static func end(folder: String, within limit: Duration) async throws(DatapathError) {
    if isRunning(folder: folder) {
      var pid: Int32?
      do throws(DatapathError) {
        let connection = try await LabConnection.open(folder: folder, timeout: limit)
        pid = connection.processID
        try await connection.shutdown(within: limit)
      } catch {
        // Said by whoever holds the other end of its socket, even when it does not answer.
        pid = pid ?? LabConnection.peer(folder: folder)
      }
      if try await !hasEnded(folder: folder, within: limit) {
        if let pid { kill(pid, SIGKILL) }
        guard try await hasEnded(folder: folder, within: limit) else {
          throw DatapathError(
            .timeout, operation: "end the lab process of \(folder)", cause: "it does not end",
            remedy: "see \(folder)/\(logName)")
        }
      }
    }
    Leftovers(folder: folder).end([.program, .command])
  }

  private static func hasEnded(folder: String, within limit: Duration) async throws(DatapathError) -> Bool {
    let deadline = ContinuousClock.now + limit
    while isRunning(folder: folder) {
      guard ContinuousClock.now < deadline, !Task.isCancelled else { return false }
      try? await Task.sleep(for: .milliseconds(5))
    }
    return true
  }

  /// Whether this user can have a rootless lab here; the reason and the remedy when not.
  public static func rootlessLimitation() -> Limitation? {
    let error = nf_user_namespace_probe()
    guard error != 0 else { return nil }
    return Limitation(
      path: nil, cause: "this user cannot make user namespaces (\(Errno(rawValue: error)))",
      remedy: String(cString: nf_user_namespace_remedy(error)))
  }

  // MARK: Being one

  /// What this process is to do instead of a command line, when it was started as a lab process. The executable asks
  /// first of all, and runs it.
  public static let role: LabProcess? = {
    let arguments = CommandLine.arguments
    guard arguments.count == 3, arguments[1] == "__lab", let number = Int32(arguments[2]), number >= 3 else {
      return nil
    }
    let file = FileDescriptor(rawValue: number)
    guard let text = EntryFile.value(of: "startup", in: file),
      let status = EntryFile.value(of: "status", in: file),
      let ready = Int32(status), let startup = try? ControlCoding.decode(Startup.self, from: Array(text.utf8))
    else { return nil }
    close(number)
    return LabProcess(startup: startup, ready: ClosableDescriptor(FileDescriptor(rawValue: ready)))
  }()

  /// Serves the lab until it is shut down, then ends the process.
  public func run(_ makeDatapath: DatapathFactory, bringUp: @escaping UpWork.Handler) async -> Never {
    umask(0o022)
    let logger = Logger(label: "netforge") { _ in LogFileHandler() }
    do throws(DatapathError) {
      try await serve(makeDatapath, bringUp, logger)
    } catch {
      logger.error("\(error)")
      // The starter may have gone; the log has it too.
      _ = try? ready.descriptor.writeAll(EntryFile.bytes(of: error))
      exit(1)
    }
    exit(0)
  }

  private func serve(
    _ makeDatapath: DatapathFactory, _ bringUp: @escaping UpWork.Handler, _ logger: Logger
  ) async throws(DatapathError) {
    let lock = try lockFolder()
    defer { withExtendedLifetime(lock) {} }
    let signals = nf_signal_descriptor()
    guard signals >= 0, nf_become_subreaper() == 0 else {
      throw DatapathError(
        .unavailable, operation: "prepare the lab process", cause: "signals or orphans cannot be taken")
    }
    let reactor = try Reactor()
    let datapath = try await makeDatapath(startup.lab, startup.folder, startup.datapath, startup.cpus)
    let (endings, ending) = AsyncStream<Void>.makeStream()
    let server = LabServer(
      lab: startup.lab, kind: startup.datapath, cpus: startup.cpus, folder: startup.folder,
      log: "\(startup.folder)/\(Self.logName)",
      datapath: datapath, reactor: reactor, logger: logger, bringUp: bringUp,
      onShutdown: { ending.yield() })
    reactor.add(signals, Reactor.readable) { _ in
      var byte: UInt8 = 0
      guard read(signals, &byte, 1) == 1 else { return }
      logger.info("ending on signal \(byte)")
      ending.yield()
    }
    try server.listen()
    reapOrphans(reactor)
    watch(lock, reactor) {
      logger.info("ending: the lab's folder is gone, so nobody can reach this process any more")
      ending.yield()
    }
    logger.info("lab process \(getpid()) serves '\(startup.lab)' (\(startup.datapath.rawValue))")
    _ = try? ready.descriptor.writeAll(Array("ready".utf8))
    ready.close()
    for await _ in endings { break }
    server.close()
    await server.supervisor.stop()
    // Answers that are under way go out.
    try? await Task.sleep(for: .milliseconds(50))
  }

  private func lockFolder() throws(DatapathError) -> OwnedDescriptor {
    let path = "\(startup.folder)/\(Self.lockName)"
    let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else {
      throw DatapathError(
        .unavailable, operation: "open \(path)", errno: errno, cause: "\(Errno(rawValue: errno))")
    }
    let lock = OwnedDescriptor(FileDescriptor(rawValue: file))
    guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
      throw DatapathError(
        .refused, operation: "start the lab process of '\(startup.lab)'", errno: errno,
        cause: "another one serves the lab already")
    }
    return lock
  }

  /// Calls `onEnd` when the lock file has no name any more.
  private func watch(_ lock: OwnedDescriptor, _ reactor: Reactor, _ onEnd: @escaping @Sendable () -> Void) {
    var information = stat()
    if fstat(lock.descriptor.rawValue, &information) == 0, information.st_nlink == 0 { return onEnd() }
    reactor.after(.seconds(2)) { watch(lock, reactor, onEnd) }
  }

  /// Waits for orphans that came to this process as its programs ended without them; once a second. Its own children
  /// are waited for by who started them. One that leads a session may be a child of which nobody knows yet, so it is
  /// taken at the second look.
  private func reapOrphans(_ reactor: Reactor, last: Int32 = 0) {
    var ended = nf_ended_child()
    while ended > 0, !OwnChildren.contains(ended), ended == last || getsid(ended) != ended {
      guard waitpid(ended, nil, WNOHANG) > 0 else { break }
      ended = nf_ended_child()
    }
    OwnChildren.forgetEnded()
    let seen = ended
    reactor.after(.seconds(1)) { reapOrphans(reactor, last: seen) }
  }
}
