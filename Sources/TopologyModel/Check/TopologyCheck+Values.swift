// SPDX-License-Identifier: GPL-2.0-or-later

// From text and numbers to values. Each complains about what it cannot take and gives nil.

import LabCore
import NetTypes

extension TopologyCheck {
  mutating func address(_ text: String, _ who: String, at location: SourceLocation) -> IPAddress? {
    guard let address = IPAddress(text) else {
      let advice = IPPrefix(text) != nil ? "; leave the prefix length out" : ""
      fail("\(who) '\(text)' is not an IPv4 or IPv6 address\(advice)", at: location)
      return nil
    }
    return address
  }

  /// A prefix whose host bits are clear.
  mutating func network(_ text: String, _ who: String, at location: SourceLocation) -> IPPrefix? {
    guard let prefix = IPPrefix(text) else {
      fail("\(who) '\(text)' is not an IPv4 or IPv6 prefix such as 10.0.0.0/24", at: location)
      return nil
    }
    guard prefix.network == prefix else {
      fail("\(who) '\(text)' has bits set beyond its length; did you mean '\(prefix.network)'?", at: location)
      return nil
    }
    return prefix
  }

  /// An address, a prefix or a range `a-b`.
  mutating func addressRange(_ text: String, _ who: String, at location: SourceLocation) -> Topology
    .AddressRange?
  {
    guard text.contains("-") else { return network(text, who, at: location).map { .prefix($0) } }
    return range(text, who, at: location).map { .range($0) }
  }

  /// A range of addresses, or a single one.
  mutating func range(_ text: String, _ who: String, at location: SourceLocation) -> ClosedRange<IPAddress>? {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard let first = parts.first.flatMap({ IPAddress($0) }),
      let last = parts.last.flatMap({ IPAddress($0) }),
      parts.count <= 2, first.family == last.family, first <= last
    else {
      fail("\(who) '\(text)' is not an address or a range such as 10.0.0.1-10.0.0.9", at: location)
      return nil
    }
    return first...last
  }

  mutating func mac(_ text: String, _ who: String, at location: SourceLocation) -> MACAddress? {
    guard let mac = MACAddress(text) else {
      fail("\(who): '\(text)' is not a MAC address such as 02:00:00:00:00:01", at: location)
      return nil
    }
    guard mac != .zero, !mac.isMulticast else {
      let why = mac == .zero ? "all zero" : "a group's address, its first byte being odd"
      fail(
        "\(who): MAC address \(mac) is \(why); an interface needs one of its own, such as 02:00:00:00:00:01",
        at: location)
      return nil
    }
    return mac
  }

  mutating func mtu(_ reader: Reader, _ who: String) -> Int? {
    integer(reader, "mtu", 68...65535, "\(who): MTU")
  }

  /// A number within its range, where the key is there.
  mutating func integer(_ reader: Reader, _ key: String, _ range: ClosedRange<Int>, _ who: String) -> Int? {
    guard let value = reader.integer(key) else { return nil }
    return inRange(value, range, who, at: reader.location)
  }

  mutating func inRange(_ value: Int, _ range: ClosedRange<Int>, _ who: String, at location: SourceLocation)
    -> Int?
  {
    guard range.contains(value) else {
      fail(
        "\(who) \(value) is out of range; it should be \(range.lowerBound)...\(range.upperBound)",
        at: location)
      return nil
    }
    return value
  }

  mutating func number32(_ reader: Reader, _ key: String, from lowest: Int = 0, _ who: String) -> UInt32? {
    integer(reader, key, lowest...Int(UInt32.max), who).flatMap { UInt32(exactly: $0) }
  }

  mutating func port(_ value: Int, _ who: String, at location: SourceLocation) -> Port? {
    inRange(value, 1...65535, "\(who): port", at: location).flatMap { Port(exactly: $0) }
  }

  /// `80` or `8000-8010`.
  mutating func ports(_ text: String, _ who: String, at location: SourceLocation) -> ClosedRange<Port>? {
    let parts = text.split(separator: "-", maxSplits: 1).compactMap { Int($0) }
    guard let first = parts.first, let last = parts.last, first <= last, !text.hasPrefix("-") else {
      if let value = Int(text) { return port(value, who, at: location).map { $0...$0 } }
      fail("\(who): '\(text)' is not a port or a range of ports", at: location)
      return nil
    }
    guard let low = port(first, who, at: location), let high = port(last, who, at: location) else {
      return nil
    }
    return low...high
  }

  mutating func nanoseconds(
    _ reader: Reader, _ key: String, _ who: String, upTo limit: Int64 = 86_400_000_000_000
  ) -> Interval? {
    guard let value = reader.integer(key) else { return nil }
    guard (0...limit).contains(Int64(value)) else {
      let limit = Interval(nanoseconds: limit)
      fail(
        "\(who) of \(Interval(nanoseconds: Int64(value))) is out of range; it should be 0...\(limit)",
        at: reader.location)
      return nil
    }
    return Interval(nanoseconds: Int64(value))
  }

