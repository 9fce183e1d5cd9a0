// SPDX-License-Identifier: GPL-2.0-or-later

// What `netforge up` asks a lab process for: to make its own lab as a topology says. Who knows how is above this module
// and comes in as a closure, as the datapath does.

public import LabCore
public import NetTypes
public import SystemPackage

/// What is asked for, besides the rendered topology, which comes as the message's payload.
public struct UpOrder: Codable, Hashable, Sendable {
  /// The topology file as the user named it; nil for standard input.
  public var topologyFile: String?
  /// How long the kernel may take to settle.
  public var timeout: Interval
  /// A disruptive plan is to be carried out too.
  public var isAgreed: Bool
  /// The plan is to be told as `-f json` prints it.
  public var wantsDocument: Bool

  public init(topologyFile: String?, timeout: Interval, isAgreed: Bool, wantsDocument: Bool) {
    self.topologyFile = topologyFile
    self.timeout = timeout
    self.isAgreed = isAgreed
    self.wantsDocument = wantsDocument
  }
}

/// What is told while a lab comes up.
public enum UpEvent: Codable, Hashable, Sendable {
  /// The stage before has ended and this begins.
  case stage(String)
  /// Something that everybody should see.
  case notice(String)
}

/// What became of an order.
public enum UpOutcome: Codable, Hashable, Sendable {
  /// The lab is as its topology says, after so many changes.
  case done(changes: Int)
  /// The plan is disruptive and was not agreed to; nothing was changed.
  case disruptive(plan: String, UpFailure)
  case failed(UpFailure)
}

/// Why a lab did not come up, as the verb that was asked for it tells it.
public struct UpFailure: Codable, Hashable, Sendable {
  public var exitCode: Int32
  public var lines: [String]
  /// The lines already say where and that they are errors, as a compiler's do.
  public var isDiagnostics: Bool

  public init(exitCode: Int32, lines: [String], isDiagnostics: Bool) {
    self.exitCode = exitCode
    self.lines = lines
    self.isDiagnostics = isDiagnostics
  }
}

/// An order that the lab process has taken, and what it takes to carry it out.
public struct UpWork: Sendable {
  public let order: UpOrder
  /// The rendered topology, as it came.
  public let topology: [UInt8]
  /// The lock file of the lab's folder, as whoever sent the order holds it.
  public let lock: FileDescriptor
  public let lab: LabName
  public let folder: String
  public let kind: DatapathKind
  public let datapath: any Datapath
  /// Tells whoever sent the order.
  public let tell: @Sendable (UpEvent) -> Void
  /// Makes what runs in the nodes as the runtime says.
  public let configure: @Sendable (LabRuntime) async throws(DatapathError) -> Void

  /// Carries an order out; the document is the plan's, where it is wanted. The task is cancelled when nobody waits any more.
  public typealias Handler = @Sendable (UpWork) async -> (outcome: UpOutcome, document: [UInt8])
}
