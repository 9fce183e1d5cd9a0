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
