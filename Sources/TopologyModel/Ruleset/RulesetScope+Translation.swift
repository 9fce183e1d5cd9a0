// SPDX-License-Identifier: GPL-2.0-or-later

// NAT from nft's JSON, and the named objects of a table.

import NetTypes
import Nftables

extension RulesetScope {
  static func flags(_ item: JSON) throws(RulesetError) -> NftNATFlags {
    var flags: NftNATFlags = []
    if case .null = item { return flags }
    for word in try item.texts("flags") {
      switch word {
      case "random": flags.insert(.random)
      case "fully-random": flags.insert(.fullyRandom)
      case "persistent": flags.insert(.persistent)
      case "netmap": flags.insert(.netmap)
      default: throw RulesetError("NAT has no flag '\(word)'")
      }
    }
    return flags
  }

  func ports(_ value: JSON?) throws(RulesetError) -> PortRange? {
    guard let value else { return nil }
    func port(_ value: JSON) throws(RulesetError) -> Port {
      guard case .number(let digits) = value, let port = Port(digits) else {
        throw RulesetError("\(value.kindName) is no port")
      }
      return port
    }
    if case .array(let ends)? = value["range"], ends.count == 2 {
      return PortRange(try port(ends[0]), try port(ends[1]))
    }
    return PortRange(try port(value))
  }

  func translation(_ kind: NftNAT.Kind, _ item: JSON) throws(RulesetError) -> Translation {
    let words: [String: IPFamily] = ["ip": .ipv4, "ip6": .ipv6]
    let word = try item.text("family") ?? family.rawValue
    let flags = try Self.flags(item)
    let ports = try ports(item["port"])
    guard let value = item["addr"] else {
      guard let ports, let family = words[word] else { throw RulesetError("NAT to nothing") }
      return Translation(kind, to: .ports(ports, family), flags: flags)
    }
    if let map = value["map"] {
      guard ports == nil, let family = words[word] else {
        throw RulesetError("NAT by a map is not understood")
      }
      return Translation(kind, to: try target(map, family), flags: flags)
    }
    if let range = value["range"] {
      guard case .array(let ends) = range, ends.count == 2, case .string(let low) = ends[0],
        case .string(let high) = ends[1]
      else { throw RulesetError("a range has two addresses") }
      let target = Translation.Target.address(
        try Self.address(low), try Self.address(high), ports: ports)
      return Translation(kind, to: target, flags: flags)
    }
    if let prefix = value["prefix"] {
      guard let length = try prefix.integer("len"),
        let network = IPPrefix("\(try prefix.requiredText("addr"))/\(length)")
      else { throw RulesetError("a prefix is an address and a length") }
      let target = Translation.Target.address(network.network.address, network.last, ports: ports)
      return Translation(kind, to: target, flags: flags)
    }
    guard case .string(let text) = value else { throw RulesetError("NAT to \(value.kindName)") }
    return Translation(kind, to: .address(try Self.address(text), ports: ports), flags: flags)
  }

  private func target(_ map: JSON, _ family: IPFamily) throws(RulesetError) -> Translation.Target {
    guard let left = map["key"], let data = map["data"] else { throw RulesetError("an empty map") }
    let selectors = try selectors(left)
    if case .string(let text) = data, text.hasPrefix("@") {
      let name = String(text.dropFirst())
      guard case .value(let types)? = sets.first(where: { $0.name == name })?.data else {
        throw RulesetError("there is no map '\(name)' to addresses in the table")
      }
      return .namedMap(selectors, name, family, withPort: types.count > 1)
    }
    guard case .array(let items)? = data["set"] else { throw RulesetError("a map has a list of pairs") }
    var entries: [Translation.MapEntry] = []
    for item in items {
      guard case .array(let pair) = item, pair.count == 2 else {
        throw RulesetError("an element of a map is a key and a value")
      }
      let key = try self.key(pair[0], selectors.map(\.type))
      if case .array(let parts)? = pair[1]["concat"], parts.count == 2, case .string(let text) = parts[0],
        let port = try ports(parts[1])
      {
        entries.append(.init(key: key, address: try Self.address(text), port: port.first))
      } else if case .string(let text) = pair[1] {
        entries.append(.init(key: key, address: try Self.address(text)))
      } else {
        throw RulesetError("a map leads to addresses, or to pairs of address and port")
      }
    }
    return .map(selectors, entries)
  }
}

extension RulesetScope {
  /// What a SYN proxy offers; a statement that says nothing of it has null there.
  static func synproxy(_ item: JSON) throws(RulesetError) -> NftSynproxy {
    var proxy = NftSynproxy()
    if case .null = item { return proxy }
    if let size = try item.integer("mss") {
      guard let size = UInt16(exactly: size) else { throw RulesetError("a synproxy's MSS has 16 bits") }
      proxy.maximumSegment = size
      proxy.flags |= 1
    }
    if let scale = try item.integer("wscale") {
      guard let scale = UInt8(exactly: scale) else { throw RulesetError("a synproxy's scale has 8 bits") }
      proxy.windowScale = scale
      proxy.flags |= 2
    }
    for word in try item.texts("flags") {
      switch word {
      case "timestamp": proxy.flags |= 8
      case "sack-perm": proxy.flags |= 4
      default: throw RulesetError("a synproxy has no flag '\(word)'")
      }
    }
    return proxy
  }
}

extension RulesetReader {
  /// A named object.
  func object(_ kind: String, _ item: JSON) throws(RulesetError) -> NftObject.State {
    switch kind {
    case "counter": return .counter(NftCounter())
    case "quota": return .quota(try RulesetScope.quota(item))
    case "limit": return .limit(try RulesetScope.limit(item))
    case "synproxy":
      let proxy = try RulesetScope.synproxy(item)
      guard proxy.flags & 3 == 3 else { throw RulesetError("a synproxy has an MSS and a window scale") }
      return .synproxy(proxy)
    default: break
    }
    let networks: [String: NetworkFamily] = ["ip": .ipv4, "ip6": .ipv6]
    let network = try item.text("l3proto").flatMap { networks[$0] }
    let transports: [String: UInt8] = ["tcp": 6, "udp": 17]
    guard let transport = transports[try item.requiredText("protocol")] else {
      throw RulesetError("it is of TCP or of UDP")
    }
    switch kind {
    case "ct helper":
      return .ctHelper(
        NftCtHelper(helper: try item.requiredText("type"), network: network, transport: transport))
    case "ct timeout":
      var seconds: [String: UInt32] = [:]
      guard case .object(let members)? = item["policy"] else { throw RulesetError("timeouts without times") }
      for member in members {
        guard case .number(let digits) = member.value, let value = UInt32(digits) else {
          throw RulesetError("'\(member.key)' is no number of seconds")
        }
        seconds[member.key] = value
      }
      guard let timeout = NftCtTimeout(network: network, transport: transport, seconds: seconds) else {
        throw RulesetError("a state is not known")
      }
      return .ctTimeout(timeout)
    default:
      guard let port = try item.integer("dport").flatMap({ UInt16(exactly: $0) }),
        let timeout = try item.integer("timeout").flatMap({ UInt32(exactly: $0) }),
        let size = try item.integer("size").flatMap({ UInt8(exactly: $0) })
      else { throw RulesetError("an expectation has a port, a time and a size") }
      return .ctExpectation(
        NftCtExpectation(
          network: network, transport: transport, destinationPort: port, timeout: timeout, size: size))
    }
  }
}
