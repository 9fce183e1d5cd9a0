// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc
import KernelDatapath
import LabCore
import LabHost
import LabProcess
import Manifest
import Reconcile

/// `netforge doctor`: what this host can do, and what would mend what it cannot.
struct Doctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract:
      "Say what this host can do: datapaths, kernel features, toolchain, and the remedy for what is missing.",
    discussion: "The datapath that --datapath auto takes is named first.")

  @OptionGroup var output: OutputOptions

  struct Check: Encodable {
    enum State: String, Encodable { case ok, missing }
    var name: String
    var state: State
    var detail: String
    var remedy: String?
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var kernel: String
    /// The one that `--datapath auto` takes.
    var datapath: String
    var checks: [Check]
  }

  func run() async throws {
    var checks: [Check] = []
    let isKernel = RunningLab.mayChangeTheKernel
    checks.append(
      Check(
        name: "datapath kernel", state: isKernel ? .ok : .missing,
        detail: isKernel ? "may change the host's kernel" : "CAP_NET_ADMIN and CAP_SYS_ADMIN are missing",
        remedy: isKernel ? nil : "run as root"))
    let rootless = LabProcess.rootlessLimitation()
    checks.append(
      Check(
        name: "datapath rootless", state: rootless == nil ? .ok : .missing,
        detail: rootless?.cause ?? "this user can make user namespaces", remedy: rootless?.remedy))
    checks.append(
      Check(
        name: "datapath emulated", state: .ok, detail: "needs nothing of the host; a kernel of netforge's own"
      ))
    if isKernel {
      for feature in try await KernelDatapath().features() {
        checks.append(
          Check(
            name: "kernel", state: feature.isThere ? .ok : .missing, detail: feature.name,
            remedy: feature.isThere ? nil : feature.remedy))
      }
    }
    checks.append(Self.toolchain)
    checks.append(Self.program("dot", use: "netforge graph -f svg", package: "graphviz"))
    let document = Document(
      kernel: SystemIdentity().release, datapath: RunningLab.firstKind.rawValue, checks: checks)
    try output.print(document) { Self.text(of: document) }
  }

  private static var toolchain: Check {
    guard let found = Manifest.toolchain() else {
      return Check(
        name: "Swift toolchain", state: .missing, detail: "none in PATH",
        remedy: "install one from swift.org, or render topologies on a machine that has one")
    }
    return Check(name: "Swift toolchain", state: .ok, detail: found)
  }

  private static func program(_ name: String, use: String, package: String) -> Check {
    let path = Environment.path.split(separator: ":").map { "\($0)/\(name)" }
      .first { (path: String) in access(path, X_OK) == 0 }
    return Check(
      name: name, state: path == nil ? .missing : .ok, detail: path ?? "needed by \(use)",
      remedy: path == nil ? "install Debian's package \(package)" : nil)
  }

  private static func text(of document: Document) -> String {
    var table = Table("CHECK", "STATE", "DETAIL")
    for check in document.checks {
      table.add(check.name, check.state.rawValue, check.detail + (check.remedy.map { "; \($0)" } ?? ""))
    }
    return "Linux \(document.kernel); --datapath auto takes \(document.datapath)\n" + table.text
  }
}
