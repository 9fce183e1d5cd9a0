// A torus of size x size routers, each linked to its right and its lower neighbour.
import Netforge

let lab = Topology("torus")
let size = Int(lab.variable("size", default: "10")) ?? 10

/// The /30 of link `index`: its two ends.
func ends(_ index: Int) -> (String, String) {
  let base = index * 4
  return ("172.16.\(base >> 8).\((base & 255) + 1)/30", "172.16.\(base >> 8).\((base & 255) + 2)/30")
}

var routers: [[Node]] = []
for row in 0..<size {
  routers.append(
    (0..<size).map { column in
      let east = ends((row * size + column) * 2)
      let west = ends((row * size + (column + size - 1) % size) * 2)
      let south = ends((row * size + column) * 2 + 1)
      let north = ends(((row + size - 1) % size * size + column) * 2 + 1)
      return lab.router("r\(row)x\(column)") {
        Interface("east", address: east.0)
        Interface("west", address: west.1)
        Interface("south", address: south.0)
        Interface("north", address: north.1)
      }
    })
}
for row in 0..<size {
  for column in 0..<size {
    lab.link(routers[row][column]["east"], routers[row][(column + 1) % size]["west"])
    lab.link(routers[row][column]["south"], routers[(row + 1) % size][column]["north"])
  }
}
