// Nodes whose traffic stays on a CPU of two, and nodes whose traffic crosses, for `make bench`: nodes go round the CPUs in
// the order of their names.
import Netforge

let lab = Topology("pairs")
let a0 = lab.node("a0") {
  Interface("across", address: "10.1.0.1/24")
  Interface("within", address: "10.2.0.1/24")
}
let a1 = lab.node("a1") {
  Interface("across", address: "10.1.0.2/24")
  Interface("within", address: "10.3.0.1/24")
  Service(.discard(port: 9))
}
let b0 = lab.node("b0") {
  Interface("within", address: "10.2.0.2/24")
  Service(.discard(port: 9))
}
let b1 = lab.node("b1") {
  Interface("within", address: "10.3.0.2/24")
  Service(.discard(port: 9))
}
lab.link(a0["across"], a1["across"])
lab.link(a0["within"], b0["within"])
lab.link(a1["within"], b1["within"])
