// SPDX-License-Identifier: GPL-2.0-or-later

// Scripts of segments and calls, a line each, played against a stack whose other end is the script:
//
//     +100 in S win 65535 mss 1000 sackok wscale 7     arrives 100 ms after the line before
//     out S ack 1 mss 1460                              leaves now; +N: N ms after the line before
//     quiet +150                                        nothing leaves within 150 ms
//     mtu 1000                                          the device takes so much from now on
//     write 4000                                        a call of the stack's user; `= EPIPE`, `= 100` what it answers
//
// A segment is its flags (S F R P U E C, or `.` for none), its bytes (`1..1001`) or number, and what is known of it: `ack N`,
// `win N`, `mss N`, `sackok`, `wscale N`, `sack A-B,C-D`, `ts N` (what comes in says N and echoes the last value that was
// seen), `ecr N` (of what comes in: N more than that), `ect`, `ce`; of what leaves only what is named is compared, and
// flags and bytes; `sack none` is no block. `each N`: one segment after the other of N bytes. Numbers count from each
// end's first.

import NetTypes
import Testing

/// A segment as a script has it.
struct ScriptSegment: Equatable {
  var flags = ""
  var start: UInt32 = 0
  var end: UInt32 = 0
  var acknowledgment: UInt32?
  var window: UInt16?
  var mss: UInt16?
  var hasSACK: Bool?
  var scale: UInt8?
  var blocks: [[UInt32]]?
  var timestamp: UInt32?
  var echo: UInt32?
  /// The two bits of ECN in IP's header.
  var mark: UInt8?

  static let letters: [(Character, UInt8)] = [
    ("F", 1), ("S", 2), ("R", 4), ("P", 8), ("U", 32), ("E", 64), ("C", 128),
  ]

  /// Of what is expected, only what is said of it counts.
  func admits(_ other: ScriptSegment) -> Bool {
    func same<Value: Equatable>(_ wanted: Value?, _ there: Value?) -> Bool {
      wanted == nil || wanted == there
    }
    return flags == other.flags && start == other.start && end == other.end
      && same(acknowledgment, other.acknowledgment) && same(window, other.window) && same(mss, other.mss)
      && same(hasSACK, other.hasSACK) && same(scale, other.scale) && same(blocks, other.blocks)
      && same(echo, other.echo) && same(mark, other.mark)
  }
}

extension ScriptSegment: CustomStringConvertible {
  var description: String {
    var text = flags.isEmpty ? "." : flags
    text += start == end ? " \(start)" : " \(start)..\(end)"
    if let acknowledgment { text += " ack \(acknowledgment)" }
    if let window { text += " win \(window)" }
    if let mss { text += " mss \(mss)" }
    if hasSACK == true { text += " sackok" }
    if let scale { text += " wscale \(scale)" }
    if let blocks { text += " sack " + blocks.map { "\($0[0])-\($0[1])" }.joined(separator: ",") }
    if let timestamp { text += " ts \(timestamp)" }
    if let echo { text += " ecr \(echo)" }
    if let mark { text += " ecn \(mark)" }
    return text
  }
}

/// A script, taken apart.
struct PacketScript: CustomTestStringConvertible {
  enum Action {
    case arrive(ScriptSegment)
    case leave(ScriptSegment)
    case quiet
    case call([String], result: String?)
  }

  struct Line {
    var text: String
    var delay: Int64
    var action: Action
  }

  struct Mistake: Error { var line: String }

  var name: String
  var text: String

  var testDescription: String { name }

  func lines() throws -> [Line] {
    try text.split(separator: "\n").flatMap { line in
      let words = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
      return words.isEmpty ? [] : try Self.lines(words)
    }
  }

  private static func lines(_ words: [String]) throws -> [Line] {
    var words = words
    var delay: Int64 = 0
    if let place = words.firstIndex(where: { $0.hasPrefix("+") }),
      let number = Int64(words[place].dropFirst())
    {
      delay = number
      words.remove(at: place)
    }
    let text = words.joined(separator: " ")
    switch words[0] {
    case "in", "out":
      let segments = try segments(Array(words.dropFirst()))
      return segments.enumerated().map { place, segment in
        Line(
          text: text, delay: place == 0 ? delay : 0,
          action: words[0] == "in" ? .arrive(segment) : .leave(segment))
      }
    case "quiet": return [Line(text: text, delay: delay, action: .quiet)]
    default:
      let parts = text.split(separator: "=").map { $0.split(separator: " ").map(String.init) }
      return [
        Line(text: text, delay: delay, action: .call(parts[0], result: parts.count > 1 ? parts[1][0] : nil))
      ]
    }
  }

  /// One, or with `each` one after the other of so many bytes, of which the last has the flags.
  private static func segments(_ words: [String]) throws -> [ScriptSegment] {
    var segment = ScriptSegment()
    var words = words[...]
    segment.flags = words.removeFirst().replacing(".", with: "")
    var each: UInt32?
    func number<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws -> Value {
      guard let word = words.popFirst(), let value = Value(word) else { throw Mistake(line: "\(words)") }
      return value
    }
    while let word = words.popFirst() {
      switch word {
      case "ack": segment.acknowledgment = try number()
      case "win": segment.window = try number()
      case "mss": segment.mss = try number()
      case "sackok": segment.hasSACK = true
      case "wscale": segment.scale = try number()
      case "ts": segment.timestamp = try number()
      case "ecr": segment.echo = try number()
      case "each": each = try number()
      case "ect": segment.mark = 2
      case "ce": segment.mark = 3
      case "sack":
        let blocks = words.popFirst()
        segment.blocks =
          blocks == "none"
          ? []
          : blocks?.split(separator: ",").map { $0.split(separator: "-").compactMap { UInt32($0) } }
      default:
        let ends = word.split(separator: ".").compactMap { UInt32($0) }
        guard let first = ends.first, let last = ends.last else { throw Mistake(line: word) }
        (segment.start, segment.end) = (first, last)
      }
    }
    guard let each else { return [segment] }
    var all: [ScriptSegment] = []
    for start in stride(from: segment.start, to: segment.end, by: Int(each)) {
      var one = segment
      (one.start, one.end) = (start, min(start + each, segment.end))
      if one.end != segment.end { one.flags = "" }
      all.append(one)
    }
    return all
  }
}

