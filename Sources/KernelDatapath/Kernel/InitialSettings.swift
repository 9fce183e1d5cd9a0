// SPDX-License-Identifier: GPL-2.0-or-later

/// The settings that a namespace has when it is made. All that are made in one piece of work begin alike, so the first
/// one tells for the others, and what is as it shall be need not be written: each write is a walk through /proc/sys and
/// some of them take the kernel's big network lock.
final class InitialSettings {
  private var values: [String: String] = [:]

  /// The value of a setting, asked for once.
  func value<Failure: Error>(of name: String, reading: () throws(Failure) -> String?) throws(Failure) -> String? {
    if let known = values[name] { return known }
    let value = try reading()
    values[name] = value
    return value
  }
}
