// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Foundation
import LabCore
import Logging
import NetTypes
import Seeds
import Spawn
import Synchronization
import SystemPackage
import Testing

@testable import LabProcess

/// A server of a fake datapath in this process, with its control socket in a folder.
final class TestServer: Sendable {
  let lab = TestHost.labName()
  let folder: TestFolder
  let datapath: FakeDatapath
  let server: LabServer

  init(
    _ datapath: FakeDatapath = FakeDatapath(), below: String = "",
    bringUp: @escaping UpWork.Handler = { _ in (.done(changes: 0), []) }
  ) throws {
    folder = TestFolder()
    self.datapath = datapath
    let path = folder.path + below
    try LabFile.makeFolder(path)
    let flag = Flag()
    server = LabServer(
      lab: lab, kind: .kernel, folder: path, log: "\(path)/process.log", datapath: datapath,
      reactor: try TestHost.reactor.get(),
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, bringUp: bringUp,
      onShutdown: { flag.set() })
    shutdown = flag
    try server.listen()
  }

  let shutdown: Flag

  deinit { server.close() }

  func connect() async throws -> LabConnection {
    try await LabConnection.open(folder: server.folder, timeout: TestHost.patience)
  }

  final class Flag: Sendable {
    private let value = Atomic(false)
    func set() { value.store(true, ordering: .releasing) }
    var isSet: Bool { value.load(ordering: .acquiring) }
  }
}

@Suite("The control socket", .timeLimit(.minutes(10 * Rounds.of(1))))
struct ControlTests {
  static let node = NodeName("web")

