// SPDX-License-Identifier: GPL-2.0-or-later

// The files that make one topology: the one that was named, and its helpers. A helper is a Swift file in the same folder
// that imports Netforge and makes no Topology of its own; so topologies stand side by side in a folder, and a file that
// has nothing to do with Netforge is never compiled.

/// The Swift sources of one topology.
struct SourceSet {
  struct File {
    /// As the user wrote it, or `<stdin>`; what messages say.
    var path: String
    /// The last part of the path.
    var name: String
    var bytes: [UInt8]
  }
  var main: File
  /// Sorted by name.
  var helpers: [File]
  /// Where `lab.read` finds its files.
  var folder: String

  /// The longest source that is read, in bytes.
  static let maximumSize = 16 << 20

  /// Collects the helpers of a topology file.
  init(main: File, folder: String, isInFolder: Bool) throws(ManifestError) {
    self.main = main
    self.folder = folder
    helpers = []
    guard isInFolder else { return }
    for name in Files.names(in: folder) ?? []
    where name.hasSuffix(".swift") && !name.hasPrefix(".") && name != main.name && name != "Package.swift" {
      guard case .success(let bytes) = Files.read("\(folder)/\(name)", limit: Self.maximumSize) else {
        continue
      }
      guard Self.isHelper(bytes) else { continue }
      let path = main.path.contains("/") ? "\(Files.folder(of: main.path))/\(name)" : name
      if name == "main.swift" {
        throw ManifestError(.compile, "\(path): error: a helper file cannot be called main.swift; rename it")
      }
      helpers.append(File(path: path == "//\(name)" ? "/\(name)" : path, name: name, bytes: bytes))
    }
  }

  var all: [File] { [main] + helpers }

  /// File names as the program knows them, and as messages say them.
  var paths: [String: String] {
    Dictionary(all.map { ($0.name, $0.path) }, uniquingKeysWith: { first, _ in first })
  }

  static func isHelper(_ bytes: [UInt8]) -> Bool {
    let words = SwiftWords(bytes)
    return words.importsNetforge && !words.makesTopology
  }
}

/// The little of a Swift file that tells a helper from a topology: words outside comments and strings.
struct SwiftWords {
  var importsNetforge = false
  var makesTopology = false

  init(_ bytes: [UInt8]) {
    var index = 0
    var previous: ArraySlice<UInt8> = []
    func has(_ text: StaticString) -> Bool {
      text.withUTF8Buffer { bytes[index...].starts(with: $0) }
    }
    while index < bytes.count {
      let byte = bytes[index]
      if has("//") {
        while index < bytes.count && bytes[index] != 0x0A { index += 1 }
      } else if has("/*") {
        var depth = 0
        repeat {
          if has("/*") {
            depth += 1
            index += 2
          } else if has("*/") {
            depth -= 1
            index += 2
          } else {
            index += 1
          }
        } while index < bytes.count && depth > 0
      } else if has("\"\"\"") {
        index += 3
        while index < bytes.count && !has("\"\"\"") { index += bytes[index] == 0x5C ? 2 : 1 }
        index = min(index + 3, bytes.count)
      } else if byte == 0x22 {
        index += 1
        while index < bytes.count && bytes[index] != 0x22 && bytes[index] != 0x0A {
          index += bytes[index] == 0x5C ? 2 : 1
        }
        index = min(index + 1, bytes.count)
      } else if Self.isWord(byte) {
        let begin = index
        while index < bytes.count && Self.isWord(bytes[index]) { index += 1 }
        let word = bytes[begin..<index]
        if previous.elementsEqual("import".utf8) && word.elementsEqual("Netforge".utf8) {
          importsNetforge = true
        }
        if word.elementsEqual("Topology".utf8) && !previous.elementsEqual("func".utf8) {
          var next = index
          while next < bytes.count && (bytes[next] == 0x20 || bytes[next] == 0x0A) { next += 1 }
          if next < bytes.count && bytes[next] == 0x28 { makesTopology = true }
        }
        previous = word
      } else {
        index += 1
      }
    }
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
      || byte == 0x5F
      || byte >= 0x80
  }
}
