// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions that make a value: numbers, hashes, routes, sockets, extension headers.

/// The next number of a counter, or a random one.
public struct NftNumgen: Hashable, Codable, Sendable {
  public var isRandom: Bool
  public var modulus: UInt32
  public var offset: UInt32
  public var destination: NftRegister

  public init(isRandom: Bool, modulus: UInt32, offset: UInt32 = 0, destination: NftRegister) {
    self.isRandom = isRandom
    self.modulus = modulus
    self.offset = offset
    self.destination = destination
  }
}

/// A hash of a register (jhash) or of the flow (symhash), scaled into 0 ..< modulus.
public struct NftHash: Hashable, Codable, Sendable {
  /// Nil for symhash.
  public var source: NftRegister?
  public var length: UInt32
  public var modulus: UInt32
  /// Nil lets the kernel choose.
  public var seed: UInt32?
  public var offset: UInt32
  public var destination: NftRegister

  public init(
    source: NftRegister? = nil, length: UInt32 = 0, modulus: UInt32, seed: UInt32? = nil,
    offset: UInt32 = 0, destination: NftRegister
  ) {
    self.source = source
    self.length = length
    self.modulus = modulus
    self.seed = seed
    self.offset = offset
    self.destination = destination
  }
}

/// What the routing table says of one of the packet's addresses.
public struct NftFib: Hashable, Codable, Sendable {
  public var flags: Flags
  public var result: Result
  /// Loads 1 or 0 for whether there is a route.
  public var isPresence: Bool
  public var destination: NftRegister

  public init(flags: Flags, result: Result, isPresence: Bool = false, destination: NftRegister) {
    self.flags = flags
    self.result = result
    self.isPresence = isPresence
    self.destination = destination
  }

  /// NFTA_FIB_F_*.
  public struct Flags: OptionSet, Hashable, Codable, Sendable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let sourceAddress = Flags(rawValue: 1)
    public static let destinationAddress = Flags(rawValue: 2)
    public static let mark = Flags(rawValue: 4)
    public static let inputInterface = Flags(rawValue: 8)
    public static let outputInterface = Flags(rawValue: 16)
  }

  /// NFT_FIB_RESULT_*.
  public enum Result: UInt32, Hashable, Codable, Sendable {
    case outputIndex = 1
    case outputName = 2
    case addressType = 3
  }
}

/// NFT_RT_*.
public enum NftRtKey: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case classID = 0
  case nexthop4 = 1
  case nexthop6 = 2
  case tcpMSS = 3
  case xfrm = 4
}

/// A property of the packet's route.
public struct NftRt: Hashable, Codable, Sendable {
  public var key: NftRtKey
  public var destination: NftRegister

  public init(key: NftRtKey, destination: NftRegister) {
    self.key = key
    self.destination = destination
  }
}

/// NFT_SOCKET_*.
public enum NftSocketKey: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case transparent = 0
  case mark = 1
  case wildcard = 2
  case cgroup = 3
}

/// A property of the socket that the packet belongs to.
public struct NftSocket: Hashable, Codable, Sendable {
  public var key: NftSocketKey
  /// Of the control group.
  public var level: UInt32?
  public var destination: NftRegister

  public init(key: NftSocketKey, level: UInt32? = nil, destination: NftRegister) {
    self.key = key
    self.level = level
    self.destination = destination
  }
}

/// NFT_EXTHDR_OP_*.
public enum NftExthdrOperation: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case ipv6 = 0
  case tcpOption = 1
  case ipv4Option = 2
  case sctpChunk = 3
}

/// Loads from an extension header or option; the rule does not match when there is none.
public struct NftExthdr: Hashable, Codable, Sendable {
  public var operation: NftExthdrOperation
  public var type: UInt8
  public var offset: UInt32
  public var length: UInt32
  /// Loads 1 or 0 for whether it is there.
  public var isPresence: Bool
  public var destination: NftRegister

  public init(
    operation: NftExthdrOperation, type: UInt8, offset: UInt32, length: UInt32, isPresence: Bool = false,
    destination: NftRegister
  ) {
    self.operation = operation
    self.type = type
    self.offset = offset
    self.length = length
    self.isPresence = isPresence
    self.destination = destination
  }
}

/// Stores a register into a TCP option, or removes the option.
public struct NftExthdrWrite: Hashable, Codable, Sendable {
  public var operation: NftExthdrOperation
  public var type: UInt8
  public var offset: UInt32
  public var length: UInt32
  /// Nil removes the option.
  public var source: NftRegister?

  public init(
    operation: NftExthdrOperation, type: UInt8, offset: UInt32 = 0, length: UInt32 = 0, source: NftRegister?
  ) {
    self.operation = operation
    self.type = type
    self.offset = offset
    self.length = length
    self.source = source
  }
}
