// SPDX-License-Identifier: GPL-2.0-or-later

// Where namespaces have names: a directory of files that namespaces are mounted over, laid out as iproute2 lays out
// /run/netns, so that `ip netns exec` finds what is made here.

import CLinux
import Glibc
import SystemPackage

/// A directory of named network namespaces.
public struct NamespaceDirectory: Hashable, Sendable {
  public let path: String

  /// Where `ip netns` looks.
  public static let system = NamespaceDirectory(path: "/run/netns")

  public init(path: String) { self.path = path }

  public func path(of name: String) -> String { "\(path)/\(name)" }

  /// Makes the directory a shared mount, as naming needs it. Costs two system calls when it is one already.
  public func prepare() throws(NetlinkError) {
    let result = nf_namespace_prepare_directory(path)
    if result < 0 { throw .system("preparing the directory of namespaces \(path)", result) }
  }

  /// Opens a namespace by its name.
  public func open(_ name: String) throws(NetlinkError) -> KernelNamespace {
    try checkName(name)
    return try KernelNamespace(path: path(of: name), label: name)
  }

  public func contains(_ name: String) -> Bool { access(path(of: name), F_OK) == 0 }

  /// All names, sorted; a file that no namespace is mounted over is among them, as in `ip netns list`.
  public func names() throws(NetlinkError) -> [String] {
    guard let directory = opendir(path) else {
      // No name was ever given.
      if errno == ENOENT { return [] }
      throw .system("listing \(path)", -errno)
    }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Takes a name away. The namespace goes when nothing else holds it, some time later: the kernel cleans up on its
  /// own, many at once.
  public func remove(_ name: String) throws(NetlinkError) {
    try checkName(name)
    let result = nf_namespace_unbind(path(of: name))
    if result < 0 { throw .system("removing the name of namespace '\(name)'", result) }
  }

  /// Names are one component of a path.
  func checkName(_ name: String) throws(NetlinkError) {
    let bytes = name.utf8
    guard !bytes.isEmpty, bytes.count <= Int(NAME_MAX), name != ".", name != "..", !bytes.contains(0x2f),
      !bytes.contains(0)
    else {
      throw NetlinkError(.system, "naming a namespace '\(name)'", errno: .invalidArgument)
    }
  }
}
