// SPDX-License-Identifier: GPL-2.0-or-later

// TCP of the host's kernel over veth, by sockets in two namespaces that one thread uses in turn, so that all its work is
// this thread's processor time, as it is with ours. As root only.

import Glibc
import NetTypes
import Netlink
import Rtnetlink

/// Two namespaces of the host with a pair between them, and a listener in the second.
private struct HostPair {
  let client: HostNamespace
  let server: HostNamespace
  let listener: Int32

  init(_ thread: NamespaceThread) throws {
    let settings = [("net/ipv4/ip_local_port_range", "1024 65535")]
    client = try HostNamespace(thread, settings)
    server = try HostNamespace(thread, settings)
    try client.pair("eth0", "eth0", in: server)
    try client.address("10.0.0.1/24", "eth0")
    try server.address("10.0.0.2/24", "eth0")
    listener = try server.open {
      let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      Self.withName { bind(descriptor, $0, $1) }
      listen(descriptor, 1024)
      return descriptor
    }
  }

  @discardableResult
  private static func withName(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = UInt16(5201).bigEndian
    name.sin_addr.s_addr = UInt32(0x0a00_0002).bigEndian
    return withUnsafePointer(to: name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  /// Within one call of the thread, since entering a namespace is not what is measured.
  static func connect(_ listener: Int32) -> (client: Int32, server: Int32) {
    let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    withName { Glibc.connect(descriptor, $0, $1) }
    let accepted = accept(listener, nil, nil)
    for each in [descriptor, accepted] { _ = fcntl(each, F_SETFL, O_NONBLOCK) }
    return (descriptor, accepted)
  }

  /// ETHTOOL_STSO, ETHTOOL_SGSO and ETHTOOL_SGRO of the device.
  static func setOffloads(_ isOn: Bool) {
    let control = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(control) }
    for command: UInt32 in [0x1f, 0x24, 0x2c] {
      var value: (UInt32, UInt32) = (command, isOn ? 1 : 0)
      withUnsafeMutablePointer(to: &value) { place in
        // struct ifreq: the name, then a pointer.
        var request = [UInt64](repeating: 0, count: 5)
        request.withUnsafeMutableBytes { bytes in
          bytes.copyBytes(from: Array("eth0".utf8))
          bytes.storeBytes(of: UInt64(UInt(bitPattern: place)), toByteOffset: 16, as: UInt64.self)
        }
        // SIOCETHTOOL.
        _ = ioctl(control, 0x8946, &request)
      }
    }
  }
}

private func hostStream(_ ends: (client: Int32, server: Int32)) -> Double {
  let piece = [UInt8](repeating: 7, count: 128 << 10)
  var buffer = piece
  var best = Int64.max
  let total = 1 << 28
  for _ in 0..<3 {
    var received = 0
    let start = processorNanoseconds()
    while received < total {
      while write(ends.client, piece, piece.count) == piece.count {}
      while true {
        let count = read(ends.server, &buffer, buffer.count)
        guard count > 0 else { break }
        received += count
      }
    }
    best = min(best, processorNanoseconds() - start)
  }
  return (Double(total) * 80 / Double(best)).rounded() / 10
}

private func hostRoundTrips(_ ends: (client: Int32, server: Int32)) -> Int {
  var isOn: Int32 = 1
  for end in [ends.client, ends.server] {
    setsockopt(end, Int32(IPPROTO_TCP), 1, &isOn, socklen_t(MemoryLayout<Int32>.size))
  }
  var byte: [UInt8] = [1]
  let count = 50_000
  let start = processorNanoseconds()
  for _ in 0..<count {
    for (from, to) in [(ends.client, ends.server), (ends.server, ends.client)] {
      _ = write(from, byte, 1)
      _ = read(to, &byte, 1)
    }
  }
  return Int(1e9 * Double(count) / Double(processorNanoseconds() - start))
}

private func hostConnections(_ listener: Int32) -> Int {
  var byte: [UInt8] = [1]
  let count = 10_000
  let start = processorNanoseconds()
  for _ in 0..<count {
    let ends = HostPair.connect(listener)
    _ = write(ends.client, byte, 1)
    _ = read(ends.server, &byte, 1)
    close(ends.server)
    close(ends.client)
  }
  return Int(1e9 * Double(count) / Double(processorNanoseconds() - start))
}

/// Nothing but a line when there is no kernel to compare with.
func hostTCP() throws {
  guard geteuid() == 0 else {
    print("the host's kernel, TCP beside it: skipped, needs root")
    return
  }
  let thread = try NamespaceThread()
  for offloads in [false, true] {
    let pair = try HostPair(thread)
    let listener = pair.listener
    for host in [pair.client, pair.server] {
      _ = try host.open {
        HostPair.setOffloads(offloads)
        return 0
      }
    }
    _ = try pair.client.open {
      let ends = HostPair.connect(listener)
      print(
        "the host's kernel, TCP, one stream, \(offloads ? "with" : "no") offloads: \(hostStream(ends)) Gbit/s"
      )
      if offloads {
        print("the host's kernel, TCP, round trips of one byte: \(hostRoundTrips(ends)) a second")
      }
      for end in [ends.client, ends.server] { close(end) }
      if offloads { print("the host's kernel, TCP, connections: \(hostConnections(listener)) a second") }
      return 0
    }
    close(listener)
  }
}
