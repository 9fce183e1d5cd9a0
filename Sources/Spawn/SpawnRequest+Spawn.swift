// SPDX-License-Identifier: GPL-2.0-or-later

// From the request to nf_spawn's C struct. All C memory lives in one arena that is freed when the call returns.

import CLinux
import SystemPackage

extension SpawnRequest {
  /// Starts the program. Returns when it has begun: a program that is not there is an error here, not an exit code.
  public func spawn() throws(SpawnError) -> ChildProcess {
    for text in arguments + environment + [program.name, directory ?? ""] where text.utf8.contains(0) {
      throw SpawnError(stage: .request, program: program.name, errno: .invalidArgument, detail: 0)
    }
    var result = nf_spawn_result()
    let code = withCRequest { request in nf_spawn(request, &result) }
    guard code == 0 else {
      throw SpawnError(
        stage: SpawnError.Stage(rawValue: result.stage) ?? .request, program: program.name,
        errno: Errno(rawValue: result.error), detail: result.detail)
    }
    return ChildProcess(pid: result.pid, pidfd: result.pidfd, ownsGroup: session != .inherited)
  }

  private func withCRequest<R>(_ body: (UnsafePointer<nf_spawn_request>) -> R) -> R {
    let arena = Arena()
    defer { withExtendedLifetime(arena) {} }
    var request = nf_spawn_request()
    nf_spawn_request_init(&request)
    switch program {
    case .path(let path): request.path = arena.string(path)
    case .name(let name, let search):
      request.path = arena.string(name)
      request.search = arena.string(search)
    case .file(let file, _): request.program_descriptor = file.rawValue
    }
    request.argv = arena.strings(arguments)
    request.envp = arena.strings(environment)
    request.cwd = directory.flatMap { arena.string($0) }
    request.terminal = terminal ?? -1
    request.flags = flags
    request.unshare = newNamespaces.rawValue
    request.uid_map = userMap.flatMap { arena.string($0) }
    request.gid_map = groupMap.flatMap { arena.string($0) }

    let descriptors = descriptors.map { nf_spawn_descriptor(from: $0.from.rawValue, to: $0.to) }
    (request.descriptors, request.descriptor_count) = arena.array(descriptors)
    let namespaces = namespaces.map {
      nf_spawn_namespace(descriptor: $0.descriptor.rawValue, type: $0.kinds.rawValue)
    }
    (request.namespaces, request.namespace_count) = arena.array(namespaces)
    let mounts = mounts.map {
      nf_spawn_mount(
        source: arena.string($0.source), target: arena.string($0.target),
        type: $0.type.flatMap { arena.string($0) },
        flags: $0.flags, data: $0.data.flatMap { arena.string($0) })
    }
    (request.mounts, request.mount_count) = arena.array(mounts)
    let limits = limits.map { nf_spawn_limit(resource: $0.resource, soft: $0.soft, hard: $0.hard) }
    (request.limits, request.limit_count) = arena.array(limits)
    if let identity {
      request.uid = identity.user
      request.gid = identity.group
      (request.groups, request.group_count) = arena.array(identity.groups ?? [])
    }
    let paths = (reachablePaths ?? []).map { path in
      switch path.place {
      case .path(let text):
        nf_spawn_path(path: arena.string(text), descriptor: -1, access: path.access.rawValue)
      case .file(let file): nf_spawn_path(path: nil, descriptor: file.rawValue, access: path.access.rawValue)
      }
    }
    (request.paths, request.path_count) = arena.array(paths)
    return body(&request)
  }

  private var flags: UInt32 {
    var flags: UInt32 = 0
    switch session {
    case .inherited: break
    case .newGroup: flags |= 0x02
    case .new: flags |= 0x01
    }
    if diesWithCaller { flags |= 0x04 }
    if noNewPrivileges { flags |= 0x08 }
    if let identity { flags |= identity.groups == nil ? 0x30 : 0x10 }
    if readOnlyRoot { flags |= 0x40 }
    if reachablePaths != nil { flags |= 0x80 }
    if computesOnly { flags |= 0x100 }
    return flags
  }
}

/// C memory that lives as long as this object.
private final class Arena {
  private var allocations: [UnsafeMutableRawPointer] = []

  deinit {
    for allocation in allocations { allocation.deallocate() }
  }

  func string(_ text: String) -> UnsafePointer<CChar>? {
    let bytes = text.utf8CString
    return array(Array(bytes)).0
  }

  func strings(_ texts: [String]) -> UnsafePointer<UnsafeMutablePointer<CChar>?>? {
    let pointers = texts.map { UnsafeMutablePointer(mutating: string($0)) } + [nil]
    return array(pointers).0
  }

  func array<T>(_ values: [T]) -> (UnsafePointer<T>?, Int) {
    guard !values.isEmpty else { return (nil, 0) }
    let memory = UnsafeMutablePointer<T>.allocate(capacity: values.count)
    memory.initialize(from: values, count: values.count)
    allocations.append(UnsafeMutableRawPointer(memory))
    return (UnsafePointer(memory), values.count)
  }
}
