// SPDX-License-Identifier: GPL-2.0-or-later

// One lab's folder: what a later verb needs to know with nothing but the lab's name.
//
//   topology.json   the rendered topology, as Manifest wrote it
//   allocations     addresses and indexes given so far (sealed)
//   journal         the state before the `up` that is under way (sealed; there only while one is)
//   record          what was last applied, where and when (sealed)
//   host-settings   the host's settings before the lab changed them (sealed)
//   lock, log, control   the lock file, the lab process's log and its socket

import FoundationEssentials
import Glibc
public import LabCore
public import SystemPackage

/// The folder of one lab.
public struct LabFolder: Sendable {
  public let lab: LabName
  let files: FolderFiles

  init(lab: LabName, files: FolderFiles) {
    self.lab = lab
    self.files = files
  }

  public var path: String { files.path }
  /// The lab process's socket.
  public var controlPath: String { path + "/control" }
  /// The lab process's log.
  public var logPath: String { path + "/log" }

  // MARK: The rendered topology

  /// As Manifest rendered it; nil when the lab was never brought up.
  public func topology() throws(LabFolderError) -> [UInt8]? { try files.read("topology.json") }

  public func setTopology(_ json: [UInt8]) throws(LabFolderError) {
    try files.write(json, to: "topology.json")
  }

  // MARK: What was given, done and found

  public func allocations() throws(LabFolderError) -> Allocations? {
    try sealed("allocations", Allocations.self)
  }

  public func setAllocations(_ allocations: Allocations) throws(LabFolderError) {
    try write(try draft(of: allocations))
  }

  /// The state before an `up` that did not end; nil when the last one did.
  public func journal() throws(LabFolderError) -> Journal? { try sealed("journal", Journal.self) }

  public func setJournal(_ journal: Journal?) throws(LabFolderError) {
    guard let journal else { return try files.remove("journal") }
    try setSealed("journal", journal)
  }

  /// What was last applied.
  public func record() throws(LabFolderError) -> LabRecord? { try sealed("record", LabRecord.self) }

  public func setRecord(_ record: LabRecord) throws(LabFolderError) { try write(try draft(of: record)) }

  /// The values that the host's settings had before the lab changed them, by name.
  public func hostSettings() throws(LabFolderError) -> [String: String] {
    try sealed("host-settings", [String: String].self) ?? [:]
  }

  public func setHostSettings(_ settings: [String: String]) throws(LabFolderError) {
    guard !settings.isEmpty else { return try files.remove("host-settings") }
    try setSealed("host-settings", settings)
  }

  /// A small file of another part's own, by a name that is none of those above; nil when there is none.
  public func note(_ name: String) throws(LabFolderError) -> [UInt8]? { try files.read("note-" + name) }

  public func setNote(_ name: String, _ bytes: [UInt8]?) throws(LabFolderError) {
    guard let bytes else { return try files.remove("note-" + name) }
    try files.write(bytes, to: "note-" + name)
  }

  /// Removes the folder with all that is in it.
  public func remove() throws(LabFolderError) { try FolderFiles.removeTree(path) }

  /// The folders of all labs beside this one.
  var siblings: LabFolders { LabFolders(beside: path, of: lab) }

  // MARK: Lock

