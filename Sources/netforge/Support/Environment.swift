// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc

/// Every flag's value may come from `NETFORGE_<FLAG>`; the command line wins.
enum Environment {
  static subscript(_ flag: String) -> String? {
    getenv("NETFORGE_" + flag).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }

  static func isSet(_ flag: String) -> Bool { ["1", "true", "yes"].contains(self[flag]?.lowercased() ?? "") }

  static func list(_ flag: String) -> [String] { self[flag]?.split(separator: ",").map(String.init) ?? [] }
}

extension Environment {
  /// A variable of the caller's, under its own name.
  static func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Where programs are looked for.
  static var path: String {
    variable("PATH") ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  }
}
