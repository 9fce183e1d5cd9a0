// SPDX-License-Identifier: GPL-2.0-or-later

// A datapath of the Linux kernel that this process runs on: as root on the host, or inside a user namespace that was
// entered before. All work on namespaces is led by one thread, which goes from one to the other; where the same is done
// in many, others take part.

import CLinux
import Glibc
public import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import Synchronization
import SystemPackage

/// Labs in the Linux kernel.
public final class KernelDatapath: Datapath {
  /// Where the calling process stands.
  public struct Site: Sendable {
    /// The directory of named namespaces.
    public var namespaceDirectory: String
    /// Whether the process's own network namespace is the machine's, with a way out, or one that a user made.
    public var isMachine: Bool
    /// Where the labs have their folders, for what programs in nodes see; nil for the host's own view.
    public var labFolder: String?

    public init(namespaceDirectory: String = "/run/netns", isMachine: Bool = true, labFolder: String? = nil) {
      self.namespaceDirectory = namespaceDirectory
      self.labFolder = labFolder
      self.isMachine = isMachine
    }
  }

  public let site: Site
  public var clock: any LabClock { labClock }

  let labClock = MonotonicClock()
  let directory: NamespaceDirectory
  let host: KernelNamespace
  let crew: Crew
  let sessions = Mutex<[LabName: LabSession]>([:])
  let scratchpad = Scratchpad()
  let capabilities = Mutex(Capabilities())

  /// - Parameter faults: for tests, what is to fail in the kernel's place.
  public init(site: Site = Site(), faults: FaultInjector? = nil) throws(DatapathError) {
    self.site = site
    directory = NamespaceDirectory(path: site.namespaceDirectory)
    // Two or more a node: the namespace and its sockets.
    nf_reserve_descriptors()
    do throws(NetlinkError) {
      host = try KernelNamespace.current()
      crew = try Crew(directory: directory, faults: faults)
    } catch {
      throw DatapathError(
        .unavailable, operation: "start the kernel datapath", errno: error.errno?.rawValue,
        cause: TransportError(error).cause)
    }
  }

  // MARK: Work on the thread

  /// Does a piece of work on a lab, on the thread of namespaces, one at a time.
  func perform<Value: Sendable>(
    on lab: LabName, _ operation: String,
    _ body: @Sendable @escaping (HostKernel) throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    let result: Result<Value, DatapathError>
    do throws(NetlinkError) {
      result = try await crew.lead.perform { (visitor) throws(NetlinkError) in
        let session = self.sessions.withLock { $0[lab] } ?? LabSession()
        let kernel = HostKernel(
          lab: lab, thread: self.crew.hostThread(visitor), crew: self.crew, host: self.host,
          scratchpad: self.scratchpad, session: session)
        defer {
          self.sessions.withLock { $0[lab] = kernel.session.namespaces.isEmpty ? nil : kernel.session }
        }
        do throws(DatapathError) { return .success(try body(kernel)) } catch { return .failure(error) }
      }
    } catch {
      throw DatapathError(
        .unavailable, operation: operation, errno: error.errno?.rawValue, cause: TransportError(error).cause)
    }
    return try result.get()
  }

  // MARK: Datapath

  public func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    let marked = addressesAreMarked
    return try await perform(on: lab, "observe lab '\(lab)'") { (kernel) throws(DatapathError) in
      var survey = Survey(kernel, scope: scope, addressesAreMarked: marked)
      return try survey.run()
    }
  }

  public func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    try await perform(on: lab, "change lab '\(lab)'") { (kernel) throws(DatapathError) in
      var applier = Applier(lab: lab, kernel: kernel)
      applier.learn(kernel.session.tables)
      do throws(DatapathError) {
        try applier.apply(batch)
      } catch {
        kernel.session.tables = [:]
        throw error
      }
      kernel.session.tables = applier.known
    }
  }

  public func remove(_ lab: LabName) async throws(DatapathError) {
    try await perform(on: lab, "remove lab '\(lab)'") { (kernel) throws(DatapathError) in
      var removal = Removal(kernel)
      try removal.run()
    }
  }
}
