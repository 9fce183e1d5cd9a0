// SPDX-License-Identifier: GPL-2.0-or-later

// The structures that the sender and the receiver keep, against plain arrays.

import NetTypes
import Testing

@testable import NetStack

@Suite("TCP's queues")
struct TCPScoreboardTests {
  @Test("The write queue joins packets as far as they may be, and forgets them when they have gone")
  func writeQueue() {
    var random = RandomState(seed: 6)
    var queue = WriteQueue()
    var all: [WriteQueue.Packet] = []
    var sent: UInt32 = 0xffff_f000
    var written = sent
    for _ in 0..<50_000 {
      switch random.below(5) {
      case 0, 1:
        written &+= UInt32(1 + random.below(1000))
        // As a sender does it: what ends a record, or is full, is not appended to.
        let isNew = all.last?.endsRecord != false || queue.lastLength(from: sent) > 3000
        queue.write(to: written, isNew: isNew, takesMark: true)
        if isNew { all.append(WriteQueue.Packet(end: written)) }
        all[all.count - 1].end = written
        all[all.count - 1].isPushed = false
      case 2 where !all.isEmpty:
        queue.markPush()
        all[all.count - 1].isPushed = true
      case 3 where !all.isEmpty && random.below(4) == 0:
        queue.markRecord()
        all[all.count - 1].endsRecord = true
      case 4 where !all.isEmpty:
        let wanted = Int(1 + random.below(9000))
        var length = Int(all[0].end &- sent)
        var endsRecord = all[0].endsRecord
        for packet in all.dropFirst() where length < wanted && !endsRecord {
          length = min(Int(packet.end &- sent), wanted)
          endsRecord = packet.endsRecord && Int(packet.end &- sent) <= wanted
        }
        let reach = queue.reach(from: sent, wanted)
        #expect(reach.length == length && reach.endsRecord == endsRecord)
        sent &+= UInt32(min(length, wanted))
        let gone = all.prefix { !isAfter($0.end, sent) }
        #expect(queue.isPushed(before: sent) == gone.contains { $0.isPushed })
        queue.remove(before: sent)
        all.removeFirst(gone.count)
      default: break
      }
      #expect(queue.count == all.count && queue.last?.end == all.last?.end)
    }
  }

  @Test(
    "Of what was sent at one time, that is lost which went before what has arrived, and not what went again after it"
  )
  func momentsOfRACK() {
    var rack = RACK()
    (rack.sentAt, rack.sending, rack.end) = (500, 7, 9000)
    func isLater(than sending: UInt32, at time: Int64 = 500, end: UInt32 = 3000) -> Bool {
      var segment = SentSegment(start: end &- 1000, end: end, sentAt: time)
      segment.sending = sending
      return rack.isLater(than: segment)
    }
    #expect(isLater(than: 6) && !isLater(than: 8))
    #expect(isLater(than: 8, at: 499) && !isLater(than: 6, at: 501))
    // Parts of one that was cut.
    #expect(isLater(than: 7, end: 8000) && !isLater(than: 7, end: 9000) && !isLater(than: 7, end: 10_000))
    rack.sending = 3
    #expect(isLater(than: 0xffff_fff0) && !isLater(than: 5))
  }

  @Test("The scoreboard keeps both orders through sending, sending again, cutting and acknowledging")
  func scoreboard() {
    var random = RandomState(seed: 5)
    var board = SentSegments()
    var all: [(start: UInt32, end: UInt32)] = []
    var byTime: [UInt32] = []
    var next: UInt32 = 0xffff_f000
    for step in 0..<20_000 {
      switch random.below(6) {
      case 0,
        1 where all.count < 300:
        let length = UInt32(1 + random.below(1000))
        board.append(SentSegment(start: next, end: next &+ length, sentAt: Int64(step)))
        all.append((next, next &+ length))
        byTime.append(next)
        next &+= length
      case 2 where !all.isEmpty:
        board.removeFirst()
        let gone = all.removeFirst().start
        byTime.removeAll { $0 == gone }
      case 3 where !all.isEmpty:
        let place = Int(random.below(UInt64(all.count)))
        board.relink(board.head &+ UInt32(place))
        byTime.removeAll { $0 == all[place].start }
        byTime.append(all[place].start)
      case 4 where !all.isEmpty:
        let place = Int(random.below(UInt64(all.count)))
        board.unlink(board.head &+ UInt32(place))
        byTime.removeAll { $0 == all[place].start }
      case 5 where !all.isEmpty:
        let place = Int(random.below(UInt64(all.count)))
        let (start, end) = all[place]
        guard end &- start > 1 else { continue }
        let middle = start &+ 1 &+ UInt32(random.below(UInt64(end &- start &- 1)))
        board.split(board.head &+ UInt32(place), at: middle)
        all[place].end = middle
        all.insert((middle, end), at: place + 1)
        if let time = byTime.firstIndex(of: start) { byTime.insert(middle, at: time + 1) }
      default: continue
      }
      var numbers: [UInt32] = []
      var number = board.oldest
      while let current = number {
        numbers.append(board[current].start)
        number = board.later(current)
      }
      #expect(numbers == byTime)
      #expect(board.count == all.count)
      guard let probe = all.randomElement(using: &random) else { continue }
      #expect(board[board.find(probe.start)].start == probe.start)
      #expect(board[board.find(probe.end &- 1)].start == probe.start)
    }
  }

