// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import NetTypes
import Netlink
import SystemPackage
import Testing

@Suite(.enabled(if: Requirements.isRoot, "needs root: makes network namespaces"))
struct NamespaceTests {
  @Test("a namespace that is made here is one that ip netns knows")
  func creation() throws {
    let scratch = try ScratchNamespaces("create")
    let thread = try NamespaceThread()
    let name = scratch.name("a")
    let made = try thread.perform { (visitor) throws(NetlinkError) in
      try visitor.create(name, in: .system)
    }
    #expect(try scratch.directory.names().contains(name))
    #expect(try scratch.directory.open(name).identity == made.identity)
    let seen = String(
      decoding: try output(["ip", "netns", "exec", name, "readlink", "/proc/self/ns/net"]), as: UTF8.self)
    #expect(seen.trimmingCharacters(in: .whitespacesAndNewlines) == "net:[\(made.identity.inode)]")
    try scratch.directory.remove(name)
    #expect(try !scratch.directory.names().contains(name))
  }

  @Test("a name that is taken is refused, and the namespace that has it stays")
  func takenName() throws {
    let scratch = try ScratchNamespaces("taken")
    let thread = try NamespaceThread()
    let name = scratch.name("a")
    let first = try thread.perform { (visitor) throws(NetlinkError) in try visitor.create(name, in: .system) }
    let error = #expect(throws: NetlinkError.self) {
      _ = try thread.perform { (visitor) throws(NetlinkError) in try visitor.create(name, in: .system) }
    }
    #expect(error?.errno == .fileExists)
    #expect(try scratch.directory.open(name).identity == first.identity)
  }

  @Test("the thread is back in its own namespace after each piece of work")
  func homecoming() throws {
    let scratch = try ScratchNamespaces("home")
    let name = scratch.name("a")
    let thread = try NamespaceThread()
    let home = try KernelNamespace.current().identity
    let away = try thread.perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(name, in: .system)
      return try KernelNamespace.current().identity
    }
    #expect(away != home)
    #expect(try thread.perform { (_) throws(NetlinkError) in try KernelNamespace.current().identity } == home)
    #expect(
      try scratch.directory.open(name).run { (_) throws(NetlinkError) in
        try KernelNamespace.current().identity
      } == away)
  }

  @Test("each of several hundred namespaces has its own settings, wherever they are looked for")
  func manySettings() throws {
    let thread = try NamespaceThread()
    let count = 400
    let wrong = try thread.perform { (visitor) throws(NetlinkError) in
      var made: [KernelNamespace] = []
      for index in 0..<count {
        made.append(try visitor.create(label: "settings \(index)"))
        try visitor.writeSysctl("net/ipv4/igmp_max_memberships", "\(index + 1)")
      }
      var wrong: [Int] = []
      for (index, namespace) in made.enumerated() {
        try visitor.enter(namespace)
        if try visitor.readSysctl("net/ipv4/igmp_max_memberships") != "\(index + 1)" { wrong.append(index) }
      }
      return wrong
    }
    #expect(wrong.isEmpty)
  }

  @Test("a task can wait for work in a namespace")
  func asynchronousWork() async throws {
    let thread = try NamespaceThread()
    let forwarding = try await thread.perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "nameless")
      try visitor.writeSysctl("net.ipv4.ip_forward", "1")
      return try visitor.readSysctl("net/ipv4/ip_forward")
    }
    #expect(forwarding == "1")
  }

  @Test("sysctls are those of the namespace, and a wrong one names it")
  func sysctls() throws {
    let thread = try NamespaceThread()
    let before = try thread.perform { (visitor) throws(NetlinkError) in
      try visitor.readSysctl("net.ipv4.ip_default_ttl")
    }
    let inside = try thread.perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(label: "ttl")
      try visitor.writeSysctl("net.ipv4.ip_default_ttl", "77")
      return try visitor.readSysctl("net.ipv4.ip_default_ttl")
    }
    #expect(inside == "77")
    let after = try thread.perform { (visitor) throws(NetlinkError) in
      try visitor.readSysctl("net.ipv4.ip_default_ttl")
    }
    #expect(after == before)
    for name in ["net.ipv4.no_such_thing", "kernel.hostname", "net/../kernel/hostname", "net"] {
      #expect(throws: NetlinkError.self) {
        _ = try thread.perform { (visitor) throws(NetlinkError) in try visitor.readSysctl(name) }
      }
    }
  }

  @Test("a file that is no namespace is not opened as one")
  func notANamespace() {
    let error = #expect(throws: NetlinkError.self) { _ = try KernelNamespace(path: "/etc/passwd") }
    #expect(error?.errno == .invalidArgument)
    #expect(throws: NetlinkError.self) { _ = try NamespaceDirectory.system.open("../../etc/passwd") }
    #expect(throws: NetlinkError.self) { _ = try NamespaceDirectory.system.open("") }
  }

  @Test("a tap device stays, and belongs to whom it was made for")
  func tap() throws {
    let scratch = try ScratchNamespaces("tap")
    let name = scratch.name("a")
    let thread = try NamespaceThread()
    try thread.perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(name, in: .system)
      guard let tap = InterfaceName("tap0"), let tun = InterfaceName("tun0") else { return }
      var device = TunDevice(tap, .tap)
      device.owner = 1000
      try visitor.makeTun(device)
      try visitor.makeTun(TunDevice(tun, .tun))
    }
    let links = try ip(name, "link", "show")
    let tap = try #require(links.first { $0["ifname"] as? String == "tap0" })
    let info = try #require((tap["linkinfo"] as? [String: Any])?["info_data"] as? [String: Any])
    #expect(info["type"] as? String == "tap")
    #expect(info["persist"] as? Bool == true)
    #expect(links.contains { $0["ifname"] as? String == "tun0" })
  }
}
