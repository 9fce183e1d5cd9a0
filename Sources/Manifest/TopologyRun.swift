// SPDX-License-Identifier: GPL-2.0-or-later

// A topology's program at work. It is not trusted: it runs as the invoking user (nobody for root), sees no file and no
// network, may start nothing, and has little time, memory and room to write. What it does wrong gets its own sentence.

import FoundationEssentials
import Glibc
import Spawn
import SystemPackage

/// What a topology's program may use.
public struct RunLimits: Sendable {
  public var time: Duration = .seconds(10)
  /// Bytes of address space.
  public var memory: UInt64 = 1 << 30
  /// Bytes of declarations.
  public var declarations = 64 << 20
  /// Bytes that it may print on one stream.
  public var printed = 1 << 20
  /// Bytes of them that are shown.
  public var shown = 64 << 10

  public init() {}
}

/// The user whose rights the program gets.
enum RunIdentity {
  /// nil: ours, since we have no more rights than the user.
  static func choose(_ environment: [String: String]) -> SpawnRequest.Identity? {
    guard geteuid() == 0 else { return nil }
    for (user, group) in [("SUDO_UID", "SUDO_GID"), ("PKEXEC_UID", "PKEXEC_UID")] {
      if let uid = environment[user].flatMap({ UInt32($0) }),
        let gid = environment[group].flatMap({ UInt32($0) }),
        uid != 0, uid != .max, gid != 0, gid != .max
      {
        return SpawnRequest.Identity(user: uid, group: gid)
      }
    }
    return SpawnRequest.Identity(user: 65534, group: 65534)
  }
}

/// One run of a compiled topology.
struct TopologyRun {
  let program: String
  let sources: SourceSet
  let variables: [String: String]
  let identity: SpawnRequest.Identity?
  /// Toolchain folders that hold Swift's runtime.
  let libraries: [String]
  let limits: RunLimits

  struct Result {
    /// The lines of descriptor 3.
    var declarations: [UInt8]
    /// What the program printed, to be shown on standard error.
    var printed: String
    var reads: [FileBroker.Read]
  }

  private var name: String { sources.main.path }

  func run() throws(ManifestError) -> Result {
    let file: FileDescriptor
    do {
      file = try FileDescriptor.open(program, .readOnly, options: .closeOnExec)
    } catch {
      throw ManifestError(.system, "cannot open '\(program)': \(error)")
    }
    defer { try? file.close() }
    // The identity of the run reaches the program through this descriptor, not through our cache.
    guard fchmod(file.rawValue, 0o755) == 0 else {
      throw ManifestError(.system, "cannot change the mode of '\(program)': \(FileError(errno))")
    }
    let broker = FileBroker(folder: sources.folder)
    let conversation = Conversation(4) { broker.answer(&$0) }
    let captures = [
      OutputCapture(1, limit: limits.printed, overflow: .stop),
      OutputCapture(2, limit: limits.printed, overflow: .stop),
      OutputCapture(3, limit: limits.declarations, overflow: .stop),
    ]
    var request = request(file)
    let output: ProgramOutput
    do throws(SpawnError) {
      output = try request.run(capturing: captures, conversation: conversation, timeout: limits.time)
    } catch {
      // In a user namespace nobody may not exist: then there is only one user to be.
      guard error.stage == .identity else {
        throw ManifestError(.system, "\(error)")
      }
      request.identity = nil
      do throws(SpawnError) {
        output = try request.run(capturing: captures, conversation: conversation, timeout: limits.time)
      } catch {
        throw ManifestError(.system, "\(error)")
      }
    }
    try judge(output)
    return Result(declarations: output.bytes[3] ?? [], printed: printed(output), reads: broker.reads)
  }

