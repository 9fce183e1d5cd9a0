// SPDX-License-Identifier: GPL-2.0-or-later

// What connection tracking knows about a packet's flow.

/// A property of the flow (NFT_CT_*).
public enum NftCtKey: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case state = 0
  case direction = 1
  case status = 2
  case mark = 3
  case secmark = 4
  case expiration = 5
  case helper = 6
  case l3proto = 7
  case source = 8
  case destination = 9
  case `protocol` = 10
  case sourcePort = 11
  case destinationPort = 12
  case labels = 13
  case packets = 14
  case bytes = 15
  case averagePacket = 16
  case zone = 17
  case eventMask = 18
  case sourceIP = 19
  case destinationIP = 20
  case sourceIP6 = 21
  case destinationIP6 = 22
  case id = 23
}

extension NftCtKey {
  /// As libnftnl prints it.
  public var name: String {
    switch self {
    case .state: "state"
    case .direction: "direction"
    case .status: "status"
    case .mark: "mark"
    case .secmark: "secmark"
    case .expiration: "expiration"
    case .helper: "helper"
    case .l3proto: "l3proto"
    case .source: "src"
    case .destination: "dst"
    case .protocol: "protocol"
    case .sourcePort: "proto_src"
    case .destinationPort: "proto_dst"
    case .labels: "label"
    case .packets: "packets"
    case .bytes: "bytes"
    case .averagePacket: "avgpkt"
    case .zone: "zone"
    case .eventMask: "event"
    case .sourceIP: "src_ip"
    case .destinationIP: "dst_ip"
    case .sourceIP6: "src_ip6"
    case .destinationIP6: "dst_ip6"
    case .id: "id"
    }
  }
}

/// A flow's direction (IP_CT_DIR_*).
public enum NftCtDirection: UInt8, Hashable, CaseIterable, Codable, Sendable {
  case original = 0
  case reply = 1
}

/// Loads a property of the flow.
public struct NftCt: Hashable, Codable, Sendable {
  public var key: NftCtKey
  /// For addresses, ports and counts.
  public var direction: NftCtDirection?
  public var destination: NftRegister

  public init(key: NftCtKey, direction: NftCtDirection? = nil, destination: NftRegister) {
    self.key = key
    self.direction = direction
    self.destination = destination
  }
}

/// Sets the flow's mark, label, zone or event mask.
public struct NftCtSet: Hashable, Codable, Sendable {
  public var key: NftCtKey
  public var direction: NftCtDirection?
  public var source: NftRegister

  public init(key: NftCtKey, direction: NftCtDirection? = nil, source: NftRegister) {
    self.key = key
    self.direction = direction
    self.source = source
  }
}
