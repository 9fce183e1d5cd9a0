// SPDX-License-Identifier: GPL-2.0-or-later

// A link of the host's kernel with a netem, as QdiscLink is an emulated one: a tap that frames go into, a bridge, and the
// tap with the netem, of which they come out with times.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

final class NetemLink {
  /// A frame that came out, and how long after the first was sent.
  struct Arrival: Hashable {
    var frame: [UInt8]
    var time: Int64
  }

  private let router: KernelOracleTests.Router

  init() throws {
    var setup = OracleSetup()
    setup.settings = [
      ("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1"),
      // The bridge device's own memberships are not told.
      ("net/ipv4/igmp_link_local_mcast_reports", "0"),
    ]
    var bridge = LinkMessage(index: 10, name: "br0")
    bridge.kind = .bridge(BridgeOptions())
    bridge.set(.up, true)
    setup.requests = [bridge.request(.create)]
    for face in 0...1 {
      var port = LinkMessage(index: Int32(face) + 2)
      port.master = 10
      setup.requests += [OracleSetup.up(face), port.request(.change)]
    }
    router = try KernelOracleTests.Router(setup)
    // Until the bridge has seen that its ports have a carrier.
    _ = try router.answers(to: nil, wait: .milliseconds(500))
  }

  func set(
    _ kind: QdiscKind, parent: QdiscHandle = .root, handle: QdiscHandle = QdiscHandle(major: 1),
    _ verb: RequestKind = .createOrReplace
  ) throws {
    let message = QdiscMessage(index: 3, parent: parent, handle: handle, kind: kind)
    _ = try router.socket.request(message.request(verb))
  }

  var message: QdiscMessage? {
    get throws {
      try router.socket.dump(QdiscMessage.dump(index: 3)).map { try QdiscMessage($0) }
        .first { $0.index == 3 && $0.parent == .root }
    }
  }

  /// Sends frames as fast as it goes. Tells the nanoseconds from before the first until after the last.
  func send(_ frames: [[UInt8]], since start: ContinuousClock.Instant) throws -> Int64 {
    for frame in frames {
      let written = unsafe frame.withUnsafeBytes {
        unsafe write(router.taps[0].rawValue, $0.baseAddress, $0.count)
      }
      try #require(written == frame.count)
    }
    return Self.nanoseconds(since: start)
  }

  /// What comes out of the other tap until at least `count` have, or nothing has for `patience` milliseconds.
  func receive(_ count: Int, since start: ContinuousClock.Instant, patience: Int32) -> [Arrival] {
    var arrivals: [Arrival] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let length = unsafe buffer.withUnsafeMutableBytes {
        unsafe read(router.taps[1].rawValue, $0.baseAddress, $0.count)
      }
      if length > 0 {
        arrivals.append(Arrival(frame: Array(buffer.prefix(length)), time: Self.nanoseconds(since: start)))
        continue
      }
      // What comes beyond what is waited for comes soon.
      var wait = pollfd(fd: router.taps[1].rawValue, events: Int16(POLLIN), revents: 0)
      guard unsafe poll(&wait, 1, arrivals.count < count ? patience : 20) > 0 else { return arrivals }
    }
  }

  /// What comes at once of frames that take no time.
  func exchange(_ frames: [[UInt8]]) throws -> [Arrival] {
    let start = ContinuousClock.now
    _ = try send(frames, since: start)
    return receive(0, since: start, patience: 0)
  }

  private static func nanoseconds(since start: ContinuousClock.Instant) -> Int64 {
    Int64((ContinuousClock.now - start) / .nanoseconds(1))
  }

  /// Whether the kernel has a netem that a change without a seed lets go on with its numbers.
  static let isThere: Bool = {
    guard geteuid() == 0, access("/dev/net/tun", R_OK | W_OK) == 0 else { return false }
    return (try? keepsSeed()) ?? false
  }()

  private static func keepsSeed() throws -> Bool {
    let link = try NetemLink()
    var options = NetemOptions()
    options.seed = 77
    try link.set(.netem(options))
    options.seed = nil
    try link.set(.netem(options), .change)
    guard case .netem(let told)? = try link.message?.kind else { return false }
    return told.seed == 77
  }
}

extension QdiscLink {
  mutating func send(_ frame: [UInt8]) throws {
    let slot = kernel.pool.allocate(length: frame.count)
    try #require(slot != .none)
    let bytes = kernel.pool.bytes(slot)
    for (place, byte) in frame.enumerated() { bytes.set(place, u8: byte) }
    kernel.transmit(slot, by: a)
  }

  mutating func exchange(_ frames: [[UInt8]]) throws -> [NetemLink.Arrival] {
    for frame in frames { try send(frame) }
    kernel.run(for: .milliseconds(1))
    return takeFrames()
  }

  mutating func takeFrames() -> [NetemLink.Arrival] {
    kernel.takeCapture().map { NetemLink.Arrival(frame: $0.frame, time: $0.time.nanoseconds) }
  }
}
