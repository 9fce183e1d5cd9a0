// SPDX-License-Identifier: GPL-2.0-or-later

// Classes of queueing disciplines by message (net/sched/sch_api.c, tc_ctl_tclass; sch_htb.c, htb_change_class). An
// htb's are made and removed; tbf and netem have the one that their inner qdisc stands in.

import Rtnetlink

extension Kernel {
  /// The qdisc that a request means, the class, and the class's parent; 0 where there is none.
  private func subject(
    _ message: ClassMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> (qdisc: QdiscIndex, identifier: UInt32, parent: UInt32) {
    guard let device = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    var parent = message.parent.rawValue
    var identifier = message.handle.rawValue
    var major = identifier & 0xffff_0000
    let root = devices[device].qdisc
    if parent != Qdisc.root {
      let other = parent & 0xffff_0000
      guard major == 0 || other == 0 || major == other else { throw .invalidArgument }
      if major == 0 { major = other != 0 ? other : root.isNone ? 0 : qdiscs[root].handle }
      if parent != 0 { parent = major | parent & 0xffff }
    } else if major == 0 {
      major = root.isNone ? 0 : qdiscs[root].handle
    }
    guard let qdisc = qdisc(handle: major, of: device) else { throw .noSuchEntry }
    if identifier != 0 {
      identifier = major | identifier & 0xffff
    } else if parent == Qdisc.root {
      identifier = major
    }
    return (qdisc, identifier, parent)
  }

  mutating func changeClass(
    _ message: ClassMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let (index, identifier, parent) = try subject(message, in: namespace)
    guard case .hierarchicalTokenBucket(let tree) = qdiscs[index].kind else {
      switch qdiscs[index].kind {
      case .netem, .tokenBucket:
        // Their class, whatever it is called, is there, and has nothing to change.
        guard identifier != 0 || flags.contains(.create) else { throw .noSuchEntry }
        guard identifier == 0 || !flags.contains(.exclusive) else { throw .exists }
        throw KernelError(95)
      default: throw .invalidArgument
      }
    }
    let standing = trees[tree].find(identifier)
    if standing == nil {
      guard flags.contains(.create) else { throw .noSuchEntry }
    } else {
      guard !flags.contains(.exclusive) else { throw .exists }
    }
    guard case .htb(let options)? = message.kind, options.rate > 0, options.ceiling > 0 else {
      throw .invalidArgument
    }
    if let standing {
      apply(options, to: standing, of: tree)
      return
    }
    guard identifier & 0xffff != 0, identifier >> 16 == qdiscs[index].handle >> 16 else {
      throw .invalidArgument
    }
    try insertClass(
      identifier, under: parent == Qdisc.root ? nil : trees[tree].find(parent), options, index, tree)
  }

  private mutating func insertClass(
    _ identifier: UInt32, under parent: Int?, _ options: HTBClassOptions, _ index: QdiscIndex,
    _ tree: HTBIndex
  ) throws(KernelError) {
    if let parent {
      let above = trees[tree].classes[parent].parent
      if above >= 0, trees[tree].classes[above].level < 2 { throw .invalid("htb: tree is too deep") }
    }
    let leaf = try insertQdisc(
      .pfifo(limit: nil), on: qdiscs[index].device, handle: 0, place: identifier)
    qdiscs[leaf].isHidden = true
    qdiscs[leaf].parent = index
    var parentIdentifier: UInt32 = 0
    if let parent {
      parentIdentifier = trees[tree].classes[parent].identifier
      if trees[tree].classes[parent].level == 0 { makeInner(parent, of: index, tree) }
    }
    let rate = RateConfiguration(bytesPerSecond: options.rate)
    let ceiling = RateConfiguration(bytesPerSecond: options.ceiling)
    var new = HTBClass(
      identifier: identifier, parentIdentifier: parentIdentifier, rate: rate, ceiling: ceiling, buffer: 0,
      ceilingBuffer: 0, quantum: 0, priority: 0, tokens: 0, ceilingTokens: 0, checked: cpu.now)
    new.leaf = leaf
    trees[tree].insert(new)
    guard let place = trees[tree].find(identifier) else { return }
    apply(options, to: place, of: tree)
    trees[tree].classes[place].refill(now: cpu.now)
  }

  /// A leaf that gets a class below it has no queue any more.
  private mutating func makeInner(_ position: Int, of index: QdiscIndex, _ tree: HTBIndex) {
    let above = trees[tree].classes[position].parent
    let leaf = trees[tree].classes[position].leaf
    trees[tree].classes[position].level =
      (above >= 0 ? trees[tree].classes[above].level : HierarchicalTokenBucket.levels) - 1
    trees[tree].classes[position].leaf = .none
    guard !leaf.isNone else { return }
    let waiting = qdiscs[leaf].statistics
    reduceBacklog(around: leaf, packets: waiting.queueLength, bytes: waiting.backlog)
    destroyQdisc(leaf)
  }

  /// A class without a queue gets the usual one (htb_graft, htb_parent_to_leaf).
  mutating func giveLeaf(_ tree: HTBIndex, _ position: Int, of index: QdiscIndex) {
    let place = trees[tree].classes[position].identifier
    guard
      let leaf = try? insertQdisc(.pfifo(limit: nil), on: qdiscs[index].device, handle: 0, place: place)
    else { return }
    qdiscs[leaf].isHidden = true
    qdiscs[leaf].parent = index
    trees[tree].classes[position].leaf = leaf
  }

  private mutating func apply(_ options: HTBClassOptions, to position: Int, of tree: HTBIndex) {
    let rate = RateConfiguration(bytesPerSecond: options.rate)
    let ceiling = RateConfiguration(bytesPerSecond: options.ceiling)
    trees[tree].classes[position].rate = rate
    trees[tree].classes[position].ceiling = ceiling
    // As the message has them: in steps of 64 ns.
    trees[tree].classes[position].buffer = Self.bucket(options.burst, options.rate)
    trees[tree].classes[position].ceilingBuffer = Self.bucket(options.ceilingBurst, options.ceiling)
    guard trees[tree].classes[position].level == 0 else { return }
    let computed = min(options.rate / UInt64(trees[tree].rateToQuantum), UInt64(Int32.max))
    trees[tree].classes[position].quantum =
      options.quantum != 0 ? Int64(options.quantum) : Int64(min(max(computed, 1000), 200_000))
    trees[tree].classes[position].priority = min(
      options.priority, UInt32(HierarchicalTokenBucket.priorities - 1))
  }

  private static func bucket(_ bytes: UInt32, _ rate: UInt64) -> Int64 {
    let (high, low) = UInt64(bytes).multipliedFullWidth(by: 1_000_000_000)
    guard high < rate else { return SchedulerTicks.nanoseconds(.max) }
    let (quotient, remainder) = rate.dividingFullWidth((high, low))
    let time = Int64(clamping: remainder == 0 ? quotient : quotient &+ 1)
    return min(SchedulerTicks.whole(time &+ 63), SchedulerTicks.nanoseconds(.max))
  }

  mutating func deleteClass(_ message: ClassMessage, in namespace: NamespaceIndex) throws(KernelError) {
    let (index, identifier, _) = try subject(message, in: namespace)
    guard case .hierarchicalTokenBucket(let tree) = qdiscs[index].kind else {
      switch qdiscs[index].kind {
      case .netem, .tokenBucket: throw KernelError(95)
      default: throw .invalidArgument
      }
    }
    guard let position = trees[tree].find(identifier) else { throw .noSuchEntry }
    guard trees[tree].classes[position].level == 0 else { throw KernelError(16, "HTB class in use") }
    let parentIdentifier = trees[tree].classes[position].parentIdentifier
    let leaf = trees[tree].classes[position].leaf
    if !leaf.isNone {
      let waiting = qdiscs[leaf].statistics
      reduceBacklog(around: leaf, packets: waiting.queueLength, bytes: waiting.backlog)
      destroyQdisc(leaf)
    }
    trees[tree].remove(at: position)
    guard parentIdentifier != 0, let parent = trees[tree].find(parentIdentifier),
      !trees[tree].classes.contains(where: { $0.parent == parent })
    else { return }
    trees[tree].classes[parent].level = 0
    trees[tree].classes[parent].refill(now: cpu.now)
    giveLeaf(tree, parent, of: index)
  }

  // MARK: Showing

  func classEntries(_ filter: ClassMessage, in namespace: NamespaceIndex) -> [NetlinkMessage] {
    guard let device = device(ifindex: filter.index, in: namespace) else { return [] }
    let wanted = filter.parent.rawValue & 0xffff_0000
    var answers: [NetlinkMessage] = []
    for index in qdiscs(of: device) where !qdiscs[index].isHidden {
      guard wanted == 0 || filter.parent == .root || wanted == qdiscs[index].handle else { continue }
      switch qdiscs[index].kind {
      case .noQueue, .pfifo, .bfifo, .pfifoFast: break
      case .tokenBucket, .netem:
        let child = children(of: index).first
        if child == nil, case .netem = qdiscs[index].kind { continue }
        var message = ClassMessage(
          index: filter.index, parent: QdiscHandle(rawValue: qdiscs[index].handle),
          handle: QdiscHandle(rawValue: qdiscs[index].handle | 1), kind: .other(name(of: index), []))
        message.info = child.map { qdiscs[$0].handle } ?? 0
        answers.append(message.message(.newClass, []))
      case .hierarchicalTokenBucket(let tree):
        for position in trees[tree].classes.indices {
          answers.append(message(filter.index, tree, position).message(.newClass, []))
        }
      }
    }
    return answers
  }

  private func message(_ ifindex: Int32, _ tree: HTBIndex, _ position: Int) -> ClassMessage {
    let own = trees[tree].classes[position]
    var options = HTBClassOptions(
      rate: own.rate.bytesPerSecond, ceiling: own.ceiling.bytesPerSecond,
      burst: Self.told(own.buffer, own.rate.bytesPerSecond),
      ceilingBurst: Self.told(own.ceilingBuffer, own.ceiling.bytesPerSecond))
    options.quantum = UInt32(clamping: own.quantum)
    options.priority = own.priority
    options.level = UInt32(own.level)
    var message = ClassMessage(
      index: ifindex, parent: own.parentIdentifier == 0 ? .root : QdiscHandle(rawValue: own.parentIdentifier),
      handle: QdiscHandle(rawValue: own.identifier), kind: .htb(options))
    var statistics = own.statistics
    if !own.leaf.isNone {
      message.info = qdiscs[own.leaf].handle
      statistics.queueLength = qdiscs[own.leaf].statistics.queueLength
      statistics.backlog = qdiscs[own.leaf].statistics.backlog
    }
    message.statistics = Self.message(statistics)
    return message
  }
}
