// SPDX-License-Identifier: GPL-2.0-or-later

// A program of a node that is kept running, and a command that runs once. Both print into files of the lab's folder.

import Glibc
import LabCore
import Spawn
import Synchronization
import SystemPackage

/// A program that is started again as its policy says, after pauses that grow from 0.1 s to 30 s.
final class SupervisedProgram: Sendable {
  private struct State {
    var child: ChildProcess?
    var isWanted = true
    var restarts = 0
    var lastExit: ProcessExit?
    var pause = SupervisedProgram.shortestPause
    var began = ContinuousClock.now
    var isPausing = false
    var onEnd: [@Sendable () -> Void] = []
  }

  static let shortestPause = Duration.milliseconds(100)
  static let longestPause = Duration.seconds(30)
  /// A program that ran this long has recovered: its next pause is the shortest.
  static let recovered = Duration.seconds(10)

  let program: NodeProgram
  let log: String
  private let entry: NodeEntry
  private let environment: [String: String]
  private let reactor: Reactor
  private let launcher: Launcher
  private let state = Mutex(State())

  /// `environment` is added to the node's own.
  init(
    _ program: NodeProgram, entry: NodeEntry, environment: [String: String], log: String, reactor: Reactor,
    launcher: Launcher
  ) {
    self.launcher = launcher
    self.program = program
    self.environment = environment
    self.entry = entry
    self.log = log
    self.reactor = reactor
  }

  var status: LabProcessStatus.Program {
    state.withLock { state in
      LabProcessStatus.Program(
        arguments: program.arguments, restart: program.restart,
        state: state.child != nil ? .running : state.isPausing ? .pausing : .ended, pid: state.child?.pid,
        restarts: state.restarts, lastExit: state.lastExit, log: log)
    }
  }

  /// Starts it for the first time; throws when it cannot be started.
  func start() async throws(DatapathError) {
    let result = await launcher.value { self.launch() }
    do {
      try result.get()
    } catch {
      throw NodePrograms.located(error, program.location)
    }
  }

  /// Ends it and returns when it has gone: SIGTERM to its process group, SIGKILL after two seconds.
  func stop() async {
    await withCheckedContinuation { continuation in
      let child = state.withLock { state -> ChildProcess? in
        state.isWanted = false
        state.isPausing = false
        if let child = state.child {
          state.onEnd.append { continuation.resume() }
          return child
        }
        continuation.resume()
        return nil
      }
      guard let child else { return }
      child.kill(SIGTERM, group: true)
      reactor.after(.seconds(2)) { child.kill(SIGKILL, group: true) }
    }
  }

  /// On one of the launcher's threads, so that the program dies with this process.
  private func launch() -> Result<Void, DatapathError> {
    do {
      let output = try NodePrograms.openLog(log)
      let command = Command(NodePrograms.arguments(of: program), environment: environment)
      let child = try entry.spawn(command, io: NodePrograms.io(to: output), diesWithCaller: true)
      let isWanted = state.withLock { state in
        state.child = child
        state.began = .now
        return state.isWanted
      }
      reactor.add(child.pidfd.rawValue, Reactor.readable) { _ in self.ended(child) }
      reactor.after(NodePrograms.logInterval) { [weak self, weak child] in self?.trimLog(of: child) }
      if !isWanted { child.kill(SIGKILL, group: true) }
      return .success(())
    } catch {
      return .failure(error)
    }
  }

  /// Keeps the log of a program that runs for long within bounds.
  private func trimLog(of child: ChildProcess?) {
    guard let child, state.withLock({ $0.child === child }) else { return }
    NodePrograms.trimLog(log)
    reactor.after(NodePrograms.logInterval) { [weak self, weak child] in self?.trimLog(of: child) }
  }

  private func ended(_ child: ChildProcess) {
    // Not yet waited for, so its number is still its own: what it left in its group goes with it.
    if !state.withLock({ $0.isWanted }) { child.kill(SIGKILL, group: true) }
    guard let exit = NodePrograms.exit(of: child) else { return }
    reactor.remove(child.pidfd.rawValue)
    let (pause, onEnd) = state.withLock { state -> (Duration?, [@Sendable () -> Void]) in
      state.child = nil
      state.lastExit = exit
      let onEnd = state.onEnd
      state.onEnd = []
      let again =
        switch program.restart {
        case .never: false
        case .onFailure: exit != .exited(0)
        case .always: true
        }
      guard state.isWanted, again else { return (nil, onEnd) }
      if state.began.duration(to: .now) >= Self.recovered { state.pause = Self.shortestPause }
      defer { state.pause = min(state.pause * 2, Self.longestPause) }
      state.isPausing = true
      return (state.pause, onEnd)
    }
    for call in onEnd { call() }
    if let pause { startAgain(after: pause) }
  }

  private func startAgain(after pause: Duration) {
    reactor.after(pause) { self.launcher.perform { self.startAgain() } }
  }

