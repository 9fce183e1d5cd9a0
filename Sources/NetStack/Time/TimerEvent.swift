// SPDX-License-Identifier: GPL-2.0-or-later

// What a timer does when it is due: a kind and the index of what it is about. No closures: an event can be compared,
// counted and replayed.

/// What is due.
struct TimerEvent: Hashable, BitwiseCopyable {
  enum Kind: UInt8, BitwiseCopyable {
    /// A neighbour's state machine (index of the neighbour).
    case neighbor
    /// A namespace's neighbours of a family are looked through (see `neighborCollectionTimer`).
    case neighborCollection
    /// Managed ones of them are asked again.
    case managedNeighbors
    /// An answer for another has waited long enough (index of the answer).
    case delayedAnswer
    /// An IPv6 address is deprecated or ends, or is asked for once more (index of the address).
    case addressLifetime
    case addressDetection
    /// A route of IPv6 ends (index of the namespace).
    case routeExpiry
    /// Pieces of a datagram have waited too long (index of the queue).
    case fragments
    /// A host asks for routers again (index of the device).
    case routerSolicitation
    /// What a device listens to is told: changes, all of it, an answer, an answer about one (index of the device).
    case groupChanges
    case groupState
    case groupAnswer
    case groupReport
    /// A device has something to say of its groups (index of the device).
    case groups
    /// A bridge's forwarding database has entries that are too old (index of the bridge).
    case forwardingAge
    /// A NIC's coalesced interrupt (number of the vector).
    case receiveInterrupt
    case transmitInterrupt
    /// A NIC had no memory to receive into (number of the vector).
    case refill
    /// A VXLAN device's database has entries that may be too old (index of the VXLAN).
    case vxlanAge
    /// A device's queueing discipline has packets whose time has come (index of the device).
    case queue
    /// A tracked connection's time may be over (index of the entry).
    case conntrack
    /// Connections that go past the rules may be over (index of the namespace).
    case flows
    /// Retransmission, or a window's probe (index of the connection).
    case tcpRetransmit
    /// An acknowledgment that waited; one for several (index of the connection).
    case tcpDelayedACK, tcpCompressedACK
    /// The end of FIN-WAIT-2 (index of the connection), and of TIME-WAIT (index of what is left of it).
    case tcpState, tcpTimeWait
    /// A connection's next segment may leave; the other end has been silent (index of the connection).
    case tcpPacing, tcpKeepalive
    /// A SYN-ACK that was not acknowledged (index of the request).
    case tcpRequest
    /// A bridge speaks as the root; tells a topology change; ends one (index of the bridge).
    case bridgeHello, bridgeNotification, bridgeTopologyChange
    /// A bridge's port has not heard of the root; goes on; may speak again (index of the device).
    case portMessageAge, portForwardDelay, portHold
    /// Members of a bridge's groups have been silent for too long (index of the bridge).
    case bridgeGroups
  }

  var kind: Kind
  var index: UInt32
}

/// A timer that is running. Knowing it is owning it: it is cancelled or it comes due, once.
struct TimerID: Hashable, BitwiseCopyable {
  var index: UInt32
  static let none = TimerID(index: .max)
}
