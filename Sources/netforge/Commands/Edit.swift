// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import CLinux
import Glibc
import Manifest

/// `netforge edit`: what an editor needs for completion, then the editor.
struct Edit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "edit",
    abstract: "Prepare a topology's folder for sourcekit-lsp and open the file in $VISUAL or $EDITOR.")

  @Argument(help: "The topology file.", completion: .file(extensions: ["swift"]))
  var file: String

  @Flag(help: "Prepare the folder and open nothing.")
  var prepareOnly = false

  func run() async throws {
    for path in try await Manifest.prepareEditing(of: file) { Terminal.say("wrote \(path)") }
    guard !prepareOnly else { return }
    guard let editor = Environment.variable("VISUAL") ?? Environment.variable("EDITOR") else {
      Terminal.say("neither VISUAL nor EDITOR is set; open \(file) in an editor that uses sourcekit-lsp")
      return
    }
    // As git does: the variable may hold arguments, so a shell reads it.
    let words = ["sh", "-c", "exec \(editor) \"$1\"", "sh", file]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    nf_restore_descriptor_limit()
    execv("/bin/sh", &arguments)
    throw Failure(.notExecutable, "cannot start the editor '\(editor)'")
  }
}
