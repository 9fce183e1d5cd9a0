// SPDX-License-Identifier: GPL-2.0-or-later

// Names of devices, where a wrong one is a mistake of the benchmark.

import NetTypes

/// What is no device's name.
struct BadName: Error { var text: String }

func deviceName(_ text: String) throws(BadName) -> InterfaceName {
  guard let name = InterfaceName(text) else { throw BadName(text: text) }
  return name
}
