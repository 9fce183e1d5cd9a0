// `nodes` hosts on bridges of 500, for `make bench`: --var nodes=10000.
import Netforge

let lab = Topology("bridges")
let count = Int(lab.variable("nodes", default: "1000")) ?? 1000

for first in stride(from: 0, to: count, by: 500) {
  let net = first / 500
  let lan = lab.bridge("lan\(net)", subnet: "10.\(net).0.0/16")
  let gw = lab.router("gw\(net)") { Interface("eth0", on: lan, address: "10.\(net).0.1/16") }
  for i in 1..<min(500, count - first) {
    lab.node("n\(net)x\(i)") {
      Interface("eth0", on: lan, address: "10.\(net).\(1 + i / 250).\(1 + i % 250)/16")
      Route(.default, via: gw)
    }
  }
}
