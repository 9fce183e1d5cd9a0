// SPDX-License-Identifier: GPL-2.0-or-later

// Named objects: what several rules share, and what rules give to connections. A rule that uses one declares it in its
// table, as with sets.

/// A rate that several rules keep together: `let slow = NamedLimit("slow", 10, per: .second)`, and `slow` in each rule.
public struct NamedLimit: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's limits.
  ///   - count: packets, or bytes.
  ///   - unit: in which time.
  ///   - burst: how many more at once.
  ///   - bytes: whether bytes are counted instead of packets.
  ///   - over: true turns it round: holds for what exceeds the rate.
  public init(
    _ name: String, _ count: Int, per unit: TimeUnit, burst: Int? = nil, bytes: Bool? = nil,
    over: Bool? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("limit")
    record.add("name", name)
    record.add("count", count)
    record.add("per", unit.rawValue)
    record.add("burst", burst)
    record.add("bytes", bytes)
    record.add("over", over)
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("limit", name, declaration)
  }
}

/// Bytes that several rules let pass together.
public struct NamedQuota: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's quotas.
  ///   - bytes: how many.
  ///   - over: true turns it round: holds once they have passed.
  public init(
    _ name: String, bytes: Int, over: Bool? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("quota")
    record.add("name", name)
    record.add("count", bytes)
    record.add("over", over)
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("quota", name, declaration)
  }
}

/// Reads along in a connection and expects those that come of it; in a rule it is given to the packet's connection.
public struct ConnectionHelper: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// A protocol whose connections bring others.
  public enum Kind: String, Sendable {
    /// Data connections of FTP.
    case ftp
    /// Transfers of TFTP.
    case tftp
    /// Media of SIP.
    case sip
  }

  /// - Parameters:
  ///   - name: unique among the table's helpers.
  ///   - kind: the protocol; FTP's over TCP, the others' over UDP.
  public init(_ name: String, _ kind: Kind, file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("helper")
    record.add("name", name)
    record.add("helper", kind.rawValue)
    record.add("transport", kind == .ftp ? "tcp" : "udp")
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("helper", name, declaration)
  }
}

/// How long a connection's states last; in a rule it is given to the packet's connection.
public struct ConnectionTimeouts: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// A state of TCP.
  public enum TCPState: String, Sendable {
    /// A SYN was sent.
    case synSent = "syn_sent"
    /// It was answered.
    case synReceived = "syn_recv"
    /// Data may flow.
    case established
    /// One side has ended.
    case finWait = "fin_wait"
    /// The other has noticed.
    case closeWait = "close_wait"
    /// Both have ended.
    case lastAck = "last_ack"
    /// All is said.
    case timeWait = "time_wait"
    /// It was reset.
    case close
  }

  /// Of TCP.
  /// - Parameters:
  ///   - name: unique among the table's timeouts.
  ///   - times: by state; those that are left out last as they do by themselves.
  public init(
    _ name: String, tcp times: [TCPState: Duration], file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(name, "tcp", times.map { ($0.key.rawValue, $0.value) }, file, line)
  }

  /// Of UDP.
  /// - Parameters:
  ///   - name: unique among the table's timeouts.
  ///   - unreplied: before an answer was seen.
  ///   - replied: afterwards.
  public init(
    _ name: String, udp unreplied: Duration, replied: Duration, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    self.init(name, "udp", [("unreplied", unreplied), ("replied", replied)], file, line)
  }

  private init(
    _ name: String, _ transport: String, _ times: [(state: String, time: Duration)], _ file: StaticString,
    _ line: UInt
  ) {
    var record = Record("timeouts")
    record.add("name", name)
    record.add("transport", transport)
    record.add(
      "states",
      times.sorted { $0.state < $1.state }.map { item in
        var state = Record()
        state.add("state", item.state)
        state.add("timeNanoseconds", item.time)
        return state
      })
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("timeouts", name, declaration)
  }
}

/// Another connection that is to come of one; in a rule the packet's connection is told to expect it, from the same
/// client to the same server.
public struct ConnectionExpectation: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// One of TCP.
  /// - Parameters:
  ///   - name: unique among the table's expectations.
  ///   - port: the server's, 1...65535.
  ///   - timeout: how long it is expected; Linux waits a thousand times as long (nft_ct_expect_obj_init).
  ///   - count: how many may come, 1...255.
  public init(
    _ name: String, tcp port: Int, timeout: Duration, count: Int, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    self.init(name, "tcp", port, timeout, count, file, line)
  }

  /// One of UDP.
  /// - Parameters:
  ///   - name: unique among the table's expectations.
  ///   - port: the server's, 1...65535.
  ///   - timeout: how long it is expected; Linux waits a thousand times as long (nft_ct_expect_obj_init).
  ///   - count: how many may come, 1...255.
  public init(
    _ name: String, udp port: Int, timeout: Duration, count: Int, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    self.init(name, "udp", port, timeout, count, file, line)
  }

  private init(
    _ name: String, _ transport: String, _ port: Int, _ timeout: Duration, _ count: Int,
    _ file: StaticString, _ line: UInt
  ) {
    var record = Record("expectation")
    record.add("name", name)
    record.add("transport", transport)
    record.add("port", port)
    record.add("timeoutNanoseconds", timeout)
    record.add("count", count)
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("expectation", name, declaration)
  }
}

