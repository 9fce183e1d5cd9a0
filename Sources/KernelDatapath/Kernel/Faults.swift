// SPDX-License-Identifier: GPL-2.0-or-later

// Where a test can make the kernel refuse: each thing that is done to it can be failed by itself.

public import Nftables
public import Rtnetlink

/// Something about to be done to the kernel.
public enum KernelAction: Sendable {
  /// A message that changes something, and the namespace that it is for; reading is no action.
  case message(NetlinkMessage, namespace: String)
  case sysctl(String, namespace: String)
  /// A transaction that would take effect.
  case nftables([NftChange], namespace: String)
  case makeNamespace(String)
  case removeNamespace(String)
  case makeTunTap(String, namespace: String)
}

/// Looks at each action before it is done; an error number fails it in the kernel's place.
public typealias FaultInjector = @Sendable (KernelAction) -> Int32?
