// SPDX-License-Identifier: GPL-2.0-or-later

// Descriptors, select, poll and epoll, as far as they are their own; what sockets are ready for in each state is
// `StateMatrixTests`'s.

import NetTypes
import Testing

@testable import NetStack

@Suite("Descriptors")
struct DescriptorTests {
  /// A process that has a pair of connected sockets and their listener.
  struct Lab: ~Copyable {
    var kernel: Kernel
    let process: ProcessIndex
    let listener: Int32
    let client: Int32
    let server: Int32

    init(limit: Int = 1024) throws {
      var kernel = Kernel()
      let node = try kernel.node()
      let process = try kernel.makeProcess(in: node, limit: limit)
      let listener = try kernel.socket(.tcp(.ipv4), of: process)
      let socket = try kernel.socket(listener, of: process)
      try kernel.bind(socket, to: name("127.0.0.1", 80))
      try kernel.listen(socket, backlog: 8)
      let client = try kernel.socket(.tcp(.ipv4), of: process)
      let other = try kernel.socket(client, of: process)
      _ = failure { try kernel.connect(other, to: name("127.0.0.1", 80)) }
      kernel.run(for: .milliseconds(10))
      let server = try kernel.accept(listener, of: process)
      self.kernel = kernel
      self.process = process
      self.listener = listener
      self.client = client
      self.server = server
    }

    mutating func send(_ count: Int = 1, on number: Int32) throws {
      _ = try kernel.send([UInt8](repeating: 1, count: count), on: kernel.socket(number, of: process))
      kernel.run(for: .milliseconds(300))
    }

    mutating func read(_ count: Int = .max, from number: Int32) throws -> Int {
      var bytes: [UInt8] = []
      return try kernel.receive(kernel.socket(number, of: process), into: &bytes, limit: count).length
    }

    mutating func take(_ epoll: Int32, most: Int = 8) throws -> [EpollEvent] {
      try kernel.takeEpoll(epoll, most: most, of: process)
    }
  }

  // MARK: Numbers

  @Test("The lowest free number is given; limits of the process and of the kernel have their errors")
  func numbers() throws {
    var lab = try Lab(limit: 5)
    #expect([lab.listener, lab.client, lab.server] == [0, 1, 2])
    #expect(try lab.kernel.duplicate(1, of: lab.process) == 3)
    #expect(try lab.kernel.duplicate(1, of: lab.process) == 4)
    #expect(failure { _ = try lab.kernel.duplicate(1, of: lab.process) } == 24)
    #expect(failure { _ = try lab.kernel.socket(.udp(.ipv4), of: lab.process) } == 24)
    // Before it is known that there is no connection.
    #expect(failure { _ = try lab.kernel.accept(0, of: lab.process) } == 24)
    try lab.kernel.close(3, of: lab.process)
    #expect(failure { _ = try lab.kernel.accept(0, of: lab.process) } == 11)
    #expect(try lab.kernel.duplicate(1, from: 3, of: lab.process) == 3)
    #expect(failure { _ = try lab.kernel.duplicate(1, from: 5, of: lab.process) } == 22)
    #expect(failure { _ = try lab.kernel.duplicate(1, to: 5, of: lab.process) } == 9)
    #expect(failure { _ = try lab.kernel.duplicate(7, to: 1, of: lab.process) } == 9)
    #expect(failure { try lab.kernel.close(9, of: lab.process) } == 9)
    #expect(failure { try lab.kernel.close(-1, of: lab.process) } == 9)
    lab.kernel.endProcess(lab.process)
    #expect(lab.kernel.files.count == 0)
    var options = Kernel.Options(seed: 1, pool: .init(packets: 256, largeBlocks: 8))
    options.fileLimit = 2
    var small = Kernel(options, now: Instant(nanoseconds: 0))
    let process = try small.makeProcess(in: small.makeNamespace())
    for _ in 0..<2 { _ = try small.socket(.udp(.ipv4), of: process) }
    #expect(failure { _ = try small.socket(.udp(.ipv4), of: process) } == 23)
    #expect(small.sockets.count == 2)
  }

