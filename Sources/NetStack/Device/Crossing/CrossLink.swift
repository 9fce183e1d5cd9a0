// SPDX-License-Identifier: GPL-2.0-or-later

// What the two ends of a veth pair share when they live on different CPUs: a ring for each direction, and for each end
// what the other one needs to know of it. Each end writes only what is its own.

import Synchronization

/// What one end shows the other.
@safe private final class CrossEnd: Sendable {
  let state = Atomic<UInt32>(CrossState.absent.rawValue)
  let mtu = Atomic<UInt32>(0)
  let ifindex = Atomic<UInt32>(0)
  /// Written once, before `state` says that the end is there.
  nonisolated(unsafe) var doorbell: Doorbell?
  nonisolated(unsafe) var number: UInt32 = 0
  nonisolated(unsafe) var namespace: Int32 = 0
  /// Frames to this end.
  let ring = FrameRing()
}

/// What an end is.
enum CrossState: UInt32 {
  case absent, down, up, removed
}

/// A veth pair across CPUs.
public final class CrossLink: Sendable {
  private let ends = (CrossEnd(), CrossEnd())

  /// A pair whose ends are still to be made.
  public init() {}

  private func end(_ side: Int) -> CrossEnd { side == 0 ? ends.0 : ends.1 }

  /// Frames to an end.
  func ring(to side: Int) -> FrameRing { end(side).ring }

  func attach(
    _ side: Int, _ doorbell: Doorbell, _ number: UInt32, namespace: Int32, ifindex: Int32, mtu: Int
  ) {
    unsafe end(side).doorbell = doorbell
    unsafe end(side).number = number
    unsafe end(side).namespace = namespace
    end(side).ifindex.store(UInt32(bitPattern: ifindex), ordering: .relaxed)
    end(side).mtu.store(UInt32(clamping: mtu), ordering: .relaxed)
    end(side).state.store(CrossState.down.rawValue, ordering: .releasing)
  }

  func setState(_ state: CrossState, of side: Int) {
    end(side).state.store(state.rawValue, ordering: .sequentiallyConsistent)
  }

  func setMTU(_ mtu: Int, of side: Int) { end(side).mtu.store(UInt32(clamping: mtu), ordering: .releasing) }

  func state(of side: Int) -> CrossState {
    CrossState(rawValue: end(side).state.load(ordering: .sequentiallyConsistent)) ?? .absent
  }

  func mtu(of side: Int) -> Int { Int(end(side).mtu.load(ordering: .relaxed)) }

  func ifindex(of side: Int) -> Int32 { Int32(bitPattern: end(side).ifindex.load(ordering: .relaxed)) }

  /// As a machine's messages name it; nil when there is no such end yet.
  func namespace(of side: Int) -> Int32? { state(of: side) == .absent ? nil : unsafe end(side).namespace }

  /// Calls an end's CPU; the answer is which that is, or nil when there is no such end yet.
  func call(_ side: Int) -> Int? {
    guard state(of: side) != .absent, let doorbell = unsafe end(side).doorbell else { return nil }
    unsafe doorbell.ring(end(side).number)
    return doorbell.cpu
  }
}
