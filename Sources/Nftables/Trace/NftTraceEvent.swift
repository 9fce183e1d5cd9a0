// SPDX-License-Identifier: GPL-2.0-or-later

// What a kernel tells of a packet that is traced through rules (NFT_MSG_TRACE, net/netfilter/nf_tables_trace.c): the same
// of the host's and of an emulated one.

public import NetTypes

/// What happened to a traced packet.
public enum NftTraceEvent: Hashable, Codable, Sendable {
  /// A base chain begins.
  case packet(NftChainKey, NftTracedPacket)
  /// A rule was passed or decided, in the chain that it stands in.
  case rule(NftChainKey, handle: UInt64, NftVerdict)
  /// No rule of a base chain decided.
  case policy(NftChainKey, NftVerdict)
  /// NAT has rewritten the packet.
  case translation(from: NftTracedFlow, to: NftTracedFlow)
}

/// A traced packet's headers, as many bytes of each as the kernel tells.
public struct NftTracedPacket: Hashable, Codable, Sendable {
  /// The device that it came in by; empty for none.
  public var input: String
  /// The device that it leaves by; empty for none.
  public var output: String
  /// The Ethernet header; empty where it has none.
  public var link: [UInt8]
  /// At most 40 bytes.
  public var network: [UInt8]
  /// At most 20 bytes; empty in later fragments and where there is none.
  public var transport: [UInt8]
  /// ETH_P_*: what the network header is.
  public var etherType: UInt16
  /// IPPROTO_*: what the transport header is.
  public var proto: UInt8
  /// The connection that it belongs to, once tracking has seen it.
  public var connection: Connection?

  public init(
    input: String, output: String, link: [UInt8], network: [UInt8], transport: [UInt8], etherType: UInt16,
    proto: UInt8, connection: Connection? = nil
  ) {
    self.input = input
    self.output = output
    self.link = link
    self.network = network
    self.transport = transport
    self.etherType = etherType
    self.proto = proto
    self.connection = connection
  }

  /// A connection as a packet stands to it.
  public struct Connection: Hashable, Codable, Sendable {
    /// As conntrack(8) numbers it.
    public var id: UInt32
    /// `new`, `established`, `related`.
    public var state: String
    /// Whether it goes the way of who answers.
    public var isReply: Bool

    public init(id: UInt32, state: String, isReply: Bool) {
      self.id = id
      self.state = state
      self.isReply = isReply
    }
  }
}

/// Whose packet it is.
public struct NftTracedFlow: Hashable, Codable, Sendable {
  /// Who sends.
  public var source: IPAddress
  /// Who is sent to.
  public var destination: IPAddress
  /// Nil where there are none; an echo's identifier stands in the source's.
  public var sourcePort: UInt16?
  /// Nil where there are none.
  public var destinationPort: UInt16?

  public init(source: IPAddress, destination: IPAddress) {
    self.source = source
    self.destination = destination
  }
}
