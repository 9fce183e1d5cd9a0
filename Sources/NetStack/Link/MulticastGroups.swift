// SPDX-License-Identifier: GPL-2.0-or-later

// What a bridge knows of groups and who wants them (net/bridge/br_multicast.c, br_mdb.c): members behind ports, with
// the time until which they count, and who asks for members. Times are nanoseconds; a time that has passed counts as
// one that never was, and a timer takes away later what has ended.

/// A group in a VLAN.
struct GroupKey: Hashable, Comparable, BitwiseCopyable {
  enum Family: UInt8, BitwiseCopyable { case link, ipv4, ipv6 }

  /// 0 while the bridge filters no VLANs.
  var vlan: UInt16
  var family: Family
  /// Of the family's width.
  var address: UInt128

  static func < (left: GroupKey, right: GroupKey) -> Bool {
    (left.vlan, left.family.rawValue, left.address) < (right.vlan, right.family.rawValue, right.address)
  }
}

/// Who wants a group: behind a port, or the host when it is the bridge's own device.
struct GroupMember: BitwiseCopyable {
  var key: GroupKey
  var port: DeviceIndex
  /// Made by configuration, and it does not end.
  var isPermanent: Bool
  var expires: Int64

  static func < (left: GroupMember, right: GroupMember) -> Bool {
    (left.key, left.port.rawValue) < (right.key, right.port.rawValue)
  }
}

/// A bridge's groups.
struct MulticastGroups {
  // The kernel's defaults (br_multicast_ctx_init).
  static let lastMemberTime: Int64 = 2 * 1_000_000_000
  static let lastMemberCount: Int64 = 2
  static let membershipInterval: Int64 = 260_000_000_000
  static let querierInterval: Int64 = 255_000_000_000
  /// Groups at most (mcast_hash_max); one more turns snooping off.
  static let limit = 4096

  var isOn = true
  /// In order of group, then of port.
  private(set) var members: [GroupMember] = []
  private(set) var count = 0
  var ipv4 = Querier()
  var ipv6 = Querier()
  var timer = TimerID.none
  /// When it comes.
  var due: Int64 = 0

  /// Somebody behind a port who asks for members of a family's groups.
  struct Querier: BitwiseCopyable {
    /// The smallest address wins; 0 while none has been heard.
    var address: UInt128 = 0
    var until: Int64 = 0
    /// Members have so long to answer the first question; until then all is flooded.
    var settles: Int64 = 0
    /// Until when the host itself is a router, for having asked.
    var hostIsRouter: Int64 = 0

    func exists(_ now: Int64) -> Bool { settles <= now && until > now }
  }

  /// The first member of a group, or where it would stand.
  func first(_ key: GroupKey) -> Int {
    var (low, high) = (0, members.count)
    while low < high {
      let middle = (low + high) / 2
      if members[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  func contains(_ key: GroupKey) -> Bool {
    let place = first(key)
    return place < members.count && members[place].key == key
  }

  func place(_ key: GroupKey, _ port: DeviceIndex) -> Int? {
    var place = first(key)
    while place < members.count, members[place].key == key {
      if members[place].port == port { return place }
      place += 1
    }
    return nil
  }

  /// False when it is one group too many.
  mutating func insert(_ member: GroupMember) -> Bool {
    if let place = place(member.key, member.port) {
      members[place].expires = member.expires
      if member.isPermanent { members[place].isPermanent = true }
      return true
    }
    if !contains(member.key) {
      guard count < Self.limit else { return false }
      count += 1
    }
    var place = first(member.key)
    while place < members.count, members[place] < member { place += 1 }
    members.insert(member, at: place)
    return true
  }

  /// Has a member end not later than at a time.
  mutating func shorten(at place: Int, to time: Int64) {
    if !members[place].isPermanent { members[place].expires = min(members[place].expires, time) }
  }

  mutating func removeAll(where isGone: (GroupMember) -> Bool) {
    members.removeAll(where: isGone)
    count = zip(members, members.dropFirst()).reduce(members.isEmpty ? 0 : 1) {
      $0 + ($1.0.key == $1.1.key ? 0 : 1)
    }
  }

  subscript(family: GroupKey.Family) -> Querier {
    get { family == .ipv6 ? ipv6 : ipv4 }
    set { if family == .ipv6 { ipv6 = newValue } else { ipv4 = newValue } }
  }
}

/// A port's part in multicast.
struct MulticastPort {
  /// MDB_RTR_TYPE_*: what configuration says of routers behind the port.
  enum Router: UInt8 {
    case none, learned, permanent
    /// As learned, for as long as somebody says so again.
    case temporary
  }

  var router = Router.learned
  /// Until when a router is behind the port, for each family.
  var ipv4Router: Int64 = 0
  var ipv6Router: Int64 = 0

  func isRouter(_ family: GroupKey.Family, _ now: Int64) -> Bool {
    switch router {
    case .none: false
    case .permanent: true
    case .learned, .temporary: (family == .ipv6 ? ipv6Router : ipv4Router) > now
    }
  }
}
