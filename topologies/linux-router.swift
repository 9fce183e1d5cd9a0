// One router, three subnets of three sizes, a host on each.
import Netforge

let lab = Topology("linux-router")
let s1 = lab.bridge("s1", subnet: "192.168.1.0/24")
let s2 = lab.bridge("s2", subnet: "172.16.0.0/12")
let s3 = lab.bridge("s3", subnet: "10.0.0.0/8")

let r0 = lab.router("r0") {
  Interface("eth1", on: s1, address: "192.168.1.1/24")
  Interface("eth2", on: s2, address: "172.16.0.1/12")
  Interface("eth3", on: s3, address: "10.0.0.1/8")
}

let h1 = lab.node("h1") {
  Interface("eth0", on: s1, address: "192.168.1.100/24")
  Route(.default, via: r0)
}
let h2 = lab.node("h2") {
  Interface("eth0", on: s2, address: "172.16.0.100/12")
  Route(.default, via: r0)
}
let h3 = lab.node("h3") {
  Interface("eth0", on: s3, address: "10.0.0.100/8")
  Route(.default, via: r0)
}

lab.expect(mesh: [h1, h2, h3], ttl: 63)
lab.expect(h1, reaches: h2, through: [r0])
lab.expect(r0, hasNeighbor: "192.168.1.100", on: "eth1")
