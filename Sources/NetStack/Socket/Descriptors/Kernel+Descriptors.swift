// SPDX-License-Identifier: GPL-2.0-or-later

// What processes do with descriptors: they come, are doubled, shared and closed (fs/file.c, net/socket.c). What is done
// with a socket is done by the socket's own verbs, which `socket(_:of:)` leads to.

import NetTypes

extension Kernel {
  // MARK: Processes

  /// Makes a process without descriptors. `limit` is RLIMIT_NOFILE.
  public mutating func makeProcess(
    in namespace: NamespaceIndex, credentials: SocketCredentials = .root, limit: Int = 1024
  ) throws(KernelError) -> ProcessIndex {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    guard (0...1 << 20).contains(limit) else { throw .invalidArgument }
    guard let process = processes.insert(NetProcess(in: namespace, credentials, limit: limit)) else {
      throw .wouldBlock
    }
    return process
  }

  /// Makes another process that shares all open files of this one (fork).
  public mutating func fork(_ process: ProcessIndex) throws(KernelError) -> ProcessIndex {
    guard processes.contains(process) else { throw .noSuchProcess }
    let child = try makeProcess(
      in: processes[process].namespace, credentials: processes[process].credentials,
      limit: processes[process].limit)
    for (number, descriptor) in processes[process].descriptors.enumerated() where !descriptor.file.isNone {
      files[descriptor.file].references += 1
      processes[child].set(Int32(number), descriptor.file, closesOnExec: descriptor.closesOnExec)
    }
    return child
  }

  /// Closes what another program is not to have (execve).
  public mutating func closeOnExec(_ process: ProcessIndex) {
    closeDescriptors(of: process) { $0.closesOnExec }
  }

  /// Ends a process: all its descriptors are closed.
  public mutating func endProcess(_ process: ProcessIndex) {
    guard processes.contains(process) else { return }
    closeDescriptors(of: process) { _ in true }
    processes.remove(process)
  }

  private mutating func closeDescriptors(
    of process: ProcessIndex, _ isWanted: (NetProcess.Descriptor) -> Bool
  ) {
    guard processes.contains(process) else { return }
    for number in 0..<processes[process].descriptors.count {
      let descriptor = processes[process].descriptors[number]
      guard !descriptor.file.isNone, isWanted(descriptor) else { continue }
      processes[process].set(Int32(number), .none, closesOnExec: false)
      release(descriptor.file)
    }
  }

  // MARK: Making descriptors

  /// `socket`. EMFILE: the process has as many descriptors as it may; ENFILE: there are as many open files as there
  /// may be.
  public mutating func socket(
    _ kind: SocketKind, flags: DescriptorFlags = [], of process: ProcessIndex
  ) throws(KernelError) -> Int32 {
    guard processes.contains(process) else { throw .noSuchProcess }
    let socket = try makeSocket(
      kind, in: processes[process].namespace, credentials: processes[process].credentials)
    do throws(KernelError) {
      return try open(.socket(socket), flags, of: process)
    } catch {
      close(socket)
      throw error
    }
  }

  /// `accept4`: a number is found before there is a connection to give it to, so that EMFILE comes before EAGAIN.
  public mutating func accept(
    _ number: Int32, flags: DescriptorFlags = [], of process: ProcessIndex
  ) throws(KernelError) -> Int32 {
    _ = try file(number, of: process)
    guard processes[process].free() != nil else { throw .tooManyDescriptors }
    let listener = try socket(number, of: process)
    let connection = try acceptPeek(listener)
    let descriptor = try open(.socket(connection), flags, of: process)
    try acceptCommit(listener, connection)
    return descriptor
  }

  /// Makes an open file and a descriptor for it.
  mutating func open(
    _ kind: OpenFile.Kind, _ flags: DescriptorFlags, of process: ProcessIndex
  ) throws(KernelError) -> Int32 {
    guard processes.contains(process) else { throw .noSuchProcess }
    guard let number = processes[process].free() else { throw .tooManyDescriptors }
    let made = OpenFile(kind: kind, isNonBlocking: flags.contains(.nonBlocking))
    guard let file = files.insert(made) else { throw .tooManyFiles }
    files[file].references = 1
    processes[process].set(number, file, closesOnExec: flags.contains(.closeOnExec))
    return number
  }

