// SPDX-License-Identifier: GPL-2.0-or-later

// What `nft` makes of a ruleset file: loaded into a network namespace of its own, which ends with the program, and listed
// there as JSON. The file is not trusted: what it includes is not reachable. What goes wrong is a document too, so that
// it is told at the line that names the file.

import Glibc
import Spawn
import SystemPackage

/// Runs nft.
enum NftTranslator {
  /// Bytes of JSON that are taken.
  static let maximumSize = 32 << 20

  /// nft's JSON of a file's rules, or an object with the one key `error`.
  static func json(of path: String, _ bytes: [UInt8]) -> [UInt8] {
    // Nothing else keeps root's nft from other files; the word cannot be written otherwise.
    if Confinement.landlockABI == 0, bytes.firstRange(of: "include".utf8) != nil {
      return failure(
        "'\(path)' says 'include', and other files cannot be kept from nft here: this kernel has no Landlock")
    }
    // A file without a name, which nft reads as its standard input.
    var template = Array("/tmp/netforge-ruleset-XXXXXX".utf8CString)
    let file = FileDescriptor(rawValue: mkstemp(&template))
    guard file.rawValue >= 0 else { return failure("cannot hand '\(path)' to nft: \(FileError(errno))") }
    unlink(template)
    defer { try? file.close() }
    do {
      try file.writeAll(bytes)
      _ = try file.seek(offset: 0, from: FileDescriptor.SeekOrigin.start)
    } catch {
      return failure("cannot hand '\(path)' to nft: \(error)")
    }
    let output: ProgramOutput
    do throws(SpawnError) {
      output = try request(file).run(
        capturing: [
          OutputCapture(1, limit: maximumSize, overflow: .stop), OutputCapture(2, limit: 4096),
        ], timeout: .seconds(10))
    } catch {
      return failure(
        "'\(path)' needs nft in a network namespace of its own, which cannot be had here: \(error)")
    }
    switch (output.ending, output.status) {
    case (.ended, .exited(0)): return output.bytes[1] ?? []
    case (.ended, .exited(127)):
      return failure("'\(path)' needs nft, which is not installed here; install nftables, or write a Table")
    case (.ended, _):
      let said = output.text(2).split(separator: "\n").first.map(String.init) ?? "nft failed"
      return failure(said.replacingPrefix("/dev/stdin", by: path))
    default: return failure("nft took too long for '\(path)', or says too much")
    }
  }

  private static func failure(_ message: String) -> [UInt8] {
    var text = ""
    for scalar in message.unicodeScalars {
      if scalar == "\"" || scalar == "\\" { text += "\\" }
      text.unicodeScalars.append(scalar.value < 0x20 ? " " : scalar)
    }
    return Array("{\"error\":\"\(text)\"}".utf8)
  }

  private static func request(_ file: FileDescriptor) -> SpawnRequest {
    let search = "/usr/sbin:/usr/bin:/sbin:/bin"
    var request = SpawnRequest(
      .path("/bin/sh"), arguments: ["sh", "-c", "nft -f - && exec nft -j list ruleset"], directory: "/")
    // Times of day and dates are those of the kernel, which knows no zones.
    request.environment = ["PATH=\(search)", "LC_ALL=C", "TZ=UTC"]
    request.descriptors = [.init(file, as: 0)]
    request.session = .new
    request.diesWithCaller = true
    request.noNewPrivileges = true
    request.newNamespaces = [.network]
    if geteuid() != 0 {
      request.newNamespaces.insert(.user)
      request.userMap = "0 \(geteuid()) 1"
      request.groupMap = "0 \(getegid()) 1"
    }
    request.limits = [.processorSeconds(10), .fileSize(0), .core(0), .openFiles(64)]
    let runtime: SpawnRequest.Path.Access = [.read, .execute]
    request.reachablePaths =
      ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/bin", "/usr/bin", "/sbin", "/usr/sbin"].map {
        .init($0, runtime)
      }
      + [
        "/etc/ld.so.cache", "/etc/protocols", "/etc/services", "/etc/nsswitch.conf", "/proc/self",
        "/dev/null", "/dev/urandom",
      ].map { .init($0, .read) } + [.init(file, .read)]
    return request
  }
}

extension String {
  /// With another beginning, where it begins so.
  fileprivate func replacingPrefix(_ prefix: String, by other: String) -> String {
    guard hasPrefix(prefix) else { return self }
    return other + dropFirst(prefix.count)
  }
}
