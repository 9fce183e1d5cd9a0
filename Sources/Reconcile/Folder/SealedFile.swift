// SPDX-License-Identifier: GPL-2.0-or-later

// A file whose first line says what it is, how long and with what checksum, so that a torn one is known as such:
// `netforge journal 1 4711 9f86d081884c7d65` and then that many bytes.

import FoundationEssentials

struct SealedFile {
  let kind: String
  static let version = 1

  func seal(_ body: [UInt8]) -> [UInt8] {
    Array("netforge \(kind) \(Self.version) \(body.count) \(Self.checksum(body))\n".utf8) + body
  }

  /// The body, or what is wrong with the file.
  func unseal(_ bytes: [UInt8]) -> Result<[UInt8], Damage> {
    guard let end = bytes.firstIndex(of: 0x0a) else { return .failure(Damage(detail: "it has no heading")) }
    let words = String(decoding: bytes[..<end], as: UTF8.self).split(separator: " ")
    guard words.count == 5, words[0] == "netforge", words[1] == kind else {
      return .failure(Damage(detail: "its heading is not that of a \(kind)"))
    }
    guard let version = Int(words[2]), version == Self.version else {
      return .failure(Damage(detail: "it is of version \(words[2]), this netforge reads \(Self.version)"))
    }
    let body = Array(bytes[(end + 1)...])
    guard let count = Int(words[3]), count == body.count else {
      return .failure(Damage(detail: "it has \(body.count) bytes where its heading says \(words[3])"))
    }
    guard words[4] == Self.checksum(body) else { return .failure(Damage(detail: "its checksum is wrong")) }
    return .success(body)
  }

  struct Damage: Error { var detail: String }

  /// FNV-1a, 64 bits.
  static func checksum(_ bytes: [UInt8]) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

enum JSONBytes {
  static func of(_ value: some Encodable) throws(LabFolderError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return Array(try encoder.encode(value))
    } catch {
      throw LabFolderError(.failed, "cannot write the lab's state as JSON: \(error)")
    }
  }

  static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) -> Value? {
    try? JSONDecoder().decode(type, from: Data(bytes))
  }
}
