// SPDX-License-Identifier: GPL-2.0-or-later

// Where a capture goes: lines for people or programs, or files.

import Capture
import Glibc
import SystemPackage

/// A line a packet on standard output.
final class CaptureLines: CaptureSink {
  /// A packet as a document.
  struct Document: Encodable {
    var schemaVersion = 1
    var interface: String
    /// Since the epoch of the lab's clock.
    var nanoseconds: UInt64
    var direction: String
    var length: Int
    var summary: String
    var comments: [String]
  }

  private let format: OutputFormat
  private var interfaces: [CapturedInterface] = []
  private var summary = PacketSummary()
  private var width = 0

  init(_ format: OutputFormat) { self.format = format }

  func take(_ block: PcapngBlock) throws {
    switch block {
    case .section, .statistics: break
    case .interface(let interface):
      interfaces.append(interface)
      width = max(width, interface.name.count)
    case .packet(let packet):
      guard interfaces.indices.contains(packet.interface) else { return }
      let interface = interfaces[packet.interface]
      let words = summary.describe(packet, interface.linkType)
      let isReceived = packet.direction == .received
      switch format {
      case .table:
        let name = interface.name + String(repeating: " ", count: width - interface.name.count)
        let comments = packet.comments.map { "\n    \($0)" }.joined()
        Terminal.print(
          "\(Self.time(packet.nanoseconds)) \(name) \(isReceived ? "In " : "Out") \(words)\(comments)")
      case .json:
        Terminal.print(
          try JSONText.line(
            of: Document(
              interface: interface.name, nanoseconds: packet.nanoseconds,
              direction: isReceived ? "received" : "transmitted", length: packet.length, summary: words,
              comments: packet.comments)))
      }
    }
  }

  func flush() {}

  /// The local time of day, to a microsecond.
  private static func time(_ nanoseconds: UInt64) -> String {
    var seconds = time_t(nanoseconds / 1_000_000_000)
    var parts = tm()
    localtime_r(&seconds, &parts)
    let digits = [Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec)].map {
      String($0 + 100).dropFirst()
    }
    return digits.joined(separator: ":") + "."
      + String(nanoseconds / 1000 % 1_000_000 + 1_000_000).dropFirst()
  }
}

/// A pcapng file, or a row of them of which the latest are kept.
final class CaptureFiles: CaptureSink {
  private let path: String?
  private let limit: Int?
  private let keeping: Int?
  private var descriptor: FileDescriptor
  /// What each file begins with.
  private var heading: [UInt8] = []
  /// Not written yet.
  private var pending: [UInt8] = []
  private var size = 0
  private var names: [String] = []
  private var number = 0

  /// Everything to one descriptor.
  init(_ descriptor: FileDescriptor) throws {
    guard isatty(descriptor.rawValue) == 0 else {
      throw Failure(.usage, "-w - writes pcapng, which no terminal shows; pipe it into a program")
    }
    self.descriptor = descriptor
    (path, limit, keeping) = (nil, nil, nil)
  }

  /// A file, or with a size `name-1.pcapng`, `name-2.pcapng` …
  init(_ path: String, rotateSize: Int?, keeping: Int?) throws {
    self.path = path
    limit = rotateSize
    self.keeping = keeping
    descriptor = FileDescriptor(rawValue: -1)
    try begin()
  }

  func take(_ block: PcapngBlock) throws {
    var bytes: [UInt8] = []
    block.append(to: &bytes)
    switch block {
    case .section, .interface: heading += bytes
    case .packet:
      if let limit, size > heading.count, size + bytes.count > limit { try rotate() }
    case .statistics: break
    }
    pending += bytes
    size += bytes.count
  }

  func flush() throws {
    guard !pending.isEmpty else { return }
    try descriptor.writeAll(pending)
    pending = []
  }

  private func rotate() throws {
    try flush()
    try descriptor.close()
    try begin()
    pending = heading
    size = heading.count
  }

  private func begin() throws {
    guard let path else { return }
    number += 1
    let name = limit == nil ? path : Self.name(path, number)
    do {
      descriptor = try FileDescriptor.open(
        name, .writeOnly, options: [.create, .truncate, .closeOnExec],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch let error as Errno {
      throw Failure(.failed, "cannot write '\(name)': \(error)")
    }
    names.append(name)
    while let keeping, names.count > keeping { unlink(names.removeFirst()) }
  }

  private static func name(_ path: String, _ number: Int) -> String {
    let folder = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
    guard let dot = path[folder...].lastIndex(of: "."), dot > folder else { return "\(path)-\(number)" }
    return "\(path[..<dot])-\(number)\(path[dot...])"
  }
}
