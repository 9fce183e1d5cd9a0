// SPDX-License-Identifier: GPL-2.0-or-later

// What runs in a node: services, programs, commands, files, environment.

import LabCore
import NetTypes

extension TopologyCheck {
  mutating func programs(_ items: [Reader], of node: Int) {
    let owner = "node '\(nodes[node].name)'"
    var services: [String: NodeService] = [:]
    var files: [String: SourceLocation] = [:]
    var variables: [String: SourceLocation] = [:]
    for item in items {
      switch item.kind {
      case "service":
        guard let service = service(item, owner) else { continue }
        // Every service but HTTP stands on both transports.
        if let first = services["\(service.port)"] {
          fail(
            "\(owner): port \(service.port) is taken by the service at \(first.location)", at: item.location)
          continue
        }
        services["\(service.port)"] = service
        nodes[node].services.append(service)
      case "hostPort":
        guard let published = hostPort(item, owner) else { continue }
        nodes[node].hostPorts.append(published)
      case "run":
        guard let arguments = command(item, "\(owner): Run") else { continue }
        var restart = NodeProgram.Restart.never
        if let text = item.text("restart") {
          guard let choice: NodeProgram.Restart = choice(text, "\(owner): restart", at: item.location) else {
            continue
          }
          restart = choice
        }
        nodes[node].programs.append(
          NodeProgram(arguments: arguments, restart: restart, location: item.location))
      case "exec":
        guard let arguments = command(item, "\(owner): Exec") else { continue }
        nodes[node].commands.append(NodeProgram(arguments: arguments, location: item.location))
      case "file":
        let path = item.required("path")
        guard isFilePath(path, owner, at: item.location) else { continue }
        if let first = files.updateValue(item.location, forKey: path) {
          fail("\(owner): file '\(path)' is declared twice (\(first))", at: item.location)
        }
        nodes[node].files.append(NodeFile(path: path, text: item.required("text"), location: item.location))
      case "env":
        let name = item.required("name")
        guard let first = name.utf8.first, !(0x30...0x39).contains(first),
          name.utf8.allSatisfy(Self.isWordByte)
        else {
          fail(
            "\(owner): environment variable '\(name)' should be letters, digits and '_', not a digit first",
            at: item.location)
          continue
        }
        if let first = variables.updateValue(item.location, forKey: name) {
          fail("\(owner): environment variable '\(name)' is set twice (\(first))", at: item.location)
        }
        if item.required("value").utf8.contains(0) {
          fail("\(owner): environment variable '\(name)' holds a zero byte", at: item.location)
          continue
        }
        nodes[node].environment[name] = item.required("value")
      default: break
      }
    }
  }

  static func isWordByte(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
      || byte == 0x5f
  }

  private mutating func service(_ item: Reader, _ owner: String) -> NodeService? {
    let kinds: [(String, NodeService.Kind)] = [
      ("http", .http), ("echo", .echo), ("discard", .discard), ("chargen", .chargen), ("iperf", .iperf),
    ]
    let name = item.required("service")
    guard let kind = kinds.first(where: { $0.0 == name })?.1 else {
      fail(
        "\(owner): service '\(name)' is none of \(kinds.map(\.0).joined(separator: ", "))\(didYouMean(name, kinds.map(\.0)))",
        at: item.location)
      return nil
    }
    guard let number = item.integer("port"),
      let port = port(number, "\(owner): service '\(name)'", at: item.location)
    else { return nil }
    return NodeService(kind: kind, port: port, location: item.location)
  }

  private mutating func hostPort(_ item: Reader, _ owner: String) -> HostPort? {
    let what = "\(owner): Publish"
    guard let outer = item.integer("hostPort"), let inner = item.integer("port"),
      let hostPort = port(outer, what, at: item.location), let port = port(inner, what, at: item.location)
    else { return nil }
    // The host has each port once, whoever of the lab asks for it.
    if let first = nodes.flatMap(\.hostPorts).first(where: { $0.hostPort == hostPort }) {
      fail("\(what): port \(hostPort) of the host is taken at \(first.location)", at: item.location)
      return nil
    }
    return HostPort(hostPort: hostPort, port: port, location: item.location)
  }

  private mutating func command(_ item: Reader, _ who: String) -> [String]? {
    let words = item.texts("command")
    guard let program = words.first, !program.allSatisfy(\.isWhitespace) else {
      fail("\(who): there is no command", at: item.location)
      return nil
    }
    guard !words.contains(where: { $0.utf8.contains(0) }) else {
      fail("\(who): the command holds a zero byte", at: item.location)
      return nil
    }
    return words
  }

  private mutating func isFilePath(_ path: String, _ owner: String, at location: SourceLocation) -> Bool {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard path.hasPrefix("/"), parts.count > 1, parts.last?.isEmpty == false, !path.utf8.contains(0) else {
      fail("\(owner): file '\(path)' needs an absolute path, such as /etc/motd", at: location)
      return false
    }
    guard !parts.contains(".."), !parts.contains("."), !parts.dropFirst().contains("") else {
      fail("\(owner): file '\(path)' should be written without '.', '..' and '//'", at: location)
      return false
    }
    guard !["proc", "sys", "dev"].contains(parts[1]) else {
      fail(
        "\(owner): file '\(path)' would stand in the kernel's own /\(parts[1]); use Sysctl for settings",
        at: location)
      return false
    }
    return true
  }
}
