// SPDX-License-Identifier: GPL-2.0-or-later

public import Capture

/// A device to listen in on.
public struct CapturePoint: Hashable, Codable, Sendable {
  public var link: LinkReference
  /// What the file calls it.
  public var name: String
  /// Whether its packets begin with an IP header, as a tun device's do.
  public var linkType: LinkType

  public init(_ link: LinkReference, name: String, linkType: LinkType = .ethernet) {
    self.link = link
    self.name = name
    self.linkType = linkType
  }
}

/// What to write down of what passes some devices.
public struct CaptureRequest: Hashable, Codable, Sendable {
  /// Their places are the numbers of the file's interfaces.
  public var points: [CapturePoint]
  /// Nil takes all.
  public var filter: CaptureFilter?
  /// Bytes of a packet that are kept at most.
  public var snapLength: UInt32

  /// What tcpdump takes too: all of any packet.
  public static let wholePackets: UInt32 = 262_144

  public init(points: [CapturePoint], filter: CaptureFilter? = nil, snapLength: UInt32 = Self.wholePackets) {
    self.points = points
    self.filter = filter
    self.snapLength = snapLength
  }

  /// What a file of it begins with.
  public var heading: [UInt8] {
    var bytes: [UInt8] = []
    PcapngBlock.section(application: "netforge").append(to: &bytes)
    for point in points {
      let interface = CapturedInterface(name: point.name, linkType: point.linkType, snapLength: snapLength)
      PcapngBlock.interface(interface).append(to: &bytes)
    }
    return bytes
  }
}
