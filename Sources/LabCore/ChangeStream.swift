// SPDX-License-Identifier: GPL-2.0-or-later

/// Something that the kernel says has changed in a lab.
public struct ChangeEvent: Hashable, Codable, Sendable {
  public enum Action: String, Hashable, Codable, Sendable {
    case added, changed, removed
    /// Events were lost; whoever follows must observe again.
    case gap
  }

  public var action: Action
  public var path: StatePath
  /// The object in a line, as `ip monitor` would say it.
  public var summary: String

  public init(action: Action, path: StatePath, summary: String) {
    self.action = action
    self.path = path
    self.summary = summary
  }
}

/// The changes of a lab as they come. Ends when its source does; dropping the iterator closes the source.
public struct ChangeStream: AsyncSequence, Sendable {
  public typealias Element = ChangeEvent
  public typealias Failure = Never

  private let stream: AsyncStream<ChangeEvent>

  public init(_ stream: AsyncStream<ChangeEvent>) { self.stream = stream }

  public func makeAsyncIterator() -> AsyncStream<ChangeEvent>.Iterator { stream.makeAsyncIterator() }
}
