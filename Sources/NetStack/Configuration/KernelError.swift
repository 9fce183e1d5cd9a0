// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel answers when it will not do something: an error number and, where it has one, its text (the
// extended acknowledgement). Numbers are Linux's on every machine that this runs on.

/// An error of the emulated kernel.
public struct KernelError: Error, Hashable, Sendable {
  /// The number, positive.
  public var errno: Int32
  /// The kernel's own words, if it has any beside the number.
  public var message: String?

  init(_ errno: Int32, _ message: String? = nil) {
    self.errno = errno
    self.message = message
  }

  static let notPermitted = KernelError(1)
  static let noSuchEntry = KernelError(2)
  static let accessDenied = KernelError(13)
  static let tooBig = KernelError(7)
  static let busy = KernelError(16)
  static let exists = KernelError(17)
  static let noSuchDevice = KernelError(19)
  static let invalidArgument = KernelError(22)
  static let outOfRange = KernelError(34)
  static let exchangeFull = KernelError(54)
  static let noBuffers = KernelError(105)
  static let noSuchProcess = KernelError(3)
  static let messageTooLong = KernelError(90)
  static let addressNotAvailable = KernelError(99)
  static let protocolNotSupported = KernelError(93)
  static let networkDown = KernelError(100)
  static let networkUnreachable = KernelError(101)
  static let hostUnreachable = KernelError(113)
  static let wouldBlock = KernelError(11)
  static let noMessage = KernelError(42)
  static let noSuchDeviceOrAddress = KernelError(6)
  static let badDescriptor = KernelError(9)
  static let tooManyFiles = KernelError(23)
  static let loop = KernelError(40)
  static let tooManyDescriptors = KernelError(24)
  static let noSpace = KernelError(28)
  static let notASocket = KernelError(88)
  static let brokenPipe = KernelError(32)
  static let destinationRequired = KernelError(89)
  static let noSuchOption = KernelError(92)
  static let operationNotSupported = KernelError(95)
  static let familyNotSupported = KernelError(97)
  static let addressInUse = KernelError(98)
  static let connectionAborted = KernelError(103)
  static let connectionReset = KernelError(104)
  static let isConnected = KernelError(106)
  static let notConnected = KernelError(107)
  static let timedOut = KernelError(110)
  static let connectionRefused = KernelError(111)
  static let alreadyInProgress = KernelError(114)
  static let inProgress = KernelError(115)

  static func invalid(_ message: String) -> KernelError { KernelError(22, message) }
  /// Something that Linux has and this kernel has not.
  static func notSupported(_ message: String) -> KernelError { KernelError(95, message) }
}

extension KernelError: CustomStringConvertible {
  /// The words and the number.
  public var description: String { message.map { "\($0) (errno \(errno))" } ?? "errno \(errno)" }
}
