// SPDX-License-Identifier: GPL-2.0-or-later

// A program run to its end: its output collected within limits, its questions answered, its time bounded. It blocks the
// calling thread, which therefore must not be one of the concurrency pool's when the program may take long.

import CLinux
import Glibc
import SystemPackage

/// One of the program's descriptors whose output is collected.
public struct OutputCapture: Sendable {
  /// What happens when there is more than `limit` bytes.
  public enum Overflow: Sendable {
    /// The rest is read, counted and dropped.
    case discard
    /// The program is killed.
    case stop
  }
  public var descriptor: Int32
  /// Bytes kept.
  public var limit: Int
  public var overflow: Overflow

  public init(_ descriptor: Int32, limit: Int, overflow: Overflow = .discard) {
    self.descriptor = descriptor
    self.limit = limit
    self.overflow = overflow
  }
}

/// One of the program's descriptors over which it asks and is answered.
public struct Conversation {
  public var descriptor: Int32
  /// Takes whole questions from the front of what has been read and gives the bytes to send back; nil ends the program.
  public var answer: (inout [UInt8]) -> [UInt8]?

  public init(_ descriptor: Int32, answer: @escaping (inout [UInt8]) -> [UInt8]?) {
    self.descriptor = descriptor
    self.answer = answer
  }
}

/// What a program left behind.
public struct ProgramOutput: Sendable {
  /// Why it is over.
  public enum Ending: Sendable, Equatable {
    case ended
    case timedOut
    /// This descriptor gave more than its capture allows.
    case overflowed(Int32)
    /// It asked what no conversation allows.
    case refused
  }
  public var status: ExitStatus
  public var ending: Ending
  /// By descriptor.
  public var bytes: [Int32: [UInt8]]
  /// Bytes that came after a capture's limit, by descriptor.
  public var discarded: [Int32: Int]

  /// The bytes of a descriptor as text, ill-formed UTF-8 repaired.
  public func text(_ descriptor: Int32) -> String { String(decoding: bytes[descriptor] ?? [], as: UTF8.self) }
}

extension SpawnRequest {
  /// Runs the program to its end or to `timeout`, then kills what is left of its process group.
  public func run(
    capturing captures: [OutputCapture], conversation: Conversation? = nil, timeout: Duration
  ) throws(SpawnError) -> ProgramOutput {
    var channels: [Channel] = []
    defer { for channel in channels { channel.close() } }
    var request = self
    if request.session == .inherited { request.session = .newGroup }
    for capture in captures {
      let channel = try Channel(for: capture.descriptor, capture: capture, program: program.name)
      channels.append(channel)
      request.descriptors.append(Descriptor(channel.theirs, as: capture.descriptor))
    }
    if let conversation {
      let channel = try Channel(for: conversation.descriptor, capture: nil, program: program.name)
      channels.append(channel)
      request.descriptors.append(Descriptor(channel.theirs, as: conversation.descriptor))
    }
    let child = try request.spawn()
    for channel in channels { channel.closeTheirs() }
    return try Self.collect(
      from: child, channels, conversation, deadline: ContinuousClock.now + timeout, program: program.name)
  }

  private static func collect(
    from child: ChildProcess, _ channels: [Channel], _ conversation: Conversation?,
    deadline: ContinuousClock.Instant, program: String
  ) throws(SpawnError) -> ProgramOutput {
    var ending = ProgramOutput.Ending.ended
    var hasEnded = false
    while !hasEnded && ending == .ended {
      let left = deadline - ContinuousClock.now
      guard left > .zero else {
        ending = .timedOut
        break
      }
      var entries = [pollfd(fd: child.pidfd.rawValue, events: Int16(POLLIN), revents: 0)]
      let open = channels.filter(\.isOpen)
      for channel in open {
        let events = channel.unsent.isEmpty ? POLLIN : POLLIN | POLLOUT
        entries.append(pollfd(fd: channel.ours.rawValue, events: Int16(events), revents: 0))
      }
      let count = entries.withUnsafeMutableBufferPointer {
        poll($0.baseAddress, nfds_t($0.count), milliseconds(left))
      }
      if count < 0 && errno != EINTR {
        let error = Errno(rawValue: errno)
        child.kill(SIGKILL, group: true)
        _ = try child.wait()
        throw SpawnError(stage: .watch, program: program, errno: error)
      }
      guard count > 0 else { continue }
      for (channel, entry) in zip(open, entries.dropFirst()) where entry.revents != 0 && ending == .ended {
        ending = channel.service(conversation)
      }
      hasEnded = entries[0].revents != 0
    }
    // While the leader is a zombie its group's number cannot be another's.
    child.kill(SIGKILL, group: true)
    let status = try child.wait() ?? .signaled(SIGKILL)
    if ending == .ended {
      for channel in channels where channel.capture != nil && ending == .ended {
        ending = channel.drain()
      }
    }
    var output = ProgramOutput(status: status, ending: ending, bytes: [:], discarded: [:])
    for channel in channels where channel.capture != nil {
      output.bytes[channel.number] = channel.bytes
      output.discarded[channel.number] = channel.discarded
    }
    return output
  }
}

