// SPDX-License-Identifier: GPL-2.0-or-later

// What must hold, and what shall happen at a time.

public import LabCore
public import NetTypes

extension Topology {
  /// Something that must hold once the lab is up.
  public struct Expectation: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
      case reaches
      case cannotReach
      /// The target sees the packets come from this address.
      case appears(as: IPAddress)
    }

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
    }

    public var kind: Kind
    public var source: NodeName
    /// The device that the probe leaves by, when `gw["wan0"]` named one.
    public var sourceDevice: String?
    public var target: Target
    public var probe: Probe = .ping
    /// How long it may take until it holds.
    public var within: Interval?
    public var location: SourceLocation

    public init(
      kind: Kind, source: NodeName, sourceDevice: String? = nil, target: Target, probe: Probe = .ping,
      within: Interval? = nil, location: SourceLocation
    ) {
      self.kind = kind
      self.source = source
      self.sourceDevice = sourceDevice
      self.target = target
      self.probe = probe
      self.within = within
      self.location = location
    }
  }

  /// Something that happens at a time after the lab is up.
  public struct Event: Hashable, Sendable {
    public enum Action: Hashable, Sendable {
      case linkDown(DeviceReference)
      case linkUp(DeviceReference)
      /// Nil takes the impairment away.
      case impair(DeviceReference, Impairment?)
      case run(NodeName, arguments: [String])
      case restart(NodeName)
    }

    public var at: Interval
    public var action: Action
    public var location: SourceLocation

    public init(at: Interval, action: Action, location: SourceLocation) {
      self.at = at
      self.action = action
      self.location = location
    }
  }
}
