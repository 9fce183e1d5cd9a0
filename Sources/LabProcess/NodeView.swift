// SPDX-License-Identifier: GPL-2.0-or-later

// What a node's programs see that others do not: the lab's hosts file and resolver, the node's own files and variables.
// The files lie in the lab's folder and are bound over the host's in a mount namespace of each program:
//
//     <lab folder>/hosts  resolv.conf                          one of each, for every node
//     <lab folder>/nodes/<node>/view.json  files/0 files/1 …   for nodes that have something of their own
//
// They are written in place, never replaced, so that programs which run see what changed.

import CLinux
import FoundationEssentials
import Glibc
public import LabCore
import SystemPackage

/// What the programs of one node see.
public struct NodeView: Hashable, Codable, Sendable {
  /// A file of the lab's folder in the place of another.
  public struct Bind: Hashable, Codable, Sendable {
    public var source: String
    public var target: String
  }

  public var binds: [Bind]
  public var environment: [String: String]
  /// The commands that have run once in the node's present namespace.
  var finishedCommands: [[String]] = []
  /// Which namespace that was: device and inode.
  var namespace: String?

  /// A node of which nothing is laid out: the host's own view.
  public static let empty = NodeView(binds: [], environment: [:])

  public init(binds: [Bind], environment: [String: String]) {
    self.binds = binds
    self.environment = environment
  }

  /// The view that was laid out in the lab's folder; that of a node with nothing of its own when there is none.
  public static func read(of node: NodeName, folder: String) throws(DatapathError) -> NodeView {
    let path = Self.path(of: node, in: folder)
    guard let bytes = try LabFile.read(path) else {
      return NodeView(binds: shared(in: folder).filter { access($0.source, F_OK) == 0 }, environment: [:])
    }
    do {
      return try JSONDecoder().decode(NodeView.self, from: Data(bytes))
    } catch {
      throw DatapathError(
        .malformed, operation: "read \(path)", cause: "it is damaged", remedy: "bring the lab up again")
    }
  }

  func write(of node: NodeName, folder: String) throws(DatapathError) {
    let bytes = try ControlCoding.encode(self)
    try LabFile.write(bytes, to: Self.path(of: node, in: folder))
  }

  /// Lays out the files of a node and the lab's own, and gives the view that shows them.
  public static func layOut(
    _ runtime: NodeRuntime, hosts: [HostsEntry], folder: String
  ) throws(DatapathError) -> NodeView {
    try layOutShared(hosts, folder: folder)
    return try layOutOwn(runtime, folder: folder)
  }

  /// Lays out what all nodes of the lab see.
  static func layOutShared(_ hosts: [HostsEntry], folder: String) throws(DatapathError) {
    try LabFile.write(Array(hostsFile(hosts).utf8), to: "\(folder)/hosts")
    try LabFile.write(Array(resolverFile.utf8), to: "\(folder)/resolv.conf")
  }

  /// Lays out a node's own files. Nothing is written for a node that has nothing of its own.
  static func layOutOwn(_ runtime: NodeRuntime, folder: String) throws(DatapathError) -> NodeView {
    if !runtime.hasOwnView, access(path(of: runtime.node, in: folder), F_OK) != 0 {
      return try read(of: runtime.node, folder: folder)
    }
    let own = "\(folder)/nodes/\(runtime.node)"
    try LabFile.makeFolder("\(own)/files")
    var view = try read(of: runtime.node, folder: folder)
    let given = Set(runtime.files.map(\.path))
    view.binds = shared(in: folder).filter { !given.contains($0.target) }
    view.environment = runtime.environment
    for (index, file) in runtime.files.enumerated() {
      try LabFile.write(Array(file.text.utf8), to: "\(own)/files/\(index)")
      view.binds.append(Bind(source: "\(own)/files/\(index)", target: file.path))
    }
    try view.write(of: runtime.node, folder: folder)
    return view
  }

  private static func path(of node: NodeName, in folder: String) -> String {
    "\(folder)/nodes/\(node)/view.json"
  }

  private static func shared(in folder: String) -> [Bind] {
    ["hosts", "resolv.conf"].map { Bind(source: "\(folder)/\($0)", target: "/etc/\($0)") }
  }

  static func hostsFile(_ hosts: [HostsEntry]) -> String {
    var text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    for entry in hosts { text += "\(entry.address) \(entry.names.joined(separator: " "))\n" }
    return text
  }

  /// Without a server a name that is not in the hosts file is unknown at once; the host's server cannot be reached.
  static let resolverFile = "# The names of the lab stand in /etc/hosts.\noptions timeout:1 attempts:1\n"
}

extension NodeRuntime {
  /// Whether programs of the node see anything that those of other nodes do not, or something is recorded of it.
  fileprivate var hasOwnView: Bool { !environment.isEmpty || !files.isEmpty || !commands.isEmpty }
}

/// Files of the lab's folder that the lab process keeps.
enum LabFile {
  static func makeFolder(_ path: String) throws(DatapathError) {
    var prefix = ""
    for part in path.split(separator: "/") {
      prefix += "/\(part)"
      guard mkdir(prefix, 0o700) < 0, errno != EEXIST else { continue }
      if access(prefix, F_OK) == 0 { continue }
      throw failed("make the folder \(prefix)")
    }
  }

  /// In place: who has the file bound sees the new text.
  static func write(_ bytes: [UInt8], to path: String) throws(DatapathError) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard file >= 0 else { throw failed("write \(path)") }
    defer { close(file) }
    // Whatever the umask: in the node other users read it too; the lab's folder keeps them out here.
    fchmod(file, 0o644)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.write(file, $0.baseAddress.map { $0 + done }, bytes.count - done)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw failed("write \(path)") }
      done += count
    }
  }

  /// Nil when there is no such file. At most 64 MiB.
  static func read(_ path: String) throws(DatapathError) -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw failed("read \(path)")
    }
    defer { close(file) }
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16384)
    while result.count < 64 << 20 {
      let count = Glibc.read(file, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw failed("read \(path)") }
      if count == 0 { break }
      result += buffer.prefix(count)
    }
    return result
  }

  /// The end of a file as lines, at most 2 KiB; for messages.
  static func lastLines(of path: String, from start: Int = 0, count: Int = 5) -> [String] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    defer { close(file) }
    let size = lseek(file, 0, SEEK_END)
    let from = max(start, size - 2048)
    guard size > from else { return [] }
    var buffer = [UInt8](repeating: 0, count: size - from)
    let got = pread(file, &buffer, buffer.count, from)
    guard got > 0 else { return [] }
    let lines = String(decoding: buffer.prefix(got), as: UTF8.self).split(whereSeparator: \.isNewline)
    return lines.suffix(count).map(String.init)
  }

  private static func failed(_ operation: String) -> DatapathError {
    let error = errno
    return DatapathError(
      error == EACCES || error == EPERM ? .permission : .unavailable, operation: operation, errno: error,
      cause: "\(Errno(rawValue: error))")
  }
}
