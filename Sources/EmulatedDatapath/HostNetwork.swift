// SPDX-License-Identifier: GPL-2.0-or-later

// What an emulated lab may do in the host's own network, and who does it: a datapath of the host's kernel, for the few
// objects that a lab has there.

import Glibc
public import LabCore
import LinuxObjects
import NetTypes
import Synchronization

/// What an emulated lab may do in the host's own network.
public enum HostAccess: Sendable {
  /// Nothing: nobody would take away again what it makes there.
  case none
  /// What an ordinary user may: open a tap that was made for the user.
  case unprivileged
  /// Make devices there, by a datapath of the host's kernel that is started when it is needed.
  case kernel(@Sendable () throws(DatapathError) -> any Datapath)
}

/// The host's network as one lab may change it.
final class HostNetwork: Sendable {
  private let permission: HostAccess
  private let isVirtual: Bool
  private let running = Mutex<(any Datapath)?>(nil)

  init(_ permission: HostAccess, _ time: EmulatedDatapath.TimeKind) {
    self.permission = permission
    isVirtual = time == .virtual
  }

  private typealias Start = @Sendable () throws(DatapathError) -> any Datapath

  private var way: Result<Start, HostRefusal> {
    switch permission {
    case .kernel(let start): return tapRefusal.map { .failure($0) } ?? .success(start)
    case .none:
      return .failure(
        HostRefusal(
          cause: "an emulated lab that is only tried has no way into the host's network",
          remedy: "use netforge up, or --datapath kernel as root"))
    case .unprivileged:
      return .failure(
        HostRefusal(
          cause: "only root with CAP_NET_ADMIN may make an emulated lab's way into the host's network",
          remedy: "run as root, join a tap that root has made for you by Uplink(.tap), or leave it out"))
    }
  }

  /// Whether a namespace of the lab's own kernel stands in for the host's network.
  var usesStandIn: Bool {
    if case .kernel = permission { return false }
    return !isVirtual
  }

  /// Why no devices can be made there.
  var refusal: HostRefusal? {
    do throws(HostRefusal) { _ = try way.get() } catch { return error }
    return nil
  }

  /// Why no tap can be joined.
  var tapRefusal: HostRefusal? {
    if isVirtual {
      return HostRefusal(
        cause: "an emulated lab in virtual time has no way into the host's network, which has its own",
        remedy: "use netforge up, or --datapath kernel as root")
    }
    guard access("/dev/net/tun", R_OK | W_OK) != 0 else { return nil }
    return HostRefusal(
      cause: "an emulated lab joins the host by /dev/net/tun: \(TransportError(errno: errno).cause)",
      remedy: "give the process /dev/net/tun, or leave out uplinks and lab.internet")
  }

  /// The host's kernel, if it has been asked for before.
  var opened: (any Datapath)? { running.withLock { $0 } }

  func datapath() throws(DatapathError) -> any Datapath {
    let start: Start
    do throws(HostRefusal) { start = try way.get() } catch {
      throw DatapathError(
        .unavailable, operation: "change the host's network", cause: error.cause, remedy: error.remedy)
    }
    return try running.withLock { (running) throws(DatapathError) in
      if let running { return running }
      let new = try start()
      running = new
      return new
    }
  }
}

/// Why something cannot be done, and what can be done about it.
struct HostRefusal: Error {
  var cause: String
  var remedy: String
}

extension EmulatedDatapath {
  /// What the lab cannot have of the host's network. `joined`: the taps that it has open.
  func hostLimitations(of desired: LabState, joined: Set<InterfaceName>) -> [Limitation] {
    var result: [Limitation] = []
    let space = desired[.host]
    // The lab's internet can do without the host's own network, which a node's uplink cannot.
    let object =
      host.usesStandIn
      ? space?.links.first { !$0.leadsToSwitch }.map { .link($0) } : space?.objects.dropFirst().first
    if let object, let refusal = host.refusal {
      result.append(
        Limitation(path: object.path(in: .host), cause: refusal.cause, remedy: refusal.remedy))
    }
    for space in desired.namespaces {
      for link in space.links {
        guard let refusal = host.refusal(of: link, joined) else { continue }
        result.append(
          Limitation(
            path: LinkReference(space.id, link.name).path, cause: refusal.cause, remedy: refusal.remedy))
      }
    }
    return result
  }
}

extension LinkState {
  fileprivate var leadsToSwitch: Bool {
    if case .veth(let peer?) = kind { peer.namespace == .switch } else { false }
  }
}

extension HostNetwork {
  fileprivate func refusal(of link: LinkState, _ joined: Set<InterfaceName>) -> HostRefusal? {
    switch link.kind {
    case .external where link.hostName != nil: return Self.devicesStay
    case .macvlan(let macvlan) where macvlan.parent?.namespace == .host: return Self.devicesStay
    case .tuntap(let device): return device.hostTap.flatMap { refusal(of: $0, joined) }
    default: return nil
    }
  }

  private static let devicesStay = HostRefusal(
    cause: "the emulated kernel has no devices of the host, neither to move in nor to put a macvlan on",
    remedy: "use --datapath kernel as root, or Uplink(.veth()) or Uplink(.tap)")

  private func refusal(of tap: InterfaceName, _ joined: Set<InterfaceName>) -> HostRefusal? {
    if joined.contains(tap) { return nil }
    if let refusal = tapRefusal { return refusal }
    do throws(TransportError) {
      // Closed again at once: it is opened for good when the device is made.
      _ = try HostTap.open(tap)
      return nil
    } catch {
      return HostRefusal(
        cause: "\(tap) of the host cannot be joined: \(error.cause)",
        remedy: "have root make it: ip tuntap add \(tap) mode tap user \(geteuid())")
    }
  }
}
