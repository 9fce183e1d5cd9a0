// SPDX-License-Identifier: GPL-2.0-or-later

// Changes of a plan become messages, each of which knows the change that it serves. Messages are sorted into rounds:
// within a round every namespace gets its messages in one go, in the order of the plan; a later round may rely on what
// an earlier one did in another namespace. A pair of devices between two namespaces is what makes a second round.

import LabCore
import NetTypes
import Nftables
import Rtnetlink

/// One thing to do in a namespace.
struct Step: Sendable {
  enum Action: Sendable {
    case message(NetlinkMessage)
    case sysctl(SysctlState)
    case nftables
  }

  var action: Action
  /// The change's position in the batch.
  var change: Int
  /// What a refusal says was being done: `set the mtu of`.
  var verb: StaticString
}

/// What can be sent without waiting for another namespace.
struct Round {
  /// In the order in which the plan first names them.
  private(set) var order: [NamespaceID] = []
  private(set) var steps: [NamespaceID: [Step]] = [:]

  mutating func append(_ step: Step, in namespace: NamespaceID) {
    steps[namespace, default: []].append(step)
    if steps.count > order.count { order.append(namespace) }
  }
}

/// Where an encoder learns what it cannot know from the plan.
protocol EncoderSource {
  /// The devices of a namespace, as last seen.
  mutating func links(of namespace: NamespaceID) throws(TransportError) -> LinkTable
  /// A descriptor of a namespace.
  mutating func handle(of namespace: NamespaceID) throws(TransportError) -> Int32
}

/// Why a change cannot be encoded.
enum EncodingFailure: Error {
  case transport(TransportError)
  /// A device that the change names is not there.
  case missingLink(InterfaceName, NamespaceID)
  /// The plan asks for what the kernel has no message for.
  case impossible(String)
}

/// Turns the changes of one batch into rounds.
struct BatchEncoder<Source: EncoderSource> {
  let ownership: Ownership
  let changes: [Change]
  var source: Source
  private(set) var rounds: [Round] = []
  private var position: [NamespaceID: Int] = [:]
  var tables: [NamespaceID: LinkTable] = [:]

  /// The devices that this batch creates, by where they stand.
  let creations: [LinkReference: (change: Int, link: LinkState)]
  /// Devices that came into being with the other end of their pair, and what has been said of them.
  var born: [LinkReference: Creation] = [:]
  /// Devices that went with the other end of their pair.
  var gone: Set<LinkReference> = []
  /// The namespaces that this batch removes; what is in them needs no message.
  let doomedNamespaces: Set<NamespaceID>
  /// Settings of devices that this batch creates wait for their device.
  var waitingSysctls: [LinkReference: [Step]] = [:]
  var doomedLinks: [NamespaceID: [(index: Int32, change: Int)]] = [:]

  /// The change that is being encoded.
  var current = 0

  init(_ changes: [Change], ownership: Ownership, tables: [NamespaceID: LinkTable], source: Source) {
    self.changes = changes
    self.ownership = ownership
    self.tables = tables
    self.source = source
    var creations: [LinkReference: (change: Int, link: LinkState)] = [:]
    var doomed: Set<NamespaceID> = []
    // By their places: most are settings, and a change is large.
    for index in changes.indices {
      let namespace = changes[index].path.namespace
      switch (changes[index].path.kind, changes[index].operation) {
      case (.link, .create), (.link, .replace):
        guard case .link(let link) = changes[index].after else { continue }
        creations[LinkReference(namespace, link.name)] = (index, link)
      case (.namespace, .delete): doomed.insert(namespace)
      default: break
      }
    }
    self.creations = creations
    doomedNamespaces = doomed
  }

  // MARK: Rounds

  mutating func emit(_ action: Step.Action, in namespace: NamespaceID, _ verb: StaticString) {
    append(Step(action: action, change: current, verb: verb), in: namespace)
  }

  mutating func emit(_ message: NetlinkMessage, in namespace: NamespaceID, _ verb: StaticString) {
    emit(.message(message), in: namespace, verb)
  }

  mutating func append(_ step: Step, in namespace: NamespaceID) {
    let index = position[namespace, default: 0]
    while rounds.count <= index { rounds.append(Round()) }
    rounds[index].append(step, in: namespace)
  }