  /// `dup`, or F_DUPFD with the least number that the new one may have. EINVAL: no number can be so large.
  public mutating func duplicate(
    _ number: Int32, from least: Int32 = 0, flags: DescriptorFlags = [], of process: ProcessIndex
  ) throws(KernelError) -> Int32 {
    let file = try file(number, of: process)
    guard least >= 0, least == 0 || Int(least) < processes[process].limit else { throw .invalidArgument }
    guard let copy = processes[process].free(from: Int(least)) else { throw .tooManyDescriptors }
    files[file].references += 1
    processes[process].set(copy, file, closesOnExec: flags.contains(.closeOnExec))
    return copy
  }

  /// `dup2`: what the other number was is closed without a word. EBADF: one of the two can be no descriptor.
  @discardableResult
  public mutating func duplicate(
    _ number: Int32, to copy: Int32, flags: DescriptorFlags = [], of process: ProcessIndex
  ) throws(KernelError) -> Int32 {
    let file = try file(number, of: process)
    guard copy >= 0, Int(copy) < processes[process].limit else { throw .badDescriptor }
    guard copy != number else { return number }
    files[file].references += 1
    let old = processes[process].file(copy)
    processes[process].set(copy, file, closesOnExec: flags.contains(.closeOnExec))
    if let old { release(old) }
    return copy
  }

  /// `close`.
  public mutating func close(_ number: Int32, of process: ProcessIndex) throws(KernelError) {
    let file = try file(number, of: process)
    processes[process].set(number, .none, closesOnExec: false)
    release(file)
  }

  /// One descriptor less; the last takes what is behind it along (fput).
  private mutating func release(_ file: FileIndex) {
    files[file].references -= 1
    guard files[file].references == 0 else { return }
    let kind = files[file].kind
    files.remove(file)
    removeWatchers(of: kind)
    switch kind {
    case .socket(let socket): close(socket)
    case .epoll(let epoll): endEpoll(epoll)
    }
  }

  // MARK: What descriptors are

  /// The open file of a descriptor. EBADF: there is none.
  func file(_ number: Int32, of process: ProcessIndex) throws(KernelError) -> FileIndex {
    guard processes.contains(process) else { throw .noSuchProcess }
    guard let file = processes[process].file(number) else { throw .badDescriptor }
    return file
  }

  /// The socket of a descriptor. EBADF: there is none; ENOTSOCK: it is something else.
  public func socket(_ number: Int32, of process: ProcessIndex) throws(KernelError) -> SocketIndex {
    guard case .socket(let socket) = files[try file(number, of: process)].kind else { throw .notASocket }
    return socket
  }

  /// F_GETFL and F_GETFD together.
  public func flags(of number: Int32, of process: ProcessIndex) throws(KernelError) -> DescriptorFlags {
    let file = try file(number, of: process)
    var flags: DescriptorFlags = files[file].isNonBlocking ? .nonBlocking : []
    if processes[process].descriptors[Int(number)].closesOnExec { flags.insert(.closeOnExec) }
    return flags
  }

  /// F_SETFL with O_NONBLOCK: for all descriptors of the open file.
  public mutating func setNonBlocking(
    _ isOn: Bool, _ number: Int32, of process: ProcessIndex
  ) throws(KernelError) {
    files[try file(number, of: process)].isNonBlocking = isOn
  }

  /// F_SETFD with FD_CLOEXEC: for this descriptor.
  public mutating func setCloseOnExec(
    _ isOn: Bool, _ number: Int32, of process: ProcessIndex
  ) throws(KernelError) {
    _ = try file(number, of: process)
    processes[process].setCloseOnExec(number, isOn)
  }
}
