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

  private func load(_ register: NftRegister, _ length: Int) throws(KernelError) -> UInt8 {
    guard let word = register.word, length > 0 else { throw .invalidArgument }
    let count = (length + 3) / 4
    guard word + count <= 16 else { throw KernelError(34) }
    let mask = UInt16(truncatingIfNeeded: ((1 << count) - 1) << word)
    guard stored & mask == mask else { throw KernelError(61) }
    return UInt8(word)
  }

  private mutating func store(_ register: NftRegister, _ length: Int) throws(KernelError) -> UInt8 {
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
    case .payload(let payload):
      var instruction = NftInstruction(.payload)
      guard payload.base != .inner else { throw .notSupported("the emulated kernel reads no inner headers") }
      instruction.flags = UInt8(payload.base.rawValue)
      instruction.offset = try short(payload.offset)
      instruction.length = try valueLength(payload.length)
      instruction.destination = try store(payload.destination, Int(payload.length))
      assembler.append(instruction)
    case .payloadWrite(let write):
      var instruction = NftInstruction(.payloadWrite)
      guard write.base != .inner, write.checksumType <= 1 else {
        throw .notSupported("the emulated kernel writes no inner headers and no SCTP checksums")
      }
      instruction.flags = UInt8(write.base.rawValue)
      instruction.offset = try short(write.offset)
      instruction.length = try valueLength(write.length)
      instruction.source = try load(write.source, Int(write.length))
      instruction.a = write.checksumOffset
      instruction.b = write.checksumType
      instruction.c = write.checksumFlags
      assembler.append(instruction)
    case .meta(let meta):
      guard let width = NftMetaKey.widths[meta.key] else {
        throw .notSupported("the emulated kernel does not know meta \(meta.key.name)")
      }
      var instruction = NftInstruction(.meta)
      instruction.flags = UInt8(meta.key.rawValue)
      instruction.destination = try store(meta.destination, width)
      assembler.append(instruction)
    case .metaSet(let set):
      let width: Int
      switch set.key {
      case .mark, .priority: width = 4
      case .packetType, .nftrace: width = 1
      default: throw .notSupported("the emulated kernel does not set meta \(set.key.name)")
      }
      var instruction = NftInstruction(.metaSet)
      instruction.flags = UInt8(set.key.rawValue)
      instruction.source = try load(set.source, width)
      assembler.append(instruction)
    case .ct(let ct):
      assembler.assembly.track()
      var instruction = NftInstruction(.ct)
      instruction.flags = UInt8(ct.key.rawValue)
      instruction.a = ct.direction.map { UInt32($0.rawValue) } ?? 2
      // Who asks what has been counted has it counted from now on (nft_ct_get_init).
      if [.packets, .bytes, .averagePacket].contains(ct.key) { assembler.assembly.needsAccounting = true }
      let width = try Self.width(of: ct, table.family)
      instruction.length = UInt16(width)
      instruction.destination = try store(ct.destination, width)
      assembler.append(instruction)
    case .ctSet(let set):
      guard set.key == .mark || set.key == .zone || set.key == .labels else {
        throw .notSupported("the emulated kernel does not set ct \(set.key.name)")
      }
      assembler.assembly.track()
      var instruction = NftInstruction(.ctSet)
      instruction.flags = UInt8(set.key.rawValue)
      instruction.source = try load(set.source, set.key == .mark ? 4 : set.key == .zone ? 2 : 16)
      assembler.append(instruction)
    case .cmp(let cmp): try add(cmp, to: &assembler)
    case .range(let range):
      var instruction = NftInstruction(.range)
      instruction.flags = range.isNegated ? 1 : 0
      instruction.length = try valueLength(UInt32(range.from.count))
      guard range.from.count == range.to.count, range.from <= range.to else { throw .invalidArgument }
      instruction.source = try load(range.source, range.from.count)
      instruction.a = assembler.constant(range.from)
      instruction.b = assembler.constant(range.to)
      assembler.append(instruction)
    case .bitwise(let bitwise): try add(bitwise, to: &assembler)
    case .byteorder(let byteorder):
      guard [2, 4, 8].contains(byteorder.size), byteorder.length % byteorder.size == 0 else {
        throw .invalidArgument
      }
      var instruction = NftInstruction(.byteorder)
      instruction.flags = UInt8(byteorder.size)
      instruction.length = try valueLength(byteorder.length)
      instruction.source = try load(byteorder.source, Int(byteorder.length))
      instruction.destination = try store(byteorder.destination, Int(byteorder.length))
      assembler.append(instruction)
    case .immediate(let immediate): try add(immediate, to: &assembler)
    case .lookup(let lookup):
      try add(lookup, key, to: &assembler, &states, old)
    case .counter, .limit, .quota, .connlimit:
      var instruction = try Self.stateful(expression, &assembler)
      instruction.a = assembler.state(key, assembler.initialState(expression), &states, old)
      assembler.append(instruction)
    case .numgen(let numgen):
      guard numgen.modulus > 0 else { throw KernelError(34) }
      var instruction = NftInstruction(.numgen)
      instruction.flags = numgen.isRandom ? 1 : 0
      instruction.a = numgen.modulus
      instruction.b = numgen.offset
      instruction.c = assembler.state(key, .init(), &states, old)
      instruction.destination = try store(numgen.destination, 4)
      assembler.append(instruction)
    case .hash(let hash):
      guard hash.modulus > 0 else { throw KernelError(34) }
      var instruction = NftInstruction(.hash)
      instruction.a = hash.modulus
      instruction.b = hash.offset
      instruction.c = hash.seed ?? assembler.hashSeed
      if let source = hash.source {
        instruction.length = try valueLength(hash.length)
        instruction.source = try load(source, Int(hash.length))
      } else {
        instruction.flags = 1
      }
      instruction.destination = try store(hash.destination, 4)
      assembler.append(instruction)
    case .fib(let fib):
      guard table.family == .ip || table.family == .ip6 || table.family == .inet else {
        throw KernelError(95)
      }
      var instruction = NftInstruction(.fib)
      instruction.flags = UInt8(fib.result.rawValue)
      instruction.a = fib.flags.rawValue
      instruction.b = fib.isPresence ? 1 : 0
      let width = fib.isPresence ? 1 : fib.result == .outputName ? 16 : 4
      instruction.destination = try store(fib.destination, width)
      assembler.append(instruction)
    case .rt(let rt):
      guard rt.key != .classID, rt.key != .xfrm else {
        throw .notSupported("the emulated kernel does not know rt \(rt.key)")
      }
      var instruction = NftInstruction(.rt)
      instruction.flags = UInt8(rt.key.rawValue)
      instruction.destination = try store(
        rt.destination, rt.key == .nexthop6 ? 16 : rt.key == .tcpMSS ? 2 : 4)
      assembler.append(instruction)
    case .exthdr(let header):
      guard header.operation != .sctpChunk else {
        throw .notSupported("the emulated kernel reads no SCTP chunks")
      }
      var instruction = NftInstruction(.exthdr)
      instruction.flags = UInt8(header.operation.rawValue)
      instruction.a = UInt32(header.type)
      instruction.b = header.isPresence ? 1 : 0
      instruction.offset = try short(header.offset)
      instruction.length = try valueLength(header.length)
      instruction.destination = try store(header.destination, header.isPresence ? 1 : Int(header.length))
      assembler.append(instruction)
    case .exthdrWrite(let write):
      guard write.operation == .tcpOption else { throw KernelError(95) }
      var instruction = NftInstruction(.exthdrWrite)
      instruction.a = UInt32(write.type)
      instruction.offset = try short(write.offset)
      if let source = write.source {
        guard write.length == 2 || write.length == 4 else { throw KernelError(95) }
        instruction.b = 1
        instruction.length = UInt16(write.length)
        instruction.source = try load(source, Int(write.length))
      }
      assembler.append(instruction)
    case .log(let log):
      var instruction = NftInstruction(.log)
      instruction.a = UInt32(assembler.assembly.logs.count)
      assembler.assembly.logs.append(log)
      assembler.append(instruction)
    case .reject(let reject):
      var instruction = NftInstruction(.reject)
      instruction.flags = UInt8(reject.kind.rawValue)
      instruction.a = UInt32(reject.code)
      assembler.append(instruction)
    case .nat(let nat):
      var instruction = NftInstruction(.nat)
      let width = nat.family == .ipv4 ? 4 : 16
      instruction.a = try Self.pack(
        nat.addressMin.map { (register) throws(KernelError) in try load(register, width) },
        (nat.addressMax ?? nat.addressMin).map { (register) throws(KernelError) in try load(register, width)
        },
        nat.portMin.map { (register) throws(KernelError) in try load(register, 2) },
        (nat.portMax ?? nat.portMin).map { (register) throws(KernelError) in try load(register, 2) })
      instruction.b = nat.flags.rawValue
      instruction.flags = (nat.kind == .destination ? 1 : 0) | (nat.family == .ipv6 ? 2 : 0)
      // Only what it translates (nft_nat_init).
      assembler.assembly.track(nat.family == .ipv6 ? .ipv6 : .ipv4)
      assembler.append(instruction)
    case .masquerade(let masquerade):
      assembler.append(
        try translation(.masquerade, masquerade.portMin, masquerade.portMax, masquerade.flags, &assembler))
    case .redirect(let redirect):
      assembler.append(
        try translation(.redirect, redirect.portMin, redirect.portMax, redirect.flags, &assembler))
    case .notrack:
      assembler.assembly.track()
      assembler.append(NftInstruction(.notrack))
    case .flowOffload(let name):
      guard let number = assembler.assembly.states[.flowtable(table.key, name: name)] else {
        throw .noSuchEntry
      }
      assembler.assembly.track()
      var instruction = NftInstruction(.flowOffload)
      instruction.a = number
      assembler.append(instruction)
    case .dynset(let dynset): try add(dynset, to: &assembler)
    case .objectReference(let reference): try add(reference, to: &assembler, &states, old)
    case .socket(let socket):
      guard socket.key != .cgroup else {
        throw .notSupported("the emulated kernel's sockets are in no control groups")
      }
      guard table.family == .ip || table.family == .ip6 || table.family == .inet else {
        throw KernelError(95)
      }
      var instruction = NftInstruction(.socket)
      instruction.flags = UInt8(socket.key.rawValue)
      instruction.destination = try store(socket.destination, socket.key == .mark ? 4 : 1)
      assembler.append(instruction)
    case .tproxy(let tproxy):
      guard table.family == .inet ? true : tproxy.family == table.family,
        [.ip, .ip6, .inet].contains(table.family), tproxy.address != nil || tproxy.port != nil
      else { throw .invalidArgument }
      var instruction = NftInstruction(.tproxy)
      instruction.flags = tproxy.family == .ip ? 4 : tproxy.family == .ip6 ? 6 : 0
      instruction.source = 0xff
      instruction.destination = 0xff
      if let address = tproxy.address {
        guard tproxy.family != .inet else { throw .invalidArgument }
        instruction.source = try load(address, tproxy.family == .ip ? 4 : 16)
      }
      if let port = tproxy.port { instruction.destination = try load(port, 2) }
      assembler.append(instruction)
    case .dup(let dup):
      var instruction = NftInstruction(.duplicate)
      if let address = dup.address {
        guard table.family == .ip || table.family == .ip6 else { throw .invalidArgument }
        instruction.source = try load(address, table.family == .ip ? 4 : 16)
        instruction.flags |= 1
      }
      if let device = dup.device {
        instruction.destination = try load(device, 4)
        instruction.flags |= 2
      }
      guard table.family == .netdev ? instruction.flags == 2 : instruction.flags & 1 == 1 else {
        throw .invalidArgument
      }
      assembler.append(instruction)
    case .fwd(let fwd):
      var instruction = NftInstruction(.forward)
      instruction.destination = try load(fwd.device, 4)
      if let address = fwd.address {
        guard fwd.family == 2 || fwd.family == 10 else { throw KernelError(95) }
        instruction.source = try load(address, fwd.family == 2 ? 4 : 16)
        instruction.flags = fwd.family == 2 ? 1 : 5
      }
      assembler.append(instruction)
    case .unknown(let name): throw .notSupported("the emulated kernel has no expression '\(name)'")
    }
  }

  private func short(_ value: UInt32) throws(KernelError) -> UInt16 {
    guard let short = UInt16(exactly: value) else { throw KernelError(34) }
    return short
  }

  private func valueLength(_ value: UInt32) throws(KernelError) -> UInt16 {
    guard value > 0, value <= NftData.maximumLength else { throw .invalidArgument }
    return UInt16(value)
  }

  private func add(_ cmp: NftCmp, to assembler: inout NftAssembler) throws(KernelError) {
    let length = cmp.data.count
    let word = try load(cmp.source, length)
    var instruction: NftInstruction
    if length <= 4, cmp.operation == .equal || cmp.operation == .notEqual {
      instruction = NftInstruction(.compareWord)
      instruction.a = NftRegisters.words(cmp.data.bytes)[0]
      instruction.b = NftRegisters.tailMask(length)
      instruction.flags = cmp.operation == .equal ? 0 : 1
    } else {
      instruction = NftInstruction(.compare)
      instruction.a = assembler.constant(cmp.data)
      instruction.length = try valueLength(UInt32(length))
      instruction.flags = UInt8(cmp.operation.rawValue)
    }
    instruction.source = word
    assembler.append(instruction)
  }

  private mutating func add(_ bitwise: NftBitwise, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction: NftInstruction
    switch bitwise.operation {
    case .mask(let mask, let flip):
      guard mask.count == Int(bitwise.length), flip.count == mask.count else { throw .invalidArgument }
      instruction = NftInstruction(.mask)
      instruction.a = assembler.constant(mask)
      instruction.b = assembler.constant(flip)
    case .shiftLeft(let count), .shiftRight(let count):
      guard count > 0, count < 32 else { throw .invalidArgument }
      if case .shiftLeft = bitwise.operation {
        instruction = NftInstruction(.shiftLeft)
      } else {
        instruction = NftInstruction(.shiftRight)
      }
      instruction.a = count
    }
    instruction.length = try valueLength(bitwise.length)
    instruction.source = try load(bitwise.source, Int(bitwise.length))
    instruction.destination = try store(bitwise.destination, Int(bitwise.length))
    assembler.append(instruction)
  }

  private mutating func add(_ immediate: NftImmediate, to assembler: inout NftAssembler) throws(KernelError) {
    switch immediate.value {
    case .data(let data):
      var instruction = NftInstruction(.load)
      instruction.a = assembler.constant(data)
      instruction.length = try valueLength(UInt32(data.count))
      instruction.destination = try store(immediate.destination, data.count)
      assembler.append(instruction)
    case .verdict(let verdict):
      if case .other(let code) = verdict, code != NftVerdictCode.stolen.code {
        throw .notSupported("the emulated kernel queues no packets to programs")
      }
      var instruction = NftInstruction(.verdict)
      instruction.a = UInt32(bitPattern: verdict.code)
      assembler.append(
        instruction, jumpingTo: verdict.target.map { NftChainKey(table: table.key, chain: $0) })
    }
  }

  private mutating func add(
    _ lookup: NftLookup, _ key: NftProgram.StateKey, to assembler: inout NftAssembler,
    _ states: inout NftStates, _ old: borrowing NftProgram
  ) throws(KernelError) {
    var instruction = NftInstruction(.lookup)
    let set: NftSet
    switch lookup.set {
    case .named(let name):
      guard let found = table.set(name),
        let place = assembler.assembly.setPlaces[NftSetKey(table: table.key, name: name)]
      else { throw .noSuchEntry }
      set = found
      instruction.a = place
    case .anonymous(let anonymous):
      set = anonymous
      do throws(NftAssemblyError) {
        instruction.a = try assembler.add(anonymous, of: table, &states, old)
      } catch {
        throw error.error
      }
    }
    instruction.source = try load(lookup.source, set.keyLength)
    if lookup.isInverted { instruction.flags |= 1 }
    if let destination = lookup.destination {
      guard !lookup.isInverted, let data = set.data else { throw .invalidArgument }
      switch data {
      case .verdict:
        guard destination == .verdict else { throw .invalidArgument }
        instruction.flags |= 4
      case .value:
        instruction.flags |= 2
        instruction.destination = try store(destination, data.length)
      case .object: throw .invalidArgument
      }
    }
    assembler.append(instruction)
  }

  private mutating func add(_ dynset: NftDynset, to assembler: inout NftAssembler) throws(KernelError) {
    guard let set = table.set(dynset.setName),
      let place = assembler.assembly.setPlaces[NftSetKey(table: table.key, name: dynset.setName)]
    else { throw .noSuchEntry }
    guard !set.flags.contains(.constant), !set.isInterval else { throw KernelError(95) }
    var instruction = NftInstruction(.dynset)
    instruction.a = place
    instruction.c = UInt32(clamping: dynset.timeout != 0 ? dynset.timeout : set.timeout ?? 0)
    if instruction.c != 0, !set.flags.contains(.timeout) { throw .invalidArgument }
    instruction.source = try load(dynset.key, set.keyLength)
    instruction.flags = UInt8(dynset.operation.rawValue) | (dynset.isInverted ? 4 : 0)
    if let data = dynset.data {
      guard case .value? = set.data else { throw .invalidArgument }
      instruction.flags |= 8
      instruction.offset = UInt16(try load(data, set.data?.length ?? 0))
    }
    if !dynset.expressions.isEmpty { try assembler.setTemplate(dynset.expressions, of: place) }
    assembler.append(instruction)
  }

  private mutating func add(
    _ reference: NftObjectReference, to assembler: inout NftAssembler, _ states: inout NftStates,
    _ old: borrowing NftProgram
  ) throws(KernelError) {
    switch reference.target {
    case .named(let type, let name):
      guard
        let place = assembler.assembly.objectPlaces[.object(table.key, type: type, name: name)]
      else { throw .noSuchEntry }
      assembler.append(assembler.assembly.objects[Int(place)])
    case .map(let reference, let source):
      let set: NftSet
      let place: UInt32
      switch reference {
      case .named(let name):
        guard let found = table.set(name),
          let known = assembler.assembly.setPlaces[NftSetKey(table: table.key, name: name)]
        else { throw .noSuchEntry }
        (set, place) = (found, known)
      case .anonymous(let anonymous):
        set = anonymous
        do throws(NftAssemblyError) {
          place = try assembler.add(anonymous, of: table, &states, old)
        } catch {
          throw error.error
        }
      }
      guard case .object? = set.data else { throw .invalidArgument }
      var instruction = NftInstruction(.objectMap)
      instruction.a = place
      instruction.source = try load(source, set.keyLength)
      assembler.append(instruction)
    }
  }

  private mutating func translation(
    _ operation: NftInstruction.Operation, _ low: NftRegister?, _ high: NftRegister?, _ flags: NftNATFlags,
    _ assembler: inout NftAssembler
  ) throws(KernelError) -> NftInstruction {
    var instruction = NftInstruction(operation)
    instruction.a = try Self.pack(
      nil, nil, low.map { (register) throws(KernelError) in try load(register, 2) },
      (high ?? low).map { (register) throws(KernelError) in try load(register, 2) })
    instruction.b = flags.rawValue
    assembler.assembly.track()
    return instruction
  }

  private static func pack(_ first: UInt8?, _ second: UInt8?, _ third: UInt8?, _ fourth: UInt8?) -> UInt32 {
    [first, second, third, fourth].enumerated().reduce(0) {
      $0 | UInt32($1.element ?? 0xff) << UInt32($1.offset * 8)
    }
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

  // MARK: Widths

  private static func width(of ct: NftCt, _ family: NftFamily) throws(KernelError) -> Int {
    switch ct.key {
    case .state, .status, .mark, .expiration, .id: return 4
    case .direction, .l3proto, .protocol: return 1
    case .zone: return 2
    case .packets, .bytes, .averagePacket: return 8
    case .sourceIP, .destinationIP: return 4
    case .sourceIP6, .destinationIP6: return 16
    case .sourcePort, .destinationPort: return 2
    case .source, .destination: return family == .ip ? 4 : 16
    case .labels: return 16
    case .helper: return 16
    case .secmark, .eventMask:
      throw .notSupported("the emulated kernel does not know ct \(ct.key.name)")
    }
  }
}

extension NftMetaKey {
  /// Bytes of what the machine can load.
  static let widths: [NftMetaKey: Int] = [
    .length: 4, .protocol: 2, .priority: 4, .mark: 4, .inputIndex: 4, .outputIndex: 4, .inputName: 16,
    .outputName: 16, .inputType: 2, .outputType: 2, .nfproto: 1, .l4proto: 1, .bridgeInputName: 16,
    .bridgeOutputName: 16, .packetType: 1, .inputGroup: 4, .outputGroup: 4, .random: 4, .cpu: 4,
    .socketUser: 4, .socketGroup: 4, .inputKind: 16, .outputKind: 16, .timeNanoseconds: 8, .timeDay: 1,
    .timeHour: 4,
  ]
}
