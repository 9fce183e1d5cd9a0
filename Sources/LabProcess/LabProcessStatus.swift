// SPDX-License-Identifier: GPL-2.0-or-later

public import LabCore
public import NetTypes

/// What a lab process says of itself and of what it keeps running.
public struct LabProcessStatus: Hashable, Codable, Sendable {
  /// A program of a node.
  public struct Program: Hashable, Codable, Sendable {
    public enum State: String, Hashable, Codable, Sendable {
      case running
      /// It ended and is started again after a pause.
      case pausing
      case ended
    }

    public var arguments: [String]
    public var restart: NodeProgram.Restart
    public var state: State
    /// While it runs.
    public var pid: Int32?
    /// How often it was started again.
    public var restarts: Int
    public var lastExit: ProcessExit?
    /// The file that takes what it prints.
    public var log: String
  }

  /// A service of a node.
  public struct Service: Hashable, Codable, Sendable {
    /// `http`, `echo`, `discard`, `chargen` or `iperf`.
    public var kind: String
    public var port: Port
  }

  /// A node that has programs or services.
  public struct Node: Hashable, Codable, Sendable {
    public var name: NodeName
    public var programs: [Program]
    public var services: [Service]
    public var hostPorts: [PublishedPort]
  }

  /// A port of the host that leads to one of the node's.
  public struct PublishedPort: Hashable, Codable, Sendable {
    public var hostPort: Port
    public var port: Port
  }

  public var lab: LabName
  public var datapath: DatapathKind
  /// Threads of an emulated kernel.
  public var cpus: Int
  public var pid: Int32
  /// Seconds since 1970.
  public var since: Int64
  public var log: String
  /// Sorted by name.
  public var nodes: [Node]
}