  @Test("What came before its turn stands in order, wherever it is put in and taken out")
  func outOfOrder() {
    var random = RandomState(seed: 6)
    var queue = OutOfOrderQueue()
    var model: [UInt32] = []
    for _ in 0..<20_000 {
      switch random.below(8) {
      case 0...4 where model.count < 200:
        let start = UInt32(random.below(5000)) &- 2500
        let place = queue.place(of: start)
        queue.insert(
          OutOfOrder(range: TCPRange(start: start, end: start &+ 10), slot: .none, isLast: false), at: place)
        model.insert(start, at: model.firstIndex { isAfter($0, start) } ?? model.count)
      case 5 where !model.isEmpty:
        #expect(queue.removeFirst()?.range.start == model.removeFirst())
      case 6 where !model.isEmpty:
        let place = Int(random.below(UInt64(model.count)))
        queue.remove(at: place)
        model.remove(at: place)
      case 7 where !model.isEmpty: #expect(queue.removeLast()?.range.start == model.removeLast())
      default: continue
      }
      #expect((0..<queue.count).map { queue[$0].range.start } == model)
    }
  }

  @Test("Blocks tell the newest first, join what touches, and forget what had its turn")
  func blocks() {
    func range(_ start: UInt32, _ end: UInt32) -> TCPRange { TCPRange(start: start, end: end) }
    func list(_ blocks: SACKBlocks) -> [TCPRange] { (0..<blocks.count).map { blocks[$0] } }
    var blocks = SACKBlocks()
    for start in [UInt32(100), 200, 300, 400, 500] { blocks.add(range(start, start + 10)) }
    #expect(list(blocks) == [range(500, 510), range(400, 410), range(300, 310), range(200, 210)])
    blocks.add(range(310, 320))
    #expect(list(blocks) == [range(300, 320), range(500, 510), range(400, 410), range(200, 210)])
    blocks.add(range(320, 500))
    #expect(list(blocks) == [range(300, 510), range(200, 210)])
    blocks.removeBefore(250)
    #expect(list(blocks) == [range(300, 510)])
  }

  @Test("The extreme of a window is its extreme, a quarter of the window late at most")
  func extremes() {
    var random = RandomState(seed: 7)
    var filter = WindowedExtreme(start: 0)
    var history: [(time: Int64, value: Int64)] = []
    for time in 0..<Int64(5000) {
      let value = Int64(random.below(1000)) + time / 10
      filter.takeMaximum(100, time, value)
      history.append((time, value))
      let inside = history.filter { time - $0.time <= 100 }.map(\.value)
      let exact = inside.max() ?? 0
      #expect(filter.value <= exact && filter.value >= value)
    }
  }

  @Test("A cookie gives back what was put in, for two minutes, to nobody else")
  func cookies() {
    let key = FlowKey(local: name("10.0.0.1", 80), remote: name("10.0.0.2", 1000))
    let other = FlowKey(local: name("10.0.0.1", 80), remote: name("10.0.0.2", 1001))
    let minute: Int64 = 60_000_000_000
    for (mss, kept) in [(100, 536), (536, 536), (1299, 536), (1300, 1300), (1448, 1440), (9000, 1460)] {
      let cookie = SynCookie.sequence(key, .ipv4, mss: mss, peer: 77, 9, 5 * minute)
      #expect(SynCookie.segmentSize(cookie, key, .ipv4, peer: 77, 9, 5 * minute) == kept)
      #expect(SynCookie.segmentSize(cookie, key, .ipv4, peer: 77, 9, 7 * minute - 1) == kept)
      #expect(SynCookie.segmentSize(cookie, key, .ipv4, peer: 77, 9, 7 * minute) == nil)
      #expect(SynCookie.segmentSize(cookie, other, .ipv4, peer: 77, 9, 5 * minute) == nil)
      #expect(SynCookie.segmentSize(cookie, key, .ipv4, peer: 5077, 9, 5 * minute) == nil)
    }
    for now in [UInt32(0), 63, 64, 1_000_003] {
      for scale in [nil, UInt8(0), 7, 14] {
        let stamp = SynCookie.timestamp(now, scale: scale, hasSACK: true, hasECN: false)
        #expect(!isAfter(stamp, now))
        let options = SynCookie.options(of: stamp)
        #expect(options.scale == scale && options.hasSACK && !options.hasECN)
      }
    }
  }
}
