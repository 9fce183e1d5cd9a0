// SPDX-License-Identifier: GPL-2.0-or-later

/// Why a datapath could not do what it was asked.
public struct DatapathError: Error, Hashable, Codable, Sendable {
  public enum Code: String, Hashable, Codable, Sendable {
    /// The user may not do this (exit code 77).
    case permission
    /// The datapath cannot run here, or cannot do this (69).
    case unavailable
    /// The kernel refused a change.
    case refused
    /// An object of others stands in the way.
    case foreign
    /// A lab, node or object that is not there.
    case notFound
    /// A program could not be started (126, 127).
    case notStarted
    /// The other side of the control socket, or the kernel, answered what it should not have.
    case malformed
    /// It took too long.
    case timeout
    /// A mistake of netforge's own (70).
    case bug
  }

  public var code: Code
  /// What was being done: `set the mtu of eth0`.
  public var operation: String
  /// The object that it was done to; its namespace is part of the message.
  public var path: StatePath?
  /// The error number, when there was one.
  public var errno: Int32?
  /// The kernel's own words: its extended acknowledgement, or the name of the error number.
  public var cause: String
  /// What would mend it.
  public var remedy: String?

  public init(
    _ code: Code, operation: String, path: StatePath? = nil, errno: Int32? = nil, cause: String,
    remedy: String? = nil
  ) {
    self.code = code
    self.operation = operation
    self.path = path
    self.errno = errno
    self.cause = cause
    self.remedy = remedy
  }
}

extension DatapathError: CustomStringConvertible {
  public var description: String {
    var text = "cannot \(operation)"
    switch path?.namespace {
    case .node(let node): text += " in node '\(node)'"
    case .switch: text += " in the lab's switch namespace"
    case .host: text += " in the host's namespace"
    case nil: break
    }
    text += ": \(cause)"
    if let remedy { text += "; \(remedy)" }
    return text
  }
}
