// Two VLANs on one filtering bridge: access ports for the hosts, a trunk to a router that routes between them.
import Netforge

let lab = Topology("vlan")
let fabric = lab.bridge("fabric", vlanFiltering: true)

let router = lab.router("router") {
  Interface("trunk0", on: fabric, port: .trunk(10, 20))
  VLAN("trunk0.10", on: "trunk0", id: 10, address: "10.0.10.1/24")
  VLAN("trunk0.20", on: "trunk0", id: 20, address: "10.0.20.1/24")
}

let red = (1...2).map { i in
  lab.node("red\(i)") {
    Interface("eth0", on: fabric, address: "10.0.10.\(10 + i)/24", port: .access(10))
    Route(.default, via: "10.0.10.1")
  }
}
let blue = lab.node("blue") {
  Interface("eth0", on: fabric, address: "10.0.20.11/24", port: .access(20))
  Route(.default, via: "10.0.20.1")
}

lab.expect(red[0], reaches: red[1])
lab.expect(red[0], reaches: blue)
