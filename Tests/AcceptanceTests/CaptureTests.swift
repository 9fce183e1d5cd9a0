// SPDX-License-Identifier: GPL-2.0-or-later

// What `capture` writes, as tshark and capinfos read it.

import Foundation
import Testing

extension Acceptance {
  @Suite("Capture", .enabled(if: Host.has("tshark", "capinfos"), "needs tshark and capinfos"))
  struct CaptureTests {
    @Test(
      "A whole lab goes into one file, an interface block each, that tshark reads without complaint",
      arguments: Caller.available + [.emulated])
    func file(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-capture")
      let scratch = try Scratch()
      try scratch.openToAll()
      let path = scratch.folder + "/lab.pcapng"
      try lab.during(Host.topology("quickstart")) {
        let capture = try lab.start("capture", "-w", path)
        try capture.waitFor("capturing", on: path)
        #expect(try lab.netforge("ping", "web1", "web2", "--count", "3", "--wait", "5000").status == 0)
        let ended = try capture.interrupted()
        #expect(ended.status == 0 && ended.error.contains("on 4 interfaces, 0 dropped"), "\(ended)")

        let about = try Host.run(["capinfos", "-M", path])
        #expect(about.status == 0 && about.output.contains("Number of interfaces in file: 4"), "\(about)")
        #expect(about.output.contains("Strict time order:   True"), "\(about)")
        #expect(
          about.output.contains("Name = web1:eth0")
            && about.output.contains("Time precision = nanoseconds (9)"))
        let pings = try Host.run([
          "tshark", "-r", path, "-Y", "icmp.type == 8", "-T", "fields", "-e", "frame.interface_name",
        ])
        #expect(pings.lines.filter { $0 == "web1:eth0" }.count == 3, "\(pings)")
        #expect(pings.lines.filter { $0 == "web2:eth0" }.count == 3, "\(pings)")
        let expert = try Host.run(["tshark", "-r", path, "-q", "-z", "expert,warn"])
        #expect(
          expert.status == 0 && !expert.output.contains("Warns") && !expert.output.contains("Errors"),
          "\(expert)")
      }
    }

    @Test(
      "Without -w there is a line a packet that passes the filter, as tcpdump has it",
      arguments: Caller.available + [.emulated])
    func text(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-text")
      try lab.during(Host.topology("quickstart")) {
        let capture = try lab.start(
          "capture", "web1:eth0", "-c", "4", "--filter", "icmp and host 10.0.0.2")
        try capture.waitFor("capturing", on: nil)
        #expect(try lab.netforge("ping", "web1", "web2", "--count", "3", "--wait", "5000").status == 0)
        let ended = try capture.outcome()
        #expect(ended.status == 0, "\(ended)")
        #expect(ended.lines.count == 4, "\(ended)")
        let first = try #require(ended.lines.first)
        #expect(
          first.firstMatch(
            of:
              /^\d\d:\d\d:\d\d\.\d{6} web1:eth0 Out IP 10\.0\.0\.1 > 10\.0\.0\.2: ICMP echo request, id \d+, seq 1, length \d+$/
          )
            != nil, "\(first)")
        #expect(ended.lines[1].contains("In  IP 10.0.0.2 > 10.0.0.1: ICMP echo reply"), "\(ended)")
        let nonsense = try lab.netforge("capture", "web1", "--filter", "icmp amd tcp")
        #expect(nonsense.status == 64 && nonsense.error.contains("icmp amd tcp"), "\(nonsense)")
        let unknown = try lab.netforge("capture", "web9")
        #expect(unknown.status == 1 && unknown.error.contains("web1, web2"), "\(unknown)")
      }
    }

    @Test("Files are rotated by size, and the latest are kept")
    func rotation() throws {
      let caller = Caller.emulated
      let lab = TestLab(caller, "eyes-rotate")
      let scratch = try Scratch()
      try scratch.openToAll()
      try lab.during(Host.topology("quickstart")) {
        let path = scratch.folder + "/ring.pcapng"
        let capture = try lab.start(
          "capture", "-w", path, "--rotate-size", "2000", "--count", "2", "-s", "60")
        try capture.waitFor("capturing", on: scratch.folder + "/ring-1.pcapng")
        #expect(try lab.netforge("ping", "web1", "web2", "--count", "30", "--wait", "5000").status == 0)
        let ended = try capture.interrupted()
        #expect(ended.status == 0, "\(ended)")
        let files = try FileManager.default.contentsOfDirectory(atPath: scratch.folder).filter {
          $0.hasPrefix("ring")
        }
        #expect(files.count == 2 && !files.contains("ring-1.pcapng"), "\(files)")
        for file in files {
          let about = try Host.run(["capinfos", "-M", scratch.folder + "/" + file])
          #expect(about.status == 0 && about.output.contains("Number of interfaces in file: 4"), "\(about)")
        }
      }
    }
  }
}

extension Scratch {
  /// Lets a test's ordinary user write here.
  fileprivate func openToAll() throws {
    try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: folder)
  }
}

extension TestLab {
  fileprivate func start(_ verb: String, _ arguments: String...) throws -> RunningCommand {
    let all = [verb] + arguments + ["--name", name]
    return try Host.start(
      Stage.prefix + ["env"] + caller.command(all), environment: caller.environment)
  }
}

extension RunningCommand {
  /// Waits until the capture says that it has begun, or until its file has something in it.
  fileprivate func waitFor(_ word: String, on path: String?) throws {
    let deadline = Date().addingTimeInterval(20)
    while Date() < deadline {
      if complaints.contains(word) { return }
      if let path, let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int, size > 0
      {
        return
      }
      usleep(20_000)
    }
    Issue.record("the capture did not begin: \(complaints)")
  }

  /// Ctrl-C, and what the command came to.
  fileprivate func interrupted() throws -> Outcome {
    interrupt()
    return try outcome()
  }
}
