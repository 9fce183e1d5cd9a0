// SPDX-License-Identifier: GPL-2.0-or-later

// How the kernel keeps elements. In an interval set of one field, an interval is two entries, its begin and
// the first key after it; nft puts an end at zero before the first, so that what lies below is outside. With
// concatenations an entry has both ends, and every entry of such a set has them.

/// One entry as netlink carries it.
public struct NftKernelElement: Hashable, Sendable {
  public var key: NftData
  /// The last key, itself in (concatenations with intervals).
  public var end: NftData?
  /// The first key after an interval.
  public var isEnd: Bool
  public var value: NftElementValue?
  public var timeout: UInt64?
  public var expiration: UInt64?
  public var comment: String?
  public var expressions: [NftExpression]

  public init(
    key: NftData, end: NftData? = nil, isEnd: Bool = false, value: NftElementValue? = nil,
    timeout: UInt64? = nil,
    expiration: UInt64? = nil, comment: String? = nil, expressions: [NftExpression] = []
  ) {
    self.key = key
    self.end = end
    self.isEnd = isEnd
    self.value = value
    self.timeout = timeout
    self.expiration = expiration
    self.comment = comment
    self.expressions = expressions
  }

  init(_ element: NftSetElement, end: NftData? = nil) {
    self.init(
      key: element.key, end: end, value: element.value, timeout: element.timeout,
      expiration: element.expiration,
      comment: element.comment, expressions: element.expressions)
  }

  var element: NftSetElement {
    NftSetElement(
      key: key, keyEnd: end, value: value, timeout: timeout, expiration: expiration, comment: comment,
      expressions: expressions)
  }
}

extension NftSet {
  /// The set's elements as the kernel takes them.
  public var kernelElements: [NftKernelElement] { kernelElements(of: elements, leading: true) }

  /// Some elements of the set as the kernel takes them; `leading` puts the end before the first.
  public func kernelElements(of elements: [NftSetElement], leading: Bool) -> [NftKernelElement] {
    guard isInterval else { return elements.map { NftKernelElement($0) } }
    guard keepsBoundaries else {
      return elements.map {
        $0.isCatchAll ? NftKernelElement($0) : NftKernelElement($0, end: $0.keyEnd ?? $0.key)
      }
    }
    var result: [NftKernelElement] = []
    if leading, let first = elements.first(where: { !$0.isCatchAll }),
      first.key.bytes.contains(where: { $0 != 0 })
    {
      result.append(
        NftKernelElement(key: NftData([UInt8](repeating: 0, count: first.key.count)), isEnd: true))
    }
    for element in elements {
      result.append(NftKernelElement(element))
      guard !element.isCatchAll, let after = (element.keyEnd ?? element.key).successor else { continue }
      result.append(NftKernelElement(key: after, isEnd: true))
    }
    return result
  }

  /// Elements from what the kernel holds, in any order.
  public func elements(fromKernel entries: [NftKernelElement]) -> [NftSetElement] {
    guard keepsBoundaries else {
      return entries.map { entry in
        var element = entry.element
        if element.keyEnd == element.key { element.keyEnd = nil }
        return element
      }.sortedByKey
    }
    // At one key the end of what was before comes first.
    let sorted = entries.sorted { a, b in a.key == b.key ? a.isEnd && !b.isEnd : a.key < b.key }
    var result: [NftSetElement] = []
    var open: NftKernelElement?
    func close(_ begin: NftKernelElement, at last: NftData) {
      var element = begin.element
      element.keyEnd = last == begin.key ? nil : last
      result.append(element)
    }
    for entry in sorted {
      if entry.key.isEmpty {
        result.append(entry.element)
        continue
      }
      if let begin = open, let last = entry.key.predecessor { close(begin, at: last) }
      open = entry.isEnd ? nil : entry
    }
    if let begin = open { close(begin, at: NftData([UInt8](repeating: 0xff, count: begin.key.count))) }
    return result.sortedByKey
  }
}
