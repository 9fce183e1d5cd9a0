// IPv6 alone on one side, both families on the other.
import Netforge

let lab = Topology("ipv6")
let lan = lab.bridge("lan", subnet: "2001:db8:1::/64")
let dual = lab.bridge("dual", subnets: ["10.6.0.0/24", "2001:db8:2::/64"])

let router = lab.router("router") {
  Interface("lan0", on: lan, address: "2001:db8:1::1/64")
  Interface("dual0", on: dual, addresses: ["10.6.0.1/24", "2001:db8:2::1/64"])
}

let a = lab.node("a") {
  Interface("eth0", on: lan, address: "2001:db8:1::a/64")
  Route(.default6, via: "2001:db8:1::1")
}
let b = lab.node("b") {
  Interface("eth0", on: dual, addresses: ["10.6.0.11/24", "2001:db8:2::b/64"])
  Route(.default, via: "10.6.0.1")
  Route(.default6, via: "2001:db8:2::1")
  Service(.http(port: 80))
}

lab.expect(a, reaches: b, on: .tcp(80))
lab.expect(b, reaches: a, ttl: 63)
lab.expect(b, reaches: a, through: [router])
