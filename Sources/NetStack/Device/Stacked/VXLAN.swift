// SPDX-License-Identifier: GPL-2.0-or-later

// A VXLAN device (RFC 7348; drivers/net/vxlan): Ethernet frames in UDP to other hosts, and a database of which address
// is behind which host. The entry of the address zero says where frames go whose address is not known, and all groups'.

/// What a VXLAN device has beside what all devices have.
struct VXLAN: ~Copyable {
  /// Bytes that stand before a frame on an underlay of IPv4: IP, UDP, VXLAN, and the frame's own Ethernet header.
  static let headroom = 50
  static let headerLength = 8
  /// Where the database is looked through (FDB_AGE_INTERVAL).
  static let ageInterval: Int64 = 10_000_000_000
  /// Entries at most, when configuration sets no limit.
  static let largestDatabase = 1 << 16

  let device: DeviceIndex
  /// Whose routes and addresses carry it.
  let underlay: NamespaceIndex
  let identifier: UInt32
  let port: UInt16
  /// The device that it is to leave by; none: as routes say.
  let lower: DeviceIndex
  /// The default destination; 0: none.
  var remote: UInt32 = 0
  var local: UInt32 = 0
  /// Of source ports; both 0: the namespace's local ports.
  var lowestPort: UInt16 = 0
  var highestPort: UInt16 = 0
  /// 0: as the route says.
  var ttl: UInt8 = 0
  var typeOfService: UInt8 = 0
  var learns = true
  /// Seconds.
  var ageing: UInt32 = 300
  /// 0: none.
  var limit: UInt32 = 0
  var dontFragment: UInt8 = 0
  var checksum = true
  /// By address.
  var entries: [VXLANEntry] = []
  var ageTimer = TimerID.none

  init(device: DeviceIndex, underlay: NamespaceIndex, identifier: UInt32, port: UInt16, lower: DeviceIndex) {
    self.device = device
    self.underlay = underlay
    self.identifier = identifier
    self.port = port
    self.lower = lower
  }

  private func place(_ address: UInt64) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].address < address { low = middle + 1 } else { high = middle }
    }
    return low
  }

  func find(_ address: UInt64) -> Int? {
    let place = place(address)
    return place < entries.count && entries[place].address == address ? place : nil
  }

  /// False when the database is full.
  mutating func insert(_ entry: VXLANEntry) -> Bool {
    let most = limit == 0 ? Self.largestDatabase : min(Int(limit), Self.largestDatabase)
    guard entries.count < most else { return false }
    entries.insert(entry, at: place(entry.address))
    return true
  }
}

/// Behind which hosts an address is.
struct VXLANEntry {
  /// 0: all that is not known.
  let address: UInt64
  /// NUD_*: reachable, noarp, permanent.
  var state: UInt16
  /// In order of being added; one, but for the address zero and groups.
  var remotes: [VXLANRemote]
  /// When a frame from the address last came.
  var updated: Int64

  var ages: Bool { state & 0xc0 == 0 }
  /// Whether it may have several remotes.
  var isGroup: Bool { address == 0 || EthernetHeader.isMulticast(address) }
}

/// A host at the other end.
struct VXLANRemote: Hashable {
  var address: UInt32
  /// Differing from the device's own only by configuration.
  var port: UInt16
  var identifier: UInt32
  /// The device that packets to it leave by; none: as routes say.
  var device: DeviceIndex
}
