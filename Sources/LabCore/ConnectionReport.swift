// SPDX-License-Identifier: GPL-2.0-or-later

// Connections that a namespace tracks, as conntrack(8) lists them, chooses among them and tells of them: the same on every
// datapath.

public import NetTypes

/// A tracked connection.
public struct ConnectionReport: Hashable, Codable, Sendable {
  /// What one direction's packets look like.
  public struct Direction: Hashable, Codable, Sendable {
    public var source: IPAddress
    public var destination: IPAddress
    /// Of protocols that have ports.
    public var sourcePort: UInt16?
    public var destinationPort: UInt16?
    /// Of ICMP.
    public var type: UInt8?
    public var code: UInt8?
    public var id: UInt16?
    /// Nil where packets are not counted.
    public var packets: UInt64?
    public var bytes: UInt64?

    public init(source: IPAddress, destination: IPAddress) {
      self.source = source
      self.destination = destination
    }
  }

  /// Different for each connection of a namespace.
  public var id: UInt32
  /// IPPROTO_*.
  public var protocolNumber: UInt8
  /// Seconds until it is forgotten; nil for one that is.
  public var timeout: UInt32?
  /// Of TCP: `ESTABLISHED`.
  public var state: String?
  /// Who began.
  public var original: Direction
  /// What answers look like: where it differs from the original turned around, there is NAT.
  public var reply: Direction
  public var isReplied: Bool
  public var isAssured: Bool
  public var isOffloaded: Bool
  public var mark: UInt32?
  public var zone: UInt16?
  /// The protocol helper that follows it.
  public var helper: String?
  /// Packets and others that hold it; nil where that is not told.
  public var uses: UInt32?

  public init(id: UInt32, protocolNumber: UInt8, original: Direction, reply: Direction) {
    self.id = id
    self.protocolNumber = protocolNumber
    self.original = original
    self.reply = reply
    isReplied = false
    isAssured = false
    isOffloaded = false
  }

  /// By protocol, then by who began, then by zone and number.
  public static func precedes(_ a: Self, _ b: Self) -> Bool {
    if a.protocolNumber != b.protocolNumber { return a.protocolNumber < b.protocolNumber }
    if a.original.source != b.original.source { return a.original.source < b.original.source }
    if a.original.destination != b.original.destination {
      return a.original.destination < b.original.destination
    }
    let (mine, other) = (a.original.sourcePort ?? 0, b.original.sourcePort ?? 0)
    return mine != other ? mine < other : a.id < b.id
  }
}

/// Which connections are meant; what is nil is not asked about.
public struct ConnectionFilter: Hashable, Codable, Sendable {
  public var protocolNumber: UInt8?
  public var source: IPPrefix?
  public var destination: IPPrefix?
  public var replySource: IPPrefix?
  public var replyDestination: IPPrefix?
  public var sourcePort: UInt16?
  public var destinationPort: UInt16?
  public var state: String?
  public var mark: UInt32?
  public var zone: UInt16?

  public init() {}

  public func accepts(_ connection: ConnectionReport) -> Bool {
    func agrees<Value: Equatable>(_ wanted: Value?, _ value: Value?) -> Bool {
      wanted == nil || wanted == value
    }
    func holds(_ prefix: IPPrefix?, _ address: IPAddress) -> Bool { prefix?.contains(address) ?? true }
    return agrees(protocolNumber, connection.protocolNumber)
      && holds(source, connection.original.source) && holds(destination, connection.original.destination)
      && holds(replySource, connection.reply.source)
      && holds(replyDestination, connection.reply.destination)
      && agrees(sourcePort, connection.original.sourcePort)
      && agrees(destinationPort, connection.original.destinationPort)
      && agrees(state, connection.state) && agrees(mark, connection.mark ?? 0)
      && agrees(zone, connection.zone ?? 0)
  }
}

/// Something that has happened to a connection.
public struct ConnectionEvent: Hashable, Codable, Sendable {
  public enum Kind: String, Hashable, Codable, Sendable {
    case new, update, destroy
    /// Events were lost.
    case gap
  }

  public var kind: Kind
  /// As it is now; of updates without what has not changed. Nil for a gap.
  public var connection: ConnectionReport?

  public init(_ kind: Kind, _ connection: ConnectionReport?) {
    self.kind = kind
    self.connection = connection
  }

  /// A line of `conntrack -E`.
  public var text: String {
    let word = "[\(kind.rawValue.uppercased())]"
    let padding = String(repeating: " ", count: max(9 - word.count, 0))
    return padding + word + (connection.map { " \($0.text)" } ?? "")
  }
}

extension ConnectionReport {
  /// A line of `conntrack -L`.
  public var text: String {
    let name = Self.protocolName(protocolNumber)
    var words = [name + String(repeating: " ", count: max(8 - name.count, 0)) + " \(protocolNumber)"]
    if let timeout { words.append("\(timeout)") }
    if let state { words.append(state) }
    words += original.words
    if !isReplied { words.append("[UNREPLIED]") }
    words += reply.words
    if isOffloaded { words.append("[OFFLOAD]") }
    // Who is offloaded is not shown as assured.
    if isAssured, !isOffloaded { words.append("[ASSURED]") }
    if let mark { words.append("mark=\(mark)") }
    if let zone { words.append("zone=\(zone)") }
    if let helper { words.append("helper=\(helper)") }
    if let uses { words.append("use=\(uses)") }
    return words.joined(separator: " ")
  }

  /// A protocol as conntrack(8) calls it.
  public static func protocolName(_ number: UInt8) -> String {
    protocols.first { $0.number == number }?.name ?? "unknown"
  }

  /// The number of a protocol by name, or of a number's text.
  public static func protocolNumber(_ text: String) -> UInt8? {
    protocols.first { $0.name == text }?.number ?? UInt8(text)
  }

  private static let protocols: [(name: String, number: UInt8)] = [
    ("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("gre", 47), ("icmpv6", 58), ("sctp", 132),
    ("udplite", 136),
  ]
}

extension ConnectionReport.Direction {
  fileprivate var words: [String] {
    var words = ["src=\(source)", "dst=\(destination)"]
    if let sourcePort { words.append("sport=\(sourcePort)") }
    if let destinationPort { words.append("dport=\(destinationPort)") }
    if let type { words.append("type=\(type)") }
    if let code { words.append("code=\(code)") }
    if let id { words.append("id=\(id)") }
    if let packets { words.append("packets=\(packets)") }
    if let bytes { words.append("bytes=\(bytes)") }
    return words
  }
}
