// SPDX-License-Identifier: GPL-2.0-or-later

// The shared object as packetdrill uses it: loaded, its table of calls filled in, packets and calls given to it from two
// threads. The table is taken by the places of its entries, so that its layout is held as well.

import Foundation
import Glibc
import Testing

@Suite("The emulated kernel as packetdrill loads it")
struct InterfaceTests {
  private static let library: String? = {
    let place = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    let folders = [place.path, FileManager.default.currentDirectoryPath + "/.build/debug"]
    return folders.map { $0 + "/libnetforge-packetdrill.so" }.first {
      FileManager.default.fileExists(atPath: $0)
    }
  }()

  /// The table: pointers, the first of which every call is given.
  private final class Table: @unchecked Sendable {
    private let entries = UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: 40)

    init(_ library: String, flags: String) throws {
      let handle = try #require(dlopen(library, RTLD_NOW | RTLD_LOCAL), "\(String(cString: dlerror()))")
      let start = try #require(dlsym(handle, "packetdrill_interface_init"))
      typealias Start = @convention(c) (UnsafePointer<CChar>, UnsafeMutableRawPointer) -> Void
      unsafeBitCast(start, to: Start.self)(flags, entries)
    }

    deinit {
      typealias End = @convention(c) (UnsafeMutableRawPointer?) -> Void
      entry(1, as: End.self)(entries[0])
      entries.deallocate()
    }

    private func entry<Call>(_ place: Int, as type: Call.Type) -> Call {
      unsafeBitCast(entries[place], to: type)
    }

    func call(_ place: Int, _ a: Int32, _ b: Int32 = 0, _ c: Int32 = 0) -> Int32 {
      typealias Call = @convention(c) (UnsafeMutableRawPointer?, Int32, Int32, Int32) -> Int32
      return entry(place, as: Call.self)(entries[0], a, b, c)
    }

    func call(_ place: Int, _ a: Int32, _ pointer: UnsafeMutableRawPointer?, _ length: Int) -> Int {
      typealias Call = @convention(c) (UnsafeMutableRawPointer?, Int32, UnsafeMutableRawPointer?, Int) -> Int
      return entry(place, as: Call.self)(entries[0], a, pointer, length)
    }

