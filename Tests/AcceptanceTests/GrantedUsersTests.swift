// SPDX-License-Identifier: GPL-2.0-or-later

// Whom /etc/subuid and /etc/subgid grant ids, the nodes of a rootless lab have more users than one.

import Foundation
import Testing

extension Acceptance {
  @Suite(
    "Granted users",
    .enabled(if: Caller.available.contains(.rootless), "needs user namespaces for ordinary users"),
    .enabled(if: Host.has("newuidmap", "newgidmap"), "needs newuidmap and newgidmap"))
  struct GrantedUsersTests {
    @Test("programs of a rootless lab run as other users, where these are granted")
    func users() throws {
      let scratch = try Scratch()
      let files = ["/etc/subuid", "/etc/subgid"]
      if Host.isRoot {
        // On the stage alone: the ordinary user of the tests is nobody, whom no host grants anything.
        let grant = try scratch.file("grant", "nobody:200000:65536\n")
        for file in files {
          let mount = try Host.run("mount", "--bind", grant, file)
          if mount.status != 0 { try Test.cancel("no \(file) to mount over: \(mount.error)") }
        }
      } else {
        let user = NSUserName()
        let isGranted = try files.allSatisfy {
          try String(contentsOfFile: $0, encoding: .utf8).split(separator: "\n")
            .contains { $0.hasPrefix("\(user):") }
        }
        if !isGranted { try Test.cancel("\(files.joined(separator: " and ")) grant '\(user)' nothing") }
      }
      defer { if Host.isRoot { for file in files { _ = try? Host.run("umount", file) } } }

      let lab = TestLab(.rootless, "users")
      try lab.during(Host.topology("quickstart")) {
        let map = try lab.netforge("exec", "web1", "--", "cat", "/proc/self/uid_map")
        #expect(map.lines.count == 2, "\(map)")
        let other = try lab.netforge(
          "exec", "web1", "--", "setpriv", "--reuid", "33", "--regid", "44", "--clear-groups", "sh", "-c",
          "id -u; id -g; touch /tmp/\(lab.name); stat -c %u /tmp/\(lab.name); rm /tmp/\(lab.name)")
        #expect(other.status == 0 && other.lines == ["33", "44", "33"], "\(other)")
      }
    }
  }
}