  @Test("An open file is shared by its descriptors, and ends with the last of them")
  func sharing() throws {
    var lab = try Lab()
    let copy = try lab.kernel.duplicate(lab.client, of: lab.process)
    try lab.kernel.setNonBlocking(true, copy, of: lab.process)
    try lab.kernel.setCloseOnExec(true, copy, of: lab.process)
    #expect(try lab.kernel.flags(of: lab.client, of: lab.process) == .nonBlocking)
    #expect(try lab.kernel.flags(of: copy, of: lab.process) == [.nonBlocking, .closeOnExec])
    let child = try lab.kernel.fork(lab.process)
    try lab.kernel.close(lab.client, of: lab.process)
    lab.kernel.closeOnExec(lab.process)
    #expect(failure { _ = try lab.kernel.socket(copy, of: lab.process) } == 9)
    lab.kernel.run(for: .seconds(1))
    // The child has it still.
    #expect(failure { _ = try lab.read(from: lab.server) } == 11)
    lab.kernel.endProcess(child)
    lab.kernel.run(for: .seconds(1))
    #expect(try lab.read(from: lab.server) == 0)
    // What a number was is closed when it becomes another.
    let other = try lab.kernel.socket(.udp(.ipv4), of: lab.process)
    let before = lab.kernel.files.count
    #expect(try lab.kernel.duplicate(other, to: lab.server, of: lab.process) == lab.server)
    #expect(lab.kernel.files.count == before - 1)
    #expect(try lab.kernel.duplicate(other, to: other, of: lab.process) == other)
  }

  // MARK: poll and select

