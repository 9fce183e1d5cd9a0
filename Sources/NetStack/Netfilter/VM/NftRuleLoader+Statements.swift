// SPDX-License-Identifier: GPL-2.0-or-later

// Instructions of the expressions that do something: verdicts, what is written into packets and connections, NAT, logs,
// sets that packets change, objects.

import NetTypes
import Nftables

extension NftRuleLoader {
  mutating func add(_ immediate: NftImmediate, to assembler: inout NftAssembler) throws(KernelError) {
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

  func add(_ write: NftPayloadWrite, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(_ set: NftMetaSet, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(_ set: NftCtSet, to assembler: inout NftAssembler) throws(KernelError) {
    let width: Int
    switch set.key {
    case .mark, .eventMask: width = 4
    case .zone:
      guard set.direction == nil else {
        throw .notSupported("the emulated kernel's zones are those of both directions")
      }
      width = 2
    case .labels: width = 16
    default: throw .notSupported("the emulated kernel does not set ct \(set.key.name)")
    }
    assembler.assembly.track()
    var instruction = NftInstruction(.ctSet)
    instruction.flags = UInt8(set.key.rawValue)
    instruction.source = try load(set.source, width)
    assembler.append(instruction)
  }

  func add(_ write: NftExthdrWrite, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(_ log: NftLog, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction = NftInstruction(.log)
    instruction.a = UInt32(assembler.assembly.logs.count)
    assembler.assembly.logs.append(log)
    assembler.append(instruction)
  }

  func add(_ reject: NftReject, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction = NftInstruction(.reject)
    instruction.flags = UInt8(reject.kind.rawValue)
    instruction.a = UInt32(reject.code)
    assembler.append(instruction)
  }

  func add(_ nat: NftNAT, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(flowtable name: String, to assembler: inout NftAssembler) throws(KernelError) {
    guard let number = assembler.assembly.states[.flowtable(table.key, name: name)] else {
      throw .noSuchEntry
    }
    assembler.assembly.track()
    var instruction = NftInstruction(.flowOffload)
    instruction.a = number
    assembler.append(instruction)
  }

  /// A statement's SYN proxy, or a named one (nft_synproxy_do_init).
  static func synproxy(
    _ proxy: NftSynproxy, _ assembler: inout NftAssembler
  ) throws(KernelError) -> NftInstruction {
    // NF_SYNPROXY_OPT_MASK.
    guard proxy.flags & ~0xf == 0 else { throw KernelError(95) }
    var instruction = NftInstruction(.synproxy)
    instruction.a = UInt32(proxy.maximumSegment) | UInt32(proxy.windowScale) << 16
    instruction.b = proxy.flags
    assembler.assembly.proxySYNs()
    return instruction
  }

  func add(_ tproxy: NftTproxy, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(_ dup: NftDup, to assembler: inout NftAssembler) throws(KernelError) {
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
  }

  func add(_ fwd: NftFwd, to assembler: inout NftAssembler) throws(KernelError) {
    var instruction = NftInstruction(.forward)
    instruction.destination = try load(fwd.device, 4)
    if let address = fwd.address {
      guard fwd.family == 2 || fwd.family == 10 else { throw KernelError(95) }
      instruction.source = try load(address, fwd.family == 2 ? 4 : 16)
      instruction.flags = fwd.family == 2 ? 1 : 5
    }
    assembler.append(instruction)
  }

  mutating func translation(
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

  mutating func add(_ dynset: NftDynset, to assembler: inout NftAssembler) throws(KernelError) {
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
    // nft_dynset_init.
    switch (set.data, dynset.data) {
    case (nil, nil): break
    case (.value?, let data?):
      instruction.flags |= 8
      instruction.offset = UInt16(try load(data, set.data?.length ?? 0))
    case (.value?, nil), (.verdict?, nil): throw .invalidArgument
    default: throw KernelError(95)
    }
    if !dynset.expressions.isEmpty { try assembler.setTemplate(dynset.expressions, of: place) }
    assembler.append(instruction)
  }

  mutating func add(
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
}