/// Takes connections past the rules: what a rule has put into it goes from the ingress of its interfaces straight to where
/// it leaves. `let fast = Flowtable("fast", on: ["lan0", "wan0"])`, and `fast` in a rule at forward.
public struct Flowtable: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's flowtables.
  ///   - devices: the node's interfaces whose packets it takes.
  ///   - priority: where among what hangs at the ingress of these.
  ///   - counter: whether what goes past is counted with its connection.
  public init(
    _ name: String, on devices: [String], priority: Priority = .filter, counter: Bool? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("flowtable")
    record.add("name", name)
    record.add("devices", devices)
    record.add("priority", priority.value)
    record.add("counter", counter)
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("flowtable", name, declaration)
  }
}

extension RuleStatement {
  fileprivate static func object(
    _ kind: String, _ name: String, _ declaration: TableDeclaration
  ) -> RuleStatement {
    var record = Record("object")
    record.add("object", kind)
    record.add("name", name)
    return RuleStatement(record: record, declared: declaration)
  }
}

/// Sends a copy of the packet to another host.
public struct Duplicate: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - address: whom the copy is handed to; for tables of family ip and ip6.
  ///   - device: the interface that it leaves by; left out, as the routes say.
  public init(to address: String, by device: String? = nil) {
    var record = Record("duplicate")
    record.add("address", address)
    record.add("device", device)
    statement = RuleStatement(record: record, declared: nil)
  }

  /// - Parameter device: the interface that the copy leaves by; for tables of family netdev.
  public init(by device: String) {
    var record = Record("duplicate")
    record.add("device", device)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Sends the packet out by another interface; for tables of family netdev.
public struct SendBy: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - device: the interface.
  ///   - address: a neighbour there, whom it is addressed to; left out, the frame stays as it is.
  public init(_ device: String, to address: String? = nil) {
    var record = Record("sendBy")
    record.add("device", device)
    record.add("address", address)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Gives the packet to a transparent socket of the node, whose address it has not; for prerouting chains.
public struct TransparentProxy: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - address: of the socket; left out, the interface's.
  ///   - port: of the socket; left out, the packet's.
  public init(to address: String? = nil, port: Int? = nil) {
    var record = Record("transparentProxy")
    record.add("address", address)
    record.add("port", port)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Answers who begins a TCP connection in the server's name, and asks the server only once the answer is answered; for
/// input and forward chains. What it is given is what it offers for the server; connection tracking must not have seen
/// the SYN (`NoTrack`).
public struct SynProxy: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - maximumSegmentSize: the largest segment that the server takes.
  ///   - windowScale: how far the server's windows are shifted, 0...14.
  ///   - timestamps: whether it uses timestamps.
  ///   - selectiveAcknowledgments: whether it takes selective acknowledgments.
  public init(
    maximumSegmentSize: Int? = nil, windowScale: Int? = nil, timestamps: Bool? = nil,
    selectiveAcknowledgments: Bool? = nil
  ) {
    var record = Record("synProxy")
    record.add(offer: maximumSegmentSize, windowScale, timestamps, selectiveAcknowledgments)
    statement = RuleStatement(record: record, declared: nil)
  }
}

extension Record {
  /// What a SYN proxy offers in the server's name.
  fileprivate mutating func add(
    offer maximumSegmentSize: Int?, _ windowScale: Int?, _ timestamps: Bool?,
    _ selectiveAcknowledgments: Bool?
  ) {
    add("maximumSegmentSize", maximumSegmentSize)
    add("windowScale", windowScale)
    add("timestamps", timestamps)
    add("selectiveAcknowledgments", selectiveAcknowledgments)
  }
}

/// A SYN proxy that several rules share.
public struct NamedSynProxy: Sendable {
  let statement: RuleStatement
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's SYN proxies.
  ///   - maximumSegmentSize: the largest segment that the server takes.
  ///   - windowScale: how far the server's windows are shifted, 0...14.
  ///   - timestamps: whether it uses timestamps.
  ///   - selectiveAcknowledgments: whether it takes selective acknowledgments.
  public init(
    _ name: String, maximumSegmentSize: Int, windowScale: Int, timestamps: Bool? = nil,
    selectiveAcknowledgments: Bool? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("synProxy")
    record.add("name", name)
    record.add(offer: maximumSegmentSize, windowScale, timestamps, selectiveAcknowledgments)
    record.add(file: file, line: line)
    declaration = TableDeclaration(object: name, record)
    statement = .object("synProxy", name, declaration)
  }
}
