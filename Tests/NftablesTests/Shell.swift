// SPDX-License-Identifier: GPL-2.0-or-later

// Runs a program through the shell and gives what it printed: how tests ask tools that we did not write.

import Glibc

/// What a command printed, standard error included, and how it ended.
func shell(_ command: String) -> (output: String, status: Int32) {
  guard let pipe = popen("{ \(command)\n} 2>&1", "r") else { return ("cannot run a shell", -1) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = fread(&buffer, 1, buffer.count, pipe)
    guard count > 0 else { break }
    bytes += buffer[0..<count]
  }
  let status = pclose(pipe)
  return (String(decoding: bytes, as: UTF8.self), status >> 8 & 0xff)
}

/// True when `nft -c` can be asked here.
let nftIsUsable = shell("nft -c 'add table ip t'").status == 0
