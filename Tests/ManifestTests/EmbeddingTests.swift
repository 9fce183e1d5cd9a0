// SPDX-License-Identifier: GPL-2.0-or-later

import CDSLSource
import Foundation
import Testing

@testable import Manifest

@Suite("The embedded language") struct EmbeddingTests {
  @Test("Every file of Sources/Netforge is embedded, byte for byte, and no other")
  func complete() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "../../Sources/Netforge"
    )
    .standardizedFileURL
    var expected: [String: Data] = [:]
    for case let file as URL in try #require(
      FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
    where file.pathExtension == "swift" {
      #expect(expected[file.lastPathComponent] == nil, "two files called \(file.lastPathComponent)")
      expected[file.lastPathComponent] = try Data(contentsOf: file)
    }
    #expect(Set(LanguageSource.files.map(\.name)) == Set(expected.keys))
    for file in LanguageSource.files { #expect(Data(file.bytes) == expected[file.name], "\(file.name)") }
  }
}

@Suite("SHA-256") struct SHA256Tests {
  @Test(
    "The digests of FIPS 180-4's examples",
    arguments: [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
      (
        String(repeating: "a", count: 1_000_000),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
      ),
    ])
  func examples(text: String, digest: String) {
    #expect(SHA256.digest(Array(text.utf8)) == digest)
    var pieces = SHA256()
    for piece in Array(text.utf8).split(maxSplits: 3, whereSeparator: { $0 == 0x64 }) {
      pieces.field(Array(piece))
    }
    #expect(pieces.finish().count == 64)
  }
}
