// SPDX-License-Identifier: GPL-2.0-or-later

// The Swift toolchain of this machine: where it is, which one it is, and how it compiles and links when it is told so
// directly. Compiler and linker are called without the driver, which costs as much time as the two of them.

import FoundationEssentials
import Glibc
import Spawn
import SystemPackage

/// A Swift toolchain.
struct Toolchain {
  /// The folder with `swiftc` and `swift-frontend`.
  let folder: String
  /// Changes when another compiler stands there.
  let identity: String

  var frontend: String { "\(folder)/swift-frontend" }
  var driver: String { "\(folder)/swiftc" }
  var clang: String { "\(folder)/clang" }

  /// What the toolchain says of itself, asked once and kept beside the built language.
  struct Target: Codable {
    var triple: String
    var resources: String
  }

  /// Finds a toolchain: `NETFORGE_TOOLCHAIN` (a folder with swiftc), PATH, then the places where installers put it, since
  /// sudo narrows PATH.
  static func find(_ environment: [String: String]) -> Toolchain? {
    if let chosen = environment["NETFORGE_TOOLCHAIN"] {
      return Toolchain(folder: chosen) ?? Toolchain(folder: "\(chosen)/usr/bin")
    }
    for folder in (environment["PATH"] ?? "").split(separator: ":") where folder.hasPrefix("/") {
      if let found = Toolchain(folder: String(folder)) { return found }
    }
    var places = [
      "/opt/swift/usr/bin", "/usr/libexec/swift/bin", "/usr/share/swift/usr/bin", "/usr/local/swift/usr/bin",
    ]
    var homes = [environment["HOME"]]
    if let user = environment["SUDO_USER"], let entry = getpwnam(user) {
      homes.append(String(cString: entry.pointee.pw_dir))
    }
    for case let home? in homes {
      let toolchains = "\(home)/.local/share/swiftly/toolchains"
      places += (Files.names(in: toolchains) ?? []).reversed().map { "\(toolchains)/\($0)/usr/bin" }
    }
    for place in places {
      if let found = Toolchain(folder: place) { return found }
    }
    return nil
  }

  /// nil when there is no compiler in the folder.
  init?(folder: String) {
    guard let link = Files.resolved("\(folder)/swiftc"), Files.isExecutable(link) else { return nil }
    var place = Files.folder(of: link)
    if !Files.isExecutable("\(place)/swift-frontend") {
      // swiftly's swiftc is a program that looks for the chosen toolchain; it is asked where that is.
      guard let target = try? Self.ask(link, name: "\(folder)/swiftc") else { return nil }
      place = "\(Files.folder(of: Files.folder(of: target.resources)))/bin"
      guard Files.isExecutable("\(place)/swift-frontend") else { return nil }
    }
    self.folder = place
    var info = stat()
    guard let frontend = Files.resolved("\(place)/swift-frontend"), stat(frontend, &info) == 0 else {
      return nil
    }
    identity = "\(frontend) \(info.st_size) \(info.st_mtim.tv_sec).\(info.st_mtim.tv_nsec) \(info.st_ino)"
  }

  /// The answer to `swiftc -print-target-info`.
  func target() throws(ManifestError) -> Target { try Self.ask(driver, name: driver) }

  private static func ask(_ program: String, name: String) throws(ManifestError) -> Target {
    struct Answer: Decodable {
      struct Target: Decodable { var triple: String }
      struct Paths: Decodable { var runtimeResourcePath: String }
      var target: Target
      var paths: Paths
    }
    let output = try Self.run(program, [name, "-print-target-info"], timeout: .seconds(30))
    guard output.status == .exited(0),
      let answer = try? JSONDecoder().decode(Answer.self, from: Data(output.bytes[1] ?? []))
    else {
      throw ManifestError(.toolchain, "'\(name)' does not work: \(output.status)", log: output.text(2))
    }
    return Target(triple: answer.target.triple, resources: answer.paths.runtimeResourcePath)
  }

  /// Runs one of the toolchain's programs; its output is cut after a mebibyte.
  static func run(
    _ program: String, _ arguments: [String], folder: String? = nil, timeout: Duration
  ) throws(ManifestError) -> ProgramOutput {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
    var request = SpawnRequest(
      .path(program), arguments: arguments, environment: ["PATH=\(path)", "LC_ALL=C.UTF-8"], directory: folder
    )
    if let home = getenv("HOME") { request.environment.append("HOME=\(String(cString: home))") }
    request.diesWithCaller = true
    let output: ProgramOutput
    do throws(SpawnError) {
      output = try request.run(
        capturing: [OutputCapture(1, limit: 1 << 20), OutputCapture(2, limit: 1 << 20)], timeout: timeout)
    } catch {
      throw ManifestError(.toolchain, "\(error)")
    }
    return output
  }
}

/// Words of a line that clang printed with `-###`: in double quotes, backslashes before what they protect.
func quotedWords(_ line: Substring) -> [String] {
  var words: [String] = []
  var word: String?
  var quoted = false
  var escaped = false
  for character in line {
    if escaped {
      word = (word ?? "") + String(character)
      escaped = false
    } else if character == "\\" {
      escaped = true
    } else if character == "\"" {
      quoted.toggle()
      word = word ?? ""
    } else if character == " " && !quoted {
      if let finished = word { words.append(finished) }
      word = nil
    } else {
      word = (word ?? "") + String(character)
    }
  }
  if let word { words.append(word) }
  return words
}
