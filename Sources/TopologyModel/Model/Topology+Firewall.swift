// SPDX-License-Identifier: GPL-2.0-or-later

// The short form of NAT and firewall: what `Masquerade`, `Publish` and `Firewall` say.

public import LabCore
public import NetTypes

extension Topology {
  /// A rule that rewrites addresses.
  public struct Translation: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
      /// What leaves by `out` takes its address; `source` narrows it.
      case masquerade(out: String?, source: AddressMatch?, flags: [TranslationFlag])
      /// What leaves by `out` takes the addresses `to`.
      case sourceNAT(
        to: ClosedRange<IPAddress>, ports: ClosedRange<Port>?, out: String?, source: AddressMatch?,
        flags: [TranslationFlag])
      /// What comes in by `on` for these ports goes to one of `hosts`, the same for a whole connection.
      case publish(
        transport: Transport, ports: ClosedRange<Port>, on: String?, address: IPAddress?, hosts: [IPAddress],
        port: Port?)
      /// What comes in by `on` for these ports goes to a port of the node itself.
      case redirect(transport: Transport, ports: ClosedRange<Port>, on: String?, port: Port)
    }

    public var kind: Kind
    public var location: SourceLocation

    public init(kind: Kind, location: SourceLocation) {
      self.kind = kind
      self.location = location
    }
  }

  public enum Transport: String, Hashable, CaseIterable, Sendable { case tcp, udp }

  /// The rules of one hook in the short form, families IPv4 and IPv6 alike.
  public struct Firewall: Hashable, Sendable {
    public enum Hook: String, Hashable, CaseIterable, Sendable { case input, forward, output }
    public enum Policy: String, Hashable, CaseIterable, Sendable { case accept, drop }

    public var hook: Hook
    public var policy: Policy
    /// In order of declaration; a set that no rule uses is an error.
    public var sets: [AddressSet] = []
    public var rules: [FirewallRule] = []
    public var location: SourceLocation

    public init(
      hook: Hook, policy: Policy, sets: [AddressSet] = [], rules: [FirewallRule] = [],
      location: SourceLocation
    ) {
      self.hook = hook
      self.policy = policy
      self.sets = sets
      self.rules = rules
      self.location = location
    }
  }

  /// A named set of addresses, of either family or both.
  public struct AddressSet: Hashable, Sendable {
    public var name: String
    public var ranges: [AddressRange]
    public var location: SourceLocation

    public init(name: String, ranges: [AddressRange], location: SourceLocation) {
      self.name = name
      self.ranges = ranges
      self.location = location
    }
  }

  /// A single address, a prefix or a range.
  public enum AddressRange: Hashable, Sendable {
    case prefix(IPPrefix)
    case range(ClosedRange<IPAddress>)

    public var family: IPFamily {
      switch self {
      case .prefix(let prefix): prefix.family
      case .range(let range): range.lowerBound.family
      }
    }
  }

  /// Addresses that a rule compares with.
  public enum AddressMatch: Hashable, Sendable {
    /// Of either family or both.
    case ranges([AddressRange])
    /// A set of the same firewall.
    case set(String)
  }

  /// One rule: all of it must match.
  public struct FirewallRule: Hashable, Sendable {
    public enum Action: Hashable, Sendable {
      case accept, drop
      case reject(Rejection)
      /// Only what `log` says; the packet goes on.
      case proceed
    }

    public var action: Action
    /// States are alternatives, so are services (ports, ICMP, protocols) and marks; all of what is there must hold.
    public var matches: [FirewallMatch] = []
    /// The device of the node that the packet came in by.
    public var from: String?
    /// The device of the node that the packet leaves by.
    public var to: String?
    public var source: AddressMatch?
    public var destination: AddressMatch?
    /// The prefix of the log line.
    public var log: String?
    public var location: SourceLocation

    public init(
      action: Action, matches: [FirewallMatch] = [], from: String? = nil, to: String? = nil,
      source: AddressMatch? = nil, destination: AddressMatch? = nil, log: String? = nil,
      location: SourceLocation
    ) {
      self.action = action
      self.matches = matches
      self.from = from
      self.to = to
      self.source = source
      self.destination = destination
      self.log = log
      self.location = location
    }
  }

  /// How a rejected packet is answered.
  public enum Rejection: String, Hashable, CaseIterable, Sendable {
    case portUnreachable, hostUnreachable, networkUnreachable, adminProhibited, tcpReset
  }

  /// What a rule asks of a packet besides where it comes from and goes to.
  public enum FirewallMatch: Hashable, Sendable {
    public enum State: String, Hashable, CaseIterable, Sendable {
      case new, established, related, invalid, untracked
    }

    case state(State)
    /// Destination ports.
    case transport(Transport, ClosedRange<Port>)
    /// Any packet of the transport.
    case anyPort(Transport)
    /// ICMP and ICMPv6 of a type; nil for any.
    case icmp(ICMPType?)
    case ipProtocol(IPProtocol)
    case mark(value: UInt32, mask: UInt32)
    /// At most so many packets in a unit of time.
    case limit(Rate)
  }

  /// The types of ICMP messages that exist in both families.
  public enum ICMPType: String, Hashable, CaseIterable, Sendable {
    case echoRequest, echoReply, destinationUnreachable, packetTooBig, timeExceeded, parameterProblem
  }

  /// Packets or bytes in a unit of time.
  public struct Rate: Hashable, Sendable {
    public enum Per: String, Hashable, CaseIterable, Sendable { case second, minute, hour, day }

    public var count: UInt64
    public var per: Per
    public var burst: UInt32?
    /// Bytes instead of packets.
    public var inBytes: Bool = false
    /// Matches what exceeds the rate.
    public var over: Bool = false

    public init(count: UInt64, per: Per, burst: UInt32? = nil, inBytes: Bool = false, over: Bool = false) {
      self.count = count
      self.per = per
      self.burst = burst
      self.inBytes = inBytes
      self.over = over
    }
  }
}