  /// What comes next in `follower` relies on what was just said in `leader`.
  mutating func follow(_ follower: NamespaceID, after leader: NamespaceID) {
    guard follower != leader else { return }
    position[follower] = max(position[follower, default: 0], position[leader, default: 0] + 1)
  }

  /// Takes the rounds that are ready and begins anew.
  mutating func takeRounds() -> [Round] {
    defer {
      rounds = []
      position = [:]
    }
    return rounds
  }

  // MARK: Devices

  mutating func table(_ namespace: NamespaceID) throws(EncodingFailure) -> LinkTable {
    if let known = tables[namespace] { return known }
    do throws(TransportError) {
      let table = try source.links(of: namespace)
      tables[namespace] = table
      return table
    } catch {
      throw .transport(error)
    }
  }

  mutating func index(of link: InterfaceName, in namespace: NamespaceID) throws(EncodingFailure) -> Int32 {
    guard let index = try table(namespace)[link] else { throw .missingLink(link, namespace) }
    return index
  }

  mutating func handle(of namespace: NamespaceID) throws(EncodingFailure) -> Int32 {
    do throws(TransportError) { return try source.handle(of: namespace) } catch { throw .transport(error) }
  }

  // MARK: Changes

  /// Encodes the change at a position of the batch.
  mutating func encode(_ index: Int) throws(EncodingFailure) {
    current = index
    let namespace = changes[index].path.namespace
    guard !doomedNamespaces.contains(namespace) else { return }
    switch changes[index].path.kind {
    case .namespace: break
    case .sysctl: encodeSysctl(changes[index].after, in: namespace)
    case .link: try encodeLink(changes[index], in: namespace)
    case .address: try encodeAddress(changes[index], in: namespace)
    case .route: try encodeRoute(changes[index], in: namespace)
    case .policyRule: try encodePolicyRule(changes[index], in: namespace)
    case .neighbor: try encodeNeighbor(changes[index], in: namespace)
    case .fdb: try encodeForwardingEntry(changes[index], in: namespace)
    case .qdisc: try encodeQdisc(changes[index], in: namespace)
    case .nftTable, .nftObject, .nftFlowtable, .nftSet, .nftElement, .nftChain, .nftRule:
      emit(.nftables, in: namespace, "change")
    }
  }

  private mutating func encodeSysctl(_ object: StateObject?, in namespace: NamespaceID) {
    // A setting that is no longer asked for stays: what it was before is the plan's business, as an update.
    guard case .sysctl(let setting) = object else { return }
    let step = Step(action: .sysctl(setting), change: current, verb: "write")
    if let name = Self.device(of: setting.name), tables[namespace]?[name] == nil,
      creations[LinkReference(namespace, name)] != nil
    {
      waitingSysctls[LinkReference(namespace, name), default: []].append(step)
    } else {
      append(step, in: namespace)
    }
  }

  /// The one device that a setting is of: `net/ipv6/conf/eth0/forwarding`. Most are of none, which is found out without
  /// taking them apart.
  private static func device(of setting: String) -> InterfaceName? {
    var rest = setting.utf8[...]
    func next() -> Substring.UTF8View? {
      guard let end = rest.firstIndex(of: 0x2f) else { return nil }
      defer { rest = rest[end...].dropFirst() }
      return rest[..<end]
    }
    guard next() != nil, next() != nil, let group = next(),
      group.elementsEqual("conf".utf8) || group.elementsEqual("neigh".utf8), let scope = next(),
      !scope.elementsEqual("all".utf8), !scope.elementsEqual("default".utf8)
    else { return nil }
    return InterfaceName(Substring(scope))
  }

  /// Says what was kept for the end: the deletion of devices, all of a namespace at once.
  mutating func finish() {
    for namespace in doomedLinks.keys.sorted() {
      guard let links = doomedLinks[namespace], let last = links.last else { continue }
      guard links.count > 1 else {
        current = last.change
        emit(LinkMessage(index: last.index).request(.delete), in: namespace, "delete")
        continue
      }
      for link in links {
        current = link.change
        var message = LinkMessage(index: link.index)
        message.group = ownership.doomedGroup
        emit(message.request(.change), in: namespace, "delete")
      }
      emit(LinkMessage.deleteGroup(ownership.doomedGroup), in: namespace, "delete")
    }
    doomedLinks = [:]
  }
}