  @Test("Every verb of a datapath passes through")
  func verbs() async throws {
    let server = try TestServer()
    let node = try #require(Self.node)
    let remote = try await server.connect().datapath
    let id = NamespaceID.node(node)
    let state = LabState(lab: server.lab, namespaces: [NamespaceState(id: id)])
    #expect(
      try await remote.inspect(.statistics, in: id, of: server.lab)
        == .neighbors([
          NeighborReport(
            link: "\(id)", address: FakeDatapath.gateway, mac: nil, state: "statistics", isRouter: true,
            isProxy: false)
        ]))
    #expect(
      try await remote.limitations(for: state, running: LabRuntime(lab: state.lab)).map(\.path) == [
        StatePath(id)
      ])
    let claim = StatePath(id, .link, key: ["eth0"])
    let observation = try await remote.observe(server.lab, scope: Scope(namespaces: [id], claims: [claim]))
    #expect(observation.owned.namespaces.map(\.id) == [id])
    #expect(observation.foreign == [ForeignObject(path: claim, detail: "theirs")])
    let change = Change(
      path: StatePath(id), operation: .create, before: nil, after: .namespace(id), reason: "new")
    let batch = Plan.Batch(title: "create namespaces", changes: [change])
    try await remote.apply(batch, to: server.lab)
    let applied = server.datapath.applied.withLock { $0 }
    #expect(applied == [batch])
    try await remote.remove(server.lab)
    let removed = server.datapath.removed.withLock { $0 }
    #expect(removed == [server.lab])
  }

  @Test("A plan of 2,000 nodes passes through")
  func large() async throws {
    let server = try TestServer()
    let remote = try await server.connect().datapath
    var changes: [Change] = []
    for index in 0..<2000 {
      let id = NamespaceID.node(try #require(NodeName("node-with-a-long-name-\(index)")))
      changes.append(
        Change(path: StatePath(id), operation: .create, before: nil, after: .namespace(id), reason: "new"))
      for name in ["eth0", "eth1", "eth2"] {
        let link = LinkState(
          name: try #require(InterfaceName(name)), kind: .bridge(BridgeState(stp: true)), mtu: 1400)
        changes.append(
          Change(
            path: StateObject.link(link).path(in: id), operation: .create, before: nil, after: .link(link),
            reason: "new"))
      }
    }
    let batch = Plan.Batch(title: "all", changes: changes)
    try await remote.apply(batch, to: server.lab)
    let applied = server.datapath.applied.withLock { $0 }
    #expect(applied == [batch])
  }

  @Test("An error arrives as it was thrown")
  func errors() async throws {
    let node = try #require(Self.node)
    let error = DatapathError(
      .refused, operation: "set the mtu of eth0", path: StatePath(.node(node), .link, key: ["eth0"]),
      errno: 22,
      cause: "mtu greater than device maximum.", remedy: "a smaller one")
    let server = try TestServer(FakeDatapath(failure: error))
    let remote = try await server.connect().datapath
    await #expect(throws: error) { try await remote.remove(server.lab) }
    await #expect(throws: error) { _ = try await remote.observe(server.lab, scope: Scope()) }
  }

  @Test("Another lab's name is refused")
  func otherLab() async throws {
    let server = try TestServer()
    let remote = try await server.connect().datapath
    let other = try #require(LabName("other"))
    let error = await #expect(throws: DatapathError.self) { try await remote.remove(other) }
    #expect(error?.code == .notFound)
    let removed = server.datapath.removed.withLock { $0 }
    #expect(removed == [])
  }

  @Test("Changes come as they happen, and end when nobody follows")
  func changes() async throws {
    let server = try TestServer()
    let path = StatePath(.switch, .link, key: ["br0"])
    do {
      let stream = try await server.connect().datapath.changes(of: server.lab)
      #expect(await eventually { server.datapath.events.withLock { $0 != nil } })
      for number in 0..<100 {
        _ = server.datapath.events.withLock {
          $0?.yield(ChangeEvent(action: .changed, path: path, summary: "\(number)"))
        }
      }
      var count = 0
      for await event in stream {
        #expect(event.summary == "\(count)")
        count += 1
        if count == 100 { break }
      }
    }
    #expect(await eventually { server.datapath.changesEnded.load(ordering: .acquiring) })
  }

  @Test("A capture writes into the caller's descriptor until its task is cancelled")
  func capture() async throws {
    let server = try TestServer()
    let remote = try await server.connect().datapath
    var ends: [Int32] = [-1, -1]
    try #require(nf_pipe(&ends) == 0)
    let (reader, writer) = (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
    defer { try? reader.close() }
    let lab = server.lab
    let task = Task { try await remote.capture(CaptureRequest(points: []), into: writer, of: lab) }
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = try buffer.withUnsafeMutableBytes { try reader.read(into: $0) }
    #expect(String(decoding: buffer.prefix(count), as: UTF8.self) == "captured 262144")
    task.cancel()
    try await task.value
    let ended = server.datapath.captureEnded.load(ordering: .acquiring)
    #expect(ended)
    try writer.close()
  }

  @Test(
    "A program runs on the caller's descriptors; its signals and its end are the caller's to send and to know"
  )
  func processes() async throws {
    let server = try TestServer()
    let node = try #require(Self.node)
    let remote = try await server.connect().datapath
    var ends: [Int32] = [-1, -1]
    try #require(nf_pipe(&ends) == 0)
    let (reader, writer) = (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
    defer { try? reader.close() }
    let nothing = try FileDescriptor.open("/dev/null", .readOnly)
    defer { try? nothing.close() }
    try #require(TestHost.isRoot || TestHost.hasUserNamespaces)
    guard TestHost.isRoot else { return }
    let command = Command(["/bin/sh", "-c", "echo $WORD; exec sleep 60"], environment: ["WORD": "hello"])
    let process = try await remote.spawn(
      command, in: node, of: server.lab, io: ProcessIO(input: nothing, output: writer, error: writer))
    try writer.close()
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = try buffer.withUnsafeMutableBytes { try reader.read(into: $0) }
    #expect(String(decoding: buffer.prefix(count), as: UTF8.self) == "hello\n")
    #expect(kill(process.processID, 0) == 0)
    try await process.signal(SIGTERM)
    #expect(try await process.wait() == .signaled(SIGTERM))
    await #expect(throws: DatapathError.self) { _ = try await process.wait() }
  }

  @Test("Sockets are held, used and closed by their numbers")
  func endpoints() async throws {
    let server = try TestServer()
    let node = try #require(Self.node)
    let remote = try await server.connect().datapath
    let endpoint = try await remote.endpoint(.echo(.ipv4), in: node, of: server.lab)
    #expect(try await endpoint.localEndpoint() == FakeEndpoint.place)
    let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
    try await endpoint.send(bytes, to: FakeEndpoint.place)
    let datagram = try await endpoint.receive(limit: 90_000, timeout: .seconds(1))
    #expect(
      datagram == Datagram(bytes: Array(bytes.prefix(90_000)), source: FakeEndpoint.place, hopLimit: 63))
    let timeout = await #expect(throws: DatapathError.self) {
      _ = try await endpoint.receive(limit: 1, timeout: .zero)
    }
    #expect(timeout?.code == .timeout)
    let (connection, peer) = try await endpoint.accept(timeout: .seconds(1))
    #expect(peer == FakeEndpoint.place)
    await connection.close()
    await #expect(throws: DatapathError.self) { _ = try await connection.localEndpoint() }
  }

  @Test("A folder with a path longer than a socket's address is no obstacle")
  func longPath() async throws {
    let server = try TestServer(below: "/" + String(repeating: "long/", count: 60) + "end")
    #expect(try await server.connect().status().lab == server.lab)
  }

  @Test("The status names lab and process, and a request to end reaches the process")
  func status() async throws {
    let server = try TestServer()
    let connection = try await server.connect()
    let status = try await connection.status()
    #expect(status.pid == getpid() && status.nodes.isEmpty && status.datapath == .kernel)
    try await connection.shutdown()
    #expect(await eventually { server.shutdown.isSet })
  }

  @Test("The socket is the owner's alone")
  func mode() throws {
    let server = try TestServer()
    var information = stat()
    try #require(stat("\(server.folder.path)/control", &information) == 0)
    #expect(information.st_mode & 0o777 == 0o600)
  }

  @Test("Without a lab process the error says so and where the log is")
  func nobody() async throws {
    let folder = TestFolder()
    let error = await #expect(throws: DatapathError.self) {
      try await LabConnection.open(folder: folder.path)
    }
    #expect(error?.code == .notFound)
    #expect(error.map { "\($0)" }?.contains("process.log") == true)
  }

  @Test("When the other side dies, what is under way fails with a clear error, and so does what comes later")
  func death() async throws {
    let (ours, theirs) = try Self.pair()
    let greeting = try ControlCoding.encode(ControlGreeting(pid: 1, lab: TestHost.labName()))
    try Self.send([0] + greeting, to: theirs)
    let connection = try await LabConnection.open(
      ours, processID: 1234, log: "/x/process.log", timeout: TestHost.patience)
    let request = Task { try await connection.status() }
    try await Task.sleep(for: .milliseconds(50))
    try theirs.close()
    let error = await #expect(throws: DatapathError.self) { _ = try await request.value }
    #expect(error?.code == .unavailable)
    #expect(error.map { "\($0)" }?.contains("/x/process.log") == true)
    await #expect(throws: DatapathError.self) { _ = try await connection.status() }
  }

  @Test("A side that does not answer is given up")
  func silence() async throws {
    let (ours, theirs) = try Self.pair()
    defer { try? theirs.close() }
    let error = await #expect(throws: DatapathError.self) {
      _ = try await LabConnection.open(ours, processID: 1, log: "log", timeout: .milliseconds(100))
    }
    #expect(error?.code == .timeout)
  }

  @Test("Both sides refuse another version by name")
  func versions() async throws {
    var other = ControlGreeting(pid: 77, lab: nil)
    other.version = 99
    let (ours, theirs) = try Self.pair()
    defer { try? theirs.close() }
    try Self.send([0] + (try ControlCoding.encode(other)), to: theirs)
    let error = await #expect(throws: DatapathError.self) {
      _ = try await LabConnection.open(ours, processID: 77, log: "log", timeout: TestHost.patience)
    }
    #expect(error?.cause.contains("version 99") == true && error?.remedy != nil)

    let server = try TestServer()
    let (client, remote) = try Self.pair()
    defer { try? client.close() }
    server.server.serve(remote)
    try Self.send([0] + (try ControlCoding.encode(other)), to: client)
    #expect(await Self.answers(of: client).contains { $0.contains("version 99") })
  }

  @Test("Hostile and torn messages end their own connection and nothing else", .serialized, arguments: 0..<60)
  func fuzz(seed: Int) async throws {
    let server = try TestServer()
    for round in 0..<Rounds.of(1) { try await attack(server, seed: seed + 60 * round) }
    // The last of them may still be on their way out.
    #expect(await eventually { (try? await server.connect().status().lab) == server.lab })
  }

  private func attack(_ server: TestServer, seed: Int) async throws {
    let (client, remote) = try Self.pair()
    server.server.serve(remote)
    var generator = SplitMix(seed)
    let greeting = [0] + (try ControlCoding.encode(ControlGreeting(pid: 1, lab: nil)))
    if seed % 3 != 0 { try Self.send(greeting, to: client) }
    let batch = Plan.Batch(title: "t", changes: [])
    let valid = try ControlCoding.encode(
      ControlEnvelope(id: 1, body: ControlRequest.apply(batch, server.lab)))
    for _ in 0..<20 {
      var bytes: [UInt8]
      switch Int.random(in: 0..<9, using: &generator) {
      case 0: bytes = [0] + valid.prefix(Int.random(in: 0...valid.count, using: &generator))
      case 1:
        bytes = [0] + valid
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(in: 0...255, using: &generator)
      case 2:
        bytes = (0..<Int.random(in: 1..<300, using: &generator)).map { _ in
          .random(in: 0...255, using: &generator)
        }
      case 3: bytes = [.random(in: 1...4, using: &generator)]
      case 4: bytes = [0] + Array(String(repeating: "[", count: 20_000).utf8)
      case 5: bytes = [0] + Array("{\"id\":99999999999999999999999,\"body\":{\"status\":{}}}".utf8)
      case 6:
        bytes = [2] + (0..<4).map { $0 == 0 ? .random(in: 0...255, using: &generator) : 0 } + valid
      case 7: bytes = [2] + (0..<Int.random(in: 0...8, using: &generator)).map { _ in 255 }
      default: bytes = [UInt8](repeating: 0, count: ControlChannel.inlineLimit + 1)
      }
      var descriptors: [Int32] = []
      if Bool.random(using: &generator) {
        descriptors = (0..<Int.random(in: 1...16, using: &generator)).map { _ in 2 }
      }
      if nf_packet_send(client.rawValue, bytes, bytes.count, descriptors, descriptors.count) == -EPIPE {
        break
      }
    }
    // The next one begins when the server has let go of this one and of the descriptors that it was passed.
    _ = shutdown(client.rawValue, Int32(SHUT_WR))
    var answer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = recv(client.rawValue, &answer, answer.count, Int32(MSG_DONTWAIT))
      if count > 0 { continue }
      guard count < 0, errno == EAGAIN else { break }
      try await Task.sleep(for: .milliseconds(1))
    }
    try client.close()
  }

  @Test("What a client started ends with its connection", .enabled(if: TestHost.isRoot, "needs root"))
  func leftovers() async throws {
    let server = try TestServer()
    let node = try #require(Self.node)
    var pid: Int32 = 0
    do {
      let connection = try await server.connect()
      let nothing = try FileDescriptor.open("/dev/null", .readWrite)
      defer { try? nothing.close() }
      let process = try await connection.datapath.spawn(
        Command(["sleep", "60"]), in: node, of: server.lab,
        io: ProcessIO(input: nothing, output: nothing, error: nothing))
      pid = process.processID
      connection.close()
    }
    #expect(await eventually { kill(pid, 0) != 0 })
  }

  // MARK: Bare sockets

  static func pair() throws -> (FileDescriptor, FileDescriptor) {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_SEQPACKET.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    try #require(socketpair(AF_UNIX, type, 0, &ends) == 0)
    return (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
  }

  static func send(_ bytes: [UInt8], to socket: FileDescriptor) throws {
    try #require(nf_packet_send(socket.rawValue, bytes, bytes.count, nil, 0) == 0)
  }

  /// All packets until the other side closes.
  static func answers(of socket: FileDescriptor) async -> [String] {
    var result: [String] = []
    _ = await eventually {
      var descriptors = [Int32](repeating: -1, count: 16)
      var count = 0
      var buffer = [UInt8](repeating: 0, count: 65536)
      while true {
        let size = nf_packet_receive(socket.rawValue, &buffer, buffer.count, &descriptors, &count)
        if size == -Int(EAGAIN) { return false }
        guard size > 0 else { return true }
        result.append(String(decoding: buffer.prefix(size), as: UTF8.self))
      }
    }
    return result
  }
}
