// SPDX-License-Identifier: GPL-2.0-or-later

// Changes of a running lab: at a time, or as a scenario that is undone when its expectations were tried.

/// A change on the way, and what must hold while it lasts.
public struct Scenario: Sendable {
  let name: String
  let topology: Topology
}

extension Scenario: Expecting {
  /// The topology, and the scenario's name.
  public var expectationContext: ExpectationContext { ExpectationContext(topology: topology, scenario: name) }
}

/// What can happen at a time.
public struct EventAction: Sendable {
  let record: Record

  private init(_ action: String, _ fill: (inout Record) -> Void) {
    var record = Record()
    record.add("action", action)
    fill(&record)
    self.record = record
  }

  /// The interface goes down.
  public static func linkDown(_ interface: InterfaceReference) -> EventAction {
    EventAction("linkDown") { $0.add("interface", interface.record) }
  }

  /// The interface comes up again.
  public static func linkUp(_ interface: InterfaceReference) -> EventAction {
    EventAction("linkUp") { $0.add("interface", interface.record) }
  }

  /// The interface goes down, and comes up again after a time.
  public static func flap(_ interface: InterfaceReference, for time: Duration) -> EventAction {
    EventAction("flap") {
      $0.add("interface", interface.record)
      $0.add("durationNanoseconds", time)
    }
  }

  /// Nothing happens for a time.
  public static func wait(_ time: Duration) -> EventAction {
    EventAction("wait") { $0.add("durationNanoseconds", time) }
  }

  /// What the interface sends is impaired like this from now on.
  public static func impair(_ interface: InterfaceReference, _ impairment: Impairment) -> EventAction {
    EventAction("impair") {
      $0.add("interface", interface.record)
      $0.add("impairment", impairment.record)
    }
  }

  /// What the interface sends is impaired as the topology says, and no more.
  public static func heal(_ interface: InterfaceReference) -> EventAction {
    EventAction("heal") { $0.add("interface", interface.record) }
  }

  /// The interface gets a further address.
  /// - Parameter address: with its prefix length, as `192.168.1.2/24`.
  public static func addAddress(_ address: String, to interface: InterfaceReference) -> EventAction {
    EventAction("addAddress") {
      $0.add("interface", interface.record)
      $0.add("address", address)
    }
  }

  /// The interface loses an address, and the node what the kernel takes away with it.
  /// - Parameter address: with its prefix length, as `192.168.1.2/24`.
  public static func removeAddress(_ address: String, from interface: InterfaceReference) -> EventAction {
    EventAction("removeAddress") {
      $0.add("interface", interface.record)
      $0.add("address", address)
    }
  }

  /// The node's main table leads there by this way from now on, whatever way it led before.
  /// - Parameters:
  ///   - destination: a prefix; of everything `0.0.0.0/0` or `::/0`.
  ///   - gateway: the next hop's address.
  ///   - interface: where packets leave; left out, where the gateway is.
  public static func setRoute(
    _ destination: String, via gateway: String, on interface: String? = nil, in node: Node
  ) -> EventAction {
    EventAction("setRoute") {
      $0.add("node", node.name)
      $0.add("destination", destination)
      $0.add("via", gateway)
      $0.add("on", interface)
    }
  }

  /// The node's main table has no route to exactly this prefix any more.
  public static func removeRoute(_ destination: String, in node: Node) -> EventAction {
    EventAction("removeRoute") {
      $0.add("node", node.name)
      $0.add("destination", destination)
    }
  }

  /// The lab is made as the topology says, as `netforge up` would.
  public static let settle = EventAction("settle") { _ in }

  /// A command runs in the node: its words, or one line for the shell.
  public static func run(_ node: Node, _ command: String...) -> EventAction {
    EventAction("run") {
      $0.add("node", node.name)
      $0.add("command", command)
    }
  }

  /// The node's programs and services start anew.
  public static func restart(_ node: Node) -> EventAction {
    EventAction("restart") { $0.add("node", node.name) }
  }
}
