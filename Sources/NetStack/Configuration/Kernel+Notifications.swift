// SPDX-License-Identifier: GPL-2.0-or-later

// What a monitor of rtnetlink hears: a message for each object that has come, changed or gone, of the namespaces that
// somebody listens to (net/core/rtnetlink.c, rtnl_notify). One bounded log a CPU; when nobody takes the messages in time
// the rest are lost, as a socket's receive buffer loses them, and that is told.

import NetTypes
public import Rtnetlink

/// Something that has changed in a namespace.
public struct Notification: Hashable, Sendable {
  /// Where.
  public var namespace: NamespaceIndex
  /// The message: RTM_NEW* with the object as it is now, or RTM_DEL*.
  public var message: NetlinkMessage
}

/// Messages that nobody has taken yet.
struct NotificationLog: ~Copyable {
  /// Messages that the log holds at most.
  static let limit = 1 << 16

  private var records: [Notification] = []
  /// Whether some did not fit since the last were taken.
  private var hasMissed = false

  mutating func append(_ record: Notification) {
    guard records.count < Self.limit else {
      hasMissed = true
      return
    }
    records.append(record)
  }

  mutating func take() -> (records: [Notification], hasMissed: Bool) {
    defer {
      records = []
      hasMissed = false
    }
    return (records, hasMissed)
  }
}

extension Kernel {
  /// Begins or ends to note what changes in a namespace.
  public mutating func setWatched(_ isWatched: Bool, _ namespace: NamespaceIndex) {
    guard namespaces.contains(namespace) else { return }
    namespaces[namespace].isWatched = isWatched
  }

  /// What has changed since this was last asked, oldest first; and whether some of it was lost.
  public mutating func takeNotifications() -> (records: [Notification], hasMissed: Bool) {
    notifications.take()
  }

  private mutating func notify(_ message: NetlinkMessage, _ namespace: NamespaceIndex) {
    notifications.append(Notification(namespace: namespace, message: message))
  }

  /// A request has been carried out. Objects that only requests change are told of as the request said it.
  mutating func notify(request: NetlinkMessage, in namespace: NamespaceIndex) {
    guard namespaces[namespace].isWatched else { return }
    switch request.type {
    case .newAddress, .deleteAddress, .newRoute, .deleteRoute, .newRule, .deleteRule, .newQdisc,
      .deleteQdisc:
      var message = request
      message.flags = []
      notify(message, namespace)
    case .newLink, .setLink, .newLinkProperty, .deleteLinkProperty:
      guard let link = try? LinkMessage(parsing: request.payload[...]) else { return }
      let found =
        link.index > 0
        ? device(ifindex: link.index, in: namespace) : link.name.flatMap { device($0, in: namespace) }
      guard let found else { return }
      notifyLink(found)
      // What happens to one end of a pair shows at the other.
      if case .veth(let peer) = devices[found].kind, devices.contains(peer) { notifyLink(peer) }
    default: break
    }
  }

  /// A device has come or changed, or is about to go.
  mutating func notifyLink(_ index: DeviceIndex, isGone: Bool = false) {
    let namespace = devices[index].namespace
    guard namespaces[namespace].isWatched else { return }
    var filter = LinkMessage()
    filter.extended = .skipStatistics
    notify(message(index, filter).message(isGone ? .deleteLink : .newLink, []), namespace)
  }

  /// A neighbour's state or address has changed, or it is about to go.
  mutating func notifyNeighbor(_ index: NeighborIndex, isGone: Bool = false) {
    let namespace = devices[neighbors[index].device].namespace
    guard namespaces[namespace].isWatched else { return }
    var message = message(neighbor: index)
    message.type = isGone ? .deleteNeighbor : .newNeighbor
    notify(message, namespace)
  }

  /// A bridge has learned where an address is, or that it has moved.
  mutating func notifyForwarding(_ key: UInt64, on port: DeviceIndex) {
    let namespace = devices[port].namespace
    guard namespaces[namespace].isWatched else { return }
    var message = NeighborMessage(family: .bridge, index: devices[port].ifindex)
    message.macAddress = MACAddress(rawValue: ForwardingEntry.address(key))
    message.state = .reachable
    message.flags = .master
    notify(message.message(.newNeighbor, []), namespace)
  }
}
