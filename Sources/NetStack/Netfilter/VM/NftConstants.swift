// SPDX-License-Identifier: GPL-2.0-or-later

// The constants of a program, as words in one block.

/// Words that a program's instructions name by their first one's number.
@safe struct NftConstants: ~Copyable {
  private let words: UnsafeMutablePointer<UInt32>
  let count: Int

  init(_ values: [UInt32]) {
    count = values.count
    unsafe words = .allocate(capacity: max(values.count, 1))
    for (index, value) in values.enumerated() { unsafe words[index] = value }
  }

  deinit { unsafe words.deallocate() }

  /// Which there is: programs are made here, never read from outside.
  @inline(__always) subscript(index: Int) -> UInt32 {
    assert(index < count)
    return unsafe words[index]
  }
}
