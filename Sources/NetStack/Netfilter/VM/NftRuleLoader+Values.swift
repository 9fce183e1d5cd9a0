// SPDX-License-Identifier: GPL-2.0-or-later

// Instructions of the expressions that put something into a register or compare one: what a packet, its connection, its
// route and its socket say, numbers, lookups.

import NetTypes
import Nftables

extension NftRuleLoader {
  mutating func add(_ payload: NftPayload, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction = NftInstruction(.payload)
    guard payload.base != .inner else { throw .notSupported("the emulated kernel reads no inner headers") }
    instruction.flags = UInt8(payload.base.rawValue)
    instruction.offset = try short(payload.offset)
    instruction.length = try valueLength(payload.length)
    instruction.destination = try store(payload.destination, Int(payload.length))
    assembler.append(instruction)
  }

  mutating func add(_ meta: NftMeta, to assembler: inout NftAssembler) throws(KernelError) {
    guard let width = NftMetaKey.widths[meta.key] else {
      throw .notSupported("the emulated kernel does not know meta \(meta.key.name)")
    }
    var instruction = NftInstruction(.meta)
    instruction.flags = UInt8(meta.key.rawValue)
    instruction.length = UInt16(width)
    instruction.destination = try store(meta.destination, width)
    assembler.append(instruction)
  }

  mutating func add(_ ct: NftCt, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(_ range: NftRange, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction = NftInstruction(.range)
    instruction.flags = range.isNegated ? 1 : 0
    instruction.length = try valueLength(UInt32(range.from.count))
    guard range.from.count == range.to.count, range.from <= range.to else { throw .invalidArgument }
    instruction.source = try load(range.source, range.from.count)
    instruction.a = assembler.constant(range.from)
    instruction.b = assembler.constant(range.to)
    assembler.append(instruction)
  }

  mutating func add(_ byteorder: NftByteorder, to assembler: inout NftAssembler) throws(KernelError) {
    guard [2, 4, 8].contains(byteorder.size), byteorder.length % byteorder.size == 0 else {
      throw .invalidArgument
    }
    var instruction = NftInstruction(.byteorder)
    instruction.flags = UInt8(byteorder.size)
    instruction.length = try valueLength(byteorder.length)
    instruction.source = try load(byteorder.source, Int(byteorder.length))
    instruction.destination = try store(byteorder.destination, Int(byteorder.length))
    assembler.append(instruction)
  }

  mutating func add(
    _ numgen: NftNumgen, _ key: NftProgram.StateKey, to assembler: inout NftAssembler,
    _ states: inout NftStates, _ old: borrowing NftProgram
  ) throws(KernelError) {
    guard numgen.modulus > 0 else { throw KernelError(34) }
    var instruction = NftInstruction(.numgen)
    instruction.flags = numgen.isRandom ? 1 : 0
    instruction.a = numgen.modulus
    instruction.b = numgen.offset
    instruction.c = assembler.state(key, .init(), &states, old)
    instruction.destination = try store(numgen.destination, 4)
    assembler.append(instruction)
  }

  mutating func add(_ hash: NftHash, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  mutating func add(_ fib: NftFib, to assembler: inout NftAssembler) throws(KernelError) {
    guard table.family == .ip || table.family == .ip6 || table.family == .inet else {
      throw KernelError(95)
    }
    var instruction = NftInstruction(.fib)
    instruction.flags = UInt8(fib.result.rawValue)
    instruction.a = fib.flags.rawValue
    instruction.b = fib.isPresence ? 1 : 0
    let width = fib.isPresence ? 1 : fib.result == .outputName ? 16 : 4
    instruction.length = UInt16(width)
    instruction.destination = try store(fib.destination, width)
    assembler.append(instruction)
  }

  mutating func add(_ rt: NftRt, to assembler: inout NftAssembler) throws(KernelError) {
    guard rt.key != .classID, rt.key != .xfrm else {
      throw .notSupported("the emulated kernel does not know rt \(rt.key)")
    }
    var instruction = NftInstruction(.rt)
    instruction.flags = UInt8(rt.key.rawValue)
    let width = rt.key == .nexthop6 ? 16 : rt.key == .tcpMSS ? 2 : 4
    instruction.length = UInt16(width)
    instruction.destination = try store(rt.destination, width)
    assembler.append(instruction)
  }

  mutating func add(_ header: NftExthdr, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction = NftInstruction(.exthdr)
    instruction.flags = UInt8(header.operation.rawValue)
    instruction.a = UInt32(header.type)
    instruction.b = header.isPresence ? 1 : 0
    instruction.offset = try short(header.offset)
    instruction.length = try valueLength(header.length)
    instruction.destination = try store(header.destination, header.isPresence ? 1 : Int(header.length))
    assembler.append(instruction)
  }

  mutating func add(_ socket: NftSocket, to assembler: inout NftAssembler) throws(KernelError) {
    guard socket.key != .cgroup else {
      throw .notSupported("the emulated kernel's sockets are in no control groups")
    }
    guard table.family == .ip || table.family == .ip6 || table.family == .inet else {
      throw KernelError(95)
    }
    var instruction = NftInstruction(.socket)
    instruction.flags = UInt8(socket.key.rawValue)
    instruction.length = socket.key == .mark ? 4 : 1
    instruction.destination = try store(socket.destination, Int(instruction.length))
    assembler.append(instruction)
  }

  func add(_ cmp: NftCmp, to assembler: inout NftAssembler) throws(KernelError) {
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

  mutating func add(_ bitwise: NftBitwise, to assembler: inout NftAssembler) throws(KernelError) {
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

  mutating func add(
    _ lookup: NftLookup, to assembler: inout NftAssembler,
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
