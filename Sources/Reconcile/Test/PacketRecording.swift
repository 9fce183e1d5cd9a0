// SPDX-License-Identifier: GPL-2.0-or-later

// All packets of a lab that is tried, in one pcapng file. On virtual time the same run writes the same bytes.

import Capture
import Glibc
public import LabCore
import Synchronization
import SystemPackage
import TopologyModel

/// Writes down what passes the interfaces of a lab's nodes.
public struct PacketRecording: Sendable {
  private let capture: Task<DatapathError?, Never>
  private let file: FileDescriptor

  /// Begins; returns when the lab's devices are listened to.
  public init(of lab: LabUnderTest, to path: String) async throws(DatapathError) {
    do {
      file = try FileDescriptor.open(
        path, .writeOnly, options: [.create, .truncate, .closeOnExec],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
    } catch {
      throw DatapathError(.refused, operation: "write '\(path)'", cause: "\(error)")
    }
    let points = LabPoints(lab.topology, lab.resolution.state).all.filter { $0.link.namespace != .switch }
    let request = CaptureRequest(
      points: points.map { CapturePoint($0.link, name: $0.name, linkType: $0.linkType) })
    let (datapath, name, file) = (lab.datapath, lab.name, file)
    let ended = Flag()
    capture = Task {
      defer { ended.set() }
      do throws(DatapathError) {
        try await datapath.capture(request, into: file, of: name)
        return nil
      } catch {
        return error
      }
    }
    // What a capture writes first says that it has begun.
    var status = stat()
    while !ended.isSet, fstat(file.rawValue, &status) == 0, status.st_size == 0 {
      try? await Task.sleep(for: .milliseconds(1))
    }
  }

  /// Ends it; when it returns everything is in the file.
  public func end() async throws(DatapathError) {
    capture.cancel()
    let error = await capture.value
    try? file.close()
    if let error { throw error }
  }
}

/// Something that becomes true once.
private final class Flag: Sendable {
  private let value = Atomic(false)

  var isSet: Bool { value.load(ordering: .acquiring) }

  func set() { value.store(true, ordering: .releasing) }
}
