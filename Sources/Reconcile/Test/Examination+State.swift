// SPDX-License-Identifier: GPL-2.0-or-later

// What a node knows and counts: routes, neighbours, forwarding databases, rules; and what a command in it does.

import Glibc
import LabCore
import NetTypes
import Nftables
import SystemPackage
import TopologyModel

extension Examination {
  func route(_ node: NodeName, _ address: IPAddress, _ gateway: IPAddress?, _ device: String?) async
    -> Finding
  {
    do throws(DatapathError) {
      let answer = try await datapath.inspect(.route(to: address), in: .node(node), of: lab.name)
      guard case .route(let route) = answer else { throw Prober.unexpected }
      let link = device.flatMap { book.link($0, of: node)?.name.text }
      let isRight = (gateway == nil || route.gateway == gateway) && (device == nil || route.link == link)
      return Finding(
        isRight,
        "\(address)" + (route.gateway.map { " via \($0)" } ?? " directly")
          + (route.link.map { " on \($0)" } ?? ""))
    } catch {
      guard case .noRoute = Prober.outcome(of: error) else { return .inconclusive(error) }
      return Finding(.fail, "no route: \(error.cause)")
    }
  }

  func neighbor(
    _ node: NodeName, _ address: IPAddress, _ mac: MACAddress?, _ device: String?, _ state: String?
  ) async -> Finding {
    do throws(DatapathError) {
      let answer = try await datapath.inspect(.neighbors, in: .node(node), of: lab.name)
      guard case .neighbors(let all) = answer else { throw Prober.unexpected }
      let link = device.flatMap { book.link($0, of: node)?.name.text }
      let known = all.filter { $0.address == address && (device == nil || $0.link == link) }
      guard !known.isEmpty else { return Finding(.fail, "\(node) has no such neighbour") }
      let isRight = known.contains { entry in
        (mac == nil || entry.mac == mac)
          && (state == nil || entry.state.split(separator: ",").contains { $0 == state ?? "" })
      }
      let seen = known.map {
        "\($0.address) at \($0.mac.map(\.description) ?? "nothing") on \($0.link), \($0.state)"
      }
      return Finding(isRight, seen.joined(separator: "; "))
    } catch {
      return .inconclusive(error)
    }
  }

  func learned(
    _ bridge: NodeName, _ device: Topology.DeviceReference, _ port: Topology.DeviceReference
  ) async -> Finding {
    guard let mac = book.link(device.device, of: device.node)?.mac,
      let end = book.link(port.device, of: port.node)?.name,
      let ports = lab.resolution.state[.switch]?.links,
      let own = ports.first(where: { $0.kind == .veth(peer: LinkReference(.node(port.node), end)) })?.name
        .text
    else { return Finding(.inconclusive, "\(port.node):\(port.device) is no port of a bridge of the lab") }
    do throws(DatapathError) {
      let answer = try await datapath.inspect(.forwardingEntries, in: .switch, of: lab.name)
      guard case .forwardingEntries(let all) = answer else { throw Prober.unexpected }
      let known = all.filter { $0.mac == mac && $0.bridge == masterName(bridge) && $0.kind != "permanent" }
      guard !known.isEmpty else { return Finding(.fail, "\(bridge) knows nothing of \(mac)") }
      return Finding(
        known.contains { $0.link == own },
        known.map { "\(mac) behind \($0.link), \($0.kind)" }.joined(separator: "; "))
    } catch {
      return .inconclusive(error)
    }
  }

  /// The kernel's name of a lab's bridge.
  private func masterName(_ bridge: NodeName) -> String? {
    lab.resolution.state[.switch]?.links.first {
      $0.name.text == bridge.text || $0.alternativeNames.contains(bridge.text)
    }?.name.text
  }

  func counts(_ node: NodeName, _ comment: String, _ bounds: Topology.Expectation.Bounds) async -> Finding {
    do throws(DatapathError) {
      let observation = try await datapath.observe(lab.name, scope: Scope(namespaces: [.node(node)]))
      let tables = [observation.owned, observation.unmarked].flatMap { $0[.node(node)]?.tables ?? [] }
      let rules = tables.flatMap(\.chains).flatMap(\.rules).filter { $0.comment == comment }
      guard !rules.isEmpty else {
        return Finding(.inconclusive, "\(node) has no rule with the comment '\(comment)'")
      }
      let counters = rules.flatMap(\.expressions).compactMap { expression -> UInt64? in
        if case .counter(let counter) = expression { counter.packets } else { nil }
      }
      guard !counters.isEmpty else { return Finding(.inconclusive, "the rule has no counter") }
      let packets = counters.reduce(0, &+)
      return Finding(bounds.contains(Double(packets)), "\(packets) packets")
    } catch {
      return .inconclusive(error)
    }
  }

  // MARK: The lab and its topology

  func differences(_ count: Int) async -> Finding {
    do throws(DatapathError) {
      let plan = try await lab.differences()
      let lines = plan.lines
      let steps = plan.text().split(separator: "\n").dropLast().map { $0.drop { $0 == " " } }
      return Finding(
        lines.count == count ? .pass : .fail, lines.isEmpty ? "none" : plan.summary,
        details: lines.count == count ? [] : steps.map(String.init))
    } catch {
      return .inconclusive(error)
    }
  }

  func keeps(_ nodes: [NodeName]) async -> Finding {
    do throws(DatapathError) {
      var anew: [String] = []
      for node in nodes {
        guard let before = lab.origin[node] else {
          return Finding(.inconclusive, "who \(node) was before, its kernel does not tell")
        }
        let now = try await lab.identity(of: node)
        guard now.cookie == before.cookie else {
          anew.append("\(node)")
          continue
        }
        // A device that is made anew has the number of the one before, and begins to count.
        anew += before.links.filter { name, old in
          now.links[name].map { $0.index != old.index || $0.packets < old.packets } ?? true
        }.keys.sorted().map { "\(node):\($0)" }
      }
      return anew.isEmpty
        ? Finding(.pass, "\(nodes.count) nodes, each the same with the same devices")
        : Finding(.fail, "not the same any more: \(anew.joined(separator: ", "))")
    } catch {
      return .inconclusive(error)
    }
  }

  // MARK: Commands

  private static let outputLimit = 1 << 20

  func runs(_ node: NodeName, _ words: [String], _ code: Int, _ text: String?) async -> Finding {
    do throws(DatapathError) {
      let (exit, output) = try await lab.output(of: words, in: node, limit: Self.outputLimit)
      let lines = output.split(separator: "\n").suffix(20).map(String.init)
      guard Int(exit.code) == code else {
        return Finding(.fail, "exit code \(exit.code) and not \(code)", details: lines)
      }
      guard let text, !output.contains(text) else { return Finding(.pass, "exit code \(exit.code)") }
      return Finding(.fail, "exit code \(exit.code), but it does not print '\(text)'", details: lines)
    } catch {
      if error.code == .notStarted { return Finding(.fail, error.description) }
      return .inconclusive(error)
    }
  }
}
