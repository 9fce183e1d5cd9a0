// SPDX-License-Identifier: GPL-2.0-or-later

// What routers have told of single destinations: a smaller MTU on the way (RFC 1191, 8201) or a better gateway
// (RFC 792, 4861). An exception belongs to the route that it was learned on and goes with it
// (net/ipv4/route.c, fib_nh_exception; net/ipv6/route.c, rt6_exception).

/// What is known of the way to one destination.
struct RouteException<Address: InternetAddress>: BitwiseCopyable {
  var destination: Address
  /// The device by which the route led when it was learned.
  var device: DeviceIndex
  /// The route that it belongs to.
  var table: UInt32
  var prefix: Address
  var prefixLength: UInt8
  /// The gateway of a redirect; 0 for none.
  var gateway: Address = 0
  /// The path's MTU; 0 for none.
  var mtu: UInt32 = 0
  /// The path is smaller than any that is believed in: packets may be cut (min_pmtu).
  var isMTULocked = false
  /// Nanoseconds: when it ends, and when it was learned.
  var expires: Int64 = .max
  var updated: Int64 = 0
}

/// The exceptions of a namespace and a family.
struct RouteExceptions<Address: InternetAddress>: ~Copyable {
  /// Exceptions at most; the one that was learned first makes room.
  static var limit: Int { 2048 }

  /// By destination, then device.
  private var entries: [RouteException<Address>] = []
  /// Exceptions that made room for others.
  private(set) var evicted: UInt64 = 0

  init() {}

  @inline(__always) var isEmpty: Bool { entries.isEmpty }
  var all: [RouteException<Address>] { entries }

  private func position(_ destination: Address, _ device: DeviceIndex) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      let other = entries[middle]
      if (other.destination, other.device.rawValue) < (destination, device.rawValue) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }

  /// What is known of the way to a destination by a device, unless it is over.
  func find(_ destination: Address, by device: DeviceIndex, now: Int64) -> RouteException<Address>? {
    let index = position(destination, device)
    guard index < entries.count, entries[index].destination == destination, entries[index].device == device,
      entries[index].expires > now
    else { return nil }
    return entries[index]
  }

  /// Learns, or learns anew.
  mutating func set(_ exception: RouteException<Address>) {
    let index = position(exception.destination, exception.device)
    if index < entries.count, entries[index].destination == exception.destination,
      entries[index].device == exception.device
    {
      entries[index] = exception
      return
    }
    entries.insert(exception, at: index)
    guard entries.count > Self.limit else { return }
    let oldest = entries.indices.min { entries[$0].updated < entries[$1].updated }
    if let oldest {
      entries.remove(at: oldest)
      evicted &+= 1
    }
  }

  /// Forgets what was learned on a route.
  mutating func forget(_ route: Route<Address>) {
    guard !entries.isEmpty else { return }
    entries.removeAll {
      $0.table == route.table && $0.prefix == route.destination && $0.prefixLength == route.length
        && route.uses($0.device)
    }
  }

  /// Forgets all (ip route flush cache).
  mutating func removeAll() { entries = [] }
}