  /// Takes the lab for this process until the lock is dropped. Fails at once when another holds it; what a process that
  /// has gone has lent it to is waited for a little.
  public func lock() throws(LabFolderError) -> LabLock {
    let folder = try files.open()
    defer { close(folder) }
    let descriptor = openat(folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .last("open", path + "/lock") }
    var pauses = 0
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      let reason = errno
      let holder = Self.holder(of: descriptor)
      if reason == EWOULDBLOCK, pauses < Self.pauseLimit, let holder, Self.hasGone(holder) {
        usleep(Self.pause)
        pauses += 1
        continue
      }
      close(descriptor)
      guard reason == EWOULDBLOCK else {
        throw LabFolderError(.failed, "cannot lock lab '\(lab)': \(String(cString: strerror(reason)))")
      }
      throw LabFolderError(
        .locked,
        "lab '\(lab)' is locked by process \(holder.map(String.init) ?? "unknown"), which works on it; wait until it ends"
      )
    }
    // A `down` may have removed the folder while this waited for nothing: then the lock guards nobody.
    guard isLockFile(descriptor) else {
      close(descriptor)
      throw LabFolderError(.locked, "lab '\(lab)' was removed by another process at this moment; try again")
    }
    let text = Array("\(getpid())\n".utf8)
    ftruncate(descriptor, 0)
    _ = pwrite(descriptor, text, text.count, 0)
    return LabLock(descriptor, isLent: false)
  }

  /// The lock that another process holds and lends with its descriptor: a lender that drops it unlocks the lab, one that
  /// dies does not.
  public func lock(lent lender: FileDescriptor) throws(LabFolderError) -> LabLock {
    let descriptor = fcntl(lender.rawValue, F_DUPFD_CLOEXEC, 3)
    guard descriptor >= 0 else { throw .last("take over", path + "/lock") }
    // Of an open file that is locked already it changes nothing.
    guard isLockFile(descriptor), flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(descriptor)
      throw LabFolderError(.failed, "what was lent is not the lock of lab '\(lab)'")
    }
    return LabLock(descriptor, isLent: true)
  }

  /// Whether the lab is locked by a process that has gone and has lent the lock.
  public var isLockedByNobody: Bool {
    let descriptor = Glibc.open(path + "/lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else { return false }
    return Self.holder(of: descriptor).map(Self.hasGone) ?? false
  }

  private static let pause: UInt32 = 5000
  private static let pauseLimit = 2000

  /// Who has written its number into the lock file.
  private static func holder(of descriptor: Int32) -> Int32? {
    var text = [UInt8](repeating: 0, count: 32)
    let count = max(0, pread(descriptor, &text, text.count, 0))
    return Int32(String(decoding: text[..<count], as: UTF8.self).filter(\.isNumber))
  }

  /// Also when nobody has waited for its end yet.
  private static func hasGone(_ process: Int32) -> Bool {
    if kill(process, 0) != 0 { return errno == ESRCH }
    let file = Glibc.open("/proc/\(process)/stat", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    var text = [UInt8](repeating: 0, count: 256)
    let count = max(0, read(file, &text, text.count))
    // The state follows the name, which is in brackets (proc_pid_stat(5)).
    guard let end = text[..<count].lastIndex(of: UInt8(ascii: ")")), end + 2 < count else { return false }
    return [UInt8(ascii: "Z"), UInt8(ascii: "X")].contains(text[end + 2])
  }

  private func isLockFile(_ descriptor: Int32) -> Bool {
    var mine = stat()
    var current = stat()
    return fstat(descriptor, &mine) == 0 && lstat(path + "/lock", &current) == 0
      && mine.st_ino == current.st_ino && mine.st_dev == current.st_dev
  }

  // MARK: Sealed files

  /// A sealed file's bytes, ready to be written.
  struct Draft: Sendable {
    fileprivate let name: String
    fileprivate let bytes: [UInt8]
  }

  func draft(of allocations: Allocations) throws(LabFolderError) -> Draft {
    try draft("allocations", allocations)
  }

  func draft(of record: LabRecord) throws(LabFolderError) -> Draft { try draft("record", record) }

  private func draft(_ name: String, _ value: some Encodable) throws(LabFolderError) -> Draft {
    Draft(name: name, bytes: SealedFile(kind: name).seal(try JSONBytes.of(value)))
  }

  func write(_ draft: Draft) throws(LabFolderError) { try files.write(draft.bytes, to: draft.name) }

  private func sealed<Value: Decodable>(_ name: String, _ type: Value.Type) throws(LabFolderError) -> Value? {
    guard let bytes = try files.read(name) else { return nil }
    switch SealedFile(kind: name).unseal(bytes) {
    case .success(let body):
      if let value = JSONBytes.decode(type, from: body) { return value }
      throw damaged(name, "its content is not what this netforge writes")
    case .failure(let damage): throw damaged(name, damage.detail)
    }
  }

  private func damaged(_ name: String, _ detail: String) -> LabFolderError {
    let remedy =
      switch name {
      case "host-settings":
        "settings of the host may differ from what they were before the lab; mend them by hand and delete the file"
      case "allocations":
        "delete the file: addresses that the topology leaves out will be given anew"
      default:
        "`netforge down --name \(lab)` removes the lab; to keep it as it stands, delete the file"
      }
    return LabFolderError(
      .damaged,
      "the file '\(name)' of lab '\(lab)' is damaged (\(detail)): '\(path)/\(name)'; nothing was changed; \(remedy)"
    )
  }

  private func setSealed(_ name: String, _ value: some Encodable) throws(LabFolderError) {
    try write(try draft(name, value))
  }
}

/// Holds a lab for one process, and for one that it lends it to; released when it is dropped.
public final class LabLock: Sendable {
  /// To be lent.
  public let descriptor: FileDescriptor
  private let isLent: Bool

  init(_ descriptor: Int32, isLent: Bool) {
    self.descriptor = FileDescriptor(rawValue: descriptor)
    self.isLent = isLent
  }

  /// Unlocks by name: a child of this process that has not yet become its program holds the descriptor too. What is lent is
  /// the lender's to unlock. Only of a process that dies with the lock does the number stay in the file.
  deinit {
    if !isLent {
      ftruncate(descriptor.rawValue, 0)
      flock(descriptor.rawValue, LOCK_UN)
    }
    Glibc.close(descriptor.rawValue)
  }
}
