// SPDX-License-Identifier: GPL-2.0-or-later

// TCP segments in a line (RFC 9293).

/// Where the numbers of the connections of a capture begin.
struct TCPConversations: Sendable {
  private struct Key: Hashable {
    var source: String
    var destination: String
  }

  /// Those of the end that was seen first, and of the other.
  private struct Origin {
    var sequence: UInt32
    var acknowledgement: UInt32
  }

  /// Connections that are remembered; one more makes all of them begin anew.
  private static let limit = 65_536
  private var origins: [Key: Origin] = [:]

  init() {}

  /// A segment's numbers as they are shown. Those of a connection's first segment stand as they are.
  mutating func relative(
    from source: String, to destination: String, sequence: UInt32, acknowledgement: UInt32, isSYN: Bool
  ) -> (sequence: UInt32, acknowledgement: UInt32) {
    let (key, back) = (
      Key(source: source, destination: destination), Key(source: destination, destination: source)
    )
    let isBackward = origins[key] == nil && origins[back] != nil
    if let origin = origins[isBackward ? back : key], !isSYN {
      return isBackward
        ? (sequence &- origin.acknowledgement, acknowledgement &- origin.sequence)
        : (sequence &- origin.sequence, acknowledgement &- origin.acknowledgement)
    }
    if origins.count >= Self.limit { origins = [:] }
    origins[isBackward ? back : key] =
      isBackward
      ? Origin(sequence: acknowledgement &- 1, acknowledgement: sequence)
      : Origin(sequence: sequence, acknowledgement: acknowledgement &- 1)
    return (sequence, acknowledgement)
  }
}

extension PacketSummary {
  mutating func tcp(_ view: PacketView, _ length: Int, _ addresses: (String, String)) -> String {
    guard let sourcePort = view.u16(0), let destinationPort = view.u16(2), let rawSequence = view.u32(4),
      let rawAcknowledgement = view.u32(8), let offset = view.u8(12), let bits = view.u8(13),
      let window = view.u16(14), let urgent = view.u16(18)
    else { return "\(addresses.0) > \(addresses.1): [|tcp]" }
    let ends = ("\(addresses.0).\(sourcePort)", "\(addresses.1).\(destinationPort)")
    let header = Int(offset >> 4) * 4
    let between = "\(ends.0) > \(ends.1): Flags [\(Self.flags(bits))]"
    guard header >= 20, header <= length else { return between + " [bad hdr length \(header)]" }
    var (sequence, acknowledgement) = (rawSequence, rawAcknowledgement)
    let hasACK = bits & 0x10 != 0
    if hasACK {
      (sequence, acknowledgement) = conversations.relative(
        from: ends.0, to: ends.1, sequence: rawSequence, acknowledgement: rawAcknowledgement,
        isSYN: bits & 0x02 != 0)
    }
    let size = length - header
    var text = between
    if size > 0 || bits & 0x07 != 0 {
      text += ", seq \(sequence)" + (size > 0 ? ":\(sequence &+ UInt32(clamping: size))" : "")
    }
    if hasACK { text += ", ack \(acknowledgement)" }
    text += ", win \(window)"
    if bits & 0x20 != 0 { text += ", urg \(urgent)" }
    let options = Self.options(view.prefix(header).from(20), from: rawAcknowledgement &- acknowledgement)
    if !options.isEmpty { text += ", options [\(options)]" }
    return text + ", length \(size)"
  }

  private static func flags(_ bits: UInt8) -> String {
    // FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, in the order of their bits.
    let letters: [Character] = ["F", "S", "R", "P", ".", "U", "E", "W"]
    let text = letters.indices.filter { bits >> $0 & 1 == 1 }.map { letters[$0] }
    return text.isEmpty ? "none" : String(text)
  }

  /// `origin` is what the numbers of selective acknowledgements count from.
  private static func options(_ view: PacketView, from origin: UInt32) -> String {
    var words: [String] = []
    var place = 0
    while let kind = view.u8(place) {
      if kind == 0 {
        words.append("eol")
        break
      }
      if kind == 1 {
        words.append("nop")
        place += 1
        continue
      }
      guard let length = view.u8(place + 1), length >= 2, place + Int(length) <= view.count else {
        words.append("[bad opt]")
        break
      }
      words.append(option(kind, view.prefix(place + Int(length)).from(place + 2), from: origin))
      place += Int(length)
    }
    return words.joined(separator: ",")
  }

  private static func option(_ kind: UInt8, _ value: PacketView, from origin: UInt32) -> String {
    switch kind {
    case 2: return "mss \(value.u16(0) ?? 0)"
    case 3: return "wscale \(value.u8(0) ?? 0)"
    case 4: return "sackOK"
    case 5:
      let blocks = stride(from: 0, to: value.count - 7, by: 8).map { place in
        "{\((value.u32(place) ?? 0) &- origin):\((value.u32(place + 4) ?? 0) &- origin)}"
      }
      return "sack \(blocks.count) " + blocks.joined()
    case 8: return "TS val \(value.u32(0) ?? 0) ecr \(value.u32(4) ?? 0)"
    default: return "unknown-\(kind)"
    }
  }
}
