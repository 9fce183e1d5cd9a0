// SPDX-License-Identifier: GPL-2.0-or-later

// Everything that can go wrong at the kernel's door, with the kernel's own words.

import CLinux
import Rtnetlink
public import SystemPackage

/// A failure of a netlink request or of a namespace's operation.
public struct NetlinkError: Error, Hashable, Sendable {
  /// What kind of failure it is.
  public enum Code: Hashable, Sendable {
    /// The kernel refused a request.
    case refused
    /// A system call failed.
    case system
    /// The kernel's answer does not hold together.
    case malformedAnswer
    /// An answer did not fit into the buffer.
    case truncatedAnswer
    /// The kernel dropped answers, because the socket's receive buffer was full (ENOBUFS).
    case overrun
    /// A dump was interrupted by changes each time that it was tried.
    case dumpInterrupted
    /// No answer came in time.
    case noAnswer
    /// The request cannot be sent: an attribute or the whole is too large, or it is a dump where none may be.
    case invalidRequest
  }

  public let code: Code
  /// What was tried, on what: `RTM_NEWLINK in namespace 'gw'`.
  public let operation: String
  public let errno: Errno?
  /// The kernel's own words (extended acknowledgement).
  public let text: String?
  /// What we have to say of it: the measure that was passed, what would mend it.
  public let detail: String?
  /// The offset of the attribute that the kernel did not like, from the start of the message's header.
  public let attributeOffset: Int?
  /// What the kernel missed in the request, if it said so.
  public let missingAttribute: Int?

  public init(
    _ code: Code, _ operation: String, errno: Errno? = nil, text: String? = nil, detail: String? = nil,
    attributeOffset: Int? = nil, missingAttribute: Int? = nil
  ) {
    self.code = code
    self.operation = operation
    self.errno = errno
    self.text = text
    self.detail = detail
    self.attributeOffset = attributeOffset
    self.missingAttribute = missingAttribute
  }

  /// A system call's failure, from the negative errno that CLinux returns.
  static func system(_ operation: String, _ result: some BinaryInteger) -> NetlinkError {
    NetlinkError(.system, operation, errno: Errno(rawValue: CInt(truncatingIfNeeded: -Int(result))))
  }

  /// The kernel's refusal of a request.
  static func refused(_ operation: String, _ acknowledgement: NetlinkAcknowledgement) -> NetlinkError {
    NetlinkError(
      .refused, operation, errno: Errno(rawValue: acknowledgement.errorNumber), text: acknowledgement.text,
      attributeOffset: acknowledgement.attributeOffset.map { Int($0) },
      missingAttribute: acknowledgement.missingAttribute.map { Int($0) })
  }
}

extension NetlinkError: CustomStringConvertible {
  /// One line: what failed, on what, and why in the kernel's words.
  public var description: String {
    var parts: [String] = []
    switch code {
    case .refused, .system: break
    case .malformedAnswer: parts.append("the answer is malformed")
    case .truncatedAnswer: parts.append("the answer does not fit into the receive buffer")
    case .overrun: parts.append("the kernel dropped answers, the receive buffer is full")
    case .dumpInterrupted: parts.append("the kernel's tables kept changing while they were read")
    case .noAnswer: parts.append("the kernel did not answer in time")
    case .invalidRequest: parts.append("the request cannot be sent")
    }
    if let errno { parts.append("\(errno.description.lowercasedFirst) (\(errno.symbol))") }
    if let text { parts.append("kernel: \(text)") }
    if let detail { parts.append(detail) }
    if let missingAttribute { parts.append("attribute \(missingAttribute) is missing") }
    return "\(operation) failed: " + parts.joined(separator: "; ")
  }
}

extension Errno {
  /// The name that C gives it: `EEXIST`.
  public var symbol: String {
    guard let name = nf_errno_name(rawValue) else { return "errno \(rawValue)" }
    return String(cString: name)
  }
}

extension String {
  fileprivate var lowercasedFirst: String {
    // "No such device" reads on in a sentence; "RTNETLINK …" would not, but no error's text begins so.
    guard let first else { return self }
    return first.lowercased() + dropFirst()
  }
}
