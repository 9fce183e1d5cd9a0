// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel knows about a packet besides its bytes.

/// A property of a packet (NFT_META_*).
public enum NftMetaKey: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case length = 0
  case `protocol` = 1
  case priority = 2
  case mark = 3
  case inputIndex = 4
  case outputIndex = 5
  case inputName = 6
  case outputName = 7
  case inputType = 8
  case outputType = 9
  case socketUser = 10
  case socketGroup = 11
  case nftrace = 12
  case routeClass = 13
  case securityMark = 14
  case nfproto = 15
  case l4proto = 16
  case bridgeInputName = 17
  case bridgeOutputName = 18
  case packetType = 19
  case cpu = 20
  case inputGroup = 21
  case outputGroup = 22
  case cgroup = 23
  case random = 24
  case secpath = 25
  case inputKind = 26
  case outputKind = 27
  case bridgeInputPVID = 28
  case bridgeInputProtocol = 29
  case timeNanoseconds = 30
  case timeDay = 31
  case timeHour = 32
  case slaveIndex = 33
  case slaveName = 34
}

extension NftMetaKey {
  /// As nft's rules name it.
  public var name: String {
    switch self {
    case .length: "length"
    case .protocol: "protocol"
    case .priority: "priority"
    case .mark: "mark"
    case .inputIndex: "iif"
    case .outputIndex: "oif"
    case .inputName: "iifname"
    case .outputName: "oifname"
    case .inputType: "iiftype"
    case .outputType: "oiftype"
    case .socketUser: "skuid"
    case .socketGroup: "skgid"
    case .nftrace: "nftrace"
    case .routeClass: "rtclassid"
    case .securityMark: "secmark"
    case .nfproto: "nfproto"
    case .l4proto: "l4proto"
    case .bridgeInputName: "ibrname"
    case .bridgeOutputName: "obrname"
    case .packetType: "pkttype"
    case .cpu: "cpu"
    case .inputGroup: "iifgroup"
    case .outputGroup: "oifgroup"
    case .cgroup: "cgroup"
    case .random: "random"
    case .secpath: "ipsec"
    case .inputKind: "iifkind"
    case .outputKind: "oifkind"
    case .bridgeInputPVID: "ibrpvid"
    case .bridgeInputProtocol: "ibrvproto"
    case .timeNanoseconds: "time"
    case .timeDay: "day"
    case .timeHour: "hour"
    case .slaveIndex: "sdif"
    case .slaveName: "sdifname"
    }
  }
}

/// Loads a property of the packet.
public struct NftMeta: Hashable, Codable, Sendable {
  public var key: NftMetaKey
  public var destination: NftRegister

  public init(key: NftMetaKey, destination: NftRegister) {
    self.key = key
    self.destination = destination
  }
}

/// Sets a property of the packet: mark, priority, packet type, trace.
public struct NftMetaSet: Hashable, Codable, Sendable {
  public var key: NftMetaKey
  public var source: NftRegister

  public init(key: NftMetaKey, source: NftRegister) {
    self.key = key
    self.source = source
  }
}
