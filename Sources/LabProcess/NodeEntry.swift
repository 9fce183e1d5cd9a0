// SPDX-License-Identifier: GPL-2.0-or-later

// The one way a program gets into a node: netforge runs itself again, and before its first thread it joins the node's
// namespaces, lays out the node's view and becomes the program.

import CLinux
import Glibc
public import LabCore
public import Spawn
import SystemPackage

/// What it takes to be a program in a node.
public struct NodeEntry: Sendable {
  /// Where the node's namespaces are.
  public enum Namespaces: Sendable {
    /// A name under /run/netns, as this process sees it.
    case path(String)
    /// Those of a lab process; the first two when it has a user namespace of its own.
    case held(user: OwnedDescriptor?, mount: OwnedDescriptor?, network: OwnedDescriptor)
  }

  /// The folder of named network namespaces.
  public static let namespaceFolder = "/run/netns"

  public var node: NodeName
  public var namespaces: Namespaces
  public var view: NodeView

  public init(node: NodeName, namespaces: Namespaces, view: NodeView) {
    self.node = node
    self.namespaces = namespaces
    self.view = view
  }

  /// The way into a node of a lab whose namespaces this process can see. `folder` is the lab's; without one, or with
  /// nothing laid out in it, programs see the host's files.
  public static func local(_ node: NodeName, of lab: LabName, folder: String?) throws(DatapathError)
    -> NodeEntry
  {
    let path = Self.path(of: node, in: lab)
    guard access(path, F_OK) == 0 else {
      throw DatapathError(
        .notFound, operation: "enter node '\(node)' of lab '\(lab)'",
        cause: "there is no network namespace \(path)",
        remedy: "see netforge status --name \(lab)")
    }
    var view = NodeView.empty
    if let folder { view = try NodeView.read(of: node, folder: folder) }
    return NodeEntry(node: node, namespaces: .path(path), view: view)
  }

  static func path(of node: NodeName, in lab: LabName) -> String {
    "\(namespaceFolder)/\(NamespaceID.node(node).netnsName(in: lab) ?? "")"
  }

  /// Becomes the program: its terminal, its signals and its exit code are this process's. Returns only by failing.
  public func become(_ command: Command) throws(DatapathError) -> Never {
    var file = entryFile(command)
    if case .held(let user, let mount, let network) = namespaces {
      for (tag, descriptor) in [("user", user), ("mount", mount), ("net", network)] {
        guard let descriptor else { continue }
        file.add(tag, "\(descriptor.descriptor.rawValue)")
        _ = fcntl(descriptor.descriptor.rawValue, F_SETFD, 0)
      }
      // Joining a mount namespace leads to its root; back to where the user stands.
      if command.workingDirectory == nil, let here = currentFolder() { file.add("cwd", here) }
    }
    let sealed = try file.sealed(for: "enter node '\(node)'")
    _ = fcntl(sealed.descriptor.rawValue, F_SETFD, 0)
    let words = ["netforge", "__enter", "\(sealed.descriptor.rawValue)"]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    _ = nf_restore_signal_mask()
    nf_restore_descriptor_limit()
    execv("/proc/self/exe", arguments)
    let error = errno
    withExtendedLifetime(sealed) {}
    throw DatapathError(
      .notStarted, operation: "enter node '\(node)'", errno: error,
      cause: "/proc/self/exe: \(Errno(rawValue: error))")
  }

