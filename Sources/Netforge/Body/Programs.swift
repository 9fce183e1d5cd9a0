// SPDX-License-Identifier: GPL-2.0-or-later

// What runs in a node.

/// A service of netforge's own.
public struct Service: Sendable {
  let record: Record

  /// What a service does, and where.
  public struct Kind: Sendable {
    let name: String
    let port: Int

    /// Answers every GET with 200 and a body that names the node; at port 80.
    public static let http = Kind(name: "http", port: 80)
    /// The same at a port of one's own.
    public static func http(port: Int) -> Kind { Kind(name: "http", port: port) }
    /// Sends back what it is sent, over TCP and UDP (RFC 862); at port 7.
    public static let echo = Kind(name: "echo", port: 7)
    /// The same at a port of one's own.
    public static func echo(port: Int) -> Kind { Kind(name: "echo", port: port) }
    /// Takes what it is sent, over TCP and UDP (RFC 863); at port 9.
    public static let discard = Kind(name: "discard", port: 9)
    /// The same at a port of one's own.
    public static func discard(port: Int) -> Kind { Kind(name: "discard", port: port) }
    /// Sends lines of characters as long as somebody reads, and one for each datagram (RFC 864); at port 19.
    public static let chargen = Kind(name: "chargen", port: 19)
    /// The same at a port of one's own.
    public static func chargen(port: Int) -> Kind { Kind(name: "chargen", port: port) }
    /// What `iperf3 -c` measures against, over TCP; at port 5201.
    public static let iperf = Kind(name: "iperf", port: 5201)
    /// The same at a port of one's own.
    public static func iperf(port: Int) -> Kind { Kind(name: "iperf", port: port) }
  }

  /// - Parameter kind: `.http`, `.echo`, `.discard`, `.chargen` or `.iperf`; `.http(port: 8080)` at another port.
  public init(_ kind: Kind, file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("service")
    record.add("service", kind.name)
    record.add("port", kind.port)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// When a program that ended is started again.
public enum Restart: String, Sendable {
  /// Not at all.
  case never
  /// When it failed.
  case onFailure
  /// In any case.
  case always
}

/// A program that is kept running in the node.
public struct Run: Sendable {
  let record: Record

  /// - Parameters:
  ///   - command: its words, `Run("nginx", "-g", "daemon off;")`, or one line for the shell.
  ///   - restart: when it is started again; never when left out.
  public init(
    _ command: String..., restart: Restart? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("run")
    record.add("command", command)
    record.add("restart", restart?.rawValue)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A command that runs once when the node comes up; its failure is the lab's.
public struct Exec: Sendable {
  let record: Record

  /// - Parameter command: its words, or one line for the shell.
  public init(_ command: String..., file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("exec")
    record.add("command", command)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A file that only programs of this node see.
public struct File: Sendable {
  let record: Record

  /// - Parameters:
  ///   - path: absolute, `/etc/nginx/nginx.conf`.
  ///   - text: what stands in it.
  public init(_ path: String, text: String, file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("file")
    record.add("path", path)
    record.add("text", text)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// An environment variable of the node's programs.
public struct Env: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: `LANG`.
  ///   - value: its value.
  public init(_ name: String, _ value: String, file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("env")
    record.add("name", name)
    record.add("value", value)
    record.add(file: file, line: line)
    self.record = record
  }
}
