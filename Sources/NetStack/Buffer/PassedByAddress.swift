// SPDX-License-Identifier: GPL-2.0-or-later

// What keeps large structs in their place. A struct whose size and parts the compiler knows is a value that it may load:
// for every call that only reads one, of a method that is not inlined or as an argument, it loads all of it onto the
// stack first, which for a `Kernel` is five kilobytes. One with a part of unknown size is passed by its address, always.

/// A part that takes no part: whoever has it is passed by address.
struct PassedByAddress: Sendable {
  private let unknown: (any Sendable)? = nil
}
