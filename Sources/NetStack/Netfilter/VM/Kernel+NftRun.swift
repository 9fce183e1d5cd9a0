// SPDX-License-Identifier: GPL-2.0-or-later

// The machine: runs a chain's instructions over a packet (nft_do_chain). A rule's expressions are done until one does
// not match (NFT_BREAK) or decides; jumps put the next rule on a stack of sixteen.

import NetTypes
import Nftables

extension Kernel {
  /// What a base chain says of a packet.
  mutating func run(_ start: UInt32, policy: Int32, _ packet: inout NftPacket) -> NetfilterVerdict {
    packet.isShown = false
    var verdict = execute(Int(start), &packet)
    if verdict.code == NftVerdictCode.continue.code {
      verdict.code = policy
      if pool.trace(packet.slot) != 0 { tracePolicy(policy, &packet, Int(start)) }
    }
    switch verdict.code {
    case NftVerdictCode.accept.code: return .accept
    case NftVerdictCode.stolen.code: return .stolen
    default: return .drop
    }
  }

  /// Runs from an instruction on. `continue`: no rule decided.
  private mutating func execute(_ start: Int, _ packet: inout NftPacket) -> NftVerdictCode {
    let namespace = packet.namespace
    var registers = NftRegisters()
    var stack = InlineArray<16, UInt32>(repeating: 0)
    var depth = 0
    var place = start
    var next = start
    // The rule that the packet is in, for traces: none after it did not match.
    var isTraced = pool.trace(packet.slot) != 0
    var rule = -1
    while true {
      let instruction = namespaces[namespace].nftables.program[place]
      place &+= 1
      var verdict = NftVerdictCode.continue
      switch instruction.operation {
      case .rule:
        if isTraced {
          if rule >= 0 { traceRule(rule, .continue, &packet) }
          nftTraces.forgetWrites()
        }
        rule = place &- 1
        next = Int(instruction.a)
      case .end:
        if isTraced, rule >= 0 { traceRule(rule, .continue, &packet) }
        rule = -1
        guard depth > 0 else { return .continue }
        depth &-= 1
        place = Int(stack[depth])
      case .prelude:
        if isTraced {
          if rule >= 0 { traceRule(rule, .continue, &packet) }
          nftTraces.forgetWrites()
        }
        rule = -1
        next = Int(instruction.a)
      case .dispatch: place = dispatch(instruction, registers, namespace) ?? next
      case .dispatchLong: place = dispatchLong(instruction, registers, namespace) ?? next
      case .dispatchInterval: place = dispatchInterval(instruction, registers, namespace) ?? next
      case .skip:
        if isTraced, rule >= 0 { traceRule(rule, .continue, &packet) }
        rule = -1
        place = Int(instruction.a)
      case .compareWord:
        let matches = registers[Int(instruction.source)] & instruction.b == instruction.a
        if matches == (instruction.flags == 1) {
          place = next
          rule = -1
        }
      case .payload:
        if !loadPayload(instruction, packet, &registers) {
          place = next
          rule = -1
        } else if isTraced {
          traceWrite(instruction, registers, namespace)
        }
      case .meta:
        if !loadMeta(instruction, packet, &registers) {
          place = next
          rule = -1
        } else if isTraced {
          traceWrite(instruction, registers, namespace)
        }
      case .verdict:
        verdict = NftVerdictCode(code: Int32(bitPattern: instruction.a), chain: instruction.b)
      case .lookup:
        verdict = look(instruction, packet, &registers)
        if isTraced { traceWrite(instruction, registers, namespace) }
      case .counter: count(instruction.a, packet)
      default:
        verdict = executeRarer(instruction, &packet, &registers)
        if isTraced { traceWrite(instruction, registers, namespace) }
        if instruction.operation == .metaSet, isTraced != (pool.trace(packet.slot) != 0) {
          isTraced.toggle()
        }
      }
      guard verdict.code != NftVerdictCode.continue.code else { continue }
      if isTraced, verdict.code != NftVerdictCode.break.code, verdict.code != NftVerdictCode.stolen.code {
        traceRule(rule, verdict, &packet)
      }
      rule = -1
      switch verdict.code {
      case -2: place = next
      case -3, -4:
        if verdict.code == -3 {
          // Programs are checked for how deep their jumps go.
          guard depth < 16 else { return .drop }
          stack[depth] = UInt32(next)
          depth &+= 1
        }
        place = Int(verdict.chain)
      case -5:
        guard depth > 0 else { return .continue }
        depth &-= 1
        place = Int(stack[depth])
      default: return verdict
      }
    }
  }

