// SPDX-License-Identifier: GPL-2.0-or-later

// What work on a namespace thread can do: go into namespaces, make them, open sockets in them, read and write their
// settings.

import CLinux
import Glibc
import SystemPackage

/// The hand of a namespace thread. It is of use only inside the work that it was given to.
public final class NamespaceVisitor {
  private let home: KernelNamespace
  /// What errors call the namespace that the thread is in.
  public private(set) var label: String
  private var isHome = true
  /// The namespace that the thread is in; nil at home.
  private var namespace: KernelNamespace?
  /// Folders of /proc/sys of the namespace that the thread is in, by path: what is below them is found at once, the
  /// folders themselves are not (`ProcFilesystem`).
  private var settingsFolders: [String: Int32] = [:]
  /// Names of settings taken apart; the same few are asked for in every namespace.
  private var settings: [String: Setting] = [:]

  /// Where a setting is: its folder, and its path from there, which is empty for the folder itself.
  private struct Setting {
    var folder: String
    var path: String
  }

  init(home: KernelNamespace) {
    self.home = home
    label = home.label
  }

  deinit { leaveSettings() }

  /// Goes into a namespace.
  public func enter(_ namespace: KernelNamespace) throws(NetlinkError) {
    leaveSettings()
    let result = nf_namespace_enter(namespace.descriptor.rawValue)
    guard result == 0 else { throw .system("entering network namespace '\(namespace.label)'", result) }
    label = namespace.label
    self.namespace = namespace
    isHome = false
  }

  /// Back to where the thread started. That this can be done was tried when the thread began; a process that has
  /// lost the right to it since must not go on in a namespace that it does not know of.
  func goHome() {
    guard !isHome else { return }
    leaveSettings()
    do throws(NetlinkError) {
      try enterHome()
    } catch {
      preconditionFailure(error.description)
    }
    label = home.label
    namespace = nil
    isHome = true
  }

  func enterHome() throws(NetlinkError) {
    let result = nf_namespace_enter(home.descriptor.rawValue)
    guard result != 0 else { return }
    throw NetlinkError(
      .system, "entering the process's own network namespace", errno: Errno(rawValue: CInt(-result)),
      detail: result == -EPERM
        ? "run as root, or in a user namespace with a network namespace of its own" : nil)
  }

  /// Makes a namespace with a name and stays in it. The directory must have been prepared.
  public func create(_ name: String, in directory: NamespaceDirectory) throws(NetlinkError) -> KernelNamespace
  {
    try directory.checkName(name)
    if directory.contains(name) {
      throw NetlinkError(.system, "creating network namespace '\(name)'", errno: .fileExists)
    }
    let namespace = try create(label: name)
    let result = nf_namespace_bind(directory.path(of: name))
    guard result == 0 else { throw .system("naming network namespace '\(name)'", result) }
    return namespace
  }

  /// Makes a namespace without a name, which lives as long as it is held, and stays in it.
  public func create(label: String) throws(NetlinkError) -> KernelNamespace {
    leaveSettings()
    let result = nf_namespace_new()
    guard result == 0 else { throw .system("creating network namespace '\(label)'", result) }
    isHome = false
    self.label = label
    namespace = nil
    let made = try KernelNamespace.current(label: label)
    namespace = made
    return made
  }

  /// A socket of the namespace that the thread is in, for use from anywhere.
  public func socket(
    _ family: NetlinkSocket.Family = .route, interposer: NetlinkInterposer? = nil
  ) throws(NetlinkError) -> NetlinkSocket {
    try NetlinkSocket(family, label: label, interposer: interposer)
  }

  // MARK: Settings

  /// Reads a setting of the namespace. `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.5/forwarding` are both names: a
  /// name with a slash is taken as a path.
  public func readSysctl(_ name: String) throws(NetlinkError) -> String {
    let label = label
    let operation = { "reading sysctl \(name) of namespace '\(label)'" }
    let descriptor = try openSetting(name, O_RDONLY, operation())
    defer { _ = Glibc.close(descriptor) }
    // What fits is given at once (proc_sys_call_handler): a short read is the last.
    var text = try Self.contents(of: descriptor, endsShort: true, operation)
    while let last = text.last, last == 0x0a || last == 0x20 || last == 0x09 { text.removeLast() }
    return String(decoding: text, as: UTF8.self)
  }

