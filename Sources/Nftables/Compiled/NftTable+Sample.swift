// SPDX-License-Identifier: GPL-2.0-or-later

// What a kernel has to know for a table, without the bulk of it.

extension NftTable {
  /// The table with one element of each shape in its sets: a kernel that takes it knows all that the table asks for,
  /// though it may still refuse what the others say.
  public var sample: NftTable {
    var table = self
    for index in table.sets.indices {
      var shapes: Set<ElementShape> = []
      table.sets[index].elements = sets[index].elements.filter { shapes.insert(ElementShape($0)).inserted }
    }
    return table
  }
}

/// Which attributes an element has, whatever is in them.
private struct ElementShape: Hashable {
  var isCatchAll: Bool
  var isInterval: Bool
  var ages: Bool
  var hasComment: Bool
  var value: Int
  /// By the names that they begin with, as `nft --debug=netlink` writes them.
  var expressions: [Substring]

  init(_ element: NftSetElement) {
    isCatchAll = element.isCatchAll
    isInterval = element.keyEnd != nil
    ages = element.timeout != nil
    hasComment = element.comment != nil
    value =
      switch element.value {
      case nil: 0
      case .data: 1
      case .verdict: 2
      case .object: 3
      }
    expressions = element.expressions.map { $0.description.prefix { $0 != " " } }
  }
}