  @Test("poll answers for each entry, select for each set")
  func polling() throws {
    var lab = try Lab()
    try lab.send(on: lab.client)
    var entries = [
      PollEntry(lab.server, [.in, .out, .readHangUp]), PollEntry(lab.client, [.in]), PollEntry(-1, [.in]),
      PollEntry(99, []), PollEntry(lab.listener, [.in, .out]), PollEntry(lab.server, [.priority]),
    ]
    #expect(try lab.kernel.poll(&entries, of: lab.process) == 2)
    #expect(entries.map(\.result) == [[.in, .out], [], [], .invalid, [], []])
    var read: DescriptorSet = [lab.server, lab.client, lab.listener]
    var write: DescriptorSet = [lab.server, lab.listener]
    var except: DescriptorSet = [lab.server]
    #expect(
      try lab.kernel.select(below: 10, read: &read, write: &write, except: &except, of: lab.process) == 2)
    #expect(read == [lab.server])
    #expect(write == [lab.server])
    #expect(except == [])
    read = [77]
    #expect(
      failure {
        _ = try lab.kernel.select(below: 78, read: &read, write: &write, except: &except, of: lab.process)
      } == 9)
    #expect(
      failure {
        _ = try lab.kernel.select(below: -1, read: &read, write: &write, except: &except, of: lab.process)
      } == 22)
    var many = [PollEntry](repeating: PollEntry(-1, []), count: 1025)
    #expect(failure { _ = try lab.kernel.poll(&many, of: lab.process) } == 22)
  }

  @Test("A wait for any of several descriptors is told once, and leaves nothing behind")
  func waiting() throws {
    var lab = try Lab()
    let entries = [PollEntry(lab.client, [.in]), PollEntry(lab.server, [.in]), PollEntry(lab.server, [.in])]
    let wait = try lab.kernel.awaitAny(entries, token: 7, of: lab.process)
    #expect(lab.kernel.takeEpollWakeups() == [])
    try lab.send(on: lab.client)
    try lab.send(on: lab.client)
    #expect(lab.kernel.takeEpollWakeups() == [7])
    lab.kernel.endAwait(wait)
    // What is there already is told at once.
    let next = try lab.kernel.awaitAny(entries, token: 8, of: lab.process)
    #expect(lab.kernel.takeEpollWakeups() == [8])
    lab.kernel.endAwait(next)
    #expect(lab.kernel.epolls.count == 0)
    #expect(lab.kernel.epollItems.count == 0)
  }

  // MARK: epoll

  @Test("Control has the kernel's errors")
  func control() throws {
    var lab = try Lab()
    let epoll = try lab.kernel.makeEpoll(flags: .closeOnExec, of: lab.process)
    let process = lab.process
    let (server, client) = (lab.server, lab.client)
    #expect(try lab.kernel.flags(of: epoll, of: process) == .closeOnExec)
    func add(_ number: Int32, _ events: Readiness = .in, _ mode: EpollMode = [], to instance: Int32) -> Int32
    {
      failure { try lab.kernel.addToEpoll(instance, number, EpollEvent(events), mode, of: process) }
    }
    #expect(add(server, to: epoll) == 0)
    #expect(add(server, to: epoll) == 17)
    #expect(add(99, to: epoll) == 9)
    #expect(add(server, to: 99) == 9)
    #expect(add(epoll, to: epoll) == 22)
    #expect(add(client, to: server) == 22)
    #expect(add(client, .in, [.exclusive, .oneShot], to: epoll) == 22)
    #expect(add(client, [.in, .readHangUp], .exclusive, to: epoll) == 22)
    #expect(
      failure { try lab.kernel.changeInEpoll(epoll, client, EpollEvent(.in), of: process) } == 2)
    #expect(failure { try lab.kernel.removeFromEpoll(epoll, client, of: process) } == 2)
    #expect(add(client, .in, .exclusive, to: epoll) == 0)
    #expect(failure { try lab.kernel.changeInEpoll(epoll, client, EpollEvent(.in), of: process) } == 22)
    #expect(
      failure { try lab.kernel.changeInEpoll(epoll, server, EpollEvent(.in), .exclusive, of: process) } == 22)
    #expect(failure { try lab.kernel.removeFromEpoll(epoll, client, of: process) } == 0)
    #expect(failure { _ = try lab.kernel.takeEpoll(epoll, most: 0, of: process) } == 22)
    #expect(failure { _ = try lab.kernel.takeEpoll(client, most: 1, of: process) } == 22)
    let other = try lab.kernel.makeEpoll(of: process)
    #expect(add(other, .in, .exclusive, to: epoll) == 22)
    #expect(failure { _ = try lab.kernel.socket(epoll, of: process) } == 88)
    // A copy is watched by its own number, and what is closed is watched no more.
    let copy = try lab.kernel.duplicate(server, of: process)
    #expect(add(copy, to: epoll) == 0)
    try lab.kernel.close(server, of: process)
    try lab.send(on: client)
    #expect(try lab.take(epoll).count == 2)
    try lab.kernel.close(copy, of: process)
    #expect(try lab.take(epoll) == [])
    lab.kernel.endProcess(process)
    #expect(lab.kernel.epollItems.count == 0)
    #expect(lab.kernel.epolls.count == 0)
  }

  @Test("Level tells as long as it is so, edge each time that it happens, oneshot once")
  func modes() throws {
    var lab = try Lab()
    var instances: [Int32] = []
    for mode in [[], EpollMode.edge, .oneShot] {
      let epoll = try lab.kernel.makeEpoll(of: lab.process)
      try lab.kernel.addToEpoll(epoll, lab.server, EpollEvent(.in, data: 5), mode, of: lab.process)
      instances.append(epoll)
    }
    func told(_ lab: inout Lab) throws -> [Int] {
      var counts: [Int] = []
      for epoll in instances { counts.append(try lab.take(epoll).count) }
      return counts
    }
    #expect(try told(&lab) == [0, 0, 0])
    try lab.send(on: lab.client)
    #expect(try lab.take(instances[0]) == [EpollEvent(.in, data: 5)])
    #expect(try told(&lab) == [1, 1, 1])
    #expect(try told(&lab) == [1, 0, 0])
    try lab.send(on: lab.client)
    #expect(try told(&lab) == [1, 1, 0])
    try lab.kernel.changeInEpoll(instances[2], lab.server, EpollEvent(.in), .oneShot, of: lab.process)
    #expect(try told(&lab) == [1, 0, 1])
    #expect(try lab.read(from: lab.server) == 2)
    #expect(try told(&lab) == [0, 0, 0])
    // An edge that has passed is not told.
    try lab.send(on: lab.client)
    _ = try lab.read(from: lab.server)
    #expect(try told(&lab) == [0, 0, 0])
  }

  @Test("Those that are ready take turns when not all can be told")
  func turns() throws {
    var lab = try Lab()
    let epoll = try lab.kernel.makeEpoll(of: lab.process)
    for (data, number) in [lab.client, lab.server].enumerated() {
      try lab.kernel.addToEpoll(epoll, number, EpollEvent(.out, data: UInt64(data)), of: lab.process)
    }
    var told: [UInt64] = []
    for _ in 0..<4 { told += try lab.take(epoll, most: 1).map(\.data) }
    #expect(told == [0, 1, 0, 1])
  }

  @Test("A waiter is woken once; of exclusive ones only one is")
  func wakeups() throws {
    var lab = try Lab()
    var instances: [Int32] = []
    for mode in [EpollMode.exclusive, .exclusive, []] {
      let epoll = try lab.kernel.makeEpoll(of: lab.process)
      try lab.kernel.addToEpoll(epoll, lab.server, EpollEvent(.in), mode, of: lab.process)
      try lab.kernel.awaitEpoll(epoll, token: UInt64(instances.count), of: lab.process)
      instances.append(epoll)
    }
    try lab.send(on: lab.client)
    #expect(lab.kernel.takeEpollWakeups() == [2, 0])
    try lab.send(on: lab.client)
    // The first exclusive one waits no more, so that it is the other's turn.
    #expect(lab.kernel.takeEpollWakeups() == [1])
    for epoll in instances { #expect(try lab.take(epoll).count == 1) }
    try lab.kernel.awaitEpoll(instances[0], token: 9, of: lab.process)
    #expect(lab.kernel.takeEpollWakeups() == [9])
    _ = try lab.read(from: lab.server)
    // The end is told to all.
    for (token, epoll) in instances.enumerated() {
      try lab.kernel.awaitEpoll(epoll, token: UInt64(token), of: lab.process)
    }
    #expect(lab.kernel.takeEpollWakeups() == [])
    try lab.kernel.close(lab.client, of: lab.process)
    lab.kernel.run(for: .milliseconds(10))
    #expect(lab.kernel.takeEpollWakeups() == [2, 0, 1])
  }

  @Test("Whoever waits for an instance that watches another is woken by the other's news; so is who polls it")
  func nested() throws {
    var lab = try Lab()
    let (inner, outer) = (
      try lab.kernel.makeEpoll(of: lab.process), try lab.kernel.makeEpoll(of: lab.process)
    )
    try lab.kernel.addToEpoll(outer, inner, EpollEvent(.in, data: 1), of: lab.process)
    try lab.kernel.addToEpoll(inner, lab.server, EpollEvent(.in, data: 2), of: lab.process)
    try lab.kernel.awaitEpoll(outer, token: 3, of: lab.process)
    let wait = try lab.kernel.awaitAny([PollEntry(outer, [.in])], token: 4, of: lab.process)
    #expect(lab.kernel.takeEpollWakeups() == [])
    try lab.send(on: lab.client)
    #expect(lab.kernel.takeEpollWakeups() == [3, 4])
    lab.kernel.endAwait(wait)
    #expect(try lab.take(outer) == [EpollEvent(.in, data: 1)])
    #expect(try lab.take(inner) == [EpollEvent(.in, data: 2)])
    _ = try lab.read(from: lab.server)
    var entries = [PollEntry(outer, [.in, .out])]
    #expect(try lab.kernel.poll(&entries, of: lab.process) == 0)
    // The other goes: nobody watches it any more.
    try lab.kernel.close(inner, of: lab.process)
    try lab.send(on: lab.client)
    #expect(try lab.take(outer) == [])
    lab.kernel.endProcess(lab.process)
    #expect(lab.kernel.epollItems.count == 0)
  }

  @Test("Who found no room is told when there is some")
  func room() throws {
    var lab = try Lab()
    let epoll = try lab.kernel.makeEpoll(of: lab.process)
    let client = try lab.kernel.socket(lab.client, of: lab.process)
    while (try? lab.kernel.send([UInt8](repeating: 1, count: 65_536), on: client)) != nil {
      lab.kernel.run(for: .milliseconds(1))
    }
    try lab.kernel.addToEpoll(epoll, lab.client, EpollEvent(.out), .edge, of: lab.process)
    #expect(try lab.take(epoll) == [])
    try lab.kernel.awaitEpoll(epoll, token: 3, of: lab.process)
    var rounds = 0
    while rounds < 1000, lab.kernel.takeEpollWakeups().isEmpty {
      _ = try? lab.read(65_536, from: lab.server)
      lab.kernel.run(for: .milliseconds(1))
      rounds += 1
    }
    #expect(rounds < 1000)
    #expect(try lab.take(epoll).map(\.events) == [.out])
  }
}
