// SPDX-License-Identifier: GPL-2.0-or-later

// Where the labs of this user have their folders: /run/netforge for root, else $XDG_RUNTIME_DIR/netforge, else
// /tmp/netforge-<uid>.

import Glibc
public import LabCore

/// The folder of all labs of one user.
public struct LabFolders: Sendable {
  public let root: String

  /// The caller's own.
  public static var ofCaller: LabFolders {
    if geteuid() == 0 { return LabFolders(root: "/run/netforge") }
    if let runtime = getenv("XDG_RUNTIME_DIR").map({ String(cString: $0) }), runtime.hasPrefix("/") {
      return LabFolders(root: runtime + "/netforge")
    }
    return LabFolders(root: "/tmp/netforge-\(geteuid())")
  }

  public init(root: String) { self.root = root }

  /// Those beside the folder `path` of `lab`.
  public init(beside path: String, of lab: LabName) {
    root = String(path.dropLast(lab.text.utf8.count + 1))
  }

  /// The lab's folder, made when it is not there.
  public func make(_ lab: LabName) throws(LabFolderError) -> LabFolder {
    _ = try FolderFiles.make(root)
    return LabFolder(lab: lab, files: try FolderFiles.make(root + "/" + lab.text))
  }

  /// The lab's folder, or nil when there is no lab of that name.
  public func find(_ lab: LabName) throws(LabFolderError) -> LabFolder? {
    let files = FolderFiles(path: root + "/" + lab.text)
    var status = stat()
    guard lstat(files.path, &status) == 0 else { return nil }
    close(try files.open())
    return LabFolder(lab: lab, files: files)
  }

  /// Every lab that has a folder, sorted by name. Folders that are not ours are left out.
  public func list() -> [LabFolder] {
    FolderFiles.names(in: root).compactMap { name in
      guard let lab = LabName(name), let folder = try? find(lab) else { return nil }
      return folder
    }
  }
}
