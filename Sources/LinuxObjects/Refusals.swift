// SPDX-License-Identifier: GPL-2.0-or-later

// From an error number and the kernel's words to a sentence that says what failed, on what, and what would mend it.

import Glibc
import LabCore

extension TransportError {
  /// The kernel's words with the error's name: `Device does not exist. (ENODEV)`.
  public var cause: String {
    guard errno != 0 else { return text ?? "no reason was given" }
    let words = text ?? Self.words(of: errno)
    return "\(words) (\(Self.symbol(of: errno)))"
  }

  private static func words(of number: Int32) -> String {
    let text = String(cString: strerror(number))
    return (text.first?.lowercased() ?? "") + text.dropFirst()
  }

  /// The error's name as C spells it: `EEXIST`.
  static func symbol(of number: Int32) -> String {
    names[number] ?? "errno \(number)"
  }

  private static let names: [Int32: String] = [
    EPERM: "EPERM", ENOENT: "ENOENT", ESRCH: "ESRCH", EINTR: "EINTR", EIO: "EIO", ENXIO: "ENXIO",
    E2BIG: "E2BIG",
    EBADF: "EBADF", EAGAIN: "EAGAIN", ENOMEM: "ENOMEM", EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY",
    EEXIST: "EEXIST", ENODEV: "ENODEV", ENOTDIR: "ENOTDIR", EINVAL: "EINVAL", ENFILE: "ENFILE",
    EMFILE: "EMFILE",
    ENOSPC: "ENOSPC", EROFS: "EROFS", ERANGE: "ERANGE", ENOSYS: "ENOSYS", ELOOP: "ELOOP", EPROTO: "EPROTO",
    EOVERFLOW: "EOVERFLOW", EMSGSIZE: "EMSGSIZE", EPROTONOSUPPORT: "EPROTONOSUPPORT",
    EOPNOTSUPP: "EOPNOTSUPP",
    EAFNOSUPPORT: "EAFNOSUPPORT", EADDRINUSE: "EADDRINUSE", EADDRNOTAVAIL: "EADDRNOTAVAIL",
    ENETDOWN: "ENETDOWN",
    ENETUNREACH: "ENETUNREACH", ENOBUFS: "ENOBUFS", EHOSTUNREACH: "EHOSTUNREACH", ENOTCONN: "ENOTCONN",
    ETIMEDOUT: "ETIMEDOUT", EDQUOT: "EDQUOT",
  ]

  /// Whether the kernel says that the object is not there.
  var meansAbsence: Bool { [ENOENT, ESRCH, ENODEV, ENXIO, EADDRNOTAVAIL].contains(errno) }

  /// What would mend it, where that is known.
  func remedy(for kind: StatePath.Kind, _ operation: Change.Operation) -> String? {
    switch errno {
    case EPERM where kind == .sysctl, EINVAL where kind == .sysctl:
      return "a namespace may not have this value; leave the setting to the host"
    case EPERM, EACCES:
      return "run as root, or use --datapath rootless or --datapath emulated"
    case EOPNOTSUPP, EPROTONOSUPPORT, EAFNOSUPPORT:
      return "the kernel lacks a module for it; 'netforge doctor' lists what it has"
    case ENOENT where kind == .qdisc && operation == .create:
      return "the kernel lacks the queueing discipline; 'netforge doctor' lists what it has"
    case EEXIST:
      return "something of that name or number stands there already; 'netforge status' shows it"
    case EBUSY where kind == .link:
      return "the device is in use by another; free it first"
    case ENODEV where kind != .link:
      return "the device is not there; run 'netforge up' again"
    case ENETUNREACH, EHOSTUNREACH:
      return "the gateway must be on a subnet of an interface that is up"
    case EMFILE, ENFILE:
      return "raise the limit of open files (ulimit -n)"
    case ENOSPC where kind == .namespace:
      return "raise user.max_net_namespaces"
    default:
      return nil
    }
  }
}

extension DatapathError {
  /// A change that the kernel refused.
  init(_ error: TransportError, doing verb: StaticString, change: Change) {
    let isPermission = [EPERM, EACCES].contains(error.errno) && change.path.kind != .sysctl
    let code: Code = isPermission ? .permission : .refused
    self.init(
      code, operation: "\(verb) \(change.path.noun)", path: change.path,
      errno: error.errno == 0 ? nil : error.errno, cause: error.cause,
      remedy: error.remedy(for: change.path.kind, change.operation))
  }
}

extension StatePath {
  /// Whether the object is one of a transaction of nftables.
  var isNftables: Bool {
    switch kind {
    case .nftTable, .nftObject, .nftFlowtable, .nftSet, .nftElement, .nftChain, .nftRule: true
    default: false
    }
  }

  /// The object in words, for the middle of a sentence: `address 10.0.0.1/24 of eth0`.
  var noun: String {
    let first = key.first ?? ""
    let second = key.dropFirst().first ?? ""
    switch kind {
    case .namespace: return "network namespace"
    case .sysctl: return "setting \(first)"
    case .link: return "device \(first)"
    case .address: return "address \(second) of \(first)"
    case .route: return "route \(first)"
    case .policyRule: return "rule \(first)"
    case .neighbor: return "neighbour \(second) of \(first)"
    case .fdb: return "forwarding entry \(second) of \(first)"
    case .qdisc: return "queueing discipline of \(first)"
    case .nftTable: return "table \(first)"
    case .nftChain: return "chain \(second) of table \(first)"
    case .nftSet: return "set \(second) of table \(first)"
    case .nftObject: return "object \(second) of table \(first)"
    case .nftFlowtable: return "flowtable \(second) of table \(first)"
    case .nftElement: return "element of set \(second) of table \(first)"
    case .nftRule: return "rule \(key.last ?? "") of chain \(second) of table \(first)"
    }
  }
}
