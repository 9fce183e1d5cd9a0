// SPDX-License-Identifier: GPL-2.0-or-later

// What stands in the namespace that this process runs in, and the namespaces beside it: to tell whether the host is as it
// was before a lab. Whoever may change nothing may still look, so that nothing here enters another namespace.

import Glibc
public import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import SystemPackage

/// The host at a moment: its objects, without what comes and goes by itself.
public struct HostImage: Hashable, Sendable {
  private enum Owner: Hashable {
    case host
    /// Any lab may change it, and the last one puts it back.
    case setting(String)
    case lab(LabName)
    /// Whoever's namespace of this name it is.
    case namespace(String)
  }

  private struct Line: Hashable {
    var text: String
    var owner: Owner
  }

  /// How often each is there.
  private var lines: [Line: Int] = [:]
  /// What could not be read, and why.
  public private(set) var unread: [String] = []

  /// Looks at the host. Waits for the kernel.
  public init() throws(DatapathError) {
    do throws(NetlinkError) {
      let dump = try Self.dump()
      readObjects(dump)
      readRules()
      for name in try NamespaceDirectory(path: KernelDatapath.Site().namespaceDirectory).names() {
        add("network namespace '\(name)'", .namespace(name))
      }
    } catch {
      throw DatapathError(
        .unavailable, operation: "look at the host", errno: error.errno?.rawValue,
        cause: TransportError(error).cause)
    }
  }

  /// What is there and was not, and what is not and was, a line each; of what labs have, only this one's.
  /// - Parameter claimed: settings that other labs have changed.
  public func differences(
    from earlier: HostImage, of lab: LabName, claimed: Set<String>
  ) -> [String] {
    Set(lines.keys).union(earlier.lines.keys).filter { line in
      switch line.owner {
      case .host: true
      case .setting(let name): !claimed.contains(name)
      case .lab(let owner): owner == lab
      case .namespace(let name): name.hasPrefix("\(lab)-")
      }
    }.compactMap { line in
      let (now, before) = (lines[line] ?? 0, earlier.lines[line] ?? 0)
      return now == before ? nil : "\(now > before ? "left" : "gone"): \(line.text)"
    }.sorted()
  }

  private mutating func add(_ text: String, _ owner: Owner) {
    lines[Line(text: text, owner: owner), default: 0] += 1
  }
}

extension HostImage {
  /// Settings of the host that labs change.
  private static let settings = [
    "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv4/conf/default/forwarding",
    "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
  ]

  private static func dump() throws(NetlinkError) -> NamespaceDump {
    let socket = try NetlinkSocket()
    var dump = NamespaceDump()
    dump.links = try read(socket, LinkMessage.dump(extended: .skipStatistics))
    dump.addresses = try read(socket, AddressMessage.dump())
    dump.routes = try read(socket, RouteMessage.dump(.unspecified))
    dump.rules = try read(socket, RuleMessage.dump(.unspecified))
    dump.qdiscs = try read(socket, QdiscMessage.dump())
    for name in settings {
      if let value = value(of: name) { dump.sysctls.append(SysctlState(name: name, value: value)) }
    }
    return dump
  }

  private static func read<Message: RtnetlinkMessage>(
    _ socket: NetlinkSocket, _ request: NetlinkMessage
  ) throws(NetlinkError) -> [Message] {
    try socket.dump(request).map { (answer) throws(NetlinkError) in
      do throws(NetlinkDecodingError) { return try Message(answer) } catch {
        throw NetlinkError(.malformedAnswer, "reading the host", detail: error.description)
      }
    }
  }

  /// Nil where the kernel has no such setting.
  private static func value(of setting: String) -> String? {
    guard let file = fopen("/proc/sys/\(setting)", "re") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 64)
    guard fgets(&line, Int32(line.count), file) != nil else { return nil }
    return String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private mutating func readObjects(_ dump: NamespaceDump) {
    // Whose device it is, the mark tells; that of addresses is of no interest.
    guard let nobody = LabName("host") else { return }
    let read = ReadNamespace(id: .host, dump: dump)
    let (owned, unmarked) = StateDecoder(lab: nobody, addressesAreMarked: false).decode(
      read, among: ReadNames([read], host: dump.links))
    var owners: [String: LabName] = [:]
    for link in dump.links {
      if let name = link.name, let mark = link.alias.flatMap({ Ownership.parse(alias: $0) }) {
        owners[name] = mark.lab
      }
    }
    for object in owned.objects + unmarked.objects {
      let owner = object.devices.lazy.compactMap { owners[$0.text] }.first
      add(
        "\(object.path(in: .host))"
          + object.attributes.map { " \($0.name.rawValue)=\($0.value)" }.joined(),
        owner.map { .lab($0) } ?? object.setting.map { .setting($0) } ?? .host)
    }
  }

  private mutating func readRules() {
    let tables: [NftTable]
    do throws(NftablesError) {
      tables = try NftablesSocket(label: "host").observe(only: nil).tables
    } catch {
      // Only who may change rules may read them.
      unread.append("the host's rules: \(TransportError(error).cause)")
      return
    }
    for table in tables {
      let place = "\(table.key)"
      let owner: Owner = Ownership.lab(ofTable: table.name).map { .lab($0) } ?? .host
      add("table \(place)", owner)
      let listing = NftTableListing(table.normalized)
      for object in listing.objects { add("\(object.kind) \(object.name) of table \(place)", owner) }
      for flowtable in listing.flowtables ?? [] {
        add("flowtable \(flowtable.name) of table \(place)", owner)
      }
      for set in listing.sets {
        add(
          "\(set.kind) \(set.name) of table \(place): \(set.type) \(set.flags.joined(separator: ","))", owner)
        // What packets put there comes and goes.
        if !set.flags.contains("dynamic"), !set.flags.contains("timeout") {
          for element in set.elements { add("element of \(set.name) of table \(place): \(element)", owner) }
        }
      }
      for chain in listing.chains {
        let base = [chain.type, chain.hook, chain.priority.map { "\($0)" }, chain.policy].compactMap { $0 }
        add("chain \(chain.name) of table \(place): \(base.joined(separator: " "))", owner)
        for (number, rule) in chain.rules.enumerated() {
          add("rule \(number + 1) of chain \(chain.name) of table \(place): \(rule.rule)", owner)
        }
      }
    }
  }
}

extension StateObject {
  fileprivate var setting: String? { if case .sysctl(let state) = self { state.name } else { nil } }

  /// The device that it is, or those that it is on.
  fileprivate var devices: [InterfaceName] {
    switch self {
    case .link(let state): [state.name]
    case .address(let state): [state.link]
    case .neighbor(let state): [state.link]
    case .fdb(let state): [state.link]
    case .qdisc(let state): [state.link]
    case .route(let state): state.nextHops.compactMap(\.link)
    default: []
    }
  }
}