  /// Where the first of several rules is that a value leads to.
  @inline(__always)
  private func dispatch(
    _ instruction: NftInstruction, _ registers: NftRegisters, _ namespace: NamespaceIndex
  ) -> Int? {
    let value = registers[Int(instruction.source)] & instruction.b
    let base = Int(instruction.a)
    let mask = (1 &<< Int(instruction.c)) &- 1
    var slot = Int(NftDispatchGroup.mix(0, value) &>> (32 &- instruction.c))
    while true {
      let place = namespaces[namespace].nftables.program.constants[base &+ slot &* 2 &+ 1]
      guard place != .max else { return nil }
      if namespaces[namespace].nftables.program.constants[base &+ slot &* 2] == value { return Int(place) }
      slot = (slot &+ 1) & mask
    }
  }

  /// The same for values of more than four bytes.
  @inline(never)
  private func dispatchLong(
    _ instruction: NftInstruction, _ registers: NftRegisters, _ namespace: NamespaceIndex
  ) -> Int? {
    let source = Int(instruction.source)
    let last = (Int(instruction.length) &+ 3) / 4 &- 1
    let base = Int(instruction.a)
    let mask = (1 &<< Int(instruction.c)) &- 1
    let end = registers[source &+ last] & instruction.b
    var hash: UInt32 = 0
    for position in 0..<last { hash = NftDispatchGroup.mix(hash, registers[source &+ position]) }
    hash = NftDispatchGroup.mix(hash, end)
    var slot = Int(hash &>> (32 &- instruction.c))
    while true {
      let entry = base &+ slot &* (last &+ 2)
      let place = namespaces[namespace].nftables.program.constants[entry &+ last &+ 1]
      guard place != .max else { return nil }
      var isSame = namespaces[namespace].nftables.program.constants[entry &+ last] == end
      for position in 0..<last where isSame {
        isSame =
          namespaces[namespace].nftables.program.constants[entry &+ position] == registers[source &+ position]
      }
      if isSame { return Int(place) }
      slot = (slot &+ 1) & mask
    }
  }

  /// The same for intervals, by halving.
  @inline(never)
  private func dispatchInterval(
    _ instruction: NftInstruction, _ registers: NftRegisters, _ namespace: NamespaceIndex
  ) -> Int? {
    let value = (registers[Int(instruction.source)] & instruction.b).bigEndian
    let base = Int(instruction.a)
    var low = 0
    var high = Int(instruction.c)
    while low < high {
      let middle = (low &+ high) / 2
      if namespaces[namespace].nftables.program.constants[base &+ middle &* 3] <= value {
        low = middle &+ 1
      } else {
        high = middle
      }
    }
    guard low > 0 else { return nil }
    let entry = base &+ (low &- 1) &* 3
    guard value <= namespaces[namespace].nftables.program.constants[entry &+ 1] else { return nil }
    return Int(namespaces[namespace].nftables.program.constants[entry &+ 2])
  }

