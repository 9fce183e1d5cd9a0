// SPDX-License-Identifier: GPL-2.0-or-later

public import LabCore

extension InitialSettingsQuestion {
  /// The answer, found out in a namespace made just now that `channel` leads into.
  public func answer(by channel: some Transport) throws(TransportError) -> [SysctlState] {
    // What the kernel refuses here it refuses there too, and says so when it counts.
    for setting in written { try? channel.writeSysctl(setting) }
    var settings: [SysctlState] = []
    for name in names {
      if let value = try channel.readSysctl(name) { settings.append(SysctlState(name: name, value: value)) }
    }
    return settings
  }
}
