// SPDX-License-Identifier: GPL-2.0-or-later

// What this process may do, and what it runs on.

import Glibc

enum Privilege {
  static let remedy = "run as root, or use --datapath rootless or --datapath emulated"
}

extension KernelDatapath {
  /// Linux 5.18 and newer remember who made an address.
  var addressesAreMarked: Bool { Self.kernelRelease >= (5, 18) }

  private static let kernelRelease: (Int, Int) = {
    var name = utsname()
    guard uname(&name) == 0 else { return (0, 0) }
    let release = withUnsafeBytes(of: &name.release) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    let parts = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    return parts.count == 2 ? (parts[0], parts[1]) : (0, 0)
  }()
}