/// Our end of one of the program's descriptors.
private final class Channel {
  let number: Int32
  let capture: OutputCapture?
  let ours: FileDescriptor
  let theirs: FileDescriptor
  private(set) var isOpen = true
  private var theirsIsOpen = true
  var bytes: [UInt8] = []
  var discarded = 0
  var unsent: [UInt8] = []

  /// A pipe for output that is captured, a socket pair for a conversation.
  init(for number: Int32, capture: OutputCapture?, program: String) throws(SpawnError) {
    self.number = number
    self.capture = capture
    var ends: [Int32] = [-1, -1]
    let error: Int32
    if capture != nil {
      error = nf_output_pipe(&ends)
    } else {
      let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
      error = socketpair(AF_UNIX, kind, 0, &ends) == 0 ? 0 : errno
    }
    guard error == 0 else {
      throw SpawnError(stage: .descriptors, program: program, errno: Errno(rawValue: error))
    }
    ours = FileDescriptor(rawValue: ends[0])
    theirs = FileDescriptor(rawValue: ends[1])
    // Its own end blocks, as a program expects.
    if capture == nil { _ = fcntl(ends[1], F_SETFL, O_RDWR) }
  }

  func closeTheirs() {
    if theirsIsOpen { _ = Glibc.close(theirs.rawValue) }
    theirsIsOpen = false
  }

  func close() {
    closeTheirs()
    if isOpen { _ = Glibc.close(ours.rawValue) }
    isOpen = false
  }

  /// Moves what can be moved without blocking.
  func service(_ conversation: Conversation?) -> ProgramOutput.Ending {
    guard capture == nil else { return read() }
    if unsent.isEmpty {
      let ending = read()
      guard ending == .ended, let conversation else { return ending }
      guard let answer = conversation.answer(&bytes) else { return .refused }
      unsent = answer
    }
    if !unsent.isEmpty {
      let sent = unsent.withUnsafeBytes { send(ours.rawValue, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if sent > 0 {
        unsent.removeFirst(sent)
      } else if sent < 0 && errno != EAGAIN && errno != EINTR {
        close()
      }
    }
    return .ended
  }

  /// Reads what is there; at most a mebibyte, so that the deadline is looked at between.
  private func read() -> ProgramOutput.Ending {
    let limit = capture?.limit ?? 1 << 16
    return withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
      for _ in 0..<16 {
        let count = Glibc.read(ours.rawValue, buffer.baseAddress, buffer.count)
        if count < 0 && errno == EINTR { continue }
        if count < 0 && errno == EAGAIN { return .ended }
        guard count > 0 else {
          close()
          return .ended
        }
        let kept = min(count, max(0, limit - bytes.count))
        bytes.append(contentsOf: buffer[..<kept])
        discarded += count - kept
        if kept < count {
          guard let capture else { return .refused }
          if capture.overflow == .stop { return .overflowed(number) }
        }
        if capture == nil { return .ended }
      }
      return .ended
    }
  }

  /// What the program had written before it ended.
  func drain() -> ProgramOutput.Ending {
    for _ in 0..<64 where isOpen {
      let before = bytes.count + discarded
      let ending = read()
      if ending != .ended { return ending }
      if bytes.count + discarded == before { break }
    }
    return .ended
  }
}
