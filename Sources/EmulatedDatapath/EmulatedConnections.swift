// SPDX-License-Identifier: GPL-2.0-or-later

// The TCP connections of a service in an emulated node: accepted, served and ended on the kernel's thread.

import Glibc
import LabCore
import LabProcess
import LinuxObjects
import NetStack
import NetTypes

/// The connections of one service. Sendable because only the kernel's thread touches what is in it.
final class EmulatedConnections: @unchecked Sendable {
  /// Connections at a time; more are closed at once.
  private static let limit = 1024

  private let program: any ServiceProgram
  private var open: [SocketIndex: EmulatedConnection] = [:]

  init(_ program: any ServiceProgram) { self.program = program }

  /// Takes the connections that wait. A bounded number; the rest are news in the next turn.
  func accept(from listener: SocketIndex, _ kernel: EmulatedKernel) {
    for _ in 0..<64 {
      do throws(KernelError) {
        let socket = try kernel.stack.accept(listener)
        guard open.count < Self.limit else {
          kernel.stack.close(socket)
          continue
        }
        let connection = EmulatedConnection(socket, program.behavior())
        open[socket] = connection
        attend(connection, kernel)
      } catch {
        // A connection that ended before it was taken is nobody's business.
        if error.errno == EAGAIN { return }
      }
    }
    kernel.stack.wait(for: .in, on: listener, token: kernel.waiters.token(of: listener) ?? 0)
  }

  /// Serves a connection whenever there is news of it, until it ends or has been silent for too long.
  private func attend(_ connection: EmulatedConnection, _ kernel: EmulatedKernel) {
    let deadline = kernel.stack.now + connection.patience
    kernel.wait(for: [.in, .out], on: connection.socket, until: deadline) { kernel in
      let isOver = connection.serve(kernel)
      if isOver { self.end(connection, kernel) }
      if self.program.takeNews() { self.serveAll(kernel) }
      return isOver
    } expire: { error in
      guard error.errno == ETIMEDOUT else { return }
      if connection.hasMoved {
        connection.hasMoved = false
        self.attend(connection, kernel)
      } else {
        self.end(connection, kernel)
      }
    }
  }

  private func end(_ connection: EmulatedConnection, _ kernel: EmulatedKernel) {
    guard open.removeValue(forKey: connection.socket) != nil else { return }
    connection.end()
    kernel.stack.close(connection.socket)
  }

  /// One connection has given others something to say.
  private func serveAll(_ kernel: EmulatedKernel) {
    let others = open.values.sorted { $0.socket.rawValue < $1.socket.rawValue }
    for other in others where other.serve(kernel) {
      open[other.socket] = nil
      other.end()
      kernel.closeSocket(other.socket)
    }
  }

  /// Ends all of them.
  func closeAll(_ kernel: EmulatedKernel) {
    for socket in open.keys { kernel.closeSocket(socket) }
    open = [:]
  }
}

/// One connection: bytes in, bytes out, within limits.
final class EmulatedConnection {
  private static let chunk = 32 << 10

  let socket: SocketIndex
  /// Whether a byte has come or gone since this was last set to false.
  var hasMoved = false
  private var behavior: any ServiceBehavior
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var hasEnded = false

  init(_ socket: SocketIndex, _ behavior: any ServiceBehavior) {
    self.socket = socket
    self.behavior = behavior
  }

  /// How long it may be silent.
  var patience: Interval { .seconds(Int64(behavior.idleLimit)) }

  /// Nobody hears of it any more.
  func end() { behavior.end() }

  /// Takes and gives what can be. True when the connection is over.
  func serve(_ kernel: EmulatedKernel) -> Bool {
    do throws(KernelError) {
      while true {
        while !output.isEmpty {
          let count = try kernel.stack.send(output, on: socket)
          output.removeFirst(count)
          hasMoved = true
        }
        if hasEnded { return true }
        behavior.produce(into: &output)
        var bytes: [UInt8] = []
        do throws(KernelError) {
          _ = try kernel.stack.receive(socket, into: &bytes, limit: Self.chunk)
        } catch {
          guard error.errno == EAGAIN, !output.isEmpty else { throw error }
          continue
        }
        if bytes.isEmpty { hasEnded = true } else { hasMoved = true }
        input += bytes
        // What is left over when the other side has ended is no whole request.
        if behavior.take(&input, into: &output, now: kernel.stack.now) { hasEnded = true }
      }
    } catch {
      return error.errno != EAGAIN
    }
  }
}
