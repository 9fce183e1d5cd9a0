// SPDX-License-Identifier: GPL-2.0-or-later

// A socket's groups (net/ipv4/igmp.c ip_mc_join_group and its kin; net/ipv6/mcast.c ipv6_sock_mc_join). Memberships with
// lists of sources are not here.

import NetTypes

/// A group that a socket has joined.
struct GroupMembership: Hashable, Sendable {
  var group: IPAddress
  /// The device's number.
  var device: Int32
}

extension Kernel {
  /// EINVAL: no group; ENODEV: no device; EADDRINUSE: joined already; ENOBUFS: too many.
  mutating func join(_ group: IPAddress, _ number: Int32, by index: SocketIndex) throws(KernelError) {
    try checkGroup(group, of: index)
    let namespace = sockets[index].namespace
    let device = try groupDevice(group, number, in: namespace)
    let membership = GroupMembership(group: group, device: devices[device].ifindex)
    guard !sockets[index].options.memberships.contains(membership) else { throw .addressInUse }
    guard
      group.family == .ipv6
        || sockets[index].options.memberships.count < namespaces[namespace].ipv4.membershipLimit
    else { throw .noBuffers }
    sockets[index].options.memberships.append(membership)
    switch group {
    case .v4(let group): joinGroup(group.rawValue, on: device)
    case .v6(let group): joinGroup(UInt128(group), on: device)
    }
  }

  /// EADDRNOTAVAIL: not joined.
  mutating func leave(_ group: IPAddress, _ number: Int32, by index: SocketIndex) throws(KernelError) {
    try checkGroup(group, of: index)
    let device = try groupDevice(group, number, in: sockets[index].namespace)
    let membership = GroupMembership(group: group, device: devices[device].ifindex)
    guard let place = sockets[index].options.memberships.firstIndex(of: membership) else {
      throw .addressNotAvailable
    }
    sockets[index].options.memberships.remove(at: place)
    leaveGroup(group, on: device)
  }

  /// A group of the socket's family; who speaks both may be in IPv4's too.
  private func checkGroup(_ group: IPAddress, of index: SocketIndex) throws(KernelError) {
    guard group.isMulticast else { throw .invalidArgument }
    guard group.family == sockets[index].kind.family || sockets[index].kind.speaksBoth else {
      throw .noSuchOption
    }
  }

  private mutating func leaveGroup(_ group: IPAddress, on device: DeviceIndex) {
    switch group {
    case .v4(let group): leaveGroup(group.rawValue, on: device)
    case .v6(let group): leaveGroup(UInt128(group), on: device)
    }
  }

  /// The device that was named, or the one that the routes lead to (ip_mc_find_dev).
  private mutating func groupDevice(
    _ group: IPAddress, _ number: Int32, in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    if number != 0 {
      guard let device = device(ifindex: number, in: namespace) else { throw .noSuchDevice }
      return device
    }
    let (type, device) =
      switch group {
      case .v4(let group):
        { ($0.type, $0.device) }(lookup(group.rawValue, in: namespace))
      case .v6(let group):
        { ($0.type, $0.device) }(namespaces[namespace].routes6.lookup(Flow(destination: UInt128(group))))
      }
    guard !type.isError, !device.isNone else { throw .noSuchDevice }
    return device
  }

  mutating func leaveAllGroups(_ index: SocketIndex) {
    for membership in sockets[index].options.memberships {
      if let device = device(ifindex: membership.device, in: sockets[index].namespace) {
        leaveGroup(membership.group, on: device)
      }
    }
    sockets[index].options.memberships = []
  }

  func isMember(_ index: SocketIndex, of group: IPAddress) -> Bool {
    sockets[index].options.memberships.contains { $0.group == group }
  }
}
