// SPDX-License-Identifier: GPL-2.0-or-later

// Packets through an htb (net/sched/sch_htb.c, htb_enqueue, htb_dequeue, htb_charge_class).

extension Kernel {
  typealias HTBIndex = TableIndex<HierarchicalTokenBucket>

  /// Which class a packet's priority names, else the default one; nil for a packet of no class (htb_classify).
  private func treeClass(_ slot: Slot, of index: QdiscIndex, _ tree: HTBIndex) -> Int? {
    let handle = qdiscs[index].handle
    let priority = pool[slot].priority
    if priority == handle { return nil }
    if let named = trees[tree].find(priority), trees[tree].classes[named].level == 0 { return named }
    let standard = handle & 0xffff_0000 | trees[tree].defaultClass & 0xffff
    guard let found = trees[tree].find(standard), trees[tree].classes[found].level == 0 else { return nil }
    return found
  }

  mutating func treeEnqueue(_ slot: Slot, into index: QdiscIndex, _ tree: HTBIndex) -> Bool {
    let bytes = length(of: slot)
    guard let place = treeClass(slot, of: index, tree) else {
      guard qdiscs[index].bands[0].count < trees[tree].directLimit else {
        queueDrops(slot, by: index)
        return false
      }
      qdiscs[index].bands[0].append(slot, pool)
      trees[tree].directPackets &+= 1
      queueGrows(index, by: bytes)
      return true
    }
    guard enqueue(slot, into: trees[tree].classes[place].leaf) else {
      qdiscs[index].statistics.drops &+= 1
      trees[tree].classes[place].statistics.drops &+= 1
      return false
    }
    queueGrows(index, by: bytes)
    return true
  }

  mutating func treeDequeue(from index: QdiscIndex, _ tree: HTBIndex) -> Slot {
    let direct = qdiscs[index].bands[0].pop(pool)
    if direct != .none { return treeDeliver(direct, from: index) }
    guard qdiscs[index].statistics.queueLength > 0 else { return .none }
    // A leaf whose queue holds back what it has is passed over; the others get their turn.
    var skipped: [Int] = []
    while true {
      let (row, next) = feed(tree, without: skipped)
      guard let row else {
        scheduleQueue(index, at: next)
        return .none
      }
      let (level, priority) = (
        row / HierarchicalTokenBucket.priorities, row % HierarchicalTokenBucket.priorities
      )
      let leaf = nextLeaf(of: tree, level, priority)
      let slot = dequeue(from: trees[tree].classes[leaf].leaf)
      guard slot != .none else {
        advance(tree, past: leaf, level, priority)
        skipped.append(leaf)
        continue
      }
      let bytes = length(of: slot)
      trees[tree].classes[leaf].statistics.packets &+= UInt64(pool.segmentCount(slot))
      trees[tree].classes[leaf].statistics.bytes &+= UInt64(bytes)
      trees[tree].classes[leaf].deficits[level] &-= Int64(bytes)
      if trees[tree].classes[leaf].deficits[level] < 0 {
        trees[tree].classes[leaf].deficits[level] &+= trees[tree].classes[leaf].quantum
        advance(tree, past: leaf, level, priority)
      }
      charge(tree, from: leaf, at: level, bytes)
      qdiscs[index].statistics.overlimits = trees[tree].classes.reduce(0) { $0 + $1.statistics.overlimits }
      return treeDeliver(slot, from: index)
    }
  }

  private mutating func treeDeliver(_ slot: Slot, from index: QdiscIndex) -> Slot {
    let bytes = length(of: slot)
    queueShrinks(index, by: bytes)
    queueSends(index, slot, bytes)
    return slot
  }

