// SPDX-License-Identifier: GPL-2.0-or-later

// What the cache keeps of one run: the declarations, what was printed, and which files had been read, so that the result is
// used again only while those are the same.
//
//     netforge-result 1 <count of reads> <bytes printed> <bytes declared>
//     <digest> <path>          for each file read
//     <what was printed><the declarations>

struct CachedResult {
  var reads: [FileBroker.Read]
  var printed: String
  var declarations: [UInt8]

  private static let magic = "netforge-result 1"

  var bytes: [UInt8] {
    var head = "\(Self.magic) \(reads.count) \(printed.utf8.count) \(declarations.count)\n"
    for read in reads { head += "\(read.digest) \(read.path)\n" }
    return Array(head.utf8) + Array(printed.utf8) + declarations
  }

  init(reads: [FileBroker.Read], printed: String, declarations: [UInt8]) {
    self.reads = reads
    self.printed = printed
    self.declarations = declarations
  }

  /// nil when the bytes are not what `bytes` gives.
  init?(_ bytes: [UInt8]) {
    var rest = bytes[...]
    func line() -> String? {
      guard let end = rest.firstIndex(of: 0x0A) else { return nil }
      defer { rest = rest[(end + 1)...] }
      return String(decoding: rest[..<end], as: UTF8.self)
    }
    guard let head = line(), head.hasPrefix(Self.magic) else { return nil }
    let numbers = head.dropFirst(Self.magic.count).split(separator: " ").compactMap { Int($0) }
    guard numbers.count == 3, numbers.allSatisfy({ $0 >= 0 }), numbers[0] <= FileBroker.maximumCount else {
      return nil
    }
    reads = []
    for _ in 0..<numbers[0] {
      guard let text = line(), let space = text.firstIndex(of: " ") else { return nil }
      reads.append(
        FileBroker.Read(path: String(text[text.index(after: space)...]), digest: String(text[..<space])))
    }
    let (sum, overflow) = numbers[1].addingReportingOverflow(numbers[2])
    guard !overflow, rest.count == sum else { return nil }
    printed = String(decoding: rest.prefix(numbers[1]), as: UTF8.self)
    declarations = Array(rest.dropFirst(numbers[1]))
    guard TopologyRun.isComplete(declarations) else { return nil }
  }
}
