// SPDX-License-Identifier: GPL-2.0-or-later

// A ruleset in nft's own language. Who runs the topology has nft read the file; the rules are then the lab's like all
// others, compiled anew, on every datapath.

import Glibc

/// The tables of a `.nft` file: `Ruleset(file: "gateway.nft")`.
public struct Ruleset: Sendable {
  let record: Record

  /// - Parameter file: its path from the topology file's folder. It is read where nft is installed; what it includes is
  ///   not found.
  public init(file: String, fileID: StaticString = #fileID, line: UInt = #line) {
    var record = Record("ruleset")
    record.add("path", file)
    if let json = FileRequest.ruleset(of: file) {
      record.add("json", String(decoding: json, as: UTF8.self))
    } else {
      record.add("failure", "cannot read '\(file)': \(String(cString: strerror(errno)))")
    }
    record.add(file: fileID, line: line)
    self.record = record
  }
}
