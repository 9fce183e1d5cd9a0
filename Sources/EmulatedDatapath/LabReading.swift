// SPDX-License-Identifier: GPL-2.0-or-later

// A lab as its kernels have answered for it. They stand still only while they are asked; what their answers mean is found
// out afterwards, on as many of the host's processors as there are.

import Glibc
import LabCore
import LinuxObjects

/// What was read of a lab, before it is understood.
struct LabReading: Sendable {
  var namespaces: [(id: NamespaceID, answers: NamespaceAnswers)] = []
  var names = ReadNames()
  /// The namespaces by the numbers that devices of others name them by.
  var identifiers: [Int32: NamespaceID] = [:]
  var initial: [NamespaceID: [SysctlState]] = [:]

  func observation(of lab: LabName) async throws(TransportError) -> Observation {
    let decoder = StateDecoder(lab: lab)
    let (names, identifiers) = (names, identifiers)
    let states = try await Self.share(namespaces) { (namespace) throws(TransportError) in
      let dump = try NamespaceDump(namespace.answers)
      return decoder.decode(
        ReadNamespace(id: namespace.id, dump: dump, identifiers: identifiers), among: names)
    }
    return Observation(
      owned: LabState(lab: lab, namespaces: states.map(\.owned)),
      unmarked: LabState(lab: lab, namespaces: states.map(\.unmarked)), initial: initial)
  }

  /// Fewer than this are done before another thread has begun.
  private static let worthSharing = 64

  /// What `body` makes of each item, in their order; of several failures, the first one's.
  private static func share<Item: Sendable, Value: Sendable, Failure: Error>(
    _ items: [Item], _ body: @Sendable @escaping (Item) throws(Failure) -> Value
  ) async throws(Failure) -> [Value] {
    // More pieces than processors: none has to wait for long when another is kept busy.
    let pieces = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) * 4
    let size = max(worthSharing, (items.count + pieces - 1) / pieces)
    let parts = await withTaskGroup(of: (start: Int, values: Result<[Value], Failure>).self) { group in
      for start in stride(from: 0, to: items.count, by: size) {
        let piece = items[start..<min(start + size, items.count)]
        group.addTask {
          do throws(Failure) { return (start, .success(try piece.map(body))) } catch {
            return (start, .failure(error))
          }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    var values: [Value] = []
    values.reserveCapacity(items.count)
    for part in parts.sorted(by: { $0.start < $1.start }) { values += try part.values.get() }
    return values
  }
}
