// SPDX-License-Identifier: GPL-2.0-or-later

// A program of the classic Berkeley packet filter, which is what libpcap makes of a filter expression, and the machine
// that runs it (S. McCanne, V. Jacobson, "The BSD Packet Filter", 1993; net/core/filter.c). Here it is run over whole
// frames in user space, the same for all datapaths, since a kernel's own filter does not see tags that stand beside the
// bytes.

/// A filter over packets that begin with one kind of header.
public struct PacketFilter: Hashable, Codable, Sendable {
  /// One instruction (`struct bpf_insn`).
  public struct Instruction: Hashable, Codable, Sendable {
    public var code: UInt16
    public var jumpTrue: UInt8
    public var jumpFalse: UInt8
    public var k: UInt32

    public init(code: UInt16, jumpTrue: UInt8, jumpFalse: UInt8, k: UInt32) {
      self.code = code
      self.jumpTrue = jumpTrue
      self.jumpFalse = jumpFalse
      self.k = k
    }
  }

  /// The most instructions of a program (BPF_MAXINSNS).
  public static let limit = 4096

  public var instructions: [Instruction]

  public init(_ instructions: [Instruction]) { self.instructions = instructions }

  /// Whether the program lets the packet through. Jumps go forward only, so that every program ends; one that reads
  /// beyond the packet, divides by zero, or is none, lets nothing through.
  public func matches(_ packet: some RandomAccessCollection<UInt8>) -> Bool {
    var machine = Machine(packet: packet)
    var place = 0
    while place < instructions.count, place < Self.limit {
      switch machine.step(instructions[place]) {
      case .next: place += 1
      case .jump(let distance): place += 1 + distance
      case .end(let accepted): return accepted
      }
    }
    return false
  }
}

/// The registers and the store of a program that runs.
private struct Machine<Packet: RandomAccessCollection<UInt8>> {
  enum Step {
    case next
    case jump(Int)
    case end(Bool)
  }

  let packet: Packet
  var a: UInt32 = 0
  var x: UInt32 = 0
  var memory = InlineArray<16, UInt32>(repeating: 0)

  init(packet: Packet) { self.packet = packet }

  mutating func step(_ instruction: PacketFilter.Instruction) -> Step {
    let k = instruction.k
    switch instruction.code & 0x07 {
    case 0x00:
      guard let value = operand(instruction.code, k) else { return .end(false) }
      a = value
    case 0x01:
      if instruction.code == 0xb1 {
        // Four times the low half of a byte: the length of an IPv4 header.
        guard let byte = load(UInt64(k), 1) else { return .end(false) }
        x = (byte & 0x0f) << 2
      } else {
        guard let value = operand(instruction.code, k) else { return .end(false) }
        x = value
      }
    case 0x02, 0x03:
      guard k < 16 else { return .end(false) }
      memory[Int(k)] = instruction.code & 0x07 == 0x02 ? a : x
    case 0x04: return compute(instruction.code, k) ? .next : .end(false)
    case 0x05: return jump(instruction)
    case 0x06:
      // The source is in other bits than elsewhere (BPF_RVAL): a constant, or A.
      return .end((instruction.code & 0x18 == 0x10 ? a : k) != 0)
    default:
      if instruction.code & 0xf8 == 0x80 { a = x } else { x = a }
    }
    return .next
  }

  /// What a load takes: a constant, a word of the store, the length, or bytes of the packet.
  private func operand(_ code: UInt16, _ k: UInt32) -> UInt32? {
    switch code & 0xe0 {
    case 0x00: return k
    case 0x20: return load(UInt64(k), size(code))
    case 0x40: return load(UInt64(k) + UInt64(x), size(code))
    case 0x60: return k < 16 ? memory[Int(k)] : nil
    case 0x80: return UInt32(clamping: packet.count)
    default: return nil
    }
  }

  private func size(_ code: UInt16) -> Int {
    switch code & 0x18 {
    case 0x00: 4
    case 0x08: 2
    default: 1
    }
  }

  private func load(_ offset: UInt64, _ size: Int) -> UInt32? {
    guard offset + UInt64(size) <= UInt64(packet.count) else { return nil }
    var value: UInt32 = 0
    for place in 0..<size {
      value = value << 8 | UInt32(packet[packet.index(packet.startIndex, offsetBy: Int(offset) + place)])
    }
    return value
  }

  private mutating func compute(_ code: UInt16, _ k: UInt32) -> Bool {
    let other = code & 0x08 == 0 ? k : x
    switch code & 0xf0 {
    case 0x00: a = a &+ other
    case 0x10: a = a &- other
    case 0x20: a = a &* other
    case 0x30:
      guard other != 0 else { return false }
      a /= other
    case 0x40: a |= other
    case 0x50: a &= other
    case 0x60: a = other < 32 ? a << other : 0
    case 0x70: a = other < 32 ? a >> other : 0
    case 0x80: a = 0 &- a
    case 0x90:
      guard other != 0 else { return false }
      a %= other
    case 0xa0: a ^= other
    default: return false
    }
    return true
  }

  private func jump(_ instruction: PacketFilter.Instruction) -> Step {
    let other = instruction.code & 0x08 == 0 ? instruction.k : x
    let isTrue: Bool
    switch instruction.code & 0xf0 {
    case 0x00: return .jump(Int(instruction.k))
    case 0x10: isTrue = a == other
    case 0x20: isTrue = a > other
    case 0x30: isTrue = a >= other
    case 0x40: isTrue = a & other != 0
    default: return .end(false)
    }
    return .jump(Int(isTrue ? instruction.jumpTrue : instruction.jumpFalse))
  }
}

/// An expression as a filter for each kind of packets.
public struct CaptureFilter: Hashable, Codable, Sendable {
  /// As it was written.
  public var expression: String
  /// For frames that begin with an Ethernet header.
  public var ethernet: PacketFilter
  /// For packets without a link header; nil when the expression is about one.
  public var raw: PacketFilter?

  public init(expression: String, ethernet: PacketFilter, raw: PacketFilter?) {
    self.expression = expression
    self.ethernet = ethernet
    self.raw = raw
  }

  public func matches(_ packet: some RandomAccessCollection<UInt8>, of kind: LinkType) -> Bool {
    switch kind {
    case .ethernet: ethernet.matches(packet)
    case .raw: raw?.matches(packet) ?? false
    }
  }
}
