// SPDX-License-Identifier: GPL-2.0-or-later

// Programs and sockets in nodes.

import Glibc
public import LabCore
import LabProcess
import LinuxObjects
import Netlink
import Spawn

extension KernelDatapath {
  public func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess {
    let name = NamespaceID.node(node).netnsName(in: lab) ?? ""
    guard directory.contains(name) else { throw Self.missing(node, lab, "start a program") }
    var view = NodeView.empty
    if let folder = site.labFolder { view = try NodeView.read(of: node, folder: "\(folder)/\(lab)") }
    let entry = NodeEntry(node: node, namespaces: .path(directory.path(of: name)), view: view)
    let result: Result<ChildProcess, DatapathError> = await blocking {
      do throws(DatapathError) { return .success(try entry.spawn(command, io: io)) } catch {
        return .failure(error)
      }
    }
    return KernelProcess(try result.get(), "\(command.arguments.first ?? "program") in node '\(node)'")
  }

  public func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint {
    guard let name = NamespaceID.node(node).netnsName(in: lab), directory.contains(name) else {
      throw Self.missing(node, lab, "open a socket")
    }
    let socket = try await perform(on: lab, "open a socket") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        try kernel.thread.enter(kernel.open(.node(node)).namespace)
        return try NodeSocket.open(request, in: node)
      } catch {
        throw DatapathError(
          .refused, operation: "open a socket", path: StatePath(.node(node)),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
    if case .connectTCP(let destination, _, let timeout) = request {
      try await socket.connect(to: destination, timeout: timeout)
    }
    return socket
  }

  private static func missing(_ node: NodeName, _ lab: LabName, _ operation: String) -> DatapathError {
    DatapathError(
      .notFound, operation: operation, path: StatePath(.node(node)), cause: "lab '\(lab)' has no such node",
      remedy: "'netforge status --name \(lab)' lists the nodes")
  }
}

/// A program in a node that is a child of this process.
struct KernelProcess: NodeProcess {
  private let child: ChildProcess
  private let name: String

  init(_ child: ChildProcess, _ name: String) {
    self.child = child
    self.name = name
  }

  var processID: Int32 { child.pid }

  func signal(_ number: Int32) async throws(DatapathError) { child.kill(number) }

  func wait() async throws(DatapathError) -> ProcessExit {
    let (child, name) = (child, name)
    let result: Result<ProcessExit, DatapathError> = await blocking {
      do throws(SpawnError) {
        switch try child.wait() {
        case .exited(let code): return .success(.exited(code))
        case .signaled(let signal): return .success(.signaled(signal))
        case nil:
          return .failure(DatapathError(.timeout, operation: "wait for \(name)", cause: "it has not ended"))
        }
      } catch {
        return .failure(DatapathError(.unavailable, operation: "wait for \(name)", cause: "\(error)"))
      }
    }
    return try result.get()
  }
}
