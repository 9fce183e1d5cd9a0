// SPDX-License-Identifier: GPL-2.0-or-later

// `emulated-bench --cpus pairs.json`: what the nodes of Benchmarks/pairs.swift send each other over TCP on one CPU and on
// two, in turns, so that a busy machine is as busy for either; the best of the turns counts.

import EmulatedDatapath
import Glibc
import LabCore
import NetTypes
import Reconcile
import TopologyModel

/// Who sends to whom: a node's name, and the address of another.
struct Load {
  var name: String
  var pairs: [(from: String, to: String)]

  static let all = [
    Load(name: "a pair on a CPU of its own", pairs: [("a0", "10.2.0.2")]),
    Load(name: "a pair, an end on either CPU", pairs: [("a0", "10.1.0.2")]),
    Load(name: "two pairs, each on a CPU", pairs: [("a0", "10.2.0.2"), ("a1", "10.3.0.2")]),
  ]

  /// Bits a second, of four connections a pair.
  func run(on datapath: EmulatedDatapath) async throws -> Double {
    let begin = milliseconds()
    let bytes = try await withThrowingTaskGroup(of: Int.self) { group in
      for (from, to) in pairs {
        guard let node = NodeName(from), let address = IPAddress(to) else { continue }
        let request = EndpointRequest.connectTCP(
          to: SocketEndpoint(address, 9), from: nil, timeout: .seconds(5))
        for _ in 0..<4 {
          group.addTask {
            let endpoint = try await datapath.endpoint(request, in: node, of: datapath.lab)
            let chunk = [UInt8](repeating: 1, count: 64 << 10)
            var sent = 0
            while milliseconds() - begin < 1000 {
              try await endpoint.send(chunk, to: nil)
              sent += chunk.count
            }
            await endpoint.close()
            return sent
          }
        }
      }
      return try await group.reduce(0, +)
    }
    return Double(bytes) * 8000 / (milliseconds() - begin)
  }
}

/// A lab in an emulated kernel of this process, with its services.
struct BenchLab {
  let datapath: EmulatedDatapath
  private let services: [any OpenService]

  init(_ document: [UInt8], cpus: Int) async throws {
    let topology = try Topology(try Declarations(json: document))
    let resolution = try Resolver().resolve(topology)
    datapath = try EmulatedDatapath(lab: topology.name, cpus: cpus)
    let root = "/tmp/netforge-bench-\(cpus)-\(getpid())"
    let folder = try LabFolders(root: root).make(topology.name)
    _ = try await Reconciler(datapath: datapath, folder: folder, runtime: resolution.runtime).up(
      resolution.state, as: Reconciler.Description(datapath: .emulated), holding: try folder.lock())
    try folder.remove()
    rmdir(root)
    var services: [any OpenService] = []
    for node in resolution.runtime.nodes {
      for service in node.services {
        services.append(try await datapath.open(service, in: node.node, of: topology.name))
      }
    }
    self.services = services
  }
}

/// Measures each load on one CPU and on two.
func measureCPUs(_ document: [UInt8]) async throws {
  let (one, two) = (try await BenchLab(document, cpus: 1), try await BenchLab(document, cpus: 2))
  for load in Load.all {
    var best = (0.0, 0.0)
    for _ in 0..<5 {
      best.0 = max(best.0, try await load.run(on: one.datapath))
      best.1 = max(best.1, try await load.run(on: two.datapath))
    }
    let ratio = (best.1 / best.0 * 100).rounded() / 100
    let rates = [best.0, best.1].map { "\(($0 / 1e8).rounded() / 10)" }
    print("\(load.name): \(rates[0]) Gbit/s on one CPU, \(rates[1]) on two: \(ratio)")
  }
}
