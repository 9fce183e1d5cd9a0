// SPDX-License-Identifier: GPL-2.0-or-later

// Why the host's kernel drops what this thread sends: the tracepoint skb:kfree_skb, for the thread alone and as long as it
// sends. Over veth a packet is received in its sender's time, so its way through all namespaces is in it, and no other
// thread's packets are. On a busy machine the kernel may put receiving off to a thread of its own; then nothing is told.

import CLinux
import Glibc
import LabCore

/// What the tracepoint looks like on this kernel.
struct DropTracepoint: Sendable {
  private let number: UInt64
  /// Where a record has the packet's EtherType and the reason.
  private let protocolOffset: Int
  private let reasonOffset: Int
  /// `SKB_DROP_REASON_*` by number, in lower case.
  private let names: [UInt32: String]

  /// Nil where the kernel or this process's rights have none.
  static let own: DropTracepoint? = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].lazy
    .compactMap { DropTracepoint(folder: $0 + "/events/skb/kfree_skb") }.first

  private init?(folder: String) {
    guard let number = Self.text(of: folder + "/id").flatMap({ UInt64($0.filter(\.isNumber)) }),
      let format = Self.text(of: folder + "/format"),
      let protocolOffset = Self.offset(of: "protocol", in: format),
      let reasonOffset = Self.offset(of: "reason", in: format)
    else { return nil }
    self.number = number
    self.protocolOffset = protocolOffset
    self.reasonOffset = reasonOffset
    // { 2, "NOT_SPECIFIED" }, { 3, "NO_SOCKET" } …
    var names: [UInt32: String] = [:]
    for part in format.split(separator: "{").dropFirst() {
      let words = part.split(separator: "\"")
      guard words.count >= 2, let value = UInt32(words[0].filter(\.isNumber)) else { continue }
      names[value] = words[1].lowercased()
    }
    self.names = names
  }

  /// `field:unsigned short protocol; offset:32; size:2;`
  private static func offset(of field: String, in format: String) -> Int? {
    let line = format.split(separator: "\n").first { $0.contains(" \(field);") }
    return line?.split(separator: ";").lazy
      .compactMap { part in
        part.split(separator: "offset:").count == 2 ? Int(part.split(separator: "offset:")[1]) : nil
      }
      .first
  }

  private static func text(of path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = fread(&bytes, 1, bytes.count, file)
    return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }

  /// Does something on this thread; the reasons why IP packets were dropped meanwhile, in order. Nil where they may not be
  /// seen.
  func reasons<Failure>(while body: () throws(Failure) -> Void) throws(Failure) -> [String]? {
    var drops = nf_drops()
    guard nf_drops_begin(number, &drops) == 0 else {
      try body()
      return nil
    }
    defer { nf_drops_end(&drops) }
    try body()
    var reasons: [String] = []
    var record = [UInt8](repeating: 0, count: 256)
    while true {
      let count = nf_drops_next(&drops, &record, record.count)
      guard count > 0 else { return reasons }
      guard count >= reasonOffset + 4, count >= protocolOffset + 2 else { continue }
      let type = record.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: protocolOffset, as: UInt16.self) }
      let reason = record.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: reasonOffset, as: UInt32.self) }
      guard type == 0x0800 || type == 0x86dd, let name = names[reason], name != "not_specified" else {
        continue
      }
      reasons.append(name)
    }
  }
}