  /// A file of /proc/net, as the namespace that the thread is in has it.
  public func readNetworkFile(_ name: String) throws(NetlinkError) -> String {
    let label = label
    let operation = { "reading /proc/net/\(name) of namespace '\(label)'" }
    let descriptor = open("/proc/thread-self/net/\(name)", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(operation(), -errno) }
    defer { _ = Glibc.close(descriptor) }
    return String(decoding: try Self.contents(of: descriptor, endsShort: false, operation), as: UTF8.self)
  }

  private static func contents(
    of descriptor: Int32, endsShort: Bool, _ operation: () -> String
  ) throws(NetlinkError) -> [UInt8] {
    var text: [UInt8] = []
    var count = Self.settingBytes
    while endsShort ? count == Self.settingBytes : count > 0 {
      text += [UInt8](unsafeUninitializedCapacity: Self.settingBytes) { buffer, filled in
        repeat {
          count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
        } while count < 0 && errno == EINTR
        filled = max(0, count)
      }
      guard count >= 0 else { throw .system(operation(), -errno) }
    }
    return text
  }

  private static let settingBytes = 1024

  /// Writes a setting of the namespace, whole and at once.
  public func writeSysctl(_ name: String, _ value: String) throws(NetlinkError) {
    let label = label
    let operation = { "writing '\(value)' to sysctl \(name) of namespace '\(label)'" }
    let descriptor = try openSetting(name, O_WRONLY, operation())
    defer { _ = Glibc.close(descriptor) }
    let bytes = Array(value.utf8)
    while true {
      if Glibc.write(descriptor, bytes, bytes.count) >= 0 { return }
      guard errno == EINTR else { throw .system(operation(), -errno) }
    }
  }

  private func openSetting(
    _ name: String, _ mode: Int32, _ operation: @autoclosure () -> String
  ) throws(NetlinkError) -> Int32 {
    let setting = try setting(name)
    let filesystem = namespace?.settings ?? .common
    guard !setting.path.isEmpty else {
      let descriptor = openat(filesystem.root, filesystem.prefix + setting.folder, mode | O_CLOEXEC)
      guard descriptor >= 0 else { throw .system(operation(), -errno) }
      return descriptor
    }
    let base: Int32
    if let known = settingsFolders[setting.folder] {
      base = known
    } else {
      base = openat(
        filesystem.root, filesystem.prefix + setting.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard base >= 0 else { throw .system(operation(), -errno) }
      settingsFolders[setting.folder] = base
    }
    let descriptor = openat(base, setting.path, mode | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(operation(), -errno) }
    return descriptor
  }

  private func setting(_ name: String) throws(NetlinkError) -> Setting {
    if let known = settings[name] { return known }
    let parts = try Self.parts(ofSysctl: name)
    let setting = Setting(
      folder: "sys/" + parts.prefix(2).joined(separator: "/"),
      path: parts.dropFirst(2).joined(separator: "/"))
    settings[name] = setting
    return setting
  }

  private func leaveSettings() {
    for descriptor in settingsFolders.values { _ = Glibc.close(descriptor) }
    settingsFolders.removeAll(keepingCapacity: true)
  }

  /// Below /proc/sys/net, which shows each thread its own namespace; nothing else there belongs to one.
  private static func parts(ofSysctl name: String) throws(NetlinkError) -> [Substring] {
    let parts = name.split(separator: name.contains("/") ? "/" : ".", omittingEmptySubsequences: false)
    guard parts.count >= 2, parts.first == "net",
      parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && !$0.utf8.contains(0) })
    else {
      throw NetlinkError(
        .invalidRequest, "naming sysctl '\(name)'", errno: .invalidArgument,
        detail: "settings of a network namespace begin with 'net'")
    }
    return parts
  }
}
