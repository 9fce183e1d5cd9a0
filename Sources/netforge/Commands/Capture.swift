// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import CLinux
import Capture
import Glibc
import LabCore
import LabHost
import Reconcile
import SystemPackage

/// `netforge capture [POINTS…]`.
struct CaptureCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "capture",
    abstract: "Listen in on interfaces, a link, or a whole lab: as text, or into one pcapng file.",
    discussion: """
      Without points all interfaces of all nodes. Without -w a line a packet, as tcpdump prints it. The filter is \
      libpcap's language: netforge capture web1 --filter 'tcp port 80'. With Wireshark: netforge capture -w - | wireshark -k -i -
      """)

  @Argument(help: LiveLab.wordsHelp)
  var points: [String] = []

  @Option(help: ArgumentHelp("Only packets that libpcap's filter takes.", valueName: "tcp port 80"))
  var filter: String?

  @OptionGroup var selection: LabOptions

  @Option(name: .shortAndLong, help: "A pcapng file, or - for standard output.", completion: .file())
  var write: String?

  @Option(name: .customShort("c"), help: ArgumentHelp("End after so many packets.", valueName: "packets"))
  var packets: UInt64?

  @Option(name: [.customShort("s"), .long], help: "Keep so many bytes of each packet.")
  var snaplen: UInt32 = CaptureRequest.wholePackets

  @Option(help: ArgumentHelp("Begin another file when one has this size.", valueName: "10MiB"))
  var rotateSize: SizeArgument?

  @Option(help: "Keep so many files, the latest.")
  var count: UInt32?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard (1...CaptureRequest.wholePackets).contains(snaplen) else {
      throw ValidationError("--snaplen takes 1 to \(CaptureRequest.wholePackets)")
    }
    guard packets != 0, count != 0 else { throw ValidationError("-c and --count take 1 or more") }
    guard rotateSize == nil || (write ?? "-") != "-" else {
      throw ValidationError("--rotate-size needs -w with a file's name")
    }
    guard count == nil || rotateSize != nil else { throw ValidationError("--count needs --rotate-size") }
  }

  func run() async throws {
    let live = try await LiveLab.open(selection)
    let chosen = try live.select(points, withLoopback: true)
    let request = CaptureRequest(
      points: chosen.map { CapturePoint($0.link, name: $0.name, linkType: $0.linkType) },
      filter: try filter.map { try CaptureFilter(compiling: $0, snapLength: snaplen) },
      snapLength: snaplen)
    let interruption = try Interruption()
    let sink: any CaptureSink =
      switch write {
      case nil: CaptureLines(output.format)
      case "-": try CaptureFiles(.standardOutput)
      case let path?: try CaptureFiles(path, rotateSize: rotateSize?.bytes, keeping: count.map { Int($0) })
      }
    var ends: [Int32] = [-1, -1]
    guard nf_pipe(&ends) == 0 else { throw Failure(.failed, "no pipe is to be had") }
    let (datapath, name, writer) = (live.lab.datapath, live.lab.name, FileDescriptor(rawValue: ends[1]))
    let capture = Task { () -> DatapathError? in
      defer { try? writer.close() }
      do throws(DatapathError) {
        try await datapath.capture(request, into: writer, of: name)
        return nil
      } catch {
        return error
      }
    }
    var reading = CaptureReading(
      pipe: FileDescriptor(rawValue: ends[0]), interruption: interruption, limit: packets)
    let summary = try await reading.run(into: sink) { capture.cancel() }
    if let error = await capture.value { throw error }
    Terminal.say(summary)
  }
}

/// Where a capture's blocks go.
protocol CaptureSink: AnyObject {
  func take(_ block: PcapngBlock) throws
  /// What has been taken is to be seen now.
  func flush() throws
}

/// Reads a capture as it comes, until it ends or somebody has had enough.
private struct CaptureReading {
  let pipe: FileDescriptor
  let interruption: Interruption
  let limit: UInt64?

  private var taken: UInt64 = 0
  private var interfaces = 0
  private var dropped: UInt64 = 0
  private var isEnding = false

  init(pipe: FileDescriptor, interruption: Interruption, limit: UInt64?) {
    self.pipe = pipe
    self.interruption = interruption
    self.limit = limit
  }

  /// On the main thread, which may wait: the capture itself has others. What it came to, in a sentence.
  @MainActor mutating func run(into sink: any CaptureSink, cancel: () -> Void) throws -> String {
    defer { try? pipe.close() }
    var reader = PcapngReader()
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    var hasBegun = false
    while true {
      var entries = [pipe.rawValue, interruption.descriptor].map {
        pollfd(fd: $0, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
      }
      nf_wait(&entries, isEnding ? 1 : 2, -1)
      if entries[1].revents != 0 { stop(cancel) }
      guard entries[0].revents != 0 else { continue }
      let count = try buffer.withUnsafeMutableBytes { try pipe.read(into: $0) }
      guard count > 0 else { break }
      reader.append(buffer[..<count])
      do {
        while let block = try reader.next() { try take(block, sink, cancel) }
      } catch let error as PcapngError {
        throw Failure(.bug, "\(error.description); please report it")
      }
      if !hasBegun { Terminal.say("capturing on \(interfaces) interfaces; Ctrl-C ends it") }
      hasBegun = true
      try sink.flush()
    }
    return "\(taken) packets captured on \(interfaces) interfaces, \(dropped) dropped"
  }

  private mutating func stop(_ cancel: () -> Void) {
    guard !isEnding else { return }
    isEnding = true
    cancel()
  }

  private mutating func take(_ block: PcapngBlock, _ sink: any CaptureSink, _ cancel: () -> Void) throws {
    switch block {
    case .section: break
    case .interface: interfaces += 1
    case .packet:
      if let limit, taken >= limit { return }
      taken += 1
    case .statistics(let statistics): dropped += statistics.dropped
    }
    do {
      try sink.take(block)
    } catch Errno.brokenPipe {
      // Nobody reads any more (`netforge capture -w - | head`).
      stop(cancel)
    }
    if taken == limit { stop(cancel) }
  }
}
