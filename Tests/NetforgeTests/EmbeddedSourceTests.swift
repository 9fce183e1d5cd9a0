// SPDX-License-Identifier: GPL-2.0-or-later

// The binary carries the language's source: every file of it.

import Foundation
import Testing

@Suite("The embedded source")
struct EmbeddedSourceTests {
  @Test("lists every file of the language, each under a name of its own")
  func complete() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let list = try String(
      contentsOf: root.appending(path: "Sources/CDSLSource/dsl_source.c"), encoding: .utf8)
    let folder = root.appending(path: "Sources/Netforge")
    let walker = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    let files = (walker?.compactMap { $0 as? URL } ?? []).filter { $0.pathExtension == "swift" }
    #expect(!files.isEmpty)
    for file in files {
      let path = file.path.dropFirst(folder.path.count + 1)
      #expect(list.contains("#embed \"../Netforge/\(path)\""), "\(path) is not embedded")
      #expect(list.contains("\"\(file.lastPathComponent)\""), "\(path) has no name")
    }
    #expect(Set(files.map(\.lastPathComponent)).count == files.count)
  }
}
