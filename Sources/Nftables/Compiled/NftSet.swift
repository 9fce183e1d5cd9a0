// SPDX-License-Identifier: GPL-2.0-or-later

// Sets and maps in their compiled form. Intervals are held as first and last key, whichever way the kernel
// stores them (boundaries in the red-black tree, key and key end with concatenations).

/// A set, map or verdict map.
public struct NftSet: Hashable, Codable, Sendable {
  /// Empty for an anonymous set, which lives in the lookup that uses it.
  public var name: String
  /// The fields of a key: one, or several for a concatenation.
  public var keyTypes: [NftDataType]
  public var flags: NftSetFlags
  /// What a map gives; nil for a set.
  public var data: NftSetData?
  /// The most elements that it takes; nil when the kernel may grow it.
  public var size: UInt32?
  /// The default lifetime of elements, in milliseconds.
  public var timeout: UInt64?
  /// How often dead elements are collected, in milliseconds.
  public var gcInterval: UInt32?
  /// NFT_SET_POL_MEMORY instead of performance.
  public var prefersMemory: Bool
  /// nft's auto-merge: kept in userdata, for listings.
  public var autoMerge: Bool
  public var comment: String?
  /// The key types as nft's `typeof` declaration has them, kept as the userdata holds them.
  public var userdata: NftSetUserdata
  /// What every element keeps of its own: counter, limit, quota, ct count (NFTA_SET_EXPR).
  public var expressions: [NftExpression]
  /// Sorted by key.
  public var elements: [NftSetElement]

  public init(
    name: String = "", keyTypes: [NftDataType], flags: NftSetFlags = [], data: NftSetData? = nil,
    size: UInt32? = nil, timeout: UInt64? = nil, gcInterval: UInt32? = nil, prefersMemory: Bool = false,
    autoMerge: Bool = false, comment: String? = nil, userdata: NftSetUserdata = NftSetUserdata(),
    expressions: [NftExpression] = [], elements: [NftSetElement] = []
  ) {
    self.name = name
    self.keyTypes = keyTypes
    self.flags = flags
    self.data = data
    self.size = size
    self.timeout = timeout
    self.gcInterval = gcInterval
    self.prefersMemory = prefersMemory
    self.autoMerge = autoMerge
    self.comment = comment
    self.userdata = userdata
    self.expressions = expressions
    self.elements = elements.sortedByKey
  }

  /// Bytes in a key: the fields, each rounded up to four when there are several.
  public var keyLength: Int {
    keyTypes.count == 1 ? keyTypes[0].size : keyTypes.reduce(0) { $0 + $1.paddedSize }
  }

  public var isAnonymous: Bool { flags.contains(.anonymous) }
  public var isInterval: Bool { flags.contains(.interval) }
  public var isMap: Bool { data != nil }
  /// An interval set of one field: the kernel keeps boundaries, not pairs.
  public var keepsBoundaries: Bool { isInterval && keyTypes.count == 1 }

  /// Without what counts packets or ages; an anonymous set also without its size, which the kernel works out.
  public var normalized: NftSet {
    var set = self
    if flags.contains(.dynamic) { set.elements.removeAll(where: \.isDynamic) }
    // Plain elements are shared with the set as it is, not copied.
    if set.elements.contains(where: { $0.isDynamic || !$0.expressions.isEmpty }) {
      set.elements = set.elements.map(\.normalized)
    }
    set.expressions = expressions.map(\.normalized)
    if keyTypes.count > 1, !flags.contains(.concatenation) {
      // The kernel keeps the widths of fields only where it compares them one by one.
      set.keyTypes = keyTypes.map { $0.rawValue == 4 ? .integer($0.paddedSize) : $0 }
    }
    if isAnonymous {
      set.size = nil
      set.name = ""
      set.userdata = NftSetUserdata()
      set.autoMerge = false
    }
    return set
  }

  public static func == (a: NftSet, b: NftSet) -> Bool {
    a.name == b.name && a.keyTypes == b.keyTypes && a.flags == b.flags && a.data == b.data && a.size == b.size
      && a.timeout == b.timeout && a.gcInterval == b.gcInterval && a.prefersMemory == b.prefersMemory
      && a.autoMerge == b.autoMerge && a.comment == b.comment && a.expressions == b.expressions
      && a.elements == b.elements
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(name)
    hasher.combine(keyTypes)
    hasher.combine(flags)
    hasher.combine(data)
    hasher.combine(elements)
  }
}

/// NFT_SET_*.
public struct NftSetFlags: OptionSet, Hashable, Codable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let anonymous = NftSetFlags(rawValue: 0x1)
  public static let constant = NftSetFlags(rawValue: 0x2)
  public static let interval = NftSetFlags(rawValue: 0x4)
  public static let map = NftSetFlags(rawValue: 0x8)
  public static let timeout = NftSetFlags(rawValue: 0x10)
  /// Filled by rules (NFT_SET_EVAL).
  public static let dynamic = NftSetFlags(rawValue: 0x20)
  public static let objectMap = NftSetFlags(rawValue: 0x40)
  public static let concatenation = NftSetFlags(rawValue: 0x80)
  public static let expression = NftSetFlags(rawValue: 0x100)
}

/// What a map gives for a key.
public enum NftSetData: Hashable, Codable, Sendable {
  case verdict
  case value([NftDataType])
  /// NFT_OBJECT_*: the element names an object of that type.
  case object(UInt32)

  /// Bytes of a value, each field rounded up to four when there are several; 0 for verdicts and objects.
  public var length: Int {
    guard case .value(let types) = self else { return 0 }
    return types.count == 1 ? types[0].size : types.reduce(0) { $0 + $1.paddedSize }
  }
}

/// Facts that only listings need and that the kernel keeps as they were given; outside a set's equality.
public struct NftSetUserdata: Hashable, Codable, Sendable {
  /// Records that this library does not know, type and value.
  public var other: [Record]

  public init(other: [Record] = []) { self.other = other }

  public struct Record: Hashable, Codable, Sendable {
    public var type: UInt8
    public var value: NftData

    public init(type: UInt8, value: NftData) {
      self.type = type
      self.value = value
    }
  }
}
