// SPDX-License-Identifier: GPL-2.0-or-later

// Scripts change settings by programs (`sysctl`, a write to /proc/sys), which are the host kernel's: those of the network
// namespace that packetdrill runs in. What has changed there since the beginning is the emulated kernel's setting too.

import Glibc
import NetStack

/// The host's settings of TCP as they were last seen.
struct HostSettings {
  private static let folder = "/proc/sys/net/ipv4"
  private var names: [String] = []
  private var seen: [String: String] = [:]

  /// Takes note of how they are, with the emulated kernel's own defaults standing beside them.
  mutating func begin() {
    guard let folder = opendir(Self.folder) else { return }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasPrefix("tcp_") { names.append(name) }
    }
    names.sort()
    for name in names { seen[name] = Self.read(name) }
  }

  private static func read(_ name: String) -> String? {
    let file = open("\(folder)/\(name)", O_RDONLY)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = Glibc.read(file, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }

  /// Has the emulated kernel follow what was changed. What it has not, or cannot be, is named.
  mutating func follow(_ kernel: inout Kernel, _ namespace: NamespaceIndex) {
    for name in names {
      guard let value = Self.read(name), value != seen[name] else { continue }
      seen[name] = value
      do {
        try kernel.setSysctl("net/ipv4/\(name)", to: value, in: namespace)
      } catch {
        complain("net.ipv4.\(name) is not followed by the emulated kernel (\(error))")
      }
    }
  }
}
