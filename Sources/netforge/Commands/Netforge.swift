// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import CLinux
import EmulatedDatapath
import Glibc
import KernelDatapath
import LabCore
import LabHost
import LabProcess
import Reconcile

// Each verb writes its name down: made from the type's name, as the parser would, the names of all of them cost a quarter
// of every start.
@main
struct Netforge: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "netforge",
    abstract: "Networks from Swift files: bring a topology up, look into it, take it away.",
    version: Version.number,
    groupedSubcommands: [
      CommandGroup(
        name: "Labs", subcommands: [Up.self, Down.self, PlanCommand.self, Status.self, List.self, GC.self]),
      CommandGroup(
        name: "Nodes",
        subcommands: [
          Exec.self, Shell.self, Restart.self, Ping.self, Traceroute.self, Stats.self, Neigh.self, FDB.self,
          RouteCommand.self, Sockets.self, Nft.self, Conntrack.self, NC.self, Iperf.self, Plot.self,
          Events.self,
        ]),
      CommandGroup(
        name: "Packets",
        subcommands: [CaptureCommand.self, Trace.self, LinkCommand.self, Netem.self, Play.self]),
      CommandGroup(
        name: "Topologies",
        subcommands: [Test.self, Validate.self, Render.self, Graph.self, Init.self, Edit.self]),
      CommandGroup(name: "This host", subcommands: [Doctor.self, Version.self, Completion.self]),
    ])

  static func main() async {
    nf_reserve_descriptors()
    if let role = LabProcess.role {
      let makeDatapath: LabProcess.DatapathFactory = { (lab, folder, kind, cpus) throws(DatapathError) in
        if kind == .emulated {
          let host: HostAccess =
            RunningLab.mayChangeTheKernel
            ? .kernel { () throws(DatapathError) in try KernelDatapath() } : .unprivileged
          return try EmulatedDatapath(lab: lab, cpus: cpus, host: host)
        }
        let root = LabFolders(beside: folder, of: lab).root
        return try KernelDatapath(site: KernelDatapath.Site(isMachine: kind == .kernel, labFolder: root))
      }
      await role.run(makeDatapath, bringUp: UpOutcome.of)
    }
    // A lab of 200 nodes is some megabytes, and this process ends soon.
    nf_heap_grow_by(32 << 20)
    do {
      var command = try parseAsRoot()
      if var verb = command as? any AsyncParsableCommand {
        try await verb.run()
      } else {
        try command.run()
      }
    } catch {
      guard let failure = Failure(error) else { exit(withError: error) }
      fail(failure)
    }
  }

  private static func fail(_ failure: Failure) -> Never {
    if failure.isDiagnostics {
      for line in failure.lines { Terminal.say(line) }
    } else {
      Terminal.complain(failure.lines)
    }
    Glibc.exit(failure.code)
  }
}
