// SPDX-License-Identifier: GPL-2.0-or-later

// What shall happen: at a time, and in scenarios.

import LabCore
import NetTypes

extension TopologyCheck {
  mutating func scenarios(_ readers: [Reader]) -> [Topology.Scenario] {
    var scenarios: [Topology.Scenario] = []
    for reader in readers {
      let name = reader.required("name")
      let who = "scenario '\(name)'"
      if let taken = scenarios.first(where: { $0.name == name }) {
        fail("\(who): the name is taken by the one at \(taken.location)", at: reader.location)
        continue
      }
      if reader.values("actions").isEmpty { fail("\(who): nothing happens", at: reader.location) }
      scenarios.append(
        Topology.Scenario(
          name: name, actions: reader.objects("actions").compactMap { action($0, "\(who):") },
          location: reader.location))
    }
    return scenarios
  }

  mutating func event(_ reader: Reader) -> [Topology.Event] {
    guard let time = nanoseconds(reader, "atNanoseconds", "event: time") else { return [] }
    if reader.values("actions").isEmpty { fail("event: nothing happens", at: reader.location) }
    return reader.objects("actions").compactMap { action in
      self.action(action, "event").map { Topology.Event(at: time, action: $0, location: reader.location) }
    }
  }

  private mutating func action(_ reader: Reader, _ what: String) -> Topology.Action? {
    let word = reader.required("action")
    let who = "\(what) '\(word)'"
    let location = reader.location
    switch word {
    case "wait": return duration(reader, who).map { .wait($0) }
    case "settle": return .settle
    case "setRoute", "removeRoute": return changeOfRoute(word, reader, who)
    case "linkDown", "linkUp", "flap", "impair", "heal", "addAddress", "removeAddress":
      guard let target = reader.object("interface"),
        let node = node(target.required("node"), who, at: location),
        let device = device(target.required("interface"), of: node, who, at: location)
      else {
        if reader.object("interface") == nil { fail("\(who): it names no interface", at: location) }
        return nil
      }
      let reference = Topology.DeviceReference(nodes[node].name, device.name)
      switch word {
      case "linkDown": return .linkDown(reference)
      case "linkUp": return .linkUp(reference)
      case "flap": return duration(reader, who).map { .flap(reference, $0) }
      case "heal": return .impair(reference, nil)
      case "addAddress", "removeAddress":
        guard
          let prefix = prefix(
            reader.text("address") ?? "", who, isLoopback: device.name == "lo", subnets: [], at: location)
        else { return nil }
        return word == "addAddress" ? .addAddress(reference, prefix) : .removeAddress(reference, prefix)
      default:
        guard let impairment = reader.object("impairment") else {
          fail("\(who): it does not say how", at: location)
          return nil
        }
        return .impair(reference, self.impairment(of: impairment, who))
      }
    case "run", "restart":
      guard let name = reader.text("node") else {
        fail("\(who): it names no node", at: location)
        return nil
      }
      guard let node = node(name, who, at: location) else { return nil }
      guard word == "run" else { return .restart(nodes[node].name) }
      let words = reader.texts("command")
      guard let program = words.first, !program.allSatisfy(\.isWhitespace) else {
        fail("\(who): there is no command", at: location)
        return nil
      }
      return .run(nodes[node].name, arguments: words)
    default:
      fail(
        "\(who): it is none of linkDown, linkUp, flap, impair, heal, addAddress, removeAddress, setRoute, removeRoute, settle, run, restart, wait",
        at: location)
      return nil
    }
  }

  private mutating func changeOfRoute(_ word: String, _ reader: Reader, _ who: String) -> Topology.Action? {
    let location = reader.location
    guard let name = reader.text("node"), let text = reader.text("destination") else {
      fail("\(who): it names a node and a destination", at: location)
      return nil
    }
    guard let node = node(name, who, at: location),
      let destination = network(text, "\(who): destination", at: location)
    else { return nil }
    guard word == "setRoute" else { return .removeRoute(nodes[node].name, destination) }
    guard let text = reader.text("via") else {
      fail("\(who): it needs 'via', an address", at: location)
      return nil
    }
    guard let gateway = address(text, "\(who): via", at: location) else { return nil }
    guard gateway.family == destination.family, !gateway.isUnspecified, !gateway.isMulticast else {
      fail("\(who): \(gateway) is no gateway to \(destination)", at: location)
      return nil
    }
    var device: String?
    if let interface = reader.text("on") {
      guard let own = self.device(interface, of: node, who, at: location) else { return nil }
      device = own.name
    }
    return .setRoute(nodes[node].name, destination, via: gateway, device: device)
  }

  private mutating func duration(_ reader: Reader, _ who: String) -> Interval? {
    guard reader.integer("durationNanoseconds") != nil else {
      fail("\(who): it does not say for how long", at: reader.location)
      return nil
    }
    return nanoseconds(reader, "durationNanoseconds", "\(who): for", upTo: Self.hour)
  }
}
