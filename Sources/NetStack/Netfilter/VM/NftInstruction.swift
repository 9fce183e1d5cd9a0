// SPDX-License-Identifier: GPL-2.0-or-later

// What the machine runs: the expressions of all rules of a namespace, one after the other, each of 24 bytes. What does
// not fit (constants, sets, state that packets change) stands elsewhere and is named by number.
//
//    chain ─▶ │ rule → next │ payload │ compare │ counter │ verdict │ rule → next │ … │ end │

/// One step of a program.
struct NftInstruction: BitwiseCopyable {
  enum Operation: UInt8, BitwiseCopyable {
    /// A rule begins; `a` is where the next one does, `b` its number in the list of rules' names.
    case rule
    /// The chain has no more rules.
    case end
    /// Rules that differ in one value follow; `a` is behind them.
    case prelude
    /// To the first of them whose value is the operand's under the mask `b`; `a` the table's constant, `c` its size in
    /// bits. To where `prelude` says when there is none.
    case dispatch
    /// The same for a value of `length` bytes, whose last word `b` is the mask of.
    case dispatchLong
    /// The same for intervals: `c` says how many there are.
    case dispatchInterval
    /// To the instruction `a`.
    case skip
    /// Compares up to four bytes: `a` the value, `b` the mask of bytes that count. `flags` 1: unequal.
    case compareWord
    /// Compares more, or by order; `a` the constant, `flags` an NftComparisonOperator.
    case compare
    /// `a` and `b` the constants; `flags` 1: outside.
    case range
    /// `a` and `b` the constants: AND, then XOR.
    case mask
    /// By `a` bits, word by word from the last, as nft_bitwise_eval_lshift carries.
    case shiftLeft, shiftRight
    /// Numbers of `flags` bytes, turned around.
    case byteorder
    /// `a` the constant.
    case load
    /// `a` the code, `b` the chain.
    case verdict
    /// `flags` the base.
    case payload
    /// `flags` the base, `a` the checksum's offset, `b` its type, `c` its flags.
    case payloadWrite
    /// `flags` the key.
    case meta, metaSet
    /// `flags` the key, `a` the direction: 0, 1, or 2 for none.
    case ct, ctSet
    /// `a` the set; `flags` bit 0 inverted, bit 1 gives data, bit 2 gives a verdict.
    case lookup
    /// `a` the state.
    case counter
    /// `a` the state, `b` the parameters; `flags` bit 0 inverted, bit 1 counts bytes.
    case limit, quota
    /// `a` the state, `b` the most connections; `flags` 1: inverted.
    case connlimit
    /// Gives the connection its times: `a` their number among the program's; `flags` IPPROTO_*.
    case ctTimeout
    /// Gives the connection a helper: `b` which; `flags` IPPROTO_*, `c` the family, 0 for both.
    case ctHelper
    /// Expects a connection: `a` the number of what is expected among the program's.
    case ctExpectation
    /// `a` the segment size, and the window scale from bit 16 on; `b` NF_SYNPROXY_OPT_*.
    case synproxy
    /// The object that a map gives for the register, by its number in the program's list: `a` the map.
    case objectMap
    /// `a` the modulus, `b` the offset, `c` the state; `flags` 1: random.
    case numgen
    /// `a` the modulus, `b` the offset, `c` the seed; `flags` 1: of the flow, not of a register.
    case hash
    /// `flags` what is asked for, `a` NftFib.Flags, `b` 1: whether there is any.
    case fib
    /// `flags` the key.
    case rt
    /// `flags` the operation, `a` the type, `b` 1: whether it is there.
    case exthdr
    /// The same; `b` 1: there is a register, else the option is removed.
    case exthdrWrite
    /// `a` the number of the text.
    case log
    /// `flags` the kind, `a` the code.
    case reject
    /// `a` registers (address low, high, port low, high, a byte each, 0xff for none), `b` NftNATFlags,
    /// `flags` bit 0 destination, bit 1 IPv6.
    case nat
    case masquerade, redirect
    /// `flags` the key.
    case socket
    /// `flags` bit 0: an address from `source`, bit 1: a device from `destination`.
    case duplicate
    /// A device from `destination`; `flags` bit 0: a neighbour's address from `source`, bit 2: IPv6.
    case forward
    case notrack
    /// An address from `source` and a port from `destination`, 0xff for none; `flags` 4, 6, or 0 for both.
    case tproxy
    /// `a` the flowtable's number.
    case flowOffload
    /// `a` the set, `c` the timeout in milliseconds; `flags` bits 0 and 1 the operation, bit 2 inverted, bit 3 gives
    /// data from register `offset`.
    case dynset
  }

  var operation: Operation
  /// The first word of the operand.
  var source: UInt8 = 0
  /// The first word of the result.
  var destination: UInt8 = 0
  var flags: UInt8 = 0
  /// Bytes of the value.
  var length: UInt16 = 0
  /// Bytes from a header's start.
  var offset: UInt16 = 0
  var a: UInt32 = 0
  var b: UInt32 = 0
  var c: UInt32 = 0

  init(_ operation: Operation) { self.operation = operation }
}