  @inline(never)
  private mutating func executeRarer(
    _ instruction: NftInstruction, _ packet: inout NftPacket, _ registers: inout NftRegisters
  ) -> NftVerdictCode {
    let namespace = packet.namespace
    switch instruction.operation {
    case .compare: return compare(instruction, namespace, registers) ? .continue : .break
    case .range:
      let isInside = isWithin(instruction, namespace, registers)
      return isInside == (instruction.flags == 1) ? .break : .continue
    case .mask, .shiftLeft, .shiftRight, .byteorder, .load:
      compute(instruction, namespace, &registers)
      return .continue
    case .payloadWrite: return writePayload(instruction, packet, registers) ? .continue : .break
    case .metaSet:
      setMeta(instruction, packet, registers)
      return .continue
    case .ct: return loadConntrack(instruction, packet, &registers) ? .continue : .break
    case .ctSet:
      setConntrack(instruction, packet, registers)
      return .continue
    case .limit, .quota, .connlimit, .ctTimeout, .ctHelper, .ctExpectation:
      return evaluate(instruction, instruction.a, packet)
    case .objectMap:
      let index = TableIndex<NftElements>(instruction.a)
      let found = namespaces[namespace].nftables.program.sets[index].find(
        registers, Int(instruction.source), now: cpu.now)
      guard found != NftElements.none else { return .break }
      let number = Int(namespaces[namespace].nftables.program.sets[index].value(found, 0))
      let object = namespaces[namespace].nftables.program.objects[number]
      return evaluate(object, object.a, packet)
    case .numgen:
      registers[Int(instruction.destination)] = generate(instruction, namespace)
      return .continue
    case .hash:
      registers[Int(instruction.destination)] = hash(instruction, packet, registers)
      return .continue
    case .fib: return loadRoute(instruction, packet, &registers) ? .continue : .break
    case .rt: return loadRouteProperty(instruction, packet, &registers) ? .continue : .break
    case .exthdr: return loadHeader(instruction, packet, &registers) ? .continue : .break
    case .exthdrWrite: return writeOption(instruction, packet, registers)
    case .log:
      log(Int(instruction.a), packet)
      return .continue
    case .reject:
      reject(packet, NftReject.Kind(rawValue: UInt32(instruction.flags)) ?? .icmp, UInt8(instruction.a))
      return .drop
    case .nat: return setTranslation(instruction, packet, registers)
    case .masquerade: return masquerade(instruction, packet, registers)
    case .redirect: return redirect(instruction, packet, registers)
    case .socket: return loadSocket(instruction, packet, &registers) ? .continue : .break
    case .duplicate:
      duplicate(instruction, packet, registers)
      return .continue
    case .forward: return forward(instruction, packet, registers)
    case .notrack:
      if pool.conntrack(packet.slot).index.isNone { pool.setConntrack(.untracked, of: packet.slot) }
      return .continue
    case .dynset: return update(instruction, packet, registers)
    case .tproxy: return proxy(instruction, packet, registers)
    case .flowOffload: return offload(instruction.a, packet)
    case .synproxy: return proxySYN(instruction, packet)
    case .rule, .end, .prelude, .dispatch, .dispatchLong, .dispatchInterval, .skip, .compareWord, .payload,
      .meta, .verdict, .lookup, .counter:
      return .continue
    }
  }

  // MARK: Registers

  private func compare(
    _ instruction: NftInstruction, _ namespace: NamespaceIndex, _ registers: NftRegisters
  ) -> Bool {
    let order = self.order(
      registers, Int(instruction.source), instruction.a, Int(instruction.length), namespace)
    switch NftComparisonOperator(rawValue: UInt32(instruction.flags)) {
    case .equal: return order == 0
    case .notEqual: return order != 0
    case .less: return order < 0
    case .lessOrEqual: return order <= 0
    case .greater: return order > 0
    case .greaterOrEqual, nil: return order >= 0
    }
  }

  private func isWithin(
    _ instruction: NftInstruction, _ namespace: NamespaceIndex, _ registers: NftRegisters
  ) -> Bool {
    let word = Int(instruction.source)
    let length = Int(instruction.length)
    return order(registers, word, instruction.a, length, namespace) >= 0
      && order(registers, word, instruction.b, length, namespace) <= 0
  }

