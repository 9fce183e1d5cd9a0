// SPDX-License-Identifier: GPL-2.0-or-later

// What a probe is to do, and what came of it (docs/expectations.md, "Outcomes of a probe").

public import LabCore
public import NetTypes

/// One try to get packets from a node to an address.
public struct ProbeRequest: Hashable, Sendable {
  public enum Kind: Hashable, Sendable {
    case echo
    case datagram(Port)
    case connection(Port)
    /// A GET of a path over a connection.
    case http(Port, path: String)
  }

  public var source: NodeName
  /// Nil for what the route says.
  public var sourceAddress: IPAddress?
  public var address: IPAddress
  /// Whose address it is; nil for nobody's in the lab.
  public var target: NodeName?
  public var kind: Kind
  /// How long one packet's answer may take.
  public var patience = Interval.seconds(1)
  /// How often an unanswered packet is sent. A connection's are repeated by the kernel.
  public var tries = 3
  /// Of echo requests only: bytes of a packet's payload beside what tells it from others'; the hop limit that they leave
  /// with; whether they may not be cut.
  public var padding = 0
  public var hopLimit: UInt8?
  public var isWhole = false

  public init(
    source: NodeName, sourceAddress: IPAddress? = nil, address: IPAddress, target: NodeName?, kind: Kind
  ) {
    self.source = source
    self.sourceAddress = sourceAddress
    self.address = address
    self.target = target
    self.kind = kind
  }
}

extension ProbeRequest {
  /// What its sockets are bound to, with a port of the kernel's choice.
  var sourceEndpoint: SocketEndpoint? { sourceAddress.map { SocketEndpoint($0, 0) } }
}

/// How a probe ended.
public enum ProbeOutcome: Hashable, Sendable {
  /// The payload came back, or a service's answer; `by` says who that is, as far as it told.
  case answered(from: SocketEndpoint, by: String)
  /// A connection stands, but nothing was said on it.
  case connected(to: SocketEndpoint)
  /// An error came: `by` is nil when the kernel does not tell from whom.
  case rejected(by: IPAddress?, String)
  case noAnswer
  case noRoute(String)
  /// The source's own kernel refused to send.
  case notSent(String)
  case couldNotProbe(String)
}

/// What came of a probe.
public struct ProbeReport: Hashable, Sendable {
  public var request: ProbeRequest
  public var outcome: ProbeOutcome
  /// From sending to the answer; of a connection, until it stood.
  public var time: Interval?
  /// The TTL or hop limit of the answer to an echo request.
  public var hopLimit: UInt8?
  /// The source address with which it arrived at the target; nil when it did not.
  public var arrivedFrom: IPAddress?
  /// Whether somebody watched the target.
  public var isWatched = false
  /// Whether the device of the route has sent something meanwhile; nil when nobody looked.
  public var hasLeft: Bool?
  /// Of an HTTP answer.
  public var status: Int?
  public var body: String?

  init(_ request: ProbeRequest, _ outcome: ProbeOutcome) {
    self.request = request
    self.outcome = outcome
  }
}

extension ProbeOutcome: CustomStringConvertible {
  public var description: String {
    switch self {
    case .answered(let source, let by): "answered by \(by) (\(Self.text(of: source)))"
    case .connected(let peer): "connected to \(peer), where nothing was said"
    case .rejected(let by?, let why): "\(why), says \(by)"
    case .rejected(nil, let why): why
    case .noAnswer: "no answer"
    case .noRoute(let why): "no route: \(why)"
    case .notSent(let why): "not sent: \(why)"
    case .couldNotProbe(let why): "could not be tried: \(why)"
    }
  }

  private static func text(of endpoint: SocketEndpoint) -> String {
    endpoint.port == 0 ? "\(endpoint.address)" : "\(endpoint)"
  }
}
