// SPDX-License-Identifier: GPL-2.0-or-later

// What keeps large structs in their place. A struct whose size and parts the compiler may copy is a value that it may load:
// for every call that only reads one, of a method that is not inlined or as an argument, and for each element that is read
// of a fixed array within, it loads all of it onto the stack first, which for a `Kernel` is five kilobytes. One with a part
// that must not be moved while somebody looks at it, as an atomic, is passed by its address, always.

import Synchronization

/// A part that takes no part: whoever has it is passed by address.
struct PassedByAddress: ~Copyable, Sendable {
  private let unused = Atomic<Bool>(false)
}
