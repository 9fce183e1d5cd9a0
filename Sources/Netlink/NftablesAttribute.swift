// SPDX-License-Identifier: GPL-2.0-or-later

// The only place that gives values to libnftnl's objects. The library ends the process when a value has not
// the length that an attribute wants, and copies register values without asking whether they fit; so every
// attribute stands here with its length, and nothing goes past that is not right.

import CNftnl

/// An attribute of one kind of libnftnl object, and how long its value must be.
struct NftablesAttribute: Hashable, Sendable {
  /// A kind of object; each numbers its attributes by itself.
  enum Kind: Hashable, Sendable {
    case table, chain, set, element, rule, object, flowtable
    /// An expression, by the kernel's name.
    case expression(String)
  }

  enum Length: Hashable, Sendable {
    case exactly(Int)
    case upTo(Int)
    /// Text and its terminating zero.
    case text(Int)
  }

  let kind: Kind
  let number: UInt16
  let length: Length

  init(_ kind: Kind, _ number: some BinaryInteger, _ length: Length) {
    self.kind = kind
    self.number = UInt16(truncatingIfNeeded: number)
    self.length = length
  }

  init(_ kind: Kind, _ attribute: some RawRepresentable<UInt32>, _ length: Length) {
    self.init(kind, attribute.rawValue, length)
  }

  func admits(_ bytes: [UInt8]) -> Bool {
    switch length {
    case .exactly(let count): bytes.count == count
    case .upTo(let count): (1...count).contains(bytes.count)
    case .text(let count):
      (2...count + 1).contains(bytes.count) && bytes.last == 0 && !bytes.dropLast().contains(0)
    }
  }
}

/// Why a value cannot be given.
struct NftablesValueError: Error, Hashable {
  var text: String
}

/// An object of libnftnl. Owns it unless it was given to another one.
struct NftablesObject: ~Copyable {
  let kind: NftablesAttribute.Kind
  let pointer: OpaquePointer
  private var isOwned = true

  init(_ kind: NftablesAttribute.Kind) throws(NftablesValueError) {
    let pointer: OpaquePointer? =
      switch kind {
      case .table: nftnl_table_alloc()
      case .chain: nftnl_chain_alloc()
      case .set: nftnl_set_alloc()
      case .element: nftnl_set_elem_alloc()
      case .rule: nftnl_rule_alloc()
      case .object: nftnl_obj_alloc()
      case .flowtable: nftnl_flowtable_alloc()
      case .expression(let name): nftnl_expr_alloc(name)
      }
    guard let pointer else {
      throw NftablesValueError(text: "libnftnl has no \(kind)")
    }
    self.kind = kind
    self.pointer = pointer
  }

  /// Gives the object to another, which frees it with itself.
  consuming func release() -> OpaquePointer {
    isOwned = false
    return pointer
  }

  deinit {
    guard isOwned else { return }
    switch kind {
    case .table: nftnl_table_free(pointer)
    case .chain: nftnl_chain_free(pointer)
    case .set: nftnl_set_free(pointer)
    case .element: nftnl_set_elem_free(pointer)
    case .rule: nftnl_rule_free(pointer)
    case .object: nftnl_obj_free(pointer)
    case .flowtable: nftnl_flowtable_free(pointer)
    case .expression: nftnl_expr_free(pointer)
    }
  }

  /// Gives an attribute its value.
  func set(_ attribute: NftablesAttribute, _ bytes: [UInt8]) throws(NftablesValueError) {
    guard attribute.kind == kind, attribute.admits(bytes) else {
      throw NftablesValueError(
        text:
          "\(bytes.count) bytes for attribute \(attribute.number) of a \(kind), which takes \(attribute.length)"
      )
    }
    let result = bytes.withUnsafeBytes { buffer -> Int32 in
      let count = UInt32(truncatingIfNeeded: buffer.count)
      switch kind {
      case .table: return nftnl_table_set_data(pointer, attribute.number, buffer.baseAddress, count)
      case .chain: return nftnl_chain_set_data(pointer, attribute.number, buffer.baseAddress, count)
      case .set: return nftnl_set_set_data(pointer, attribute.number, buffer.baseAddress, count)
      case .element: return nftnl_set_elem_set(pointer, attribute.number, buffer.baseAddress, count)
      case .flowtable: return nftnl_flowtable_set_data(pointer, attribute.number, buffer.baseAddress, count)
      case .rule: return nftnl_rule_set_data(pointer, attribute.number, buffer.baseAddress, count)
      case .expression: return nftnl_expr_set(pointer, attribute.number, buffer.baseAddress, count)
      case .object:
        nftnl_obj_set_data(pointer, attribute.number, buffer.baseAddress, count)
        return 0
      }
    }
    guard result >= 0 else {
      throw NftablesValueError(text: "libnftnl refuses attribute \(attribute.number) of a \(kind)")
    }
  }

  func set(_ attribute: NftablesAttribute, _ value: UInt8) throws(NftablesValueError) {
    try set(attribute, [value])
  }
  func set(_ attribute: NftablesAttribute, _ value: UInt16) throws(NftablesValueError) {
    try set(attribute, withUnsafeBytes(of: value) { [UInt8]($0) })
  }
  func set(_ attribute: NftablesAttribute, _ value: UInt32) throws(NftablesValueError) {
    try set(attribute, withUnsafeBytes(of: value) { [UInt8]($0) })
  }
  func set(_ attribute: NftablesAttribute, _ value: UInt64) throws(NftablesValueError) {
    try set(attribute, withUnsafeBytes(of: value) { [UInt8]($0) })
  }
  func set(_ attribute: NftablesAttribute, text: String) throws(NftablesValueError) {
    try set(attribute, Array(text.utf8) + [0])
  }
}