  /// Starts the program in a session of its own. Returns when it has begun: one that is not there is an error here.
  /// Blocks the calling thread for some milliseconds. With `diesWithCaller` the program dies with the calling thread.
  public func spawn(_ command: Command, io: ProcessIO, diesWithCaller: Bool = false) throws(DatapathError)
    -> ChildProcess
  {
    let operation = "start '\(command.arguments.first ?? "")' in node '\(node)'"
    var file = entryFile(command)
    var descriptors = [
      SpawnRequest.Descriptor(io.input, as: 0), SpawnRequest.Descriptor(io.output, as: 1),
      SpawnRequest.Descriptor(io.error, as: 2),
    ]
    if case .held(let user, let mount, let network) = namespaces {
      for (tag, number, descriptor) in [("user", 5, user), ("mount", 6, mount), ("net", 7, network)] {
        guard let descriptor else { continue }
        file.add(tag, "\(number)")
        descriptors.append(SpawnRequest.Descriptor(descriptor.descriptor, as: Int32(number)))
      }
    }
    file.add("status", "4")
    let sealed = try file.sealed(for: operation)
    let program = try EntryFile.ownProgram(for: operation)
    let (reader, writer) = try Self.pipe(for: operation)
    descriptors.append(SpawnRequest.Descriptor(sealed.descriptor, as: 3))
    descriptors.append(SpawnRequest.Descriptor(writer.descriptor, as: 4))
    var request = SpawnRequest(
      .file(program.descriptor, name: "netforge"), arguments: ["netforge", "__enter", "3"],
      environment: Self.ownEnvironment(), descriptors: descriptors)
    request.session = .new
    request.diesWithCaller = diesWithCaller
    let child: ChildProcess
    do {
      child = try request.spawn()
    } catch {
      throw DatapathError(.notStarted, operation: operation, errno: error.errno.rawValue, cause: "\(error)")
    }
    writer.close()
    OwnChildren.add(child.pid)
    let (bytes, ended) = EntryFile.readAll(reader.descriptor, timeout: .seconds(20))
    if ended, bytes.isEmpty { return child }
    child.kill(SIGKILL)
    _ = try? child.wait()
    guard ended else {
      throw DatapathError(.timeout, operation: operation, cause: "it did not begin within 20 s")
    }
    var failure =
      EntryFile.failure(in: bytes)
      ?? DatapathError(
        .bug, operation: operation, cause: "an entry that says nothing", remedy: "please report it")
    if failure.code == .notStarted { failure.operation = operation }
    failure.path = StatePath(.node(node))
    throw failure
  }

  /// The environment of this process as `NAME=value`.
  public static func ownEnvironment() -> [String] {
    var result: [String] = []
    var entry = environ
    while let text = entry.pointee {
      result.append(String(cString: text))
      entry = entry.advanced(by: 1)
    }
    return result
  }

  private func entryFile(_ command: Command) -> EntryFile {
    var file = EntryFile()
    if case .path(let path) = namespaces { file.add("netns", path) }
    file.add("view", "1")
    for bind in view.binds {
      file.add("bind", bind.source)
      file.add("on", bind.target)
    }
    var environment = view.environment.merging(command.environment) { $1 }
    if environment["PATH"] == nil { environment["PATH"] = Self.searchPath }
    for (name, value) in environment.sorted(by: { $0.key < $1.key }) { file.add("env", "\(name)=\(value)") }
    if let folder = command.workingDirectory {
      file.add("cwd", folder)
      file.add("cwd-required", "1")
    }
    for argument in command.arguments { file.add("arg", argument) }
    return file
  }

  /// Where programs are looked for: as the caller does, and then where the tools are that configure networks. Root has
  /// these on the path; an ordinary user, who is root in a rootless node, has not.
  private static var searchPath: String {
    let own = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
    let known = own.split(separator: ":")
    let missing = ["/usr/local/sbin", "/usr/sbin", "/sbin"].filter { folder in
      !known.contains { $0 == folder }
    }
    return ([own] + missing).joined(separator: ":")
  }

  private func currentFolder() -> String? {
    guard let text = getcwd(nil, 0) else { return nil }
    defer { free(text) }
    return String(cString: text)
  }

  static func pipe(for operation: String) throws(DatapathError) -> (
    reader: OwnedDescriptor, writer: ClosableDescriptor
  ) {
    var ends: [Int32] = [-1, -1]
    let error = -nf_pipe(&ends)
    guard error == 0 else {
      throw DatapathError(
        .unavailable, operation: operation, errno: error, cause: "\(Errno(rawValue: error))")
    }
    return (
      OwnedDescriptor(FileDescriptor(rawValue: ends[0])),
      ClosableDescriptor(FileDescriptor(rawValue: ends[1]))
    )
  }
}
