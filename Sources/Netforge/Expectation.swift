// SPDX-License-Identifier: GPL-2.0-or-later

// What expectations are made of: how they are tried, within which bounds, and what else is said about them.

/// How an expectation is tried.
public struct Probe: Sendable {
  let record: Record?

  private init(_ transport: String, port: Int, _ fill: (inout Record) -> Void = { _ in }) {
    var record = Record()
    record.add("transport", transport)
    record.add("port", port)
    fill(&record)
    self.record = record
  }

  private init() { record = nil }

  /// An echo request.
  public static let ping = Probe()
  /// A TCP connection to a port.
  public static func tcp(_ port: Int) -> Probe { Probe("tcp", port: port) }
  /// A UDP datagram to a port.
  public static func udp(_ port: Int) -> Probe { Probe("udp", port: port) }
  /// An HTTP request over TCP: a GET of the path, its status and a part of the answer's body.
  public static func http(
    _ port: Int = 80, path: String = "/", status: Int? = nil, body: String? = nil
  ) -> Probe {
    Probe("http", port: port) {
      $0.add("path", path == "/" ? nil : path)
      $0.add("status", status)
      $0.add("body", body)
    }
  }
}

/// At least, at most, or both.
public struct Bounds<Value: Sendable>: Sendable {
  let minimum: Value?
  let maximum: Value?

  /// This or more.
  public static func atLeast(_ value: Value) -> Bounds { Bounds(minimum: value, maximum: nil) }
  /// This or less.
  public static func atMost(_ value: Value) -> Bounds { Bounds(minimum: nil, maximum: value) }
  /// From one to the other.
  public static func between(_ minimum: Value, _ maximum: Value) -> Bounds {
    Bounds(minimum: minimum, maximum: maximum)
  }
}

/// Why packets do not arrive.
public enum Cause: String, Sendable {
  /// The source itself has no route to the target.
  case noRoute
  /// Somebody answers with an error: an ICMP error or a reset.
  case rejected
  /// The source's own firewall does not let them out.
  case filteredAtSource
}

/// What is said of an expectation besides what it expects.
public struct CheckOption: Sendable {
  let apply: @Sendable (inout Record) -> Void

  /// How weighty a failure is.
  public enum Level: String, Sendable { case error, warning }

  /// What reports call it.
  public static func named(_ name: String) -> CheckOption { CheckOption { $0.add("name", name) } }
  /// Words for `--tag`.
  public static func tagged(_ tags: String...) -> CheckOption { CheckOption { $0.add("tags", tags) } }
  /// A failure of the level `warning` does not fail the test.
  public static func level(_ level: Level) -> CheckOption {
    CheckOption { $0.add("level", level == .error ? nil : level.rawValue) }
  }
  /// It may take so long until it holds: until then a failure is tried again.
  public static func eventually(within time: Duration) -> CheckOption {
    CheckOption { $0.add("eventuallyNanoseconds", time) }
  }
  /// It is tried at a time after the lab is up, among what `lab.at` makes happen.
  public static func at(_ time: Duration) -> CheckOption { CheckOption { $0.add("atNanoseconds", time) } }
}
