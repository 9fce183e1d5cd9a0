// SPDX-License-Identifier: GPL-2.0-or-later

// What a process is to be when its program begins: nf_spawn's request in Swift's words. Nothing that is not named here is
// inherited.

import CLinux
import Glibc
public import SystemPackage

/// A process to start: the program, what it is given, and what it may do.
public struct SpawnRequest: Sendable {
  /// Which file is run.
  public enum Program: Sendable {
    /// A path with a slash in it, seen from the child's own mount namespace and directory.
    case path(String)
    /// A name, looked up in the colon-separated folders of `search`.
    case name(String, search: String)
    /// An open file, which the program's identity need not be able to reach by a path.
    case file(FileDescriptor, name: String)

    /// What error messages call it.
    public var name: String {
      switch self {
      case .path(let path): path
      case .name(let name, _): name
      case .file(_, let name): name
      }
    }
  }

  /// One of the caller's descriptors under the number that the program knows it by.
  public struct Descriptor: Sendable {
    public var from: FileDescriptor
    public var to: Int32

    public init(_ from: FileDescriptor, as to: Int32) {
      self.from = from
      self.to = to
    }
  }

  /// A namespace to join.
  public struct Namespace: Sendable {
    /// `/proc/PID/ns/…`, `/run/netns/…` or a pidfd.
    public var descriptor: FileDescriptor
    public var kinds: NamespaceKinds

    public init(_ descriptor: FileDescriptor, _ kinds: NamespaceKinds) {
      self.descriptor = descriptor
      self.kinds = kinds
    }
  }

  /// Kinds of namespaces, as the `CLONE_NEW…` bits.
  public struct NamespaceKinds: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let mount = NamespaceKinds(rawValue: 0x0002_0000)
    public static let cgroup = NamespaceKinds(rawValue: 0x0200_0000)
    public static let uts = NamespaceKinds(rawValue: 0x0400_0000)
    public static let ipc = NamespaceKinds(rawValue: 0x0800_0000)
    public static let user = NamespaceKinds(rawValue: 0x1000_0000)
    public static let pid = NamespaceKinds(rawValue: 0x2000_0000)
    public static let network = NamespaceKinds(rawValue: 0x4000_0000)
  }

  /// A mount in the child's own mount namespace.
  public struct Mount: Sendable {
    public var source: String
    public var target: String
    /// The file system's type; nil binds `source` on `target`.
    public var type: String?
    /// `MS_…` flags.
    public var flags: UInt
    public var data: String?

    public init(_ source: String, on target: String, type: String?, flags: UInt = 0, data: String? = nil) {
      self.source = source
      self.target = target
      self.type = type
      self.flags = flags
      self.data = data
    }

    /// A file or folder shown a second time, at `target`.
    public static func bind(_ source: String, on target: String, readOnly: Bool = false) -> Mount {
      Mount(source, on: target, type: nil, flags: readOnly ? 1 : 0)
    }
  }

  /// A resource limit; `resource` is an `RLIMIT_…`.
  public struct Limit: Sendable {
    public var resource: Int32
    public var soft: UInt64
    public var hard: UInt64

    init(_ resource: Int32, _ value: UInt64) {
      self.resource = resource
      soft = value
      hard = value
    }

    /// CPU seconds; the kernel ends the process with SIGXCPU, then SIGKILL.
    public static func processorSeconds(_ value: UInt64) -> Limit { Limit(0, value) }
    /// Bytes that a file may grow to.
    public static func fileSize(_ bytes: UInt64) -> Limit { Limit(1, bytes) }
    /// Bytes of a core dump.
    public static func core(_ bytes: UInt64) -> Limit { Limit(4, bytes) }
    /// Threads and processes of the user.
    public static func processes(_ count: UInt64) -> Limit { Limit(6, count) }
    /// Open descriptors.
    public static func openFiles(_ count: UInt64) -> Limit { Limit(7, count) }
    /// Bytes of address space.
    public static func addressSpace(_ bytes: UInt64) -> Limit { Limit(9, bytes) }
  }

  /// Whose rights the program has.
  public struct Identity: Sendable, Equatable {
    public var user: UInt32
    public var group: UInt32
    /// The supplementary groups; nil leaves them alone, for a user namespace that refuses setgroups.
    public var groups: [UInt32]?

    public init(user: UInt32, group: UInt32, groups: [UInt32]? = []) {
      self.user = user
      self.group = group
      self.groups = groups
    }
  }

  /// What Landlock leaves open: a file, or all beneath a folder. A path that is not there is left out.
  public struct Path: Sendable {
    public struct Access: OptionSet, Sendable {
      public let rawValue: UInt32
      public init(rawValue: UInt32) { self.rawValue = rawValue }
      public static let read = Access(rawValue: 1)
      public static let execute = Access(rawValue: 2)
      public static let write = Access(rawValue: 4)
    }
    enum Place: Sendable {
      case path(String)
      case file(FileDescriptor)
    }
    let place: Place
    let access: Access

    public init(_ path: String, _ access: Access) {
      place = .path(path)
      self.access = access
    }
    public init(_ file: FileDescriptor, _ access: Access) {
      place = .file(file)
      self.access = access
    }
  }

  /// The session that the process belongs to.
  public enum Session: Sendable {
    /// The caller's session and process group: it gets the terminal's signals.
    case inherited
    /// A process group of its own.
    case newGroup
    /// A session of its own, without a controlling terminal unless `terminal` names one.
    case new
  }

  public var program: Program
  /// All of argv, the program's own name first.
  public var arguments: [String]
  /// `NAME=value`, in order.
  public var environment: [String]
  /// nil: as the caller's.
  public var directory: String?
  /// The program's descriptors; 0, 1 and 2 are /dev/null when not named here.
  public var descriptors: [Descriptor]
  public var session: Session = .inherited
  /// The program's descriptor that becomes the controlling terminal of its new session.
  public var terminal: Int32?
  /// SIGKILL when the calling *thread* ends; so only from a thread that lives as long as the process should.
  public var diesWithCaller = false
  /// Joined in this order: a user namespace first.
  public var namespaces: [Namespace] = []
  /// Made after joining.
  public var newNamespaces: NamespaceKinds = []
  /// The text of `/proc/self/uid_map` and `gid_map`, for a new user namespace.
  public var userMap: String?
  public var groupMap: String?
  /// Made in order; needs a mount namespace joined or made.
  public var mounts: [Mount] = []
  /// The whole mount tree read-only, in a mount namespace of its own.
  public var readOnlyRoot = false
  public var limits: [Limit] = []
  /// nil: as the caller's.
  public var identity: Identity?
  public var noNewPrivileges = false
  /// With Landlock, only these paths are reachable; without it in the kernel this says nothing.
  public var reachablePaths: [Path]?
  /// A seccomp filter: no sockets, no processes, no writing opens, no signals to others.
  public var computesOnly = false

  public init(
    _ program: Program, arguments: [String]? = nil, environment: [String] = [], directory: String? = nil,
    descriptors: [Descriptor] = []
  ) {
    self.program = program
    self.arguments = arguments ?? [program.name]
    self.environment = environment
    self.directory = directory
    self.descriptors = descriptors
  }
}

/// What of the kernel's means of confinement this host has.
public enum Confinement {
  /// Landlock's ABI, 0 when the kernel has none.
  public static var landlockABI: Int { Int(nf_landlock_abi()) }
  /// Whether `SpawnRequest.computesOnly` can be had.
  public static var hasSeccomp: Bool { nf_seccomp_available() != 0 }
}
