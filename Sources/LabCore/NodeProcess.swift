// SPDX-License-Identifier: GPL-2.0-or-later

public import SystemPackage

/// A program to start in a node.
public struct Command: Hashable, Codable, Sendable {
  /// The program and its arguments; a program without a slash is looked up in the environment's PATH.
  public var arguments: [String]
  /// Added to the environment that netforge was started with.
  public var environment: [String: String]
  /// Nil for netforge's own.
  public var workingDirectory: String?

  public init(_ arguments: [String], environment: [String: String] = [:], workingDirectory: String? = nil) {
    self.arguments = arguments
    self.environment = environment
    self.workingDirectory = workingDirectory
  }
}

/// The descriptors that a program gets as its 0, 1 and 2. They stay the caller's.
public struct ProcessIO: Sendable {
  public var input: FileDescriptor
  public var output: FileDescriptor
  public var error: FileDescriptor

  public init(input: FileDescriptor, output: FileDescriptor, error: FileDescriptor) {
    self.input = input
    self.output = output
    self.error = error
  }

  public static let inherited = ProcessIO(
    input: .standardInput, output: .standardOutput, error: .standardError)
}

/// How a program ended.
public enum ProcessExit: Hashable, Codable, Sendable {
  case exited(Int32)
  case signaled(Int32)

  /// As a shell reports it: the code, or 128 plus the signal.
  public var code: Int32 {
    switch self {
    case .exited(let code): code
    case .signaled(let signal): 128 + signal
    }
  }
}

/// A program that runs in a node.
public protocol NodeProcess: Sendable {
  /// As the caller's process table has it.
  var processID: Int32 { get }
  func signal(_ number: Int32) async throws(DatapathError)
  func wait() async throws(DatapathError) -> ProcessExit
}
