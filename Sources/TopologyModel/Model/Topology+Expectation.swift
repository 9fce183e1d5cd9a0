// SPDX-License-Identifier: GPL-2.0-or-later

// What must hold, and what shall happen. What each claim means and when it passes is docs/expectations.md.

public import LabCore
public import NetTypes

extension Topology {
  /// Something that must hold once the lab is up.
  public struct Expectation: Hashable, Sendable {
    public enum Target: Hashable, Sendable {
      /// The node's address on the subnet that the route leads to.
      case node(NodeName)
      case device(DeviceReference)
      case address(IPAddress)
    }

    public enum Probe: Hashable, Sendable {
      /// An echo request.
      case ping
      case port(Transport, Port)
      case http(Port, HTTPQuestion)
    }

    /// A GET, and what must come back.
    public struct HTTPQuestion: Hashable, Sendable {
      public var path: String
      public var status: Int?
      /// A part of the body.
      public var body: String?

      public init(path: String = "/", status: Int? = nil, body: String? = nil) {
        self.path = path
        self.status = status
        self.body = body
      }
    }

    /// Who sends what to whom.
    public struct Flow: Hashable, Sendable {
      public var source: NodeName
      /// The device that the probe leaves by, when `gw["wan0"]` named one.
      public var sourceDevice: String?
      public var target: Target
      public var probe: Probe

      public init(source: NodeName, sourceDevice: String? = nil, target: Target, probe: Probe = .ping) {
        self.source = source
        self.sourceDevice = sourceDevice
        self.target = target
        self.probe = probe
      }
    }

    /// At least, at most, or both.
    public struct Bounds: Hashable, Sendable {
      public var minimum: Double?
      public var maximum: Double?

      public init(minimum: Double? = nil, maximum: Double? = nil) {
        self.minimum = minimum
        self.maximum = maximum
      }

      public func contains(_ value: Double) -> Bool {
        value >= minimum ?? -.infinity && value <= maximum ?? .infinity
      }
    }

    /// Why packets do not arrive.
    public enum Cause: String, Hashable, CaseIterable, Sendable { case noRoute, rejected, filteredAtSource }

    public enum Claim: Hashable, Sendable {
      /// `ttl`: what the answer to an echo request arrives with.
      case reaches(Flow, within: Interval?, ttl: Int?)
      case cannotReach(Flow, because: Cause?)
      /// The target sees the packets come from this address.
      case appears(Flow, as: IPAddress)
      case path(Flow, hops: [Target])
      /// So many connections are answered by the web servers of these nodes.
      case spread(Flow, over: [NodeName], connections: Int)
      /// One connection is asked so many times, and the same web server answers.
      case stays(Flow, requests: Int)
      /// Flows to one port of one target, all from this port at the same time, are each answered.
      case samePort([Flow], from: Port)
      /// Bytes of the largest IP packet.
      case pathMTU(Flow, Int)
      /// Bits of payload a second.
      case throughput(Flow, Bounds, during: Interval)
      /// Percent of so many echo requests.
      case loss(Flow, Bounds, count: Int)
      case dropped(Flow, by: NodeName, reason: String?)
      case route(NodeName, to: IPAddress, via: IPAddress?, device: String?)
      case neighbor(NodeName, IPAddress, mac: MACAddress?, device: String?, state: String?)
      case learned(bridge: NodeName, DeviceReference, behind: DeviceReference)
      /// Packets that the rule with this comment has counted.
      case counts(NodeName, rule: String, Bounds)
      case runs(NodeName, arguments: [String], exitCode: Int, output: String?)
      case isolated([[NodeName]], Probe)
      case mesh([NodeName], Probe, ttl: Int?)
      /// Steps of a plan that would make the lab as the topology says.
      case differences(Int)
      /// Neither they nor their devices were made anew since the scenario or the timeline began.
      case keeps([NodeName])
      /// `down` leaves the host as it was.
      case cleanDown
    }

    public var claim: Claim
    /// What reports call it; nil to have it made of the claim.
    public var name: String?
    public var tags: [String] = []
    /// A failure is a warning.
    public var isWarning = false
    /// How long a failure is tried again.
    public var eventually: Interval?
    /// The scenario that it belongs to; nil for the lab as it comes up.
    public var scenario: String?
    /// The time after the lab is up at which it is tried; nil: at the beginning.
    public var at: Interval?
    public var location: SourceLocation

    public init(
      claim: Claim, name: String? = nil, tags: [String] = [], isWarning: Bool = false,
      eventually: Interval? = nil, scenario: String? = nil, at: Interval? = nil, location: SourceLocation
    ) {
      self.claim = claim
      self.name = name
      self.tags = tags
      self.isWarning = isWarning
      self.eventually = eventually
      self.scenario = scenario
      self.at = at
      self.location = location
    }
  }

  /// Something that happens in a running lab.
  public enum Action: Hashable, Sendable {
    case linkDown(DeviceReference)
    case linkUp(DeviceReference)
    case flap(DeviceReference, Interval)
    /// Nil takes the impairment away.
    case impair(DeviceReference, Impairment?)
    case addAddress(DeviceReference, IPPrefix)
    case removeAddress(DeviceReference, IPPrefix)
    /// Of the main table; host bits clear.
    case setRoute(NodeName, IPPrefix, via: IPAddress, device: String?)
    case removeRoute(NodeName, IPPrefix)
    /// The lab is made as the topology says.
    case settle
    case run(NodeName, arguments: [String])
    case restart(NodeName)
    case wait(Interval)
  }

  /// Something that happens at a time after the lab is up.
  public struct Event: Hashable, Sendable {
    public var at: Interval
    public var action: Action
    public var location: SourceLocation

    public init(at: Interval, action: Action, location: SourceLocation) {
      self.at = at
      self.action = action
      self.location = location
    }
  }

  /// A change on the way, undone when its expectations were tried.
  public struct Scenario: Hashable, Sendable {
    public var name: String
    public var actions: [Action]
    public var location: SourceLocation

    public init(name: String, actions: [Action], location: SourceLocation) {
      self.name = name
      self.actions = actions
      self.location = location
    }
  }
}
