// SPDX-License-Identifier: GPL-2.0-or-later

// How far instances of epoll may stand in one another (fs/eventpoll.c, ep_loop_check and reverse_path_check): news goes up
// from instance to instance, and must neither go round nor take too many ways.

extension Kernel {
  /// EP_MAX_NESTS.
  private static let deepestNesting = 4
  /// Ways of news through one instance, through two and so on (path_limits); of one there may be any number.
  private static let wayLimits = [Int.max, 500, 100, 50, 10]

  /// Whether an instance may watch another one: neither is above itself then, nor are more than five in a row
  /// (ep_loop_check).
  mutating func mayNest(_ inner: EpollIndex, in outer: EpollIndex) -> Bool {
    epollChecks &+= 1
    let below = depth(below: inner, 0, inserting: outer)
    guard below <= Self.deepestNesting else { return false }
    return below + 1 + depth(above: outer) <= Self.deepestNesting
  }

  /// ep_loop_check_proc.
  private mutating func depth(below epoll: EpollIndex, _ level: Int, inserting outer: EpollIndex) -> Int {
    if epolls[epoll].check == epollChecks { return epolls[epoll].checkedDepth }
    epolls[epoll].check = epollChecks
    var deepest = 0
    for index in epolls[epoll].items.values {
      guard case .epoll(let inner) = epollItems[index].target else { continue }
      let isTooDeep = inner == outer || level > Self.deepestNesting
      deepest = max(
        deepest, isTooDeep ? Self.deepestNesting + 1 : depth(below: inner, level + 1, inserting: outer) + 1)
      if deepest > Self.deepestNesting { break }
    }
    epolls[epoll].checkedDepth = deepest
    return deepest
  }

  /// ep_get_upwards_depth_proc.
  private mutating func depth(above epoll: EpollIndex) -> Int {
    if epolls[epoll].check == epollChecks { return epolls[epoll].checkedDepth }
    var highest = 0
    var index = epolls[epoll].watchers
    while !index.isNone {
      let outer = epollItems[index].epoll
      if !epolls[outer].isWait { highest = max(highest, depth(above: outer) + 1) }
      index = epollItems[index].next
    }
    epolls[epoll].check = epollChecks
    epolls[epoll].checkedDepth = highest
    return highest
  }

  /// Whether news of a socket, or of any that an instance watches, takes more ways than may be (reverse_path_check).
  mutating func hasTooManyWays(_ target: OpenFile.Kind) -> Bool {
    epollChecks &+= 1
    switch target {
    case .socket(let socket):
      var counts = Self.wayLimits
      return !countWays(from: sockets[socket].watchers, 0, &counts)
    case .epoll(let epoll): return hasTooManyWays(below: epoll)
    }
  }

  private mutating func hasTooManyWays(below epoll: EpollIndex) -> Bool {
    guard epolls[epoll].check != epollChecks else { return false }
    epolls[epoll].check = epollChecks
    for index in epolls[epoll].items.values {
      switch epollItems[index].target {
      case .socket(let socket):
        var counts = Self.wayLimits
        if !countWays(from: sockets[socket].watchers, 0, &counts) { return true }
      case .epoll(let inner): if hasTooManyWays(below: inner) { return true }
      }
    }
    return false
  }

  /// Takes the ways up off what there may be of each length; false: there are more (reverse_path_check_proc).
  private func countWays(from first: EpollItemIndex, _ depth: Int, _ left: inout [Int]) -> Bool {
    guard depth < left.count else { return false }
    var index = first
    while !index.isNone {
      let epoll = epollItems[index].epoll
      if !epolls[epoll].watchers.isNone {
        guard countWays(from: epolls[epoll].watchers, depth + 1, &left) else { return false }
      } else if !epolls[epoll].isWait {
        left[depth] -= 1
        guard left[depth] >= 0 else { return false }
      }
      index = epollItems[index].next
    }
    return true
  }
}