  private func startAgain() {
    let goes = state.withLock { state in
      guard state.isWanted, state.isPausing else { return false }
      state.isPausing = false
      state.restarts += 1
      return true
    }
    guard goes, case .failure(let error) = launch() else { return }
    NodePrograms.note("netforge: \(error)", in: log)
    let pause = state.withLock { state in
      defer { state.pause = min(state.pause * 2, Self.longestPause) }
      state.isPausing = true
      return state.pause
    }
    startAgain(after: pause)
  }
}

/// What programs and commands have in common.
enum NodePrograms {
  /// Bytes of a log at which it is put aside.
  static let logLimit = 4 << 20
  /// How often the logs of running programs are looked at.
  static let logInterval = Duration.seconds(5)
  /// How long a command may take.
  static let commandLimit = Duration.seconds(300)

  /// One element with blanks in it is a line for the shell.
  static func arguments(of program: NodeProgram) -> [String] {
    guard program.arguments.count == 1, let line = program.arguments.first,
      line.contains(where: \.isWhitespace)
    else {
      return program.arguments
    }
    return ["/bin/sh", "-c", line]
  }

  static func openLog(_ path: String) throws(DatapathError) -> OwnedDescriptor {
    trimLog(path)
    let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else {
      throw DatapathError(
        .unavailable, operation: "open the log \(path)", errno: errno, cause: "\(Errno(rawValue: errno))")
    }
    return OwnedDescriptor(FileDescriptor(rawValue: file))
  }

  /// Puts the end of a log that has grown too large aside and empties it. Whoever writes to it goes on at its new end.
  static func trimLog(_ path: String) {
    var information = stat()
    guard stat(path, &information) == 0, information.st_size > logLimit else { return }
    let file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return }
    defer { close(file) }
    var rest = [UInt8](repeating: 0, count: logLimit / 4)
    let count = pread(file, &rest, rest.count, information.st_size - rest.count)
    // What cannot be put aside is dropped: the folder may stand in memory.
    if count > 0 { try? LabFile.write(Array(rest.prefix(count)), to: "\(path).1") }
    ftruncate(file, 0)
  }

  static func io(to log: OwnedDescriptor) throws(DatapathError) -> ProcessIO {
    ProcessIO(input: nothing.descriptor, output: log.descriptor, error: log.descriptor)
  }

  private static let nothing = OwnedDescriptor(
    FileDescriptor(rawValue: open("/dev/null", O_RDWR | O_CLOEXEC)))

  static func note(_ line: String, in log: String) {
    guard let file = try? openLog(log) else { return }
    // A note that cannot be written has nowhere else to go.
    _ = try? file.descriptor.writeAll(Array((line + "\n").utf8))
  }

  /// How a child ended; nil while it runs.
  static func exit(of child: ChildProcess) -> ProcessExit? {
    do {
      switch try child.poll() {
      case .exited(let code): return .exited(code)
      case .signaled(let signal): return .signaled(signal)
      case nil: return nil
      }
    } catch {
      // Somebody else has waited for it: how it ended is lost.
      return .exited(255)
    }
  }

  static func located(_ error: DatapathError, _ location: SourceLocation) -> DatapathError {
    var error = error
    error.operation += " (\(location))"
    return error
  }

  /// Runs a command of a node to its end; what it prints goes to `log`.
  static func run(
    _ program: NodeProgram, entry: NodeEntry, environment: [String: String], log: String, reactor: Reactor,
    launcher: Launcher
  ) async throws(DatapathError) {
    let output = try openLog(log)
    let start = Int(lseek(output.descriptor.rawValue, 0, SEEK_END))
    let started = await launcher.value { () -> Result<ChildProcess, DatapathError> in
      do throws(DatapathError) {
        let command = Command(arguments(of: program), environment: environment)
        return .success(try entry.spawn(command, io: try io(to: output), diesWithCaller: true))
      } catch {
        return .failure(error)
      }
    }
    let child: ChildProcess
    do throws(DatapathError) {
      child = try started.get()
    } catch {
      throw located(error, program.location)
    }
    reactor.after(commandLimit) { [weak child] in child?.kill(SIGKILL, group: true) }
    let exit = await self.end(of: child, reactor: reactor)
    guard exit != .exited(0) else { return }
    let lines = LabFile.lastLines(of: log, from: start)
    let how =
      switch exit {
      case .exited(let code): "exit code \(code)"
      case .signaled(let signal): "signal \(signal)"
      }
    throw DatapathError(
      .refused, operation: "run '\(program.arguments.joined(separator: " "))' (\(program.location))",
      path: StatePath(.node(entry.node)),
      cause: how + (lines.isEmpty ? "" : ": " + lines.joined(separator: " | ")),
      remedy: "all that it printed is in \(log)")
  }

  /// Waits for a child without a thread.
  static func end(of child: ChildProcess, reactor: Reactor) async -> ProcessExit {
    await withCheckedContinuation { continuation in
      reactor.add(child.pidfd.rawValue, Reactor.readable) { _ in
        guard let exit = exit(of: child) else { return }
        reactor.remove(child.pidfd.rawValue)
        continuation.resume(returning: exit)
      }
    }
  }
}
