// `nodes` hosts on one bridge, for `make bench`: --var nodes=200.
import Netforge

let lab = Topology("bench")
let lan = lab.bridge("lan", subnet: "10.0.0.0/16")
let count = Int(lab.variable("nodes", default: "200")) ?? 200

let gw = lab.router("gw") { Interface("eth0", on: lan, address: "10.0.0.1/16") }

for i in 0..<count - 1 {
  lab.node("n\(i)") {
    Interface("eth0", on: lan)
    Route(.default, via: gw)
  }
}
