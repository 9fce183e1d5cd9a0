// SPDX-License-Identifier: GPL-2.0-or-later

// Connections by their two names (the kernel's ehash): open addressing, keyed with a random number, so that nobody
// outside can choose flows that share a place.

import NetTypes

/// The two names of a connection. IPv4 addresses are mapped into IPv6's.
struct FlowKey: Equatable, BitwiseCopyable {
  private var localHigh: UInt64
  private var localLow: UInt64
  private var remoteHigh: UInt64
  private var remoteLow: UInt64
  private var ports: UInt32

  init(local: SocketAddress, remote: SocketAddress) {
    (localHigh, localLow) = Self.words(local.address)
    (remoteHigh, remoteLow) = Self.words(remote.address)
    ports = UInt32(local.port) << 16 | UInt32(remote.port)
  }

  private static func words(_ address: IPAddress) -> (UInt64, UInt64) {
    switch address {
    case .v4(let address): (0, 0xffff_0000_0000 | UInt64(address.rawValue))
    case .v6(let address): (address.high, address.low)
    }
  }

  /// A keyed hash.
  @inline(__always) func hash(_ secret: UInt64) -> UInt64 {
    var hash = secret
    func mix(_ word: UInt64) {
      hash = (hash ^ word) &* 0x9e37_79b9_7f4a_7c15
      hash ^= hash &>> 29
    }
    mix(localHigh)
    mix(localLow)
    mix(remoteHigh)
    mix(remoteLow)
    mix(UInt64(ports))
    mix(secret)
    return hash
  }

  /// The same without ports, for what is kept a pair of hosts.
  func hostHash(_ secret: UInt64) -> UInt64 {
    var hosts = self
    hosts.ports = 0
    return hosts.hash(secret)
  }
}

/// What a connection's names lead to.
enum FlowOwner: BitwiseCopyable, Equatable {
  case socket(SocketIndex)
  /// One that is still being asked for.
  case request(TCPRequestIndex)
}

/// Connections of one namespace.
@safe struct FlowTable: ~Copyable {
  private struct Place: BitwiseCopyable {
    var key: FlowKey
    var owner: FlowOwner?
  }

  private var places: UnsafeMutablePointer<Place>?
  private var mask = 0
  private(set) var count = 0
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed }

  deinit { unsafe places?.deallocate() }

  @inline(__always) private func home(_ key: FlowKey) -> Int {
    Int(truncatingIfNeeded: key.hash(seed) &>> 20) & mask
  }

  @inline(__always) func find(_ key: FlowKey) -> FlowOwner? {
    guard let base = unsafe places else { return nil }
    var index = home(key)
    while true {
      guard let owner = unsafe base[index].owner else { return nil }
      if unsafe base[index].key == key { return owner }
      index = (index &+ 1) & mask
    }
  }

  /// The key is not there yet.
  mutating func insert(_ key: FlowKey, _ owner: FlowOwner) {
    if unsafe places == nil || (count + 1) * 2 > mask + 1 { resize(to: max((mask + 1) * 2, 8)) }
    put(Place(key: key, owner: owner))
    count += 1
  }

  mutating func remove(_ key: FlowKey) {
    guard let base = unsafe places, find(key) != nil else { return }
    var hole = home(key)
    while unsafe base[hole].key != key { hole = (hole &+ 1) & mask }
    var index = (hole &+ 1) & mask
    while unsafe base[index].owner != nil {
      let wanted = home(unsafe base[index].key)
      if (index &- wanted) & mask >= (index &- hole) & mask {
        unsafe base[hole] = base[index]
        hole = index
      }
      index = (index &+ 1) & mask
    }
    unsafe base[hole].owner = nil
    count -= 1
  }

  private func put(_ place: Place) {
    guard let base = unsafe places else { return }
    var index = home(place.key)
    while unsafe base[index].owner != nil { index = (index &+ 1) & mask }
    unsafe base[index] = place
  }

  private mutating func resize(to size: Int) {
    let old = unsafe places
    let oldCount = unsafe old == nil ? 0 : mask + 1
    let fresh = UnsafeMutablePointer<Place>.allocate(capacity: size)
    let name = SocketAddress(.v4(.any))
    unsafe fresh.initialize(
      repeating: Place(key: FlowKey(local: name, remote: name), owner: nil), count: size)
    unsafe places = fresh
    mask = size - 1
    guard let old = unsafe old else { return }
    for index in 0..<oldCount where unsafe old[index].owner != nil { put(unsafe old[index]) }
    unsafe old.deallocate()
  }
}
