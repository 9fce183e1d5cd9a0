// SPDX-License-Identifier: GPL-2.0-or-later

/// A datapath that keeps netforge's own services itself, since no socket of the host reaches into its nodes.
public protocol ServiceHost: Datapath {
  /// Opens a service in a node. `refused` with EADDRINUSE when something holds its port.
  func open(_ service: NodeService, in node: NodeName, of lab: LabName) async throws(DatapathError)
    -> any OpenService
}

/// A service that answers until it is closed.
public protocol OpenService: Sendable {
  var service: NodeService { get }
  /// What it answers to, as `status` shows it: `echo`, or `echo/udp` where only that is there.
  var label: String { get }
  func close()
}
