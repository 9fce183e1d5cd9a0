// SPDX-License-Identifier: GPL-2.0-or-later

// Objects that rules give to connections (nft_ct.c, nft_synproxy.c): which helper reads along, how long states last, and
// which connection is to come of one.

/// Which protocol's helper reads a connection.
public struct NftCtHelper: Hashable, Codable, Sendable {
  /// As the kernel knows it: ftp, tftp, sip.
  public var helper: String
  /// Nil: whatever the table sees.
  public var network: NetworkFamily?
  /// IPPROTO_*.
  public var transport: UInt8

  public init(helper: String, network: NetworkFamily? = nil, transport: UInt8) {
    self.helper = helper
    self.network = network
    self.transport = transport
  }
}

/// How long a connection's states last.
public struct NftCtTimeout: Hashable, Codable, Sendable {
  /// Nil: of either family.
  public var network: NetworkFamily?
  /// IPPROTO_*: TCP or UDP.
  public var transport: UInt8
  /// Of each state, in the order of `states`.
  public var seconds: [UInt32]

  /// - Parameter seconds: by the states' names; those that are left out last as they do by themselves. Nil for a protocol
  ///   or a state that there is not.
  public init?(network: NetworkFamily? = nil, transport: UInt8, seconds: [String: UInt32]) {
    guard let states = Self.states(of: transport) else { return nil }
    guard seconds.keys.allSatisfy({ name in states.contains { $0.name == name } }) else { return nil }
    self.network = network
    self.transport = transport
    self.seconds = states.map { seconds[$0.name] ?? $0.standard }
  }

  /// The states of a protocol as nft's language names them, in the order of CTA_TIMEOUT_TCP_* and CTA_TIMEOUT_UDP_*, and
  /// how many seconds they last by themselves; nil for protocols without.
  public static func states(of transport: UInt8) -> [State]? {
    switch transport {
    case 6:
      [
        State("syn_sent", 120), State("syn_recv", 60), State("established", 432_000), State("fin_wait", 120),
        State("close_wait", 60), State("last_ack", 30), State("time_wait", 120), State("close", 10),
        State("syn_sent2", 120), State("retrans", 300), State("unack", 300),
      ]
    case 17: [State("unreplied", 30), State("replied", 120)]
    default: nil
    }
  }

  /// A state's name, and how many seconds it lasts by itself.
  public struct State: Sendable {
    public var name: String
    public var standard: UInt32

    init(_ name: String, _ standard: UInt32) {
      self.name = name
      self.standard = standard
    }
  }
}

/// A connection that is expected of another.
public struct NftCtExpectation: Hashable, Codable, Sendable {
  public var network: NetworkFamily?
  public var transport: UInt8
  public var destinationPort: UInt16
  /// How long it is expected, in milliseconds.
  public var timeout: UInt32
  /// How many connections may come of it.
  public var size: UInt8

  public init(
    network: NetworkFamily? = nil, transport: UInt8, destinationPort: UInt16, timeout: UInt32, size: UInt8
  ) {
    self.network = network
    self.transport = transport
    self.destinationPort = destinationPort
    self.timeout = timeout
    self.size = size
  }
}

/// What a SYN proxy offers in the name of the server.
public struct NftSynproxy: Hashable, Codable, Sendable {
  public var maximumSegment: UInt16
  public var windowScale: UInt8
  /// NF_SYNPROXY_OPT_*: 1 MSS, 2 window scale, 4 SACK, 8 timestamp.
  public var flags: UInt32

  public init(maximumSegment: UInt16 = 0, windowScale: UInt8 = 0, flags: UInt32 = 0) {
    self.maximumSegment = maximumSegment
    self.windowScale = windowScale
    self.flags = flags
  }
}
