// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// A routing policy rule (ip-rule(8)). Keyed by family, priority and selector.
public struct PolicyRuleState: Hashable, Codable, Sendable {
  public enum Action: Hashable, Codable, Sendable {
    case lookup(table: UInt32)
    case blackhole, unreachable, prohibit
  }

  public var family: IPFamily
  public var priority: UInt32
  public var source: IPPrefix?
  public var destination: IPPrefix?
  public var inputLink: InterfaceName?
  public var outputLink: InterfaceName?
  public var mark: UInt32?
  public var markMask: UInt32?
  public var typeOfService: UInt8
  public var ipProtocol: IPProtocol?
  public var sourcePorts: ClosedRange<Port>?
  public var destinationPorts: ClosedRange<Port>?
  public var isInverted: Bool
  public var action: Action

  public init(
    family: IPFamily, priority: UInt32, source: IPPrefix? = nil, destination: IPPrefix? = nil,
    inputLink: InterfaceName? = nil, outputLink: InterfaceName? = nil, mark: UInt32? = nil,
    markMask: UInt32? = nil,
    typeOfService: UInt8 = 0, ipProtocol: IPProtocol? = nil, sourcePorts: ClosedRange<Port>? = nil,
    destinationPorts: ClosedRange<Port>? = nil, isInverted: Bool = false, action: Action
  ) {
    self.family = family
    self.priority = priority
    self.source = source
    self.destination = destination
    self.inputLink = inputLink
    self.outputLink = outputLink
    self.mark = mark
    self.markMask = markMask
    self.typeOfService = typeOfService
    self.ipProtocol = ipProtocol
    self.sourcePorts = sourcePorts
    self.destinationPorts = destinationPorts
    self.isInverted = isInverted
    self.action = action
  }

  /// Family, priority and selector as `ip rule` would say them.
  public var key: String {
    var parts = ["\(family.rawValue) \(priority):"]
    if isInverted { parts.append("not") }
    parts.append("from \(source.map(\.description) ?? "all")")
    if let destination { parts.append("to \(destination)") }
    if typeOfService != 0 { parts.append("tos \(typeOfService)") }
    if let mark {
      parts.append("fwmark \(mark)" + (markMask.map { $0 == .max ? "" : "/\($0)" } ?? ""))
    }
    if let inputLink { parts.append("iif \(inputLink)") }
    if let outputLink { parts.append("oif \(outputLink)") }
    if let ipProtocol { parts.append("ipproto \(ipProtocol.rawValue)") }
    if let sourcePorts { parts.append("sport \(sourcePorts.lowerBound)-\(sourcePorts.upperBound)") }
    if let destinationPorts {
      parts.append("dport \(destinationPorts.lowerBound)-\(destinationPorts.upperBound)")
    }
    return parts.joined(separator: " ")
  }
}

extension PolicyRuleState.Action: CustomStringConvertible {
  public var description: String {
    switch self {
    case .lookup(let table): "lookup \(table)"
    case .blackhole: "blackhole"
    case .unreachable: "unreachable"
    case .prohibit: "prohibit"
    }
  }
}

extension AttributeName {
  public static let action = AttributeName("action")
}

extension PolicyRuleState {
  public var attributes: [StateAttribute] {
    [StateAttribute(.action, StateValue(action))]
  }
}
