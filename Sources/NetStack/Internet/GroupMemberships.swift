// SPDX-License-Identifier: GPL-2.0-or-later

// The IPv4 groups that a device has joined, and what its routers are still to be told of them (RFC 2236, 3376;
// net/ipv4/igmp.c, struct ip_mc_list and the in_device's mr_ fields). Groups are joined for all sources; those of
// some sources only (IGMPv3's filters) are not here. All hosts, 224.0.0.1, is every device's and never told.

/// A device's groups.
struct GroupMemberships {
  /// A group and who is in it.
  struct Group {
    let address: UInt32
    /// How many have joined.
    var users = 1
    /// When it is to be reported; nil when nobody asks.
    var deadline: Int64?
    /// Reports still to be sent that nobody has asked for (IGMPv2).
    var unsolicited = 0
    /// It was this host that reported it last, so that it is this host that tells of leaving.
    var isReporter = false
  }

  /// A change that routers are to hear of more than once, since any message may be lost (IGMPv3).
  struct Change {
    let address: UInt32
    var isJoin: Bool
    var count: Int
  }

  /// In the order of joining.
  var groups: [Group] = []
  var changes: [Change] = []
  /// When changes are told, and when a question about all groups is answered.
  var changeDeadline: Int64?
  var answerDeadline: Int64?
  /// Until when a router of an older version is believed to be there.
  var firstVersionUntil: Int64 = 0
  var secondVersionUntil: Int64 = 0
  /// What the router says of the link: how often to tell, and how often it asks, in nanoseconds.
  var robustness = 2
  var queryInterval: Int64 = 125_000_000_000
  var timer = TimerID.none

  func contains(_ group: UInt32) -> Bool { groups.contains { $0.address == group } }

  /// The next thing that is due.
  var deadline: Int64? {
    var earliest = [changeDeadline, answerDeadline].compactMap { $0 }.min()
    for group in groups {
      if let deadline = group.deadline { earliest = min(earliest ?? .max, deadline) }
    }
    return earliest
  }
}
