// SPDX-License-Identifier: GPL-2.0-or-later

// The topology that `init` writes: small, complete, and true, so that the first `up` shows something.

import Glibc

/// A first topology file.
public enum TopologyTemplate {
  /// The module that a topology imports; this file only writes its name.
  private static let language = "Netforge"

  /// Its text, for a lab of this name.
  public static func text(lab name: String) -> String {
    """
    // A lab of two hosts on one network and a router to a third.
    //
    //   netforge up topology.swift       builds it
    //   netforge exec h1 -- ping far     runs a program in a node
    //   netforge down --name \(name)
    //   netforge edit topology.swift     lets your editor complete and check this file
    import \(language)

    let lab = Topology("\(name)")
    let lan = lab.bridge("lan", subnet: "10.0.1.0/24")

    let gw = lab.router("gw") {
      Interface("lan0", on: lan, address: "10.0.1.1/24")
      Interface("far0", address: "10.0.2.1/24")
    }

    let hosts = (1...2).map { i in
      lab.node("h\\(i)") {
        Interface("eth0", on: lan)
        Route(.default, via: gw)
      }
    }

    let far = lab.node("far") {
      Interface("eth0", address: "10.0.2.2/24")
      Route(.default, via: "10.0.2.1")
      Service(.http(port: 80))
    }
    lab.link(gw["far0"], far["eth0"])

    lab.expect(hosts[0], reaches: hosts[1])
    lab.expect(hosts[0], reaches: far, on: .tcp(80))

    """
  }

  /// Writes it. A file that is there already is an error.
  public static func write(to path: String, lab name: String) throws(ManifestError) {
    do throws(FileError) {
      try Files.write(Array(text(lab: name).utf8), to: path, mode: 0o644)
    } catch {
      throw ManifestError(
        .unreadable,
        error.errno == EEXIST
          ? "'\(path)' is there already; choose another name" : "cannot write '\(path)': \(error)")
    }
  }
}
