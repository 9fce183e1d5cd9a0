// One layer-2 segment stretched over a routed network: a VXLAN tunnel end in each of two hosts, containers behind them.
import Netforge

let lab = Topology("vxlan-overlay")
let underlayA = lab.bridge("underlay-a", subnet: "192.0.2.0/25")
let underlayB = lab.bridge("underlay-b", subnet: "192.0.2.128/25")

let core = lab.router("core") {
  Interface("a", on: underlayA, address: "192.0.2.1/25")
  Interface("b", on: underlayB, address: "192.0.2.129/25")
}

/// A host whose bridge joins a container's link and the tunnel to the other host.
func host(_ name: String, on underlay: Bridge, address: String, gateway: String, remote: String) -> Node {
  lab.node(name) {
    Interface("eth0", on: underlay, address: address)
    Route(.default, via: gateway)
    VXLAN("vxlan42", id: 42, remote: remote, on: "eth0")
    Interface("c0")
    Bridge("br0", ports: ["vxlan42", "c0"])
  }
}

let left = host("left", on: underlayA, address: "192.0.2.2/25", gateway: "192.0.2.1", remote: "192.0.2.130")
let right = host(
  "right", on: underlayB, address: "192.0.2.130/25", gateway: "192.0.2.129", remote: "192.0.2.2")

let red = lab.node("red") { Interface("eth0", address: "10.42.0.1/24") }
let blue = lab.node("blue") { Interface("eth0", address: "10.42.0.2/24") }
lab.link(left["c0"], red["eth0"])
lab.link(right["c0"], blue["eth0"])

lab.expect(red, reaches: blue, ttl: 64)
lab.expect(core, cannotReach: blue, because: .noRoute)
