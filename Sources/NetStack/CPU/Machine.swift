// SPDX-License-Identifier: GPL-2.0-or-later

// Several CPUs in virtual time: a kernel each, with the shards (a node, or one bridge) placed on them, and pairs of
// devices across. One thread steps the CPUs in their order until none has anything to do, then the clock of all of them
// jumps to the earliest deadline; so a run is as repeatable as that of one kernel. In real time each kernel has a
// thread instead, and `PollResult.called` says whom to wake.

public import NetTypes
public import Rtnetlink

/// Kernels with a common clock.
public struct Machine: ~Copyable {
  /// CPUs at most.
  public static let maximumCPUs = 64

  /// A namespace on one of the CPUs.
  public struct Namespace: Hashable, Sendable {
    /// The CPU.
    public let cpu: Int
    /// Its namespace there.
    public let index: NamespaceIndex

    /// As IFLA_NET_NS_FD names it in messages to the machine.
    public var descriptor: Int32 { Int32(cpu) << 20 | Int32(index.rawValue & 0xf_ffff) }

    /// A namespace of a CPU.
    public init(cpu: Int, index: NamespaceIndex) {
      self.cpu = cpu
      self.index = index
    }

    init(descriptor: Int32) {
      cpu = Int(descriptor >> 20)
      index = NamespaceIndex(UInt32(descriptor & 0xf_ffff))
    }
  }

  /// A pair of devices that a request asks for, apart into its ends.
  public struct PairRequest {
    /// Where the first end is to be, and where the other.
    public let first: Namespace
    public let second: Namespace
    /// What each end is asked for, without a word of where.
    public let message: LinkMessage
    public let peer: LinkMessage

    /// Nil when the request, which stands in `namespace`, asks for something else.
    public init?(_ request: NetlinkMessage, in namespace: Namespace) {
      guard request.type == .newLink, var message = try? LinkMessage(parsing: request.payload[...]),
        case .veth(var peer?)? = message.kind
      else { return nil }
      first = message.namespaceDescriptor.map { Namespace(descriptor: $0) } ?? namespace
      second = peer.namespaceDescriptor.map { Namespace(descriptor: $0) } ?? first
      message.namespaceDescriptor = nil
      peer.namespaceDescriptor = nil
      self.message = message
      self.peer = peer
    }

    /// The request for the one kernel that both ends are in.
    func whole(_ flags: MessageFlags) -> NetlinkMessage {
      var (message, peer) = (message, peer)
      peer.namespaceDescriptor = second.descriptor
      message.kind = .veth(peer: peer)
      return message.message(.newLink, flags)
    }
  }

  private var kernels: Table<Kernel>
  /// The time of all of them.
  public private(set) var now: Instant

  /// As many kernels as CPUs, each with a seed of its own.
  public init(cpus: Int, _ options: Kernel.Options, now: Instant) {
    let count = max(1, min(cpus, Self.maximumCPUs))
    kernels = Table(limit: count)
    self.now = now
    for cpu in 0..<count {
      var own = options
      own.cpu = cpu
      own.seed = options.seed &+ UInt64(cpu) &* 0x9e37_79b9_7f4a_7c15
      _ = kernels.insert(Kernel(own, now: now))
    }
  }

  /// How many CPUs there are.
  public var cpus: Int { kernels.count }

  /// Lends one CPU's kernel. What is changed at an end of a pair across CPUs is known at the other end afterwards, as
  /// it is on one CPU.
  public mutating func with<Result: ~Copyable, Failure: Error>(
    _ cpu: Int, _ body: (inout Kernel) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { settle() }
    return try body(&kernels[TableIndex(UInt32(cpu))])
  }

  private mutating func settle() {
    var isSettled = false
    while !isSettled {
      isSettled = true
      for cpu in kernels.indices where kernels[cpu].doorbell.isRung {
        kernels[cpu].answerDoorbell()
        isSettled = false
      }
    }
  }

  // MARK: Configuration

  /// Makes a namespace on a CPU.
  public mutating func makeNamespace(on cpu: Int) throws(KernelError) -> Namespace {
    Namespace(cpu: cpu, index: try kernels[TableIndex(UInt32(cpu))].makeNamespace())
  }

  /// Carries out one request that changes something. A pair whose ends are in namespaces of two CPUs crosses.
  public mutating func perform(_ request: NetlinkMessage, in namespace: Namespace) throws(KernelError) {
    defer { settle() }
    guard let pair = PairRequest(request, in: namespace) else {
      try kernels[TableIndex(UInt32(namespace.cpu))].perform(request, in: namespace.index)
      return
    }
    let (first, second) = (pair.first, pair.second)
    guard (0..<cpus).contains(first.cpu), (0..<cpus).contains(second.cpu) else { throw KernelError(9) }
    let (here, there) = (TableIndex<Kernel>(UInt32(first.cpu)), TableIndex<Kernel>(UInt32(second.cpu)))
    guard first.cpu != second.cpu else {
      try kernels[here].perform(pair.whole(request.flags), in: first.index)
      return
    }
    if let name = pair.message.name, kernels[here].device(name, in: first.index) != nil { throw .exists }
    let link = CrossLink()
    let other = try kernels[there].makeCrossing(pair.peer, link, side: 1, in: second.index)
    do throws(KernelError) {
      _ = try kernels[here].makeCrossing(pair.message, link, side: 0, in: first.index)
    } catch {
      kernels[there].removeDevice(other)
      throw error
    }
  }

  // MARK: Time

  /// Runs everything that happens up to and including `end`, and leaves the clocks there.
  public mutating func run(until end: Instant) {
    while true {
      var isBusy = false
      var next: Instant?
      for cpu in kernels.indices {
        var result = kernels[cpu].poll(now: now)
        while result.hasMore { result = kernels[cpu].poll(now: now) }
        if result.called != 0 { isBusy = true }
        if let deadline = result.nextDeadline { next = min(next ?? deadline, deadline) }
      }
      // What a CPU has called for may be due at once.
      if isBusy { continue }
      guard let next, next <= end else { break }
      now = max(now, next)
    }
    now = max(now, end)
    for cpu in kernels.indices { kernels[cpu].cpu.now = max(kernels[cpu].cpu.now, now.nanoseconds) }
  }

  /// Runs everything that happens within `interval` from now.
  public mutating func run(for interval: Interval) { run(until: now + interval) }

  /// Whether every packet of every CPU, and every frame between them, has ended or is held by somebody.
  public var isClosed: Bool {
    var sent: UInt64 = 0
    var taken: UInt64 = 0
    for cpu in kernels.indices {
      guard kernels[cpu].accounting.isClosed else { return false }
      let crossed = kernels[cpu].crossed
      sent += crossed.sent
      taken += crossed.received + crossed.waiting
    }
    return sent == taken
  }
}
