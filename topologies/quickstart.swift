// Two hosts on one bridge: the smallest lab there is.
import Netforge

let lab = Topology("quickstart")
let lan = lab.bridge("lan", subnet: "10.0.0.0/24")

for i in 1...2 {
  lab.node("web\(i)") {
    Interface("eth0", on: lan, address: "10.0.0.\(i)/24")
  }
}
