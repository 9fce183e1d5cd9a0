// SPDX-License-Identifier: GPL-2.0-or-later

// A network namespace of the kernel, held by a descriptor. It lives as long as something holds it: this descriptor,
// a socket opened in it, a process, or its name in a namespace directory.

import CLinux
import Glibc
import Synchronization
public import SystemPackage

/// A network namespace.
public final class KernelNamespace: Sendable {
  /// Who a namespace is, whatever it is called.
  public struct Identity: Hashable, Sendable {
    public let device: UInt64
    public let inode: UInt64
  }

  /// Its name, or what else it was opened by; errors call it so.
  public let label: String
  public let identity: Identity
  /// Open as long as this object lives.
  public let descriptor: FileDescriptor
  private let filesystem = Mutex<ProcFilesystem?>(nil)

  /// Takes over a descriptor.
  init(label: String, owning descriptor: Int32) throws(NetlinkError) {
    self.label = label
    self.descriptor = FileDescriptor(rawValue: descriptor)
    var device: UInt64 = 0
    var inode: UInt64 = 0
    let result = nf_namespace_identity(descriptor, &device, &inode)
    identity = Identity(device: device, inode: inode)
    if result < 0 { throw .system("reading the identity of namespace '\(label)'", result) }
  }

  deinit { _ = Glibc.close(descriptor.rawValue) }

  /// The namespace behind a path: a name's file, `/proc/1/ns/net`.
  public convenience init(path: String, label: String? = nil) throws(NetlinkError) {
    let descriptor = nf_namespace_open(path)
    guard descriptor >= 0 else {
      throw .system("opening network namespace '\(label ?? path)' (\(path))", descriptor)
    }
    try self.init(label: label ?? path, owning: descriptor)
  }

  /// Where its settings are looked for, from the first time on.
  var settings: ProcFilesystem {
    filesystem.withLock { known in
      if let known { return known }
      let chosen = ProcFilesystem.forOneMore()
      known = chosen
      return chosen
    }
  }

  /// The calling thread's namespace.
  public static func current(label: String = "host") throws(NetlinkError) -> KernelNamespace {
    let descriptor = nf_namespace_open_own()
    guard descriptor >= 0 else { throw .system("opening the thread's own network namespace", descriptor) }
    return try KernelNamespace(label: label, owning: descriptor)
  }

  /// Runs a piece of work in the namespace, on a thread of its own that ends with it. The caller waits.
  public func run<Result: Sendable>(
    _ body: @Sendable @escaping (NamespaceVisitor) throws(NetlinkError) -> Result
  ) throws(NetlinkError) -> Result {
    let thread = try NamespaceThread()
    return try thread.perform { (visitor) throws(NetlinkError) in
      try visitor.enter(self)
      return try body(visitor)
    }
  }
}
