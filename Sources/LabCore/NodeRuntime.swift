// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// All that runs in a node or is laid out for what runs there. Kept by the lab process, not by the kernel, so it is no
/// part of `LabState`.
public struct NodeRuntime: Hashable, Codable, Sendable {
  public var node: NodeName
  public var environment: [String: String]
  /// In the order of declaration.
  public var files: [NodeFile]
  /// Run once when the node comes up, in order, before the programs; a failure fails the `up`.
  public var commands: [NodeProgram]
  /// Kept running.
  public var programs: [NodeProgram]
  public var services: [NodeService]
  /// Ports of the host that lead to ports of the node.
  public var hostPorts: [HostPort]

  public init(
    node: NodeName, environment: [String: String] = [:], files: [NodeFile] = [], commands: [NodeProgram] = [],
    programs: [NodeProgram] = [], services: [NodeService] = [], hostPorts: [HostPort] = []
  ) {
    self.node = node
    self.environment = environment
    self.files = files
    self.commands = commands
    self.programs = programs
    self.services = services
    self.hostPorts = hostPorts
  }

  /// Whether a process has to stay for this node.
  public var needsProcess: Bool { !programs.isEmpty || !services.isEmpty || !hostPorts.isEmpty }
}

/// A TCP port of the host's loopback. Whoever connects to it is connected to a port of the node, from the node's own
/// loopback.
public struct HostPort: Hashable, Codable, Sendable {
  public var hostPort: Port
  /// The node's.
  public var port: Port
  public var location: SourceLocation

  public init(hostPort: Port, port: Port, location: SourceLocation) {
    self.hostPort = hostPort
    self.port = port
    self.location = location
  }
}

/// A file that stands at `path` for the programs of one node only.
public struct NodeFile: Hashable, Codable, Sendable {
  /// Absolute.
  public var path: String
  public var text: String
  public var location: SourceLocation

  public init(path: String, text: String, location: SourceLocation) {
    self.path = path
    self.text = text
    self.location = location
  }
}

/// A command of a node: an argument list, or one line for /bin/sh when it has one element with blanks in it.
public struct NodeProgram: Hashable, Codable, Sendable {
  public enum Restart: String, Hashable, CaseIterable, Codable, Sendable { case never, onFailure, always }

  public var arguments: [String]
  public var restart: Restart
  public var location: SourceLocation

  public init(arguments: [String], restart: Restart = .never, location: SourceLocation) {
    self.arguments = arguments
    self.restart = restart
    self.location = location
  }
}

/// A service of netforge's own in a node.
public struct NodeService: Hashable, Codable, Sendable {
  public enum Kind: Hashable, Codable, Sendable {
    /// Answers every GET with 200 and a body that names the node.
    case http
    /// TCP and UDP (RFC 862).
    case echo
    /// TCP and UDP (RFC 863).
    case discard
    /// TCP and UDP (RFC 864).
    case chargen
    /// What iperf3's client measures against, over TCP.
    case iperf
  }

  public var kind: Kind
  /// 1...65535.
  public var port: Port
  public var location: SourceLocation

  public init(kind: Kind, port: Port, location: SourceLocation) {
    self.kind = kind
    self.port = port
    self.location = location
  }
}

/// What `/etc/hosts` of every node says besides localhost: names and addresses of the lab, in order.
public struct HostsEntry: Hashable, Codable, Sendable {
  public var address: IPAddress
  public var names: [String]

  public init(address: IPAddress, names: [String]) {
    self.address = address
    self.names = names
  }
}

/// What the lab process keeps running.
public struct LabRuntime: Hashable, Codable, Sendable {
  public var lab: LabName
  public var nodes: [NodeRuntime]
  public var hosts: [HostsEntry]

  public init(lab: LabName, nodes: [NodeRuntime] = [], hosts: [HostsEntry] = []) {
    self.lab = lab
    self.nodes = nodes
    self.hosts = hosts
  }

  public var needsProcess: Bool { nodes.contains(where: \.needsProcess) }
}
