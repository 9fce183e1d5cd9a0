// SPDX-License-Identifier: GPL-2.0-or-later

// Two CPUs beside one: frames of 64 bytes over two bridges joined by a pair, on one kernel and on two with a thread
// each. Here the generator's cost counts, since it is on the first thread: what is told is the time from the first
// frame put in to the last one taken out.

import Glibc
import NetStack
import NetTypes
import Rtnetlink
import Synchronization

/// A bridge with a NIC.
private func makeSide(_ kernel: inout Kernel, _ name: String) throws -> (DeviceIndex, NamespaceIndex) {
  let namespace = try kernel.makeNamespace()
  var bridge = LinkMessage(name: "br0")
  bridge.kind = .bridge(BridgeOptions())
  bridge.set(.up, true)
  try kernel.perform(bridge.request(.create), in: namespace)
  let card = try kernel.makeOutside(deviceName(name), in: namespace)
  try join(&kernel, name, namespace)
  return (card, namespace)
}

private func join(_ kernel: inout Kernel, _ name: String, _ namespace: NamespaceIndex) throws {
  let master = kernel.index(of: "br0", in: namespace)
  try kernel.set(name, namespace) { $0.master = master }
}

private let frame: [UInt8] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0] + [UInt8](repeating: 0, count: 46)

/// Teaches the bridges on the way back where the destination is.
private let teacher: [UInt8] = [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 8, 0] + [UInt8](repeating: 0, count: 46)

private let frames = 1_000_000
/// Frames under way at most, so that no ring overflows.
private let window = 192

private func oneThread() throws -> Int64 {
  var kernel = Kernel(.init(seed: 1), now: Instant(nanoseconds: 0))
  let (left, first) = try makeSide(&kernel, "left")
  let (right, second) = try makeSide(&kernel, "right")
  var peer = LinkMessage(name: "pair")
  peer.namespaceDescriptor = Kernel.descriptor(of: second)
  var link = LinkMessage(name: "pair")
  link.kind = .veth(peer: peer)
  try kernel.perform(link.request(.create), in: first)
  for namespace in [first, second] { try join(&kernel, "pair", namespace) }
  kernel.inject(teacher, into: right)
  while kernel.poll(now: kernel.now).hasMore {}
  while kernel.takeFrame(from: left, { _ in () }) != nil {}
  let start = nanoseconds()
  var arrived = 0
  while arrived < frames {
    for _ in 0..<64 { kernel.inject(frame, into: left) }
    while kernel.poll(now: kernel.now).hasMore {}
    while kernel.takeFrame(from: right, { _ in () }) != nil { arrived += 1 }
  }
  return (nanoseconds() - start) * Int64(frames) / Int64(arrived)
}

/// What a thread drives. Each is used by its own thread alone once both have been started.
private final class Side: @unchecked Sendable {
  var kernel: Kernel
  var card: DeviceIndex?
  let arrived: Shared

  init(cpu: Int, _ arrived: Shared) {
    var options = Kernel.Options(seed: 1)
    options.cpu = cpu
    kernel = Kernel(options, now: Instant(nanoseconds: 0))
    self.arrived = arrived
  }
}

private final class Shared: Sendable {
  let count = Atomic<Int>(0)
}

private func receive(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  let side = Unmanaged<Side>.fromOpaque(context).takeUnretainedValue()
  guard let card = side.card else { return nil }
  var arrived = 0
  while arrived < frames {
    while side.kernel.poll(now: side.kernel.now).hasMore {}
    var fresh = 0
    while side.kernel.takeFrame(from: card, { _ in () }) != nil { fresh += 1 }
    if fresh == 0 {
      sched_yield()
    } else {
      arrived += fresh
      side.arrived.count.store(arrived, ordering: .releasing)
    }
  }
  return nil
}

private func twoThreads() throws -> Int64 {
  let arrived = Shared()
  let sides = [Side(cpu: 0, arrived), Side(cpu: 1, arrived)]
  let link = CrossLink()
  for (number, name) in ["left", "right"].enumerated() {
    let (card, namespace) = try makeSide(&sides[number].kernel, name)
    _ = try sides[number].kernel.makeCrossing(LinkMessage(name: "pair"), link, side: number, in: namespace)
    try join(&sides[number].kernel, "pair", namespace)
    sides[number].card = card
  }
  guard let left = sides[0].card, let right = sides[1].card else { return 0 }
  func settle() {
    for _ in 0..<4 { for side in sides { while side.kernel.poll(now: side.kernel.now).hasMore {} } }
  }
  settle()
  sides[1].kernel.inject(teacher, into: right)
  settle()
  while sides[0].kernel.takeFrame(from: left, { _ in () }) != nil {}
  var thread = pthread_t()
  let start = nanoseconds()
  guard pthread_create(&thread, nil, receive, Unmanaged.passUnretained(sides[1]).toOpaque()) == 0 else {
    fatalError("pthread_create")
  }
  var sent = 0
  while sent < frames {
    guard sent - arrived.count.load(ordering: .acquiring) <= window - 64 else {
      sched_yield()
      continue
    }
    for _ in 0..<64 { sides[0].kernel.inject(frame, into: left) }
    sent += 64
    while sides[0].kernel.poll(now: sides[0].kernel.now).hasMore {}
  }
  pthread_join(thread, nil)
  return (nanoseconds() - start) * Int64(frames) / Int64(sent)
}

/// Tells both.
func crossing() throws {
  var best = (one: Int64.max, two: Int64.max)
  for _ in 0..<3 {
    best.one = min(best.one, try oneThread())
    best.two = min(best.two, try twoThreads())
  }
  report("two bridges, 64 bytes, generator counted, one CPU", best.one, frames)
  report("the same on two CPUs with a thread each", best.two, frames)
}
