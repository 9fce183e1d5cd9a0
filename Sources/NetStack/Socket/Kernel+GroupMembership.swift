// SPDX-License-Identifier: GPL-2.0-or-later

// A socket's groups (net/ipv4/igmp.c, ip_mc_join_group and its kin). Memberships with lists of sources are not here.

import NetTypes

/// A group that a socket has joined.
struct GroupMembership: Hashable, Sendable {
  var group: UInt32
  /// The device's number.
  var device: Int32
}

extension Kernel {
  /// EINVAL: no group; ENODEV: no device; EADDRINUSE: joined already; ENOBUFS: too many.
  mutating func join(_ group: UInt32, _ number: Int32, by index: SocketIndex) throws(KernelError) {
    guard IPv4Header.isMulticast(group) else { throw .invalidArgument }
    let namespace = sockets[index].namespace
    let device = try groupDevice(group, number, in: namespace)
    let membership = GroupMembership(group: group, device: devices[device].ifindex)
    guard !sockets[index].options.memberships.contains(membership) else { throw .addressInUse }
    guard sockets[index].options.memberships.count < namespaces[namespace].ipv4.membershipLimit else {
      throw .noBuffers
    }
    sockets[index].options.memberships.append(membership)
    joinGroup(group, on: device)
  }

  /// EADDRNOTAVAIL: not joined.
  mutating func leave(_ group: UInt32, _ number: Int32, by index: SocketIndex) throws(KernelError) {
    let namespace = sockets[index].namespace
    let device = try groupDevice(group, number, in: namespace)
    let membership = GroupMembership(group: group, device: devices[device].ifindex)
    guard let place = sockets[index].options.memberships.firstIndex(of: membership) else {
      throw .addressNotAvailable
    }
    sockets[index].options.memberships.remove(at: place)
    leaveGroup(group, on: device)
  }

  /// The device that was named, or the one that the routes lead to (ip_mc_find_dev).
  private mutating func groupDevice(
    _ group: UInt32, _ number: Int32, in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    if number != 0 {
      guard let device = device(ifindex: number, in: namespace) else { throw .noSuchDevice }
      return device
    }
    let route = lookup(group, in: namespace)
    guard !route.type.isError, !route.device.isNone else { throw .noSuchDevice }
    return route.device
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
    guard let group = UInt32(group) else { return false }
    return sockets[index].options.memberships.contains { $0.group == group }
  }
}
