// SPDX-License-Identifier: GPL-2.0-or-later

// The body of a node: one item a line, with `if`, `switch` and `for` where wanted.

/// An item of a node's body.
public struct NodeItem: Sendable {
  var record: Record
}

/// Builds the body of a node or router. A function of one's own that is marked `@NodeBody` and returns `[NodeItem]` can
/// stand in a body as an item.
@resultBuilder
public enum NodeBody: ListBuilder {
  /// A device, an address, a route, a program and so on.
  public typealias Item = NodeItem

  /// A network interface.
  public static func buildExpression(_ item: Interface) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// Addresses of `lo`.
  public static func buildExpression(_ item: Loopback) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A bridge device in the node.
  public static func buildExpression(_ item: Bridge) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// An 802.1Q device.
  public static func buildExpression(_ item: VLAN) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A device that drops what it is given.
  public static func buildExpression(_ item: Dummy) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// An Ethernet device whose other end is a program.
  public static func buildExpression(_ item: Tap) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// An IP device whose other end is a program.
  public static func buildExpression(_ item: Tun) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A VXLAN tunnel end.
  public static func buildExpression(_ item: VXLAN) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A second MAC address on another device.
  public static func buildExpression(_ item: Macvlan) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A way into the host's network.
  public static func buildExpression(_ item: Uplink) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A further address of a device.
  public static func buildExpression(_ item: Address) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A route.
  public static func buildExpression(_ item: Route) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A policy routing rule.
  public static func buildExpression(_ item: PolicyRule) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A permanent neighbour entry.
  public static func buildExpression(_ item: Neighbor) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A static forwarding entry.
  public static func buildExpression(_ item: FDBEntry) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A kernel setting.
  public static func buildExpression(_ item: Sysctl) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// Source NAT to the address of the way out.
  public static func buildExpression(_ item: Masquerade) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// NAT by the name of its behaviour.
  public static func buildExpression(_ item: NAT) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// Source NAT to given addresses.
  public static func buildExpression(_ item: SourceNAT) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A published port.
  public static func buildExpression(_ item: Publish) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A port turned to the node itself.
  public static func buildExpression(_ item: Redirect) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// The rules of one hook.
  public static func buildExpression(_ item: Firewall) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A table of the general firewall form.
  public static func buildExpression(_ item: Table) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// The tables of a file in nft's language.
  public static func buildExpression(_ item: Ruleset) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A service of netforge's own.
  public static func buildExpression(_ item: Service) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A program that is kept running.
  public static func buildExpression(_ item: Run) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A command that runs once at start.
  public static func buildExpression(_ item: Exec) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// A file of the node's own.
  public static func buildExpression(_ item: File) -> [NodeItem] { [NodeItem(record: item.record)] }
  /// An environment variable.
  public static func buildExpression(_ item: Env) -> [NodeItem] { [NodeItem(record: item.record)] }

  /// Refused by name, so that the compiler's message is ours.
  @available(
    *, unavailable,
    message:
      "a node's body holds items such as Interface, Address, Route, Masquerade, Publish, Firewall, Service, Run and Sysctl"
  )
  public static func buildExpression<Other>(_ other: Other) -> [NodeItem] { [] }

}