  /// As memcmp: which of the two byte strings comes first.
  private func order(
    _ registers: NftRegisters, _ word: Int, _ constant: UInt32, _ length: Int,
    _ namespace: NamespaceIndex
  ) -> Int {
    let count = (length &+ 3) / 4
    for position in 0..<count {
      let mask = position == count &- 1 ? NftRegisters.tailMask(length) : .max
      let mine = (registers[word &+ position] & mask).bigEndian
      let other =
        (namespaces[namespace].nftables.program.constants[Int(constant) &+ position] & mask).bigEndian
      if mine != other { return mine < other ? -1 : 1 }
    }
    return 0
  }

  private func compute(
    _ instruction: NftInstruction, _ namespace: NamespaceIndex, _ registers: inout NftRegisters
  ) {
    let source = Int(instruction.source)
    let destination = Int(instruction.destination)
    let length = Int(instruction.length)
    let count = (length + 3) / 4
    switch instruction.operation {
    case .load:
      for position in 0..<count {
        registers[destination + position] =
          namespaces[namespace].nftables.program.constants[Int(instruction.a) + position]
      }
    case .mask:
      for position in 0..<count {
        let mask = namespaces[namespace].nftables.program.constants[Int(instruction.a) + position]
        let flip = namespaces[namespace].nftables.program.constants[Int(instruction.b) + position]
        registers[destination + position] = registers[source + position] & mask ^ flip
      }
    case .shiftLeft:
      var carry: UInt32 = 0
      for position in (0..<count).reversed() {
        let word = registers[source + position]
        registers[destination + position] = word << instruction.a | carry
        carry = word >> (32 - instruction.a)
      }
    case .shiftRight:
      var carry: UInt32 = 0
      for position in 0..<count {
        let word = registers[source + position]
        registers[destination + position] = carry | word >> instruction.a
        carry = word << (32 - instruction.a)
      }
    default:
      let size = Int(instruction.flags)
      let before = registers
      if length % 4 != 0 { registers[destination + count - 1] = 0 }
      for offset in 0..<length {
        let mirrored = offset / size * size + size - 1 - offset % size
        registers.setByte(destination, offset, before.byte(source, mirrored))
      }
    }
  }

  // MARK: Sets

