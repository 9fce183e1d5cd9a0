// SPDX-License-Identifier: GPL-2.0-or-later

import Netlink
import Rtnetlink
import Testing

@Suite(.enabled(if: Requirements.isRoot, "needs root: makes network namespaces"), .timeLimit(.minutes(10)))
struct NetlinkMonitorTests {
  @Test("events of a watched namespace come with its name, and those of the own without")
  func names() async throws {
    let thread = try NamespaceThread()
    let (monitor, own, other) = try await thread.perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "listener")
      let monitor = try NetlinkMonitor()
      let own = try visitor.socket()
      let namespace = try visitor.create(label: "watched")
      try monitor.watch(namespace)
      return (monitor, own, try visitor.socket())
    }
    var bridge = LinkMessage(name: "br-other")
    bridge.kind = .bridge(BridgeOptions())
    try other.request(bridge.request(.create))
    bridge.name = "br-own"
    try own.request(bridge.request(.create))
    var seen: [String: String?] = [:]
    for await event in monitor.events {
      guard case .message(let message, let namespace) = event, message.type == .newLink else { continue }
      if let name = try LinkMessage(message).name { seen[name] = .some(namespace) }
      if seen["br-own"] != nil, seen["br-other"] != nil { break }
    }
    #expect(seen["br-other"] == .some("watched"))
    #expect(seen["br-own"] == .some(nil))
  }

  @Test("events that the reader has no room for are a gap")
  func gap() async throws {
    let (monitor, socket) = try await NamespaceThread().perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "narrow")
      return (try NetlinkMonitor(groups: [.link], capacity: 4), try visitor.socket())
    }
    // More happens than is read, until the monitor has had to leave something out.
    var made = 0
    func makeBridges() throws {
      for _ in 0..<20 {
        var bridge = LinkMessage(name: "br\(made)")
        bridge.kind = .bridge(BridgeOptions())
        try socket.request(bridge.request(.create))
        made += 1
      }
    }
    try makeBridges()
    var sawGap = false
    for await event in monitor.events {
      sawGap = event == .gap
      if sawGap { break }
      try makeBridges()
    }
    #expect(sawGap)
  }

  @Test("a monitor that is stopped ends its stream")
  func stopping() async throws {
    let monitor = try NetlinkMonitor()
    monitor.stop()
    for await _ in monitor.events {}
  }
}
