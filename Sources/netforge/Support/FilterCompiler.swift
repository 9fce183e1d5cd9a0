// SPDX-License-Identifier: GPL-2.0-or-later

// Filter expressions are libpcap's language, and libpcap reads them, where it is installed.

import CLinux
import Capture
import Glibc
import LabCore

extension CaptureFilter {
  /// What libpcap makes of an expression.
  init(compiling expression: String, snapLength: UInt32) throws {
    let ethernet: PacketFilter
    switch Self.compile(expression, .ethernet, snapLength) {
    case .success(let program): ethernet = program
    case .failure(let failure): throw failure
    }
    // An expression about Ethernet makes no sense where there is none.
    self.init(
      expression: expression, ethernet: ethernet, raw: try? Self.compile(expression, .raw, snapLength).get())
  }

  private static func compile(
    _ expression: String, _ kind: LinkType, _ snapLength: UInt32
  ) -> Result<PacketFilter, Failure> {
    var program = [nf_filter_instruction](repeating: nf_filter_instruction(), count: PacketFilter.limit)
    var words = [CChar](repeating: 0, count: 256)
    let count = nf_pcap_compile(
      expression, Int32(kind.rawValue), Int32(clamping: snapLength), &program, Int32(program.count), &words,
      words.count)
    switch count {
    case 0...:
      return .success(
        PacketFilter(
          program[..<Int(count)].map { one in
            PacketFilter.Instruction(
              code: one.code, jumpTrue: one.jump_true, jumpFalse: one.jump_false, k: one.k)
          }))
    case -ENOSYS:
      return .failure(
        Failure(
          .unavailable, "filters are libpcap's language, and libpcap is not installed",
          "install Debian's package libpcap0.8, or capture without a filter"))
    case -E2BIG: return .failure(Failure(.usage, "the filter '\(expression)' is too long"))
    default:
      let text = String(decoding: words.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return .failure(Failure(.usage, "libpcap does not take the filter '\(expression)': \(text)"))
    }
  }
}
