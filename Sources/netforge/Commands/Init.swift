// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import Manifest

/// `netforge init`: a first topology to begin from.
struct Init: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Write a small topology to begin from.",
    discussion: "An existing file is never overwritten.")

  @Argument(help: "The file to write.")
  var file: String = "topology.swift"

  @Option(help: "The lab's name; the file's, when it can be one.")
  var name: String?

  func run() throws {
    let stem = String(file.split(separator: "/").last?.split(separator: ".").first ?? "lab")
    let lab = name ?? (LabName(stem) == nil || stem == "topology" ? "lab" : stem)
    if let complaint = LabelRule.complaint(about: lab) {
      throw Failure(.usage, "'\(lab)' cannot be a lab's name: it \(complaint)")
    }
    try TopologyTemplate.write(to: file, lab: lab)
    Terminal.say("wrote \(file); `netforge up \(file)` brings it up, `netforge edit \(file)` opens it")
  }
}
