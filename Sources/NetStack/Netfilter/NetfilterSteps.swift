// SPDX-License-Identifier: GPL-2.0-or-later

// What a packet meets at each hook, in order of priority: chains, and between them what the kernel does by itself
// (nf_hook_entries). Made when the ruleset changes.
//
//    -400 defragmentation │ -200 conntrack │ -100 destination NAT │ 0 filter │ 100 source NAT │ last: confirmation

import NetTypes
import Nftables

/// One step of a hook.
struct NetfilterStep: BitwiseCopyable {
  enum Kind: UInt8, BitwiseCopyable {
    case defragment, conntrack
    /// `start` names the first of the hook's NAT chains, `count` how many there are.
    case nat
    case chain
    /// `start` is its number.
    case flowtable
    case synproxy
    case confirm
  }

  var kind: Kind
  /// For chains: the first instruction.
  var start: UInt32 = 0
  var count: UInt32 = 0
  /// NF_ACCEPT or NF_DROP.
  var policy: Int32 = 1
  /// A chain's devices, as a number in the list of them; `max` for all.
  var devices: UInt32 = .max
  /// Of the family inet at a device: other frames than IP's do not meet it (nft_do_chain_inet_ingress).
  var needsIP = false
  /// Of a flowtable: the IP version that it takes; 0 for both.
  var version: UInt8 = 0

  @inline(__always) func admits(_ version: UInt8) -> Bool { self.version == 0 || self.version == version }
}

/// The steps of all hooks of a namespace.
@safe struct NetfilterSteps: ~Copyable {
  private let steps: UnsafeMutablePointer<NetfilterStep>
  private let chains: UnsafeMutablePointer<NetfilterStep>
  /// For each family and hook where its steps begin and how many there are. An inline array would be copied whole for each
  /// packet that asks.
  private let ranges: UnsafeMutablePointer<(start: UInt32, count: UInt32)>
  /// For chains of devices.
  let devices: [[InterfaceName]]
  /// By family: whether it has NAT.
  private let translating: [Bool]
  /// By family: whether there are chains that have what this host sends routed anew when they have changed it.
  private let rerouting: [Bool]

  /// - Parameter hooks: by `NftProgram.place`, sorted by priority and age.
  init(_ hooks: [[NftProgram.Hook]], tracks: TrackedFamilies, proxies: TrackedFamilies = []) {
    var all: [NetfilterStep] = []
    var nat: [NetfilterStep] = []
    var devices: [[InterfaceName]] = []
    let places = NetfilterFamily.allCases.count * NetfilterHook.count
    let ranges = UnsafeMutablePointer<(start: UInt32, count: UInt32)>.allocate(capacity: places)
    let translates = NetfilterFamily.allCases.map { family in
      NetfilterHook.allCases.contains { hook in
        !hooks.isEmpty && hooks[NftProgram.place(family, hook)].contains { $0.type == .nat }
      }
    }
    for family in NetfilterFamily.allCases {
      for hook in NetfilterHook.allCases {
        let place = NftProgram.place(family, hook)
        var found = Self.own(family, hook, tracks, proxies)
        let mine = hooks.isEmpty ? [] : hooks[place]
        let natChains = mine.filter { $0.type == .nat }
        // The first NAT chain of a family brings NAT to all its hooks (nf_nat_register_fn).
        if translates[Int(family.rawValue)], let priority = Self.natPriority(family, hook) {
          found.append(
            (priority, NetfilterStep(kind: .nat, start: UInt32(nat.count), count: UInt32(natChains.count))))
          nat += natChains.map { NetfilterStep(kind: .chain, start: $0.start, policy: $0.policy) }
        }
        for chain in mine where chain.type != .nat {
          var step = NetfilterStep(kind: .chain, start: chain.start, policy: chain.policy)
          if let flowtable = chain.flowtable {
            step = NetfilterStep(kind: .flowtable, start: flowtable)
            step.version = chain.family == .ip ? 4 : chain.family == .ip6 ? 6 : 0
          }
          step.needsIP = family == .netdev && chain.family == .inet
          if !chain.devices.isEmpty {
            step.devices = UInt32(devices.count)
            devices.append(chain.devices)
          }
          found.append((chain.priority, step))
        }
        // The kernel's own come first of one priority: they were there before.
        let sorted = found.enumerated().sorted {
          ($0.element.priority, $0.offset) < ($1.element.priority, $1.offset)
        }
        unsafe (ranges + place).initialize(to: (UInt32(all.count), UInt32(sorted.count)))
        all += sorted.map(\.element.step)
      }
    }
    unsafe steps = .allocate(capacity: max(all.count, 1))
    for (index, step) in all.enumerated() { unsafe (steps + index).initialize(to: step) }
    unsafe chains = .allocate(capacity: max(nat.count, 1))
    for (index, step) in nat.enumerated() { unsafe (chains + index).initialize(to: step) }
    unsafe self.ranges = ranges
    self.devices = devices
    translating = translates
    rerouting = NetfilterFamily.allCases.map { family in
      let output = hooks.isEmpty ? [] : hooks[NftProgram.place(family, .output)]
      return output.contains { $0.type == .route }
    }
  }

  deinit {
    unsafe steps.deallocate()
    unsafe chains.deallocate()
    unsafe ranges.deallocate()
  }

  private static func own(
    _ family: NetfilterFamily, _ hook: NetfilterHook, _ tracks: TrackedFamilies, _ proxies: TrackedFamilies
  ) -> [(priority: Int32, step: NetfilterStep)] {
    guard tracks.contains(family) else { return [] }
    switch hook {
    case .prerouting, .output:
      return [(-400, NetfilterStep(kind: .defragment)), (-200, NetfilterStep(kind: .conntrack))]
    case .input, .postrouting:
      let proxy: [(Int32, NetfilterStep)] =
        proxies.contains(family) ? [(.max - 1, NetfilterStep(kind: .synproxy))] : []
      return proxy + [(.max, NetfilterStep(kind: .confirm))]
    case .forward, .ingress, .egress: return []
    }
  }

  private static func natPriority(_ family: NetfilterFamily, _ hook: NetfilterHook) -> Int32? {
    guard family == .ipv4 || family == .ipv6 else { return nil }
    switch hook {
    case .prerouting, .output: return -100
    case .input, .postrouting: return 100
    case .forward, .ingress, .egress: return nil
    }
  }

  /// Whether packets of a family may be translated.
  func translates(_ family: NetfilterFamily) -> Bool { translating[Int(family.rawValue)] }

  /// Whether what this host sends finds another way when rules have changed where it goes to, or its mark: chains of type
  /// route do that (nf_route_table_hook4); a filter's change leaves the way as it was.
  func reroutes(_ family: NetfilterFamily) -> Bool { rerouting[Int(family.rawValue)] }

  /// Where a hook's steps begin, and how many there are.
  @inline(__always)
  func range(_ family: NetfilterFamily, _ hook: NetfilterHook) -> (start: UInt32, count: UInt32) {
    unsafe ranges[NftProgram.place(family, hook)]
  }

  @inline(__always) subscript(step: UInt32) -> NetfilterStep { unsafe steps[Int(step)] }

  /// One of the NAT chains that a NAT step names.
  @inline(__always) func natChain(_ index: UInt32) -> NetfilterStep { unsafe chains[Int(index)] }
}