  private mutating func look(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> NftVerdictCode {
    let namespace = packet.namespace
    let index = TableIndex<NftElements>(instruction.a)
    let found = namespaces[namespace].nftables.program.sets[index].find(
      registers, Int(instruction.source), now: cpu.now)
    let isInverted = instruction.flags & 1 == 1
    guard found != NftElements.none else { return isInverted ? .continue : .break }
    guard !isInverted else { return .break }
    let element = namespaces[namespace].nftables.program.sets[index][found]
    if element.state != .max {
      let verdict = runElement(index, element, packet)
      guard verdict.code == NftVerdictCode.continue.code else { return verdict }
    }
    if instruction.flags & 2 != 0 {
      for position in 0..<namespaces[namespace].nftables.program.sets[index].valueWords {
        registers[Int(instruction.destination) &+ position] =
          namespaces[namespace].nftables.program.sets[index].value(found, position)
      }
    }
    return instruction.flags & 4 != 0 ? element.verdict : .continue
  }

  /// The stateful expressions of an element (nft_set_elem_update_expr): `break` when one of them does not match.
  private mutating func runElement(
    _ index: TableIndex<NftElements>, _ element: NftElements.Element, _ packet: NftPacket
  ) -> NftVerdictCode {
    let namespace = packet.namespace
    let template = Int(namespaces[namespace].nftables.program.sets[index].template)
    for position in 0..<namespaces[namespace].nftables.program.templates[template].count {
      let instruction = namespaces[namespace].nftables.program.templates[template][position]
      let verdict = evaluate(instruction, element.state &+ instruction.a, packet)
      guard verdict.code == NftVerdictCode.continue.code else { return verdict }
    }
    return .continue
  }

  /// A stateful expression, whosever it is: a rule's, an element's, or a named object's.
  private mutating func evaluate(
    _ instruction: NftInstruction, _ state: UInt32, _ packet: NftPacket
  ) -> NftVerdictCode {
    switch instruction.operation {
    case .limit: return limit(instruction, state, packet) ? .continue : .break
    case .quota: return quota(instruction, state, packet) ? .continue : .break
    case .connlimit: return limitConnections(instruction, state, packet)
    case .ctTimeout:
      giveTimeouts(instruction, packet)
      return .continue
    case .ctHelper:
      giveHelper(instruction, packet)
      return .continue
    case .ctExpectation: return expectByRule(instruction, packet)
    case .synproxy: return proxySYN(instruction, packet)
    default:
      count(state, packet)
      return .continue
    }
  }

  /// `add`, `update` and `delete` of a dynamic set (nft_dynset_eval).
  private mutating func update(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    let namespace = packet.namespace
    let index = TableIndex<NftElements>(instruction.a)
    let isInverted = instruction.flags & 4 != 0
    let found = namespaces[namespace].nftables.program.sets[index].find(
      registers, Int(instruction.source), now: cpu.now)
    let isThere =
      found != NftElements.none && found != namespaces[namespace].nftables.program.sets[index].catchAll
    if instruction.flags & 3 == NftDynset.Operation.delete.rawValue {
      // The rule goes on whether it was there or not.
      if isThere { removeElement(found, index, namespace) }
      return .continue
    }
    var place = found
    let lifetime = Int64(instruction.c) &* 1_000_000
    if isThere {
      if instruction.flags & 3 == NftDynset.Operation.update.rawValue, lifetime > 0 {
        namespaces[namespace].nftables.program.sets[index][found].expires = cpu.now &+ lifetime
      }
    } else {
      guard let made = insertElement(instruction, index, lifetime, namespace, registers) else {
        return isInverted ? .continue : .break
      }
      place = made
    }
    let element = namespaces[namespace].nftables.program.sets[index][place]
    if element.state != .max {
      let verdict = runElement(index, element, packet)
      guard verdict.code == NftVerdictCode.continue.code else { return verdict }
    }
    return isInverted ? .break : .continue
  }

  private mutating func insertElement(
    _ instruction: NftInstruction, _ index: TableIndex<NftElements>, _ lifetime: Int64,
    _ namespace: NamespaceIndex, _ registers: NftRegisters
  ) -> UInt32? {
    var element = NftElements.Element()
    element.isDynamic = true
    element.lifetime = lifetime
    if lifetime > 0 { element.expires = cpu.now &+ lifetime }
    let template = namespaces[namespace].nftables.program.sets[index].template
    if template != .max {
      let count = namespaces[namespace].nftables.program.templates[Int(template)].count
      element.state = namespaces[namespace].nftables.states.allocate(count)
      let expressions = namespaces[namespace].nftables.program.sets[index].expressions
      for (offset, expression) in expressions.enumerated() {
        guard case .limit(let limit) = expression else { continue }
        namespaces[namespace].nftables.states[element.state + UInt32(offset)] = .init(
          first: NftLimitParameters(limit).maximum, second: UInt64(bitPattern: cpu.now))
      }
    }
    let value = instruction.flags & 8 != 0 ? Int(instruction.offset) : nil
    if let made = namespaces[namespace].nftables.program.sets[index].insert(
      registers, key: Int(instruction.source), value: value, element)
    {
      return made
    }
    // The dead make room (nft_rhash_gc), if there are any.
    let dead = namespaces[namespace].nftables.program.sets[index].expired(now: cpu.now)
    for element in dead { removeElement(element, index, namespace) }
    let made =
      dead.isEmpty
      ? nil
      : namespaces[namespace].nftables.program.sets[index].insert(
        registers, key: Int(instruction.source), value: value, element)
    if made == nil, element.state != .max {
      let count = namespaces[namespace].nftables.program.sets[index].expressions.count
      namespaces[namespace].nftables.states.release(element.state, count)
    }
    return made
  }

  private mutating func removeElement(
    _ element: UInt32, _ index: TableIndex<NftElements>, _ namespace: NamespaceIndex
  ) {
    let item = namespaces[namespace].nftables.program.sets[index][element]
    if !item.isDynamic { namespaces[namespace].nftables.forget(element, of: index) }
    if item.isDynamic, item.state != .max {
      let count = namespaces[namespace].nftables.program.sets[index].expressions.count
      namespaces[namespace].nftables.states.release(item.state, count)
    }
    namespaces[namespace].nftables.program.sets[index].remove(element)
  }

  // MARK: State

  @inline(__always) private mutating func count(_ state: UInt32, _ packet: NftPacket) {
    let length = UInt64(packet.length(in: pool))
    namespaces[packet.namespace].nftables.states[state].first &+= 1
    namespaces[packet.namespace].nftables.states[state].second &+= length
  }

  /// A constant of 64 bits.
  private func wide(_ place: UInt32, _ namespace: NamespaceIndex) -> UInt64 {
    UInt64(namespaces[namespace].nftables.program.constants[Int(place)])
      | UInt64(namespaces[namespace].nftables.program.constants[Int(place) + 1]) << 32
  }

  /// nft_limit_eval. True: the rule goes on.
  private mutating func limit(_ instruction: NftInstruction, _ state: UInt32, _ packet: NftPacket) -> Bool {
    let namespace = packet.namespace
    var cost = wide(instruction.b, namespace)
    let maximum = wide(instruction.b + 2, namespace)
    if instruction.flags & 2 != 0 {
      let unit = wide(instruction.b + 4, namespace)
      let rate = wide(instruction.b + 6, namespace)
      cost = unit &* UInt64(packet.length(in: pool)) / rate
    }
    let value = namespaces[namespace].nftables.states[state]
    let now = UInt64(bitPattern: cpu.now)
    let tokens = min(value.first &+ (now &- value.second), maximum)
    let isWithin = tokens >= cost
    namespaces[namespace].nftables.states[state] = .init(
      first: isWithin ? tokens - cost : tokens, second: now)
    return isWithin == (instruction.flags & 1 == 0)
  }

  /// nft_quota_eval.
  private mutating func quota(_ instruction: NftInstruction, _ state: UInt32, _ packet: NftPacket) -> Bool {
    let namespace = packet.namespace
    namespaces[namespace].nftables.states[state].first &+= UInt64(packet.length(in: pool))
    let isOver = namespaces[namespace].nftables.states[state].first > wide(instruction.b, namespace)
    return isOver == (instruction.flags & 1 == 1)
  }

  private mutating func generate(_ instruction: NftInstruction, _ namespace: NamespaceIndex) -> UInt32 {
    let modulus = UInt64(instruction.a)
    guard instruction.flags == 0 else {
      return UInt32(truncatingIfNeeded: cpu.random.below(modulus)) &+ instruction.b
    }
    let value = namespaces[namespace].nftables.states[instruction.c].first
    namespaces[namespace].nftables.states[instruction.c].first = (value &+ 1) % modulus
    return UInt32(truncatingIfNeeded: value) &+ instruction.b
  }

  private func hash(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> UInt32 {
    let hash: UInt32
    if instruction.flags == 1 {
      hash = flowHash(packet)
    } else {
      hash = JenkinsHash.hash(
        registers, Int(instruction.source), length: Int(instruction.length), seed: instruction.c)
    }
    return JenkinsHash.scale(hash, instruction.a) &+ instruction.b
  }

  /// A hash that both directions of a flow share (__skb_get_hash_symmetric).
  private func flowHash(_ packet: NftPacket) -> UInt32 {
    guard packet.version != 0 else { return 0 }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let size = packet.version == 6 ? 16 : 4
    let start = packet.version == 6 ? 8 : IPv4Header.source
    var sum: UInt32 = UInt32(packet.proto)
    for offset in stride(from: start, to: start + 2 * size, by: 4) { sum &+= network.u32(offset) }
    if packet.hasTransport, [6, 17, 132].contains(packet.proto), network.count >= packet.transport + 4 {
      sum &+= UInt32(network.u16(packet.transport)) &+ UInt32(network.u16(packet.transport + 2))
    }
    return sum &* 0x9e37_79b1
  }
}
