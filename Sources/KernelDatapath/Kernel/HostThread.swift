// SPDX-License-Identifier: GPL-2.0-or-later

// The thread that goes from namespace to namespace, while it does one piece of work: where it is, what it has opened,
// and where a test may fail it.

import CLinux
import Glibc
import LinuxObjects
import Netlink
import Rtnetlink
import SystemPackage

/// The thread of one piece of work.
final class HostThread {
  let visitor: NamespaceVisitor
  let directory: NamespaceDirectory
  private let faults: FaultInjector?
  private var current: KernelNamespace.Identity?

  init(_ visitor: NamespaceVisitor, directory: NamespaceDirectory, faults: FaultInjector?) {
    self.visitor = visitor
    self.directory = directory
    self.faults = faults
  }

  func enter(_ namespace: KernelNamespace) throws(TransportError) {
    guard current != namespace.identity else { return }
    do throws(NetlinkError) { try visitor.enter(namespace) } catch { throw TransportError(error) }
    current = namespace.identity
  }

  /// Throws when a test wants the action to fail.
  func refuse(_ action: KernelAction) throws(TransportError) {
    if let number = faults?(action) { throw TransportError(errno: number, text: "refused by a test") }
  }

  /// A socket in the namespace.
  func open(_ namespace: KernelNamespace) throws(TransportError) -> OpenNamespace {
    try enter(namespace)
    return OpenNamespace(namespace: namespace, socket: try socket())
  }

  private func socket() throws(TransportError) -> NetlinkSocket {
    var interposer: NetlinkInterposer?
    if let faults {
      interposer = { message, label in
        // The low two bits of an rtnetlink type: 2 is a question.
        guard message.type.rawValue & 3 != 2 else { return nil }
        return faults(.message(message, namespace: label)).map { Errno(rawValue: $0) }
      }
    }
    do throws(NetlinkError) { return try visitor.socket(interposer: interposer) } catch {
      throw TransportError(error)
    }
  }

  /// Makes a namespace that has no name yet, and stays in it.
  func makeNamespace(label: String) throws(TransportError) -> OpenNamespace {
    current = nil
    let namespace: KernelNamespace
    do throws(NetlinkError) { namespace = try visitor.create(label: label) } catch {
      throw TransportError(error)
    }
    current = namespace.identity
    return OpenNamespace(namespace: namespace, socket: try socket())
  }

  /// Gives the namespace that the thread is in its name.
  func name(_ name: String) throws(TransportError) {
    let result = nf_namespace_bind(directory.path(of: name))
    guard result == 0 else { throw TransportError(errno: -result, text: nil) }
  }

  func unname(_ name: String) throws(TransportError) {
    do throws(NetlinkError) { try directory.remove(name) } catch {
      guard error.errno != .noSuchFileOrDirectory else { return }
      throw TransportError(error)
    }
  }
}
