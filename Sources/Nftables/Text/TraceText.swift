// SPDX-License-Identifier: GPL-2.0-or-later

// What traced packets meet, in the form of `nft monitor trace`. What that prints as raw bytes behind the headers, and
// codes without a name, are left out here.

import NetTypes

/// Writes traces.
public enum TraceText {
  /// A line for a step of a packet. `rule` is the one that the step names, where it is still there.
  public static func line(
    _ event: NftTraceEvent, id: UInt32, mark: UInt32, rule: NftRule?
  ) -> String {
    let number = String(id, radix: 16)
    let head = "trace id " + String(repeating: "0", count: 8 - number.count) + number
    switch event {
    case .packet(let chain, let packet):
      return "\(head) \(chain.table) \(chain.chain) packet: " + packet.words.joined(separator: " ")
    case .rule(let chain, let handle, let verdict):
      let text = rule.map { NftText.text($0, family: chain.table.family) } ?? "handle \(handle)"
      return "\(head) \(chain.table) \(chain.chain) rule \(text) (verdict \(verdict))"
    case .policy(let chain, let verdict):
      let marked = mark == 0 ? "" : " " + markText(mark)
      return "\(head) \(chain.table) \(chain.chain) policy \(verdict)\(marked)"
    case .translation(let old, let new):
      return "\(head) nat \(old) -> \(new)"
    }
  }

  private static func markText(_ mark: UInt32) -> String {
    "meta mark " + ValueText(type: .mark).text(NftData(host: UInt64(mark), width: 4))
  }
}

extension NftTracedFlow: CustomStringConvertible {
  /// `10.0.0.1:80 > [fd00::1]:4711`.
  public var description: String {
    func end(_ address: IPAddress, _ port: UInt16?) -> String {
      guard let port else { return "\(address)" }
      return address.family == .ipv6 ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
    return end(source, sourcePort) + " > " + end(destination, destinationPort)
  }
}

extension NftTracedPacket {
  fileprivate var words: [String] {
    var words: [String] = []
    if !input.isEmpty { words.append("iif \"\(input)\"") }
    if !output.isEmpty { words.append("oif \"\(output)\"") }
    if link.count >= 14 {
      words.append("ether saddr \(Self.text(.etherAddress, link[6..<12]))")
      words.append("ether daddr \(Self.text(.etherAddress, link[0..<6]))")
    }
    switch etherType {
    case 0x0800 where network.count >= 20: words += ipv4
    case 0x86dd where network.count >= 40: words += ipv6
    case 0x0806 where network.count >= 8:
      words.append("arp operation \(Self.text(.arpOperation, network[6..<8]))")
    default: break
    }
    return words + transportWords
  }

  private static func text(_ type: NftDataType, _ bytes: ArraySlice<UInt8>) -> String {
    ValueText(type: type).text(NftData(Array(bytes)))
  }

  private func number(_ bytes: [UInt8], _ place: Int, _ count: Int) -> UInt64 {
    bytes[place..<place + count].reduce(0) { $0 << 8 | UInt64($1) }
  }

  private var ipv4: [String] {
    [
      "ip saddr \(Self.text(.ipv4Address, network[12..<16]))",
      "ip daddr \(Self.text(.ipv4Address, network[16..<20]))",
      "ip dscp \(Self.dscp(network[1] >> 2))", "ip ecn \(Self.ecn(network[1] & 3))",
      "ip ttl \(network[8])", "ip id \(number(network, 4, 2))",
      "ip protocol \(Self.text(.ipProtocol, network[9..<10]))", "ip length \(number(network, 2, 2))",
    ]
  }

  private var ipv6: [String] {
    let traffic = UInt8(truncatingIfNeeded: number(network, 0, 2) >> 4)
    return [
      "ip6 saddr \(Self.text(.ipv6Address, network[8..<24]))",
      "ip6 daddr \(Self.text(.ipv6Address, network[24..<40]))",
      "ip6 dscp \(Self.dscp(traffic >> 2))", "ip6 ecn \(Self.ecn(traffic & 3))",
      "ip6 hoplimit \(network[7])", "ip6 flowlabel \(number(network, 0, 4) & 0xfffff)",
      "ip6 nexthdr \(Self.text(.ipProtocol, network[6..<7]))", "ip6 length \(number(network, 4, 2))",
    ]
  }

  private var transportWords: [String] {
    let bytes = transport
    switch proto {
    case 6 where bytes.count >= 20:
      return [
        "tcp sport \(number(bytes, 0, 2))", "tcp dport \(number(bytes, 2, 2))",
        "tcp flags == \(Self.tcpFlags(bytes[13]))", "tcp window \(number(bytes, 14, 2))",
      ]
    case 17 where bytes.count >= 8:
      return [
        "udp sport \(number(bytes, 0, 2))", "udp dport \(number(bytes, 2, 2))",
        "udp length \(number(bytes, 4, 2))",
      ]
    case 1 where bytes.count >= 8 && etherType == 0x0800:
      var words = ["icmp type \(Self.text(.icmpType, bytes[0..<1]))"]
      if bytes[0] == 8 || bytes[0] == 0 {
        words += ["icmp id \(number(bytes, 4, 2))", "icmp sequence \(number(bytes, 6, 2))"]
      }
      return words
    case 58 where bytes.count >= 8 && etherType == 0x86dd:
      var words = ["icmpv6 type \(Self.text(.icmpv6Type, bytes[0..<1]))"]
      if bytes[0] == 128 || bytes[0] == 129 {
        words += ["icmpv6 id \(number(bytes, 4, 2))", "icmpv6 sequence \(number(bytes, 6, 2))"]
      }
      return words
    default: return []
    }
  }

  private static func tcpFlags(_ value: UInt8) -> String {
    let names = ValueText.flagNames[NftDataType.tcpFlags.rawValue] ?? []
    let set = names.filter { UInt64(value) & $0.bit != 0 }.map(\.name)
    return set.isEmpty ? "0x0" : set.count == 1 ? set[0] : "(\(set.joined(separator: " | ")))"
  }

  private static func dscp(_ value: UInt8) -> String {
    switch value {
    case 46: "ef"
    case let value where value & 7 == 0: "cs\(value >> 3)"
    case 10, 12, 14, 18, 20, 22, 26, 28, 30, 34, 36, 38: "af\(value >> 3)\(value >> 1 & 3)"
    default: "0x" + (value < 16 ? "0" : "") + String(value, radix: 16)
    }
  }

  private static func ecn(_ value: UInt8) -> String { ["not-ect", "ect1", "ect0", "ce"][Int(value & 3)] }
}
