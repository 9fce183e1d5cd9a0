// SPDX-License-Identifier: GPL-2.0-or-later

// What a device takes off the stack's hands (NETIF_F_*; net/ethtool/features.c, with ethtool's names), which of it each
// kind of device begins with, and which of it may be changed. Packets of many segments go as they are through all that
// only passes them on; what has a wire, or makes packets of its own of them, has them cut.

/// What a device takes off the stack's hands, with `ethtool -k`'s names.
public struct DeviceFeatures: OptionSet, Hashable, Sendable {
  /// One bit a feature.
  public let rawValue: UInt32

  /// From bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// TCP's and UDP's checksums of received packets are verified.
  public static let receiveChecksumming = DeviceFeatures(rawValue: 1)
  /// Checksums that the stack has left to the device are made.
  public static let transmitChecksumming = DeviceFeatures(rawValue: 2)
  /// Received packets come with their flow's hash.
  public static let receiveHashing = DeviceFeatures(rawValue: 4)
  /// Packets of many segments of TCP are taken.
  public static let tcpSegmentation = DeviceFeatures(rawValue: 8)
  /// Whatever is not taken is cut as late as can be; TCP makes such packets in any case, as it does in Linux.
  public static let genericSegmentation = DeviceFeatures(rawValue: 16)
  /// Received segments that belong together are joined.
  public static let genericReceive = DeviceFeatures(rawValue: 32)

  /// Whether packets of many segments may be given to it: without checksums there is no cutting
  /// (netdev_fix_features).
  var takesLarge: Bool { isSuperset(of: [.tcpSegmentation, .transmitChecksumming]) }

  /// What `ethtool` knows by name.
  static let names: [(name: String, feature: DeviceFeatures)] = [
    ("rx-checksumming", .receiveChecksumming), ("tx-checksumming", .transmitChecksumming),
    ("receive-hashing", .receiveHashing), ("tcp-segmentation-offload", .tcpSegmentation),
    ("generic-segmentation-offload", .genericSegmentation), ("generic-receive-offload", .genericReceive),
  ]
}

extension Device.Kind {
  /// What a device of this kind begins with.
  var features: DeviceFeatures {
    switch self {
    case .nic: [.receiveChecksumming, .transmitChecksumming, .genericSegmentation, .genericReceive]
    case .vxlan: [.transmitChecksumming, .genericSegmentation]
    case .veth, .crossing, .loopback:
      [.receiveChecksumming, .transmitChecksumming, .tcpSegmentation, .genericSegmentation]
    case .bridge, .dummy, .vlan, .macvlan: [.transmitChecksumming, .tcpSegmentation, .genericSegmentation]
    }
  }

  /// What of it may be changed.
  var changeableFeatures: DeviceFeatures {
    switch self {
    case .nic:
      [
        .receiveChecksumming, .transmitChecksumming, .receiveHashing, .genericSegmentation, .genericReceive,
      ]
    case .veth, .crossing: [.transmitChecksumming, .tcpSegmentation, .genericSegmentation, .genericReceive]
    case .loopback, .bridge, .dummy, .vlan, .macvlan: [.tcpSegmentation, .genericSegmentation]
    case .vxlan: [.genericSegmentation]
    }
  }
}
