// SPDX-License-Identifier: GPL-2.0-or-later

// What sockets have on its way out: sk_wmem_alloc. A packet that a socket sends is charged to it until the packet ends
// or comes to somebody else (skb_set_owner_w, sock_wfree, skb_orphan), so that a slow link holds back who fills it.
// A clone belongs to nobody.

/// Bytes of the pool that each socket's packets hold, by the socket's index.
@safe struct WriteAccounts: ~Copyable {
  private struct Account: BitwiseCopyable {
    var charged: Int32 = 0
    /// Whoever waits is told once no more than this is charged; negative: nobody waits.
    var threshold: Int32 = -1
  }

  /// Of each packet that is charged, the socket and how much.
  private struct Charge: BitwiseCopyable {
    var owner: UInt32
    var size: Int32
  }

  private let charges: UnsafeMutablePointer<Charge>
  private var accounts: UnsafeMutablePointer<Account>?
  private var capacity = 0
  /// Sockets that have as much room as they wait for.
  var released: SlotRing

  init(packets: Int) {
    unsafe charges = .allocate(capacity: packets)
    released = SlotRing(limit: 1 << 24)
  }

  deinit {
    unsafe charges.deallocate()
    unsafe accounts?.deallocate()
  }

  func charged(to owner: UInt32) -> Int {
    guard let accounts = unsafe accounts, Int(owner) < capacity else { return 0 }
    return Int(unsafe accounts[Int(owner)].charged)
  }

  mutating func charge(_ slot: Slot, to owner: UInt32, _ size: Int) {
    if Int(owner) >= capacity { grow(to: Int(owner) + 1) }
    unsafe charges[Int(slot.index)] = Charge(owner: owner, size: Int32(clamping: size))
    unsafe accounts.unsafelyUnwrapped[Int(owner)].charged &+= Int32(clamping: size)
  }

  /// Who sent a packet that is charged.
  func owner(of slot: Slot) -> UInt32 { unsafe charges[Int(slot.index)].owner }

  mutating func release(_ slot: Slot) {
    let charge = unsafe charges[Int(slot.index)]
    guard let accounts = unsafe accounts else { return }
    var account = unsafe accounts[Int(charge.owner)]
    account.charged &-= charge.size
    assert(account.charged >= 0, "a packet was released twice")
    if account.charged <= account.threshold {
      account.threshold = -1
      _ = released.push(charge.owner)
    }
    unsafe accounts[Int(charge.owner)] = account
  }

  /// Has a socket among `released` once no more than `threshold` bytes are charged to it, or at once.
  mutating func await(_ owner: UInt32, _ threshold: Int) {
    if Int(owner) >= capacity { grow(to: Int(owner) + 1) }
    guard let accounts = unsafe accounts else { return }
    if unsafe Int(accounts[Int(owner)].charged) <= threshold {
      _ = released.push(owner)
    } else {
      unsafe accounts[Int(owner)].threshold = Int32(clamping: threshold)
    }
  }

  /// Nobody waits for this one any more.
  mutating func forget(_ owner: UInt32) {
    guard let accounts = unsafe accounts, Int(owner) < capacity else { return }
    unsafe accounts[Int(owner)] = Account()
  }

  private mutating func grow(to count: Int) {
    let larger = max(count, capacity * 2, 8)
    let fresh = UnsafeMutablePointer<Account>.allocate(capacity: larger)
    unsafe fresh.initialize(repeating: Account(), count: larger)
    if let old = unsafe accounts {
      for index in 0..<capacity { unsafe fresh[index] = old[index] }
      unsafe old.deallocate()
    }
    unsafe accounts = fresh
    capacity = larger
  }
}

extension BufferPool {
  /// Charges a packet to the socket that sends it (skb_set_owner_w).
  mutating func charge(_ slot: Slot, to owner: UInt32) {
    guard !self[slot].flags.contains(.charged) else { return }
    writers.charge(slot, to: owner, trueSize(slot))
    self[slot].flags.insert(.charged)
  }

  /// Ends the claim of whoever sent a packet: it has come to somebody (skb_orphan).
  @inline(__always) mutating func orphan(_ slot: Slot) {
    if self[slot].flags.contains(.charged) { releaseCharge(slot) }
  }

  @inline(never) mutating func releaseCharge(_ slot: Slot) {
    writers.release(slot)
    self[slot].flags.remove(.charged)
  }

  /// The socket that sent a packet, while it is charged for it.
  func sender(of slot: Slot) -> UInt32? {
    self[slot].flags.contains(.charged) ? writers.owner(of: slot) : nil
  }
}
