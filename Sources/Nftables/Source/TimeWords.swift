// SPDX-License-Identifier: GPL-2.0-or-later

// Times as rules compare them: by the clock of the kernel, which is universal time, whatever zone the host is in.

/// Reads times of day and dates.
enum TimeWords {
  /// `09:30` or `09:30:05`: seconds since midnight.
  static func seconds(ofDay word: some StringProtocol) -> UInt64? {
    let parts = word.split(separator: ":", omittingEmptySubsequences: false).map { number($0, digits: 2) }
    guard (2...3).contains(parts.count), let hour = parts[0], let minute = parts[1],
      let second = parts.count == 3 ? parts[2] : 0, hour < 24, minute < 60, second < 60
    else { return nil }
    return UInt64(hour * 3600 + minute * 60 + second)
  }

  /// `2026-11-26`, `2026-11-26 09:30` or with seconds: nanoseconds since 1970.
  static func nanoseconds(of word: some StringProtocol) -> UInt64? {
    let halves = word.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
    let date = halves[0].split(separator: "-", omittingEmptySubsequences: false)
    guard date.count == 3, let year = number(date[0], digits: 4), let month = number(date[1], digits: 2),
      let day = number(date[2], digits: 2), (1970...2261).contains(year), (1...12).contains(month),
      (1...days(in: month, of: year)).contains(day),
      let time = halves.count == 2 ? seconds(ofDay: halves[1]) : 0
    else { return nil }
    let whole = (1970..<year).reduce(0) { $0 + (isLeap($1) ? 366 : 365) }
    let passed = (1..<month).reduce(0) { $0 + days(in: $1, of: year) } + day - 1
    return (UInt64(whole + passed) * 86_400 + time) * 1_000_000_000
  }

  private static func number(_ text: some StringProtocol, digits: Int) -> Int? {
    guard text.utf8.count == digits, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
  }

  private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

  private static func days(in month: Int, of year: Int) -> Int {
    month == 2 ? (isLeap(year) ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
  }
}
