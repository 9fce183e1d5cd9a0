// SPDX-License-Identifier: GPL-2.0-or-later

// What is made up from names has to come out the same in every run and every version: MAC addresses, seeds, short
// names.

import NetTypes

enum StableHash {
  /// FNV-1a with a final mix, so that names that differ in their last letter differ in all bits.
  static func of(_ text: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    hash = (hash ^ (hash >> 33)) &* 0xff51_afd7_ed55_8ccd
    hash = (hash ^ (hash >> 33)) &* 0xc4ce_b9fe_1a85_ec53
    return hash ^ (hash >> 33)
  }

  /// Locally administered, unicast.
  static func mac(_ text: String) -> MACAddress {
    let hash = of(text)
    let first = (hash >> 40) & 0xfc | 0x02
    return MACAddress(rawValue: first << 40 | hash & 0xff_ffff_ffff)
  }

  static func digits(_ text: String, count: Int) -> String {
    let digits = String(of(text), radix: 16)
    return String((String(repeating: "0", count: 16 - digits.count) + digits).suffix(count))
  }
}

/// The devices' names in one namespace: as written, or shortened, the long name beside it as an alternative.
struct DeviceNames {
  private var known: [String: InterfaceName] = [:]
  private var taken: Set<String> = ["lo"]

  /// The kernel's name for `written`; the same for the same `written`. The key is what a name that does not fit is made of.
  mutating func name(for written: String, key: @autoclosure () -> String) -> InterfaceName {
    if written == "lo" { return .loopback }
    if let name = known[written] { return name }
    let name = Self.fits(written) && !taken.contains(written) ? InterfaceName(written) : nil
    let chosen = name ?? shortened(written, key: key())
    known[written] = chosen
    taken.insert(chosen.text)
    return chosen
  }

  /// Gives a device the name that it has already; false when another has it.
  mutating func adopt(_ written: String, as name: InterfaceName) -> Bool {
    guard taken.insert(name.text).inserted else { return false }
    known[written] = name
    return true
  }

  subscript(_ written: String) -> InterfaceName? { written == "lo" ? .loopback : known[written] }

  /// `all` and `default` are no devices to the settings under /proc/sys.
  private static func fits(_ text: String) -> Bool {
    InterfaceName(text) != nil && !["lo", "all", "default"].contains(text)
  }

  /// The first letters and a hash, 15 characters.
  private func shortened(_ written: String, key: String) -> InterfaceName {
    let letters = String(
      written.unicodeScalars.filter { $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0)) }
        .prefix(6).map(Character.init))
    var attempt = 0
    while true {
      let text = letters + "-" + StableHash.digits("\(key)#\(attempt)", count: 8)
      if !taken.contains(text), let name = InterfaceName(text) { return name }
      attempt += 1
    }
  }

  /// The long name, where the kernel's is another.
  static func alternatives(_ written: String, _ name: InterfaceName) -> [String] {
    // The kernel takes alternative names of up to 127 bytes (ALTIFNAMSIZ less the zero).
    written == name.text || written.utf8.count > 127 || written.contains("/") ? [] : [written]
  }
}
