// SPDX-License-Identifier: GPL-2.0-or-later

// Turns the expressions of one rule into instructions. An expression that reads a register which none before it in the
// same rule has stored to is refused, as newer kernels do (nft_parse_register_load, ENODATA).

import NetTypes
import Nftables

/// Loads one rule.
struct NftRuleLoader {
  let table: NftTable
  let handle: UInt64
  /// A bit for each word that has been stored to.
  private var stored: UInt16 = 0

  init(table: NftTable, handle: UInt64) {
    self.table = table
    self.handle = handle
  }

  // MARK: Registers

  func load(_ register: NftRegister, _ length: Int) throws(KernelError) -> UInt8 {
    guard let word = register.word, length > 0 else { throw .invalidArgument }
    let count = (length + 3) / 4
    guard word + count <= 16 else { throw KernelError(34) }
    let mask = UInt16(truncatingIfNeeded: ((1 << count) - 1) << word)
    guard stored & mask == mask else { throw KernelError(61) }
    return UInt8(word)
  }

  mutating func store(_ register: NftRegister, _ length: Int) throws(KernelError) -> UInt8 {
    guard let word = register.word, length > 0 else { throw .invalidArgument }
    let count = (length + 3) / 4
    guard word + count <= 16 else { throw KernelError(34) }
    stored |= UInt16(truncatingIfNeeded: ((1 << count) - 1) << word)
    return UInt8(word)
  }

  // MARK: Expressions

  /// Appends an expression's instructions.
  mutating func add(
    _ expression: NftExpression, _ position: Int, to assembler: inout NftAssembler,
    _ states: inout NftStates, _ old: borrowing NftProgram
  ) throws(KernelError) {
    let key = NftProgram.StateKey.rule(table.key, handle: handle, position)
    switch expression {
    case .payload(let payload): try add(payload, to: &assembler)
    case .payloadWrite(let write): try add(write, to: &assembler)
    case .meta(let meta): try add(meta, to: &assembler)
    case .metaSet(let set): try add(set, to: &assembler)
    case .ct(let ct): try add(ct, to: &assembler)
    case .ctSet(let set): try add(set, to: &assembler)
    case .cmp(let cmp): try add(cmp, to: &assembler)
    case .range(let range): try add(range, to: &assembler)
    case .bitwise(let bitwise): try add(bitwise, to: &assembler)
    case .byteorder(let byteorder): try add(byteorder, to: &assembler)
    case .immediate(let immediate): try add(immediate, to: &assembler)
    case .lookup(let lookup): try add(lookup, to: &assembler, &states, old)
    case .counter, .limit, .quota, .connlimit:
      var instruction = try Self.stateful(expression, &assembler)
      instruction.a = assembler.state(key, assembler.initialState(expression), &states, old)
      assembler.append(instruction)
    case .numgen(let numgen): try add(numgen, key, to: &assembler, &states, old)
    case .hash(let hash): try add(hash, to: &assembler)
    case .fib(let fib): try add(fib, to: &assembler)
    case .rt(let rt): try add(rt, to: &assembler)
    case .exthdr(let header): try add(header, to: &assembler)
    case .exthdrWrite(let write): try add(write, to: &assembler)
    case .log(let log): try add(log, to: &assembler)
    case .reject(let reject): try add(reject, to: &assembler)
    case .nat(let nat): try add(nat, to: &assembler)
    case .masquerade(let masquerade):
      assembler.append(
        try translation(.masquerade, masquerade.portMin, masquerade.portMax, masquerade.flags, &assembler))
    case .redirect(let redirect):
      assembler.append(
        try translation(.redirect, redirect.portMin, redirect.portMax, redirect.flags, &assembler))
    case .notrack:
      assembler.assembly.track()
      assembler.append(NftInstruction(.notrack))
    case .flowOffload(let name): try add(flowtable: name, to: &assembler)
    case .dynset(let dynset): try add(dynset, to: &assembler)
    case .objectReference(let reference): try add(reference, to: &assembler, &states, old)
    case .socket(let socket): try add(socket, to: &assembler)
    case .synproxy(let proxy): assembler.append(try Self.synproxy(proxy, &assembler))
    case .tproxy(let tproxy): try add(tproxy, to: &assembler)
    case .dup(let dup): try add(dup, to: &assembler)
    case .fwd(let fwd): try add(fwd, to: &assembler)
    case .unknown(let name): throw .notSupported("the emulated kernel has no expression '\(name)'")
    }
  }

  func short(_ value: UInt32) throws(KernelError) -> UInt16 {
    guard let short = UInt16(exactly: value) else { throw KernelError(34) }
    return short
  }

  func valueLength(_ value: UInt32) throws(KernelError) -> UInt16 {
    guard value > 0, value <= NftData.maximumLength else { throw .invalidArgument }
    return UInt16(value)
  }

  // MARK: State

  /// A limit or quota without its state.
  static func stateful(
    _ expression: NftExpression, _ assembler: inout NftAssembler
  ) throws(KernelError) -> NftInstruction {
    switch expression {
    case .counter: return NftInstruction(.counter)
    case .limit(let limit):
      guard limit.rate > 0, limit.unitSeconds > 0 else { throw .invalidArgument }
      let parameters = NftLimitParameters(limit)
      var instruction = NftInstruction(.limit)
      instruction.b = assembler.constant(
        NftData(
          NftData(host: parameters.countsBytes ? 0 : parameters.cost, width: 8).bytes
            + NftData(host: parameters.maximum, width: 8).bytes
            + NftData(host: parameters.unit, width: 8).bytes
            + NftData(host: parameters.rate, width: 8).bytes))
      instruction.flags = (limit.isInverted ? 1 : 0) | (limit.countsBytes ? 2 : 0)
      return instruction
    case .quota(let quota):
      var instruction = NftInstruction(.quota)
      instruction.b = assembler.constant(NftData(host: quota.bytes, width: 8))
      instruction.flags = quota.isInverted ? 1 : 0
      return instruction
    case .connlimit(let limit):
      assembler.assembly.track()
      var instruction = NftInstruction(.connlimit)
      instruction.b = limit.count
      instruction.flags = limit.isInverted ? 1 : 0
      return instruction
    default: throw .notSupported("an element can hold counter, quota, limit and ct count")
    }
  }
}
