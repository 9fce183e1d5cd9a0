// SPDX-License-Identifier: GPL-2.0-or-later

// The selectors of the general firewall form that are of no header: what the kernel knows about a packet, its connection,
// its way and its socket.

/// What the kernel knows about a packet.
public enum Meta {
  /// The interface it came by.
  public static let incoming = Selector<InterfaceValue>("meta iifname")
  /// The interface it leaves by.
  public static let outgoing = Selector<InterfaceValue>("meta oifname")
  /// The packet's mark.
  public static let mark = Selector<MarkValue>("meta mark")
  /// The transport protocol, in either family.
  public static let transport = Selector<ProtocolValue>("meta l4proto")
  /// The family, in tables of both.
  public static let family = Selector<FamilyValue>("meta nfproto")
  /// What the frame carries, behind any tags.
  public static let network = Selector<EtherTypeValue>("meta protocol")
  /// Bytes of the packet.
  public static let length = Selector<NumberValue>("meta length")
  /// Whom the frame was for.
  public static let packetType = Selector<PacketTypeValue>("meta pkttype")
  /// The user of the program that sent it.
  public static let userID = Selector<NumberValue>("meta skuid")
  /// The group of the program that sent it.
  public static let groupID = Selector<NumberValue>("meta skgid")
  /// The class that a queue puts it in.
  public static let priority = Selector<NumberValue>("meta priority")
  /// The CPU that works on it.
  public static let cpu = Selector<NumberValue>("meta cpu")
  /// The group of the interface it came by.
  public static let incomingGroup = Selector<NumberValue>("meta iifgroup")
  /// The group of the interface it leaves by.
  public static let outgoingGroup = Selector<NumberValue>("meta oifgroup")
  /// The bridge of the port it came by.
  public static let incomingBridge = Selector<InterfaceValue>("meta ibrname")
  /// The bridge of the port it leaves by.
  public static let outgoingBridge = Selector<InterfaceValue>("meta obrname")
  /// Another number for each.
  public static let random = Selector<NumberValue>("meta random")
  /// The realm of its route.
  public static let routingClass = Selector<NumberValue>("meta rtclassid")
  /// The class of the program's control group.
  public static let controlGroup = Selector<NumberValue>("meta cgroup")
  /// The date and time, of universal time: `Meta.time.isLess(than: "2027-01-01")`.
  public static let time = Selector<DateValue>("meta time")
  /// The time of day, of universal time: `Meta.hour.is(.range("08:00", "18:00"))`.
  public static let hour = Selector<TimeOfDayValue>("meta hour")
  /// The day of the week, of universal time.
  public static let weekday = Selector<WeekdayValue>("meta day")
}

