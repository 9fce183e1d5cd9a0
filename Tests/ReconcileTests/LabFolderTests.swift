// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import Glibc
import LabCore
import Reconcile
import Synchronization
import SystemPackage
import Testing

@Suite("Lab folder")
struct LabFolderTests {
  static let lab = known(LabName("lab"))

  static func bytes(_ folder: LabFolder, _ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(filePath: folder.path + "/" + name)))
  }

  @Test("What is written comes back, and the folder is nobody else's")
  func roundTrip() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    var status = stat()
    #expect(stat(folder.path, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o700)
    #expect(try folder.topology() == nil)
    #expect(try folder.journal() == nil)
    try folder.setTopology([1, 2, 3])
    #expect(try folder.topology() == [1, 2, 3])
    let allocations = Allocations(addresses: ["a/eth0": []], indexes: ["switch": ["lan": 2]])
    try folder.setAllocations(allocations)
    #expect(try folder.allocations() == allocations)
    try folder.setHostSettings(["net/ipv4/ip_forward": "0"])
    #expect(try folder.hostSettings() == ["net/ipv4/ip_forward": "0"])
    #expect(labs.folders.list().map(\.lab) == [Self.lab])
    #expect(try labs.folders.find(known(LabName("other"))) == nil)
  }

  @Test("A journal cut short or changed anywhere is known as damaged")
  func tornJournal() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    try folder.setJournal(
      Journal(
        touched: [.switch], before: LabState(lab: Self.lab), hostSettings: [:], processID: 1))
    let whole = try Self.bytes(folder, "journal")
    let url = URL(filePath: folder.path + "/journal")
    for length in 0..<whole.count {
      try Data(whole[..<length]).write(to: url)
      #expect(throws: LabFolderError.self, "cut to \(length)") { try folder.journal() }
    }
    for index in whole.indices {
      var changed = whole
      changed[index] ^= 1
      try Data(changed).write(to: url)
      #expect(throws: LabFolderError.self, "byte \(index)") { try folder.journal() }
    }
    try Data(whole).write(to: url)
    #expect(try folder.journal() != nil)
  }

  @Test("A second lock fails at once and names who has it")
  func lock() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    withExtendedLifetime(try folder.lock()) {
      let error = #expect(throws: LabFolderError.self) { try folder.lock() }
      #expect(error?.code == .locked)
      #expect(error?.message.contains("process \(getpid())") == true)
    }
    _ = try folder.lock()
  }

  @Test("A lock that is lent is the same lock: who has it lent does not unlock, who lends it does")
  func lentLock() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    var lock: LabLock? = try folder.lock()
    let descriptor = try #require(lock).descriptor
    for _ in 0..<2 { withExtendedLifetime(try folder.lock(lent: descriptor)) {} }
    #expect(throws: LabFolderError.self) { try folder.lock() }
    let lent = try folder.lock(lent: descriptor)
    lock = nil
    withExtendedLifetime(lent) {}
    let again = try folder.lock()
    // Another open file of the same name does not have the lock, and another file is none.
    let other = open(folder.path + "/lock", O_RDWR)
    defer { close(other) }
    #expect(throws: LabFolderError.self) { try folder.lock(lent: FileDescriptor(rawValue: other)) }
    #expect(throws: LabFolderError.self) { try folder.lock(lent: FileDescriptor(rawValue: 2)) }
    #expect(throws: LabFolderError.self) { try folder.lock(lent: FileDescriptor(rawValue: -1)) }
    #expect(!folder.isLockedByNobody)
    withExtendedLifetime(again) {}
  }

  @Test("What a process that has gone has lent its lock to is waited for")
  func abandonedLock() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    #expect(!folder.isLockedByNobody)
    let lock = Mutex<LabLock?>(try folder.lock())
    // No process has such a number.
    let text = Array("2147483647\n".utf8)
    let count = lock.withLock { pwrite($0?.descriptor.rawValue ?? -1, text, text.count, 0) }
    #expect(count == text.count && folder.isLockedByNobody)
    Thread.detachNewThread {
      usleep(50_000)
      lock.withLock { $0 = nil }
    }
    let other = try folder.lock()
    let error = #expect(throws: LabFolderError.self) { try folder.lock() }
    #expect(error?.message.contains("process \(getpid())") == true && !folder.isLockedByNobody)
    // One that has ended and that nobody has waited for.
    var ended: pid_t = 0
    let name = try #require(strdup("true"))
    defer { free(name) }
    var arguments: [UnsafeMutablePointer<CChar>?] = [name, nil]
    try #require(posix_spawnp(&ended, "true", nil, nil, &arguments, nil) == 0)
    var information = siginfo_t()
    #expect(waitid(P_PID, id_t(ended), &information, WEXITED | WNOWAIT) == 0)
    let number = Array("\(ended)\n".utf8)
    #expect(pwrite(other.descriptor.rawValue, number, number.count, 0) == number.count)
    ftruncate(other.descriptor.rawValue, off_t(number.count))
    #expect(folder.isLockedByNobody)
    waitpid(ended, nil, 0)
    withExtendedLifetime(other) {}
  }

  @Test("A symbolic link or a folder that others may write to is refused")
  func strangers() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    let trap = labs.folders.root + "/trap"
    #expect(symlink(folder.path, trap) == 0)
    defer { unlink(trap) }
    #expect(throws: LabFolderError.self) { try labs.folders.make(known(LabName("trap"))) }
    #expect(labs.folders.list().map(\.lab) == [Self.lab])
    #expect(chmod(folder.path, 0o777) == 0)
    #expect(throws: LabFolderError.self) { try folder.topology() }
    #expect(chmod(folder.path, 0o700) == 0)
  }

  @Test("A file that is a symbolic link is not followed")
  func linkedFile() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(Self.lab)
    #expect(symlink("/etc/passwd", folder.path + "/topology.json") == 0)
    #expect(throws: LabFolderError.self) { try folder.topology() }
    try folder.setTopology([7])
    #expect(try folder.topology() == [7])
  }

  @Test("A setting that two labs want is restored by the last of them")
  func sharedHostSetting() async throws {
    let labs = try TemporaryFolders()
    let datapath = ModelDatapath()
    let setting = "net/ipv4/ip_forward"
    let names = ["one", "two"].map { known(LabName($0)) }
    for name in names {
      let reconciler = Reconciler(datapath: datapath, folder: try labs.folders.make(name))
      let state = LabState(
        lab: name,
        namespaces: [NamespaceState(id: .host, sysctls: [SysctlState(name: setting, value: "1")])])
      _ = try await reconciler.up(state, as: .init(datapath: .kernel), holding: try reconciler.folder.lock())
    }
    #expect(datapath.kernel.namespaces[.host]?.sysctls[setting] == "1")
    for (name, value) in zip(names, ["1", "0"]) {
      let reconciler = Reconciler(datapath: datapath, folder: try labs.folders.make(name))
      try await reconciler.down(holding: try reconciler.folder.lock())
      #expect(datapath.kernel.namespaces[.host]?.sysctls[setting] == value)
    }
  }
}
