// SPDX-License-Identifier: GPL-2.0-or-later

// Questions about the host as a whole, for `doctor` and `gc`.

public import LabCore
import LinuxObjects
import Netlink
import Rtnetlink

extension KernelDatapath {
  /// A part of the kernel that a distribution may leave out.
  public struct FeatureReport: Hashable, Sendable {
    /// With the option that it is built with: `VLAN devices (CONFIG_VLAN_8021Q)`.
    public var name: String
    public var isThere: Bool
    /// What a lab that needs it can do without it.
    public var remedy: String
  }

  /// What this kernel has of all that a lab can need. Tries each in a namespace of its own.
  public func features() async throws(DatapathError) -> [FeatureReport] {
    try await inspect("find out what the kernel can do") { (kernel) throws(TransportError) in
      let scratch = try kernel.scratch()
      var reports: [FeatureReport] = []
      for feature in Feature.allCases {
        reports.append(
          FeatureReport(name: feature.name, isThere: try self.has(feature, scratch), remedy: feature.remedy))
      }
      return reports
    }
  }

  /// The labs whose mark some named namespace carries, sorted.
  public func markedLabs() async throws(DatapathError) -> [LabName] {
    try await inspect("look for labs") { (kernel) throws(TransportError) in
      let names: [String]
      do throws(NetlinkError) { names = try kernel.thread.directory.names() } catch {
        throw TransportError(error)
      }
      var labs: Set<LabName> = []
      for name in names {
        // What is no network namespace is nobody's lab.
        guard let namespace = try? kernel.thread.directory.open(name),
          let channel = try? HostChannel(kernel.thread.open(namespace), kernel.thread),
          let links = try? channel.allLinks(),
          let owner = links.first(where: { $0.flags.contains(.loopback) }).flatMap(
            Ownership.owner(ofNamespaceWith:))
        else { continue }
        labs.insert(owner.lab)
      }
      return labs.sorted()
    }
  }

  private func inspect<Value: Sendable>(
    _ operation: String, _ body: @Sendable @escaping (HostKernel) throws(TransportError) -> Value
  ) async throws(DatapathError) -> Value {
    guard let nobody = LabName("host") else {
      throw DatapathError(
        .bug, operation: operation, cause: "a name that is one was refused", remedy: "please report it")
    }
    return try await perform(on: nobody, operation) { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        return try body(kernel)
      } catch {
        throw DatapathError(
          .unavailable, operation: operation, errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
  }
}