/// What connection tracking knows about a packet.
public enum Conntrack {
  /// The state of its connection.
  public static let state = Selector<StateValue>("ct state")
  /// What has happened to its connection.
  public static let status = Selector<StatusValue>("ct status")
  /// The connection's mark.
  public static let mark = Selector<MarkValue>("ct mark")
  /// Labels of the connection: whether any of these is set. `.set` adds one to them.
  public static let labels = Selector<LabelValue>("ct label")
  /// What is told of the connection to who listens; it can only be set. Of what happens at once all is told where one
  /// of these has: `Conntrack.events.set(.new, .destroy)`.
  public static let events = Selector<EventValue>("ct event")
  /// What reads along in the connection.
  public static let helper = Selector<HelperValue>("ct helper")
  /// Which way the packet goes.
  public static let direction = Selector<DirectionValue>("ct direction")
  /// The connection's transport protocol.
  public static let transport = Selector<ProtocolValue>("ct protocol")
  /// The connection's family.
  public static let family = Selector<FamilyValue>("ct l3proto")
  /// The zone that its addresses are of.
  public static let zone = Selector<NumberValue>("ct zone")
  /// The zone of packets from who began. `.set` leaves the other direction without.
  public static let originalZone = Selector<NumberValue>("ct original zone")
  /// The zone of packets to who began.
  public static let replyZone = Selector<NumberValue>("ct reply zone")
  /// The connection's number.
  public static let id = Selector<NumberValue>("ct id")
  /// Milliseconds that are left, were nothing more to come.
  public static let expiration = Selector<NumberValue>("ct expiration")
  /// Packets of the connection, both ways.
  public static let packets = Selector<NumberValue>("ct packets")
  /// Bytes of the connection, both ways.
  public static let bytes = Selector<NumberValue>("ct bytes")
  /// Bytes of its packets in the mean.
  public static let averagePacket = Selector<NumberValue>("ct avgpkt")
  /// Packets from who began.
  public static let originalPackets = Selector<NumberValue>("ct original packets")
  /// Packets to who began.
  public static let replyPackets = Selector<NumberValue>("ct reply packets")
  /// Bytes from who began.
  public static let originalBytes = Selector<NumberValue>("ct original bytes")
  /// Bytes to who began.
  public static let replyBytes = Selector<NumberValue>("ct reply bytes")
  /// The sender before any translation.
  public static let originalSource = Selector<IPv4Value>("ct original ip saddr")
  /// The receiver before any translation.
  public static let originalDestination = Selector<IPv4Value>("ct original ip daddr")
  /// Who answers.
  public static let replySource = Selector<IPv4Value>("ct reply ip saddr")
  /// Whom the answers go to.
  public static let replyDestination = Selector<IPv4Value>("ct reply ip daddr")
  /// The sender before any translation.
  public static let originalSource6 = Selector<IPv6Value>("ct original ip6 saddr")
  /// The receiver before any translation.
  public static let originalDestination6 = Selector<IPv6Value>("ct original ip6 daddr")
  /// Who answers.
  public static let replySource6 = Selector<IPv6Value>("ct reply ip6 saddr")
  /// Whom the answers go to.
  public static let replyDestination6 = Selector<IPv6Value>("ct reply ip6 daddr")
  /// The sender's port before any translation.
  public static let originalSourcePort = Selector<PortValue>("ct original proto-src")
  /// The port before any translation.
  public static let originalDestinationPort = Selector<PortValue>("ct original proto-dst")
  /// The port that answers come from.
  public static let replySourcePort = Selector<PortValue>("ct reply proto-src")
  /// The port that answers go to.
  public static let replyDestinationPort = Selector<PortValue>("ct reply proto-dst")
}

/// What the routing tables say.
public enum FIB {
  /// What the receiver's address is to this node.
  public static let destinationType = Selector<AddressTypeValue>("fib daddr type")
  /// What the sender's address is to this node.
  public static let sourceType = Selector<AddressTypeValue>("fib saddr type")
  /// What the receiver's address is to the interface that the packet came by.
  public static let localDestinationType = Selector<AddressTypeValue>("fib daddr . iif type")
  /// The interface that the sender is reached by.
  public static let sourceInterface = Selector<InterfaceValue>("fib saddr oifname")
  /// The interface that the receiver is reached by.
  public static let destinationInterface = Selector<InterfaceValue>("fib daddr oifname")
}

/// What a packet's route says.
public enum PacketRoute {
  /// The largest TCP segment of the way.
  public static let maximumSegmentSize = Selector<NumberValue>("rt tcpmss")
  /// The route's realm.
  public static let realm = Selector<NumberValue>("rt classid")
  /// The next hop.
  public static let nextHop = Selector<IPv4Value>("rt ip nexthop")
  /// The next hop.
  public static let nextHop6 = Selector<IPv6Value>("rt ip6 nexthop")
}

/// The socket of this node that a packet is for.
public enum ListeningSocket {
  /// Whether it takes connections to addresses of others.
  public static let transparent = Selector<PresenceValue>("socket transparent")
  /// Whether it listens on all addresses.
  public static let wildcard = Selector<PresenceValue>("socket wildcard")
  /// The socket's mark.
  public static let mark = Selector<MarkValue>("socket mark")
}
