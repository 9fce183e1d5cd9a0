// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Glibc
import Logging
import SystemPackage

/// Writes each message as one line with its time in UTC to standard error, which is the lab process's log.
struct LogFileHandler: LogHandler {
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.info

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let text = "\(Self.time()) \(event.level.rawValue): \(event.message)\n"
    // A log that cannot be written has nowhere else to go.
    _ = try? FileDescriptor.standardError.writeAll(Array(text.utf8))
  }

  private static func time() -> String {
    var now = Glibc.time(nil)
    var parts = tm()
    gmtime_r(&now, &parts)
    var text = [CChar](repeating: 0, count: 32)
    strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
