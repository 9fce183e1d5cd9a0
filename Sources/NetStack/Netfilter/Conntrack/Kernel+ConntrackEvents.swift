// SPDX-License-Identifier: GPL-2.0-or-later

// What becomes of connections, for whoever listens (net/netfilter/nf_conntrack_ecache.c): what a packet changes is kept
// until it has got through, and told as one event. One bounded log a CPU; what nobody takes in time is lost, and that
// is told.

/// Something that has happened to a connection.
public struct ConntrackEvent: Hashable, Sendable {
  /// Why it is told (enum ip_conntrack_events).
  struct Cause: OptionSet, Hashable, BitwiseCopyable {
    var rawValue: UInt16
    static let new = Cause(rawValue: 1 << 0)
    static let related = Cause(rawValue: 1 << 1)
    static let destroy = Cause(rawValue: 1 << 2)
    static let reply = Cause(rawValue: 1 << 3)
    static let assured = Cause(rawValue: 1 << 4)
    static let protocolState = Cause(rawValue: 1 << 5)
    static let helper = Cause(rawValue: 1 << 6)
    static let mark = Cause(rawValue: 1 << 7)
    static let label = Cause(rawValue: 1 << 10)
    static let all = Cause(rawValue: .max)
  }

  /// As `conntrack -E` calls it.
  public enum Kind: Hashable, Sendable {
    case new, update, destroy
  }

  /// Where.
  public var namespace: NamespaceIndex
  /// What has happened.
  public var kind: Kind
  /// The connection as it is now; without its state when that is not what has changed.
  public var connection: ConntrackListing
}

/// Events that nobody has taken yet.
struct ConntrackEventLog: ~Copyable {
  /// Events that the log holds at most.
  static let limit = 1 << 14

  private var events: [ConntrackEvent] = []
  /// Whether some did not fit since the last were taken.
  private var hasMissed = false

  mutating func append(_ event: ConntrackEvent) {
    guard events.count < Self.limit else {
      hasMissed = true
      return
    }
    events.append(event)
  }

  mutating func take() -> (events: [ConntrackEvent], hasMissed: Bool) {
    defer {
      events = []
      hasMissed = false
    }
    return (events, hasMissed)
  }
}

extension Kernel {
  /// Begins or ends to tell of connections; of those that are there already nothing is told, as in Linux.
  public mutating func setConnectionsWatched(_ isWatched: Bool, _ namespace: NamespaceIndex) {
    guard namespaces.contains(namespace) else { return }
    namespaces[namespace].conntrack.isWatched = isWatched
  }

  /// What has happened since this was last asked, oldest first; and whether some of it was lost.
  public mutating func takeConnectionEvents() -> (events: [ConntrackEvent], hasMissed: Bool) {
    conntrackEvents.take()
  }

  /// Keeps something that is to be told when the packet has got through (nf_conntrack_event_cache).
  @inline(__always) mutating func note(_ cause: ConntrackEvent.Cause, of index: ConntrackIndex) {
    if conntracks[index].isWatched { conntracks[index].events.insert(cause) }
  }

  /// nf_ct_deliver_cached_events.
  mutating func tellConntrackEvents(_ index: ConntrackIndex) {
    let causes = conntracks[index].events
    guard !causes.isEmpty, conntracks[index].status.contains(.confirmed) else { return }
    conntracks[index].events = []
    // Whoever is told is told all that has happened (__nf_conntrack_eventmask_report).
    guard namespaces[conntracks[index].namespace].conntrack.isWatched,
      !causes.isDisjoint(with: conntracks[index].toldEvents)
    else { return }
    var listing = listing(of: index)
    if !causes.contains(.protocolState) { listing.state = nil }
    listing.original.packets = nil
    listing.original.bytes = nil
    listing.reply.packets = nil
    listing.reply.bytes = nil
    conntrackEvents.append(
      ConntrackEvent(
        namespace: conntracks[index].namespace,
        kind: causes.isDisjoint(with: [.new, .related]) ? .update : .new,
        connection: listing))
  }

  mutating func tellConntrackEnd(_ index: ConntrackIndex) {
    guard conntracks[index].isWatched, namespaces[conntracks[index].namespace].conntrack.isWatched,
      conntracks[index].toldEvents.contains(.destroy)
    else { return }
    var listing = listing(of: index)
    // ctnetlink_dump_timeout leaves out a time that is over.
    if listing.timeout == 0 { listing.timeout = nil }
    conntrackEvents.append(
      ConntrackEvent(namespace: conntracks[index].namespace, kind: .destroy, connection: listing))
  }
}
