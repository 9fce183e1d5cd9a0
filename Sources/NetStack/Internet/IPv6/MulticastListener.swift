// SPDX-License-Identifier: GPL-2.0-or-later

// What a device listens to (struct ifmcaddr6, and the multicast part of struct inet6_dev; net/ipv6/mcast.c). Nobody
// here asks for single sources, so that every membership is for all of them: EXCLUDE with nothing excluded.

/// A group that a device listens to.
struct GroupMembership6 {
  let group: UInt128
  /// How many want it.
  var users = 1
  /// Reports of its coming that are still to be sent.
  var reports = 0
  /// An answer to a query that waits: nanoseconds, or nil.
  var answerDue: Int64?
  /// MLDv1: whether this host was the last to report it, and so tells of its leaving.
  var isLastReporter = false

  /// Nobody is told of the group of all nodes, nor of what stays on this host (MAF_NOREPORT).
  var isReported: Bool { group != IPv6.allNodes && IPv6.groupScope(group) >= 2 }
}

/// A group that a device has left, and of which that is still to be told.
struct DepartedGroup6 {
  let group: UInt128
  var reports: Int
}

/// The listener of a device.
struct MulticastListener {
  /// The youngest first.
  var groups: [GroupMembership6] = []
  var departed: [DepartedGroup6] = []
  /// Reports of changes that are still to be sent, and when.
  var changeReports = 0
  var changeTimer = TimerID.none
  /// Reports of everything after an address has become the device's.
  var stateReports = 0
  var stateTimer = TimerID.none
  /// An answer to a query for all groups.
  var generalTimer = TimerID.none
  /// The next answer to a query for one group, or a report as MLDv1 has it.
  var groupTimer = TimerID.none
  /// Until when a querier of MLDv1 is believed to be there.
  var version1Until = Int64.min
  /// What queriers say of how often messages are lost, and how often they ask (RFC 3810 9.1, 9.2).
  var robustness = 2
  var queryInterval: Int64 = 125_000_000_000
}