/// The script's end of the connection: numbers count from each end's first.
struct ScriptWire {
  static let own: UInt32 = 0x4000_0000
  /// The stack's first number and the latest timestamp that it has sent.
  private var first: UInt32?
  private var timestamp: UInt32 = 0
  private let stack: [UInt8] = [10, 1, 0, 1]
  private let script: [UInt8] = [10, 1, 0, 2]
  /// The stack's port and the script's.
  var ports: (UInt16, UInt16) = (8080, 4000)

  private static func bytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { [UInt8]($0) }
  }

  /// A packet to the stack.
  func packet(_ segment: ScriptSegment) -> [UInt8] {
    var options: [UInt8] = []
    if let mss = segment.mss { options += [2, 4] + Self.bytes(mss) }
    if segment.hasSACK == true { options += [4, 2, 1, 1] }
    if let scale = segment.scale { options += [1, 3, 3, scale] }
    if let timestamp = segment.timestamp {
      options += [1, 1, 8, 10] + Self.bytes(timestamp) + Self.bytes(self.timestamp &+ (segment.echo ?? 0))
    }
    if let blocks = segment.blocks, !blocks.isEmpty {
      options += [1, 1, 5, UInt8(2 + 8 * blocks.count)]
      for block in blocks {
        options += Self.bytes((first ?? 0) &+ block[0]) + Self.bytes((first ?? 0) &+ block[1])
      }
    }
    var flags: UInt8 = segment.acknowledgment == nil ? 0 : 16
    for (letter, bit) in ScriptSegment.letters where segment.flags.contains(letter) { flags |= bit }
    var tcp = Self.bytes(ports.1) + Self.bytes(ports.0) + Self.bytes(Self.own &+ segment.start)
    tcp += Self.bytes(segment.acknowledgment.map { (first ?? 0) &+ $0 } ?? 0)
    tcp +=
      [UInt8(5 + options.count / 4) << 4, flags] + Self.bytes(segment.window ?? 32768) + [0, 0, 0, 0]
      + options
    tcp += [UInt8](repeating: 0x61, count: Int(segment.end - segment.start))
    let pseudo = script + stack + [0, 6] + Self.bytes(UInt16(tcp.count))
    tcp.replaceSubrange(16..<18, with: KernelOracleTests.checksum(pseudo + tcp))
    var header: [UInt8] =
      [0x45, segment.mark ?? 0] + Self.bytes(UInt16(20 + tcp.count)) + [0, 1, 0, 0, 64, 6, 0, 0]
    header += script + stack
    header.replaceSubrange(10..<12, with: KernelOracleTests.checksum(header))
    return header + tcp
  }

  /// A packet of the stack; nil when it is of nobody's connection here.
  mutating func segment(_ packet: [UInt8]) -> ScriptSegment? {
    func number<Value: FixedWidthInteger>(_ place: Int, as type: Value.Type = Value.self) -> Value {
      packet[place..<place + MemoryLayout<Value>.size].reduce(0) { $0 << 8 | Value($1) }
    }
    guard packet.count >= 40, packet[0] == 0x45, packet[9] == 6, Array(packet[16..<20]) == script else {
      return nil
    }
    guard number(22) == ports.1 || packet[33] & 2 != 0 else { return nil }
    ports = (number(20), number(22))
    let (flags, data) = (packet[33], 20 + Int(packet[32] >> 4) * 4)
    if flags & 2 != 0, flags & 4 == 0 { first = number(24) }
    var segment = ScriptSegment()
    for (letter, bit) in ScriptSegment.letters where flags & bit != 0 { segment.flags.append(letter) }
    // A reset that answers nobody has the number that it was told.
    segment.start = number(24, as: UInt32.self) &- (first ?? 0)
    segment.end = segment.start &+ UInt32(packet.count - data)
    if flags & 16 != 0 { segment.acknowledgment = number(28, as: UInt32.self) &- Self.own }
    segment.window = number(34)
    segment.mark = packet[1] & 3
    segment.hasSACK = false
    segment.blocks = []
    var place = 40
    while place < data, packet[place] != 0 {
      guard packet[place] != 1 else {
        place += 1
        continue
      }
      switch packet[place] {
      case 2: segment.mss = number(place + 2)
      case 3: segment.scale = packet[place + 2]
      case 4: segment.hasSACK = true
      case 5:
        segment.blocks = stride(from: place + 2, to: place + Int(packet[place + 1]), by: 8).map {
          [number($0, as: UInt32.self) &- Self.own, number($0 + 4, as: UInt32.self) &- Self.own]
        }
      case 8:
        segment.timestamp = number(place + 2)
        segment.echo = number(place + 6)
        timestamp = number(place + 2)
      default: break
      }
      place += Int(packet[place + 1])
    }
    return segment
  }
}
