// SPDX-License-Identifier: GPL-2.0-or-later

// Names and numbers of the devices of a namespace. Plans speak of names, the kernel of numbers.

import LabCore
public import NetTypes
public import Rtnetlink

/// The devices of one namespace, as far as messages need to know them.
public struct LinkTable: Sendable {
  private var indices: [InterfaceName: Int32] = [:]
  private var taken: Set<Int32> = []
  private var highest: Int32 = 1

  /// A new namespace: only `lo`, which always has the number 1.
  public init() { insert(.loopback, 1) }

  public init(_ links: [LinkMessage]) {
    for link in links {
      taken.insert(link.index)
      highest = max(highest, link.index)
      if let name = link.name.flatMap({ InterfaceName($0) }) { insert(name, link.index) }
    }
  }

  public subscript(_ name: InterfaceName) -> Int32? { indices[name] }

  public mutating func insert(_ name: InterfaceName, _ index: Int32) {
    indices[name] = index
    taken.insert(index)
    highest = max(highest, index)
  }

  /// Forgets a device; its number stays taken, since the kernel may not be done with it.
  public mutating func remove(_ name: InterfaceName) { indices[name] = nil }

  /// Forgets a device that has gone elsewhere, and its number with it.
  mutating func release(_ name: InterfaceName) {
    if let index = indices.removeValue(forKey: name) { taken.remove(index) }
  }

  func isTaken(_ index: Int32) -> Bool { taken.contains(index) }

  /// The wished number when it is free in all of `tables`, else one that is, from `floor` up.
  static func freeIndex(_ wish: UInt32?, from floor: Int32 = 2, in tables: [LinkTable]) -> Int32 {
    if let wish = wish.flatMap({ Int32(exactly: $0) }), wish > 1,
      !tables.contains(where: { $0.isTaken(wish) })
    {
      return wish
    }
    let next = max((tables.map(\.highest).max() ?? 1) &+ 1, floor)
    // A device at the end of the numbers: begin anew.
    if next > 1 { return next }
    return (2...Int32.max).first { index in !tables.contains { $0.isTaken(index) } } ?? 2
  }
}