  /// One of the words that an enumeration is made of.
  mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ text: String, _ who: String, at location: SourceLocation
  ) -> Choice? where Choice.RawValue == String {
    if let choice = Choice(rawValue: text) { return choice }
    let all = Choice.allCases.map(\.rawValue)
    fail("\(who): '\(text)' is none of \(all.joined(separator: ", "))\(didYouMean(text, all))", at: location)
    return nil
  }

  mutating func labels(_ reader: Reader, _ who: String) -> [String: String] {
    let labels = reader.labels("labels")
    for key in labels.keys.sorted()
    where key.isEmpty || key.contains(where: { $0 == "=" || $0 == "," || $0.isWhitespace }) {
      fail("\(who): label '\(key)' should have a name without '=', ',' and blanks", at: reader.location)
    }
    return labels
  }

  mutating func bridgeOptions(_ reader: Reader, _ who: String) -> Topology.BridgeOptions {
    Topology.BridgeOptions(
      stp: reader.flag("stp"),
      ageing: nanoseconds(reader, "ageingNanoseconds", "\(who): ageing", upTo: 1_000_000_000_000_000),
      vlanFiltering: reader.flag("vlanFiltering"), multicastSnooping: reader.flag("multicastSnooping"),
      priority: integer(reader, "priority", 0...65535, "\(who): priority"))
  }

  /// The options of a bridge port, for a bridge that looks at VLAN tags or does not.
  mutating func portOptions(
    _ reader: Reader, _ who: String, filtering: Bool, bridge: String
  ) -> Topology.PortOptions {
    var vlans: [Int: PortVLAN] = [:]
    let access = reader.integer("access")
    let native = reader.integer("native")
    for (value, isTagged) in reader.integers("trunk").map({ ($0, true) })
      + [access, native].compactMap({ $0 }).map({ ($0, false) })
    {
      guard let id = inRange(value, 1...4094, "\(who): VLAN", at: reader.location),
        let number = UInt16(exactly: id)
      else { continue }
      vlans[id] = PortVLAN(id: number, isPVID: !isTagged, isUntagged: !isTagged)
    }
    if access != nil, native != nil || !reader.integers("trunk").isEmpty {
      fail("\(who): a port is either access or trunk, not both", at: reader.location)
    }
    if !vlans.isEmpty, !filtering {
      fail(
        "\(who): VLANs of a port mean nothing while \(bridge) does not filter; give the bridge vlanFiltering: true",
        at: reader.location)
    }
    return Topology.PortOptions(
      vlans: vlans.values.sorted(), isolated: reader.flag("isolated"), hairpin: reader.flag("hairpin"),
      learning: reader.flag("learning"))
  }

  mutating func impairment(of reader: Reader, _ who: String) -> Topology.Impairment {
    var rate: Int64?
    if let value = reader.number("rateBitsPerSecond") {
      if value >= 8, value <= 1e15 {
        rate = Int64(value)
      } else {
        fail(
          "\(who): rate of \(value) bit/s is out of range; it should be 8 bit/s to 1 Pbit/s",
          at: reader.location)
      }
    }
    var result = Topology.Impairment(
      rate: rate, delay: nanoseconds(reader, "delayNanoseconds", "\(who): delay", upTo: 3_600_000_000_000),
      jitter: nanoseconds(reader, "jitterNanoseconds", "\(who): jitter", upTo: 3_600_000_000_000),
      loss: percent(reader, "loss", who), duplicate: percent(reader, "duplicate", who),
      reorder: percent(reader, "reorder", who), corrupt: percent(reader, "corrupt", who),
      limit: integer(reader, "limit", 1...Int(UInt32.max), "\(who): limit"), seed: reader.unsigned("seed"),
      location: reader.location)
    let delay = result.delay ?? .zero
    if (result.reorder ?? 0) > 0, delay == .zero, reader.integer("delayNanoseconds") ?? 0 == 0 {
      fail(
        "\(who): packets can overtake others only where those are delayed; give a delay with reorder",
        at: reader.location)
      result.reorder = nil
    }
    if let jitter = result.jitter, jitter > delay, reader.integer("delayNanoseconds") ?? 0 >= 0 {
      fail(
        "\(who): jitter of \(jitter) is more than the delay of \(delay); packets cannot arrive before they were sent",
        at: reader.location)
    }
    return result
  }

  private mutating func percent(_ reader: Reader, _ name: String, _ who: String) -> Double? {
    guard let value = reader.number(name + "Percent") else { return nil }
    guard (0...100).contains(value) else {
      fail("\(who): \(name) of \(value) per cent is out of range; it should be 0...100", at: reader.location)
      return nil
    }
    return value
  }
}
