// SPDX-License-Identifier: GPL-2.0-or-later

// Why an nftables transaction or dump failed, told in terms of the steps that were asked for.

import Glibc
import Nftables
public import SystemPackage

/// A failure of nftables in one namespace. Nothing of the transaction was done.
public struct NftablesError: Error, Hashable, Sendable {
  public enum Code: Hashable, Sendable {
    /// The kernel refused steps of the transaction; `failures` says which.
    case refused
    /// The ruleset is no longer the one that the transaction was planned for.
    case changed
    /// A step holds what cannot be sent: a name, length or count that is out of bounds.
    case invalidStep
    /// A system call failed.
    case system
    /// An answer of the kernel does not hold together.
    case malformedAnswer
    /// The ruleset kept changing while it was read.
    case interrupted
  }

  /// A step that the kernel refused.
  public struct Failure: Hashable, Sendable {
    /// Its place in the transaction.
    public var index: Int
    /// The step in words.
    public var step: String
    public var errno: Errno
    /// What the errno means here.
    public var reason: String
    /// The expression of a rule that the kernel pointed at.
    public var expression: String?
  }

  public var code: Code
  /// What was tried, in which namespace.
  public var operation: String
  public var failures: [Failure]
  public var errno: Errno?
  public var text: String?

  public init(
    _ code: Code, _ operation: String, failures: [Failure] = [], errno: Errno? = nil, text: String? = nil
  ) {
    self.code = code
    self.operation = operation
    self.failures = failures
    self.errno = errno
    self.text = text
  }
}

extension NftablesError: CustomStringConvertible {
  /// One line: what failed, on what, why.
  public var description: String {
    guard let first = failures.first else {
      let why = [text, errno.map { "\($0.description) (\($0.symbol))" }].compactMap { $0 }
      return "\(operation) failed: \(why.joined(separator: "; "))"
    }
    let more = failures.count > 1 ? "; \(failures.count - 1) more steps were refused" : ""
    let expression = first.expression.map { ", at '\($0)'" } ?? ""
    return
      "\(operation) failed: cannot \(first.step)\(expression): \(first.reason) (\(first.errno.symbol))\(more)"
  }
}

extension NftablesError.Failure {
  /// What an errno of nf_tables means for a step; its own text often misleads.
  static func reason(_ number: Int32, for step: NftChange) -> String {
    switch number {
    case ENFILE: return "the set is full"
    case EMLINK: return "jumps lead too deep below a base chain"
    case ELOOP: return "jumps go round in a loop"
    case EPERM: return "this needs CAP_NET_ADMIN in the namespace's user namespace"
    case EBUSY:
      switch step {
      case .deleteChain, .deleteSet, .deleteObject, .deleteFlowtable: return "something still refers to it"
      case .addChain: return "a chain of that name and another kind stands there"
      default: return "it is in use"
      }
    case EEXIST:
      switch step {
      case .addElements, .addSet: return "an element stands there with another value, or intervals overlap"
      default: return "it stands there already with other properties"
      }
    case ENOTEMPTY: return "intervals overlap"
    case ENOENT:
      switch step {
      case .appendRule, .prependRule, .insertRule, .replaceRule:
        return
          "the chain, or a chain, set or object that it names, does not exist, or the kernel lacks an expression"
      case .addFlowtable: return "the kernel has no flowtables (CONFIG_NF_FLOW_TABLE), or not this device"
      case .deleteRule: return "there is no such rule any more"
      case .addChain: return "the table does not exist, or the kernel lacks that kind of chain"
      default: return "it does not exist"
      }
    case EOPNOTSUPP: return "the kernel does not allow this in that kind of chain or family"
    case EPROTO, EPROTONOSUPPORT: return "the kernel has no connection tracking for this family"
    case ENODEV, EAFNOSUPPORT: return "the device or family is not there"
    default: return String(cString: strerror(number))
    }
  }
}
