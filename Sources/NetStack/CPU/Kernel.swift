// SPDX-License-Identifier: GPL-2.0-or-later

// The emulated kernel as one CPU runs it. It is driven: frames and configuration come in, `poll(now:)` runs what is
// due, frames and the next deadline come out. It has no clock, thread, descriptor or source of chance of its own.
//
// All state hangs on this one value, which is never copied, and the stages are its methods, a folder a layer; so the
// compiler sees who writes what, and no packet pays for a reference count or a check of exclusive access.

public import NetTypes

/// An emulated kernel.
public struct Kernel: ~Copyable {
  /// What is chosen when a kernel is made.
  public struct Options: Sendable {
    /// Everything random follows from it.
    public var seed: UInt64
    /// How many packets go through the stages together, 1 to 64. The result does not depend on it.
    public var burst: Int
    /// How many packets there can be.
    public var pool: BufferPool.Configuration
    /// How many namespaces there can be.
    public var namespaceLimit: Int
    /// Which CPU of a machine this is, 0 to 63.
    public var cpu = 0
    /// How many devices there can be.
    public var deviceLimit: Int
    /// Connections that nobody uses any more and that are not over (tcp_max_orphans).
    public var orphanLimit = 65_536
    /// Open files of all processes (fs.file-max).
    public var fileLimit = 1 << 20
    /// What the time of day is, in nanoseconds since 1970, when the kernel's clock stands at nothing.
    public var epoch: Int64 = 0
    /// Whether rules that differ in one value become one lookup. What packets meet does not depend on it.
    public var groupsRules = true

    /// Bursts of 64, limits beyond any lab's.
    public init(seed: UInt64, burst: Int = 64, pool: BufferPool.Configuration = .init()) {
      self.seed = seed
      self.burst = max(1, min(burst, Burst.capacity))
      self.pool = pool
      namespaceLimit = 1 << 20
      deviceLimit = Vector.deviceLimit
    }
  }

  private let passing = PassedByAddress()
  let options: Options
  var pool: BufferPool
  var cpu: CPU
  var namespaces: Table<NetNamespace>
  var devices: Table<Device>
  var bridges: Table<Bridge>
  var neighbors: Table<Neighbor>
  var sockets: Table<Socket>
  var processes: Table<NetProcess>
  var files: Table<OpenFile>
  var epolls: Table<Epoll>
  /// How often instances were looked at for loops (loop_check_gen).
  var epollChecks: UInt64 = 0
  var epollItems: Table<EpollItem>
  var addresses6: Table<InterfaceAddress6>
  var fragmentQueues: Table<FragmentQueue>
  var tcps: Table<TCPSock>
  var requests: Table<TCPRequest>
  var timeWaits: Table<TimeWaitSock>
  /// Connections that nobody uses any more and that are not over.
  var orphans = 0
  /// Sockets that want to be told when what they send is sent.
  var stampedSockets = 0
  var proxies: Table<ProxyNeighbor>
  var delayedAnswers: Table<DelayedAnswer>
  var nics: Table<NIC>
  var crossings: Table<Crossing>
  /// What ends across CPUs that are gone have handed and taken over.
  var retiredCrossings: (sent: UInt64, received: UInt64) = (0, 0)
  /// What other CPUs ring.
  public let doorbell: Doorbell
  var vlans: Table<VLANDevice>
  var macvlans: Table<Macvlan>
  var vxlans: Table<VXLAN>
  var qdiscs: Table<Qdisc>
  var tokenBuckets: Table<TokenBucketFilter>
  var trees: Table<HierarchicalTokenBucket>
  var netems: Table<Netem>
  /// The latest handle that a qdisc was given without asking for one.
  var nextQdiscHandle: UInt32 = 0x8000_0000
  var capture = CaptureLog()
  var notifications = NotificationLog()
  /// Connections of all namespaces.
  var conntracks: Table<ConntrackEntry>
  /// The entry of the packet that is on its way now, while it does not count yet.
  var unconfirmed = ConntrackIndex.none
  /// Where the search for connections to give up goes on.
  var conntrackCursor: UInt32 = 0
  /// Connections that go past the rules.
  var flowOffloads: Table<FlowOffload>
  /// Packets that leave together, and whether what is passed on joins them.
  var outgoing = TransmitRun()
  var joinsOutgoing = false
  /// The packet that was last given to a socket by a rule. It is delivered before the next one is.
  var assigned: (slot: Slot, socket: SocketIndex) = (.none, .none)
  var nftLogs = NftLogList()
  var conntrackEvents = ConntrackEventLog()
  var nftTraces = NftTraceLog()
  /// Copies and detours by rule that are on their way now.
  var nftCopies = 0

  /// A kernel without namespaces, whose clock stands at `now`.
  public init(_ options: Options, now: Instant) {
    self.options = options
    pool = BufferPool(options.pool)
    cpu = CPU(seed: options.seed, now: now)
    namespaces = Table(limit: options.namespaceLimit)
    devices = Table(limit: options.deviceLimit)
    bridges = Table(limit: options.deviceLimit)
    neighbors = Table(limit: 1 << 24)
    sockets = Table(limit: 1 << 20)
    processes = Table(limit: 1 << 20)
    files = Table(limit: options.fileLimit)
    epolls = Table(limit: 1 << 20)
    epollItems = Table(limit: 1 << 22)
    addresses6 = Table(limit: 1 << 22)
    fragmentQueues = Table(limit: 1 << 20)
    tcps = Table(limit: 1 << 20)
    requests = Table(limit: 1 << 20)
    timeWaits = Table(limit: 1 << 20)
    proxies = Table(limit: 1 << 20)
    delayedAnswers = Table(limit: 1 << 20)
    nics = Table(limit: options.deviceLimit)
    crossings = Table(limit: Doorbell.limit)
    doorbell = Doorbell(cpu: options.cpu)
    vlans = Table(limit: options.deviceLimit)
    macvlans = Table(limit: options.deviceLimit)
    vxlans = Table(limit: options.deviceLimit)
    qdiscs = Table(limit: options.deviceLimit)
    tokenBuckets = Table(limit: options.deviceLimit)
    trees = Table(limit: options.deviceLimit)
    netems = Table(limit: options.deviceLimit)
    conntracks = Table(limit: 1 << 24)
    flowOffloads = Table(limit: 1 << 24)
  }

  /// The time that the kernel was last told.
  public var now: Instant { Instant(nanoseconds: cpu.now) }

  /// Counters of the CPU.
  public var softnet: SoftnetStatistics { cpu.statistics }
}
