// SPDX-License-Identifier: GPL-2.0-or-later

// Addresses, neighbours and forwarding entries.

import LabCore
import NetTypes
import Rtnetlink

extension BatchEncoder {
  mutating func encodeAddress(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    if case .address(let address) = change.before, change.operation != .create {
      // An update is a change of peer or scope, which the kernel has no message for.
      let message = try addressMessage(address, in: namespace)
      emit(message.request(.delete), in: namespace, "delete")
    }
    guard case .address(let address) = change.after, change.operation != .delete else { return }
    emit(try addressMessage(address, in: namespace).request(.create), in: namespace, "add")
  }

  private mutating func addressMessage(
    _ address: AddressState, in namespace: NamespaceID
  ) throws(EncodingFailure) -> AddressMessage {
    var message = AddressMessage(address.prefix, index: try index(of: address.link, in: namespace))
    if let peer = address.peer { message.address = peer }
    let isLoopback = address.prefix.family == .ipv4 && address.prefix.address.isLoopback
    message.scope = RouteScope(rawValue: (address.scope ?? (isLoopback ? .host : .universe)).rawValue)
    message.protocolNumber = Ownership.routeProtocol
    // The topology says who has the address: nobody else does.
    if address.prefix.family == .ipv6 { message.flags = .noDAD }
    return message
  }

  mutating func encodeNeighbor(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    switch (change.operation, change.before, change.after) {
    case (.delete, .neighbor(let neighbor), _):
      emit(try neighborMessage(neighbor, in: namespace).request(.delete), in: namespace, "delete")
    case (_, .neighbor(let before), .neighbor(let after)) where before.isProxy != after.isProxy:
      emit(try neighborMessage(before, in: namespace).request(.delete), in: namespace, "delete")
      emit(try neighborMessage(after, in: namespace).request(.createOrReplace), in: namespace, "add")
    case (_, _, .neighbor(let neighbor)):
      // What the kernel has learned of the address gives way.
      emit(try neighborMessage(neighbor, in: namespace).request(.createOrReplace), in: namespace, "add")
    default:
      throw .impossible("a \(change.operation.rawValue) of a neighbour without its state")
    }
  }

  private mutating func neighborMessage(
    _ neighbor: LabCore.NeighborState, in namespace: NamespaceID
  ) throws(EncodingFailure) -> NeighborMessage {
    var message = NeighborMessage(
      family: AddressFamily(neighbor.address.family), index: try index(of: neighbor.link, in: namespace))
    message.destination = neighbor.address
    message.protocolNumber = Ownership.routeProtocol
    if neighbor.isProxy {
      message.flags = .proxy
    } else {
      message.state = .permanent
      message.macAddress = neighbor.mac
    }
    return message
  }

  mutating func encodeForwardingEntry(_ change: Change, in namespace: NamespaceID) throws(EncodingFailure) {
    if case .fdb(let entry) = change.before, change.operation != .create {
      emit(try forwardingMessage(entry, in: namespace).request(.delete), in: namespace, "delete")
    }
    guard case .fdb(let entry) = change.after, change.operation != .delete else { return }
    let message = try forwardingMessage(entry, in: namespace)
    // A tunnel has many remotes for one address; a bridge's port one, which takes the place of a learned one.
    emit(message.request(entry.remote == nil ? .createOrReplace : .append), in: namespace, "add")
  }

  private mutating func forwardingMessage(
    _ entry: FDBState, in namespace: NamespaceID
  ) throws(EncodingFailure) -> NeighborMessage {
    var message = NeighborMessage(family: .bridge, index: try index(of: entry.link, in: namespace))
    message.macAddress = entry.mac
    message.vlan = entry.vlan
    if let remote = entry.remote {
      message.flags = .own
      message.state = [.permanent, .noARP]
      message.destination = remote
    } else {
      message.flags = .master
      message.state = .noARP
    }
    return message
  }
}