    func arrive(_ packet: [UInt8]) {
      typealias Call = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<UInt8>, Int) -> Int32
      #expect(entry(24, as: Call.self)(entries[0], packet, packet.count) == 0)
    }

    /// The next packet and when it left, in microseconds.
    func leave() -> (packet: [UInt8], time: Int64) {
      typealias Call =
        @convention(c) (
          UnsafeMutableRawPointer?, UnsafeMutablePointer<UInt8>, UnsafeMutablePointer<Int>,
          UnsafeMutablePointer<Int64>
        ) -> Int32
      var bytes = [UInt8](repeating: 0, count: 2000)
      var count = bytes.count
      var time: Int64 = 0
      #expect(entry(25, as: Call.self)(entries[0], &bytes, &count, &time) == 0)
      return (Array(bytes.prefix(count)), time)
    }

    func sleep(_ microseconds: Int32) { _ = call(26, microseconds) }

    func time() -> Int64 {
      typealias Call =
        @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>, UnsafeMutableRawPointer?) ->
        Int32
      var time = [0, 0]
      _ = entry(27, as: Call.self)(entries[0], &time, nil)
      return Int64(time[0] * 1_000_000 + time[1])
    }
  }

  /// Waits for a connection, and then for data: what it was told and when.
  private final class Reader: @unchecked Sendable {
    private let table: Table
    private let listener: Int32
    private let began = DispatchSemaphore(value: 0)
    private var hasBegun = false
    /// `pid/task/tid` below /proc.
    private var place = ""
    private(set) var told: [Int64] = []
    let done = DispatchSemaphore(value: 0)

    init(_ table: Table, _ listener: Int32) {
      self.table = table
      self.listener = listener
    }

    func start() { Thread { self.run() }.start() }

    private func run() {
      place = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self")) ?? "self"
      began.signal()
      let connection = Int32(truncatingIfNeeded: table.call(5, listener, nil, 0))
      told = [Int64(connection), table.time()]
      var bytes = [UInt8](repeating: 0, count: 100)
      let count = bytes.withUnsafeMutableBytes { table.call(7, connection, $0.baseAddress, 100) }
      told += [Int64(count), table.time()]
      done.signal()
    }

    /// Until it has waited for three looks, as packetdrill makes sure that a call blocks.
    func awaitSleep() {
      if !hasBegun { began.wait() }
      hasBegun = true
      var looks = 0
      while looks < 3 {
        usleep(10_000)
        let state = try? String(contentsOfFile: "/proc/\(place)/stat", encoding: .utf8)
        looks = state?.contains(") S ") == true ? looks + 1 : 0
      }
    }
  }

  // MARK: Packets

  private static func sum(_ bytes: [UInt8]) -> [UInt8] {
    var total: UInt32 = 0
    for (place, byte) in bytes.enumerated() { total += UInt32(byte) << (place % 2 == 0 ? 8 : 0) }
    while total > 0xffff { total = total & 0xffff + total >> 16 }
    return [UInt8(~total >> 8 & 255), UInt8(~total & 255)]
  }

  /// A segment from 192.0.2.1, port 4000, to 192.168.0.1, port 8080.
  private static func segment(_ flags: UInt8, _ sequence: UInt8, ack: [UInt8] = [0, 0, 0, 0], data: Int = 0)
    -> [UInt8]
  {
    let names: [UInt8] = [192, 0, 2, 1, 192, 168, 0, 1]
    var tcp: [UInt8] =
      [0x0f, 0xa0, 0x1f, 0x90, 0, 0, 0, sequence] + ack + [0x50, flags, 0x40, 0, 0, 0, 0, 0]
    tcp += [UInt8](repeating: 5, count: data)
    tcp.replaceSubrange(16..<18, with: sum(names + [0, 6, 0, UInt8(tcp.count)] + tcp))
    var header: [UInt8] = [0x45, 0, 0, UInt8(20 + tcp.count), 0, 1, 0, 0, 64, 6, 0, 0] + names
    header.replaceSubrange(10..<12, with: sum(header))
    return header + tcp
  }

  @Test(
    "Calls that wait end at the time of what ends them, in virtual time",
    .enabled(if: library != nil, "not built"))
  func waiting() throws {
    let options =
      "--ip_version=ipv4 --local_ip=192.168.0.1 --gateway_ip=192.168.0.2 --netmask_ip=255.255.0.0 --remote_ip=192.0.2.1"
    let table = try Table(try #require(Self.library), flags: options)
    let listener = table.call(2, AF_INET, 1, 6)
    #expect(listener >= 65536)
    var name = [UInt8](repeating: 0, count: 16)
    (name[0], name[2], name[3]) = (UInt8(AF_INET), 0x1f, 0x90)
    #expect(name.withUnsafeMutableBytes { table.call(3, listener, $0.baseAddress, 16) } & 0xffff_ffff == 0)
    #expect(table.call(4, listener, 5) == 0)
    let began = table.time()
    // One thread waits for a connection and then for data; this one lets time pass.
    let reader = Reader(table, listener)
    reader.start()
    reader.awaitSleep()
    table.sleep(100_000)
    table.arrive(Self.segment(2, 0))
    let answer = table.leave().packet
    #expect(answer.count == 44 && answer[33] == 0x12)
    var first = Array(answer[24..<28])
    first[3] &+= 1
    if first[3] == 0 { first[2] &+= 1 }
    table.sleep(200_000)
    table.arrive(Self.segment(16, 1, ack: first))
    reader.awaitSleep()
    table.sleep(300_000)
    table.arrive(Self.segment(24, 1, ack: first, data: 60))
    let acknowledged = table.leave()
    #expect(acknowledged.packet.count == 40 && acknowledged.packet[31] == 61)
    reader.done.wait()
    let told = reader.told
    #expect(told.count == 4 && told[0] >= 65536 && told[2] == 60)
    let (accepted, received) = (told[1] - began, told[3] - began)
    #expect((300_000..<301_000).contains(accepted) && (600_000..<601_000).contains(received), "\(told)")
    #expect(table.call(19, listener) == 0 && table.call(19, listener) == -1 && errno == EBADF)
  }
}