  private func request(_ file: FileDescriptor) -> SpawnRequest {
    var request = SpawnRequest(.file(file, name: name), arguments: [sources.main.name], directory: "/")
    request.environment = variables.sorted { $0.key < $1.key }.map { "NETFORGE_VAR_\($0.key)=\($0.value)" }
    request.environment += ["SWIFT_DETERMINISTIC_HASHING=1", "SWIFT_BACKTRACE=enable=no"]
    request.identity = identity
    request.session = .new
    request.diesWithCaller = true
    request.noNewPrivileges = true
    let seconds = UInt64(max(1, limits.time.components.seconds + 1))
    request.limits = [
      .processorSeconds(seconds), .addressSpace(limits.memory), .fileSize(0), .core(0), .openFiles(64),
    ]
    let runtime: SpawnRequest.Path.Access = [.read, .execute]
    request.reachablePaths =
      [
        .init(file, runtime), .init("/lib", runtime), .init("/lib64", runtime), .init("/usr/lib", runtime),
        .init("/usr/lib64", runtime), .init("/etc/ld.so.cache", .read), .init("/proc/self", .read),
        .init("/sys/devices/system/cpu", .read), .init("/dev/null", .read), .init("/dev/urandom", .read),
      ] + libraries.map { .init($0, runtime) }
    if Confinement.hasSeccomp {
      request.computesOnly = true
    } else {
      // The next best thing: few processes, and where we may, no network.
      request.limits.append(.processes(64))
      if geteuid() == 0 { request.newNamespaces = [.network, .ipc] }
    }
    return request
  }

  // MARK: what may have gone wrong

  private func judge(_ output: ProgramOutput) throws(ManifestError) {
    let declarations = output.bytes[3] ?? []
    func failed(_ what: String) -> ManifestError {
      let last = Self.lastDeclaration(declarations, sources.paths)
      return ManifestError(
        .program,
        "\(name): error: the topology \(what)\(last.map { "; the last declaration reached was \($0)" } ?? "")",
        log: printed(output))
    }
    switch output.ending {
    case .timedOut: throw failed("did not end within \(Self.text(limits.time)): does it loop for ever?")
    case .overflowed(1), .overflowed(2): throw failed("printed more than \(limits.printed >> 20) MiB")
    case .overflowed: throw failed("wrote more than \(limits.declarations >> 20) MiB of declarations")
    case .refused: throw failed("read too many files, or not by lab.read")
    case .ended: break
    }
    switch output.status {
    case .signaled(SIGXCPU), .signaled(SIGKILL):
      throw failed("was killed: it used more time or memory than it may")
    case .signaled:
      // The runtime says why it stops a program; a stack or a memory that is used up stops it without a word.
      let hint =
        (output.bytes[2] ?? []).isEmpty ? ": does it call itself for ever, or use too much memory?" : ""
      throw failed("crashed with \(output.status)\(hint)")
    case .exited(let code) where code != 0:
      throw failed("ended with exit code \(code)")
    case .exited: break
    }
    guard !declarations.isEmpty else {
      throw failed("declares nothing: it needs a line like `let lab = Topology(\"name\")`")
    }
    guard Self.isComplete(declarations) else {
      throw failed("did not run to its end, or wrote to descriptor 3 itself")
    }
  }

  /// What the program printed, both streams, and how much of it was left out.
  private func printed(_ output: ProgramOutput) -> String {
    var text = ""
    for descriptor: Int32 in [1, 2] {
      let bytes = output.bytes[descriptor] ?? []
      guard !bytes.isEmpty else { continue }
      let part = String(decoding: bytes.prefix(limits.shown), as: UTF8.self)
      text += part.hasSuffix("\n") ? part : part + "\n"
      if bytes.count > limits.shown { text += "… and \(bytes.count - limits.shown) bytes more\n" }
    }
    return text
  }

  /// Whether the lines begin with the header and end with the end marker, and the marker's count is theirs.
  static func isComplete(_ bytes: [UInt8]) -> Bool {
    guard bytes.starts(with: Array("{\"schemaVersion\":".utf8)), bytes.last == 0x0A else { return false }
    let lines = bytes.split(separator: 0x0A)
    guard let last = lines.last else { return false }
    return last.elementsEqual("{\"end\":\(lines.count - 2)}".utf8)
  }

  private static func lastDeclaration(_ bytes: [UInt8], _ paths: [String: String]) -> String? {
    struct Declaration: Decodable {
      var kind: String
      var name: String?
      var file: String?
      var line: Int?
    }
    for line in bytes.split(separator: 0x0A).reversed().prefix(3) {
      guard line.count < 1 << 20, let one = try? JSONDecoder().decode(Declaration.self, from: Data(line))
      else { continue }
      let place = one.file.flatMap { file in one.line.map { " (\(paths[file] ?? file):\($0))" } } ?? ""
      return one.kind + (one.name.map { " '\($0)'" } ?? "") + place
    }
    return nil
  }

  private static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    return attoseconds == 0 ? "\(seconds) s" : "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000) ms"
  }
}