  /// Marks, from every leaf with packets upwards, by which classes it may send. The answer is the first row (level,
  /// then priority) that has one, and when to look again if there is none.
  private mutating func feed(_ tree: HTBIndex, without skipped: [Int]) -> (row: Int?, next: Int64) {
    var best: Int?
    var next = cpu.now &+ 5_000_000_000
    for position in trees[tree].classes.indices { trees[tree].classes[position].feeds = 0 }
    for leaf in trees[tree].classes.indices {
      let queue = trees[tree].classes[leaf].leaf
      guard !queue.isNone, qdiscs[queue].statistics.queueLength > 0, !skipped.contains(leaf) else { continue }
      let priority = trees[tree].classes[leaf].priority
      var position = leaf
      while position >= 0 {
        let (mode, wait) = trees[tree].classes[position].modeNow(cpu.now)
        changeMode(tree, position, mode)
        if wait > 0 { next = min(next, cpu.now &+ wait) }
        guard mode != .cannotSend else { break }
        trees[tree].classes[position].feeds |= 1 << UInt8(priority)
        if mode == .canSend {
          let row = trees[tree].classes[position].level * HierarchicalTokenBucket.priorities + Int(priority)
          best = min(best ?? row, row)
          break
        }
        position = trees[tree].classes[position].parent
      }
    }
    return (best, next)
  }

  private mutating func changeMode(_ tree: HTBIndex, _ position: Int, _ mode: HTBClass.Mode) {
    guard trees[tree].classes[position].mode != mode else { return }
    trees[tree].classes[position].mode = mode
    if mode == .cannotSend { trees[tree].classes[position].statistics.overlimits &+= 1 }
  }

  /// Whose turn it is in a row that has a leaf (htb_lookup_leaf): from the class that may send down to a leaf, at each
  /// step the first one from where the last round ended; a round that has ended gives the turn to the next class above.
  private mutating func nextLeaf(of tree: HTBIndex, _ level: Int, _ priority: Int) -> Int {
    let row = level * HierarchicalTokenBucket.priorities + priority
    var path: [Int] = []
    while true {
      let parent = path.last
      let from = parent.map { trees[tree].classes[$0].pointers[priority] } ?? trees[tree].rows[row]
      if let found = member(of: tree, under: parent, level, priority, from: from) {
        setPointer(tree, parent, row, priority, trees[tree].classes[found].identifier)
        guard trees[tree].classes[found].level > 0 else { return found }
        path.append(found)
        continue
      }
      setPointer(tree, parent, row, priority, 0)
      if let parent {
        path.removeLast()
        setPointer(tree, path.last, row, priority, trees[tree].classes[parent].identifier &+ 1)
      }
    }
  }

  private mutating func setPointer(
    _ tree: HTBIndex, _ parent: Int?, _ row: Int, _ priority: Int, _ identifier: UInt32
  ) {
    if let parent {
      trees[tree].classes[parent].pointers[priority] = identifier
    } else {
      trees[tree].rows[row] = identifier
    }
  }

  /// The first class from `from` on that leads to a packet: of those that may send at a level, or that borrow from one
  /// class.
  private func member(of tree: HTBIndex, under parent: Int?, _ level: Int, _ priority: Int, from: UInt32)
    -> Int?
  {
    let bit = UInt8(1) << UInt8(priority)
    return trees[tree].classes.indices.first { position in
      let candidate = trees[tree].classes[position]
      guard candidate.identifier >= from, candidate.feeds & bit != 0 else { return false }
      if let parent { return candidate.parent == parent && candidate.mode == .mayBorrow }
      return candidate.level == level && candidate.mode == .canSend
    }
  }

  /// Gives the turn to the class behind a leaf.
  private mutating func advance(_ tree: HTBIndex, past leaf: Int, _ level: Int, _ priority: Int) {
    let row = level * HierarchicalTokenBucket.priorities + priority
    let parent = level > 0 ? trees[tree].classes[leaf].parent : -1
    setPointer(
      tree, parent < 0 ? nil : parent, row, priority, trees[tree].classes[leaf].identifier &+ 1)
  }

  /// Takes a packet's time from the leaf and all above it; those below the level that lent it only from their ceiling.
  private mutating func charge(_ tree: HTBIndex, from leaf: Int, at level: Int, _ bytes: Int) {
    var position = leaf
    while position >= 0 {
      let own = trees[tree].classes[position].level
      if own == level { trees[tree].classes[position].lends &+= 1 }
      if own < level { trees[tree].classes[position].borrows &+= 1 }
      trees[tree].classes[position].charge(bytes, own: own >= level, now: cpu.now)
      changeMode(tree, position, trees[tree].classes[position].modeNow(cpu.now).mode)
      if own > 0 {
        trees[tree].classes[position].statistics.packets &+= 1
        trees[tree].classes[position].statistics.bytes &+= UInt64(bytes)
      }
      position = trees[tree].classes[position].parent
    }
  }
}
